// SPDX-License-Identifier: Apache-2.0
//! The accepted nodes in memory: what the database says, brought up to date by what has changed.

use std::{collections::HashMap, sync::Arc};

use diesel::{
    QueryResult, QueryableByName,
    pg::Pg,
    sql_types::{BigInt, Text},
    sqlite::Sqlite,
};
use protocol::{
    certificate::{self, Certificate},
    hash::KeyHash,
    node_id::NodeId,
    node_list::{NodeEntry, NodeList},
};

use super::{
    record::{NodeState, Role},
    row::{KEY_COLUMNS, KeyRow, NODE_COLUMNS, NodeRow, for_nodes},
};
use crate::{
    db::{Connection, query::Value},
    nodes::{NodeTable, Spki},
};

/// Nodes whose keys and certificates are read in one go.
const AT_A_TIME: usize = 1000;

/// A copy of the accepted nodes.
#[derive(Default)]
pub(super) struct Mirror {
    /// Up to which version of the registry; 0: nothing was read yet.
    version: i64,
    nodes: HashMap<NodeId, Known>,
}

/// An accepted node.
struct Known {
    hostname: String,
    is_relay: bool,
    policy_server: NodeId,
    /// The current one first.
    keys: Vec<Key>,
    /// Of these keys; shared with the tables.
    certificates: Arc<[Certificate]>,
    /// Of these keys, as far as known; shared with the tables.
    spkis: Arc<[Spki]>,
}

struct Key {
    hash: KeyHash,
    spki: Option<Spki>,
    valid_until: Option<i64>,
}

#[derive(QueryableByName)]
struct Versions {
    #[diesel(sql_type = BigInt)]
    version: i64,
    #[diesel(sql_type = BigInt)]
    purged: i64,
}

impl Mirror {
    /// Reads what has changed; returns whether anything has.
    pub(super) fn refresh(&mut self, c: &mut Connection) -> QueryResult<bool> {
        let versions: Versions = c
            .row("SELECT version, purged FROM node_registry", &[])?
            .ok_or(diesel::result::Error::NotFound)?;
        if versions.version == self.version {
            return Ok(false);
        }
        // What was removed leaves nothing that could be read as a change.
        let since = if versions.purged > self.version { 0 } else { self.version };
        let has_changed = if since == 0 {
            self.nodes = read_all(c)?;
            true
        } else {
            let changed = read_since(c, since)?;
            changed.into_iter().fold(false, |has_changed, (id, known)| {
                let is_change = match known {
                    Some(known) => {
                        self.nodes.insert(id, known);
                        true
                    }
                    None => self.nodes.remove(&id).is_some(),
                };
                has_changed | is_change
            })
        };
        self.version = versions.version;
        Ok(has_changed)
    }

    /// When the next key ends, if one does.
    pub(super) fn next_end(&self, now: i64) -> Option<i64> {
        let ends = self.nodes.values().flat_map(|known| &known.keys).filter_map(|key| key.valid_until);
        ends.filter(|end| *end > now).min()
    }

    /// The table of the keys that are valid at that time.
    pub(super) fn table(&mut self, now: i64) -> NodeTable {
        let mut list = Vec::with_capacity(self.nodes.len());
        let mut certificates = HashMap::with_capacity(self.nodes.len());
        let mut signing_keys = HashMap::with_capacity(self.nodes.len());
        for (id, known) in &mut self.nodes {
            known.forget_keys_until(now);
            list.push((id.clone(), known.entry()));
            certificates.insert(id.clone(), Arc::clone(&known.certificates));
            signing_keys.insert(id.clone(), Arc::clone(&known.spkis));
        }
        NodeTable::of(list.into_iter().collect::<NodeList>(), certificates, signing_keys)
    }
}

impl Known {
    fn entry(&self) -> NodeEntry {
        let mut hashes = self.keys.iter().map(|key| key.hash.clone());
        NodeEntry {
            hostname: self.hostname.clone(),
            key_hash: hashes.next(),
            other_key_hashes: hashes.collect(),
            policy_server: self.policy_server.clone(),
            is_relay: self.is_relay,
        }
    }

    fn forget_keys_until(&mut self, now: i64) {
        let is_over = |key: &Key| key.valid_until.is_some_and(|end| end <= now);
        if self.keys.iter().any(is_over) {
            self.keys.retain(|key| !is_over(key));
            self.certificates = of_keys(self.certificates.iter().cloned(), &self.keys);
            self.spkis = spkis_of(&self.keys);
        }
    }
}

fn of_keys(certificates: impl Iterator<Item = Certificate>, keys: &[Key]) -> Arc<[Certificate]> {
    certificates.filter(|one| keys.iter().any(|key| key.hash.matches(one.spki_der()))).collect()
}

fn spkis_of(keys: &[Key]) -> Arc<[Spki]> {
    keys.iter().filter_map(|key| key.spki.clone()).collect()
}

