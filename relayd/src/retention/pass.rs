// SPDX-License-Identifier: Apache-2.0
//! One pass: partitions for the days to come, and away with what is no longer kept.

use std::time::Duration;

use diesel::{QueryResult, result::Error};
use protocol::node_id::NodeId;

use super::{
    clock::{self, Present},
    locks,
    old::{self, Dropped},
    partitions::{self, Made},
    tables::{Group, Kind, Table, groups},
    time::{Unit, shown},
};
use crate::{config, db::Connection};

/// What one pass did.
#[derive(Debug, Default)]
pub struct Pass {
    /// Partitions made.
    pub made: Vec<Made>,
    /// Partitions dropped.
    pub dropped: Vec<Dropped>,
    /// Rows deleted one by one.
    pub rows: u64,
    /// Rows that are in default partitions after it.
    pub without_partition: u64,
    /// What it took for the present, as Unix time.
    pub present: i64,
    /// Set when that is earlier than the clock says, which nobody confirms.
    pub doubt: Option<String>,
    /// Partitioned tables of another role, which has to look after them.
    pub of_others: Vec<String>,
    /// Those of them that have none for today: what comes goes into the default one.
    pub without_today: Vec<String>,
    /// What could not be done.
    pub problems: Vec<Problem>,
}

/// Something that could not be done, and may be the next time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What, and what the database says.
    pub text: String,
    /// Who holds locks on the tables.
    pub holders: Vec<String>,
}

impl Problem {
    fn new(c: &mut Connection, what: &str, tables: &[String], error: &Error) -> Self {
        // Who it was may have gone meanwhile, or must not be known.
        let holders = locks::holders(c, tables).unwrap_or_default();
        Self { text: format!("{what}: {}", error.to_string().trim()), holders }
    }
}

/// Whose and when.
#[derive(Debug, Clone)]
pub struct Setting {
    /// For how long what is kept.
    pub keep: config::Retention,
    /// This server: its clock is not a second opinion on itself.
    pub own_id: NodeId,
}

/// Makes a pass; `None` when another process is making one. `wall` is the time by the wall clock, `passed`
/// that since the last pass of this process by the steady one.
pub fn run(
    c: &mut Connection,
    setting: &Setting,
    wall: i64,
    passed: Option<Duration>,
) -> QueryResult<Option<Pass>> {
    if !locks::begin(c)? {
        return Ok(None);
    }
    let done = pass(c, setting, wall, passed);
    // With the connection, the lock would go as well.
    let ended = locks::end(c);
    let pass = done?;
    ended?;
    Ok(Some(pass))
}

/// Makes the partitions of the days to come, and of those since the last one, so that no row has to wait for its
/// own.
pub fn prepare(c: &mut Connection, keep: &config::Retention, wall: i64) -> QueryResult<Option<Pass>> {
    if !locks::begin(c)? {
        return Ok(None);
    }
    let mut pass = Pass::default();
    let tables = partitioned(c, &groups(c, keep));
    let done = tables.and_then(|tables| {
        tables
            .iter()
            .try_for_each(|(table, group)| make(c, *table, wall, group.before(wall), false, &mut pass))
    });
    let ended = locks::end(c);
    done.and(ended).map(|()| Some(pass))
}

fn pass(c: &mut Connection, setting: &Setting, wall: i64, passed: Option<Duration>) -> QueryResult<Pass> {
    let present = clock::present(c, wall, passed, &setting.own_id)?;
    let mut pass = Pass { present: present.seconds(), ..Pass::default() };
    if let Present::Doubtful(seconds) = present {
        pass.doubt = Some(format!(
            "the clock says {}, and no other node has sent a run of that day; what is old is counted from {}",
            shown(wall),
            shown(seconds)
        ));
    }
    let groups = groups(c, &setting.keep);
    let partitioned = partitioned(c, &groups)?;
    for (table, group) in &partitioned {
        make(c, *table, wall, group.before(present.seconds()), true, &mut pass)?;
    }
    for group in &groups {
        let Some(before) = group.before(present.seconds()) else { continue };
        let removed = old::remove(c, group, before)?;
        pass.dropped.extend(removed.dropped);
        pass.rows += removed.rows;
        if let Some((tables, error)) = removed.kept {
            let what = format!("{} before {} cannot be removed yet", group.what, shown(before));
            pass.problems.push(Problem::new(c, &what, &tables, &error));
        }
    }
    for (table, _) in &partitioned {
        let there = partitions::look(c, *table)?;
        pass.without_partition += partitions::without_own(c, &there)?;
    }
    Ok(pass)
}

impl Group {
    /// The start of the first day that is kept.
    fn before(&self, present: i64) -> Option<i64> {
        let keep = i64::try_from(self.keep?.as_secs()).unwrap_or(i64::MAX);
        Some(Unit::Day.around(present.saturating_sub(keep)).from)
    }
}

/// Tables that have partitions, each once: with the group that keeps it for the shortest time, the last one.
fn partitioned(c: &mut Connection, groups: &[Group]) -> QueryResult<Vec<(Table, Group)>> {
    let mut found: Vec<(Table, Group)> = Vec::new();
    for group in groups.iter().rev() {
        for table in &group.tables {
            let is_known = found.iter().any(|(known, _)| known.name == table.name);
            if !is_known && table.kind(c)? == Some(Kind::Partitioned) {
                found.push((*table, group.clone()));
            }
        }
    }
    Ok(found)
}

fn make(
    c: &mut Connection,
    table: Table,
    wall: i64,
    kept_from: Option<i64>,
    with_waiting: bool,
    pass: &mut Pass,
) -> QueryResult<()> {
    let there = partitions::look(c, table)?;
    if !there.is_ours {
        pass.of_others.push(table.name.to_owned());
        if !there.has_present(wall) {
            pass.without_today.push(table.name.to_owned());
        }
        return Ok(());
    }
    for range in partitions::missing(c, table, &there, wall, kept_from, with_waiting)? {
        match partitions::make(c, table, &there, range) {
            Ok(made) => pass.made.push(made),
            Err(error) => {
                let tables: Vec<_> = there.default.iter().cloned().chain([table.name.to_owned()]).collect();
                let what = format!("partition {} cannot be made yet", table.unit.name(table.name, range));
                pass.problems.push(Problem::new(c, &what, &tables, &error));
                // The others would fail in the same way.
                break;
            }
        }
    }
    Ok(())
}
