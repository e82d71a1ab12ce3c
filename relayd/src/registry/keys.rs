// SPDX-License-Identifier: Apache-2.0
//! A node changes its key, or gets a certificate for one.
//!
//! A new key is introduced by the current one, which stays valid for the overlap: what it signed may
//! still be on its way. A key that was replaced introduces nobody and never comes back.

use std::time::Duration;

use diesel::QueryResult;
use protocol::{
    certificate::Certificate,
    enrolment::{Answer, Request, State},
    hash::KeyHash,
    node_id::NodeId,
    smime,
};

use super::{
    RegistryError,
    change::{Change, NewConflict, note_conflict},
    enrol::{Rules, TextRow},
    record::{ConflictKind, NodeState},
    row::{self, KeyRow},
};
use crate::{ca::Authority, config, db::query::Value};

/// Valid keys that a node may have: each costs whoever checks a signature of the node one attempt.
const MOST_VALID: usize = 4;

/// A key of a node that is valid now, and may vouch for another one.
pub(super) struct Voucher {
    hash: String,
    /// DER SubjectPublicKeyInfo.
    spki: Vec<u8>,
}

/// The request of a new key that a key of the node signed.
pub(super) struct Vouched {
    request: Request,
    /// Hash of the key that signed it.
    by: String,
}

/// The valid keys of a node, if it is accepted.
pub(super) fn vouchers(
    change: &mut Change<'_>,
    id: &NodeId,
) -> QueryResult<Result<Vec<Voucher>, RegistryError>> {
    let now = change.now;
    let voucher = |key: KeyRow| Some(Voucher { spki: key.spki?, hash: key.key_hash });
    let valid = |keys: Vec<KeyRow>| keys.into_iter().filter(|key| key.is_valid(now));
    Ok(accepted_keys(change, id)?.map(|keys| valid(keys).filter_map(voucher).collect()))
}

/// Reads a signed request. Takes a while: not for a transaction.
pub(super) fn read(id: &NodeId, message: &[u8], keys: &[Voucher]) -> Result<Vouched, RegistryError> {
    let mut why_not = format!(
        "of the keys of node {id} only the hashes are known: run `agent enroll` on it once, or wait for its \
         inventory"
    );
    for key in keys {
        match smime::verify_with_keys(message, &[&key.spki]) {
            Ok(verified) => {
                let request = Request::parse(verified.text.as_bytes())
                    .map_err(|error| RegistryError::Invalid(error.to_string()))?;
                if request.node_id != *id {
                    let text = format!("the request of the new key is for node {}", request.node_id);
                    return Err(RegistryError::Invalid(text));
                }
                return Ok(Vouched { request, by: key.hash.clone() });
            }
            Err(error) => why_not = format!("not signed with a key of the node: {error}"),
        }
    }
    Err(RegistryError::Refused(why_not))
}

/// Replaces the key of a node by one that another one vouched for.
pub(super) fn roll_over(
    change: &mut Change<'_>,
    id: &NodeId,
    vouched: &Vouched,
    overlap: Duration,
    rules: &Rules,
) -> QueryResult<Result<Answer, RegistryError>> {
    let keys = match accepted_keys(change, id)? {
        Ok(keys) => keys,
        Err(error) => return Ok(Err(error)),
    };
    let Vouched { request, by } = vouched;
    // It may have ended since.
    let Some(signer) = keys.iter().find(|key| key.key_hash == *by && key.is_valid(change.now)) else {
        return Ok(Err(RegistryError::Refused("not signed with a key that the node has now".into())));
    };
    let new = New { hash: &request.key_hash, spki: request.spki_der(), certificate: request.certificate() };
    introduce(change, id, &keys, signer, &new, overlap, rules).map(Ok)
}

/// A key that shall become the current one.
pub(super) struct New<'a> {
    pub(super) hash: &'a KeyHash,
    pub(super) spki: &'a [u8],
    pub(super) certificate: Option<&'a Certificate>,
}

