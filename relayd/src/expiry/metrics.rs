// SPDX-License-Identifier: Apache-2.0
//! Gauges of what expires.

use chrono::{DateTime, Utc};
use prometheus::{IntGaugeVec, Opts, Registry};

use super::nodes::{Counts, Found};

/// The gauges.
pub struct ExpiryMetrics {
    /// Unix time, by certificate; no series where there is no certificate.
    certificates: IntGaugeVec,
    /// Nodes, by who issued their certificates and how long the last of these is valid.
    nodes: IntGaugeVec,
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
                    "Nodes with certificates, by who issued them and how long the last one is still valid",
                ),
                &["issuer", "left"],
            )?,
        };
        metrics.nodes(&Found::default());
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
    pub fn nodes(&self, found: &Found) {
        for (issuer, Counts { expired, week, month, longer }) in
            [("self", found.own), ("authority", found.issued)]
        {
            for (left, nodes) in
                [("expired", expired), ("under_7_days", week), ("under_30_days", month), ("longer", longer)]
            {
                self.nodes.with_label_values(&[issuer, left]).set(nodes);
            }
        }
    }
}
