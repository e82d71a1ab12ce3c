// SPDX-License-Identifier: Apache-2.0
//! The state of nodes over time, from the complete runs that are stored (protocol 18).
//!
//! ```text
//! CPU worker                       writer, in the transaction of the reports
//! reports ─▶ counted results ─▶ ids of results and sets ─▶ segments of the nodes
//! ```
//!
//! | file | what |
//! |---|---|
//! | [`status`] | which event types count, and as what |
//! | [`results`] | the counted results of a run, and their digest |
//! | [`known`], [`dictionary`] | ids of results and of sets of results |
//! | [`segments`] | what runs make of the state of a node |
//! | [`node_states`] | the same in the database |
//! | [`rebuild`], [`stored_runs`] | state and history anew, from what is stored |
//! | [`collect`] | removing sets and results that nobody names any more |
//! | [`upkeep`] | the daemon's task that does both when they are due |
//!
//! Always true: state and history are what a recomputation from all complete runs gives, by signed start,
//! in whatever order they came; they change in the transaction that stores the run, or not at all.

pub mod collect;
mod dictionary;
mod known;
mod node_states;
pub mod rebuild;
pub mod results;
pub mod segments;
pub mod status;
mod stored_runs;
pub mod upkeep;

use std::time::Duration;

use diesel::QueryResult;
use protocol::run_log::Report;

use self::{
    known::Known,
    node_states::NodeRun,
    results::{Reported, RunResults},
};
pub use self::{known::Learnt, status::Status};
use crate::db::query::Session;

/// Keeps the state of nodes. One per process, shared by its writers.
#[derive(Debug)]
pub struct Compliance {
    freshness: i64,
    known: Known,
}

/// A complete run that is being stored.
#[derive(Debug, Clone, Copy)]
pub struct Run<'a, R = Report<'a>> {
    /// The node.
    pub node: &'a str,
    /// Its start as signed; Unix time in seconds.
    pub start: i64,
    /// Version of the policies.
    pub config_id: Option<&'a str>,
    /// Its counted results.
    pub results: &'a RunResults,
    /// The reports that they were taken from.
    pub reports: &'a [R],
}

/// Held shared by who uses ids of results and sets until its transaction ends; exclusively by who removes
/// some. PostgreSQL only: SQLite has one writer.
const LOCK: i64 = 0x636f_6d70_6c79;
/// How long after a run, and one interval, a node counts as silent (protocol 4.5).
const GRACE: Duration = Duration::from_secs(300);

impl Compliance {
    /// `run_interval`: time between two runs of an agent.
    pub fn new(run_interval: Duration) -> Self {
        Self { freshness: freshness(run_interval), known: Known::default() }
    }

    /// Takes in runs that the transaction of `session` stores, a few thousand at most; it is for the caller to commit and then to
    /// call [`Compliance::committed`].
    pub fn take_in<'a, R: Reported>(
        &self,
        session: &mut Session<'_>,
        runs: &[Run<'a, R>],
    ) -> QueryResult<Learnt> {
        let mut learnt = Learnt::default();
        if runs.is_empty() {
            return Ok(learnt);
        }
        learnt.generation = hold_generation(session)?;
        let wanted = runs.iter().map(|run| (run.results, run.reports));
        let sets = dictionary::set_ids(session, &self.known, wanted, &mut learnt)?;
        let with_set = |run: &Run<'a, R>| {
            let set = *sets.get(&run.results.digest)?;
            Some(NodeRun { node: run.node, start: run.start, config_id: run.config_id, set })
        };
        let runs: Vec<NodeRun<'_>> = runs.iter().filter_map(with_set).collect();
        node_states::add(session, &runs, self.freshness)?;
        Ok(learnt)
    }

    /// To be called when there is a new connection to the database.
    pub fn forget(&self) {
        self.known.forget();
    }

    /// To be called when the transaction that learnt this is committed.
    pub fn committed(&self, learnt: Learnt) {
        self.known.learn(learnt);
    }
}

/// From when on a node that sent nothing more has no state any more, in seconds after its last run.
pub fn freshness(run_interval: Duration) -> i64 {
    i64::try_from((run_interval + GRACE).as_secs()).unwrap_or(i64::MAX)
}

/// Keeps ids from being removed until the transaction ends; gives the generation they are of.
fn hold_generation(session: &mut Session<'_>) -> QueryResult<i64> {
    if let Session::Postgres(_) = session {
        session.run(&format!("SELECT pg_advisory_xact_lock_shared({LOCK})"), &[])?;
    }
    session.number("SELECT generation AS number FROM compliance_generation", &[])
}
