// SPDX-License-Identifier: Apache-2.0
//! What retention counts.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use super::pass::Pass;

/// The counters.
#[derive(Debug, Clone)]
pub(super) struct Metrics {
    partitions: IntCounterVec,
    rows: IntCounterVec,
    bytes: IntCounter,
    reached: IntGauge,
    without_partition: IntGauge,
    failing: IntGauge,
}

impl Metrics {
    /// Makes and registers them.
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            partitions: IntCounterVec::new(
                Opts::new("relayd_retention_partitions_total", "Partitions that retention made or dropped"),
                &["action"],
            )?,
            rows: IntCounterVec::new(
                Opts::new(
                    "relayd_retention_rows_total",
                    "Rows that retention deleted one by one, or moved into the partition that they lacked",
                ),
                &["action"],
            )?,
            bytes: IntCounter::new(
                "relayd_retention_dropped_bytes_total",
                "Bytes of the partitions that retention dropped",
            )?,
            reached: IntGauge::new(
                "relayd_retention_reached_seconds",
                "The time from which retention counts what is old, in seconds since 1970",
            )?,
            without_partition: IntGauge::new(
                "relayd_retention_rows_without_partition",
                "Rows in default partitions after the last pass: of days far away, or not moved yet",
            )?,
            failing: IntGauge::new(
                "relayd_retention_failing",
                "1 when the last pass of retention left something undone, else 0",
            )?,
        };
        for action in ["made", "dropped"] {
            metrics.partitions.with_label_values(&[action]);
        }
        for action in ["deleted", "moved"] {
            metrics.rows.with_label_values(&[action]);
        }
        registry.register(Box::new(metrics.partitions.clone()))?;
        registry.register(Box::new(metrics.rows.clone()))?;
        registry.register(Box::new(metrics.bytes.clone()))?;
        registry.register(Box::new(metrics.reached.clone()))?;
        registry.register(Box::new(metrics.without_partition.clone()))?;
        registry.register(Box::new(metrics.failing.clone()))?;
        Ok(metrics)
    }

    pub(super) fn count(&self, pass: &Pass) {
        self.partitions.with_label_values(&["made"]).inc_by(pass.made.len() as u64);
        self.partitions.with_label_values(&["dropped"]).inc_by(pass.dropped.len() as u64);
        self.rows.with_label_values(&["deleted"]).inc_by(pass.rows);
        self.rows.with_label_values(&["moved"]).inc_by(pass.made.iter().map(|made| made.moved).sum());
        self.bytes.inc_by(pass.dropped.iter().map(|dropped| dropped.bytes).sum());
        self.reached.set(pass.present);
        self.without_partition.set(i64::try_from(pass.without_partition).unwrap_or(i64::MAX));
        self.failing.set(i64::from(!pass.problems.is_empty()));
    }

    pub(super) fn failed(&self) {
        self.failing.set(1);
    }
}
