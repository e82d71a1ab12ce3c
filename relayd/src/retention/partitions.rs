// SPDX-License-Identifier: Apache-2.0
//! Partitions in PostgreSQL: which there are, making those that are missing.
//!
//! They are made aside and attached, which lets readers and writers of other days go on. Rows that came while
//! theirs was missing are in the default partition; they move into the new one in the same transaction.

use std::collections::BTreeSet;

use diesel::{
    QueryResult, QueryableByName,
    sql_types::{BigInt, Bool, Text},
};

use super::{
    locks,
    tables::Table,
    time::{DAY, Range, Unit, range_of},
};
use crate::db::{Connection, query::Value};

/// How far partitions are made ahead, in seconds: days without maintenance cost nothing.
const AHEAD: i64 = 7 * DAY;
/// How far back days are made of which nobody made one when they were to come: agents send what they had kept
/// while there was no server. In the default partition that would be in the way of its own partition.
const BEHIND: i64 = 31 * DAY;
/// The same for a table without a day before today: it is new, and nodes have kept what they could not send
/// while the server was set up.
const BEHIND_FIRST: i64 = 3 * DAY;
/// Most partitions of a table that rows in the default one can cause in one pass.
const MOST_FILLED: usize = 400;

/// What there is of a partitioned table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Partitions {
    /// Its schema, quoted.
    pub schema: String,
    /// Its owner, quoted.
    pub owner: String,
    /// Whether this role may do what its owner may.
    pub is_ours: bool,
    /// Of a day or month.
    pub ranges: Vec<Partition>,
    /// The default one, with its schema.
    pub default: Option<String>,
}

/// A partition of a day or month.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Partition {
    /// With its schema.
    pub name: String,
    /// What it holds.
    pub range: Range,
    /// With indexes, in bytes.
    pub bytes: u64,
}

/// A partition that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// Its name.
    pub name: String,
    /// Rows that waited in the default partition.
    pub moved: u64,
}

#[derive(QueryableByName)]
struct Parent {
    #[diesel(sql_type = Text)]
    schema: String,
    #[diesel(sql_type = Text)]
    owner: String,
    #[diesel(sql_type = Bool)]
    is_ours: bool,
}

#[derive(QueryableByName)]
struct Child {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    bound: String,
    #[diesel(sql_type = BigInt)]
    bytes: i64,
}

#[derive(QueryableByName)]
struct Start {
    #[diesel(sql_type = BigInt)]
    seconds: i64,
}

/// Looks at a table that has partitions.
pub(super) fn look(c: &mut Connection, table: Table) -> QueryResult<Partitions> {
    let Connection::Postgres(c) = c else { return Err(diesel::result::Error::NotFound) };
    use diesel::RunQueryDsl;
    let parent: Parent = diesel::sql_query(
        "SELECT relnamespace::regnamespace::text AS schema, relowner::regrole::text AS owner, \
         pg_has_role(relowner, 'USAGE') AS is_ours FROM pg_class WHERE oid = to_regclass($1)",
    )
    .bind::<Text, _>(table.name)
    .get_result(c)?;
    let children: Vec<Child> = diesel::sql_query(
        "SELECT format('%I.%I', nspname, relname) AS name, pg_get_expr(relpartbound, c.oid) AS bound, \
         pg_total_relation_size(c.oid) AS bytes FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid \
         JOIN pg_namespace n ON n.oid = c.relnamespace WHERE i.inhparent = to_regclass($1)",
    )
    .bind::<Text, _>(table.name)
    .load(c)?;
    let default = children.iter().find(|child| child.bound == "DEFAULT").map(|child| child.name.clone());
    let ranges = children.into_iter().filter_map(|child| {
        let bytes = u64::try_from(child.bytes).unwrap_or_default();
        Some(Partition { range: range_of(&child.bound)?, name: child.name, bytes })
    });
    let Parent { schema, owner, is_ours } = parent;
    Ok(Partitions { schema, owner, is_ours, ranges: ranges.collect(), default })
}

impl Partitions {
    /// Whether what is stored now has a partition.
    pub fn has_present(&self, wall: i64) -> bool {
        self.ranges.iter().any(|partition| (partition.range.from..partition.range.to).contains(&wall))
    }

    /// From when on there should be partitions, whether there are rows or not: from the last one before today, or
    /// a few days back where there is none.
    fn gap_from(&self, today: Range, wall: i64) -> i64 {
        let ends = self.ranges.iter().map(|partition| partition.range.to);
        let last = ends.filter(|end| *end <= today.from).max();
        last.map_or(wall.saturating_sub(BEHIND_FIRST), |end| end.max(wall.saturating_sub(BEHIND)))
    }
}

