// SPDX-License-Identifier: Apache-2.0
//! One transaction for many inventories.

use std::collections::BTreeMap;

use diesel::{
    QueryResult, QueryableByName,
    result::Error,
    sql_types::{BigInt, Binary, Text},
};

use super::{
    dictionary::{self, CHUNKS, FACTS, Ids, PACKAGES, UPDATES},
    record::{Chunk, Packed, Record, Summary},
    timeline::{self, Meaning, Segment, State},
};
use crate::db::{
    Connection,
    query::{Value, placeholders},
};

/// Key of the advisory lock that writers share, and that whoever removes what nobody names has alone.
pub(super) const LOCK: i64 = 0x7265_6c61_7964_0005;

/// Why inventories were not stored; nothing was.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Another root stored the first inventory of a node at the same moment: once more.
    #[error("another server stored an inventory of a node at the same moment")]
    Raced,
    /// The database.
    #[error(transparent)]
    Database(#[from] Error),
}

/// Stores inventories that came at this time (Unix seconds).
pub fn write(c: &mut Connection, records: &[&Record], received: i64) -> Result<(), WriteError> {
    c.transaction(|c| put(c, records, received))
}

/// Does everything but the commit: stores these, one after the other, and takes all of it back.
pub(super) fn rehearse(c: &mut Connection, records: &[Record], received: i64) -> Result<(), WriteError> {
    let rehearsed = c.transaction(|c| {
        records.iter().try_for_each(|record| put(c, &[record], received))?;
        Err(WriteError::Database(Error::RollbackTransaction))
    });
    match rehearsed {
        Err(WriteError::Database(Error::RollbackTransaction)) => Ok(()),
        other => other,
    }
}

fn put(c: &mut Connection, records: &[&Record], received: i64) -> Result<(), WriteError> {
    if let Connection::Postgres(_) = c {
        c.run("SELECT pg_advisory_xact_lock_shared($1)", &[Value::Int(LOCK)])?;
    }
    let chunk_ids = chunk_ids(c, records)?;
    let facts_ids = packed_ids(c, &FACTS, records.iter().map(|record| &record.facts))?;
    let updates_ids = packed_ids(c, &UPDATES, records.iter().filter_map(|record| record.updates.as_ref()))?;
    let mut nodes = stored(c, records)?;
    let mut by_age: Vec<&Record> = records.to_vec();
    by_age.sort_by_key(|record| record.made);
    for record in by_age {
        let state =
            State { facts: facts_ids[&record.facts.digest], chunks: chunk_list(&record.chunks, &chunk_ids) };
        let updates = record.updates.as_ref().map(|updates| updates_ids[&updates.digest]);
        let node = nodes.entry(record.node_id.as_str()).or_default();
        place(c, node, &Newest { record, updates }, state)?;
    }
    upsert(c, &nodes, received)
}

/// A node while its inventories are stored.
#[derive(Default)]
struct Node<'r> {
    /// Whether it has a row.
    is_stored: bool,
    /// The digest of the inventory in that row.
    digest: Vec<u8>,
    segment: Option<Segment>,
    /// What its row is to say.
    newest: Option<Newest<'r>>,
    /// A late inventory moved its beginning.
    began_earlier: bool,
}

struct Newest<'r> {
    record: &'r Record,
    updates: Option<i64>,
}

/// Puts an inventory into the timeline of its node.
fn place<'r>(c: &mut Connection, node: &mut Node<'r>, new: &Newest<'r>, state: State) -> QueryResult<()> {
    let Newest { record, updates } = *new;
    let (id, made) = (record.node_id.as_str(), record.made);
    let Some(segment) = node.segment.take() else {
        node.segment = Some(Segment::new(made, state));
        node.newest = Some(Newest { record, updates });
        return Ok(());
    };
    if node.digest == record.digest && segment.last == made {
        // It is this one.
        node.segment = Some(segment);
        return Ok(());
    }
    node.segment = Some(match segment.meaning(made, &state) {
        Meaning::Late => {
            let since = segment.since;
            let segment = timeline::insert(c, id, made, &state, segment)?;
            node.began_earlier |= segment.since < since;
            segment
        }
        Meaning::Same => {
            node.newest = Some(Newest { record, updates });
            Segment { last: made, ..segment }
        }
        Meaning::Changed => {
            timeline::close(c, id, &segment)?;
            node.newest = Some(Newest { record, updates });
            Segment::new(made, state)
        }
    });
    Ok(())
}

/// Ids of all chunks. The packages of those that are there are not looked at: nearly all chunks are.
fn chunk_ids(c: &mut Connection, records: &[&Record]) -> QueryResult<Ids> {
    let mut chunks: BTreeMap<&super::package::Digest, (usize, &Chunk)> = BTreeMap::new();
    for record in records {
        let here = record.chunks.iter().enumerate();
        chunks.extend(here.filter_map(|(bucket, chunk)| chunk.as_ref().map(|c| (&c.digest, (bucket, c)))));
    }
    let mut ids = CHUNKS.known(c, chunks.keys().copied())?;
    chunks.retain(|digest, _| !ids.contains_key(*digest));
    if chunks.is_empty() {
        return Ok(ids);
    }
    let packages: BTreeMap<_, _> = chunks
        .values()
        .flat_map(|(_, chunk)| &chunk.packages)
        .map(|(digest, package)| (digest, dictionary::package(package)))
        .collect();
    let package_ids = PACKAGES.ids(c, &packages)?;
    let lists: Vec<(&super::package::Digest, usize, String)> = chunks
        .iter()
        .map(|(digest, (bucket, chunk))| {
            let mut ids: Vec<i64> = chunk.packages.keys().map(|digest| package_ids[digest]).collect();
            ids.sort_unstable();
            let ids: Vec<String> = ids.iter().map(i64::to_string).collect();
            (*digest, *bucket, ids.join(","))
        })
        .collect();
    let rows = lists
        .iter()
        .map(|(digest, bucket, list)| (*digest, vec![Value::Int(*bucket as i64), Value::Text(list)]))
        .collect();
    ids.extend(CHUNKS.ids(c, &rows)?);
    Ok(ids)
}

