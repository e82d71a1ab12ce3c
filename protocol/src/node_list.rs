// SPDX-License-Identifier: Apache-2.0
//! The node list: who is below whom, with which key (protocol 5.1, 7.6).

use std::{
    collections::{HashMap, HashSet},
    fmt,
};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error as _, MapAccess, Visitor},
};
use serde_json::Value;

use crate::{hash::KeyHash, limits::RELAY_DEPTH, node_id::NodeId};

/// One node, as the list has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Member", into = "Member")]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
pub struct NodeEntry {
    /// Host name, for remote runs and as host of relays.
    pub hostname: String,
    /// `None` when missing, empty or malformed.
    pub key_hash: Option<KeyHash>,
    /// More keys that are valid now, as while one replaces another; malformed ones are left out.
    pub other_key_hashes: Vec<KeyHash>,
    /// The policy server this node is attached to; `root` for root.
    pub policy_server: NodeId,
    /// Whether the node was accepted as a relay. Lists of other programs do not say.
    pub is_relay: bool,
}

impl NodeEntry {
    /// All keys of the node that are valid now.
    pub fn key_hashes(&self) -> impl Iterator<Item = &KeyHash> {
        self.key_hash.iter().chain(&self.other_key_hashes)
    }
}

/// All nodes below a policy server, and `root`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeList(HashMap<NodeId, NodeEntry>);

/// Shortest start of an id that stands for it, in characters.
const SHORTEST_START: usize = 8;

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

    /// Writes `nodeslist.json`: sorted by id, one node a line, always the same for the same list.
    pub fn to_json(&self) -> Vec<u8> {
        let mut nodes: Vec<_> = self.0.iter().collect();
        nodes.sort_unstable_by_key(|(id, _)| *id);
        let mut json = b"{".to_vec();
        for (index, (id, entry)) in nodes.into_iter().enumerate() {
            json.extend_from_slice(if index == 0 { b"\n  " } else { b",\n  " });
            // Texts only: there is nothing that could have no JSON form.
            serde_json::to_writer(&mut json, id).expect("a node id is a text");
            json.extend_from_slice(b": ");
            serde_json::to_writer(&mut json, entry).expect("an entry consists of texts");
        }
        json.extend_from_slice(b"\n}\n");
        json
    }

    /// What the policy server `relay` needs to know: itself, all nodes below it, at any depth, and
    /// `root`. Takes time in proportion to the list.
    pub fn below(&self, relay: &NodeId) -> Self {
        let mut attached: HashMap<&NodeId, Vec<&NodeId>> = HashMap::new();
        for (id, entry) in &self.0 {
            attached.entry(&entry.policy_server).or_default().push(id);
        }
        let root = NodeId::root();
        let mut found: HashSet<&NodeId> = HashSet::from([relay, &root]);
        let mut level = vec![relay];
        for _ in 0..RELAY_DEPTH {
            // Taken out, so that lists that go in circles come to an end.
            let next = level.into_iter().filter_map(|server| attached.remove(server)).flatten();
            level = next.collect();
            found.extend(&level);
        }
        let entries = found.into_iter().filter_map(|id| self.0.get_key_value(id));
        entries.map(|(id, entry)| (id.clone(), entry.clone())).collect()
    }

    /// Puts a node in the list, or replaces its entry.
    pub fn insert(&mut self, node: NodeId, entry: NodeEntry) {
        self.0.insert(node, entry);
    }

    /// Takes a node out of the list.
    pub fn remove(&mut self, node: &NodeId) {
        self.0.remove(node);
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

    /// The nodes that a text may mean, by id: those with this id, with an id of this start (of 8 or more
    /// characters), or with this host name. Machines choose both, so there may be several; `id:` before a whole
    /// id means that one.
    pub fn meant_by(&self, text: &str) -> Vec<&NodeId> {
        let mut found: Vec<&NodeId> = match text.strip_prefix("id:") {
            Some(id) => self.0.keys().filter(|node| node.as_str() == id).collect(),
            None => {
                let by_start = text.chars().count() >= SHORTEST_START;
                let fits = |(node, entry): &(&NodeId, &NodeEntry)| {
                    node.as_str() == text
                        || entry.hostname.eq_ignore_ascii_case(text)
                        || (by_start && node.as_str().starts_with(text))
                };
                self.0.iter().filter(fits).map(|(node, _)| node).collect()
            }
        };
        found.sort_unstable();
        found
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

impl FromIterator<(NodeId, NodeEntry)> for NodeList {
    fn from_iter<T: IntoIterator<Item = (NodeId, NodeEntry)>>(nodes: T) -> Self {
        Self(nodes.into_iter().collect())
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
            let entry = members.next_value().map_err(|e| A::Error::custom(format!("node {node}: {e}")))?;
            nodes.insert(node, entry);
        }
        Ok(NodeList(nodes))
    }
}

/// An entry as the file has it. Members not named here are ignored.
///
/// Keys and role are of any type, because a malformed one means an unknown key or no relay, not a
/// malformed list.
#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema), schemars(rename = "NodeEntry"))]
struct Member {
    /// Host name.
    hostname: String,
    /// The policy server to which the node is attached.
    #[serde(rename = "policy-server")]
    policy_server: NodeId,
    /// Its key; absent when that is unknown.
    #[cfg_attr(feature = "json-schema", schemars(with = "Option<KeyHash>"))]
    #[serde(rename = "key-hash", default, skip_serializing_if = "Value::is_null")]
    key_hash: Value,
    /// More keys that are valid now.
    #[cfg_attr(feature = "json-schema", schemars(with = "Option<Vec<KeyHash>>"))]
    #[serde(rename = "other-key-hashes", default, skip_serializing_if = "Value::is_null")]
    other_key_hashes: Value,
    /// `relay` for relays; absent for others.
    #[cfg_attr(feature = "json-schema", schemars(with = "Option<String>"))]
    #[serde(default, skip_serializing_if = "Value::is_null")]
    role: Value,
}

const RELAY: &str = "relay";

impl From<Member> for NodeEntry {
    fn from(member: Member) -> Self {
        let key_hash = |value: &Value| value.as_str().and_then(|text| text.parse().ok());
        Self {
            hostname: member.hostname,
            key_hash: key_hash(&member.key_hash),
            other_key_hashes: member
                .other_key_hashes
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(key_hash)
                .collect(),
            policy_server: member.policy_server,
            is_relay: member.role == RELAY,
        }
    }
}

impl From<NodeEntry> for Member {
    fn from(entry: NodeEntry) -> Self {
        let others: Vec<String> = entry.other_key_hashes.iter().map(KeyHash::to_string).collect();
        Self {
            hostname: entry.hostname,
            policy_server: entry.policy_server,
            key_hash: entry.key_hash.map(String::from).into(),
            other_key_hashes: if others.is_empty() { Value::Null } else { others.into() },
            role: if entry.is_relay { RELAY.into() } else { Value::Null },
        }
    }
}
