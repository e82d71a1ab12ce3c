// SPDX-License-Identifier: Apache-2.0
//! What becomes of nodes, in the log: one line for each that asks, each decision and each claim to an
//! identity of somebody else, whoever wrote it into the database: this root, another one, an operator.
//!
//! Read from the rows that have changed, so that nothing is said that was not committed.

use std::collections::HashMap;

use diesel::{
    QueryResult, QueryableByName,
    sql_types::{BigInt, Nullable, Text},
};
use tracing::{info, warn};

use super::record::NodeState;
use crate::{
    db::{Connection, query::Value},
    spool::disposition::printable,
};

/// Remembers what it has told.
#[derive(Default)]
pub(super) struct Journal {
    /// What was there before it started is not told.
    read: Option<Read>,
    /// State and time of nodes that were told, as long as they could be taken for news again.
    told: HashMap<String, (String, i64)>,
}

/// How far it has read.
struct Read {
    version: i64,
    conflict: i64,
    /// Unix time.
    at: i64,
}

/// A line of the log.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    Node(Node),
    Conflict(Conflict),
}

/// How it stands with a node now.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
struct Node {
    #[diesel(sql_type = Text)]
    nodeid: String,
    #[diesel(sql_type = Text)]
    hostname: String,
    #[diesel(sql_type = Text)]
    state: String,
    #[diesel(sql_type = Text)]
    role: String,
    #[diesel(sql_type = Text)]
    policy_server: String,
    /// Since when.
    #[diesel(sql_type = BigInt)]
    since: i64,
    #[diesel(sql_type = Nullable<Text>)]
    decided_by: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    address: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    key_hash: Option<String>,
    #[diesel(sql_type = BigInt)]
    version: i64,
}

/// Somebody claims an identity that has an owner.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
struct Conflict {
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
}

/// Lines at a time, twice a second: more are counted.
const MOST: usize = 50;
/// How much earlier than it was last read a decision may have been made, in seconds: transactions wait
/// for each other, and clocks differ.
const SLACK: i64 = 600;

impl Journal {
    /// Tells what is new.
    pub(super) fn tell(&mut self, c: &mut Connection, now: i64) -> QueryResult<()> {
        let news = self.news(c, now)?;
        news.iter().take(MOST).for_each(Line::tell);
        if let Some(more) = news.len().checked_sub(MOST).filter(|more| *more > 0) {
            info!("{more} more nodes asked, were decided about or came into conflict: relayd node list");
        }
        Ok(())
    }

    fn news(&mut self, c: &mut Connection, now: i64) -> QueryResult<Vec<Line>> {
        let Some(read) = &mut self.read else {
            let version = c.number("SELECT version AS number FROM node_registry", &[])?;
            let conflict = c.number("SELECT coalesce(max(id), 0) AS number FROM node_conflict", &[])?;
            self.read = Some(Read { version, conflict, at: now });
            let recent = nodes(c, "coalesce(decided, requested) >= $1", now - SLACK)?;
            self.told = recent.into_iter().map(|node| (node.nodeid, (node.state, node.since))).collect();
            return Ok(Vec::new());
        };
        let nodes = nodes(c, "version > $1", read.version)?;
        // Two machines with one identity are told of when they are seen.
        let sql = "SELECT id, nodeid, kind, key_hash, address, detail FROM node_conflict \
                   WHERE id > $1 AND kind IN ('other_key', 'other_id') ORDER BY id";
        let conflicts: Vec<Conflict> = c.rows(sql, &[Value::Int(read.conflict)])?;
        let oldest = read.at.min(now) - SLACK;
        read.version = nodes.last().map_or(read.version, |last| last.version);
        read.conflict = conflicts.last().map_or(read.conflict, |last| last.id);
        read.at = now;
        self.told.retain(|_, (_, since)| *since >= oldest);
        let mut lines = Vec::new();
        for node in nodes.into_iter().filter(|node| node.since >= oldest) {
            // Its row may have changed for another reason.
            let what = (node.state.clone(), node.since);
            if self.told.insert(node.nodeid.clone(), what.clone()) != Some(what) {
                lines.push(Line::Node(node));
            }
        }
        lines.extend(conflicts.into_iter().map(Line::Conflict));
        Ok(lines)
    }
}

/// Nodes that a condition on a number chooses, in the order of their changes.
fn nodes(c: &mut Connection, condition: &str, number: i64) -> QueryResult<Vec<Node>> {
    let sql = format!(
        "SELECT nodeid, hostname, state, role, policy_server, coalesce(decided, requested) AS since, \
         decided_by, address, version, (SELECT min(key_hash) FROM node_key AS k \
         WHERE k.nodeid = node.nodeid AND valid_until IS NULL) AS key_hash \
         FROM node WHERE {condition} ORDER BY version, nodeid"
    );
    c.rows(&sql, &[Value::Int(number)])
}

