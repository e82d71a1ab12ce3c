// SPDX-License-Identifier: Apache-2.0
//! Metrics of the registry.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};
use protocol::enrolment::State;

use super::record::{ConflictKind, NodeState};

/// Counted and measured by the service.
#[derive(Debug, Clone)]
pub(super) struct Metrics {
    /// Nodes by state.
    pub(super) nodes: IntGaugeVec,
    /// Conflicts that nobody has resolved, by kind.
    pub(super) conflicts: IntGaugeVec,
    /// Tokens that can be used.
    pub(super) tokens: IntGauge,
    /// Requests by answer.
    pub(super) requests: IntCounterVec,
    /// Requests that lapsed.
    pub(super) lapsed: IntCounter,
    /// Whether the database works.
    pub(super) up: IntGauge,
}

impl Metrics {
    /// Makes and registers them, all label values present with 0.
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            nodes: IntGaugeVec::new(
                Opts::new("relayd_nodes", "Nodes of the registry, by state"),
                &["state"],
            )?,
            conflicts: IntGaugeVec::new(
                Opts::new("relayd_node_conflicts", "Conflicts of identity that nobody has resolved, by kind"),
                &["kind"],
            )?,
            tokens: IntGauge::new("relayd_enrolment_tokens", "Enrolment tokens that can be used")?,
            requests: IntCounterVec::new(
                Opts::new("relayd_enrolment_requests_total", "Requests to be taken in, by answer"),
                &["answer"],
            )?,
            lapsed: IntCounter::new(
                "relayd_enrolment_lapsed_total",
                "Nodes that were forgotten because they did not ask for 7 days while they waited",
            )?,
            up: IntGauge::new("relayd_registry_up", "Whether the database of the registry works")?,
        };
        NodeState::ALL.iter().for_each(|state| metrics.nodes.with_label_values(&[state.as_str()]).set(0));
        ConflictKind::ALL
            .iter()
            .for_each(|kind| metrics.conflicts.with_label_values(&[kind.as_str()]).set(0));
        for answer in State::ALL.iter().map(|state| state.as_str()).chain([PUT_OFF]) {
            metrics.requests.with_label_values(&[answer]);
        }
        registry.register(Box::new(metrics.nodes.clone()))?;
        registry.register(Box::new(metrics.conflicts.clone()))?;
        registry.register(Box::new(metrics.tokens.clone()))?;
        registry.register(Box::new(metrics.requests.clone()))?;
        registry.register(Box::new(metrics.lapsed.clone()))?;
        registry.register(Box::new(metrics.up.clone()))?;
        Ok(metrics)
    }
}

/// The answer when too many wait, or the database is down.
pub(super) const PUT_OFF: &str = "later";
