// SPDX-License-Identifier: Apache-2.0
//! Runs that the policy server asks for (protocol 16.1, 16.3).
//!
//! ```text
//! policy server ──news──▶ link (daemon) ───┐                       ┌─▶ run ─▶ outbox
//!               ◀─────── ask, after a send ┴▶ book ─▶ perform ─────┤
//!               ◀──────────────────── events ── report ◀── output ─┘
//! ```
//!
//! | file | what |
//! |---|---|
//! | [`link`] | the connection that the daemon keeps |
//! | [`ask`] | one request for news |
//! | [`book`] | which runs were asked for, and what became of them: `triggers.json` in the state directory |
//! | [`perform`] | makes them, one after the other |
//! | [`report`] | what is told of one, over as many connections as it takes |
//! | [`lines`] | what is still to be told, in bounded memory |
//!
//! Invariants: a run is begun only after the policy server has answered that it is still wanted, and at
//! most once; only the configured policy command is run; a server that is not known by its key or its
//! authority has no say.

pub mod ask;
pub mod book;
pub mod lines;
pub mod link;
pub mod perform;
pub mod report;

use std::path::Path;

use chrono::Utc;
use protocol::triggers::News;
use tokio_util::sync::CancellationToken;

use self::{
    book::Book,
    perform::{PerformError, Performed},
};
use crate::{identity::Identity, settings::Settings, state::State};

/// Takes up what the policy server said after it was sent something, and makes the runs that it asks for.
///
/// Where the daemon keeps a connection, that is its business.
pub async fn take_up(
    root: &Path,
    settings: &Settings,
    identity: &Identity,
    news: &News,
    stop: &CancellationToken,
) -> Result<Vec<Performed>, PerformError> {
    if news.runs.is_empty() {
        return Ok(vec![]);
    }
    let state = State::open(&settings.paths.state).map_err(PerformError::State)?;
    Book::of(&state).note(news, Utc::now()).map_err(PerformError::State)?;
    perform::perform(root, settings, identity, stop).await
}
