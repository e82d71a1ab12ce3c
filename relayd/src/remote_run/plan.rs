// SPDX-License-Identifier: Apache-2.0
//! Who reaches which node: the next hops of protocol 7.6.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{
    node_id::NodeId,
    node_list::{NextHop, NoRoute, NodeList},
};

/// Where a request goes from here.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Nodes that are attached to this server.
    pub local: Vec<NodeId>,
    /// Nodes behind relays, by the relay that comes next.
    pub behind: BTreeMap<NodeId, Vec<NodeId>>,
    /// Nodes that cannot be reached from here, and why.
    pub astray: Vec<NoRoute>,
}

impl Plan {
    /// The way to each of these nodes.
    pub fn to(list: &NodeList, here: &NodeId, nodes: impl IntoIterator<Item = NodeId>) -> Self {
        let mut plan = Self::default();
        for node in nodes {
            match list.next_hop(&node, here) {
                Ok(NextHop::Local) => plan.local.push(node),
                Ok(NextHop::Relay(relay)) => plan.behind.entry(relay).or_default().push(node),
                Err(why) => plan.astray.push(why),
            }
        }
        plan
    }

    /// The way to all nodes that are below this server, which is none of them, or below one of its relays.
    pub fn to_all_below(list: &NodeList, here: &NodeId, server: &NodeId) -> Self {
        let below = list.iter().map(|(node, _)| node).filter(|node| list.is_below(node, server));
        let mut nodes: Vec<NodeId> = below.filter(|node| *node != here).cloned().collect();
        nodes.sort_unstable();
        Self::to(list, here, nodes)
    }

    /// All nodes of it.
    pub fn nodes(&self) -> Vec<NodeId> {
        let astray = self.astray.iter().map(|(NoRoute::Unknown(node) | NoRoute::Astray(node))| node);
        self.local.iter().chain(self.behind.values().flatten()).chain(astray).cloned().collect()
    }
}

/// What `all` means in version 1: the nodes attached to this server, and the relays that are attached to
/// it and have nodes themselves.
pub fn all_in_version_1(list: &NodeList, here: &NodeId) -> (Vec<NodeId>, Vec<NodeId>) {
    let mut local: Vec<NodeId> = list.direct(here).cloned().collect();
    local.sort_unstable();
    let servers: BTreeSet<&NodeId> = list.iter().map(|(_, entry)| &entry.policy_server).collect();
    let is_next = |server: &&NodeId| {
        *server != here && list.get(server).is_some_and(|entry| entry.policy_server == *here)
    };
    (local, servers.into_iter().filter(is_next).cloned().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> NodeId {
        text.parse().unwrap()
    }

    fn ids(texts: &[&str]) -> Vec<NodeId> {
        texts.iter().map(|text| id(text)).collect()
    }

    /// `root` ─ `r1` ─ `r2` ─ `deep`; `near` and `r1` at the root, `mid` at `r1`; `x` and `y` in a circle,
    /// `lost` at a server that is not there.
    fn list() -> NodeList {
        let nodes = [
            ("root", "root"),
            ("near", "root"),
            ("r1", "root"),
            ("mid", "r1"),
            ("r2", "r1"),
            ("deep", "r2"),
            ("x", "y"),
            ("y", "x"),
            ("lost", "gone"),
        ];
        let nodes = nodes.map(|(node, server)| {
            (node.to_owned(), serde_json::json!({"hostname": node, "policy-server": server}))
        });
        let json = serde_json::Value::Object(nodes.into_iter().collect()).to_string();
        NodeList::from_json(json.as_bytes()).unwrap()
    }

    #[test]
    fn next_hops_on_a_list_of_three_levels() {
        let all = ["root", "near", "r1", "mid", "r2", "deep", "x", "lost", "unknown"];
        let plan = Plan::to(&list(), &NodeId::root(), ids(&all));
        assert_eq!(plan.local, ids(&["root", "near", "r1"]));
        assert_eq!(plan.behind, BTreeMap::from([(id("r1"), ids(&["mid", "r2", "deep"]))]));
        assert_eq!(
            plan.astray,
            [NoRoute::Astray(id("x")), NoRoute::Astray(id("lost")), NoRoute::Unknown(id("unknown"))]
        );

        let plan = Plan::to(&list(), &id("r1"), ids(&all));
        assert_eq!(plan.local, ids(&["mid", "r2"]));
        assert_eq!(plan.behind, BTreeMap::from([(id("r2"), ids(&["deep"]))]));
        assert_eq!(plan.astray.len(), 6, "what is above is not below: {:?}", plan.astray);

        let plan = Plan::to(&list(), &id("r2"), ids(&all));
        assert_eq!((plan.local, plan.behind.len()), (ids(&["deep"]), 0));
    }

    #[test]
    fn all_in_both_versions() {
        let root = NodeId::root();
        assert_eq!(all_in_version_1(&list(), &root), (ids(&["near", "r1", "root"]), ids(&["r1"])));
        assert_eq!(all_in_version_1(&list(), &id("r1")), (ids(&["mid", "r2"]), ids(&["r2"])));
        assert_eq!(all_in_version_1(&list(), &id("r2")), (ids(&["deep"]), vec![]));

        let plan = Plan::to_all_below(&list(), &root, &root);
        assert_eq!(plan.local, ids(&["near", "r1"]), "the server itself is not below itself");
        assert_eq!(plan.behind, BTreeMap::from([(id("r1"), ids(&["deep", "mid", "r2"]))]));
        assert!(plan.astray.is_empty());
        let plan = Plan::to_all_below(&list(), &root, &id("r2"));
        assert_eq!((plan.local, plan.behind), (vec![], BTreeMap::from([(id("r1"), ids(&["deep"]))])));
    }
}
