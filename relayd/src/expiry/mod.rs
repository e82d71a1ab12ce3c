// SPDX-License-Identifier: Apache-2.0
//! Until when certificates are valid: gauges, and a warning in time.
//!
//! Whoever is known by its key is known by it after its certificate has expired, too: between agents,
//! relays and root nothing stops then. But other programs, and agents or servers that check certificates, do
//! look at the date; so it is said 30 days before, each day again, and more loudly in the last 7 days.
//!
//! Dates are read at start and at each reload, as the daemon reads the certificates themselves: what counts
//! is the one in use, not the one that somebody put there and forgot to load.

mod metrics;
mod watched;

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use prometheus::Registry;
use protocol::{certificate::Certificate, node_id::NodeId};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use self::{
    metrics::{ExpiryMetrics, NodeCounts},
    watched::Watched,
};
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
    ends: Vec<(&'static str, DateTime<Utc>)>,
    /// When the last warning about each was given.
    warned: HashMap<&'static str, Instant>,
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
        let mut ends = Vec::new();
        for watched in &self.watched {
            let end = watched.not_after();
            self.metrics.certificate(watched.label, end);
            ends.extend(end.map(|end| (watched.label, end)));
        }
        self.state.lock().unwrap_or_else(PoisonError::into_inner).ends = ends;
        self.reloaded.notify_one();
    }

    /// Counts, and says what has to be said now: of each certificate once a day. Takes its time when there
    /// are many nodes.
    pub fn check(&self) -> Vec<Warning> {
        let now = DateTime::<Utc>::from(self.clock.wall());
        let steady = self.clock.steady();
        let (counts, first) = self.nodes(now);
        self.metrics.nodes(&counts);

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
            let end = ends.iter().find(|(label, _)| *label == watched.label).map(|(_, end)| *end);
            let warning = end.and_then(|end| watched.warning(end, now));
            warnings.extend(due(watched.label, warning));
        }
        warnings.extend(due("nodes", first.and_then(|first| self.of_nodes(&counts, &first))));
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

    /// Nodes by how long the last of their certificates is valid, and who is first to have none.
    fn nodes(&self, now: DateTime<Utc>) -> (NodeCounts, Option<String>) {
        let table = self.nodes.borrow().clone();
        let mut counts = NodeCounts::default();
        let mut first: Option<(DateTime<Utc>, String)> = None;
        // This server's own are watched one by one.
        for (node, _) in table.list().iter().filter(|(node, _)| **node != self.own_id) {
            let last = table.certificates(node).iter().map(Certificate::not_after).max();
            let Some(last) = last else { continue };
            counts.add(last - now);
            let matters = last <= now + EARLY && (self.checks_clients || last > now);
            if matters && first.as_ref().is_none_or(|(end, _)| last < *end) {
                first = Some((last, node.to_string()));
            }
        }
        (counts, first.map(|(_, node)| node))
    }

    fn of_nodes(&self, counts: &NodeCounts, first: &str) -> Option<Warning> {
        let soon = counts.week + counts.month;
        Some(match self.checks_clients {
            false if soon == 0 => return None,
            false => Warning {
                urgent: false,
                text: format!(
                    "certificates of nodes expire within 30 days: {soon}, first that of {first}; nothing \
                     stops by that, because this server knows nodes by their keys; only other users of these \
                     certificates need new ones"
                ),
            },
            true => Warning {
                urgent: counts.expired + counts.week > 0,
                text: format!(
                    "certificates of nodes expire within 30 days: {soon}, and have expired: {}, first that of \
                     {first}; the gateway refuses these nodes from then on \
                     (gateway.client_authentication is \"authority\"): renew them with your authority",
                    counts.expired
                ),
            },
        })
    }
}

#[cfg(test)]
mod tests;
