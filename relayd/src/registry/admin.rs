// SPDX-License-Identifier: Apache-2.0
//! What operators do with the registry, for the command line: on a connection of its own, whether or
//! not the daemon runs. The daemon notices within half a second.

use std::time::Duration;

use chrono::{DateTime, Utc};
use protocol::{hash::KeyHash, limits::RELAY_DEPTH, node_id::NodeId};
use serde::Serialize;

use super::{
    change::{Change, change},
    record::{ConflictRecord, NodeState, Role, TokenRecord},
    row::{self, CONFLICT_COLUMNS, ConflictRow},
    token::{self, CreateError},
};
pub use super::{
    select::{Filter, find, get, is_like, list},
    token::NewToken,
};
use crate::{
    config::{Config, NodesSource, RunLogOutput},
    db::{Connection, Database, DbError, query::Value},
};

/// What somebody wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Look.
    Read,
    /// Change something.
    Write,
}

/// Why an operator's wish is not granted.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The configuration says that somebody else decides.
    #[error("{0}")]
    NotHere(String),
    /// The database.
    #[error(transparent)]
    Database(#[from] DbError),
    /// What was asked for does not exist, or is ambiguous.
    #[error("{0}")]
    NotFound(String),
    /// What was asked for makes no sense.
    #[error("{0}")]
    Invalid(String),
}

impl From<diesel::result::Error> for AdminError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Database(error.into())
    }
}

impl From<CreateError> for AdminError {
    fn from(error: CreateError) -> Self {
        match error {
            CreateError::Database(error) => error.into(),
            CreateError::Random(error) => Self::Invalid(format!("no random numbers: {error}")),
        }
    }
}

/// How it went with one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", content = "detail", rename_all = "snake_case")]
pub enum Outcome {
    /// Done.
    Done,
    /// It was so already.
    Unchanged,
    /// There is no such node.
    NotFound,
    /// Not done, for this reason.
    Refused(String),
}

/// How a wish ended, node by node, in the order in which they were named.
pub type Outcomes = Vec<(NodeId, Outcome)>;

/// How nodes are accepted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accept {
    /// As relays, to which others may connect. Without it, nodes that ask to be relays are refused.
    pub as_relay: bool,
    /// Only if this is the fingerprint of the node's key.
    pub fingerprint: Option<KeyHash>,
}

/// Connects to the database of the registry, if the configuration says that this server has one and,
/// to write, that it is the source.
pub fn open(config: &Config, purpose: Purpose) -> Result<Connection, AdminError> {
    let why_not = match (config.nodes.source, purpose) {
        (NodesSource::Upstream, _) => {
            "this server follows the one above it (nodes.source = \"upstream\"): nodes are managed on the root"
        }
        (NodesSource::Files, Purpose::Write) => {
            "another program says which nodes there are (nodes.source = \"files\"): use that, or set \
             nodes.source = \"database\""
        }
        // Its database would be made only to find nothing in it.
        (NodesSource::Files, Purpose::Read) if config.run_logs.output != RunLogOutput::Database => {
            "this server stores nothing in a database (processing.reporting.output): its nodes are in \
             general.nodes_list_file, or ask the root"
        }
        (NodesSource::Files, Purpose::Read) | (NodesSource::Database, _) => {
            return Ok(Database::open(&config.database)?.connect()?);
        }
    };
    Err(AdminError::NotHere(why_not.into()))
}

/// Lets nodes into the instance.
pub fn accept(c: &mut Connection, ids: &[NodeId], by: &str, how: &Accept) -> Result<Outcomes, AdminError> {
    each(c, ids, |change, id| {
        let Some(node) = row::node(change.connection, id)? else { return Ok(Outcome::NotFound) };
        let keys = row::keys(change.connection, id)?;
        let current = keys.iter().find(|key| key.valid_until.is_none()).and_then(row::KeyRow::hash);
        if let Some(wanted) = &how.fingerprint
            && current.as_ref() != Some(wanted)
        {
            let found = current.map_or("none".into(), |hash| hash.to_string());
            return Ok(Outcome::Refused(format!("the fingerprint of its key is another one: {found}")));
        }
        let is_relay = node.role == Role::Relay.as_str();
        let is_accepted = node.state == NodeState::Accepted.as_str();
        if is_accepted && (is_relay || !how.as_relay) {
            return Ok(Outcome::Unchanged);
        }
        if is_relay && !how.as_relay {
            let detail = "it asks to be a relay, to which other nodes connect; say --relay to allow that";
            return Ok(Outcome::Refused(detail.into()));
        }
        let role = if how.as_relay { Role::Relay } else { Role::Node };
        change.decide(id, NodeState::Accepted, role, by)?;
        Ok(Outcome::Done)
    })
}

