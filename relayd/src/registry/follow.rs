// SPDX-License-Identifier: Apache-2.0
//! Where another program says which nodes there are, in files, the registry follows: what it shows is
//! what the node table has.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use diesel::QueryResult;
use protocol::{certificate::Certificate, hash::KeyHash, node_id::NodeId, node_list::NodeEntry};

use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{
    admin::now,
    change::{Change, MOST_CERTIFICATES, NewNode, change},
    enrol::TextRow,
    record::{NodeState, Role},
    row::{KEY_COLUMNS, KeyRow, NODE_COLUMNS, NodeRow},
    source::{self, Source},
};
use crate::{
    db::{Connection, Database, DbError},
    nodes::{NodeTable, Nodes},
};

/// Who decided.
const BY: &str = "node list";
/// Nodes in one transaction.
const AT_A_TIME: usize = 500;

/// How soon to try again what failed.
const RETRY: Duration = Duration::from_secs(30);

/// Follows the node table for as long as the daemon runs.
pub struct Followed {
    database: Database,
    nodes: Nodes,
    key_overlap: Duration,
}

impl Followed {
    /// Follows these nodes; `key_overlap`: how long a key that is not the current one is said to be valid.
    pub fn new(database: Database, nodes: Nodes, key_overlap: Duration) -> Self {
        Self { database, nodes, key_overlap }
    }

    /// Follows until stopped.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), String> {
        loop {
            let (database, table) = (self.database.clone(), Arc::clone(&self.nodes.borrow_and_update()));
            let overlap = self.key_overlap;
            let work = move || follow(&mut database.connect()?, &table, overlap).map_err(DbError::from);
            let followed = tokio::task::spawn_blocking(work).await.map_err(|e| e.to_string())?;
            if let Err(error) = &followed {
                warn!("the node registry does not follow the node list: {error}");
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(RETRY), if followed.is_err() => {}
                changed = self.nodes.changed() => if changed.is_err() {
                    // The loader is gone: the daemon is stopping.
                    stop.cancelled().await;
                    return Ok(());
                },
            }
        }
    }
}

/// What the registry has.
struct Known {
    nodes: HashMap<String, NodeRow>,
    keys: HashMap<String, Vec<KeyRow>>,
    /// `node id/fingerprint`
    certificates: HashSet<String>,
}

/// Makes the registry say what the table says, some nodes at a time: others want to write, too.
fn follow(c: &mut Connection, table: &NodeTable, overlap: Duration) -> QueryResult<()> {
    source::set(c, Source::Files)?;
    let known = read(c)?;
    let (wanted, gone) = differences(&known, table, now());
    for part in wanted.chunks(AT_A_TIME) {
        let work = |change: &mut Change<'_>| {
            part.iter().try_for_each(|wanted| wanted.make_so(change, &known, overlap))
        };
        change(c, now(), work)?;
    }
    for part in gone.chunks(AT_A_TIME) {
        change(c, now(), |change| revoke(change, part))?;
    }
    Ok(())
}

/// As [`follow`], in one go.
pub(super) fn take_over(change: &mut Change<'_>, table: &NodeTable, overlap: Duration) -> QueryResult<()> {
    let known = read(change.connection)?;
    let (wanted, gone) = differences(&known, table, change.now);
    wanted.iter().try_for_each(|wanted| wanted.make_so(change, &known, overlap))?;
    revoke(change, &gone)
}

/// What is not as in the table: what to make so, and who is not in it any more.
fn differences<'a>(known: &'a Known, table: &'a NodeTable, now: i64) -> (Vec<Wanted<'a>>, Vec<&'a NodeRow>) {
    let mut nodes: Vec<(&NodeId, &NodeEntry)> = table.list().iter().collect();
    nodes.sort_unstable_by_key(|(id, _)| *id);
    let wanted = nodes.into_iter().filter_map(|(id, entry)| {
        let wanted = Wanted::of(id, entry, table.certificates(id));
        wanted.differs(known, now).then_some(wanted)
    });
    let is_gone = |row: &&NodeRow| {
        row.state == NodeState::Accepted.as_str() && row.nodeid.parse().is_ok_and(|id| !table.knows(&id))
    };
    (wanted.collect(), known.nodes.values().filter(is_gone).collect())
}

fn revoke(change: &mut Change<'_>, gone: &[&NodeRow]) -> QueryResult<()> {
    gone.iter().filter_map(|row| Some((row, row.nodeid.parse().ok()?))).try_for_each(|(row, id)| {
        let role = Role::parse(&row.role).unwrap_or(Role::Node);
        change.decide(&id, NodeState::Revoked, role, BY)
    })
}

/// A node as the table has it.
struct Wanted<'a> {
    id: &'a NodeId,
    entry: &'a NodeEntry,
    /// The current one first.
    keys: Vec<WantedKey<'a>>,
    certificates: Vec<&'a Certificate>,
}

/// A key of a node as the table has it.
struct WantedKey<'a> {
    hash: KeyHash,
    spki: Option<&'a [u8]>,
    /// Else it was replaced and is still valid.
    is_current: bool,
}

impl WantedKey<'_> {
    fn is_so(&self, row: &KeyRow, now: i64) -> bool {
        row.valid_until.is_none() == self.is_current && row.is_valid(now)
    }
}

