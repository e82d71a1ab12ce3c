// SPDX-License-Identifier: Apache-2.0
//! State and history anew from the runs that are stored: for databases that had runs before there was
//! state, and after the run interval was changed.
//!
//! Node by node, while run logs go on being stored. What takes time, reading the reports, is done before
//! the node is locked; runs that came meanwhile are then read as well. History before the first run that
//! is still stored stays as it is. How far it came is in the database: what was interrupted goes on there.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::ControlFlow,
};

use diesel::{QueryResult, result::Error};

use super::{
    Compliance, Learnt, dictionary, hold_generation, node_states,
    results::{Digest, RunResults},
    stored_runs::{self, ReportRow, StoredRun},
};
use crate::db::{
    Connection,
    query::{Session, Value},
};

/// What a rebuild has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rebuilt {
    /// Nodes that have complete runs.
    pub nodes: u64,
    /// Their runs.
    pub runs: u64,
    /// Whether it came to the end.
    pub finished: bool,
}

/// Whether the state of runs that were stored before there was any is still to be made.
pub fn is_due(connection: &mut Connection) -> QueryResult<bool> {
    let sql = "SELECT count(*) AS number FROM compliance_generation WHERE built IS NULL";
    Ok(connection.number(sql, &[])? > 0)
}

/// Makes a rebuild due, from the first node on.
pub fn start_over(connection: &mut Connection) -> QueryResult<()> {
    connection.run("UPDATE compliance_generation SET built = NULL, built_to = NULL", &[]).map(drop)
}

/// Advisory lock of who rebuilds: of several roots one does.
const ONE_AT_A_TIME: i64 = 0x7265_6275_696c;

/// Does what is due; `None` when another process is doing it. `now`: Unix time in seconds. `progress` is
/// told after each node, and may end it there.
pub fn rebuild_alone(
    connection: &mut Connection,
    compliance: &Compliance,
    now: i64,
    progress: impl FnMut(&str, Rebuilt) -> ControlFlow<()>,
) -> QueryResult<Option<Rebuilt>> {
    if let Connection::Sqlite(_) = connection {
        // Each node is a transaction of its own; who comes second finds it built.
        return rebuild(connection, compliance, now, progress).map(Some);
    }
    let free =
        format!("SELECT CASE WHEN pg_try_advisory_lock({ONE_AT_A_TIME}) THEN 1 ELSE 0 END::bigint AS number");
    if connection.number(&free, &[])? == 0 {
        return Ok(None);
    }
    let done = rebuild(connection, compliance, now, progress);
    // With the connection, the lock would go as well.
    let unlocked = connection.run(&format!("SELECT pg_advisory_unlock({ONE_AT_A_TIME})"), &[]);
    done.and_then(|done| unlocked.map(|_| Some(done)))
}

fn rebuild(
    connection: &mut Connection,
    compliance: &Compliance,
    now: i64,
    mut progress: impl FnMut(&str, Rebuilt) -> ControlFlow<()>,
) -> QueryResult<Rebuilt> {
    let mut done = Rebuilt::default();
    let mut node = built_to(connection)?;
    while let Some(next) = stored_runs::node_after(&mut connection.session(), &node)? {
        node = next;
        done.nodes += 1;
        done.runs += rebuild_node(connection, compliance, &node)?;
        if progress(&node, done).is_break() {
            return Ok(done);
        }
    }
    let sql = "UPDATE compliance_generation SET built = $1, built_to = NULL";
    connection.run(sql, &[Value::Int(now)])?;
    Ok(Rebuilt { finished: true, ..done })
}

fn built_to(connection: &mut Connection) -> QueryResult<String> {
    #[derive(diesel::QueryableByName)]
    struct BuiltTo {
        #[diesel(sql_type = diesel::sql_types::Text)]
        node: String,
    }
    let sql = "SELECT coalesce(built_to, '') AS node FROM compliance_generation";
    connection.row::<BuiltTo>(sql, &[])?.map(|row| row.node).ok_or(Error::NotFound)
}

/// The sets of the runs of one node, by start, as far as they were looked at; and of which generation.
#[derive(Default)]
struct Sets {
    generation: i64,
    by_start: HashMap<i64, Option<i64>>,
}