/// Decides against nodes that wait.
pub fn reject(c: &mut Connection, ids: &[NodeId], by: &str) -> Result<Outcomes, AdminError> {
    leave(c, ids, by, NodeState::Pending, NodeState::Rejected)
}

/// Takes accepted nodes out of the instance, at once and open connections included.
pub fn revoke(c: &mut Connection, ids: &[NodeId], by: &str) -> Result<Outcomes, AdminError> {
    leave(c, ids, by, NodeState::Accepted, NodeState::Revoked)
}

/// Forgets nodes: their ids and keys are free again.
pub fn delete(c: &mut Connection, ids: &[NodeId]) -> Result<Outcomes, AdminError> {
    each(c, ids, |change, id| {
        if id.is_root() {
            return Ok(Outcome::Refused("it is this root".into()));
        }
        if row::node(change.connection, id)?.is_none() {
            return Ok(Outcome::NotFound);
        }
        if let Some(refused) = has_nodes_below(change, id)? {
            return Ok(refused);
        }
        change.delete(id)?;
        Ok(Outcome::Done)
    })
}

/// Hangs nodes below another server.
pub fn move_to(c: &mut Connection, ids: &[NodeId], server: &NodeId) -> Result<Outcomes, AdminError> {
    each(c, ids, |change, id| {
        if !is_server(change, server)? {
            let text = format!("{server} is not an accepted relay; see relayd node list");
            return Err(AdminError::Invalid(text));
        }
        if id.is_root() {
            return Ok(Outcome::Refused("it is this root".into()));
        }
        let Some(node) = row::node(change.connection, id)? else { return Ok(Outcome::NotFound) };
        if node.policy_server == server.as_str() {
            return Ok(Outcome::Unchanged);
        }
        let way = way_up(change, server)?;
        if way.contains(id) {
            let reason = if server == id {
                "it cannot be below itself".into()
            } else {
                format!("{server} is below it")
            };
            return Ok(Outcome::Refused(reason));
        }
        if way.len() + levels_below(change, id)? > RELAY_DEPTH {
            let text = format!("there, it or a node below it would be more than {RELAY_DEPTH} levels down");
            return Ok(Outcome::Refused(text));
        }
        change.describe(id, &node.hostname, server)?;
        Ok(Outcome::Done)
    })
}

/// Says that the conflicts of nodes are settled; what tells clones starts anew.
pub fn resolve(c: &mut Connection, ids: &[NodeId], by: &str) -> Result<Outcomes, AdminError> {
    each(c, ids, |change, id| {
        if row::node(change.connection, id)?.is_none() {
            return Ok(Outcome::NotFound);
        }
        let sql = "UPDATE node_conflict SET resolved = $1, resolved_by = $2 \
                   WHERE nodeid = $3 AND resolved IS NULL";
        let values = [Value::Int(change.now), Value::Text(by), Value::Text(id.as_str())];
        let open = change.connection.run(sql, &values)?;
        let forget = "DELETE FROM node_instance WHERE nodeid = $1";
        change.connection.run(forget, &[Value::Text(id.as_str())])?;
        Ok(if open > 0 { Outcome::Done } else { Outcome::Unchanged })
    })
}

/// Conflicts that nobody has resolved, the newest first.
pub fn open_conflicts(c: &mut Connection) -> Result<Vec<ConflictRecord>, AdminError> {
    let sql = format!(
        "SELECT {CONFLICT_COLUMNS} FROM node_conflict WHERE resolved IS NULL ORDER BY last_seen DESC, id DESC"
    );
    Ok(c.rows::<ConflictRow>(&sql, &[])?.into_iter().filter_map(ConflictRow::record).collect())
}

/// Makes one token for each host name; they can be used for that long.
pub fn create_tokens(
    c: &mut Connection,
    hosts: &[String],
    lifetime: Duration,
    by: &str,
) -> Result<Vec<NewToken>, AdminError> {
    if let Some(bad) = hosts.iter().find(|host| !is_host_name(host)) {
        return Err(AdminError::Invalid(format!(
            "{bad:?} is not a host name: 1 to 255 letters, digits, '-', '_' and '.'"
        )));
    }
    let mut tokens = Vec::with_capacity(hosts.len());
    for part in hosts.chunks(AT_A_TIME) {
        tokens.extend(c.transaction(|c| token::create(c, part, lifetime, by, now()))?);
    }
    Ok(tokens)
}

/// All tokens that are remembered, the newest first.
pub fn list_tokens(c: &mut Connection) -> Result<Vec<TokenRecord>, AdminError> {
    Ok(token::list(c, now())?)
}

