// SPDX-License-Identifier: Apache-2.0
//! Rows of the registry's tables, and reading them into records. The checks of the tables and of who
//! writes them make every row readable; one that is not is left out, with a warning that names it.

use chrono::{DateTime, Utc};
use diesel::{
    QueryResult, QueryableByName,
    sql_types::{BigInt, Binary, Nullable, Text},
};
use protocol::{hash::KeyHash, node_id::NodeId};

use super::record::{
    CertificateRecord, ConflictKind, ConflictRecord, KeyRecord, NodeRecord, NodeState, Role, TokenRecord,
    TokenState,
};
use crate::db::{
    Connection,
    query::{MOST_VALUES, Value},
};

/// A row of `node`.
#[derive(Debug, QueryableByName)]
pub(super) struct NodeRow {
    #[diesel(sql_type = Text)]
    pub nodeid: String,
    #[diesel(sql_type = Text)]
    pub hostname: String,
    #[diesel(sql_type = Text)]
    pub state: String,
    #[diesel(sql_type = Text)]
    pub role: String,
    #[diesel(sql_type = Text)]
    pub policy_server: String,
    #[diesel(sql_type = BigInt)]
    pub requested: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    pub decided: Option<i64>,
    #[diesel(sql_type = Nullable<Text>)]
    pub decided_by: Option<String>,
    #[diesel(sql_type = Nullable<BigInt>)]
    pub last_contact: Option<i64>,
    #[diesel(sql_type = Nullable<Text>)]
    pub address: Option<String>,
}

/// The columns of [`NodeRow`].
pub(super) const NODE_COLUMNS: &str =
    "nodeid, hostname, state, role, policy_server, requested, decided, decided_by, last_contact, address";

impl NodeRow {
    pub(super) fn record(self, key_hash: Option<KeyHash>, open_conflicts: u64) -> Option<NodeRecord> {
        let parts = (
            self.nodeid.parse(),
            NodeState::parse(&self.state),
            Role::parse(&self.role),
            self.policy_server.parse(),
        );
        let (Ok(node_id), Some(state), Some(role), Ok(policy_server)) = parts else {
            return unreadable("node", &self.nodeid);
        };
        Some(NodeRecord {
            node_id,
            hostname: self.hostname,
            state,
            role,
            policy_server,
            key_hash,
            requested: time(self.requested),
            decided: self.decided.map(time),
            decided_by: self.decided_by,
            last_contact: self.last_contact.map(time),
            address: self.address,
            open_conflicts,
        })
    }
}

/// A row of `node_key`.
#[derive(Debug, QueryableByName)]
pub(super) struct KeyRow {
    #[diesel(sql_type = Text)]
    pub nodeid: String,
    #[diesel(sql_type = Text)]
    pub key_hash: String,
    #[diesel(sql_type = Nullable<Binary>)]
    pub spki: Option<Vec<u8>>,
    #[diesel(sql_type = BigInt)]
    pub added: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    pub valid_until: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    pub found: Option<i64>,
}

/// The columns of [`KeyRow`].
pub(super) const KEY_COLUMNS: &str = "nodeid, key_hash, spki, added, valid_until, found";

impl KeyRow {
    /// Whether the key counts at that time.
    pub(super) fn is_valid(&self, now: i64) -> bool {
        self.valid_until.is_none_or(|end| end > now)
    }

    pub(super) fn hash(&self) -> Option<KeyHash> {
        self.key_hash.parse().ok().or_else(|| unreadable("key", &self.nodeid))
    }

    pub(super) fn record(self) -> Option<KeyRecord> {
        Some(KeyRecord {
            key_hash: self.hash()?,
            added: time(self.added),
            valid_until: self.valid_until.map(time),
        })
    }
}

/// A row of `node_certificate`.
#[derive(Debug, QueryableByName)]
pub(super) struct CertificateRow {
    #[diesel(sql_type = Text)]
    pub nodeid: String,
    #[diesel(sql_type = Text)]
    pub fingerprint: String,
    #[diesel(sql_type = Text)]
    pub key_hash: String,
    #[diesel(sql_type = Text)]
    pub pem: String,
    #[diesel(sql_type = BigInt)]
    pub not_before: i64,
    #[diesel(sql_type = BigInt)]
    pub not_after: i64,
    #[diesel(sql_type = Text)]
    pub source: String,
}

/// The columns of [`CertificateRow`].
pub(super) const CERTIFICATE_COLUMNS: &str =
    "nodeid, fingerprint, key_hash, pem, not_before, not_after, source";

impl CertificateRow {
    pub(super) fn record(self) -> Option<CertificateRecord> {
        let Ok(key_hash) = self.key_hash.parse() else { return unreadable("certificate", &self.nodeid) };
        Some(CertificateRecord {
            fingerprint: self.fingerprint,
            key_hash,
            not_before: time(self.not_before),
            not_after: time(self.not_after),
            source: self.source,
            pem: self.pem,
        })
    }
}

