// SPDX-License-Identifier: Apache-2.0
//! What the registry knows before anybody asks: the root itself, and the nodes of the list that was
//! there before it.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use diesel::QueryResult;
use protocol::{certificate::Certificate, node_id::NodeId};
use tracing::{info, warn};

use super::{
    admin::now,
    change::{NewNode, change},
    follow,
    record::{NodeState, Role},
    row,
};
use crate::{
    config::{self, Config},
    db::{Connection, query::Value},
    nodes,
};

/// Who decided about the root.
const BY: &str = "this server";

/// Where the certificate of this server as a node is: that of the agent on it, which signs with its key. A
/// server without agent has that of its gateway, whose key may change more often.
pub(super) fn certificate_file(config: &Config) -> Option<PathBuf> {
    let agents = Path::new(config::AGENT_CERTIFICATE);
    let gateways = config.gateway.as_ref().map(|gateway| gateway.identity.certificate.clone());
    if agents.exists() { Some(agents.to_owned()) } else { gateways }
}

/// The certificate of this server; without one the root has no key in the list.
pub(super) fn certificate(path: &Path) -> Option<Certificate> {
    let pem = std::fs::read(path).ok()?;
    Certificate::from_pem(&pem).ok()
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

/// Enters the root itself, with its key if its certificate says that it is that of the root. A new key
/// of it replaces the former one, as for any node.
pub(super) fn enter(
    c: &mut Connection,
    id: &NodeId,
    certificate: Option<&Certificate>,
    overlap: Duration,
) -> QueryResult<()> {
    let certificate = certificate.filter(|one| one.sole_node_id() == Some(id));
    if certificate.is_none() {
        warn!("no certificate of this server names node {id}: the node list says no key of the root");
    }
    let hash = certificate.map(Certificate::key_hash);
    let text = hash.as_ref().map(ToString::to_string);
    let is_there = row::node(c, id)?.is_some_and(|row| row.state == NodeState::Accepted.as_str());
    let has_key = match &text {
        Some(text) => row::keys(c, id)?.iter().any(|key| key.key_hash == *text && key.valid_until.is_none()),
        None => true,
    };
    if is_there && has_key {
        return Ok(());
    }
    change(c, now(), |change| {
        match row::node(change.connection, id)? {
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
        let (Some(certificate), Some(hash), Some(text)) = (certificate, &hash, &text) else { return Ok(()) };
        let again = "UPDATE node_key SET valid_until = NULL WHERE nodeid = $1 AND key_hash = $2";
        if change.connection.run(again, &[Value::Text(id.as_str()), Value::Text(text)])? == 0 {
            change.add_key(id, hash, Some(certificate.spki_der()))?;
        }
        let end = change.now.saturating_add(i64::try_from(overlap.as_secs()).unwrap_or(i64::MAX));
        change.retire_keys(id, hash, end)?;
        change.add_certificate(id, certificate, "node").map(drop)
    })
}
