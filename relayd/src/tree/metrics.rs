// SPDX-License-Identifier: Apache-2.0
//! What a follower counts.

use prometheus::{IntCounterVec, IntGauge, Opts, Registry};

/// Metrics of a [`Follower`](super::Follower).
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Whether the upstream answered last time.
    pub up: IntGauge,
    /// When it did last.
    pub confirmed: IntGauge,
    answers: IntCounterVec,
}

/// How asking the upstream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// All nodes.
    All,
    /// What changed.
    Changes,
    /// That nothing changed.
    Nothing,
    /// Nothing of use.
    Failure,
}

impl Heard {
    const ALL: [Self; 4] = [Self::All, Self::Changes, Self::Nothing, Self::Failure];

    fn label(self) -> &'static str {
        match self {
            Self::All => "full",
            Self::Changes => "changes",
            Self::Nothing => "unchanged",
            Self::Failure => "failure",
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
        for heard in Heard::ALL {
            metrics.answers.with_label_values(&[heard.label()]);
        }
        registry.register(Box::new(metrics.up.clone()))?;
        registry.register(Box::new(metrics.confirmed.clone()))?;
        registry.register(Box::new(metrics.answers.clone()))?;
        Ok(metrics)
    }

    /// Counts an answer.
    pub fn heard(&self, heard: Heard) {
        self.answers.with_label_values(&[heard.label()]).inc();
    }
}
