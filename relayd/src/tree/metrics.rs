// SPDX-License-Identifier: Apache-2.0
//! What a follower counts.

use prometheus::{IntCounterVec, IntGauge, Opts, Registry};

/// Metrics of a [`Follower`](super::Follower).
#[derive(Debug, Clone)]
pub struct Metrics {
    up: IntGauge,
    confirmed: IntGauge,
    answers: IntCounterVec,
}

/// What the upstream said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// All nodes.
    All,
    /// What changed.
    Changes,
    /// That nothing changed.
    Nothing,
}

/// The label of an attempt that brought nothing of use.
const FAILURE: &str = "failure";

impl Heard {
    fn label(self) -> &'static str {
        match self {
            Self::All => "full",
            Self::Changes => "changes",
            Self::Nothing => "unchanged",
        }
    }
}

impl Metrics {
    /// Makes and registers them.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let up =
            "1 while the upstream tells which nodes are below this relay, 0 while the last state is used";
        let confirmed =
            "Unix time at which the upstream last said which nodes are below this relay; 0: never";
        let answers = "Requests for the nodes below this relay, by what the upstream said";
        let metrics = Self {
            up: IntGauge::new("relayd_tree_up", up)?,
            confirmed: IntGauge::new("relayd_tree_confirmed_timestamp_seconds", confirmed)?,
            answers: IntCounterVec::new(Opts::new("relayd_tree_answers_total", answers), &["answer"])?,
        };
        for heard in [Heard::All, Heard::Changes, Heard::Nothing] {
            metrics.answers.with_label_values(&[heard.label()]);
        }
        metrics.answers.with_label_values(&[FAILURE]);
        registry.register(Box::new(metrics.up.clone()))?;
        registry.register(Box::new(metrics.confirmed.clone()))?;
        registry.register(Box::new(metrics.answers.clone()))?;
        Ok(metrics)
    }

    /// Notes an answer, which came at that Unix time.
    pub fn heard(&self, heard: Heard, now: i64) {
        self.answers.with_label_values(&[heard.label()]).inc();
        self.up.set(1);
        self.confirmed.set(now);
    }

    /// Notes that there was none of use.
    pub fn failed(&self) {
        self.answers.with_label_values(&[FAILURE]).inc();
        self.up.set(0);
    }
}
