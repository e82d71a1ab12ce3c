// SPDX-License-Identifier: Apache-2.0
//! What a node was when: segments in a row with the same facts and packages. The last one is in `inventory`,
//! the former ones are in `inventory_history`.
//!
//! Inventories may come late. One that lies between two segments lengthens the one that it equals, or is a
//! segment of its own; one within a segment adds nothing, whatever it says: before and after it the node
//! was what the segment says.

use diesel::{
    QueryResult, QueryableByName,
    sql_types::{BigInt, Text},
};

use crate::db::{Connection, query::Value};

/// What a node is: ids of its facts and chunks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct State {
    pub(super) facts: i64,
    pub(super) chunks: String,
}

/// A time in which a node was the same. Unix times in seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Segment {
    /// When the first inventory of it was made.
    pub(super) since: i64,
    /// When the last one was.
    pub(super) last: i64,
    pub(super) state: State,
}

/// What an inventory means for its node.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// It is the newest, and says what the former said.
    Same,
    /// It is the newest, and says something else.
    Changed,
    /// It is not the newest.
    Late,
}

impl Segment {
    /// A node that was not known.
    pub(super) fn new(made: i64, state: State) -> Self {
        Self { since: made, last: made, state }
    }

    /// What an inventory means that was made then.
    pub(super) fn meaning(&self, made: i64, state: &State) -> Meaning {
        if made < self.last {
            Meaning::Late
        } else if self.state == *state {
            Meaning::Same
        } else {
            Meaning::Changed
        }
    }
}

#[derive(QueryableByName)]
struct SegmentRow {
    #[diesel(sql_type = BigInt)]
    since: i64,
    #[diesel(sql_type = BigInt)]
    last: i64,
    #[diesel(sql_type = BigInt)]
    facts_id: i64,
    #[diesel(sql_type = Text)]
    chunks: String,
}

impl From<SegmentRow> for Segment {
    fn from(row: SegmentRow) -> Self {
        Self { since: row.since, last: row.last, state: State { facts: row.facts_id, chunks: row.chunks } }
    }
}

/// Adds a former segment.
pub(super) fn close(c: &mut Connection, node: &str, segment: &Segment) -> QueryResult<()> {
    let sql = "INSERT INTO inventory_history (nodeid, since, last, facts_id, chunks) \
               VALUES ($1, $2, $3, $4, $5) ON CONFLICT (nodeid, last) DO NOTHING";
    let values = [
        Value::Text(node),
        Value::Int(segment.since),
        Value::Int(segment.last),
        Value::Int(segment.state.facts),
        Value::Text(&segment.state.chunks),
    ];
    c.run(sql, &values).map(drop)
}

/// Puts a late inventory into its place. Returns the current segment, which may have begun earlier.
pub(super) fn insert(
    c: &mut Connection,
    node: &str,
    made: i64,
    state: &State,
    current: Segment,
) -> QueryResult<Segment> {
    let next = "SELECT since, last, facts_id, chunks FROM inventory_history \
                WHERE nodeid = $1 AND last >= $2 ORDER BY last LIMIT 1";
    let values = [Value::Text(node), Value::Int(made)];
    let next: Option<Segment> = c.row::<SegmentRow>(next, &values)?.map(Into::into);
    let following = next.as_ref().unwrap_or(&current);
    if following.since <= made {
        return Ok(current);
    }
    if following.state == *state {
        let Some(next) = next else { return Ok(Segment { since: made, ..current }) };
        let sql = "UPDATE inventory_history SET since = $1 WHERE nodeid = $2 AND last = $3";
        c.run(sql, &[Value::Int(made), Value::Text(node), Value::Int(next.last)])?;
        return Ok(current);
    }
    let previous = "SELECT since, last, facts_id, chunks FROM inventory_history \
                    WHERE nodeid = $1 AND last < $2 ORDER BY last DESC LIMIT 1";
    let previous: Option<Segment> = c.row::<SegmentRow>(previous, &values)?.map(Into::into);
    match previous.filter(|previous| previous.state == *state) {
        Some(previous) => {
            let sql = "UPDATE inventory_history SET last = $1 WHERE nodeid = $2 AND last = $3";
            c.run(sql, &[Value::Int(made), Value::Text(node), Value::Int(previous.last)])?;
        }
        None => close(c, node, &Segment::new(made, state.clone()))?,
    }
    Ok(current)
}
