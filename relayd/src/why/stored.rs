// SPDX-License-Identifier: Apache-2.0
//! What the database has of one node: a few rows, each found by an index.

use chrono::{DateTime, Utc};
use diesel::{
    QueryableByName,
    sql_types::{BigInt, Nullable, Text},
};
use protocol::node_id::NodeId;

use super::gather::{Look, Trouble};
use crate::{
    config::{Config, NodesSource},
    db::{Connection, Database, DbError, query::Value},
    finding::split,
    registry::{
        admin::{self, AdminError},
        record::NodeDetails,
    },
};

/// Runs that are read: enough to see how often a node runs.
const RUNS: usize = 20;
/// No statement takes longer, in seconds: whoever asked has gone long since.
const STATEMENT: u32 = 5;

/// What is stored.
#[derive(Debug, Clone)]
pub struct Stored {
    /// The node, where the database says which nodes there are.
    pub node: Option<NodeDetails>,
    /// Its last runs, the newest first.
    pub runs: Vec<Run>,
    /// Its last run log, also one without a run.
    pub last_log: Option<Log>,
    /// What time it is there.
    pub now: DateTime<Utc>,
}

/// A run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Its start, by the node's clock.
    pub start: DateTime<Utc>,
    /// When it was stored, by the clock of the database.
    pub stored: Option<DateTime<Utc>>,
}

/// A run log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// Start of its run.
    pub start: DateTime<Utc>,
    /// When it was stored.
    pub stored: DateTime<Utc>,
    /// The file that it came in.
    pub file: String,
}

/// Looks. `listed` is the node, when the node list says which one that is.
pub fn look(config: &Config, asked: &str, listed: Option<NodeId>) -> Look<Stored> {
    let failed = |error: DbError| {
        let (cause, remedy) = split(&error, "see `relayd database status`");
        match error {
            DbError::Untold(_) => Trouble::Unasked(cause, remedy),
            _ => Trouble::Failed(cause, remedy),
        }
    };
    let mut connection = Database::look(&config.database).map_err(failed)?;
    read(&mut connection, config, asked, listed).map_err(failed)
}

#[derive(QueryableByName)]
struct RunRow {
    #[diesel(sql_type = BigInt)]
    start: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    stored: Option<i64>,
}

#[derive(QueryableByName)]
struct LogRow {
    #[diesel(sql_type = BigInt)]
    start: i64,
    #[diesel(sql_type = BigInt)]
    stored: i64,
    #[diesel(sql_type = Text)]
    file: String,
}

fn read(c: &mut Connection, config: &Config, asked: &str, listed: Option<NodeId>) -> Result<Stored, DbError> {
    c.limit_statements(STATEMENT)?;
    let now = time(c.number(&format!("SELECT {} AS number", c.unix_time(NOW)), &[])?);
    let of_registry = config.nodes.source == NodesSource::Database;
    // Ambiguous names have been found in the node list; here they are no node.
    let node = match of_registry {
        true if listed.is_none() => match admin::find(c, asked) {
            Err(AdminError::Database(error)) => return Err(error),
            found => found.ok(),
        },
        _ => listed,
    };
    let node = node.or_else(|| asked.strip_prefix("id:").unwrap_or(asked).parse().ok());
    let Some(node) = node else {
        return Ok(Stored { node: None, runs: Vec::new(), last_log: None, now });
    };
    let details = match of_registry.then(|| admin::get(c, &node)) {
        Some(Err(AdminError::Database(error))) => return Err(error),
        got => got.and_then(Result::ok).flatten(),
    };
    let of_node = [Value::Text(node.as_str())];
    let (start, stored) = (c.unix_time("date"), c.unix_time("insertiondate"));
    let sql = format!(
        "SELECT {start} AS start, {stored} AS stored FROM reportsexecution WHERE nodeid = $1 \
         ORDER BY insertionid DESC NULLS LAST, date DESC LIMIT {RUNS}"
    );
    let runs = c.rows::<RunRow>(&sql, &of_node)?.into_iter();
    let runs = runs.map(|row| Run { start: time(row.start), stored: row.stored.map(time) }).collect();
    let stored = c.unix_time("stored");
    let sql = format!(
        "SELECT {start} AS start, {stored} AS stored, file FROM run_log WHERE nodeid = $1 \
         ORDER BY run_log.stored DESC LIMIT 1"
    );
    let last_log = c.row::<LogRow>(&sql, &of_node)?;
    let last_log =
        last_log.map(|row| Log { start: time(row.start), stored: time(row.stored), file: row.file });
    Ok(Stored { node: details, runs, last_log, now })
}

/// The present, in both kinds of database.
const NOW: &str = "CURRENT_TIMESTAMP";

fn time(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap_or_default()
}