/// The days or months that need a partition: those from today on, then those since the last one, as far as they
/// are kept still. Past ones of rows in the default one are among them only if asked for.
pub(super) fn missing(
    c: &mut Connection,
    table: Table,
    there: &Partitions,
    wall: i64,
    kept_from: Option<i64>,
    with_waiting: bool,
) -> QueryResult<Vec<Range>> {
    let (today, horizon) = (table.unit.around(wall), table.unit.around(wall.saturating_add(AHEAD)));
    let mut wanted = BTreeSet::new();
    let mut next = table.unit.around(there.gap_from(today, wall));
    while next.from <= horizon.from {
        if next.from >= today.from || kept_from.is_none_or(|from| next.to > from) {
            wanted.insert(next);
        }
        next = table.unit.around(next.to);
    }
    if let Some(default) = &there.default {
        let kept_from = kept_from.map(|from| table.unit.around(from).from);
        let waiting = waiting(c, table, default, kept_from, horizon.to)?;
        if with_waiting {
            wanted.extend(waiting);
        } else {
            // To move them takes as long as there are many.
            wanted.retain(|range| range.from >= today.from || !waiting.contains(range));
        }
    }
    let overlaps = |range: &Range| {
        there
            .ranges
            .iter()
            .any(|partition| partition.range.from < range.to && range.from < partition.range.to)
    };
    let mut missing: Vec<_> = wanted.into_iter().filter(|range| !overlaps(range)).collect();
    // When one cannot be made, the others have to wait: those that are needed now are not among them.
    missing.sort_by_key(|range| range.from < today.from);
    Ok(missing)
}

/// Days or months of rows in the default partition, the newest first.
fn waiting(
    c: &mut Connection,
    table: Table,
    default: &str,
    from: Option<i64>,
    to: i64,
) -> QueryResult<Vec<Range>> {
    let truncated = match table.unit {
        // In the time zone of the session, which is UTC.
        Unit::Day => format!("date_trunc('day', {})", table.column.name()),
        Unit::Month => format!("date_trunc('month', to_timestamp({}))", table.column.name()),
    };
    let (name, to) = (table.column.name(), table.column.literal(to));
    let kept = from.map(|from| format!(" AND {name} >= {}", table.column.literal(from))).unwrap_or_default();
    let sql = format!(
        "SELECT DISTINCT extract(epoch FROM {truncated})::bigint AS seconds FROM {default} \
         WHERE {name} < {to}{kept} ORDER BY seconds DESC LIMIT {MOST_FILLED}"
    );
    let starts: Vec<Start> = c.rows(&sql, &[])?;
    Ok(starts.into_iter().map(|start| table.unit.around(start.seconds)).collect())
}

/// Makes a partition and moves into it what waits in the default one.
pub(super) fn make(c: &mut Connection, table: Table, there: &Partitions, range: Range) -> QueryResult<Made> {
    let Partitions { schema, owner, default, .. } = there;
    let name = table.unit.name(table.name, range);
    let (parent, new) = (format!("{schema}.{}", table.name), format!("{schema}.{name}"));
    let (column, from, to) =
        (table.column.name(), table.column.literal(range.from), table.column.literal(range.to));
    c.transaction(|c| {
        locks::wait_briefly(c)?;
        if let Some(default) = default {
            // Attaching takes this lock, too; having it first, no row can come in between.
            c.execute(&format!("LOCK TABLE {default} IN ACCESS EXCLUSIVE MODE"))?;
        }
        c.execute(&format!(
            "CREATE TABLE {new} (LIKE {parent} INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE); \
             ALTER TABLE {new} OWNER TO {owner}"
        ))?;
        let moved = match default {
            None => 0,
            Some(default) => {
                let sql = format!(
                    "WITH moved AS (DELETE FROM {default} WHERE {column} >= {from} AND {column} < {to} \
                     RETURNING *) INSERT INTO {new} SELECT * FROM moved"
                );
                c.run(&sql, &[])? as u64
            }
        };
        c.execute(&format!(
            "ALTER TABLE {parent} ATTACH PARTITION {new} FOR VALUES FROM ({from}) TO ({to})"
        ))?;
        Ok(Made { name, moved })
    })
}

/// How many rows have no partition of their own; not known of tables of others.
pub(super) fn without_own(c: &mut Connection, there: &Partitions) -> QueryResult<u64> {
    let Some(default) = there.default.as_ref().filter(|_| there.is_ours) else { return Ok(0) };
    let count = c.number(&format!("SELECT count(*) AS number FROM {default}"), &[] as &[Value<'_>])?;
    Ok(u64::try_from(count).unwrap_or_default())
}