/// A row of `node_conflict`.
#[derive(Debug, QueryableByName)]
pub(super) struct ConflictRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Text)]
    nodeid: String,
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = Nullable<Text>)]
    key_hash: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    address: Option<String>,
    #[diesel(sql_type = Text)]
    detail: String,
    #[diesel(sql_type = BigInt)]
    first_seen: i64,
    #[diesel(sql_type = BigInt)]
    last_seen: i64,
    #[diesel(sql_type = BigInt)]
    count: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    resolved: Option<i64>,
    #[diesel(sql_type = Nullable<Text>)]
    resolved_by: Option<String>,
}

/// The columns of [`ConflictRow`].
pub(super) const CONFLICT_COLUMNS: &str = "id, nodeid, kind, key_hash, address, detail, first_seen, \
                                           last_seen, count, resolved, resolved_by";

impl ConflictRow {
    pub(super) fn record(self) -> Option<ConflictRecord> {
        let (Ok(node_id), Some(kind)) = (self.nodeid.parse(), ConflictKind::parse(&self.kind)) else {
            return unreadable("conflict", &self.nodeid);
        };
        Some(ConflictRecord {
            id: self.id,
            node_id,
            kind,
            key_hash: self.key_hash.and_then(|text| text.parse().ok()),
            address: self.address,
            detail: self.detail,
            first_seen: time(self.first_seen),
            last_seen: time(self.last_seen),
            count: u64::try_from(self.count).unwrap_or_default(),
            resolved: self.resolved.map(time),
            resolved_by: self.resolved_by,
        })
    }
}

/// A row of `enrolment_token`.
#[derive(QueryableByName)]
pub(super) struct TokenRow {
    #[diesel(sql_type = Text)]
    pub id: String,
    #[diesel(sql_type = Binary)]
    pub secret_hash: Vec<u8>,
    #[diesel(sql_type = Text)]
    pub host: String,
    #[diesel(sql_type = BigInt)]
    created: i64,
    #[diesel(sql_type = Text)]
    created_by: String,
    #[diesel(sql_type = BigInt)]
    expires: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    used: Option<i64>,
    #[diesel(sql_type = Nullable<Text>)]
    used_by: Option<String>,
    #[diesel(sql_type = Nullable<BigInt>)]
    revoked: Option<i64>,
}

/// The columns of [`TokenRow`].
pub(super) const TOKEN_COLUMNS: &str =
    "id, secret_hash, host, created, created_by, expires, used, used_by, revoked";

impl TokenRow {
    /// Whether it can be used at that time.
    pub(super) fn state(&self, now: i64) -> TokenState {
        match self {
            Self { used: Some(_), .. } => TokenState::Used,
            Self { revoked: Some(_), .. } => TokenState::Revoked,
            Self { expires, .. } if *expires <= now => TokenState::Expired,
            _ => TokenState::Usable,
        }
    }

    pub(super) fn record(self, now: i64) -> TokenRecord {
        TokenRecord {
            state: self.state(now),
            id: self.id,
            host: self.host,
            created: time(self.created),
            created_by: self.created_by,
            expires: time(self.expires),
            used: self.used.map(time),
            used_by: self.used_by.and_then(|text| text.parse().ok()),
            revoked: self.revoked.map(time),
        }
    }
}

/// The row of a node.
pub(super) fn node(c: &mut Connection, id: &NodeId) -> QueryResult<Option<NodeRow>> {
    c.row(&format!("SELECT {NODE_COLUMNS} FROM node WHERE nodeid = $1"), &[Value::Text(id.as_str())])
}

/// The keys of a node, retired ones included; the current one first.
pub(super) fn keys(c: &mut Connection, id: &NodeId) -> QueryResult<Vec<KeyRow>> {
    let sql = format!(
        "SELECT {KEY_COLUMNS} FROM node_key WHERE nodeid = $1 \
         ORDER BY CASE WHEN valid_until IS NULL THEN 0 ELSE 1 END, added DESC, key_hash"
    );
    c.rows(&sql, &[Value::Text(id.as_str())])
}

/// Runs a query with the ids in place of `{ids}`, as often as there are too many for one query.
pub(super) fn for_nodes<T>(
    c: &mut Connection,
    ids: &[&str],
    mut query: impl FnMut(&mut Connection, &str, &[Value<'_>]) -> QueryResult<Vec<T>>,
) -> QueryResult<Vec<T>> {
    let mut all = Vec::new();
    for part in ids.chunks(MOST_VALUES / 16) {
        let places: Vec<_> = (1..=part.len()).map(|place| format!("${place}")).collect();
        let values: Vec<_> = part.iter().map(|id| Value::Text(id)).collect();
        all.extend(query(c, &places.join(", "), &values)?);
    }
    Ok(all)
}

/// A time of the database.
pub(super) fn time(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap_or_default()
}

fn unreadable<T>(what: &str, node: &str) -> Option<T> {
    tracing::warn!("a {what} of node {node:?} in the database is not readable and is left out");
    None
}
