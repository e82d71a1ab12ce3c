// SPDX-License-Identifier: Apache-2.0
//! The node table: who may send what, with which keys. Loaded from files, published as immutable
//! snapshots; readers never wait.

use std::{collections::HashMap, sync::Arc};

use protocol::{certificate::Certificate, hash::KeyHash, node_id::NodeId, node_list::NodeList};

/// A snapshot of the node list and the certificates, as loaded at one moment.
#[derive(Debug, Default)]
pub struct NodeTable {
    /// Who is where.
    list: NodeList,
    /// Certificates by node, in file order.
    certificates: HashMap<NodeId, Vec<Certificate>>,
    /// Nodes by the hash of their key.
    by_key: HashMap<KeyHash, NodeId>,
}

/// The newest snapshot, and word when there is a newer one.
pub type Nodes = tokio::sync::watch::Receiver<Arc<NodeTable>>;

impl NodeTable {
    /// The list.
    pub fn list(&self) -> &NodeList {
        &self.list
    }

    /// Certificates with which a node may sign.
    pub fn certificates(&self, node: &NodeId) -> &[Certificate] {
        self.certificates.get(node).map_or(&[], Vec::as_slice)
    }

    /// The node to which the key of this certificate belongs (design: TLS identity is by key, not by name).
    pub fn identify(&self, certificate: &Certificate) -> Option<&NodeId> {
        let _ = (&self.by_key, certificate);
        todo!()
    }
}
