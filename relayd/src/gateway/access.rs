// SPDX-License-Identifier: Apache-2.0
//! Who may do what: the rule table applied to a request. Everything that no rule allows is refused.

use hyper::Method;
use protocol::node_id::NodeId;

pub use super::rules::{Listener, Purpose, RULES, Row, Rule, Who, find, table};
use super::{
    answer::Refusal,
    client::{Client, Peer},
    route::UploadName,
    rules,
};
use crate::{http::ServiceKind, nodes::NodeTable};

/// A request whose route and sender are known, before anything was decided about it.
pub struct Asked<'a> {
    /// The rule of the route.
    pub rule: &'static Rule,
    /// The other end of the connection.
    pub peer: &'a Peer,
    /// Who that is.
    pub client: &'a Client,
    /// The table by which the client is known.
    pub table: &'a NodeTable,
    /// Whether the request has the password for this route; `None` when passwords do not count.
    pub password: Option<bool>,
    /// Whether clients are known by an authority instead of their keys.
    pub by_authority: bool,
    /// This server.
    pub own_id: &'a NodeId,
}

/// What a request is about.
#[derive(Debug, Clone, Copy)]
pub enum Subject<'a> {
    /// No node in particular.
    Nothing,
    /// This node.
    Node(&'a NodeId),
    /// The node whose file this is.
    File(&'a UploadName),
}

/// Whether the local API has this route; whoever reaches it may use it.
pub fn is_local_route(method: &Method, path: &str) -> bool {
    let path = path.strip_suffix('/').unwrap_or(path);
    rules::find(Listener::Local, method.as_str(), path).is_some_and(|rule| rule.who.contains(&Who::Loopback))
}

/// The service that the local API calls for this, and what follows the fixed part of the path.
pub fn local_call(method: &Method, path: &str) -> Option<(ServiceKind, String)> {
    let rule = rules::find(Listener::Local, method.as_str(), path)?;
    match rule.purpose {
        Purpose::Call(kind) => Some((kind, rule.parameter_of(path)?.to_owned())),
        _ => None,
    }
}

/// Whether there is anybody who could be allowed to use this route: comes before its parameter is
/// looked at.
pub fn check_identity(asked: &Asked<'_>) -> Result<(), Refusal> {
    if asked.rule.who.iter().any(|who| who.needs_nobody(asked)) {
        return Ok(());
    }
    match (asked.client, asked.password) {
        (Client::Node(_), _) => Ok(()),
        (Client::Anonymous | Client::Unknown | Client::Certified, Some(true)) => Ok(()),
        (Client::Misnamed { key_of }, _) => Err(Refusal::Forbidden(format!(
            "the certificate names another node than {key_of}, to which its key belongs"
        ))),
        (Client::Anonymous, password) => Err(Refusal::Unauthenticated { basic: password.is_some() }),
        (Client::Unknown, _) if asked.by_authority => Err(Refusal::Forbidden(
            "the client certificate is not valid for the authorities of this server".into(),
        )),
        (Client::Unknown, _) => Err(Refusal::Forbidden(
            "the key of the client certificate belongs to no node in the node list".into(),
        )),
        (Client::Certified, _) => {
            Err(Refusal::Forbidden("the client certificate names no node in the node list".into()))
        }
    }
}

/// Whether this is allowed.
pub fn check(asked: &Asked<'_>, subject: Subject<'_>) -> Result<(), Refusal> {
    check_identity(asked)?;
    if asked.rule.who.iter().any(|who| who.applies(subject, asked)) {
        return Ok(());
    }
    // Nothing here may tell whether a node that is not the client's exists.
    Err(Refusal::Forbidden(match (asked.client, subject.node_id()) {
        (Client::Node(client), None) if matches!(subject, Subject::Nothing) => {
            format!("node {client} may not do this: only the policy server above may")
        }
        (Client::Node(client), Some(node)) => {
            format!("node {client} may not do this for {node}: it is neither that node nor a relay above it")
        }
        (Client::Node(client), None) => format!("the name does not say that this is of node {client}"),
        (_, Some(node)) => format!("node {node} is not in the node list"),
        (_, None) => "the name does not say of which node this is".into(),
    }))
}

impl Who {
    /// Whether this lets the client in without it being anybody.
    fn needs_nobody(self, asked: &Asked<'_>) -> bool {
        match self {
            Self::Anyone => true,
            Self::Visitor => {
                !asked.by_authority || matches!(asked.client, Client::Certified | Client::Node(_))
            }
            // The local API is loopback only; here it is a program of this machine (protocol 10.5), unless
            // it shows who it is: then that counts.
            Self::Loopback => asked.client == &Client::Anonymous && asked.peer.address.ip().is_loopback(),
            _ => false,
        }
    }

    fn applies(self, subject: Subject<'_>, asked: &Asked<'_>) -> bool {
        let list = asked.table.list();
        // Somebody with the key of a node is that node, whatever passwords it knows.
        let by_password = asked.password == Some(true) && !matches!(asked.client, Client::Node(_));
        match (self, asked.client) {
            (Self::AnyNode, Client::Node(_)) => true,
            (Self::NodeNamed, Client::Node(client)) => subject.names(client),
            (Self::RelayAbove, Client::Node(client)) => {
                subject.node_id().is_some_and(|node| list.is_below(&node, client))
            }
            (Self::NodeForNewcomer, Client::Node(_)) => {
                subject.node_id().is_some_and(|node| list.get(&node).is_none())
            }
            (Self::Upstream, Client::Node(client)) => {
                let own = list.get(asked.own_id);
                client != asked.own_id && own.is_some_and(|own| own.policy_server == *client)
            }
            (Self::PasswordForListed, _) => {
                by_password && subject.node_id().is_some_and(|node| list.get(&node).is_some())
            }
            (Self::Password, _) => by_password,
            (Self::Anyone | Self::Visitor | Self::Loopback, _) => self.needs_nobody(asked),
            _ => false,
        }
    }
}

impl Subject<'_> {
    fn names(&self, node: &NodeId) -> bool {
        match self {
            Self::Nothing => false,
            Self::Node(named) => *named == node,
            Self::File(name) => name.names(node),
        }
    }

    fn node_id(&self) -> Option<NodeId> {
        match self {
            Self::Nothing => None,
            Self::Node(node) => Some((*node).clone()),
            Self::File(name) => name.node_id(),
        }
    }
}

