// SPDX-License-Identifier: Apache-2.0
//! What a spool counts, and its state for the local API.

use std::time::Duration;

use chrono::{DateTime, Utc};
use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry, exponential_buckets,
};
use protocol::urls::UploadKind;
use tokio::sync::watch;

use super::disposition::Reason;

/// Metrics of one spool, all with the label `spool`.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Hints that a file may be there, from notifications and the gateway.
    pub hints: IntCounter,
    /// Deliveries that were accepted.
    pub accepted: IntCounter,
    /// Files refused for good, by reason.
    pub rejected: IntCounterVec,
    /// Deliveries that ended in "later".
    pub released: IntCounter,
    /// Files removed because of their age.
    pub removed: IntCounter,
    /// Sweeps that were begun.
    pub sweeps: IntCounter,
    /// Time from the arrival of a file to its acceptance by the outlet.
    pub waited: Histogram,
    /// Files waiting, at the last count.
    pub depth: IntGauge,
    /// Age of the oldest waiting file in seconds, at the last count.
    pub oldest_age: IntGauge,
    /// Files in `failed/`, at the last count.
    pub failed: IntGauge,
    /// Deliveries under way.
    pub in_flight: IntGauge,
    /// 1 while the outlet takes deliveries, 0 while it is down.
    pub gate_open: IntGauge,
}

impl Metrics {
    /// Makes and registers them.
    pub fn new(kind: UploadKind, registry: &Registry) -> Result<Self, prometheus::Error> {
        let opts = |name: &str, help: &str| {
            Opts::new(format!("relayd_spool_{name}"), help).const_label("spool", kind.segment())
        };
        let counter = |name, help| {
            let counter = IntCounter::with_opts(opts(name, help))?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let gauge = |name, help| {
            let gauge = IntGauge::with_opts(opts(name, help))?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        let rejected =
            IntCounterVec::new(opts("rejected_total", "Files refused for good, by reason"), &["reason"])?;
        registry.register(Box::new(rejected.clone()))?;
        for reason in Reason::ALL {
            rejected.with_label_values(&[reason.as_str()]);
        }
        let waited = opts("wait_seconds", "Time from the arrival of a file to its acceptance by the outlet");
        let waited =
            Histogram::with_opts(HistogramOpts::from(waited).buckets(exponential_buckets(0.01, 4.0, 11)?))?;
        registry.register(Box::new(waited.clone()))?;
        let metrics = Self {
            waited,
            hints: counter("hints_total", "Hints that a file may be there")?,
            accepted: counter("accepted_total", "Deliveries that were accepted")?,
            rejected,
            released: counter("released_total", "Deliveries put off until later")?,
            removed: counter("retention_removed_total", "Files removed because of their age")?,
            sweeps: counter("sweeps_total", "Directory sweeps begun")?,
            depth: gauge("depth", "Files waiting, at the last count")?,
            oldest_age: gauge("oldest_age_seconds", "Age of the oldest waiting file, at the last count")?,
            failed: gauge("failed", "Rejected files kept, at the last count")?,
            in_flight: gauge("in_flight", "Deliveries under way")?,
            gate_open: gauge("gate_open", "Whether the outlet takes deliveries")?,
        };
        metrics.gate_open.set(1);
        Ok(metrics)
    }
}

/// Whether the outlet takes deliveries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GateState {
    /// It does.
    Open,
    /// It does not.
    Closed {
        /// For people: what happened.
        why: String,
        /// Since when.
        since: DateTime<Utc>,
    },
}

/// How many files ended in which way since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Accepted.
    pub accepted: u64,
    /// Refused for good.
    pub rejected: u64,
    /// Put off until later.
    pub released: u64,
}

/// A file that was put off, though its outlet works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutOff {
    /// Its name, fit to be shown.
    pub file: String,
    /// Why.
    pub why: String,
    /// When.
    pub at: DateTime<Utc>,
}

/// The last file that was put off.
pub type LastPutOff = watch::Sender<Option<PutOff>>;

/// The state of a spool, for the local API. Cheap to clone; always current.
#[derive(Debug, Clone)]
pub struct Status {
    kind: UploadKind,
    metrics: Metrics,
    gate: watch::Receiver<GateState>,
    put_off: watch::Receiver<Option<PutOff>>,
}

impl Status {
    /// Of the spool that counts and tells here.
    pub fn new(
        kind: UploadKind,
        metrics: Metrics,
        gate: &watch::Sender<GateState>,
        put_off: &LastPutOff,
    ) -> Self {
        Self { kind, metrics, gate: gate.subscribe(), put_off: put_off.subscribe() }
    }

    /// How many files ended in which way since the start.
    pub fn totals(&self) -> Totals {
        let rejected =
            Reason::ALL.map(|reason| self.metrics.rejected.with_label_values(&[reason.as_str()]).get());
        Totals {
            accepted: self.metrics.accepted.get(),
            rejected: rejected.iter().sum(),
            released: self.metrics.released.get(),
        }
    }

    /// The last file that was put off though the outlet works.
    pub fn put_off(&self) -> Option<PutOff> {
        self.put_off.borrow().clone()
    }

    /// What the spool holds.
    pub fn kind(&self) -> UploadKind {
        self.kind
    }

    /// Files waiting, at the last count.
    pub fn depth(&self) -> u64 {
        count(&self.metrics.depth)
    }

    /// Age of the oldest waiting file, at the last count; zero when none waits.
    pub fn oldest_age(&self) -> Duration {
        Duration::from_secs(count(&self.metrics.oldest_age))
    }

    /// Deliveries under way.
    pub fn in_flight(&self) -> u64 {
        count(&self.metrics.in_flight)
    }

    /// Rejected files kept, at the last count.
    pub fn failed(&self) -> u64 {
        count(&self.metrics.failed)
    }

    /// Whether the outlet takes deliveries.
    pub fn gate(&self) -> GateState {
        self.gate.borrow().clone()
    }
}

fn count(gauge: &IntGauge) -> u64 {
    u64::try_from(gauge.get()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_spools_share_a_registry() {
        let registry = Registry::new();
        for kind in UploadKind::ALL {
            Metrics::new(kind, &registry).unwrap().accepted.inc();
        }
        let families = registry.gather();
        let accepted = families.iter().find(|f| f.name() == "relayd_spool_accepted_total").unwrap();
        assert_eq!(accepted.get_metric().len(), 3);
    }
}
