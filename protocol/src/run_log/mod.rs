// SPDX-License-Identifier: Apache-2.0
//! Run logs: the whole output of one agent run (protocol 3).

use std::borrow::Cow;

use chrono::{DateTime, FixedOffset};

use crate::node_id::NodeId;

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
    /// What could not be used.
    pub skipped: Vec<Skipped<'a>>,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SkipReason {
    /// `R: @@` is there, a whole report is not.
    BrokenReport,
    /// No report or log line where one is expected.
    Garbage,
    // The owner of this module adds what else it needs.
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
    /// More reports than [`crate::limits::REPORTS_PER_RUN_LOG`].
    #[error("more than {0} reports")]
    TooManyReports(usize),
    /// A line over [`crate::limits::RUN_LOG_LINE`].
    #[error("line {0} is over the limit")]
    LineTooLong(usize),
}

/// Parses the text of a run log of `node`.
pub fn parse<'a>(text: &'a str, node: &NodeId) -> Result<RunLog<'a>, RunLogError> {
    let _ = (text, node);
    todo!()
}