impl<'a> Wanted<'a> {
    fn of(id: &'a NodeId, entry: &'a NodeEntry, certificates: &'a [Certificate]) -> Self {
        let spki_of =
            |hash: &KeyHash| certificates.iter().map(Certificate::spki_der).find(|spki| hash.matches(spki));
        // Without a hash on the list, the certificates say which keys are the node's.
        let mut hashes: Vec<KeyHash> = entry.key_hashes().cloned().collect();
        if hashes.is_empty() {
            hashes = certificates.iter().map(Certificate::key_hash).collect();
        }
        let mut keys: Vec<WantedKey<'_>> = Vec::with_capacity(hashes.len());
        for hash in hashes {
            if keys.iter().all(|key| key.hash != hash) {
                // Where no key is said to be the current one, all are: none must end by itself.
                let is_current = entry.key_hash.as_ref().is_none_or(|current| *current == hash);
                keys.push(WantedKey { spki: spki_of(&hash), hash, is_current });
            }
        }
        let mut certificates: Vec<_> = certificates.iter().collect();
        // Those that are kept, in the order in which they are.
        certificates.sort_by_cached_key(|one| (Reverse(one.not_before()), one.fingerprint()));
        certificates.truncate(MOST_CERTIFICATES);
        Self { id, entry, keys, certificates }
    }

    fn role(&self, row: Option<&NodeRow>) -> Role {
        // Lists of other programs do not say who is a relay.
        let before = row.and_then(|row| Role::parse(&row.role)).unwrap_or(Role::Node);
        if self.entry.is_relay { Role::Relay } else { before }
    }

    fn differs(&self, known: &Known, now: i64) -> bool {
        let Some(row) = known.nodes.get(self.id.as_str()) else { return true };
        let keys = known.keys_of(self.id);
        let is_so = |wanted: &WantedKey<'_>| {
            let text = wanted.hash.to_string();
            keys.iter().any(|row| row.key_hash == text && wanted.is_so(row, now))
        };
        row.state != NodeState::Accepted.as_str()
            || row.hostname != self.entry.hostname
            || row.policy_server != self.entry.policy_server.as_str()
            || row.role != self.role(Some(row)).as_str()
            || !self.keys.iter().all(is_so)
            || keys.iter().any(|row| self.is_surplus(row, now))
            || self.certificates.iter().any(|one| !known.certificates.contains(&self.name(one)))
    }

    fn name(&self, certificate: &Certificate) -> String {
        format!("{}/{}", self.id, hex::encode(certificate.fingerprint()))
    }

    /// Whether this key still counts, and should not.
    fn is_surplus(&self, row: &KeyRow, now: i64) -> bool {
        row.is_valid(now) && self.keys.iter().all(|key| key.hash.to_string() != row.key_hash)
    }

    fn make_so(&self, change: &mut Change<'_>, known: &Known, overlap: Duration) -> QueryResult<()> {
        let row = known.nodes.get(self.id.as_str());
        let role = self.role(row);
        match row {
            None => change.add_node(&NewNode {
                node_id: self.id,
                hostname: &self.entry.hostname,
                state: NodeState::Accepted,
                role,
                policy_server: &self.entry.policy_server,
                decided_by: Some(BY),
                address: None,
            })?,
            Some(row) => {
                if row.state != NodeState::Accepted.as_str() || row.role != role.as_str() {
                    change.decide(self.id, NodeState::Accepted, role, BY)?;
                }
                change.describe(self.id, &self.entry.hostname, &self.entry.policy_server)?;
            }
        }
        self.make_keys_so(change, known.keys_of(self.id), overlap)?;
        change.keep_certificates(self.id, &self.certificates, BY)?;
        for certificate in &self.certificates {
            change.add_certificate(self.id, certificate, BY)?;
        }
        Ok(())
    }

    /// Lists do not say since when a key is valid, nor until when: one that is not the current one gets
    /// the whole overlap, and its place in the list by the time since which it is there.
    fn make_keys_so(&self, change: &mut Change<'_>, rows: &[KeyRow], overlap: Duration) -> QueryResult<()> {
        let end = change.now.saturating_add(i64::try_from(overlap.as_secs()).unwrap_or(i64::MAX));
        for (place, key) in (0..).zip(&self.keys) {
            let text = key.hash.to_string();
            let valid_until = (!key.is_current).then_some(end);
            match rows.iter().find(|row| row.key_hash == text) {
                None => change.add_key_of(self.id, &key.hash, key.spki, change.now - place, valid_until)?,
                Some(row) if !key.is_so(row, change.now) => change.end_key(self.id, &text, valid_until)?,
                Some(_) => {}
            }
        }
        let now = change.now;
        for row in rows.iter().filter(|row| self.is_surplus(row, now)) {
            change.end_key(self.id, &row.key_hash, Some(now))?;
        }
        Ok(())
    }
}

impl Known {
    fn keys_of(&self, id: &NodeId) -> &[KeyRow] {
        self.keys.get(id.as_str()).map_or(&[], Vec::as_slice)
    }
}

fn read(c: &mut Connection) -> QueryResult<Known> {
    let nodes: Vec<NodeRow> = c.rows(&format!("SELECT {NODE_COLUMNS} FROM node"), &[])?;
    let mut keys: HashMap<String, Vec<KeyRow>> = HashMap::new();
    for key in c.rows::<KeyRow>(&format!("SELECT {KEY_COLUMNS} FROM node_key"), &[])? {
        keys.entry(key.nodeid.clone()).or_default().push(key);
    }
    let sql = "SELECT nodeid || '/' || fingerprint AS text FROM node_certificate";
    let certificates = c.rows::<TextRow>(sql, &[])?.into_iter().map(|row| row.text).collect();
    Ok(Known { nodes: nodes.into_iter().map(|row| (row.nodeid.clone(), row)).collect(), keys, certificates })
}
