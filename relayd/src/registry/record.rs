// SPDX-License-Identifier: Apache-2.0
//! What the registry knows, as plain records: for the command line, and for JSON.

use std::fmt;

use chrono::{DateTime, Utc};
use protocol::{hash::KeyHash, node_id::NodeId};
use serde::Serialize;

/// Where a node is on its way into the instance and out of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeState {
    /// Asked to be taken in; waits for a decision.
    Pending,
    /// Part of the instance.
    Accepted,
    /// Not taken in.
    Rejected,
    /// Was part of the instance.
    Revoked,
}

impl NodeState {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Pending, Self::Accepted, Self::Rejected, Self::Revoked];

    /// As in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
            Self::Revoked => "revoked",
        }
    }

    /// Reads what [`Self::as_str`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

impl fmt::Display for NodeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a node is for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// A managed machine.
    Node,
    /// Others connect to it.
    Relay,
}

impl Role {
    /// As in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Relay => "relay",
        }
    }

    /// Reads what [`Self::as_str`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Node, Self::Relay].into_iter().find(|role| role.as_str() == text)
    }
}

/// A node, without its keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NodeRecord {
    /// Its id.
    pub node_id: NodeId,
    /// Its host name, as it said.
    pub hostname: String,
    /// Whether it belongs to the instance.
    pub state: NodeState,
    /// What it is, or asks to be.
    pub role: Role,
    /// The node to which it connects.
    pub policy_server: NodeId,
    /// Fingerprint of its current key.
    pub key_hash: Option<KeyHash>,
    /// When it first asked.
    pub requested: DateTime<Utc>,
    /// When its state was decided.
    pub decided: Option<DateTime<Utc>>,
    /// By whom or what.
    pub decided_by: Option<String>,
    /// When it was last heard of.
    pub last_contact: Option<DateTime<Utc>>,
    /// The network address from which it first asked, as its policy server saw it.
    pub address: Option<String>,
    /// How many conflicts nobody has resolved yet.
    pub open_conflicts: u64,
}

/// All that is known of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NodeDetails {
    /// The node.
    #[serde(flatten)]
    pub node: NodeRecord,
    /// Its keys, the current one first.
    pub keys: Vec<KeyRecord>,
    /// Its certificates, the newest first.
    pub certificates: Vec<CertificateRecord>,
    /// Its conflicts, the newest first.
    pub conflicts: Vec<ConflictRecord>,
}

/// A key of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyRecord {
    /// Its fingerprint.
    pub key_hash: KeyHash,
    /// Since when.
    pub added: DateTime<Utc>,
    /// Until when it is valid beside its successor; `None`: it is the current one.
    pub valid_until: Option<DateTime<Utc>>,
}

/// A certificate of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CertificateRecord {
    /// SHA-256 of the DER, hexadecimal.
    pub fingerprint: String,
    /// Fingerprint of its key.
    pub key_hash: KeyHash,
    /// Start of its validity.
    pub not_before: DateTime<Utc>,
    /// End of its validity.
    pub not_after: DateTime<Utc>,
    /// `node`, `authority` or `node list`.
    pub source: String,
    /// The certificate.
    pub pem: String,
}

/// What can be wrong with an identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ConflictKind {
    /// Another key claims the id.
    OtherKey,
    /// The key claims another id.
    OtherId,
    /// Two machines use the identity.
    Clone,
    /// The machine was put back to an earlier state, and carries on.
    Rollback,
}

impl ConflictKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::OtherKey, Self::OtherId, Self::Clone, Self::Rollback];

    /// As in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OtherKey => "other_key",
            Self::OtherId => "other_id",
            Self::Clone => "clone",
            Self::Rollback => "rollback",
        }
    }

    /// Reads what [`Self::as_str`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// Something wrong with an identity, shown until an operator resolves it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConflictRecord {
    /// Its number.
    pub id: i64,
    /// Whose identity.
    pub node_id: NodeId,
    /// What.
    pub kind: ConflictKind,
    /// The key that does not fit.
    pub key_hash: Option<KeyHash>,
    /// Network address of the other one.
    pub address: Option<String>,
    /// For people.
    pub detail: String,
    /// When it first happened.
    pub first_seen: DateTime<Utc>,
    /// When it last happened.
    pub last_seen: DateTime<Utc>,
    /// How often.
    pub count: u64,
    /// When an operator said that it is settled. Rollbacks need nobody to say so.
    pub resolved: Option<DateTime<Utc>>,
    /// Who said so.
    pub resolved_by: Option<String>,
}

/// An enrolment token; its secret is not known any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TokenRecord {
    /// The part of its text before the hyphen.
    pub id: String,
    /// The host name for which it is.
    pub host: String,
    /// Whether it can be used.
    pub state: TokenState,
    /// When it was made.
    pub created: DateTime<Utc>,
    /// Who made it.
    pub created_by: String,
    /// Until when it can be used.
    pub expires: DateTime<Utc>,
    /// When it was used.
    pub used: Option<DateTime<Utc>>,
    /// By which node.
    pub used_by: Option<NodeId>,
    /// When it was revoked.
    pub revoked: Option<DateTime<Utc>>,
}

/// Whether a token can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenState {
    /// It can.
    Usable,
    /// It was.
    Used,
    /// Its time is over.
    Expired,
    /// An operator took it back.
    Revoked,
}
