// SPDX-License-Identifier: Apache-2.0
//! What is known of a request, for its log line and its metrics.

use protocol::node_id::NodeId;

use super::{
    answer::Refusal,
    client::{Client, Peer},
    route::UploadName,
    rules::{Purpose, Rule},
};

/// What is known of a request when it is logged.
#[derive(Default)]
pub struct Seen {
    pub rule: Option<&'static Rule>,
    pub client: Option<Client>,
    pub name: Option<UploadName>,
    pub node: Option<NodeId>,
}

impl Seen {
    /// What requests like this are counted by.
    pub fn label(&self) -> &'static str {
        self.rule.map_or("other", Rule::label)
    }

    /// Logs that it was refused.
    pub fn refused(&self, peer: &Peer, refusal: &Refusal, held_back: u64) {
        let Some(rule) = self.rule else { return };
        let node = self.node.clone().or_else(|| self.name.as_ref().and_then(UploadName::node_id));
        let (queue_id, node_id) = (
            self.name.as_ref().map(|name| tracing::field::display(name.queue_id())),
            node.map(tracing::field::display),
        );
        tracing::warn!(
            queue_id,
            node_id,
            client = self.client.as_ref().map(tracing::field::debug),
            peer = %peer.address,
            status = refusal.status().as_u16(),
            // Reasons may quote what the client sent.
            reason = %refusal.reason().escape_debug(),
            held_back,
            route = rule.label(),
            "{} refused",
            if matches!(rule.purpose, Purpose::Upload(_)) { "upload" } else { "request" }
        );
    }
}
