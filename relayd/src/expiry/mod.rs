// SPDX-License-Identifier: Apache-2.0
//! Until when certificates are valid: gauges, and a warning in time.
//!
//! Whoever is known by its key is known by it after its certificate has expired, too: between agents,
//! relays and root nothing stops then. But other programs, and agents or servers that check certificates, do
//! look at the date; so it is said 30 days before, each day again, and more loudly in the last 7 days.
//!
//! Dates are read when the daemon reads the certificates themselves, most of them at start and at each reload:
//! what counts is the one in use, not the one that somebody put there and forgot to load.

mod metrics;
mod nodes;
pub mod watched;

use std::{
    collections::HashMap,
    convert::Infallible,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use prometheus::Registry;
use protocol::node_id::NodeId;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use self::{metrics::ExpiryMetrics, nodes::Found, watched::Watched};
use crate::{
    config::{ClientTrust, Config},
    nodes::Nodes,
    spool::clock::Clock,
};

/// When to begin to warn.
const EARLY: Duration = Duration::from_secs(30 * DAY);
/// When it becomes urgent.
const LATE: Duration = Duration::from_secs(7 * DAY);
/// Seconds in a day.
const DAY: u64 = 86_400;
/// Time between two looks.
const EVERY: Duration = Duration::from_secs(3600);

/// Watches the certificates of this server and of its nodes.
pub struct Expiry {
    watched: Vec<Watched>,
    /// Whether clients need a valid certificate here.
    checks_clients: bool,
    own_id: NodeId,
    nodes: Nodes,
    clock: Arc<dyn Clock>,
    metrics: ExpiryMetrics,
    state: Mutex<State>,
    reloaded: Notify,
}

#[derive(Default)]
struct State {
    /// The dates of the certificates in use.
    ends: HashMap<&'static str, DateTime<Utc>>,
    /// When the last warning about each was given.
    warned: HashMap<&'static str, Instant>,
}

/// A certificate in use, for people.
#[derive(Debug, Clone)]
pub struct Shown {
    /// In metrics.
    pub label: &'static str,
    /// Where it is.
    pub file: PathBuf,
    /// End of its validity.
    pub not_after: DateTime<Utc>,
    /// What to say about that, if anything.
    pub warning: Option<Warning>,
}

/// Something to be logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Whether little time is left.
    pub urgent: bool,
    /// What expires when, what that means, and what to do.
    pub text: String,
}

impl Expiry {
    /// Reads the dates for the first time.
    pub fn new(
        config: &Config,
        nodes: Nodes,
        clock: Arc<dyn Clock>,
        registry: &Registry,
    ) -> Result<Self, prometheus::Error> {
        let clients = config.gateway.as_ref().map(|gateway| &gateway.clients);
        let expiry = Self {
            watched: watched::of(config),
            checks_clients: matches!(clients, Some(ClientTrust::Authority { .. })),
            own_id: config.general.node_id.clone(),
            nodes,
            clock,
            metrics: ExpiryMetrics::new(registry)?,
            state: Mutex::default(),
            reloaded: Notify::new(),
        };
        expiry.load();
        Ok(expiry)
    }

    /// Reads the dates again. A file that is not there or cannot be read has none: whoever uses it says so.
    pub fn load(&self) {
        self.read(|_| true);
        self.reloaded.notify_one();
    }

    fn read(&self, which: impl Fn(&Watched) -> bool) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for watched in self.watched.iter().filter(|watched| which(watched)) {
            let end = watched.not_after();
            self.metrics.certificate(watched.label, end);
            match end {
                Some(end) => state.ends.insert(watched.label, end),
                None => state.ends.remove(watched.label),
            };
        }
    }

    /// The certificates of this server that are in use.
    pub fn shown(&self) -> Vec<Shown> {
        let now = DateTime::<Utc>::from(self.clock.wall());
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let shown = self.watched.iter().filter_map(|watched| {
            let end = *state.ends.get(watched.label)?;
            Some(watched.shown(end, now))
        });
        shown.collect()
    }

    /// Counts, and says what has to be said now: of each certificate once a day. Takes its time when there
    /// are many nodes.
    pub fn check(&self) -> Vec<Warning> {
        self.read(|watched| watched.is_read_when_used);
        let now = DateTime::<Utc>::from(self.clock.wall());
        let steady = self.clock.steady();
        let table = self.nodes.borrow().clone();
        let found = Found::of(&table, &self.own_id, now);
        self.metrics.nodes(&found);

        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { ends, warned } = &mut *state;
        let mut due = |label, warning: Option<Warning>| {
            let is_due = warned.get(label).is_none_or(|last| {
                // A look that comes a little early must not put the warning off for an hour.
                steady.saturating_duration_since(*last) >= Duration::from_secs(DAY) - EVERY / 2
            });
            let warning = warning.filter(|_| is_due)?;
            warned.insert(label, steady);
            Some(warning)
        };
        let mut warnings = Vec::new();
        for watched in &self.watched {
            let warning = ends.get(watched.label).and_then(|end| watched.warning(*end, now));
            warnings.extend(due(watched.label, warning));
        }
        warnings.extend(due("nodes", found.of_own()));
        warnings.extend(due("issued", found.of_issued(self.checks_clients)));
        warnings
    }

    /// Looks each hour and after each reload, until stopped.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) -> Result<(), Infallible> {
        loop {
            let expiry = self.clone();
            // A panic there is seen as no warning; the next look tries again.
            let warnings = tokio::task::spawn_blocking(move || expiry.check()).await.unwrap_or_default();
            for Warning { urgent, text } in warnings {
                match urgent {
                    true => tracing::error!("{text}"),
                    false => tracing::warn!("{text}"),
                }
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = self.reloaded.notified() => {}
                () = tokio::time::sleep(EVERY) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests;
