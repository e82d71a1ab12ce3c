// SPDX-License-Identifier: Apache-2.0
//! Prometheus metrics.
//!
//! There is no global registry: one [`prometheus::Registry`] is made at start and handed down;
//! each service keeps its own struct of metrics, made with `new(&Registry)`, beside its code.
//! The compatible names of protocol 7.7 live here because several flows count into them.

pub mod server;

use prometheus::{Histogram, HistogramOpts, IntCounterVec, IntGauge, Opts, Registry};

/// The metrics that existing daemons export, with the same names (protocol 7.7).
#[derive(Debug, Clone)]
pub struct CompatibleMetrics {
    /// Run logs by how they ended: `invalid`, `ok`, `error`, `forward_ok`, `forward_error`.
    pub reports: IntCounterVec,
    /// Inventory files by how they ended: `forward_ok`, `forward_error`.
    pub inventories: IntCounterVec,
    /// Nodes attached to this policy server.
    pub managed_nodes: IntGauge,
    /// Nodes in the list.
    pub sub_nodes: IntGauge,
    /// Time to process one run log.
    pub processing_seconds: Histogram,
}

impl CompatibleMetrics {
    /// Makes and registers them, all label values present with 0.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            reports: IntCounterVec::new(
                Opts::new("rudder_relayd_reports_total", "Run logs processed, by status"),
                &["status"],
            )?,
            inventories: IntCounterVec::new(
                Opts::new("rudder_relayd_inventories_total", "Inventory files processed, by status"),
                &["status"],
            )?,
            managed_nodes: IntGauge::new(
                "rudder_relayd_managed_nodes_total",
                "Nodes attached to this policy server",
            )?,
            sub_nodes: IntGauge::new("rudder_relayd_sub_nodes_total", "Nodes in the node list")?,
            processing_seconds: Histogram::with_opts(HistogramOpts::new(
                "rudder_relayd_reports_processing_duration_seconds",
                "Time to process one run log, in seconds",
            ))?,
        };
        for status in ["invalid", "ok", "error", "forward_ok", "forward_error"] {
            metrics.reports.with_label_values(&[status]);
        }
        for status in ["forward_ok", "forward_error"] {
            metrics.inventories.with_label_values(&[status]);
        }
        registry.register(Box::new(metrics.reports.clone()))?;
        registry.register(Box::new(metrics.inventories.clone()))?;
        registry.register(Box::new(metrics.managed_nodes.clone()))?;
        registry.register(Box::new(metrics.sub_nodes.clone()))?;
        registry.register(Box::new(metrics.processing_seconds.clone()))?;
        Ok(metrics)
    }
}
