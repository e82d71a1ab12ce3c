// SPDX-License-Identifier: Apache-2.0
//! Who may do what: one table, and everything that is not in it is refused.

use protocol::{node_id::NodeId, urls::UploadKind};

use super::{answer::Refusal, client::Client, route::UploadName};
use crate::nodes::NodeTable;

/// One way to be allowed to upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    /// The node whose file it is, by its certificate.
    NodeItself,
    /// A policy server above the node whose file it is, by its certificate.
    RelayAbove,
    /// Any node of the list, by its certificate, for a node that is not in the list: a relay
    /// passes on the inventory with which a new node introduces itself.
    NodeForNewcomer,
    /// Whoever has the password, for a node of the list.
    PasswordForListed,
    /// Whoever has the password.
    Password,
}

/// `GET /uuid` is open to anyone and has no row (protocol 1.1).
const RULES: [(UploadKind, &[Who]); 3] = [
    (UploadKind::RunLog, &[Who::NodeItself, Who::RelayAbove, Who::PasswordForListed]),
    (UploadKind::NewInventory, &[Who::NodeItself, Who::RelayAbove, Who::NodeForNewcomer, Who::Password]),
    (UploadKind::InventoryUpdate, &[Who::NodeItself, Who::RelayAbove, Who::Password]),
];

/// Who asks, with what.
pub struct Asking<'a> {
    /// Who the connection's peer is.
    pub client: &'a Client,
    /// Whether the request has the password for this kind; `None` when passwords are off.
    pub password: Option<bool>,
}

/// Whether there is anybody who could be allowed anything: comes before the name is looked at.
pub fn check_identity(asking: &Asking<'_>) -> Result<(), Refusal> {
    match (asking.client, asking.password) {
        (Client::Node(_), _) | (Client::Anonymous | Client::Unknown, Some(true)) => Ok(()),
        (Client::Misnamed { key_of }, _) => Err(Refusal::Forbidden(format!(
            "the certificate names another node than {key_of}, to which its key belongs"
        ))),
        (Client::Anonymous, password) => Err(Refusal::Unauthenticated { basic: password.is_some() }),
        (Client::Unknown, _) => Err(Refusal::Forbidden(
            "the key of the client certificate belongs to no node in the node list".into(),
        )),
    }
}

/// Whether an upload with this name is allowed.
pub fn check_upload(
    kind: UploadKind,
    name: &UploadName,
    asking: &Asking<'_>,
    table: &NodeTable,
) -> Result<(), Refusal> {
    check_identity(asking)?;
    let ways = RULES.iter().find(|(of, _)| *of == kind).map_or(&[][..], |(_, ways)| ways);
    if ways.iter().any(|way| way.applies(name, asking, table)) {
        return Ok(());
    }
    Err(Refusal::Forbidden(match (asking.client, name.node_id()) {
        (Client::Node(client), Some(node)) => {
            format!("node {client} may not upload for {node}: it is neither that node nor a relay above it")
        }
        (Client::Node(client), None) => format!("the name does not say that this is of node {client}"),
        (_, Some(node)) => format!("node {node} is not in the node list"),
        (_, None) => "the name does not say of which node this is".into(),
    }))
}

impl Who {
    fn applies(self, name: &UploadName, asking: &Asking<'_>, table: &NodeTable) -> bool {
        let list = table.list();
        // Somebody with the key of a node is that node, whatever passwords it knows.
        let by_password = asking.password == Some(true) && !matches!(asking.client, Client::Node(_));
        let named = || name.node_id();
        match (self, asking.client) {
            (Self::NodeItself, Client::Node(client)) => name.names(client),
            (Self::RelayAbove, Client::Node(client)) => {
                named().is_some_and(|node: NodeId| list.is_below(&node, client))
            }
            (Self::NodeForNewcomer, Client::Node(_)) => named().is_some_and(|node| list.get(&node).is_none()),
            (Self::PasswordForListed, _) => {
                by_password && named().is_some_and(|node| list.get(&node).is_some())
            }
            (Self::Password, _) => by_password,
            _ => false,
        }
    }
}
