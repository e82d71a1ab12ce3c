// SPDX-License-Identifier: Apache-2.0
//! What is counted of remote runs.

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};
use protocol::remote_run::Outcome;

/// Metrics of remote runs.
#[derive(Debug, Clone)]
pub struct Metrics {
    nodes: IntCounterVec,
    /// Requests whose client went away before the end.
    pub cancelled: IntCounter,
}

impl Metrics {
    /// Makes and registers them.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let opts = Opts::new(
            "relayd_remote_run_nodes_total",
            "Nodes asked to run through version 2 of remote runs, by how it ended",
        );
        let nodes = IntCounterVec::new(opts, &["outcome"])?;
        for outcome in ["succeeded", "failed", "unknown", "refused", "unreachable", "expired"] {
            nodes.with_label_values(&[outcome]);
        }
        let cancelled = IntCounter::new(
            "relayd_remote_runs_cancelled_total",
            "Requests for remote runs whose client went away before the end",
        )?;
        registry.register(Box::new(nodes.clone()))?;
        registry.register(Box::new(cancelled.clone()))?;
        Ok(Self { nodes, cancelled })
    }

    /// Counts the end of a node.
    pub fn ended(&self, outcome: Outcome) {
        let label = match outcome {
            Outcome::Succeeded => "succeeded",
            Outcome::Failed(_) => "failed",
            Outcome::Unknown => "unknown",
            Outcome::Refused => "refused",
            Outcome::Unreachable => "unreachable",
            Outcome::Expired => "expired",
        };
        self.nodes.with_label_values(&[label]).inc();
    }
}
