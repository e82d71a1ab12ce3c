// SPDX-License-Identifier: Apache-2.0
//! A batch in PostgreSQL: a handful of statements whatever its size, then `COPY`.
//!
//! ```text
//! BEGIN → ids from the sequence → ledger → stored by others? → runs → COPY reports → compliance → COMMIT
//!           ▲                                  │                │
//!           └──── ROLLBACK, those marked ◀─────┴────────────────┘
//! ```
//!
//! The role may not delete, so what must not be written is found before the reports are sent; then
//! the transaction starts again without it. That is rare and cheap. Rows are inserted in the order
//! of their keys: two roots that write the same run logs wait for each other, never in a circle. Compliance
//! comes last: nodes and results are what batches have in common, and are locked for the shortest time.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use diesel::{
    Connection as _, ExecuteCopyFromDsl, Insertable, PgConnection, QueryableByName, RunQueryDsl, copy_from,
    result::Error,
    sql_query,
    sql_types::{Array, BigInt, Binary, Integer, Nullable, Text, Timestamptz},
};

use super::write::{Entry, Purpose, Verdict, by_start};
use crate::{
    compliance::{Compliance, Learnt},
    db::{query::Session, schema::postgres::ruddersysevents},
};

/// Reports in one `COPY`: bounds the memory that a huge run log takes on top of its own.
const COPY_ROWS: usize = 8192;

/// What is known about an entry before the transaction in which it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    /// Nothing.
    New,
    /// Somebody stored it without our ledger: only the ledger row is missing.
    StoredByOthers,
    /// Must not be written.
    Conflict,
}

/// Why the transaction is rolled back.
enum Abort {
    Error(Error),
    Rehearsed(Vec<Verdict>),
    /// Start again with these marks set.
    Marked(Vec<(usize, Mark)>),
}

