// SPDX-License-Identifier: Apache-2.0
//! What the registry knows before anybody asks: the root itself, and the nodes of the list that was
//! there before it.

use std::path::PathBuf;

use diesel::QueryResult;
use protocol::{certificate::Certificate, node_id::NodeId};
use tracing::{info, warn};

use super::{
    admin::now,
    change::{Change, NewNode, change},
    follow,
    record::{NodeState, Role},
    row,
    source::{self, Source},
    start::Settings,
};
use crate::{
    db::Connection,
    nodes::{self, NodesError},
};

/// Who decided about the root.
const BY: &str = "this server";

/// The certificates of the root itself: of its agent and of its gateway, as far as they name it.
fn certificates(id: &NodeId, paths: &[PathBuf]) -> Vec<Certificate> {
    let read = |path: &PathBuf| Certificate::from_pem(&std::fs::read(path).ok()?).ok();
    let mut all: Vec<Certificate> =
        paths.iter().filter_map(read).filter(|one| one.sole_node_id() == Some(id)).collect();
    all.dedup_by_key(|one| one.fingerprint());
    if all.is_empty() {
        warn!("no certificate of this server names node {id}: the node list says no key of the root");
    }
    all
}

/// Takes over the nodes of the list that another program wrote, once, when the registry becomes the
/// source: all or none of them, since the registry writes the list from then on.
pub(super) fn import(c: &mut Connection, settings: &Settings) -> Result<(), ImportError> {
    if source::is(c, Source::Database)? {
        return Ok(());
    }
    let general = &settings.general;
    let table = nodes::read_files(general)?;
    change(c, now(), |change| {
        // Another root on this database may have been first.
        if source::is(change.connection, Source::Database)? {
            return Ok(());
        }
        if !table.list().is_empty() {
            info!("taking over {} nodes from {}", table.list().len(), general.nodes_list_file.display());
            follow::take_over(change, &table, settings.key_overlap)?;
        }
        source::set(change.connection, Source::Database).map_err(ImportError::from)
    })
}

/// Why the list that was there cannot be taken over.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// Its files.
    #[error(transparent)]
    Files(#[from] NodesError),
    /// The database.
    #[error(transparent)]
    Database(#[from] diesel::result::Error),
}

/// Enters the root itself with the keys of its certificates. A key that is found there for the first
/// time replaces those that were found there before; when there is no certificate, what was known
/// stays. Keys that the root's agent announced but does not use yet are left alone, and those that
/// were replaced stay so. Roots that share a database share one identity for this reason.
pub(super) fn enter(change: &mut Change<'_>, settings: &Settings) -> QueryResult<()> {
    let id = &settings.general.node_id;
    let certificates = certificates(id, &settings.own_certificates);
    match row::node(change.connection, id)? {
        Some(row) if row.state == NodeState::Accepted.as_str() => {}
        Some(_) => change.decide(id, NodeState::Accepted, Role::Node, BY)?,
        None => change.add_node(&NewNode {
            node_id: id,
            hostname: &rustix::system::uname().nodename().to_string_lossy(),
            state: NodeState::Accepted,
            role: Role::Node,
            policy_server: id,
            decided_by: Some(BY),
            address: None,
        })?,
    }
    let (mut has_changed, mut has_new) = (false, false);
    for certificate in &certificates {
        let hash = certificate.key_hash();
        let text = hash.to_string();
        match row::keys(change.connection, id)?.iter().find(|key| key.key_hash == text) {
            None => {
                change.add_key(id, &hash, Some(certificate.spki_der()))?;
                has_changed = true;
            }
            Some(key) if key.valid_until.is_some() => warn!(
                "this server uses the key {text}, which was replaced and does not come back; make a new one"
            ),
            Some(_) => {}
        }
        has_new |= change.key_found(id, &text)?;
        has_changed |= change.add_certificate(id, certificate, "node")?;
    }
    if has_new {
        let used: Vec<String> = certificates.iter().map(|one| one.key_hash().to_string()).collect();
        let overlap = i64::try_from(settings.key_overlap.as_secs()).unwrap_or(i64::MAX);
        let end = change.now.saturating_add(overlap);
        let is_over = |key: &&row::KeyRow| {
            key.valid_until.is_none() && key.found.is_some() && !used.contains(&key.key_hash)
        };
        for key in row::keys(change.connection, id)?.iter().filter(is_over) {
            change.end_key(id, &key.key_hash, Some(end))?;
            has_changed = true;
        }
    }
    if has_changed { change.touch(id) } else { Ok(()) }
}
