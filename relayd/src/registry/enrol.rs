// SPDX-License-Identifier: Apache-2.0
//! What becomes of a request to be taken in: one decision, in one transaction.
//!
//! ```text
//! same id, same key ──▶ how it stands with that node (a good token decides what is undecided)
//! same id, other key ─▶ conflict: the first key keeps the id
//! same key, other id ─▶ conflict
//! new: token ─▶ good: accepted, the token is used · bad: refused, nothing is kept
//!      none  ─▶ pending, unless too many are
//! ```
//! Nobody becomes a relay without an operator.

use std::net::IpAddr;

use diesel::QueryResult;
use protocol::{
    certificate::Certificate,
    enrolment::{Answer, Request, State},
    hash::KeyHash,
    node_id::NodeId,
};

use super::{
    RegistryError,
    change::{Change, NewConflict, NewNode, note_conflict},
    lapse,
    record::{ConflictKind, NodeState, Role},
    row::{self, KeyRow, NodeRow},
    token,
};
use crate::db::query::Value;

/// Who asks: everything in it was checked, and the key is in the hands of who asks.
pub(super) struct Claim<'a> {
    pub(super) node_id: &'a NodeId,
    pub(super) hostname: &'a str,
    pub(super) as_relay: bool,
    pub(super) key_hash: &'a KeyHash,
    pub(super) spki: &'a [u8],
    /// Its own certificate for this key, if it came along.
    pub(super) certificate: Option<&'a Certificate>,
    pub(super) token: Option<&'a str>,
    /// The node through which it asks.
    pub(super) place: &'a NodeId,
    pub(super) address: Option<IpAddr>,
}

/// What decides besides the registry.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    /// The id of this root.
    pub(super) own_id: NodeId,
    /// Most nodes that may wait; `None`: no new nodes are taken in.
    pub(super) max_pending: Option<usize>,
    /// Whether there is an authority.
    pub(super) has_ca: bool,
}

/// The answer to a request.
#[derive(Debug)]
pub(super) struct Replied {
    pub(super) answer: Answer,
    /// Whether a policy program may decide about it now.
    pub(super) undecided: bool,
}

/// How a request ended.
type Decision = Result<Replied, RegistryError>;

/// Seconds between two requests of a node that waits: as long as it has waited, within these.
const RETRY_AFTER: (i64, i64) = (5, 300);

/// Decides about a request.
pub(super) fn enrol(change: &mut Change<'_>, claim: &Claim<'_>, rules: &Rules) -> QueryResult<Decision> {
    let Some(node) = row::node(change.connection, claim.node_id)? else {
        return newcomer(change, claim, rules);
    };
    let keys = row::keys(change.connection, claim.node_id)?;
    let own_hash = claim.key_hash.to_string();
    match keys.iter().find(|key| key.key_hash == own_hash) {
        Some(key) => known(change, claim, rules, &node, key),
        None => {
            let detail = format!(
                "another key asks for the id of node {}, whose first key keeps it; if the machine was \
                 installed anew: relayd node delete {}",
                claim.node_id, claim.node_id
            );
            conflict(change, claim, rules, ConflictKind::OtherKey, claim.node_id, &detail)
        }
    }
}

