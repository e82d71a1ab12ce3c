// SPDX-License-Identifier: Apache-2.0
//! Remote runs: who is asked to run, with what, and what became of it (protocol 7.6, 16).
//!
//! ```text
//!                     ┌─▶ refused, unreachable, expired          final: exactly one for each node
//! waiting ─▶ asked ───┤
//!                     └─▶ started ─▶ output … ─▶ finished ───┘
//! ```
//!
//! | file | what |
//! |---|---|
//! | `condition` | names that a run is told, checked |
//! | `event` | what happens to one node |
//! | `line` | events as lines of JSON, and the reader of such lines from hostile servers |
//! | `progress` | keeps the promise of one final event for each node, and caps output |
//! | `form` | requests of version 1 |
//! | `request` | requests of version 2, and what a node is told |

mod condition;
mod event;
mod form;
mod line;
mod progress;
mod request;

pub use self::{
    condition::{Condition, ConditionError, Conditions, MAX_CONDITIONS},
    event::{Event, MAX_OUTPUT_LINE, NodeEvent, Outcome},
    form::{FormError, RunForm},
    line::{BadLine, Line, LineReader, MAX_LINE, RunLine},
    progress::{Counts, NodeProgress, RunProgress},
    request::{
        LONGEST_EXPIRY, MAX_NODES, RequestError, RunOrder, RunRequest, RunRequestId, RunRequestIdError,
        Targets,
    },
};

/// The start of a text, of at most that many bytes, cut between characters.
fn prefix(text: &str, longest: usize) -> &str {
    let mut end = text.len().min(longest);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
