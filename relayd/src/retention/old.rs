// SPDX-License-Identifier: Apache-2.0
//! Removing what is no longer kept: whole days (or months) of a group of tables in one transaction each.

use std::collections::BTreeMap;

use diesel::{QueryResult, result::Error};

use super::{
    locks,
    partitions::{self, Partition, Partitions},
    rows::{self, Rows},
    tables::{Group, Kind, Table},
};
use crate::db::Connection;

/// A partition that was dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// Its name, with its schema.
    pub name: String,
    /// What it took, with indexes.
    pub bytes: u64,
}

/// What became of a group.
#[derive(Debug, Default)]
pub(super) struct Removed {
    pub dropped: Vec<Dropped>,
    /// Rows deleted where there was no partition to drop.
    pub rows: u64,
    /// What could not be removed now: the tables, and what the database says.
    pub kept: Option<(Vec<String>, Error)>,
}

/// Removes what is older than `before` from all tables of the group.
pub(super) fn remove(c: &mut Connection, group: &Group, before: i64) -> QueryResult<Removed> {
    let mut expired: BTreeMap<i64, Vec<(Table, Partition)>> = BTreeMap::new();
    let mut loose = Vec::new();
    for table in &group.tables {
        match table.kind(c)? {
            None => {}
            Some(Kind::Plain) => loose.push(Rows { relation: table.name.to_owned(), table: *table }),
            Some(Kind::Partitioned) => {
                let there = partitions::look(c, *table)?;
                if !there.is_ours {
                    continue;
                }
                let Partitions { ranges, default, .. } = there;
                loose.extend(default.map(|relation| Rows { relation, table: *table }));
                for partition in ranges.into_iter().filter(|partition| partition.range.to <= before) {
                    expired.entry(partition.range.to).or_default().push((*table, partition));
                }
            }
        }
    }
    let mut removed = Removed::default();
    let defaults: Vec<_> = loose.iter().map(|rows| rows.relation.clone()).collect();
    // The oldest first: who reads a day that goes finds nothing before it, either.
    for partitions in expired.into_values() {
        match drop_all(c, &partitions, &defaults) {
            Ok(()) => removed.dropped.extend(
                partitions
                    .into_iter()
                    .map(|(_, partition)| Dropped { name: partition.name, bytes: partition.bytes }),
            ),
            Err(error) => {
                let tables = partitions
                    .into_iter()
                    .flat_map(|(table, partition)| [table.name.to_owned(), partition.name]);
                removed.kept = Some((tables.collect(), error));
                break;
            }
        }
    }
    match rows::delete(c, &loose, before) {
        Ok(rows) => removed.rows = rows,
        // What went before stays away, and other groups have their turn.
        Err(error) => {
            let relations = loose.into_iter().map(|rows| rows.relation);
            removed.kept.get_or_insert((relations.collect(), error));
        }
    }
    Ok(removed)
}

/// Whole runs: all of them go, or none.
///
/// Only the first lock is waited for: one wait, not one for each table. In whole runs it is the one that writers
/// take first, so that those who come then have nothing in their hands. The default partition is among the locks
/// because dropping another one changes what may be in it.
fn drop_all(c: &mut Connection, partitions: &[(Table, Partition)], defaults: &[String]) -> QueryResult<()> {
    let dropped: Vec<_> = partitions.iter().map(|(_, partition)| partition.name.clone()).collect();
    let mut parents: Vec<_> = partitions.iter().map(|(table, _)| table.name).collect();
    parents.dedup();
    let Some((first, others)) = parents.split_first() else { return Ok(()) };
    let others = others.iter().map(|table| (*table).to_owned()).chain(dropped.iter().cloned());
    let others: Vec<_> =
        others.chain(defaults.iter().cloned()).map(|table| format!("ONLY {table}")).collect();
    c.transaction(|c| {
        locks::wait_briefly(c)?;
        c.execute(&format!("LOCK TABLE ONLY {first} IN ACCESS EXCLUSIVE MODE"))?;
        c.execute(&format!("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE NOWAIT", others.join(", ")))?;
        c.execute(&format!("DROP TABLE {}", dropped.join(", ")))
    })
}
