// SPDX-License-Identifier: Apache-2.0
//! `/runs/{node}/{start}`: one run with its reports, readable; or as text (protocol 3.8).

use std::fmt::Write as _;

use diesel::{
    QueryableByName,
    sql_types::{BigInt, Nullable, Text},
};
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    Paging, Row, Trouble,
    conditions::Conditions,
    events::{self, EventRow, LogLine, Reported},
    moment::show,
};
use crate::db::{Connection, query::Value};

/// A run, with reports.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct RunDetails {
    /// The node.
    pub node_id: String,
    /// Its host name, if it is known.
    pub hostname: Option<String>,
    /// Its start, by the clock of the node.
    pub start: String,
    /// Whether it is recorded as a run: not without the report of its start, as of a single directive.
    pub complete: bool,
    /// When it was stored.
    pub stored: Option<String>,
    /// Version of the policies.
    pub config_id: Option<String>,
    /// Reports, in the order of the run log.
    pub reports: Vec<Report>,
    /// Asks for the next reports, as `after`; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A report.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Report {
    /// When the line was produced.
    pub at: String,
    /// `result_error`, `control`… (protocol 3.5)
    pub event_type: String,
    /// The rule.
    pub rule_id: String,
    /// The directive.
    pub directive_id: String,
    /// The report id.
    pub report_id: String,
    /// The technique.
    pub policy: String,
    /// The component.
    pub component: String,
    /// The key value.
    pub key_value: String,
    /// In words.
    pub message: String,
    /// Log lines attached to it.
    pub logs: Vec<LogLine>,
}

impl Row for Report {
    const COLUMNS: &'static [&'static str] = &[
        "at",
        "event_type",
        "rule_id",
        "directive_id",
        "report_id",
        "policy",
        "component",
        "key_value",
        "message",
        "logs",
    ];

    fn cells(&self) -> Vec<String> {
        let report = self.clone();
        let logs: Vec<_> =
            report.logs.iter().map(|log| format!("{} {}", log.event_type, log.message)).collect();
        vec![
            report.at,
            report.event_type,
            report.rule_id,
            report.directive_id,
            report.report_id,
            report.policy,
            report.component,
            report.key_value,
            report.message,
            logs.join("\n"),
        ]
    }
}

impl From<Reported> for Report {
    fn from(Reported { row, logs }: Reported) -> Self {
        Self {
            at: show(row.executed),
            event_type: row.eventtype.unwrap_or_default(),
            rule_id: row.ruleid,
            directive_id: row.directiveid,
            report_id: row.reportid,
            policy: row.policy.unwrap_or_default(),
            component: row.component,
            key_value: row.keyvalue.unwrap_or_default(),
            message: row.msg.unwrap_or_default(),
            logs,
        }
    }
}

#[derive(QueryableByName)]
struct HeadRow {
    #[diesel(sql_type = Nullable<BigInt>)]
    stored: Option<i64>,
    #[diesel(sql_type = Nullable<Text>)]
    configid: Option<String>,
}

#[derive(QueryableByName)]
struct NameRow {
    #[diesel(sql_type = Text)]
    hostname: String,
}

/// A run by its node and its start in Unix seconds, with at most `limit` stored rows of reports and log lines.
pub fn run(c: &mut Connection, node: &str, start: i64, paging: &Paging) -> Result<RunDetails, Trouble> {
    let of_node = [Value::Text(node)];
    let hostname: Option<NameRow> = c.row("SELECT hostname FROM node WHERE nodeid = $1", &of_node)?;
    let sql = format!(
        "SELECT {} AS stored, nodeconfigid AS configid FROM reportsexecution WHERE nodeid = $1 AND date = {}",
        c.unix_time("insertiondate"),
        c.timestamp(&start.to_string())
    );
    let head: Option<HeadRow> = c.row(&sql, &of_node)?;
    let (rows, next) = rows(c, node, start, paging)?;
    if head.is_none() && rows.is_empty() && paging.after.is_none() {
        return Err(missing(node, start));
    }
    let complete = head.is_some();
    let (stored, config_id) = head.map_or((None, None), |head| (head.stored.map(show), head.configid));
    Ok(RunDetails {
        node_id: node.to_owned(),
        hostname: hostname.map(|row| row.hostname),
        start: show(start),
        complete,
        stored,
        config_id,
        reports: events::attach(rows).into_iter().map(Report::from).collect(),
        next,
    })
}

fn missing(node: &str, start: i64) -> Trouble {
    Trouble::Missing(format!("no run of {node:?} that began at {} is stored", show(start)))
}

/// A part of a text, and what asks for the next part.
pub type Texts = (String, Option<String>);

/// Start of the last complete run of a node, in Unix seconds.
pub fn last_start(c: &mut Connection, node: &str) -> Result<i64, Trouble> {
    let sql = "SELECT coalesce(max(last), -1) AS number FROM compliance_current WHERE nodeid = $1";
    let last = c.number(sql, &[Value::Text(node)])?;
    if last < 0 {
        return Err(Trouble::Missing(format!("no complete run of {node:?} is known")));
    }
    Ok(last)
}

/// The same as text, a line for each report and each log line.
pub fn text(c: &mut Connection, node: &str, start: i64, paging: &Paging) -> Result<Texts, Trouble> {
    let (rows, next) = rows(c, node, start, paging)?;
    if rows.is_empty() && paging.after.is_none() {
        return Err(missing(node, start));
    }
    let at = show(start).replace('T', " ").replace('Z', " +00:00");
    let mut text = String::new();
    for row in rows {
        let (policy, key_value) = (row.policy.unwrap_or_default(), row.keyvalue.unwrap_or_default());
        let (event_type, msg) = (row.eventtype.unwrap_or_default(), row.msg.unwrap_or_default());
        // Nothing can go wrong when writing to a text.
        let _ = writeln!(
            text,
            "R: @@{policy}@@{event_type}@@{}@@{}@@{}@@{}@@{key_value}@@{at}##{node}@#{msg}",
            row.ruleid, row.directiveid, row.reportid, row.component
        );
    }
    Ok((text, next))
}

/// Rows in order, and where the next ones begin. Log lines stay on the page of their report, unless there are
/// more of them than fit.
fn rows(
    c: &mut Connection,
    node: &str,
    start: i64,
    paging: &Paging,
) -> Result<(Vec<EventRow>, Option<String>), Trouble> {
    let after = paging.after.as_deref().map(|after| {
        let after: Result<i64, _> = after.parse();
        after.map_err(|_| Paging::unreadable(paging.after.as_deref().unwrap_or_default()))
    });
    let mut which = Conditions::default();
    which.is("e.nodeid = {}", Some(node));
    which.holds(format!("e.executiontimestamp = {}", c.timestamp(&start.to_string())));
    which.compares("e.id > {}", after.transpose()?);
    let sql = format!(
        "SELECT {} FROM ruddersysevents e WHERE {} ORDER BY e.id LIMIT {}",
        events::columns(c, "e.msg"),
        which.sql(),
        paging.limit + 1
    );
    let mut rows: Vec<EventRow> = c.rows(&sql, &which.values())?;
    if rows.len() <= paging.limit {
        return Ok((rows, None));
    }
    rows.truncate(paging.limit);
    if let Some(report) = rows.iter().rposition(|row| !row.is_log()) {
        rows.truncate(report + 1);
    }
    let next = rows.last().map(|row| row.id.to_string());
    Ok((rows, next))
}
