// SPDX-License-Identifier: Apache-2.0
//! What an inventory means for the identity of its node (protocol 6.5): the first one asks for it to be
//! taken in; one that is signed with the current key may bring a new certificate, or a new key.

use diesel::QueryResult;
use protocol::{certificate::Certificate, enrolment::Answer, node_id::NodeId};

use super::{
    change::Change,
    enrol::{self, Claim, Rules},
    keys,
    record::NodeState,
    row,
};

/// Tells whether a key (DER SubjectPublicKeyInfo) made the signature of the inventory.
pub type IsSignedBy = Box<dyn Fn(&[u8]) -> bool + Send>;

/// An inventory, as far as it is about identity.
pub struct Introduction {
    /// Who it is from.
    pub node_id: NodeId,
    /// The host name in it.
    pub hostname: String,
    /// The policy server in it.
    pub policy_server: NodeId,
    /// The certificate in it, of this node.
    pub certificate: Certificate,
    /// Its signature.
    pub is_signed_by: IsSignedBy,
}

/// What became of an inventory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Introduced {
    /// The node is known, or waits.
    Taken,
    /// It says nothing new, or nothing that may be said.
    Answered(Answer),
    /// Signed with no key that may sign it.
    BadSignature,
    /// As many nodes wait as may.
    TooManyPending,
}

/// Decides about an inventory.
pub(super) fn introduce(
    change: &mut Change<'_>,
    introduction: &Introduction,
    overlap: std::time::Duration,
    rules: &Rules,
) -> QueryResult<Introduced> {
    let Introduction { node_id, certificate, is_signed_by, .. } = introduction;
    let hash = certificate.key_hash();
    let text = hash.to_string();
    let node = row::node(change.connection, node_id)?;
    if node.is_some_and(|node| node.state == NodeState::Accepted.as_str()) {
        let keys = row::keys(change.connection, node_id)?;
        let valid = || keys.iter().filter(|key| key.is_valid(change.now));
        let signer = valid().find(|key| key.spki.as_deref().is_some_and(is_signed_by));
        if let Some(signer) = signer {
            let is_current = signer.valid_until.is_none();
            if valid().any(|key| key.key_hash == text) {
                if change.add_certificate(node_id, certificate, "node")? {
                    change.touch(node_id)?;
                }
                return Ok(Introduced::Taken);
            }
            let new = keys::New { hash: &hash, spki: certificate.spki_der(), certificate: Some(certificate) };
            let answer = keys::introduce(change, node_id, &keys, is_current, &new, overlap, rules)?;
            return Ok(Introduced::of(answer));
        }
    }
    if !is_signed_by(certificate.spki_der()) {
        return Ok(Introduced::BadSignature);
    }
    let claim = Claim {
        node_id,
        hostname: &introduction.hostname,
        as_relay: false,
        key_hash: &hash,
        spki: certificate.spki_der(),
        certificate: Some(certificate),
        token: None,
        place: &introduction.policy_server,
        address: None,
    };
    Ok(match enrol::enrol(change, &claim, rules)? {
        Ok(replied) => Introduced::of(replied.answer),
        Err(_) => Introduced::TooManyPending,
    })
}

impl Introduced {
    fn of(answer: Answer) -> Self {
        use protocol::enrolment::State;
        match answer.state {
            State::Accepted | State::Pending => Self::Taken,
            _ => Self::Answered(answer),
        }
    }
}
