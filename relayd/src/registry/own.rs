// SPDX-License-Identifier: Apache-2.0
//! What the registry knows before anybody asks: the root itself, and the nodes of the list that was
//! there before it.

use std::path::PathBuf;

use diesel::QueryResult;
use protocol::{certificate::Certificate, node_id::NodeId};
use tracing::{info, warn};

use super::{
    change::{Change, NewNode},
    follow,
    record::{NodeState, Role},
    row,
    start::Settings,
};
use crate::{config, db::Connection, nodes};

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

/// Takes over the nodes of a list that another program wrote, when the registry has none yet: who
/// makes the registry the source must not lose them.
pub(super) fn import(c: &mut Connection, general: &config::General) -> Result<(), String> {
    let known = c.number("SELECT count(*) AS number FROM node", &[]).map_err(|e| e.to_string())?;
    if known > 0 {
        return Ok(());
    }
    let table = nodes::read_files(general).map_err(|e| e.to_string())?;
    if !table.list().is_empty() {
        info!("taking over {} nodes from {}", table.list().len(), general.nodes_list_file.display());
        follow::follow(c, &table).map_err(|e| e.to_string())?;
    }
    Ok(())
}

/// Enters the root itself with the keys of its certificates. A new key replaces the former ones as it
/// does for any node; when there is no certificate, what was known stays.
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
    let keys = row::keys(change.connection, id)?;
    let is_own = |key: &row::KeyRow| {
        let hash = key.hash();
        certificates.iter().any(|one| hash.as_ref().is_some_and(|hash| hash.matches(one.spki_der())))
    };
    let mut has_changed = false;
    for key in keys.iter().filter(|key| !certificates.is_empty() && key.valid_until.is_none()) {
        if !is_own(key) {
            let end =
                change.now.saturating_add(i64::try_from(settings.key_overlap.as_secs()).unwrap_or(i64::MAX));
            change.end_key(id, &key.key_hash, Some(end))?;
            has_changed = true;
        }
    }
    for certificate in &certificates {
        let hash = certificate.key_hash();
        let text = hash.to_string();
        match keys.iter().find(|key| key.key_hash == text) {
            None => change.add_key(id, &hash, Some(certificate.spki_der()))?,
            Some(key) if key.valid_until.is_some() => change.end_key(id, &text, None)?,
            Some(_) => {
                has_changed |= change.add_certificate(id, certificate, "node")?;
                continue;
            }
        }
        change.add_certificate(id, certificate, "node")?;
        has_changed = true;
    }
    if has_changed { change.touch(id) } else { Ok(()) }
}