/// All nodes, some at a time: their rows and certificates as texts take much memory. What changes
/// meanwhile has a later version, and is read the next time.
fn read_all(c: &mut Connection) -> QueryResult<HashMap<NodeId, Known>> {
    let sql = format!("SELECT {NODE_COLUMNS} FROM node WHERE nodeid > $1 ORDER BY nodeid LIMIT {AT_A_TIME}");
    let (mut all, mut last) = (HashMap::new(), String::new());
    loop {
        let rows: Vec<NodeRow> = c.rows(&sql, &[Value::Text(&last)])?;
        let Some(row) = rows.last() else { return Ok(all) };
        last.clone_from(&row.nodeid);
        all.extend(read(c, rows, true)?.into_iter().filter_map(|(id, known)| Some((id, known?))));
    }
}

/// The nodes that have changed since that version.
fn read_since(c: &mut Connection, version: i64) -> QueryResult<Vec<(NodeId, Option<Known>)>> {
    let sql = format!("SELECT {NODE_COLUMNS} FROM node WHERE version > $1 ORDER BY nodeid");
    let mut rows: Vec<NodeRow> = c.rows(&sql, &[Value::Int(version)])?;
    let mut all = Vec::with_capacity(rows.len());
    while !rows.is_empty() {
        let part = rows.split_off(rows.len().saturating_sub(AT_A_TIME));
        all.extend(read(c, part, false)?);
    }
    Ok(all)
}

/// Certificate of a node; what else the table has is in it.
#[derive(QueryableByName)]
struct Pem {
    #[diesel(sql_type = Text)]
    nodeid: String,
    #[diesel(sql_type = Text)]
    pem: String,
}

/// Reads nodes with what belongs to them; `None`: not accepted, or not any more. The rows are in the
/// order of their ids; `are_all`: no node is between them.
fn read(c: &mut Connection, rows: Vec<NodeRow>, are_all: bool) -> QueryResult<Vec<(NodeId, Option<Known>)>> {
    let accepted = |row: &NodeRow| row.state == NodeState::Accepted.as_str();
    let ids: Vec<&str> = rows.iter().filter(|row| accepted(row)).map(|row| row.nodeid.as_str()).collect();
    let select = format!("SELECT {KEY_COLUMNS} FROM node_key");
    let order = "ORDER BY CASE WHEN valid_until IS NULL THEN 0 ELSE 1 END, added DESC, key_hash";
    let mut keys: HashMap<String, Vec<KeyRow>> = HashMap::new();
    for key in of_nodes::<KeyRow>(c, &select, order, &ids, are_all)? {
        keys.entry(key.nodeid.clone()).or_default().push(key);
    }
    let (select, order) =
        ("SELECT nodeid, pem FROM node_certificate", "ORDER BY not_before DESC, fingerprint");
    let mut certificates: HashMap<String, Vec<Pem>> = HashMap::new();
    for certificate in of_nodes::<Pem>(c, select, order, &ids, are_all)? {
        certificates.entry(certificate.nodeid.clone()).or_default().push(certificate);
    }
    let known = |row: NodeRow| {
        let is_accepted = accepted(&row);
        let keys = keys.remove(&row.nodeid).unwrap_or_default();
        let certificates = certificates.remove(&row.nodeid).unwrap_or_default();
        // Says so when the row is not readable.
        let record = row.record(None, 0)?;
        if !is_accepted {
            return Some((record.node_id, None));
        }
        let keys: Vec<Key> = keys
            .into_iter()
            .filter_map(|row| {
                Some(Key { hash: row.hash()?, spki: row.spki.map(Vec::into), valid_until: row.valid_until })
            })
            .collect();
        let certificates = certificates.iter().filter_map(|row| {
            // Not as one that OpenSSL has in memory: those are large.
            certificate::read_bundle(row.pem.as_bytes()).ok()?.into_iter().next()
        });
        let known = Known {
            hostname: record.hostname,
            is_relay: record.role == Role::Relay,
            policy_server: record.policy_server,
            certificates: of_keys(certificates, &keys),
            spkis: spkis_of(&keys),
            keys,
        };
        Some((record.node_id, Some(known)))
    };
    Ok(rows.into_iter().filter_map(known).collect())
}

/// What belongs to these nodes. A range is much faster than a list of ids.
fn of_nodes<T>(
    c: &mut Connection,
    select: &str,
    order: &str,
    ids: &[&str],
    are_all: bool,
) -> QueryResult<Vec<T>>
where
    T: QueryableByName<Pg> + QueryableByName<Sqlite> + 'static,
{
    match (ids.first(), ids.last()) {
        (Some(first), Some(last)) if are_all => {
            let sql = format!("{select} WHERE nodeid >= $1 AND nodeid <= $2 {order}");
            c.rows(&sql, &[Value::Text(first), Value::Text(last)])
        }
        _ => for_nodes(c, ids, |c, places, values| {
            c.rows(&format!("{select} WHERE nodeid IN ({places}) {order}"), values)
        }),
    }
}