#[cfg(test)]
mod tests {
    use protocol::node_list::{NodeEntry, NodeList};

    use super::*;

    fn id(text: &str) -> NodeId {
        text.parse().unwrap()
    }

    /// `root` ─ `hub` (this server) ─ `relay` ─ `node`, and `other` beside it.
    fn table() -> NodeTable {
        let entry = |(node, server): (&str, &str)| {
            let entry = NodeEntry {
                hostname: node.into(),
                key_hash: None,
                other_key_hashes: Vec::new(),
                policy_server: id(server),
                is_relay: false,
            };
            (id(node), entry)
        };
        let nodes =
            [("root", "root"), ("hub", "root"), ("relay", "hub"), ("node", "relay"), ("other", "relay")];
        NodeTable::new(nodes.into_iter().map(entry).collect::<NodeList>(), Vec::new())
    }

    #[test]
    fn each_way_in_lets_in_whom_it_names() {
        let (table, own_id, node) = (table(), id("hub"), id("node"));
        let peer = Peer::new("192.0.2.1:1".parse().unwrap(), None, false);
        let clients = ["root", "hub", "relay", "node", "other"].map(|name| Client::Node(id(name)));
        for (who, lets_in) in [
            (Who::Nobody, [false; 5]),
            (Who::Loopback, [false; 5]),
            (Who::Anyone, [true; 5]),
            (Who::Visitor, [true; 5]),
            (Who::AnyNode, [true; 5]),
            (Who::NodeNamed, [false, false, false, true, false]),
            (Who::RelayAbove, [true, true, true, false, false]),
            (Who::NodeForNewcomer, [false; 5]),
            (Who::Upstream, [true, false, false, false, false]),
            // Whoever is a node is not asked for passwords.
            (Who::Password, [false; 5]),
            (Who::PasswordForListed, [false; 5]),
        ] {
            let found = [0, 1, 2, 3, 4].map(|at| {
                let client = &clients[at];
                let (rule, password) = (&RULES[0], Some(true));
                let by_authority = false;
                let asked = Asked {
                    rule,
                    peer: &peer,
                    client,
                    table: &table,
                    password,
                    by_authority,
                    own_id: &own_id,
                };
                who.applies(Subject::Node(&node), &asked)
            });
            assert_eq!(found, lets_in, "{who}");
        }
    }

    #[test]
    fn who_is_nobody_gets_in_only_where_nobody_is_needed() {
        let (table, own_id, node) = (table(), id("hub"), id("node"));
        let peer = Peer::new("192.0.2.1:1".parse().unwrap(), None, false);
        let misnamed = Client::Misnamed { key_of: id("node") };
        let clients = [Client::Anonymous, Client::Unknown, Client::Certified, misnamed];
        for by_authority in [false, true] {
            for client in &clients {
                let (rule, password) = (&RULES[0], None);
                let asked = Asked {
                    rule,
                    peer: &peer,
                    client,
                    table: &table,
                    password,
                    by_authority,
                    own_id: &own_id,
                };
                let applies = |who: Who| who.applies(Subject::Node(&node), &asked);
                assert!(applies(Who::Anyone), "{client:?}");
                assert_eq!(
                    applies(Who::Visitor),
                    !by_authority || *client == Client::Certified,
                    "{client:?}"
                );
                let others = [
                    Who::Nobody,
                    Who::AnyNode,
                    Who::NodeNamed,
                    Who::RelayAbove,
                    Who::NodeForNewcomer,
                    Who::PasswordForListed,
                    Who::Password,
                    Who::Upstream,
                    Who::Loopback,
                ];
                assert!(!others.into_iter().any(applies), "{client:?}");
            }
        }
    }
}
