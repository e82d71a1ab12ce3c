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
}

impl Followed {
    /// Follows these nodes.
    pub fn new(database: Database, nodes: Nodes) -> Self {
        Self { database, nodes }
    }

    /// Follows until stopped.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), String> {
        loop {
            let (database, table) = (self.database.clone(), Arc::clone(&self.nodes.borrow_and_update()));
            let work = move || follow(&mut database.connect()?, &table).map_err(DbError::from);
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
fn follow(c: &mut Connection, table: &NodeTable) -> QueryResult<()> {
    source::set(c, Source::Files)?;
    let known = read(c)?;
    let (wanted, gone) = differences(&known, table);
    for part in wanted.chunks(AT_A_TIME) {
        change(c, now(), |change| part.iter().try_for_each(|wanted| wanted.make_so(change, &known)))?;
    }
    for part in gone.chunks(AT_A_TIME) {
        change(c, now(), |change| revoke(change, part))?;
    }
    Ok(())
}

/// As [`follow`], in one go.
pub(super) fn take_over(change: &mut Change<'_>, table: &NodeTable) -> QueryResult<()> {
    let known = read(change.connection)?;
    let (wanted, gone) = differences(&known, table);
    wanted.iter().try_for_each(|wanted| wanted.make_so(change, &known))?;
    revoke(change, &gone)
}

/// What is not as in the table: what to make so, and who is not in it any more.
fn differences<'a>(known: &'a Known, table: &'a NodeTable) -> (Vec<Wanted<'a>>, Vec<&'a NodeRow>) {
    let mut nodes: Vec<(&NodeId, &NodeEntry)> = table.list().iter().collect();
    nodes.sort_unstable_by_key(|(id, _)| *id);
    let wanted = nodes.into_iter().filter_map(|(id, entry)| {
        let wanted = Wanted::of(id, entry, table.certificates(id));
        wanted.differs(known).then_some(wanted)
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
    keys: Vec<(KeyHash, Option<&'a [u8]>)>,
    certificates: Vec<&'a Certificate>,
}

impl<'a> Wanted<'a> {
    fn of(id: &'a NodeId, entry: &'a NodeEntry, certificates: &'a [Certificate]) -> Self {
        let spki_of =
            |hash: &KeyHash| certificates.iter().map(Certificate::spki_der).find(|spki| hash.matches(spki));
        let mut keys: Vec<_> = entry.key_hashes().map(|hash| (hash.clone(), spki_of(hash))).collect();
        if keys.is_empty() {
            // Without a hash on the list, the certificates say which keys are the node's.
            keys = certificates.iter().map(|one| (one.key_hash(), Some(one.spki_der()))).collect();
        }
        let mut certificates: Vec<_> = certificates.iter().collect();
        // Those that are kept, in the order in which they are.
        certificates.sort_by_cached_key(|one| (Reverse(one.not_before()), one.fingerprint()));
        certificates.truncate(MOST_CERTIFICATES);
        keys.sort();
        keys.dedup();
        Self { id, entry, keys, certificates }
    }

    fn role(&self, row: Option<&NodeRow>) -> Role {
        // Lists of other programs do not say who is a relay.
        let before = row.and_then(|row| Role::parse(&row.role)).unwrap_or(Role::Node);
        if self.entry.is_relay { Role::Relay } else { before }
    }

    fn differs(&self, known: &Known) -> bool {
        let Some(row) = known.nodes.get(self.id.as_str()) else { return true };
        let keys = known.keys.get(self.id.as_str()).map_or(&[][..], Vec::as_slice);
        let mut current: Vec<&str> =
            keys.iter().filter(|key| key.valid_until.is_none()).map(|key| key.key_hash.as_str()).collect();
        let mut wanted: Vec<String> = self.keys.iter().map(|(hash, _)| hash.to_string()).collect();
        current.sort_unstable();
        wanted.sort_unstable();
        row.state != NodeState::Accepted.as_str()
            || row.hostname != self.entry.hostname
            || row.policy_server != self.entry.policy_server.as_str()
            || row.role != self.role(Some(row)).as_str()
            || current != wanted
            || self.certificates.iter().any(|one| !known.certificates.contains(&self.name(one)))
    }

    fn name(&self, certificate: &Certificate) -> String {
        format!("{}/{}", self.id, hex::encode(certificate.fingerprint()))
    }

    fn make_so(&self, change: &mut Change<'_>, known: &Known) -> QueryResult<()> {
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
        self.make_keys_so(change, known)?;
        change.keep_certificates(self.id, &self.certificates, BY)?;
        for certificate in &self.certificates {
            change.add_certificate(self.id, certificate, BY)?;
        }
        Ok(())
    }

    fn make_keys_so(&self, change: &mut Change<'_>, known: &Known) -> QueryResult<()> {
        let keys = known.keys.get(self.id.as_str()).map_or(&[][..], Vec::as_slice);
        for (hash, spki) in &self.keys {
            let text = hash.to_string();
            match keys.iter().find(|key| key.key_hash == text) {
                None => change.add_key(self.id, hash, *spki)?,
                Some(key) if key.valid_until.is_some() => change.end_key(self.id, &text, None)?,
                Some(_) => {}
            }
        }
        let is_over = |key: &&KeyRow| {
            key.valid_until.is_none() && self.keys.iter().all(|(hash, _)| hash.to_string() != key.key_hash)
        };
        for key in keys.iter().filter(is_over) {
            change.end_key(self.id, &key.key_hash, Some(change.now))?;
        }
        Ok(())
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
