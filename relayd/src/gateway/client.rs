// SPDX-License-Identifier: Apache-2.0
//! Who is at the other end of a connection.
//!
//! What a connection shows is fixed by its handshake; who that *is* is asked again for each
//! request, of the newest node table: a node that was removed loses its rights on connections
//! that are open.

use std::net::SocketAddr;

use openssl::x509::X509;
use protocol::{certificate::Certificate, node_id::NodeId};

use crate::{config::ClientTrust, nodes::NodeTable};

/// The other end of a connection.
#[derive(Debug)]
pub struct Peer {
    /// Where it connects from.
    pub address: SocketAddr,
    shown: Shown,
    verified: bool,
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
    /// Showed a certificate with a key that belongs to no node, or one that no authority vouches
    /// for where that is asked.
    Unknown,
    /// Showed a certificate that an authority vouches for, but that names no node.
    Certified,
    /// Showed a certificate that names another node than the one its key belongs to.
    Misnamed {
        /// The node that the key belongs to.
        key_of: NodeId,
    },
    /// Proved to be this node.
    Node(NodeId),
}

impl Peer {
    /// A peer that showed this certificate (and proved to have its key), or none; and whether the
    /// authorities of this server vouch for it.
    pub fn new(address: SocketAddr, certificate: Option<X509>, verified: bool) -> Self {
        let shown = match certificate.map(Certificate::new) {
            None => Shown::Nothing,
            Some(Err(_)) => Shown::Unreadable,
            Some(Ok(certificate)) => Shown::Certificate(Box::new(certificate)),
        };
        Self { address, shown, verified }
    }

    /// What it showed, if that can be read.
    pub fn certificate(&self) -> Option<&Certificate> {
        match &self.shown {
            Shown::Certificate(certificate) => Some(certificate),
            Shown::Nothing | Shown::Unreadable => None,
        }
    }

    /// Who this is.
    pub fn client(&self, table: &NodeTable, trust: &ClientTrust) -> Client {
        let certificate = match &self.shown {
            Shown::Nothing => return Client::Anonymous,
            Shown::Unreadable => return Client::Unknown,
            Shown::Certificate(certificate) => certificate,
        };
        match trust {
            ClientTrust::Key => by_key(certificate, table),
            ClientTrust::Authority { .. } if !self.verified => Client::Unknown,
            ClientTrust::Authority { node_id, .. } => match certificate.node_id_by(node_id) {
                Some(node) if table.list().get(&node).is_some() => Client::Node(node),
                _ => Client::Certified,
            },
        }
    }
}

fn by_key(certificate: &Certificate, table: &NodeTable) -> Client {
    match table.identify(certificate) {
        None => Client::Unknown,
        // Very old certificates name nobody.
        Some(node) if certificate.has_uid() && certificate.sole_node_id() != Some(node) => {
            Client::Misnamed { key_of: node.clone() }
        }
        Some(node) => Client::Node(node.clone()),
    }
}
