// SPDX-License-Identifier: Apache-2.0
//! Removes what no inventory names any more: facts, updates, chunks, packages.
//!
//! Whether there is anything is found out beside those who write; removing it keeps them waiting, for as
//! long as looking again takes. A row of `inventory` may become one of the history at any moment, never the
//! other way round, so they are read in this order.

use std::{collections::HashSet, time::Duration};

use diesel::{
    QueryResult, QueryableByName,
    sql_types::{BigInt, Text},
};
use tokio_util::sync::CancellationToken;

use super::{bucket, write::LOCK};
use crate::db::{Connection, Database, query::Value};

/// How many rows were removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Removed {
    /// Facts.
    pub facts: usize,
    /// Lists of updates.
    pub updates: usize,
    /// Chunks.
    pub chunks: usize,
    /// Packages.
    pub packages: usize,
}

/// Time between two collections.
const EVERY: Duration = Duration::from_secs(86_400);
/// The first one after a start.
const FIRST: Duration = Duration::from_secs(3600);

/// Collects once a day until stopped. What fails is tried again the next day.
pub async fn run(database: Database, stop: CancellationToken) -> Result<(), String> {
    let mut pause = FIRST;
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(pause) => {}
        }
        pause = EVERY;
        let database = database.clone();
        let work = move || -> Result<Removed, String> {
            let mut connection = database.connect().map_err(|e| e.to_string())?;
            collect(&mut connection).map_err(|e| e.to_string())
        };
        match tokio::task::spawn_blocking(work).await.map_err(|e| e.to_string())? {
            Ok(removed) if removed == Removed::default() => {}
            Ok(Removed { facts, updates, chunks, packages }) => {
                tracing::info!(
                    facts,
                    updates,
                    chunks,
                    packages,
                    "parts of inventories that nobody names removed"
                );
            }
            Err(error) => {
                tracing::warn!("parts of inventories that nobody names were not removed: {error}");
            }
        }
    }
}

/// Removes what no inventory names.
pub fn collect(c: &mut Connection) -> QueryResult<Removed> {
    if Unnamed::find(c)?.is_empty() {
        return Ok(Removed::default());
    }
    c.transaction(|c| {
        if let Connection::Postgres(_) = c {
            c.run("SELECT pg_advisory_xact_lock($1)", &[Value::Int(LOCK)])?;
        }
        let Unnamed { facts, updates, chunks, packages } = Unnamed::find(c)?;
        Ok(Removed {
            facts: remove(c, "inventory_facts", &facts)?,
            updates: remove(c, "inventory_updates", &updates)?,
            chunks: remove(c, "package_chunk", &chunks)?,
            packages: remove(c, "package", &packages)?,
        })
    })
}

/// Ids that nobody names.
struct Unnamed {
    facts: Vec<i64>,
    updates: Vec<i64>,
    chunks: Vec<i64>,
    packages: Vec<i64>,
}

#[derive(QueryableByName)]
struct IdRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
}

#[derive(QueryableByName)]
struct ListRow {
    #[diesel(sql_type = Text)]
    list: String,
}

#[derive(QueryableByName)]
struct ChunkRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Text)]
    packages: String,
}

impl Unnamed {
    fn find(c: &mut Connection) -> QueryResult<Self> {
        let mut facts = ids(c, "SELECT facts_id AS id FROM inventory")?;
        let updates = ids(c, "SELECT updates_id AS id FROM inventory WHERE updates_id IS NOT NULL")?;
        let mut chunks = HashSet::new();
        for table in ["inventory", "inventory_history"] {
            let lists: Vec<ListRow> = c.rows(&format!("SELECT DISTINCT chunks AS list FROM {table}"), &[])?;
            chunks.extend(lists.iter().flat_map(|row| bucket::ids(&row.list)));
        }
        facts.extend(ids(c, "SELECT DISTINCT facts_id AS id FROM inventory_history")?);
        let (mut packages, mut unnamed) = (HashSet::new(), Vec::new());
        for row in c.rows::<ChunkRow>("SELECT id, packages FROM package_chunk", &[])? {
            if chunks.contains(&row.id) {
                packages.extend(bucket::ids(&row.packages));
            } else {
                unnamed.push(row.id);
            }
        }
        Ok(Self {
            facts: others(c, "inventory_facts", &facts)?,
            updates: others(c, "inventory_updates", &updates)?,
            chunks: unnamed,
            packages: others(c, "package", &packages)?,
        })
    }

    fn is_empty(&self) -> bool {
        [&self.facts, &self.updates, &self.chunks, &self.packages].into_iter().all(Vec::is_empty)
    }
}

fn ids(c: &mut Connection, sql: &str) -> QueryResult<HashSet<i64>> {
    Ok(c.rows::<IdRow>(sql, &[])?.into_iter().map(|row| row.id).collect())
}

/// Ids of a table that are not among these.
fn others(c: &mut Connection, table: &str, named: &HashSet<i64>) -> QueryResult<Vec<i64>> {
    let all: Vec<IdRow> = c.rows(&format!("SELECT id FROM {table}"), &[])?;
    Ok(all.into_iter().map(|row| row.id).filter(|id| !named.contains(id)).collect())
}

fn remove(c: &mut Connection, table: &str, ids: &[i64]) -> QueryResult<usize> {
    let mut removed = 0;
    for part in ids.chunks(5000) {
        let list = part.iter().map(i64::to_string).collect::<Vec<_>>().join(",");
        removed += c.run(&format!("DELETE FROM {table} WHERE id IN ({list})"), &[])?;
    }
    Ok(removed)
}
