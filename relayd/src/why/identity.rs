// SPDX-License-Identifier: Apache-2.0
//! Does this server know the node, its key, and the way to it?

use protocol::node_list::{NextHop, NoRoute};

use super::{
    bundle::Bundle,
    failed,
    gather::{Evidence, Trouble},
    traces::{self, When},
};
use crate::{
    config::NodesSource,
    finding::{Finding, Level},
    registry::record::{ConflictKind, NodeDetails, NodeState},
};

pub(super) const NAME: &str = "identity";

pub(super) fn check(e: &Evidence<'_>) -> Vec<Finding> {
    let list = e.config.general.nodes_list_file.display();
    let mut found = Vec::new();
    match &e.list {
        Err(Trouble::Failed(cause, remedy)) => found.push(Finding::error(NAME, list, cause, remedy)),
        Err(Trouble::Late(_) | Trouble::Unasked(..)) => {}
        Ok(_) => found.extend(known(e)),
    }
    if let Some(details) = e.stored().and_then(|stored| stored.node.as_ref()) {
        found.extend(conflicts(e, details));
    }
    if e.entry().is_some() {
        found.extend(keys(e));
        found.extend(way(e));
        found.extend(outdated(e));
    }
    found
}

/// Whether it belongs to the instance.
fn known(e: &Evidence<'_>) -> Option<Finding> {
    let (list, name) = (e.config.general.nodes_list_file.display(), e.name());
    let of_registry = e.stored().and_then(|stored| stored.node.as_ref());
    if let Some(NodeDetails { node, .. }) = of_registry
        && node.state != NodeState::Accepted
    {
        let id = &node.node_id;
        let (text, remedy) = match node.state {
            NodeState::Pending => (
                "it waits to be accepted",
                format!(
                    "compare its fingerprint with what `agent enroll` printed there, then `relayd node accept {id}`"
                ),
            ),
            NodeState::Rejected => {
                ("it was rejected", format!("`relayd node accept {id}`, if that was wrong"))
            }
            NodeState::Revoked | NodeState::Accepted => {
                ("it was revoked", format!("`relayd node accept {id}` takes it back, if that is wanted"))
            }
        };
        let by = node.decided_by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
        return Some(Finding::error(NAME, name, format!("{text}{by}"), remedy));
    }
    if e.entry().is_some() || of_registry.is_some() {
        return None;
    }
    let remedy = match e.config.nodes.source {
        NodesSource::Database => {
            "run `agent enroll` there, then `relayd node list --state pending`; and see that the name is right"
        }
        NodesSource::Files => {
            "accept it where nodes are managed, which writes the list again; then `systemctl reload rudder-relayd`"
        }
        NodesSource::Upstream => {
            "ask on the root, `relayd node show NODE`, whether it is accepted and below this relay; `relayd node \
             move` hangs it here"
        }
    };
    let text = format!("no node {name:?} is known here: what it sends is refused");
    Some(Finding::error(NAME, list, text, remedy))
}

/// Whether it is known by the key that it has.
fn keys(e: &Evidence<'_>) -> Option<Finding> {
    let (entry, name) = (e.entry()?, e.name());
    let bundle = e.config.general.nodes_certs_file.display();
    let has_hash = entry.key_hashes().next().is_some();
    match &e.bundle {
        Bundle::Unreadable(_, error) => {
            let text = format!("the certificates of the nodes cannot be read: {error}");
            let remedy = "give it to group rudder with mode 0640, then `systemctl reload rudder-relayd`";
            Some(Finding::error(NAME, bundle, text, remedy))
        }
        Bundle::Read(certificates) if certificates.is_empty() => {
            let text = format!("there is no certificate of {name}: its run logs cannot be verified");
            let remedy = "have the bundle written again where nodes are managed, then `systemctl reload \
                          rudder-relayd`; `relayd spool retry --node ID` delivers what was refused";
            Some(Finding::error(NAME, bundle, text, remedy))
        }
        Bundle::Read(certificates)
            if has_hash
                && !certificates
                    .iter()
                    .any(|one| entry.key_hashes().any(|hash| hash.matches(one.spki_der()))) =>
        {
            let text = format!(
                "the certificate of {name} has another key ({}) than the node list: one of them is old",
                certificates[0].key_hash()
            );
            let remedy = "compare with `agent cert show` on the node, and have list and bundle written again where \
                          nodes are managed";
            Some(Finding::error(NAME, bundle, text, remedy))
        }
        Bundle::NotNeeded if !has_hash => {
            let list = e.config.general.nodes_list_file.display();
            let text = format!("no key of {name} is known: its client certificate is not accepted");
            let remedy =
                "have the list written again with `key-hash`, or have the node enrol: `agent enroll`";
            Some(Finding::error(NAME, list, text, remedy))
        }
        Bundle::TooLarge => {
            let text = "too large to be looked through for the certificate of one node in this time";
            Some(Finding::unknown(
                NAME,
                bundle,
                text,
                "look at `failed` below: what has no certificate is there",
            ))
        }
        Bundle::NotNeeded | Bundle::Read(_) => None,
    }
}