/// What a transaction found when it had the node.
enum Outcome {
    Written(u64),
    /// These were not looked at yet.
    Missing(BTreeMap<i64, StoredRun>, BTreeSet<i64>),
    /// A collection of garbage came in between.
    Outdated,
}

fn rebuild_node(connection: &mut Connection, compliance: &Compliance, node: &str) -> QueryResult<u64> {
    let mut sets = Sets::default();
    let mut runs = stored_runs::of_node(&mut connection.session(), node)?;
    let mut missing: BTreeSet<i64> = runs.keys().copied().collect();
    loop {
        while !missing.is_empty() {
            missing = look_at(connection, compliance, node, &runs, missing, &mut sets)?;
        }
        let outcome = connection.transaction::<_, Error>(|c| {
            let session = &mut c.session();
            if hold_generation(session)? != sets.generation {
                return Ok(Outcome::Outdated);
            }
            write(session, compliance, node, &runs, &sets)
        })?;
        match outcome {
            Outcome::Written(count) => return Ok(count),
            Outcome::Outdated => {
                sets = Sets::default();
                missing = runs.keys().copied().collect();
            }
            Outcome::Missing(now, new) => (runs, missing) = (now, new),
        }
    }
}

/// Finds the sets of some of the missing runs; returns those that are still missing.
fn look_at(
    connection: &mut Connection,
    compliance: &Compliance,
    node: &str,
    runs: &BTreeMap<i64, StoredRun>,
    mut missing: BTreeSet<i64>,
    sets: &mut Sets,
) -> QueryResult<BTreeSet<i64>> {
    let reports = stored_runs::reports(&mut connection.session(), node, runs, &missing)?;
    let results: BTreeMap<i64, (RunResults, &[ReportRow])> = reports
        .by_start
        .iter()
        .map(|(start, rows)| (*start, (RunResults::of(rows), rows.as_slice())))
        .collect();
    let (ids, learnt) = connection.transaction::<_, Error>(|c| {
        let session = &mut c.session();
        let mut learnt = Learnt { generation: hold_generation(session)?, ..Learnt::default() };
        let wanted = results.values().map(|(results, rows)| (results, *rows));
        let ids: HashMap<Digest, i64> = dictionary::set_ids(session, &compliance.known, wanted, &mut learnt)?;
        Ok((ids, learnt))
    })?;
    if learnt.generation != sets.generation {
        // What was found of another generation is void; write() notices when it is too late for that.
        if !sets.by_start.is_empty() {
            *sets = Sets::default();
            return Ok(runs.keys().copied().collect());
        }
        sets.generation = learnt.generation;
    }
    compliance.committed(learnt);
    let rest = reports.next.map(|start| missing.split_off(&start)).unwrap_or_default();
    for start in missing {
        // None: its reports are gone.
        let set = results.get(&start).and_then(|(results, _)| ids.get(&results.digest)).copied();
        sets.by_start.insert(start, set);
    }
    Ok(rest)
}

/// Replaces what is known of the node since its first run whose reports are there.
fn write(
    session: &mut Session<'_>,
    compliance: &Compliance,
    node: &str,
    known: &BTreeMap<i64, StoredRun>,
    sets: &Sets,
) -> QueryResult<Outcome> {
    let with_set = |run: &StoredRun| Some((run.start, sets.by_start.get(&run.start).copied().flatten()?));
    let Some(first) = known.values().find_map(with_set) else { return Ok(Outcome::Written(0)) };
    let node = node_states::LockedNode::lock(session, node, first)?;
    // Only now: who stores a run of this node has either committed it, or waits for this transaction.
    let runs = stored_runs::of_node(session, node.id())?;
    let missing: BTreeSet<i64> =
        runs.keys().filter(|start| !sets.by_start.contains_key(start)).copied().collect();
    if !missing.is_empty() {
        return Ok(Outcome::Missing(runs, missing));
    }
    let (starts, newest): (Vec<(i64, i64)>, _) =
        (runs.values().filter_map(with_set).collect(), runs.values().rfind(|run| with_set(run).is_some()));
    let config_id = newest.and_then(|run| run.configid.as_deref());
    let count = starts.len() as u64;
    node.replace(session, &starts, config_id, compliance.freshness)?;
    let sql = "UPDATE compliance_generation SET built_to = $1 WHERE built IS NULL";
    session.run(sql, &[Value::Text(node.id())])?;
    Ok(Outcome::Written(count))
}
