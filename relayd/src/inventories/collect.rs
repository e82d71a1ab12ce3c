// SPDX-License-Identifier: Apache-2.0
//! Removes what no inventory names any more: facts, updates, chunks, packages.
//!
//! What nobody names is found out beside those who write. They wait only while it is removed, after a look at
//! what inventories name by then. A row of `inventory` may become one of the history at any moment, never the
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
    let mut unnamed = Unnamed::find(c)?;
    if unnamed.is_empty() {
        return Ok(Removed::default());
    }
    c.transaction(|c| {
        if let Connection::Postgres(_) = c {
            c.run("SELECT pg_advisory_xact_lock($1)", &[Value::Int(LOCK)])?;
        }
        unnamed.spare_what_is_named_again(c)?;
        Ok(Removed {
            facts: remove(c, "inventory_facts", &unnamed.facts)?,
            updates: remove(c, "inventory_updates", &unnamed.updates)?,
            chunks: remove(c, "package_chunk", &unnamed.chunks)?,
            packages: remove(c, "package", &unnamed.packages)?,
        })
    })
}

/// Ids that inventories name, old ones as well.
struct Named {
    facts: HashSet<i64>,
    updates: HashSet<i64>,
    chunks: HashSet<i64>,
}

/// Ids that nobody names.
struct Unnamed {
    facts: Vec<i64>,
    updates: Vec<i64>,
    chunks: Vec<i64>,
    packages: Vec<i64>,
    /// The chunks that were looked at.
    seen: HashSet<i64>,
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

impl Named {
    fn find(c: &mut Connection) -> QueryResult<Self> {
        let mut facts = ids(c, "SELECT facts_id AS id FROM inventory")?;
        let updates = ids(c, "SELECT updates_id AS id FROM inventory WHERE updates_id IS NOT NULL")?;
        let mut chunks = HashSet::new();
        for table in ["inventory", "inventory_history"] {
            let lists: Vec<ListRow> = c.rows(&format!("SELECT chunks AS list FROM {table}"), &[])?;
            chunks.extend(lists.iter().flat_map(|row| bucket::ids(&row.list)));
        }
        facts.extend(ids(c, "SELECT facts_id AS id FROM inventory_history")?);
        Ok(Self { facts, updates, chunks })
    }
}

impl Unnamed {
    fn find(c: &mut Connection) -> QueryResult<Self> {
        let named = Named::find(c)?;
        let (mut packages, mut chunks, mut seen) = (HashSet::new(), Vec::new(), HashSet::new());
        for row in c.rows::<ChunkRow>("SELECT id, packages FROM package_chunk", &[])? {
            seen.insert(row.id);
            if named.chunks.contains(&row.id) {
                packages.extend(bucket::ids(&row.packages));
            } else {
                chunks.push(row.id);
            }
        }
        Ok(Self {
            facts: others(c, "inventory_facts", &named.facts)?,
            updates: others(c, "inventory_updates", &named.updates)?,
            chunks,
            packages: others(c, "package", &packages)?,
            seen,
        })
    }

    /// Nobody writes meanwhile.
    fn spare_what_is_named_again(&mut self, c: &mut Connection) -> QueryResult<()> {
        let named = Named::find(c)?;
        self.facts.retain(|id| !named.facts.contains(id));
        self.updates.retain(|id| !named.updates.contains(id));
        let (kept, chunks): (Vec<i64>, _) = self.chunks.iter().partition(|id| named.chunks.contains(id));
        self.chunks = chunks;
        let looked_at: Vec<i64> = kept.into_iter().chain(others(c, "package_chunk", &self.seen)?).collect();
        let mut packages = HashSet::new();
        for chunks in looked_at.chunks(5000) {
            let sql = format!("SELECT packages AS list FROM package_chunk WHERE id IN ({})", listed(chunks));
            packages.extend(c.rows::<ListRow>(&sql, &[])?.iter().flat_map(|row| bucket::ids(&row.list)));
        }
        self.packages.retain(|id| !packages.contains(id));
        Ok(())
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
        removed += c.run(&format!("DELETE FROM {table} WHERE id IN ({})", listed(part)), &[])?;
    }
    Ok(removed)
}

fn listed(ids: &[i64]) -> String {
    ids.iter().map(i64::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::DatabaseUrl, db::migrations};

    #[test]
    fn what_is_named_between_the_looks_stays() {
        let directory = tempfile::tempdir().unwrap();
        let mut c = Connection::open(&DatabaseUrl::Sqlite(directory.path().join("x.db"))).unwrap();
        migrations::apply(&mut c).unwrap();
        let digest = |n: u8| format!("x'{}'", format!("{n:02x}").repeat(32));
        for id in 1..=4 {
            c.execute(&format!(
                "INSERT INTO package (id, digest, name, version, arch, kind, publisher) \
                 VALUES ({id}, {}, 'p{id}', '1', 'all', 'dpkg', '')",
                digest(id)
            ))
            .unwrap();
        }
        let chunk = |c: &mut Connection, id: u8, packages: &str| {
            let sql = "INSERT INTO package_chunk (id, digest, bucket, packages) VALUES";
            c.execute(&format!("{sql} ({id}, {}, 0, '{packages}')", digest(id))).unwrap();
        };
        chunk(&mut c, 1, "1");
        chunk(&mut c, 2, "2");
        for id in 1..=2 {
            let sql = "INSERT INTO inventory_facts (id, digest, content) VALUES";
            c.execute(&format!("{sql} ({id}, {}, x'00')", digest(id))).unwrap();
        }
        let mut unnamed = Unnamed::find(&mut c).unwrap();
        assert_eq!((&*unnamed.facts, &*unnamed.chunks), (&[1, 2][..], &[1, 2][..]));
        assert_eq!(unnamed.packages, [1, 2, 3, 4]);

        // A writer names a chunk and facts that were there, and a new chunk of a package that was there.
        chunk(&mut c, 3, "3");
        c.execute(&format!(
            "INSERT INTO inventory (nodeid, received, made, since, digest, agent, agent_version, hostname, os_name, \
             os_version, os_full_name, arch, kernel, facts_id, chunks) \
             VALUES ('n', 1, 1, 1, {}, '', '', '', '', '', '', '', '', 1, '1,3')",
            digest(9)
        ))
        .unwrap();
        unnamed.spare_what_is_named_again(&mut c).unwrap();
        assert_eq!((&*unnamed.facts, &*unnamed.chunks), (&[2][..], &[2][..]));
        assert_eq!(unnamed.packages, [2, 4]);
    }
}