fn newcomer(change: &mut Change<'_>, claim: &Claim<'_>, rules: &Rules) -> QueryResult<Decision> {
    if *claim.node_id == rules.own_id {
        let detail = format!("{} is the id of the root itself", claim.node_id);
        return Ok(claim.answer(rules, State::Conflict, &detail));
    }
    let own_hash = claim.key_hash.to_string();
    let sql = "SELECT nodeid AS text FROM node_key WHERE key_hash = $1 ORDER BY nodeid LIMIT 1";
    if let Some(owner) = change.connection.row::<TextRow>(sql, &[Value::Text(&own_hash)])? {
        let detail = format!("the key of node {} asks for the id {} as well", owner.text, claim.node_id);
        return match owner.text.parse() {
            Ok(owner) => conflict(change, claim, rules, ConflictKind::OtherId, &owner, &detail),
            Err(_) => Ok(claim.answer(rules, State::Conflict, &detail)),
        };
    }
    let Some(max_pending) = rules.max_pending else {
        let detail = "the root takes no new nodes in (enrolment.enabled = false)";
        return Ok(claim.answer(rules, State::Refused, detail));
    };
    if !is_relay(change, claim.place, rules)? {
        return Ok(claim.not_a_relay(rules));
    }
    let decided_by = match claim.token {
        None => None,
        Some(text) if claim.as_relay => {
            match token::check(change.connection, text, claim.hostname, change.now)? {
                // Kept for the node that this machine may become.
                Ok(_) => None,
                Err(error) => return Ok(claim.answer(rules, State::Refused, &error.to_string())),
            }
        }
        Some(text) => match token::spend(change, text, claim.hostname, claim.node_id)? {
            Ok(id) => Some(by_token(&id)),
            Err(error) => return Ok(claim.answer(rules, State::Refused, &error.to_string())),
        },
    };
    if decided_by.is_none() {
        let waiting = "SELECT count(*) AS number FROM node WHERE state = 'pending'";
        let waiting = change.connection.number(waiting, &[])?;
        if usize::try_from(waiting).unwrap_or(usize::MAX) >= max_pending {
            return Ok(Err(RegistryError::TooManyPending));
        }
    }
    let address = claim.address.map(|address| address.to_string());
    change.add_node(&NewNode {
        node_id: claim.node_id,
        hostname: claim.hostname,
        state: if decided_by.is_some() { NodeState::Accepted } else { NodeState::Pending },
        role: claim.role(),
        policy_server: claim.place,
        decided_by: decided_by.as_deref(),
        address: address.as_deref(),
    })?;
    change.add_key(claim.node_id, claim.key_hash, Some(claim.spki))?;
    claim.keep_certificate(change)?;
    Ok(match decided_by {
        Some(_) => claim.answer(rules, State::Accepted, "accepted by token"),
        None => Ok(claim.pending(rules, 0)),
    })
}

/// The key is one of the node's.
fn known(
    change: &mut Change<'_>,
    claim: &Claim<'_>,
    rules: &Rules,
    node: &NodeRow,
    key: &KeyRow,
) -> QueryResult<Decision> {
    if !key.is_valid(change.now) {
        let detail = "this key was replaced by another one of the node and does not come back";
        return Ok(claim.answer(rules, State::Refused, detail));
    }
    let is_new = change.complete_key(claim.node_id, claim.key_hash, claim.spki)?;
    if claim.keep_certificate(change)? || is_new {
        change.touch(claim.node_id)?;
    }
    let id = claim.node_id;
    Ok(match NodeState::parse(&node.state) {
        Some(NodeState::Accepted) if claim.as_relay && node.role == Role::Node.as_str() => {
            let detail =
                format!("accepted, but not as a relay; an operator can: relayd node accept --relay {id}");
            claim.answer(rules, State::Accepted, &detail)
        }
        Some(NodeState::Accepted) => claim.answer(rules, State::Accepted, "accepted"),
        Some(NodeState::Revoked) => {
            claim.answer(rules, State::Revoked, "the node was revoked; ask the operator of the root")
        }
        Some(NodeState::Rejected) => {
            claim.answer(rules, State::Rejected, "the node was rejected; ask the operator of the root")
        }
        Some(NodeState::Pending) | None => return waiting(change, claim, rules, node),
    })
}

/// It asks again, perhaps with a token this time. Who decides has looked at a host name and a place: both
/// stay as they were first said, unless a token vouches for others.
fn waiting(
    change: &mut Change<'_>,
    claim: &Claim<'_>,
    rules: &Rules,
    node: &NodeRow,
) -> QueryResult<Decision> {
    if let Some(text) = claim.token
        && !claim.as_relay
    {
        if !is_relay(change, claim.place, rules)? {
            return Ok(claim.not_a_relay(rules));
        }
        return Ok(match token::spend(change, text, claim.hostname, claim.node_id)? {
            Ok(token) => {
                change.describe(claim.node_id, claim.hostname, claim.place)?;
                change.decide(claim.node_id, NodeState::Accepted, Role::Node, &by_token(&token))?;
                claim.answer(rules, State::Accepted, "accepted by token")
            }
            Err(error) => claim.answer(rules, State::Refused, &error.to_string()),
        });
    }
    lapse::asked_again(change, node)?;
    if node.role != claim.role().as_str() {
        let sql = "UPDATE node SET role = $1 WHERE nodeid = $2";
        let values = [Value::Text(claim.role().as_str()), Value::Text(claim.node_id.as_str())];
        change.connection.run(sql, &values)?;
        change.touch(claim.node_id)?;
    }
    let mut replied = claim.pending(rules, change.now - node.requested);
    if node.hostname != claim.hostname || node.policy_server != claim.place.as_str() {
        replied.undecided = false;
        replied.answer.detail.push_str(&format!(
            "; it waits as {} below {}, as it first said: for another host name or place, an operator has to \
             delete it first",
            node.hostname, node.policy_server
        ));
    }
    Ok(Ok(replied))
}

