// SPDX-License-Identifier: Apache-2.0
//! The complete runs of a node as they are stored, and the results of each: for a recomputation.
//!
//! A run whose reports are gone says nothing; it is left out. Reports of a partial run log that has the
//! very start of a run do not belong to the run (protocol 3.7): the ledger tells their ids.

use std::collections::{BTreeMap, BTreeSet};

use diesel::{
    QueryResult,
    sql_types::{BigInt, Nullable, Text},
};

use super::{
    results::{CountedResult, Reported},
    status::Status,
};
use crate::db::query::{Session, Value};

/// A row of `reportsexecution`.
#[derive(Debug, Clone, PartialEq, Eq, diesel::QueryableByName)]
pub(super) struct StoredRun {
    /// Unix time in seconds.
    #[diesel(sql_type = BigInt)]
    pub(super) start: i64,
    #[diesel(sql_type = Nullable<Text>)]
    pub(super) configid: Option<String>,
    /// Id of its first report, and the first id that is of another run log.
    #[diesel(sql_type = BigInt)]
    first_id: i64,
    #[diesel(sql_type = BigInt)]
    end_id: i64,
}

/// The next node that has runs.
pub(super) fn node_after(session: &mut Session<'_>, node: &str) -> QueryResult<Option<String>> {
    #[derive(diesel::QueryableByName)]
    struct Next {
        #[diesel(sql_type = Nullable<Text>)]
        nodeid: Option<String>,
    }
    let sql = "SELECT min(nodeid) AS nodeid FROM reportsexecution WHERE nodeid > $1";
    Ok(session.rows::<Next>(sql, &[Value::Text(node)])?.into_iter().find_map(|row| row.nodeid))
}

/// All runs of a node, by start.
pub(super) fn of_node(session: &mut Session<'_>, node: &str) -> QueryResult<BTreeMap<i64, StoredRun>> {
    let start = seconds(session, "r.date");
    let sql = format!(
        "SELECT {start} AS start, r.nodeconfigid AS configid, coalesce(r.insertionid, 0) AS first_id, \
             coalesce((SELECT min(l.insertionid) FROM run_log l WHERE l.nodeid = r.nodeid \
                 AND l.date = r.date AND l.insertionid > r.insertionid), {}) AS end_id \
         FROM reportsexecution r WHERE r.nodeid = $1",
        i64::MAX
    );
    let runs: Vec<StoredRun> = session.rows(&sql, &[Value::Text(node)])?;
    Ok(runs.into_iter().map(|run| (run.start, run)).collect())
}

/// A report, as far as it counts.
#[derive(Debug, diesel::QueryableByName)]
pub(super) struct ReportRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = BigInt)]
    start: i64,
    #[diesel(sql_type = Text)]
    ruleid: String,
    #[diesel(sql_type = Text)]
    directiveid: String,
    #[diesel(sql_type = Text)]
    reportid: String,
    #[diesel(sql_type = Text)]
    policy: String,
    #[diesel(sql_type = Text)]
    component: String,
    #[diesel(sql_type = Text)]
    keyvalue: String,
    #[diesel(sql_type = Text)]
    eventtype: String,
}

impl Reported for ReportRow {
    fn counted(&self) -> Option<CountedResult<'_>> {
        Some(CountedResult {
            status: Status::of(&self.eventtype)?,
            rule_id: &self.ruleid,
            directive_id: &self.directiveid,
            report_id: &self.reportid,
            policy: &self.policy,
            component: &self.component,
            key_value: &self.keyvalue,
        })
    }
}

/// Rows read at a time, unless a run has more.
const ROWS: i64 = 20_000;

/// What was read of the reports of runs.
#[derive(Debug, Default)]
pub(super) struct Reports {
    /// Those that were found, by start of the run.
    pub(super) by_start: BTreeMap<i64, Vec<ReportRow>>,
    /// From which start on to read next; `None` at the end.
    pub(super) next: Option<i64>,
}

/// Reads the counted and control reports of some runs of a node, from the first of `wanted` on; as many
/// runs as fit.
pub(super) fn reports(
    session: &mut Session<'_>,
    node: &str,
    runs: &BTreeMap<i64, StoredRun>,
    wanted: &BTreeSet<i64>,
) -> QueryResult<Reports> {
    let (Some(first), Some(last)) = (wanted.first(), wanted.last()) else {
        return Ok(Reports::default());
    };
    let start = seconds(session, "executiontimestamp");
    let (from, to) = match session {
        Session::Postgres(_) => ("to_timestamp($2)", "to_timestamp($3)"),
        Session::Sqlite(_) => (
            "strftime('%Y-%m-%d %H:%M:%S', $2, 'unixepoch')",
            "strftime('%Y-%m-%d %H:%M:%S', $3, 'unixepoch')",
        ),
    };
    let types = Status::ALL.map(|status| format!("'{}'", status.event_type())).join(", ");
    let sql = format!(
        "SELECT id, {start} AS start, ruleid, directiveid, reportid, coalesce(policy, '') AS policy, \
             component, coalesce(keyvalue, 'None') AS keyvalue, eventtype FROM ruddersysevents \
         WHERE nodeid = $1 AND executiontimestamp >= {from} AND executiontimestamp < {to} \
             AND eventtype IN ('control', {types}) ORDER BY executiontimestamp LIMIT $4"
    );
    let mut limit = ROWS;
    loop {
        let span = [Value::Text(node), Value::Int(*first), Value::Int(last + 1), Value::Int(limit)];
        let rows: Vec<ReportRow> = session.rows(&sql, &span)?;
        let is_cut = i64::try_from(rows.len()).is_ok_and(|rows| rows >= limit);
        let last_start = rows.last().map(|row| row.start);
        let mut by_start: BTreeMap<i64, Vec<ReportRow>> = BTreeMap::new();
        for row in rows {
            let is_its = |run: &StoredRun| (run.first_id..run.end_id).contains(&row.id);
            if wanted.contains(&row.start) && runs.get(&row.start).is_some_and(is_its) {
                by_start.entry(row.start).or_default().push(row);
            }
        }
        match last_start {
            // All rows are of one instant: more are needed to know that they are all of it.
            Some(start) if is_cut && start == *first => limit *= 2,
            Some(start) if is_cut => {
                by_start.remove(&start);
                return Ok(Reports { by_start, next: Some(start) });
            }
            _ => return Ok(Reports { by_start, next: None }),
        }
    }
}

fn seconds(session: &Session<'_>, date: &str) -> String {
    match session {
        Session::Postgres(_) => format!("floor(extract(epoch FROM {date}))::bigint"),
        Session::Sqlite(_) => format!("CAST(strftime('%s', {date}) AS integer)"),
    }
}
