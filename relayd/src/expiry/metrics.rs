// SPDX-License-Identifier: Apache-2.0
//! Gauges of what expires.

use chrono::{DateTime, TimeDelta, Utc};
use prometheus::{IntGaugeVec, Opts, Registry};

/// The gauges.
pub struct ExpiryMetrics {
    /// Unix time, by certificate; no series where there is no certificate.
    certificates: IntGaugeVec,
    /// Nodes, by how long they still have a valid certificate.
    nodes: IntGaugeVec,
}

/// Nodes with certificates, by how long the last one of each is still valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NodeCounts {
    /// Not any more.
    pub expired: i64,
    /// Less than 7 days.
    pub week: i64,
    /// 7 days or more, less than 30.
    pub month: i64,
    /// 30 days or more.
    pub longer: i64,
}

impl NodeCounts {
    /// Counts one node.
    pub fn add(&mut self, left: TimeDelta) {
        *match left {
            left if left <= TimeDelta::zero() => &mut self.expired,
            left if left < TimeDelta::days(7) => &mut self.week,
            left if left < TimeDelta::days(30) => &mut self.month,
            _ => &mut self.longer,
        } += 1;
    }
}

impl ExpiryMetrics {
    /// Makes and registers them.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            certificates: IntGaugeVec::new(
                Opts::new(
                    "relayd_certificate_not_after_seconds",
                    "When a certificate of this server expires, in seconds since 1970",
                ),
                &["certificate"],
            )?,
            nodes: IntGaugeVec::new(
                Opts::new(
                    "relayd_nodes_certificate_expiry",
                    "Nodes with certificates, by how long the last one of each is still valid",
                ),
                &["left"],
            )?,
        };
        metrics.nodes(&NodeCounts::default());
        registry.register(Box::new(metrics.certificates.clone()))?;
        registry.register(Box::new(metrics.nodes.clone()))?;
        Ok(metrics)
    }

    /// Shows when a certificate expires, or that there is none.
    pub fn certificate(&self, label: &str, end: Option<DateTime<Utc>>) {
        match end {
            Some(end) => self.certificates.with_label_values(&[label]).set(end.timestamp()),
            // Nothing to remove is as good.
            None => drop(self.certificates.remove_label_values(&[label])),
        }
    }

    /// Shows how it is with the nodes.
    pub fn nodes(&self, counts: &NodeCounts) {
        for (left, nodes) in [
            ("expired", counts.expired),
            ("under_7_days", counts.week),
            ("under_30_days", counts.month),
            ("longer", counts.longer),
        ] {
            self.nodes.with_label_values(&[left]).set(nodes);
        }
    }
}