impl From<Error> for Abort {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// See [`super::write::write`].
pub(super) fn write(
    connection: &mut PgConnection,
    entries: &[Entry<'_>],
    compliance: &Compliance,
    purpose: Purpose,
) -> Result<Vec<Verdict>, Error> {
    let mut marks = vec![Mark::New; entries.len()];
    // Each round marks at least one entry more.
    loop {
        let result = connection.transaction(|c| {
            let (verdicts, learnt) = attempt(c, entries, compliance, &marks)?;
            match purpose {
                Purpose::Store => Ok((verdicts, learnt)),
                Purpose::Rehearse => Err(Abort::Rehearsed(verdicts)),
            }
        });
        match result {
            Ok((verdicts, learnt)) => {
                compliance.committed(learnt);
                return Ok(verdicts);
            }
            Err(Abort::Rehearsed(verdicts)) => return Ok(verdicts),
            Err(Abort::Error(error)) => return Err(error),
            Err(Abort::Marked(found)) => {
                for (i, mark) in found {
                    if let Some(place) = marks.get_mut(i) {
                        *place = mark;
                    }
                }
            }
        }
    }
}

/// An entry with its place in the batch and the id of its first row.
struct Placed<'a> {
    index: usize,
    entry: Entry<'a>,
    first_id: Option<i64>,
}

fn attempt(
    c: &mut PgConnection,
    entries: &[Entry<'_>],
    compliance: &Compliance,
    marks: &[Mark],
) -> Result<(Vec<Verdict>, Learnt), Abort> {
    let mut verdicts: Vec<Verdict> = marks
        .iter()
        .map(|mark| if *mark == Mark::Conflict { Verdict::Conflict } else { Verdict::AlreadyStored })
        .collect();
    let rows = |mark: Mark, entry: &Entry<'_>| if mark == Mark::New { entry.rows() } else { 0 };
    let ids = take_ids(c, entries.iter().zip(marks).map(|(entry, mark)| rows(*mark, entry)).sum())?;
    let mut free_ids = ids.as_slice();
    let mut placed = Vec::with_capacity(entries.len());
    let mut own_ids = vec![&[] as &[i64]; entries.len()];
    for index in by_start(entries) {
        let (Some(entry), Some(mark), Some(own)) =
            (entries.get(index), marks.get(index), own_ids.get_mut(index))
        else {
            continue;
        };
        (*own, free_ids) = free_ids.split_at_checked(rows(*mark, entry)).unwrap_or((&[], free_ids));
        if *mark != Mark::Conflict {
            placed.push(Placed { index, entry: *entry, first_id: own.first().copied() });
        }
    }
    placed.sort_by_key(|p| (p.entry.node(), p.entry.digest));

    let new = record(c, &placed)?;
    // Also runs that others stored: nothing else tells when.
    let runs: Vec<_> = placed
        .iter()
        .filter(|p| new.contains(p.entry.digest.as_slice()))
        .filter_map(|p| p.entry.run())
        .collect();
    placed.retain(|p| p.first_id.is_some() && new.contains(p.entry.digest.as_slice()));
    let found = stored_by_others(c, &placed)?;
    if !found.is_empty() {
        return Err(Abort::Marked(found));
    }
    placed.sort_by_key(|p| p.entry.key());
    let conflicts = insert_runs(c, &placed)?;
    if !conflicts.is_empty() {
        return Err(Abort::Marked(conflicts));
    }
    placed.sort_by_key(|p| p.first_id);
    let mut buffer = Vec::with_capacity(COPY_ROWS.min(ids.len()));
    for p in &placed {
        let own = own_ids.get(p.index).copied().unwrap_or_default();
        for (report, id) in p.entry.log.reports.iter().zip(own) {
            buffer.push(Row {
                id: *id,
                executiondate: report.execution.with_timezone(&Utc),
                nodeid: p.entry.node(),
                directiveid: report.directive_id,
                ruleid: report.rule_id,
                reportid: report.report_id,
                component: &report.component,
                keyvalue: &report.key_value,
                executiontimestamp: report.start.with_timezone(&Utc),
                eventtype: report.event_type,
                policy: report.policy,
                msg: &report.message,
            });
            if buffer.len() == COPY_ROWS {
                copy(c, &mut buffer)?;
            }
        }
        if let Some(verdict) = verdicts.get_mut(p.index) {
            *verdict = Verdict::Stored;
        }
    }
    copy(c, &mut buffer)?;
    let learnt = compliance.take_in(&mut Session::Postgres(c), &runs)?;
    Ok((verdicts, learnt))
}

#[derive(Insertable)]
#[diesel(table_name = ruddersysevents, treat_none_as_default_value = false)]
struct Row<'a> {
    id: i64,
    executiondate: DateTime<Utc>,
    nodeid: &'a str,
    directiveid: &'a str,
    ruleid: &'a str,
    reportid: &'a str,
    component: &'a str,
    keyvalue: &'a str,
    executiontimestamp: DateTime<Utc>,
    eventtype: &'a str,
    policy: &'a str,
    msg: &'a str,
}

fn copy(c: &mut PgConnection, rows: &mut Vec<Row<'_>>) -> Result<(), Error> {
    if !rows.is_empty() {
        copy_from(ruddersysevents::table).from_insertable(&*rows).execute(c)?;
        rows.clear();
    }
    Ok(())
}

/// Takes that many ids from the sequence, ascending; others may take some in between.
fn take_ids(c: &mut PgConnection, count: usize) -> Result<Vec<i64>, Error> {
    #[derive(QueryableByName)]
    struct Ids {
        #[diesel(sql_type = Array<BigInt>)]
        ids: Vec<i64>,
    }
    if count == 0 {
        return Ok(Vec::new());
    }
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    let taken: Ids = sql_query("SELECT array_agg(nextval('serial')) AS ids FROM generate_series(1, $1)")
        .bind::<BigInt, _>(count)
        .get_result(c)?;
    Ok(taken.ids)
}

/// Adds ledger rows; returns the digests of those that were not there.
fn record(c: &mut PgConnection, placed: &[Placed<'_>]) -> Result<HashSet<Vec<u8>>, Error> {
    #[derive(QueryableByName)]
    struct Added {
        #[diesel(sql_type = Binary)]
        digest: Vec<u8>,
    }
    let rows = |p: &Placed<'_>| i32::try_from(p.entry.rows()).unwrap_or(i32::MAX);
    let added: Vec<Added> = sql_query(
        "INSERT INTO run_log (nodeid, digest, date, file, reports, insertionid) \
         SELECT * FROM unnest($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING RETURNING digest",
    )
    .bind::<Array<Text>, _>(column(placed, |p| p.entry.node()))
    .bind::<Array<Binary>, _>(column(placed, |p| p.entry.digest.as_slice()))
    .bind::<Array<Timestamptz>, _>(column(placed, |p| p.entry.start()))
    .bind::<Array<Text>, _>(column(placed, |p| p.entry.file))
    .bind::<Array<Integer>, _>(column(placed, |p| p.first_id.map_or(0, |_| rows(p))))
    .bind::<Array<Nullable<BigInt>>, _>(column(placed, |p| p.first_id))
    .load(c)?;
    Ok(added.into_iter().map(|added| added.digest).collect())
}

#[derive(QueryableByName)]
struct Found {
    #[diesel(sql_type = Integer)]
    index: i32,
    #[diesel(sql_type = diesel::sql_types::Bool)]
    recorded: bool,
}

/// Which of these have their first report stored already (protocol 4.3, step 1): by an existing
/// daemon, or, if the ledger knows another content of the same run, by us.
///
/// The inner query stays a query per row, by index: as a join the planner could read whole tables. The
/// range of the starts keeps it from planning for, and locking, the partitions of all other days.
fn stored_by_others(c: &mut PgConnection, placed: &[Placed<'_>]) -> Result<Vec<(usize, Mark)>, Error> {
    let firsts: Vec<_> = placed.iter().filter_map(|p| p.entry.first().map(|first| (p, first))).collect();
    if firsts.is_empty() {
        return Ok(Vec::new());
    }
    let starts = firsts.iter().flat_map(|(p, first)| [p.entry.start(), first.start.with_timezone(&Utc)]);
    let found: Vec<Found> = sql_query(
        "SELECT k.index, EXISTS (SELECT FROM run_log l WHERE l.nodeid = k.nodeid AND l.date = k.run \
             AND l.date BETWEEN $15 AND $16 AND l.digest <> k.digest) AS recorded \
         FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) \
         AS k (index, nodeid, digest, run, start, execution, component, keyvalue, eventtype, msg, policy, \
             reportid, ruleid, directiveid) \
         WHERE (SELECT 1 FROM ruddersysevents e WHERE e.nodeid = k.nodeid \
             AND e.executiontimestamp BETWEEN $15 AND $16 \
             AND e.executiontimestamp = k.start AND e.executiondate = k.execution \
             AND e.component = k.component AND e.keyvalue = k.keyvalue AND e.eventtype = k.eventtype \
             AND e.msg = k.msg AND e.policy = k.policy AND e.reportid = k.reportid \
             AND e.ruleid = k.ruleid AND e.directiveid = k.directiveid LIMIT 1) IS NOT NULL",
    )
    .bind::<Array<Integer>, _>(column(&firsts, |(p, _)| i32::try_from(p.index).unwrap_or(i32::MAX)))
    .bind::<Array<Text>, _>(column(&firsts, |(p, _)| p.entry.node()))
    .bind::<Array<Binary>, _>(column(&firsts, |(p, _)| p.entry.digest.as_slice()))
    .bind::<Array<Timestamptz>, _>(column(&firsts, |(p, _)| p.entry.start()))
    .bind::<Array<Timestamptz>, _>(column(&firsts, |(_, r)| r.start.with_timezone(&Utc)))
    .bind::<Array<Timestamptz>, _>(column(&firsts, |(_, r)| r.execution.with_timezone(&Utc)))
    .bind::<Array<Text>, _>(column(&firsts, |(_, r)| &*r.component))
    .bind::<Array<Text>, _>(column(&firsts, |(_, r)| &*r.key_value))
    .bind::<Array<Text>, _>(column(&firsts, |(_, r)| r.event_type))
    .bind::<Array<Text>, _>(column(&firsts, |(_, r)| &*r.message))
    .bind::<Array<Text>, _>(column(&firsts, |(_, r)| r.policy))
    .bind::<Array<Text>, _>(column(&firsts, |(_, r)| r.report_id))
    .bind::<Array<Text>, _>(column(&firsts, |(_, r)| r.rule_id))
    .bind::<Array<Text>, _>(column(&firsts, |(_, r)| r.directive_id))
    .bind::<Nullable<Timestamptz>, _>(starts.clone().min())
    .bind::<Nullable<Timestamptz>, _>(starts.max())
    .load(c)?;
    let mark = |found: Found| {
        let mark = if found.recorded { Mark::Conflict } else { Mark::StoredByOthers };
        Some((usize::try_from(found.index).ok()?, mark))
    };
    Ok(found.into_iter().filter_map(mark).collect())
}

/// Adds the runs of complete run logs; returns those that were there, from another run log.
fn insert_runs(c: &mut PgConnection, placed: &[Placed<'_>]) -> Result<Vec<(usize, Mark)>, Error> {
    #[derive(QueryableByName)]
    struct Added {
        #[diesel(sql_type = Text)]
        nodeid: String,
        #[diesel(sql_type = Timestamptz)]
        date: DateTime<Utc>,
    }
    let runs: Vec<_> = placed.iter().filter(|p| p.entry.log.complete).collect();
    if runs.is_empty() {
        return Ok(Vec::new());
    }
    let added: Vec<Added> = sql_query(
        "INSERT INTO reportsexecution (nodeid, date, nodeconfigid, insertionid) \
         SELECT * FROM unnest($1, $2, $3, $4) ON CONFLICT DO NOTHING RETURNING nodeid, date",
    )
    .bind::<Array<Text>, _>(column(&runs, |p| p.entry.node()))
    .bind::<Array<Timestamptz>, _>(column(&runs, |p| p.entry.start()))
    .bind::<Array<Nullable<Text>>, _>(column(&runs, |p| p.entry.log.config_id.as_deref()))
    .bind::<Array<Nullable<BigInt>>, _>(column(&runs, |p| p.first_id))
    .load(c)?;
    if added.len() == runs.len() {
        return Ok(Vec::new());
    }
    let added: HashSet<_> =
        added.iter().map(|run| (run.nodeid.as_str(), run.date.timestamp_micros())).collect();
    Ok(runs.iter().filter(|p| !added.contains(&p.entry.key())).map(|p| (p.index, Mark::Conflict)).collect())
}

/// One column of a batch.
fn column<'a, T, U>(rows: &'a [T], value: impl FnMut(&'a T) -> U) -> Vec<U> {
    rows.iter().map(value).collect()
}