impl Line {
    fn tell(&self) {
        let or_none = |text: &Option<String>| text.as_deref().map_or("-".into(), printable);
        match self {
            Self::Node(node) => {
                let asks = node.state == NodeState::Pending.as_str();
                let what = if asks { "node asks to be taken in" } else { "node decided about" };
                info!(
                    node_id = printable(&node.nodeid),
                    fingerprint = or_none(&node.key_hash),
                    state = printable(&node.state),
                    by = or_none(&node.decided_by),
                    hostname = printable(&node.hostname),
                    role = printable(&node.role),
                    policy_server = printable(&node.policy_server),
                    address = or_none(&node.address),
                    "{what}"
                );
            }
            Self::Conflict(conflict) => warn!(
                node_id = printable(&conflict.nodeid),
                fingerprint = or_none(&conflict.key_hash),
                conflict = printable(&conflict.kind),
                address = or_none(&conflict.address),
                "{}",
                printable(&conflict.detail)
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{self, DatabaseUrl},
        db::Database,
    };

    const NOW: i64 = 1_700_000_000;

    fn connection(directory: &tempfile::TempDir) -> Connection {
        let url = DatabaseUrl::Sqlite(directory.path().join("db"));
        let settings = config::Database { url, absent: None, max_pool_size: 1, migrate_at_start: true };
        Database::open(&settings).unwrap().connect().unwrap()
    }

    fn told(journal: &mut Journal, c: &mut Connection, now: i64) -> Vec<String> {
        let line = |line: Line| match line {
            Line::Node(node) => {
                format!("{} {} {}", node.nodeid, node.state, node.key_hash.unwrap_or_default())
            }
            Line::Conflict(conflict) => format!("{} {}", conflict.nodeid, conflict.kind),
        };
        journal.news(c, now).unwrap().into_iter().map(line).collect()
    }

    fn add(c: &mut Connection, node: &str, version: i64, requested: i64) {
        let sql = format!(
            "INSERT INTO node (nodeid, hostname, state, role, policy_server, requested, version) \
             VALUES ('{node}', 'h', 'pending', 'node', 'root', {requested}, {version})"
        );
        c.run(&sql, &[]).unwrap();
        let sql = format!("INSERT INTO node_key (nodeid, key_hash, added) VALUES ('{node}', 'k-{node}', 1)");
        c.run(&sql, &[]).unwrap();
    }

    #[test]
    fn each_request_decision_and_conflict_is_told_once() {
        let directory = tempfile::tempdir().unwrap();
        let (mut c, mut journal) = (connection(&directory), Journal::default());
        add(&mut c, "before", 1, NOW);
        assert_eq!(told(&mut journal, &mut c, NOW), [""; 0], "before it started");
        add(&mut c, "a", 2, NOW);
        assert_eq!(told(&mut journal, &mut c, NOW), ["a pending k-a"]);
        assert_eq!(told(&mut journal, &mut c, NOW), [""; 0]);
        c.run("UPDATE node SET version = 3 WHERE nodeid = 'a'", &[]).unwrap();
        assert_eq!(told(&mut journal, &mut c, NOW + 1), [""; 0], "nothing was decided");
        let decide =
            "UPDATE node SET version = 4, state = 'accepted', decided = 1700000002 WHERE nodeid = 'a'";
        c.run(decide, &[]).unwrap();
        assert_eq!(told(&mut journal, &mut c, NOW + 2), ["a accepted k-a"]);
        c.run("UPDATE node SET version = 5", &[]).unwrap();
        assert_eq!(told(&mut journal, &mut c, NOW + SLACK + 10), [""; 0]);
        for kind in ["other_key", "clone"] {
            let sql = format!(
                "INSERT INTO node_conflict (nodeid, kind, detail, first_seen, last_seen, count) \
                 VALUES ('a', '{kind}', 'd', 1, 1, 1)"
            );
            c.run(&sql, &[]).unwrap();
        }
        assert_eq!(told(&mut journal, &mut c, NOW + SLACK + 11), ["a other_key"]);
        c.run("UPDATE node SET version = 6", &[]).unwrap();
        assert_eq!(told(&mut journal, &mut c, NOW + 3 * SLACK), [""; 0], "decided long ago");
        assert!(journal.told.len() <= 1, "what is told is forgotten in time");
    }
}
