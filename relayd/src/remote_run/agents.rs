// SPDX-License-Identifier: Apache-2.0
//! What remote runs need of the connections that agents keep.

use protocol::{
    node_id::NodeId,
    remote_run::{Event, RunRequest},
};
use tokio::sync::mpsc::Receiver;

use crate::triggers::Triggers;

/// Agents of nodes that are attached to this server.
pub trait Agents: Send + Sync {
    /// Whether the agent of this node keeps a connection to this server.
    fn is_connected(&self, node: &NodeId) -> bool;

    /// Asks a node to run, now or at its next contact. The receiver gets what happens there, at the end
    /// one final event. Dropping it cancels the run, unless the node has begun it already.
    fn ask(&self, node: &NodeId, request: RunRequest) -> Receiver<Event>;
}

impl Agents for Triggers {
    fn is_connected(&self, node: &NodeId) -> bool {
        Triggers::is_connected(self, node)
    }

    fn ask(&self, node: &NodeId, request: RunRequest) -> Receiver<Event> {
        Triggers::ask(self, node, request)
    }
}
