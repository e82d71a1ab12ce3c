// SPDX-License-Identifier: Apache-2.0
//! Logging of both programs, over `tracing`. See docs/logs.md.
//!
//! ```text
//! event ─▶ filter ─▶ repeats ─▶ one of: a line for people, a JSON line, an entry of the journal
//! ```
//!
//! | file | what |
//! |---|---|
//! | `settings` | what is logged, and in which form |
//! | `control` | starting, configuring, changing the filter |
//! | `fields` | the fields of events and of the spans around them |
//! | `repeats` | equal events are counted instead of written again and again |
//! | `journal` | entries with fields; `human`, `one_line`: lines |
//!
//! Whatever the fields hold, an event is one line, or one entry: nobody who is quoted can forge another.

mod control;
mod fields;
mod human;
mod journal;
mod one_line;
mod repeats;
mod settings;

pub use control::{LogControl, LoggingError, Program, Style};
pub use journal::lost;
pub use repeats::counted;
pub use settings::{Format, Level, REPEATS, Settings, check};