fn conflict(
    change: &mut Change<'_>,
    claim: &Claim<'_>,
    rules: &Rules,
    kind: ConflictKind,
    of: &NodeId,
    detail: &str,
) -> QueryResult<Decision> {
    let address = claim.address.map(|address| address.to_string());
    let new = NewConflict {
        node_id: of,
        kind,
        key_hash: Some(claim.key_hash),
        address: address.as_deref(),
        detail,
    };
    note_conflict(change.connection, change.now, &new)?;
    Ok(claim.answer(rules, State::Conflict, detail))
}

/// Whether nodes may connect to that server.
fn is_relay(change: &mut Change<'_>, place: &NodeId, rules: &Rules) -> QueryResult<bool> {
    if *place == rules.own_id {
        return Ok(true);
    }
    let place = row::node(change.connection, place)?;
    Ok(place.is_some_and(|row| row.state == NodeState::Accepted.as_str() && row.role == Role::Relay.as_str()))
}

fn by_token(id: &str) -> String {
    format!("token {id}")
}

impl<'a> Claim<'a> {
    /// That of a request, which came through `place`.
    pub(super) fn of(request: &'a Request, place: &'a NodeId, address: IpAddr) -> Self {
        Self {
            node_id: &request.node_id,
            hostname: &request.hostname,
            as_relay: request.as_relay,
            key_hash: &request.key_hash,
            spki: request.spki_der(),
            certificate: request.certificate(),
            token: request.token(),
            place,
            address: Some(address),
        }
    }
}

impl Claim<'_> {
    fn role(&self) -> Role {
        if self.as_relay { Role::Relay } else { Role::Node }
    }

    fn keep_certificate(&self, change: &mut Change<'_>) -> QueryResult<bool> {
        match self.certificate {
            Some(certificate) => change.add_certificate(self.node_id, certificate, "node"),
            None => Ok(false),
        }
    }

    fn not_a_relay(&self, rules: &Rules) -> Decision {
        self.answer(rules, State::Refused, &format!("{} is not a relay; ask its operator", self.place))
    }

    fn pending(&self, rules: &Rules, waited: i64) -> Replied {
        let how = if self.as_relay { "--relay " } else { "" };
        let detail = format!(
            "waits for an operator of the root: relayd node accept {how}{} --fingerprint {}",
            self.node_id, self.key_hash
        );
        let retry_after = u64::try_from(waited.clamp(RETRY_AFTER.0, RETRY_AFTER.1)).ok();
        let answer = Answer { retry_after, ..self.bare_answer(rules, State::Pending, detail) };
        Replied { answer, undecided: !self.as_relay && self.token.is_none() }
    }

    fn answer(&self, rules: &Rules, state: State, detail: &str) -> Decision {
        Ok(Replied { answer: self.bare_answer(rules, state, detail.to_owned()), undecided: false })
    }

    fn bare_answer(&self, rules: &Rules, state: State, detail: String) -> Answer {
        Answer {
            state,
            node_id: self.node_id.clone(),
            key_hash: self.key_hash.clone(),
            detail,
            retry_after: None,
            has_ca: rules.has_ca,
        }
    }
}

/// A row with one text.
#[derive(diesel::QueryableByName)]
pub(super) struct TextRow {
    #[diesel(sql_type = diesel::sql_types::Text)]
    pub(super) text: String,
}
