// SPDX-License-Identifier: Apache-2.0
//! What is counted about shared files.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// The metrics of shared files.
#[derive(Clone)]
pub(super) struct Metrics {
    /// Files stored here.
    pub(super) stored: IntCounter,
    /// Bytes of them.
    pub(super) received_bytes: IntCounter,
    /// Files passed to the server above.
    pub(super) forwarded: IntCounter,
    /// Files removed, by reason: `expired`, `orphaned`.
    pub(super) removed: IntCounterVec,
    /// Files here, as of the last sweep.
    pub(super) files: IntGauge,
    /// Metadata that cannot be read, as of the last sweep.
    pub(super) unreadable: IntGauge,
}

impl Metrics {
    /// Makes and registers them.
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            stored: IntCounter::new("relayd_shared_files_stored_total", "Shared files stored here")?,
            received_bytes: IntCounter::new(
                "relayd_shared_files_received_bytes_total",
                "Bytes of shared files received, whether stored or not",
            )?,
            forwarded: IntCounter::new(
                "relayd_shared_files_forwarded_total",
                "Shared files passed to the server above",
            )?,
            removed: IntCounterVec::new(
                Opts::new("relayd_shared_files_removed_total", "Shared files removed, by reason"),
                &["reason"],
            )?,
            files: IntGauge::new("relayd_shared_files", "Shared files here, as of the last sweep")?,
            unreadable: IntGauge::new(
                "relayd_shared_files_unreadable",
                "Shared files whose metadata cannot be read, as of the last sweep",
            )?,
        };
        for reason in ["expired", "orphaned"] {
            metrics.removed.with_label_values(&[reason]);
        }
        registry.register(Box::new(metrics.stored.clone()))?;
        registry.register(Box::new(metrics.received_bytes.clone()))?;
        registry.register(Box::new(metrics.forwarded.clone()))?;
        registry.register(Box::new(metrics.removed.clone()))?;
        registry.register(Box::new(metrics.files.clone()))?;
        registry.register(Box::new(metrics.unreadable.clone()))?;
        Ok(metrics)
    }
}
