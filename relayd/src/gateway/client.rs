// SPDX-License-Identifier: Apache-2.0
//! Who is at the other end of a connection.
//!
//! What a connection shows is fixed by its handshake; who that *is* is asked again for each
//! request, of the newest node table: a node that was removed loses its rights on connections
//! that are open.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicI64, Ordering},
};

use chrono::{DateTime, Utc};
use openssl::x509::X509;
use protocol::{certificate::Certificate, node_id::NodeId};

use crate::{
    config::ClientTrust,
    nodes::{KeyHashes, NodeTable, key_hashes},
};

/// The other end of a connection.
#[derive(Debug)]
pub struct Peer {
    /// Where it connects from.
    pub address: SocketAddr,
    shown: Shown,
    /// Until when authorities of this server vouch for it.
    verified_until: Option<DateTime<Utc>>,
    /// When it was last told that it was heard of, in seconds since 1970.
    told: AtomicI64,
}

#[derive(Debug)]
enum Shown {
    Nothing,
    Unreadable,
    Certificate(Box<(Certificate, KeyHashes)>),
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
            Some(Ok(certificate)) => {
                let hashes = key_hashes(&certificate);
                Shown::Certificate(Box::new((certificate, hashes)))
            }
        };
        let verified_until = match &shown {
            Shown::Certificate(shown) if verified => Some(shown.0.not_after()),
            _ => None,
        };
        Self { address, shown, verified_until, told: AtomicI64::new(0) }
    }

    /// What it showed, if that can be read.
    pub fn certificate(&self) -> Option<&Certificate> {
        match &self.shown {
            Shown::Certificate(shown) => Some(&shown.0),
            Shown::Nothing | Shown::Unreadable => None,
        }
    }

    /// Whether it is to be told that this peer was heard of: once a second at most, however often it asks.
    pub fn is_news(&self, now: DateTime<Utc>) -> bool {
        let now = now.timestamp();
        self.told.swap(now, Ordering::Relaxed) != now
    }

    fn is_verified(&self, now: DateTime<Utc>) -> bool {
        self.verified_until.is_some_and(|until| now <= until)
    }

    /// Who this is.
    pub fn client(&self, table: &NodeTable, trust: &ClientTrust) -> Client {
        let (certificate, hashes) = match &self.shown {
            Shown::Nothing => return Client::Anonymous,
            Shown::Unreadable => return Client::Unknown,
            Shown::Certificate(shown) => (&shown.0, &shown.1),
        };
        match trust {
            ClientTrust::Key => by_key(certificate, hashes, table),
            ClientTrust::Authority { .. } if !self.is_verified(Utc::now()) => Client::Unknown,
            ClientTrust::Authority { node_id, .. } => match certificate.node_id_by(node_id) {
                Some(node) if table.list().get(&node).is_some() => Client::Node(node),
                _ => Client::Certified,
            },
        }
    }
}

fn by_key(certificate: &Certificate, hashes: &KeyHashes, table: &NodeTable) -> Client {
    match table.identify_by(certificate, hashes) {
        None => Client::Unknown,
        // Very old certificates name nobody.
        Some(node) if certificate.has_uid() && certificate.sole_node_id() != Some(node) => {
            Client::Misnamed { key_of: node.clone() }
        }
        Some(node) => Client::Node(node.clone()),
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use protocol::private_key::{self, KeyKind};

    use super::*;

    #[test]
    fn what_authorities_said_ends_with_the_certificate() {
        let key = private_key::generate(KeyKind::P256).unwrap();
        let certificate = private_key::self_signed(&key, &NodeId::root()).unwrap();
        let end = certificate.not_after();
        let peer =
            |verified| Peer::new("192.0.2.1:1".parse().unwrap(), Some(certificate.x509().clone()), verified);
        assert!(peer(true).is_verified(end));
        assert!(!peer(true).is_verified(end + TimeDelta::seconds(1)), "on a connection that is open still");
        assert!(!peer(false).is_verified(end));
    }
}
