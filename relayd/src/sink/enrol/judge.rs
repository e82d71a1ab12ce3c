// SPDX-License-Identifier: Apache-2.0
//! Whether an inventory is from the node that it names (protocol 6.5): the stored keys say so, and for a
//! node that nobody knows its own certificate, as a request to be taken in.

use std::collections::BTreeSet;

use protocol::{enrolment::State, node_id::NodeId};

use super::{TOO_MANY, blocking, later, read::Read, rejected};
use crate::{
    nodes::{NodeTable, Nodes},
    registry::{Introduced, Introduction, Registry, RegistryError},
    spool::disposition::{Disposition, Reason},
};

/// Who says which keys a node has.
pub struct Authority {
    /// The nodes with their keys.
    pub nodes: Nodes,
    /// Takes in nodes and keys that are new; without it only the nodes are believed.
    pub registry: Option<Registry>,
}

/// What the node table says.
#[derive(Debug, PartialEq, Eq)]
enum Known {
    /// Signed with a key of the node, and the certificate in it is known: nothing new.
    Settled,
    /// Signed with a key of the node; the certificate is new.
    NewCertificate,
    /// Signed with none of its keys.
    NotSigned,
    /// No key of the node is known.
    NoKey,
    /// There is no such node.
    Stranger,
}

impl Authority {
    /// Nothing is left to be said, or how the delivery ends.
    pub(super) async fn judge(&self, read: &Read) -> Result<(), Disposition> {
        let (table, node) = (self.nodes.borrow().clone(), read.checked.node_id.clone());
        let (signature, signed) = (read.signature.clone(), read.signed);
        let fingerprint = read.certificate.fingerprint();
        let look = move || known(&table, &node, &fingerprint, |key| signature.is_by(key, &signed));
        let known = blocking(look).await?;
        match (&self.registry, known) {
            (_, Known::Settled) => Ok(()),
            (Some(registry), _) => introduce(registry, read).await,
            // Certificates are the business of the program that writes the node list.
            (None, Known::NewCertificate) => Ok(()),
            (None, Known::NotSigned) => Err(rejected(
                Reason::BadSignature,
                "not signed with a key that the node list has of the node",
            )),
            (None, Known::NoKey) => {
                let detail = format!("no certificate of node {} is known", read.checked.node_id);
                Err(rejected(Reason::NoCertificate, detail))
            }
            (None, Known::Stranger) => {
                let detail = format!("node {} is not in the node list", read.checked.node_id);
                Err(rejected(Reason::UnknownNode, detail))
            }
        }
    }
}

/// Work for the processor: each check of a signature is.
fn known(
    table: &NodeTable,
    node: &NodeId,
    fingerprint: &[u8; 32],
    is_signed_by: impl Fn(&[u8]) -> bool,
) -> Known {
    if !table.knows(node) {
        return Known::Stranger;
    }
    let certificates = table.certificates(node);
    let keys = certificates.iter().map(|certificate| certificate.spki_der());
    // Certificates of one key are the rule.
    let keys: BTreeSet<&[u8]> = table.signing_keys(node).iter().map(|key| &**key).chain(keys).collect();
    if keys.is_empty() {
        return Known::NoKey;
    }
    if !keys.into_iter().any(is_signed_by) {
        return Known::NotSigned;
    }
    if certificates.iter().any(|one| one.fingerprint() == *fingerprint) {
        Known::Settled
    } else {
        Known::NewCertificate
    }
}

async fn introduce(registry: &Registry, read: &Read) -> Result<(), Disposition> {
    let (signature, signed) = (read.signature.clone(), read.signed);
    let introduction = Introduction {
        node_id: read.checked.node_id.clone(),
        hostname: read.checked.hostname.clone(),
        policy_server: read.checked.policy_server.clone(),
        certificate: read.certificate.clone(),
        is_signed_by: Box::new(move |spki: &[u8]| signature.is_by(spki, &signed)),
    };
    match registry.introduce(introduction).await {
        Ok(Introduced::Taken) => Ok(()),
        Ok(Introduced::TooManyPending) | Err(RegistryError::TooManyPending) => {
            Err(later(false, "too many nodes wait for a decision", Some(TOO_MANY)))
        }
        Ok(Introduced::BadSignature) => {
            Err(rejected(Reason::BadSignature, "not signed with a key of the node, nor with that in it"))
        }
        Ok(Introduced::Answered(answer)) => {
            let reason = match answer.state {
                State::Conflict => Reason::Conflict,
                State::Rejected | State::Revoked => Reason::UnknownNode,
                _ => Reason::BadContent,
            };
            Err(rejected(reason, answer.detail))
        }
        Err(RegistryError::Down(detail)) => Err(later(true, detail, None)),
        Err(error @ (RegistryError::Invalid(_) | RegistryError::Refused(_))) => {
            Err(rejected(Reason::BadContent, error.to_string()))
        }
    }
}
