// SPDX-License-Identifier: Apache-2.0
//! The node list: who is below whom, with which key (protocol 5.1, 7.6).

use std::{collections::HashMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, Visitor},
};

use crate::{hash::KeyHash, limits::RELAY_DEPTH, node_id::NodeId};

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
        Ok(serde_json::from_slice(json)?)
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
        if !self.0.contains_key(node) {
            return Err(NoRoute::Unknown(node.clone()));
        }
        let mut hop = node;
        for _ in 0..RELAY_DEPTH {
            let Some(entry) = self.0.get(hop) else { break };
            match &entry.policy_server {
                server if server == here && hop == node => return Ok(NextHop::Local),
                server if server == here => return Ok(NextHop::Relay(hop.clone())),
                // The top, and it is not here.
                server if server == hop => break,
                server => hop = server,
            }
        }
        Err(NoRoute::Astray(node.clone()))
    }

    /// Whether `node` hangs somewhere below the policy server `relay` (a node is not below itself).
    pub fn is_below(&self, node: &NodeId, relay: &NodeId) -> bool {
        node != relay && self.next_hop(node, relay).is_ok()
    }
}

impl<'de> Deserialize<'de> for NodeList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntryVisitor)
    }
}

struct EntryVisitor;

impl<'de> Visitor<'de> for EntryVisitor {
    type Value = NodeList;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with one member per node id")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<NodeList, A::Error> {
        let mut nodes = HashMap::new();
        while let Some(key) = members.next_key::<String>()? {
            let node: NodeId = key.parse().map_err(|e| A::Error::custom(format!("{key:?}: {e}")))?;
            let member: Member =
                members.next_value().map_err(|e| A::Error::custom(format!("node {node}: {e}")))?;
            nodes.insert(node, member.into());
        }
        Ok(NodeList(nodes))
    }
}

/// An entry as the file has it. Members not named here are ignored.
#[derive(Deserialize)]
struct Member {
    hostname: String,
    #[serde(rename = "policy-server")]
    policy_server: NodeId,
    /// Of any type, because a malformed one means an unknown key, not a malformed list.
    #[serde(rename = "key-hash", default)]
    key_hash: serde_json::Value,
}

impl From<Member> for NodeEntry {
    fn from(member: Member) -> Self {
        Self {
            hostname: member.hostname,
            key_hash: member.key_hash.as_str().and_then(|text| text.parse().ok()),
            policy_server: member.policy_server,
        }
    }
}
