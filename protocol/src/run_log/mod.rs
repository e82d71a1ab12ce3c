// SPDX-License-Identifier: Apache-2.0
//! Run logs: the whole output of one agent run (protocol 3).
//!
//! | file | what |
//! |---|---|
//! | `parse` | lines to reports, with everything that can be wrong |
//! | `report_line` | the fields of one report |
//! | `lines`, `timestamp`, `levels`, `value` | line ends, dates, level tags, values over several lines |
//! | [`mod@print`] | reports to lines, as agents write them and as people read them |
//! | [`instance`] | which machine a run log comes from |
//! | [`json`] | a run log as JSON |

use std::borrow::Cow;

use chrono::{DateTime, FixedOffset};

use crate::node_id::NodeId;

pub mod instance;
pub mod json;
mod levels;
mod lines;
mod parse;
pub mod print;
mod report_line;
mod timestamp;
mod value;

pub use levels::{Kind, Level, kind};
pub use parse::{Limits, parse, parse_within};

/// One report: the state of one component of one policy on one node; a row of `ruddersysevents`.
///
/// Log lines attached to a report are reports of their own with a `log_*` event type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report<'a> {
    /// When the line was produced (`executiondate`).
    pub execution: DateTime<FixedOffset>,
    /// Technique name.
    pub policy: &'a str,
    /// `result_success`, `log_info`, `control`… free text here (protocol 3.5).
    pub event_type: &'a str,
    /// Rule.
    pub rule_id: &'a str,
    /// Directive.
    pub directive_id: &'a str,
    /// Report id; `0` when empty.
    pub report_id: &'a str,
    /// Component; may span lines.
    pub component: Cow<'a, str>,
    /// Key value; `None` (the text) when empty; may span lines.
    pub key_value: Cow<'a, str>,
    /// Start of the run as this report says it (`executiontimestamp`).
    pub start: DateTime<FixedOffset>,
    /// The rest, continuation lines joined with LF.
    pub message: Cow<'a, str>,
}

/// A parsed run log whose reports all name the node it is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunLog<'a> {
    /// The node.
    pub node_id: NodeId,
    /// Start of the run: that of the first report.
    pub start: DateTime<FixedOffset>,
    /// Version of the policies: key value of the first `control` report `start` or `end`.
    pub config_id: Option<Cow<'a, str>>,
    /// Whether a `control` report `start` is there: only then a run is recorded.
    pub complete: bool,
    /// In log order, attached log lines before their report. Never empty.
    pub reports: Vec<Report<'a>>,
    /// How many reports say another start than the first one; kept as they are.
    pub other_starts: usize,
    /// What could not be used.
    pub skipped: Vec<Skipped<'a>>,
}

impl<'a> RunLog<'a> {
    /// A run log of these reports (log lines attached); what is known of the run comes from them.
    /// `None` without any report.
    pub fn new(node_id: NodeId, reports: Vec<Report<'a>>, skipped: Vec<Skipped<'a>>) -> Option<Self> {
        let start = reports.first()?.start;
        let is_control =
            |r: &&Report<'_>, ends: &[&str]| r.event_type == "control" && ends.contains(&&*r.component);
        let config_id =
            reports.iter().find(|r| is_control(r, &["start", "end"])).map(|r| r.key_value.clone());
        let complete = reports.iter().any(|r| is_control(&r, &["start"]));
        let other_starts = reports.iter().filter(|r| r.start != start).count();
        Some(Self { node_id, start, config_id, complete, reports, other_starts, skipped })
    }
}

/// A part of a run log that could not be used, with its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped<'a> {
    /// Line of the log where it starts, from 1.
    pub line: usize,
    /// Why.
    pub reason: SkipReason,
    /// The text as it stands in the log.
    pub text: &'a str,
}

/// Why a part of a run log was skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SkipReason {
    /// `R: @@` is there, a whole report is not.
    BrokenReport,
    /// No report or log line where one is expected.
    Garbage,
    /// A line with a level tag but no time stamp: neither log line nor continuation.
    StrayLogLine,
}

/// Why a run log is refused as a whole (protocol 3.7).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RunLogError {
    /// No valid report in it.
    #[error("no valid report")]
    Empty,
    /// A report of another node.
    #[error("line {line}: report of node {found:?} in a run log of node {expected}")]
    OtherNode {
        /// Line of the log, from 1.
        line: usize,
        /// The node the log is from.
        expected: NodeId,
        /// The node the report names.
        found: String,
    },
    /// More reports, log lines and skipped parts than [`Limits::reports`].
    #[error("more than {0} reports, log lines and unusable parts")]
    TooManyReports(usize),
    /// A line over [`Limits::line`].
    #[error("line {0} is longer than any line of a run log may be")]
    LineTooLong(usize),
    /// Log lines copy more than [`Limits::copied`] bytes from their reports.
    #[error("log lines attached to reports with huge fields: more than {0} bytes of copies")]
    TooMuchAttached(usize),
}