/// Makes a key the current one of a node; `by`, one of its `keys`, vouched for it.
pub(super) fn introduce(
    change: &mut Change<'_>,
    id: &NodeId,
    keys: &[KeyRow],
    by: &KeyRow,
    new: &New<'_>,
    overlap: Duration,
    rules: &Rules,
) -> QueryResult<Answer> {
    let answer = |state, detail: &str| {
        Ok(Answer {
            state,
            node_id: id.clone(),
            key_hash: new.hash.clone(),
            detail: detail.to_owned(),
            retry_after: None,
            has_ca: rules.has_ca,
        })
    };
    let new_hash = new.hash.to_string();
    match keys.iter().find(|key| key.key_hash == new_hash) {
        // Sent again because the answer was lost.
        Some(key) if key.valid_until.is_none() => return answer(State::Accepted, "it is the current key"),
        Some(_) => {
            return answer(State::Refused, "this key was replaced by another one and does not come back");
        }
        None => {}
    }
    if by.valid_until.is_some() {
        let detail = "signed with a key that was replaced; sign with the current one";
        return answer(State::Refused, detail);
    }
    if keys.iter().filter(|key| key.is_valid(change.now)).count() >= MOST_VALID {
        let detail = format!("the node has {MOST_VALID} valid keys; wait until one of them ends");
        return answer(State::Refused, &detail);
    }
    let sql = "SELECT nodeid AS text FROM node_key WHERE key_hash = $1 LIMIT 1";
    if let Some(owner) = change.connection.row::<TextRow>(sql, &[Value::Text(&new_hash)])? {
        let detail = format!("node {id} asks for a key that is one of node {}", owner.text);
        let conflict = NewConflict {
            node_id: id,
            kind: ConflictKind::OtherId,
            key_hash: Some(new.hash),
            address: None,
            detail: &detail,
        };
        note_conflict(change.connection, change.now, &conflict)?;
        return answer(State::Conflict, "the key is one of another node");
    }
    change.add_key(id, new.hash, Some(new.spki))?;
    let end = change.now.saturating_add(i64::try_from(overlap.as_secs()).unwrap_or(i64::MAX));
    if *id == rules.own_id {
        // The gateway's key is the root's as well, and has nothing to do with that of its agent.
        change.end_key(id, &by.key_hash, Some(end))?;
    } else {
        change.retire_keys(id, new.hash, end)?;
    }
    if let Some(certificate) = new.certificate {
        change.add_certificate(id, certificate, "node")?;
    }
    change.touch(id)?;
    answer(State::Accepted, "the key is current; the former one stays valid for a while")
}

/// A certificate from the authority for a node's current key; PEM, with that of the authority.
pub(super) fn certify(
    change: &mut Change<'_>,
    id: &NodeId,
    request: &Request,
    settings: &config::Ca,
) -> QueryResult<Result<Option<Vec<u8>>, RegistryError>> {
    let keys = match accepted_keys(change, id)? {
        Ok(keys) => keys,
        Err(error) => return Ok(Err(error)),
    };
    let hash = request.key_hash.to_string();
    // One that was replaced ends before long, a certificate for it would not.
    if request.node_id != *id || !keys.iter().any(|key| key.key_hash == hash && key.valid_until.is_none()) {
        let text = "the request is not for this node and its current key".into();
        return Ok(Err(RegistryError::Refused(text)));
    }
    let authority = match Authority::load(settings) {
        Ok(Some(authority)) => authority,
        Ok(None) => return Ok(Ok(None)),
        Err(error) => return Ok(Err(down(&error))),
    };
    let chain = |leaf: &Certificate| [leaf.to_pem(), authority.certificate().to_pem()].concat();
    if let Some(recent) = recent(change, id, &hash, settings, &authority)? {
        return Ok(Ok(Some(chain(&recent))));
    }
    // The name under which it was accepted: else a node could have a certificate for any host.
    let mut named = request.clone();
    named.hostname = row::node(change.connection, id)?.map(|node| node.hostname).unwrap_or_default();
    let certificate = match authority.issue_node(&named, settings) {
        Ok(certificate) => certificate,
        Err(error) => return Ok(Err(down(&error))),
    };
    let expired =
        "DELETE FROM node_certificate WHERE nodeid = $1 AND source = 'authority' AND not_after < $2";
    change.connection.run(expired, &[Value::Text(id.as_str()), Value::Int(change.now)])?;
    change.add_certificate(id, &certificate, "authority")?;
    change.touch(id)?;
    Ok(Ok(Some(chain(&certificate))))
}

/// The certificate that was issued for this key less than half of its life ago: who asks again, because
/// the answer was lost, needs no other one.
fn recent(
    change: &mut Change<'_>,
    id: &NodeId,
    hash: &str,
    settings: &config::Ca,
    authority: &Authority,
) -> QueryResult<Option<Certificate>> {
    let half = i64::try_from(settings.node_certificate_lifetime.as_secs() / 2).unwrap_or(i64::MAX);
    let sql = "SELECT pem AS text FROM node_certificate \
               WHERE nodeid = $1 AND key_hash = $2 AND source = 'authority' AND not_after > $3 \
               ORDER BY not_after DESC LIMIT 1";
    let values = [Value::Text(id.as_str()), Value::Text(hash), Value::Int(change.now.saturating_add(half))];
    let row: Option<TextRow> = change.connection.row(sql, &values)?;
    let certificate = row.and_then(|row| Certificate::from_pem(row.text.as_bytes()).ok());
    // Not one of an authority that was replaced.
    let by_it = |one: &Certificate| {
        let key = authority.certificate().public_key();
        key.is_ok_and(|key| one.x509().verify(&key).unwrap_or(false))
    };
    Ok(certificate.filter(by_it))
}

/// All keys of a node, if it is accepted.
fn accepted_keys(change: &mut Change<'_>, id: &NodeId) -> QueryResult<Result<Vec<KeyRow>, RegistryError>> {
    let node = row::node(change.connection, id)?;
    if node.is_none_or(|node| node.state != NodeState::Accepted.as_str()) {
        return Ok(Err(RegistryError::Refused(format!("node {id} is not accepted"))));
    }
    row::keys(change.connection, id).map(Ok)
}

fn down(error: &dyn std::fmt::Display) -> RegistryError {
    RegistryError::Down(format!("the authority does not work: {error}"))
}
