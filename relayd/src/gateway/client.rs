// SPDX-License-Identifier: Apache-2.0
//! Who is at the other end of a connection.
//!
//! What a connection shows is fixed by its handshake; who that *is* is asked again for each
//! request, of the newest node table: a node that was removed loses its rights on connections
//! that are open.

use std::net::SocketAddr;

use openssl::x509::X509;
use protocol::{certificate::Certificate, node_id::NodeId};

use crate::nodes::NodeTable;

/// The other end of a connection.
#[derive(Debug)]
pub struct Peer {
    /// Where it connects from.
    pub address: SocketAddr,
    shown: Shown,
}

#[derive(Debug)]
enum Shown {
    Nothing,
    Unreadable,
    Certificate(Box<Certificate>),
}

/// Who a peer is, by the node table of the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Client {
    /// Showed no certificate.
    Anonymous,
    /// Showed a certificate with a key that belongs to no node.
    Unknown,
    /// Showed a certificate that names another node than the one its key belongs to.
    Misnamed {
        /// The node that the key belongs to.
        key_of: NodeId,
    },
    /// Proved to have the key of this node.
    Node(NodeId),
}

impl Peer {
    /// A peer that showed this certificate (and proved to have its key), or none.
    pub fn new(address: SocketAddr, certificate: Option<X509>) -> Self {
        let shown = match certificate.map(Certificate::new) {
            None => Shown::Nothing,
            Some(Err(_)) => Shown::Unreadable,
            Some(Ok(certificate)) => Shown::Certificate(Box::new(certificate)),
        };
        Self { address, shown }
    }

    /// Who this is.
    pub fn client(&self, table: &NodeTable) -> Client {
        let certificate = match &self.shown {
            Shown::Nothing => return Client::Anonymous,
            Shown::Unreadable => return Client::Unknown,
            Shown::Certificate(certificate) => certificate,
        };
        match table.identify(certificate) {
            None => Client::Unknown,
            // Very old certificates name nobody.
            Some(node) if certificate.has_uid() && certificate.sole_node_id() != Some(node) => {
                Client::Misnamed { key_of: node.clone() }
            }
            Some(node) => Client::Node(node.clone()),
        }
    }
}
