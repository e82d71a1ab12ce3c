// SPDX-License-Identifier: Apache-2.0
//! `/runs`: complete runs, the newest first, and what each came to.

use diesel::{
    QueryableByName,
    sql_types::{BigInt, Nullable, Text},
};
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    Page, Paging, Row, Trouble,
    conditions::Conditions,
    counts::{Counts, OF_SET, percent},
    moment::show,
};
use crate::db::Connection;

/// Which runs.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Of this node.
    pub node: Option<String>,
    /// That started then or later, in Unix seconds.
    pub from: Option<i64>,
    /// That started before, in Unix seconds.
    pub to: Option<i64>,
    /// With this version of the policies.
    pub config_id: Option<String>,
}

/// A run.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Run {
    /// The node.
    pub node_id: String,
    /// Its host name, if it is known.
    pub hostname: Option<String>,
    /// Its start, by the clock of the node.
    pub start: String,
    /// When it was stored.
    pub stored: Option<String>,
    /// Version of the policies.
    pub config_id: Option<String>,
    /// Results that are as they should be, of 100.
    pub compliance: Option<f64>,
    /// Its results.
    pub results: Counts,
}

impl Row for Run {
    const COLUMNS: &'static [&'static str] = &[
        "node_id",
        "hostname",
        "start",
        "stored",
        "config_id",
        "compliance",
        "success",
        "repaired",
        "error",
        "na",
        "audit_compliant",
        "audit_noncompliant",
        "audit_error",
        "audit_na",
        "no_answer",
    ];

    fn cells(&self) -> Vec<String> {
        let run = self.clone();
        let mut cells = vec![
            run.node_id,
            run.hostname.unwrap_or_default(),
            run.start,
            run.stored.unwrap_or_default(),
            run.config_id.unwrap_or_default(),
            percent(run.compliance),
        ];
        cells.extend(run.results.numbers().map(|number| number.to_string()));
        cells
    }
}

#[derive(QueryableByName)]
struct RunRow {
    #[diesel(sql_type = Text)]
    nodeid: String,
    #[diesel(sql_type = Nullable<Text>)]
    hostname: Option<String>,
    #[diesel(sql_type = BigInt)]
    start: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    stored: Option<i64>,
    #[diesel(sql_type = Nullable<Text>)]
    configid: Option<String>,
    #[diesel(embed)]
    results: Counts,
}

/// Runs, by start, the newest first; those of the same second by node.
pub fn runs(c: &mut Connection, filter: &Filter, paging: &Paging) -> Result<Page<Run>, Trouble> {
    let mut which = Conditions::default();
    which.is("r.nodeid = {}", filter.node.as_deref());
    if let Some(from) = filter.from {
        which.holds(format!("r.date >= {}", c.timestamp(&from.to_string())));
    }
    if let Some(to) = filter.to {
        which.holds(format!("r.date < {}", c.timestamp(&to.to_string())));
    }
    which.is("r.nodeconfigid = {}", filter.config_id.as_deref());
    if let Some(after) = &paging.after {
        let unreadable = || Paging::unreadable(after);
        let (start, node) = after.split_once('.').ok_or_else(unreadable)?;
        let start: i64 = start.parse().map_err(|_| unreadable())?;
        let start = c.timestamp(&start.to_string());
        // The first condition is one for an index, the second one is exact.
        which.holds(format!("r.date <= {start}"));
        let node = which.text(node);
        which.holds(format!("(r.date < {start} OR r.nodeid > {node})"));
    }
    let page = format!(
        "SELECT r.nodeid, {} AS start, {} AS stored, r.nodeconfigid AS configid FROM reportsexecution r \
         WHERE {} ORDER BY r.date DESC, r.nodeid LIMIT {}",
        c.unix_time("r.date"),
        c.unix_time("r.insertiondate"),
        which.sql(),
        paging.limit + 1
    );
    // The segment in which a run lies has its results.
    let sql = format!(
        "SELECT q.nodeid, n.hostname, q.start, q.stored, q.configid, {OF_SET} FROM (SELECT p.*, coalesce(\
           (SELECT x.set_id FROM compliance_current x WHERE x.nodeid = p.nodeid AND x.since <= p.start), \
           (SELECT CASE WHEN x.since <= p.start THEN x.set_id END FROM compliance_history x \
            WHERE x.nodeid = p.nodeid AND x.last >= p.start ORDER BY x.last LIMIT 1)) AS set_id \
         FROM ({page}) p) q LEFT JOIN compliance_set s ON s.id = q.set_id \
         LEFT JOIN node n ON n.nodeid = q.nodeid ORDER BY q.start DESC, q.nodeid"
    );
    let rows: Vec<RunRow> = c.rows(&sql, &which.values())?;
    let is_more = rows.len() > paging.limit;
    let last = rows.get(paging.limit.saturating_sub(1)).filter(|_| is_more);
    let next = last.map(|row| format!("{}.{}", row.start, row.nodeid));
    Ok(Page { items: rows.into_iter().take(paging.limit).map(RunRow::run).collect(), next })
}

impl RunRow {
    fn run(self) -> Run {
        Run {
            node_id: self.nodeid,
            hostname: self.hostname,
            start: show(self.start),
            stored: self.stored.map(show),
            config_id: self.configid,
            compliance: self.results.compliance(),
            results: self.results,
        }
    }
}
