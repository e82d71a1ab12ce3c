// SPDX-License-Identifier: Apache-2.0
//! The node list: who is below whom, with which key (protocol 5.1, 7.6).

use std::collections::HashMap;

use crate::{hash::KeyHash, node_id::NodeId};

/// One node, as the list has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeEntry {
    /// Host name, for remote runs and as host of relays.
    pub hostname: String,
    /// `None` when missing, empty or malformed.
    pub key_hash: Option<KeyHash>,
    /// The policy server this node is attached to; `root` for root.
    pub policy_server: NodeId,
}

/// All nodes below a policy server, and `root`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeList(HashMap<NodeId, NodeEntry>);

/// Where a request for a node goes from here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NextHop {
    /// The node is attached to this policy server.
    Local,
    /// Through this relay, which is attached to this policy server.
    Relay(NodeId),
}

/// Why a node cannot be reached from here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoRoute {
    /// Not in the list.
    #[error("node {0} is not in the node list")]
    Unknown(NodeId),
    /// The chain of policy servers leaves the list or goes in circles.
    #[error("the policy servers of node {0} do not lead here")]
    Astray(NodeId),
}

/// Why a node list file is refused as a whole.
#[derive(Debug, thiserror::Error)]
#[error("node list: {0}")]
pub struct NodeListError(#[from] serde_json::Error);

impl NodeList {
    /// Reads `nodeslist.json`.
    pub fn from_json(json: &[u8]) -> Result<Self, NodeListError> {
        let _ = json;
        todo!()
    }

    /// The entry of a node.
    pub fn get(&self, node: &NodeId) -> Option<&NodeEntry> {
        self.0.get(node)
    }

    /// How many nodes the list has.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the list has no node.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All nodes, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&NodeId, &NodeEntry)> {
        self.0.iter()
    }

    /// Nodes attached to this policy server (`root` belongs to its own).
    pub fn direct<'a>(&'a self, server: &'a NodeId) -> impl Iterator<Item = &'a NodeId> {
        self.0.iter().filter(move |(_, e)| e.policy_server == *server).map(|(id, _)| id)
    }

    /// Where a request for `node` goes from `here`.
    pub fn next_hop(&self, node: &NodeId, here: &NodeId) -> Result<NextHop, NoRoute> {
        let _ = (node, here);
        todo!()
    }

    /// Whether `node` hangs somewhere below the policy server `relay` (a node is not below itself).
    pub fn is_below(&self, node: &NodeId, relay: &NodeId) -> bool {
        let _ = (node, relay);
        todo!()
    }
}