/// Takes a token back, named by its id (or, by mistake, by its whole text).
pub fn revoke_token(c: &mut Connection, id: &str) -> Result<TokenRecord, AdminError> {
    let id = id.split_once('-').map_or(id, |(id, _)| id);
    change::<_, diesel::result::Error>(c, now(), |change| token::revoke(change, id))?
        // Not quoted: it may be a secret.
        .ok_or_else(|| AdminError::NotFound("there is no token of this id; see relayd token list".into()))
}

/// Nodes in one transaction: others wait for it to end.
const AT_A_TIME: usize = 500;

fn each(
    c: &mut Connection,
    ids: &[NodeId],
    mut work: impl FnMut(&mut Change<'_>, &NodeId) -> Result<Outcome, AdminError>,
) -> Result<Outcomes, AdminError> {
    let mut outcomes = Vec::with_capacity(ids.len());
    for part in ids.chunks(AT_A_TIME) {
        let done = change::<_, AdminError>(c, now(), |change| {
            part.iter().map(|id| Ok((id.clone(), work(change, id)?))).collect::<Result<Outcomes, _>>()
        })?;
        outcomes.extend(done);
    }
    Ok(outcomes)
}

fn leave(
    c: &mut Connection,
    ids: &[NodeId],
    by: &str,
    from: NodeState,
    to: NodeState,
) -> Result<Outcomes, AdminError> {
    each(c, ids, |change, id| {
        if id.is_root() {
            return Ok(Outcome::Refused("it is this root".into()));
        }
        let Some(node) = row::node(change.connection, id)? else { return Ok(Outcome::NotFound) };
        match NodeState::parse(&node.state) {
            Some(state) if state == to => return Ok(Outcome::Unchanged),
            Some(state) if state == from => {}
            _ => return Ok(Outcome::Refused(format!("it is {}, not {from}", node.state))),
        }
        let role = Role::parse(&node.role).unwrap_or(Role::Node);
        change.decide(id, to, role, by)?;
        Ok(Outcome::Done)
    })
}

fn has_nodes_below(change: &mut Change<'_>, id: &NodeId) -> diesel::QueryResult<Option<Outcome>> {
    let sql = "SELECT count(*) AS number FROM node WHERE policy_server = $1 AND nodeid <> $2";
    let values = [Value::Text(id.as_str()), Value::Text(id.as_str())];
    let count = change.connection.number(sql, &values)?;
    let text = || format!("{count} nodes are below it; move them first: relayd node move … --to RELAY");
    Ok((count > 0).then(|| Outcome::Refused(text())))
}

/// Whether nodes may be below it.
fn is_server(change: &mut Change<'_>, id: &NodeId) -> diesel::QueryResult<bool> {
    let is_relay =
        |row: row::NodeRow| row.state == NodeState::Accepted.as_str() && row.role == Role::Relay.as_str();
    Ok(id.is_root() || row::node(change.connection, id)?.is_some_and(is_relay))
}

/// A server and those above it, without the root, at most as many as there may be and one more.
fn way_up(change: &mut Change<'_>, from: &NodeId) -> diesel::QueryResult<Vec<NodeId>> {
    let (mut way, mut hop) = (Vec::new(), from.clone());
    while !hop.is_root() && way.len() <= RELAY_DEPTH {
        let next = row::node(change.connection, &hop)?.and_then(|row| row.policy_server.parse().ok());
        way.push(hop);
        let Some(next) = next else { break };
        hop = next;
    }
    Ok(way)
}

/// How many levels there are from a node down to the lowest below it, its own one included.
fn levels_below(change: &mut Change<'_>, id: &NodeId) -> diesel::QueryResult<usize> {
    let sql = "WITH RECURSIVE below (nodeid, level) AS ( \
               SELECT nodeid, 1 FROM node WHERE nodeid = $1 UNION \
               SELECT node.nodeid, level + 1 FROM node JOIN below ON node.policy_server = below.nodeid \
               WHERE node.nodeid <> node.policy_server AND level <= $2) \
               SELECT CAST(coalesce(max(level), 1) AS bigint) AS number FROM below";
    let most = i64::try_from(RELAY_DEPTH).unwrap_or(i64::MAX);
    let levels = change.connection.number(sql, &[Value::Text(id.as_str()), Value::Int(most)])?;
    Ok(usize::try_from(levels).unwrap_or(usize::MAX))
}

/// A name that a request can have.
fn is_host_name(text: &str) -> bool {
    (1..=255).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

/// The time, as the database has it.
pub(super) fn now() -> i64 {
    DateTime::<Utc>::from(std::time::SystemTime::now()).timestamp()
}
