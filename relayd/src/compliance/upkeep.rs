// SPDX-License-Identifier: Apache-2.0
//! The daemon's share: building the state of runs that were stored before there was any, in the
//! background, and collecting garbage once a day.

use std::{
    convert::Infallible,
    ops::ControlFlow,
    time::{Duration, Instant},
};

use chrono::Utc;
use tokio_util::sync::CancellationToken;

use super::{
    Compliance, collect,
    rebuild::{Rebuilt, is_due, rebuild_alone},
};
use crate::db::{Database, DbError};

/// When to try again what did not work.
const AGAIN: Duration = Duration::from_secs(60);
/// Time between two collections.
const COLLECT_EVERY: Duration = Duration::from_secs(86_400);
/// The first one comes when a server that starts has done its other work.
const FIRST_COLLECTION: Duration = Duration::from_secs(3600);
/// How often a build that goes on says so.
const SAY_EVERY: Duration = Duration::from_secs(30);

/// Looks after the tables of compliance.
pub struct Upkeep {
    database: Database,
    compliance: Compliance,
    collect_at: Instant,
    built: bool,
}

impl Upkeep {
    /// `run_interval`: time between two runs of an agent.
    pub fn new(database: Database, run_interval: Duration) -> Self {
        let collect_at = Instant::now() + FIRST_COLLECTION;
        Self { database, compliance: Compliance::new(run_interval), collect_at, built: false }
    }

    /// Works until stopped.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), Infallible> {
        loop {
            let stopped = stop.clone();
            let looked = tokio::task::spawn_blocking(move || {
                let wait = self.look(&stopped).unwrap_or_else(|error| {
                    tracing::warn!("the state of nodes is not looked after: {error}");
                    AGAIN
                });
                (self, wait)
            });
            let wait = match looked.await {
                Ok((upkeep, wait)) => {
                    self = upkeep;
                    wait
                }
                // It panicked, which was logged; without it the daemon must not go on.
                Err(error) => std::panic::resume_unwind(Box::new(error.to_string())),
            };
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Does what is due; returns when to look again. Blocks.
    fn look(&mut self, stop: &CancellationToken) -> Result<Duration, DbError> {
        if !self.built {
            self.built = self.build(stop)?;
            if !self.built {
                return Ok(AGAIN);
            }
        }
        let wait = self.collect_at.saturating_duration_since(Instant::now());
        if !wait.is_zero() {
            return Ok(wait);
        }
        let gone = collect::collect(&mut self.database.connect()?)?;
        if gone != collect::Collected::default() {
            tracing::info!(
                "{} sets and {} results that no run has any more are removed",
                gone.sets,
                gone.results
            );
        }
        self.collect_at = Instant::now() + COLLECT_EVERY;
        Ok(COLLECT_EVERY)
    }

    /// Whether nothing is left to be built.
    fn build(&self, stop: &CancellationToken) -> Result<bool, DbError> {
        let mut connection = self.database.connect()?;
        if !is_due(&mut connection)? {
            return Ok(true);
        }
        tracing::info!("the state of nodes is built from the runs that are stored");
        let mut said = Instant::now();
        let progress = |node: &str, so_far: Rebuilt| {
            if said.elapsed() >= SAY_EVERY {
                said = Instant::now();
                tracing::info!(
                    "the state of {} nodes is built from {} runs, the last one is {node}",
                    so_far.nodes,
                    so_far.runs
                );
            }
            if stop.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let now = Utc::now().timestamp();
        match rebuild_alone(&mut connection, &self.compliance, now, progress)? {
            Some(done) if done.finished => {
                tracing::info!("the state of {} nodes was built from {} runs", done.nodes, done.runs);
                Ok(true)
            }
            // Stopped; or another process does it, and may not come to the end.
            _ => Ok(false),
        }
    }
}
