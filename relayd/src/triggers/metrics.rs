// SPDX-License-Identifier: Apache-2.0
//! What is counted of triggers.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};
use protocol::remote_run::{Event, Outcome};

/// Metrics of [`Triggers`](super::Triggers).
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Agents that keep a connection.
    pub connected: IntGauge,
    /// Runs in hand.
    pub runs: IntGauge,
    /// Connections of which a newer one of the same node took the place.
    pub replaced: IntCounter,
    triggers: IntCounterVec,
}

/// What happens to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Asked for.
    Asked,
    /// Offered to its node for the first time.
    Delivered,
    /// Whoever asked has gone.
    Cancelled,
}

impl Step {
    fn label(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Delivered => "delivered",
            Self::Cancelled => "cancelled",
        }
    }
}

impl Metrics {
    /// Makes and registers them.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            connected: IntGauge::new(
                "relayd_trigger_connections",
                "Agents that keep a connection to hear of runs",
            )?,
            runs: IntGauge::new(
                "relayd_trigger_runs",
                "Runs that were asked of nodes of this server and are not over",
            )?,
            replaced: IntCounter::new(
                "relayd_trigger_connections_replaced_total",
                "Connections of agents that ended because another one of the same node was opened",
            )?,
            triggers: IntCounterVec::new(
                Opts::new(
                    "relayd_triggers_total",
                    "Runs asked of nodes of this server, by what happened to them",
                ),
                &["step"],
            )?,
        };
        let steps = [Step::Asked, Step::Delivered, Step::Cancelled].map(Step::label);
        for step in steps.into_iter().chain(["finished", "refused", "unreachable", "expired"]) {
            metrics.triggers.with_label_values(&[step]);
        }
        registry.register(Box::new(metrics.connected.clone()))?;
        registry.register(Box::new(metrics.runs.clone()))?;
        registry.register(Box::new(metrics.replaced.clone()))?;
        registry.register(Box::new(metrics.triggers.clone()))?;
        Ok(metrics)
    }

    /// Counts a step.
    pub fn step(&self, step: Step) {
        self.triggers.with_label_values(&[step.label()]).inc();
    }

    /// Counts an end.
    pub fn ended(&self, event: &Event) {
        let label = match event.outcome() {
            Some(Outcome::Succeeded | Outcome::Failed(_) | Outcome::Unknown) => "finished",
            Some(Outcome::Refused) => "refused",
            Some(Outcome::Unreachable) => "unreachable",
            Some(Outcome::Expired) => "expired",
            None => return,
        };
        self.triggers.with_label_values(&[label]).inc();
    }
}
