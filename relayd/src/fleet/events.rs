// SPDX-License-Identifier: Apache-2.0
//! Reports of runs as they are stored, and the log lines attached to them (protocol 3.4, 4.1).

use diesel::{
    QueryResult, QueryableByName,
    sql_types::{BigInt, Nullable, Text},
};
use schemars::JsonSchema;
use serde::Serialize;

use super::{moment::show, sets::ResultFilter};
use crate::db::Connection;

/// A row of `ruddersysevents`.
#[derive(Debug, Clone, QueryableByName)]
pub struct EventRow {
    /// Its number: rows of a run log have theirs in its order.
    #[diesel(sql_type = BigInt)]
    pub id: i64,
    /// When the line was produced.
    #[diesel(sql_type = BigInt)]
    pub executed: i64,
    /// Node.
    #[diesel(sql_type = Text)]
    pub nodeid: String,
    /// Rule.
    #[diesel(sql_type = Text)]
    pub ruleid: String,
    /// Directive.
    #[diesel(sql_type = Text)]
    pub directiveid: String,
    /// Report id.
    #[diesel(sql_type = Text)]
    pub reportid: String,
    /// Technique.
    #[diesel(sql_type = Nullable<Text>)]
    pub policy: Option<String>,
    /// Component.
    #[diesel(sql_type = Text)]
    pub component: String,
    /// Key value.
    #[diesel(sql_type = Nullable<Text>)]
    pub keyvalue: Option<String>,
    /// What it says.
    #[diesel(sql_type = Nullable<Text>)]
    pub eventtype: Option<String>,
    /// In words.
    #[diesel(sql_type = Nullable<Text>)]
    pub msg: Option<String>,
}

/// A log line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct LogLine {
    /// When.
    pub at: String,
    /// `log_info`, `log_warn`…
    pub event_type: String,
    /// What it says.
    pub message: String,
}

/// A report, with the log lines before it that belong to it.
#[derive(Debug, Clone)]
pub struct Reported {
    /// The report.
    pub row: EventRow,
    /// Its log lines, in order.
    pub logs: Vec<LogLine>,
}

impl EventRow {
    /// What it says.
    pub fn event_type(&self) -> &str {
        self.eventtype.as_deref().unwrap_or_default()
    }

    /// Whether it is information, and no result (protocol 3.5).
    pub fn is_log(&self) -> bool {
        self.event_type().starts_with("log_")
    }

    /// Whether both are about the same component: an attached log line copies these fields of its report.
    fn is_about_the_same(&self, other: &Self) -> bool {
        let key = |row: &Self| {
            let Self { nodeid, ruleid, directiveid, reportid, policy, component, keyvalue, .. } = row.clone();
            (nodeid, ruleid, directiveid, reportid, policy, component, keyvalue)
        };
        key(self) == key(other)
    }

    fn into_line(self) -> LogLine {
        LogLine {
            at: show(self.executed),
            event_type: self.eventtype.unwrap_or_default(),
            message: self.msg.unwrap_or_default(),
        }
    }
}

/// The columns of [`EventRow`], from `ruddersysevents e`; `msg`: SQL for the message.
pub fn columns(c: &Connection, msg: &str) -> String {
    format!(
        "e.id, {} AS executed, e.nodeid, e.ruleid, e.directiveid, e.reportid, e.policy, e.component, \
         e.keyvalue, e.eventtype, {msg} AS msg",
        c.unix_time("e.executiondate")
    )
}

/// Puts log lines to the reports to which they are attached. Rows of each node have to be in order. A log
/// line that is followed by nothing about the same component is a report of its own.
pub fn attach(rows: Vec<EventRow>) -> Vec<Reported> {
    let (mut reported, mut waiting) = (Vec::new(), Vec::<EventRow>::new());
    let alone = |row: EventRow| Reported { row, logs: Vec::new() };
    for row in rows {
        if row.is_log() {
            waiting.push(row);
            continue;
        }
        let others = waiting.iter().rposition(|log| !log.is_about_the_same(&row)).map_or(0, |last| last + 1);
        let logs = waiting.split_off(others).into_iter().map(EventRow::into_line).collect();
        reported.extend(waiting.drain(..).map(alone));
        reported.push(Reported { row, logs });
    }
    reported.extend(waiting.into_iter().map(alone));
    reported
}

/// Most reports that are read of some runs in one go.
pub const MOST: usize = 20_000;

/// Reports of these runs (node, start in Unix seconds) that pass a filter, and the log lines between them, in
/// order; `None` when there are more than [`MOST`]. `msg` as in [`columns`].
pub fn of_runs(
    c: &mut Connection,
    runs: &[(String, i64)],
    filter: &ResultFilter,
    msg: &str,
) -> QueryResult<Option<Vec<EventRow>>> {
    if runs.is_empty() {
        return Ok(Some(Vec::new()));
    }
    let mut which = filter.conditions();
    let run = |(node, start): &(String, i64)| {
        let place = which.text(node.clone());
        format!("(e.nodeid = {place} AND e.executiontimestamp = {})", c.timestamp(&start.to_string()))
    };
    let runs: Vec<_> = runs.iter().map(run).collect();
    which.holds(format!("({})", runs.join(" OR ")));
    let sql = format!(
        "SELECT {} FROM ruddersysevents e WHERE {} ORDER BY e.nodeid, e.id LIMIT {}",
        columns(c, msg),
        which.sql(),
        MOST + 1
    );
    let rows: Vec<EventRow> = c.rows(&sql, &which.values())?;
    Ok(Some(rows).filter(|rows| rows.len() <= MOST))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: i64, eventtype: &str, component: &str) -> EventRow {
        EventRow {
            id,
            executed: id,
            nodeid: "n".into(),
            ruleid: "r".into(),
            directiveid: "d".into(),
            reportid: "0".into(),
            policy: Some("p".into()),
            component: component.into(),
            keyvalue: Some("None".into()),
            eventtype: Some(eventtype.into()),
            msg: Some(format!("{id}")),
        }
    }

    #[test]
    fn log_lines_belong_to_the_next_report_about_the_same_component() {
        let rows = vec![
            row(1, "control", "start"),
            row(2, "log_info", "Abort run"),
            row(3, "log_info", "a"),
            row(4, "log_warn", "a"),
            row(5, "result_error", "a"),
            row(6, "result_success", "b"),
            row(7, "log_debug", "a"),
        ];
        let reported = attach(rows);
        let seen: Vec<_> = reported
            .iter()
            .map(|one| (one.row.id, one.logs.iter().map(|log| log.message.as_str()).collect::<Vec<_>>()))
            .collect();
        let expected = [(1, vec![]), (2, vec![]), (5, vec!["3", "4"]), (6, vec![]), (7, vec![])];
        assert_eq!(seen, expected);
    }
}
