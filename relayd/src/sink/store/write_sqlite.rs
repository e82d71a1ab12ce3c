// SPDX-License-Identifier: Apache-2.0
//! A batch in SQLite: one transaction that holds the write lock from its start, so what it reads
//! stays true; each statement is prepared once per connection.

use chrono::Utc;
use diesel::{
    ExpressionMethods, OptionalExtension, QueryDsl, RunQueryDsl, SqliteConnection,
    dsl::{exists, insert_into, select},
    result::Error,
    sql_query,
    sql_types::BigInt,
};

use super::write::{Entry, Purpose, Verdict, by_start};
use crate::{
    compliance::Compliance,
    db::{
        query::Session,
        schema::sqlite::{reportsexecution, ruddersysevents as events, run_log},
    },
};

/// Why the transaction is rolled back.
enum Abort {
    Error(Error),
    Rehearsed(Vec<Verdict>),
}

impl From<Error> for Abort {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// See [`super::write::write`].
pub(super) fn write(
    connection: &mut SqliteConnection,
    entries: &[Entry<'_>],
    compliance: &Compliance,
    purpose: Purpose,
) -> Result<Vec<Verdict>, Error> {
    let result = connection.immediate_transaction(|c| {
        let mut verdicts = vec![Verdict::Stored; entries.len()];
        let mut next_id = next_id(c)?;
        let mut runs = Vec::with_capacity(entries.len());
        for i in by_start(entries) {
            let (Some(entry), Some(verdict)) = (entries.get(i), verdicts.get_mut(i)) else { continue };
            let outcome = write_one(c, entry, &mut next_id)?;
            *verdict = outcome.verdict;
            if outcome.is_news {
                runs.extend(entry.run());
            }
        }
        let learnt = compliance.take_in(&mut Session::Sqlite(c), &runs)?;
        match purpose {
            Purpose::Store => Ok((verdicts, learnt)),
            Purpose::Rehearse => Err(Abort::Rehearsed(verdicts)),
        }
    });
    match result {
        Ok((verdicts, learnt)) => {
            compliance.committed(learnt);
            Ok(verdicts)
        }
        Err(Abort::Rehearsed(verdicts)) => Ok(verdicts),
        Err(Abort::Error(error)) => Err(error),
    }
}

/// How one run log ended, and whether the ledger has it only now.
struct Written {
    verdict: Verdict,
    is_news: bool,
}

fn write_one(c: &mut SqliteConnection, entry: &Entry<'_>, next_id: &mut i64) -> Result<Written, Error> {
    let nothing = |verdict| Ok(Written { verdict, is_news: false });
    let in_ledger = run_log::table.find((entry.node(), entry.digest.as_slice()));
    if select(exists(in_ledger)).get_result(c)? {
        return nothing(Verdict::AlreadyStored);
    }
    let same_run =
        run_log::table.filter(run_log::nodeid.eq(entry.node())).filter(run_log::date.eq(entry.start()));
    if has_first_report(c, entry)? {
        // Without a ledger row somebody else stored it; with one it was another content.
        if select(exists(same_run)).get_result(c)? {
            return nothing(Verdict::Conflict);
        }
        record(c, entry, None)?;
        return Ok(Written { verdict: Verdict::AlreadyStored, is_news: true });
    }
    if entry.log.complete {
        let run = reportsexecution::table.find((entry.node(), entry.start()));
        if select(exists(run)).get_result(c)? {
            return nothing(Verdict::Conflict);
        }
        insert_into(reportsexecution::table)
            .values((
                reportsexecution::nodeid.eq(entry.node()),
                reportsexecution::date.eq(entry.start()),
                reportsexecution::nodeconfigid.eq(entry.log.config_id.as_deref()),
                reportsexecution::insertionid.eq(*next_id),
            ))
            .execute(c)?;
    }
    record(c, entry, Some(*next_id))?;
    for report in &entry.log.reports {
        insert_into(events::table)
            .values((
                events::id.eq(*next_id),
                events::executiondate.eq(report.execution.with_timezone(&Utc)),
                events::nodeid.eq(entry.node()),
                events::directiveid.eq(report.directive_id),
                events::ruleid.eq(report.rule_id),
                events::reportid.eq(report.report_id),
                events::component.eq(&*report.component),
                events::keyvalue.eq(&*report.key_value),
                events::executiontimestamp.eq(report.start.with_timezone(&Utc)),
                events::eventtype.eq(report.event_type),
                events::policy.eq(report.policy),
                events::msg.eq(&*report.message),
            ))
            .execute(c)?;
        *next_id += 1;
    }
    Ok(Written { verdict: Verdict::Stored, is_news: true })
}

/// Adds the ledger row.
fn record(c: &mut SqliteConnection, entry: &Entry<'_>, first_id: Option<i64>) -> Result<(), Error> {
    let rows = first_id.map_or(0, |_| entry.rows());
    insert_into(run_log::table)
        .values((
            run_log::nodeid.eq(entry.node()),
            run_log::digest.eq(entry.digest.as_slice()),
            run_log::date.eq(entry.start()),
            run_log::file.eq(entry.file),
            run_log::reports.eq(i32::try_from(rows).unwrap_or(i32::MAX)),
            run_log::insertionid.eq(first_id),
        ))
        .execute(c)?;
    Ok(())
}

/// Whether a row equal to the first report is there (protocol 4.3, step 1).
fn has_first_report(c: &mut SqliteConnection, entry: &Entry<'_>) -> Result<bool, Error> {
    let Some(report) = entry.first() else { return Ok(false) };
    let equal = events::table
        .filter(events::nodeid.eq(entry.node()))
        .filter(events::executiontimestamp.eq(report.start.with_timezone(&Utc)))
        .filter(events::executiondate.eq(report.execution.with_timezone(&Utc)))
        .filter(events::component.eq(&*report.component))
        .filter(events::keyvalue.eq(&*report.key_value))
        .filter(events::eventtype.eq(report.event_type))
        .filter(events::msg.eq(&*report.message))
        .filter(events::policy.eq(report.policy))
        .filter(events::reportid.eq(report.report_id))
        .filter(events::ruleid.eq(report.rule_id))
        .filter(events::directiveid.eq(report.directive_id));
    select(exists(equal)).get_result(c)
}

#[derive(diesel::QueryableByName)]
struct LastId {
    #[diesel(sql_type = BigInt)]
    seq: i64,
}

/// The id that the next row gets; ids are never used again.
fn next_id(c: &mut SqliteConnection) -> Result<i64, Error> {
    let last: Option<LastId> = sql_query("SELECT seq FROM sqlite_sequence WHERE name = 'ruddersysevents'")
        .get_result(c)
        .optional()?;
    Ok(last.map_or(100, |last| last.seq) + 1)
}