fn chunk_list(chunks: &[Option<Chunk>], ids: &Ids) -> String {
    let id = |chunk: &Option<Chunk>| chunk.as_ref().map_or(0, |chunk| ids[&chunk.digest]).to_string();
    chunks.iter().map(id).collect::<Vec<_>>().join(",")
}

fn packed_ids<'r>(
    c: &mut Connection,
    table: &dictionary::Table,
    all: impl Iterator<Item = &'r Packed>,
) -> QueryResult<Ids> {
    table.ids(c, &all.map(|packed| (&packed.digest, vec![Value::Bytes(&packed.content)])).collect())
}

#[derive(QueryableByName)]
struct StoredRow {
    #[diesel(sql_type = Text)]
    nodeid: String,
    #[diesel(sql_type = BigInt)]
    made: i64,
    #[diesel(sql_type = BigInt)]
    since: i64,
    #[diesel(sql_type = Binary)]
    digest: Vec<u8>,
    #[diesel(sql_type = BigInt)]
    facts_id: i64,
    #[diesel(sql_type = Text)]
    chunks: String,
}

/// What is stored of these nodes; nobody else changes it until the end of the transaction.
fn stored<'r>(c: &mut Connection, records: &[&'r Record]) -> QueryResult<BTreeMap<&'r str, Node<'r>>> {
    let mut nodes: BTreeMap<&str, Node<'_>> =
        records.iter().map(|record| (record.node_id.as_str(), Node::default())).collect();
    let lock = if matches!(c, Connection::Postgres(_)) { "FOR UPDATE" } else { "" };
    let sql = format!(
        "SELECT nodeid, made, since, digest, facts_id, chunks FROM inventory WHERE nodeid IN {} \
         ORDER BY nodeid {lock}",
        placeholders(1, nodes.len())
    );
    let ids: Vec<Value<'_>> = nodes.keys().map(|id| Value::Text(id)).collect();
    for row in c.rows::<StoredRow>(&sql, &ids)? {
        let state = State { facts: row.facts_id, chunks: row.chunks };
        if let Some(node) = nodes.get_mut(&*row.nodeid) {
            node.is_stored = true;
            node.digest = row.digest;
            node.segment = Some(Segment { since: row.since, last: row.made, state });
        }
    }
    Ok(nodes)
}

const COLUMNS: [&str; 17] = [
    "nodeid",
    "received",
    "made",
    "since",
    "digest",
    "agent",
    "agent_version",
    "hostname",
    "os_name",
    "os_version",
    "os_full_name",
    "arch",
    "kernel",
    "facts_id",
    "updates_id",
    "volatile",
    "chunks",
];

fn upsert(c: &mut Connection, nodes: &BTreeMap<&str, Node<'_>>, received: i64) -> Result<(), WriteError> {
    let due = |node: &&Node<'_>| node.newest.is_some();
    let (known, new): (Vec<_>, Vec<_>) = nodes.values().filter(due).partition(|node| node.is_stored);
    let set: Vec<String> = COLUMNS[1..].iter().map(|name| format!("{name} = excluded.{name}")).collect();
    let update = format!("ON CONFLICT (nodeid) DO UPDATE SET {}", set.join(", "));
    for (nodes, conflict) in [(known, update.as_str()), (new, "ON CONFLICT (nodeid) DO NOTHING")] {
        if nodes.is_empty() {
            continue;
        }
        let values: Vec<Value<'_>> = nodes.iter().flat_map(|node| row(node, received)).collect();
        let sql = format!(
            "INSERT INTO inventory ({}) VALUES {} {conflict}",
            COLUMNS.join(", "),
            placeholders(nodes.len(), COLUMNS.len())
        );
        if c.run(&sql, &values)? < nodes.len() {
            return Err(WriteError::Raced);
        }
    }
    for (id, node) in nodes.iter().filter(|(_, node)| node.newest.is_none() && node.began_earlier) {
        let since = node.segment.as_ref().map_or(0, |segment| segment.since);
        let sql = "UPDATE inventory SET since = $1 WHERE nodeid = $2";
        c.run(sql, &[Value::Int(since), Value::Text(id)])?;
    }
    Ok(())
}

fn row<'n>(node: &'n Node<'_>, received: i64) -> Vec<Value<'n>> {
    let (Some(Newest { record, updates }), Some(segment)) = (&node.newest, &node.segment) else {
        return Vec::new();
    };
    let Summary { agent, agent_version, hostname, os_name, os_version, os_full_name, arch, kernel } =
        &record.summary;
    let mut row = vec![
        Value::Text(record.node_id.as_str()),
        Value::Int(received),
        Value::Int(record.made),
        Value::Int(segment.since),
        Value::Bytes(&record.digest),
    ];
    let texts = [agent, agent_version, hostname, os_name, os_version, os_full_name, arch, kernel];
    row.extend(texts.into_iter().map(|text| Value::Text(text)));
    row.extend([
        Value::Int(segment.state.facts),
        Value::MaybeInt(*updates),
        Value::Bytes(&record.momentary),
        Value::Text(&segment.state.chunks),
    ]);
    row
}
