// SPDX-License-Identifier: Apache-2.0
//! Where the policies of a node are in the directory of another program (protocol 8.4).

use std::path::{Path, PathBuf};

use protocol::{limits::RELAY_DEPTH, node_id::NodeId, node_list::NodeList};

/// The directory of a node: `<node>` for those of this server, `<relay>/share/<node>` for those behind a
/// relay, and so on downward.
pub fn of_node(directory: &Path, node: &NodeId, own: &NodeId, list: &NodeList) -> PathBuf {
    let mut place = directory.to_owned();
    let relays = relays_above(node, own, list);
    for relay in relays.iter().rev() {
        place.extend([relay.as_str(), "share"]);
    }
    place.push(node.as_str());
    place
}

/// The relays between a node and this server, the nearest to the node first. None for a node that is not
/// below this server.
fn relays_above<'a>(node: &'a NodeId, own: &NodeId, list: &'a NodeList) -> Vec<&'a NodeId> {
    let mut relays = Vec::new();
    let mut at = node;
    for _ in 0..RELAY_DEPTH {
        match list.get(at).map(|entry| &entry.policy_server) {
            Some(server) if server == own => return relays,
            Some(server) if server != at => {
                relays.push(server);
                at = server;
            }
            _ => break,
        }
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[(&str, &str)]) -> NodeList {
        let entry = |(node, server): &(&str, &str)| {
            (node.to_string(), serde_json::json!({"hostname": node, "policy-server": server}))
        };
        let json: serde_json::Map<_, _> = entries.iter().map(entry).collect();
        NodeList::from_json(&serde_json::to_vec(&json).unwrap()).unwrap()
    }

    #[test]
    fn relays_hold_what_is_behind_them() {
        let list = list(&[
            ("root", "root"),
            ("r1", "root"),
            ("r2", "r1"),
            ("direct", "root"),
            ("near", "r1"),
            ("far", "r2"),
            ("lost", "nowhere"),
            ("a", "b"),
            ("b", "a"),
        ]);
        for (own, node, expected) in [
            ("root", "root", "root"),
            ("root", "direct", "direct"),
            ("root", "r1", "r1"),
            ("root", "near", "r1/share/near"),
            ("root", "r2", "r1/share/r2"),
            ("root", "far", "r1/share/r2/share/far"),
            ("r1", "far", "r2/share/far"),
            ("r2", "far", "far"),
            ("root", "unknown", "unknown"),
            ("root", "lost", "lost"),
            ("root", "a", "a"),
        ] {
            let place = of_node(Path::new("/s"), &node.parse().unwrap(), &own.parse().unwrap(), &list);
            assert_eq!(place, Path::new("/s").join(expected), "{node} on {own}");
        }
    }
}
