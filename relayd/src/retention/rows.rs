// SPDX-License-Identifier: Apache-2.0
//! Deleting old rows where there is no partition to drop: in SQLite, and in default partitions. In small
//! transactions, each of which takes whole runs, so that no writer waits for long.

use std::{
    thread,
    time::{Duration, Instant},
};

use diesel::{
    QueryResult, QueryableByName,
    sql_types::{BigInt, Nullable},
};

use super::tables::Table;
use crate::db::Connection;

/// Rows of one table in one transaction, and those of the same second.
const AT_A_TIME: u32 = 2000;
/// Longest pause between two transactions.
const PAUSE: Duration = Duration::from_millis(200);

/// Rows to be deleted.
#[derive(Debug, Clone)]
pub(super) struct Rows {
    /// The table, or one of its partitions.
    pub relation: String,
    /// What it is.
    pub table: Table,
}

impl Rows {
    fn older(&self, than: i64) -> String {
        let column = self.table.column;
        let only = self.table.only.map(|only| format!(" AND {only}")).unwrap_or_default();
        format!("{} < {}{only}", column.name(), column.literal(than))
    }
}

#[derive(QueryableByName)]
struct Boundary {
    #[diesel(sql_type = Nullable<BigInt>)]
    seconds: Option<i64>,
}

/// Deletes what is older from all of `rows`; returns how many there were.
pub(super) fn delete(c: &mut Connection, rows: &[Rows], before: i64) -> QueryResult<u64> {
    let mut deleted = 0;
    while let Some(boundary) = boundary(c, rows, before)? {
        let begun = Instant::now();
        deleted += c.transaction(|c| {
            rows.iter().try_fold(0, |sum, rows| {
                // The whole second, in which other runs may have begun.
                let sql = format!("DELETE FROM {} WHERE {}", rows.relation, rows.older(boundary + 1));
                Ok::<_, diesel::result::Error>(sum + c.run(&sql, &[])? as u64)
            })
        })?;
        if let Connection::Sqlite(_) = c {
            // It has one writer at a time, and those who wait for their turn do not queue.
            thread::sleep(begun.elapsed().min(PAUSE));
        }
    }
    Ok(deleted)
}

/// Up to where (inclusive) the next transaction goes.
fn boundary(c: &mut Connection, rows: &[Rows], before: i64) -> QueryResult<Option<i64>> {
    let mut first: Option<i64> = None;
    for rows in rows {
        let column = rows.table.column;
        let sql = format!(
            "SELECT {} AS seconds FROM (SELECT {name} AS at FROM {} WHERE {} ORDER BY {name} LIMIT {AT_A_TIME}) oldest",
            column.seconds(c, "max(at)"),
            rows.relation,
            rows.older(before),
            name = column.name(),
        );
        let found = c.row::<Boundary>(&sql, &[])?.and_then(|row| row.seconds);
        first = first.into_iter().chain(found).min();
    }
    Ok(first)
}
