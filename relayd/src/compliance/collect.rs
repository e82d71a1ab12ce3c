// SPDX-License-Identifier: Apache-2.0
//! Collection of garbage: sets that no segment names any more, results that no set names any more.
//!
//! What may go is found without a lock. It goes under the lock that writers hold shared, after it was
//! looked at again, a few at a time: writers wait for milliseconds. Each time the generation is counted
//! up, so that nobody uses an id that was looked up before.

use std::collections::BTreeSet;

use diesel::{
    QueryResult,
    result::Error,
    sql_types::{BigInt, Text},
};

use super::LOCK;
use crate::db::{
    Connection,
    query::{Session, Value},
};

/// How many rows are gone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    /// Sets of results.
    pub sets: usize,
    /// Results.
    pub results: usize,
}

/// Most rows that go under one lock.
const STEP: usize = 1000;

/// Removes what is not needed any more.
pub fn collect(connection: &mut Connection) -> QueryResult<Collected> {
    let sets = collect_sets(connection)?;
    // Without a set that went, no result can have lost its last one, but for what a rollback left.
    let results = if sets > 0 { collect_results(connection)? } else { 0 };
    Ok(Collected { sets, results })
}

const UNNAMED: &str = "NOT EXISTS (SELECT 1 FROM compliance_current c WHERE c.set_id = s.id) \
     AND NOT EXISTS (SELECT 1 FROM compliance_history h WHERE h.set_id = s.id)";

fn collect_sets(connection: &mut Connection) -> QueryResult<usize> {
    let sql = format!("SELECT s.id AS id FROM compliance_set s WHERE {UNNAMED} ORDER BY s.id");
    let mut gone = 0;
    for step in ids(&mut connection.session(), &sql, &[])?.chunks(STEP) {
        gone += alone(connection, |session| {
            let places = places(step.len());
            let sql = format!(
                "DELETE FROM compliance_set WHERE id IN \
                 (SELECT s.id FROM compliance_set s WHERE s.id IN ({places}) AND {UNNAMED})"
            );
            session.run(&sql, &step.iter().copied().map(Value::Int).collect::<Vec<_>>())
        })?;
    }
    Ok(gone)
}

fn collect_results(connection: &mut Connection) -> QueryResult<usize> {
    // From here on, whoever adds a set gives it a higher id: those up to it are all there to be read.
    let newest = alone(connection, |session| {
        session.number("SELECT coalesce(max(id), 0) AS number FROM compliance_set", &[])
    })?;
    let session = &mut connection.session();
    let mut unnamed: BTreeSet<i64> =
        ids(session, "SELECT id FROM compliance_result", &[])?.into_iter().collect();
    let mut from = 0;
    while from < newest && !unnamed.is_empty() {
        let sql = "SELECT id, results FROM compliance_set WHERE id > $1 AND id <= $2 ORDER BY id LIMIT $3";
        let span = [Value::Int(from), Value::Int(newest), Value::Int(STEP as i64)];
        let sets: Vec<Set> = session.rows(sql, &span)?;
        from = sets.last().map_or(newest, |set| set.id);
        for id in sets.iter().flat_map(Set::results) {
            unnamed.remove(&id);
        }
    }
    let unnamed: Vec<i64> = unnamed.into_iter().collect();
    let mut gone = 0;
    for step in unnamed.chunks(STEP) {
        gone += alone(connection, |session| {
            let sql = "SELECT id, results FROM compliance_set WHERE id > $1";
            let newer: Vec<Set> = session.rows(sql, &[Value::Int(newest)])?;
            let named: BTreeSet<i64> = newer.iter().flat_map(Set::results).collect();
            let step: Vec<Value<'_>> =
                step.iter().filter(|id| !named.contains(id)).copied().map(Value::Int).collect();
            if step.is_empty() {
                return Ok(0);
            }
            let places = places(step.len());
            session.run(&format!("DELETE FROM compliance_result WHERE id IN ({places})"), &step)
        })?;
    }
    Ok(gone)
}

/// Does something while nobody holds an id, and makes all ids void that were held before.
fn alone<T>(
    connection: &mut Connection,
    work: impl FnOnce(&mut Session<'_>) -> QueryResult<T>,
) -> QueryResult<T> {
    connection.transaction::<_, Error>(|c| {
        let session = &mut c.session();
        if let Session::Postgres(_) = session {
            // Writers queue up behind this: rather later than for long.
            session.run("SET LOCAL lock_timeout = '1s'", &[])?;
            session.run(&format!("SELECT pg_advisory_xact_lock({LOCK})"), &[])?;
        }
        session.run("UPDATE compliance_generation SET generation = generation + 1", &[])?;
        work(session)
    })
}

#[derive(diesel::QueryableByName)]
struct Id {
    #[diesel(sql_type = BigInt)]
    id: i64,
}

#[derive(diesel::QueryableByName)]
struct Set {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Text)]
    results: String,
}

impl Set {
    fn results(&self) -> impl Iterator<Item = i64> {
        self.results.split(',').filter_map(|id| id.parse().ok())
    }
}

fn ids(session: &mut Session<'_>, sql: &str, values: &[Value<'_>]) -> QueryResult<Vec<i64>> {
    Ok(session.rows::<Id>(sql, values)?.into_iter().map(|row| row.id).collect())
}

fn places(count: usize) -> String {
    (1..=count).map(|n| format!("${n}")).collect::<Vec<_>>().join(", ")
}