/// Whether it is below this server.
fn way(e: &Evidence<'_>) -> Option<Finding> {
    let (list, node) = (e.list.as_ref().ok()?, e.node.as_ref()?);
    let here = &e.config.general.node_id;
    if node == here {
        return None;
    }
    let place = e.config.general.nodes_list_file.display();
    match list.next_hop(node, here) {
        Ok(NextHop::Local) | Err(NoRoute::Unknown(_)) => None,
        Ok(NextHop::Relay(relay)) => {
            let host = list.get(&relay).map_or(relay.as_str(), |entry| entry.hostname.as_str());
            let server = &e.entry()?.policy_server;
            let text =
                format!("{} is attached to {server}, which passes its run logs on over {host}", e.name());
            let remedy = format!("when nothing is found here, run `relayd why id:{node}` there as well");
            Some(Finding::unknown(NAME, relay, text, remedy))
        }
        Err(NoRoute::Astray(_)) => {
            let server = &e.entry()?.policy_server;
            let text = format!("{} is not below this server: its policy server is {server}", e.name());
            let remedy =
                "ask there, or hang it here: `relayd node move` on the root, or where nodes are managed";
            Some(Finding::error(NAME, place, text, remedy))
        }
    }
}

/// Whether the daemon works with the list that is there. That is a cause only for nodes that it may not know: not for
/// those of which runs were stored, unless the last one was refused for that.
fn outdated(e: &Evidence<'_>) -> Option<Finding> {
    if e.config.nodes.source != NodesSource::Files {
        return None;
    }
    let (has, loaded) =
        (e.list.as_ref().ok()?.len() as u64, e.daemon.as_ref().ok()?["nodes"]["known"].as_u64()?);
    (has != loaded).then(|| {
        let text = format!("the daemon works with {loaded} nodes, the list has {has}");
        let remedy =
            "`systemctl reload rudder-relayd`, then `relayd spool retry --node ID` for what was refused";
        let finding = Finding::error(NAME, e.config.general.nodes_list_file.display(), text, remedy);
        let was_known = e.stored().is_some_and(|stored| !stored.runs.is_empty());
        if was_known && !failed::is_of_a_stranger(e) { finding.at_most(Level::Warning) } else { finding }
    })
}

/// What an operator has not settled yet.
fn conflicts(e: &Evidence<'_>, details: &NodeDetails) -> Vec<Finding> {
    let id = &details.node.node_id;
    let open = details.conflicts.iter().filter(|conflict| conflict.resolved.is_none());
    let told = open.map(|conflict| {
        let remedy = match conflict.kind {
            ConflictKind::OtherKey => format!(
                "if the machine was installed anew: `relayd node delete {id}`, and accept it again; if not, somebody \
                 claims to be it"
            ),
            ConflictKind::OtherId | ConflictKind::Clone | ConflictKind::Rollback => format!(
                "see `relayd node show {id}`; give a clone an identity of its own, then `relayd node resolve {id}`"
            ),
        };
        let text = format!("{} (last at {})", conflict.detail, crate::status::date(conflict.last_seen));
        let finding = match conflict.kind {
            ConflictKind::OtherKey => Finding::error(NAME, id, text, remedy),
            _ => Finding::warning(NAME, id, text, remedy),
        };
        traces::judged(e, Some(When::Here(conflict.last_seen)), finding)
    });
    told.take(5).collect()
}
