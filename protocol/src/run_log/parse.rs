// SPDX-License-Identifier: Apache-2.0
//! Puts a run log together from its lines (protocol 3.3, 3.4, 3.7).
//!
//! ```text
//! line    time stamp?  starts with        what happens
//! report  yes          R: @@              opens a report, or a broken one if fields are wrong
//! report  no           R: @@              opens a broken report
//! log     yes          level tag          opens a log line
//! stray   no           level tag          is skipped, what is open stays open
//! plain   either       anything else      continues what is open; garbage if nothing is
//! ```
//!
//! Invariants: each line is looked at no more than twice, memory is bounded by the text and
//! [`Limits`], and no text is lost: it is in a report, in a skipped part, or refused with the log.

use std::borrow::Cow;

use chrono::{DateTime, FixedOffset};

use super::{
    Report, RunLog, RunLogError, SkipReason, Skipped,
    levels::{Kind, Level, kind},
    lines::{Line, Lines},
    report_line::{Fields, Reader},
    timestamp,
    value::Value,
};
use crate::{limits, node_id::NodeId};

/// What a run log may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Reports, attached log lines and skipped parts, together.
    pub reports: usize,
    /// Bytes of one line.
    pub line: usize,
    /// Bytes that log lines copy from the reports they are attached to, together.
    pub copied: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            reports: limits::REPORTS_PER_RUN_LOG,
            line: limits::RUN_LOG_LINE,
            copied: limits::RUN_LOG_INFLATED as usize,
        }
    }
}

/// Parses the text of a run log of `node`, with the default [`Limits`].
///
/// Borrows from `text` all values that stand there as they are. Linear in the length of the text.
pub fn parse<'a>(text: &'a str, node: &NodeId) -> Result<RunLog<'a>, RunLogError> {
    parse_within(text, node, Limits::default())
}

/// Parses the text of a run log of `node`.
pub fn parse_within<'a>(text: &'a str, node: &NodeId, limits: Limits) -> Result<RunLog<'a>, RunLogError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = Lines::new(text);
    let mut reader = Reader::new(text);
    let mut parser = Parser {
        text,
        node,
        limits,
        open: None,
        pending: Vec::new(),
        reports: Vec::new(),
        skipped: Vec::new(),
        copied: 0,
    };
    while let Some(line) = lines.next() {
        if line.text.len() > limits.line {
            return Err(RunLogError::LineTooLong(line.number));
        }
        let (time, body) = match timestamp::split(line.text) {
            Some((time, body)) => (Some(time), body),
            None => (None, line.text),
        };
        match (kind(body), time) {
            (Kind::Plain, _) => parser.continuation(line, body),
            (Kind::Log(level, message), Some(time)) => {
                parser.close()?;
                parser.open(time, What::Log(level), line, message);
            }
            (Kind::Log(..), None) => parser.stray(line)?,
            (Kind::Report(_), None) => parser.broken(line)?,
            (Kind::Report(fields), Some(time)) => match reader.read(line, fields, &mut lines) {
                Some((fields, last, message)) => {
                    parser.close()?;
                    parser.check_node(line, &fields)?;
                    parser.open(time, What::Report(fields), last, message);
                }
                None => parser.broken(line)?,
            },
        }
    }
    parser.finish()
}

struct Parser<'a, 'n> {
    text: &'a str,
    node: &'n NodeId,
    limits: Limits,
    open: Option<Open<'a>>,
    /// Log lines that wait for the next report.
    pending: Vec<LogLine<'a>>,
    reports: Vec<Report<'a>>,
    skipped: Vec<Skipped<'a>>,
    copied: usize,
}

/// What continuation lines belong to.
#[expect(clippy::large_enum_variant, reason = "there is one at a time")]
enum Open<'a> {
    Message {
        time: DateTime<FixedOffset>,
        what: What<'a>,
        message: Value<'a>,
    },
    /// The last skipped part, which starts here.
    Skipped {
        start: usize,
    },
}

enum What<'a> {
    Report(Fields<'a>),
    Log(Level),
}

struct LogLine<'a> {
    time: DateTime<FixedOffset>,
    level: Level,
    message: Cow<'a, str>,
}

impl<'a> Parser<'a, '_> {
    /// Opens a report or log line whose message starts with `message`, the rest of `line`.
    fn open(&mut self, time: DateTime<FixedOffset>, what: What<'a>, line: Line<'a>, message: &'a str) {
        let message = timestamp::strip(message);
        let message = Value::new(self.text, line.end() - message.len()..line.end());
        self.open = Some(Open::Message { time, what, message });
    }

    fn continuation(&mut self, line: Line<'a>, body: &'a str) {
        match &mut self.open {
            Some(Open::Message { message, .. }) => message.push_line(line.end() - body.len()..line.end()),
            Some(Open::Skipped { start }) => {
                if let Some(last) = self.skipped.last_mut() {
                    last.text = &self.text[*start..line.end()];
                }
            }
            None => self.skip(line, SkipReason::Garbage),
        }
    }

    /// Only this line is dropped (protocol A11).
    fn stray(&mut self, line: Line<'a>) -> Result<(), RunLogError> {
        match self.open {
            Some(Open::Skipped { .. }) => self.continuation(line, line.text),
            _ => {
                let stray = Skipped { line: line.number, reason: SkipReason::StrayLogLine, text: line.text };
                self.skipped.push(stray);
            }
        }
        self.check_count()
    }

    fn broken(&mut self, line: Line<'a>) -> Result<(), RunLogError> {
        self.close()?;
        self.skip(line, SkipReason::BrokenReport);
        self.check_count()
    }

    fn skip(&mut self, line: Line<'a>, reason: SkipReason) {
        self.skipped.push(Skipped { line: line.number, reason, text: line.text });
        self.open = Some(Open::Skipped { start: line.start });
    }

    fn check_node(&self, line: Line<'a>, fields: &Fields<'a>) -> Result<(), RunLogError> {
        if fields.node_id == self.node.as_str() {
            return Ok(());
        }
        Err(RunLogError::OtherNode {
            line: line.number,
            expected: self.node.clone(),
            found: fields.node_id.chars().take(crate::node_id::MAX_LENGTH).collect(),
        })
    }

    fn check_count(&self) -> Result<(), RunLogError> {
        match self.reports.len() + self.pending.len() + self.skipped.len() > self.limits.reports {
            true => Err(RunLogError::TooManyReports(self.limits.reports)),
            false => Ok(()),
        }
    }

    fn close(&mut self) -> Result<(), RunLogError> {
        let Some(Open::Message { time, what, message }) = self.open.take() else { return Ok(()) };
        let message = message.finish();
        match what {
            What::Log(level) => self.pending.push(LogLine { time, level, message }),
            What::Report(fields) => {
                let report = Report {
                    execution: time,
                    policy: fields.policy,
                    event_type: fields.event_type,
                    rule_id: fields.rule_id,
                    directive_id: fields.directive_id,
                    report_id: fields.report_id,
                    component: fields.component,
                    key_value: fields.key_value,
                    start: fields.start,
                    message,
                };
                let attached = self.attach(&report)?;
                self.reports.extend(attached);
                self.reports.push(report);
            }
        }
        self.check_count()
    }

    /// Makes rows of the waiting log lines.
    fn attach(&mut self, report: &Report<'a>) -> Result<Vec<Report<'a>>, RunLogError> {
        self.copied = self.copied.saturating_add(copied_bytes(report).saturating_mul(self.pending.len()));
        if self.copied > self.limits.copied {
            return Err(RunLogError::TooMuchAttached(self.limits.copied));
        }
        Ok(self.pending.drain(..).map(|log| attached(log, report)).collect())
    }

    fn finish(mut self) -> Result<RunLog<'a>, RunLogError> {
        self.close()?;
        let last = self.reports.pop().ok_or(RunLogError::Empty)?;
        // Log lines after the last report go with it, after it (protocol A12).
        let trailing = self.attach(&last)?;
        self.reports.push(last);
        self.reports.extend(trailing);
        RunLog::new(self.node.clone(), self.reports, self.skipped).ok_or(RunLogError::Empty)
    }
}

fn copied_bytes(report: &Report<'_>) -> usize {
    let texts = [report.policy, report.rule_id, report.directive_id, report.report_id];
    texts.iter().map(|text| text.len()).sum::<usize>() + report.component.len() + report.key_value.len()
}

fn attached<'a>(log: LogLine<'a>, report: &Report<'a>) -> Report<'a> {
    Report {
        execution: log.time,
        policy: report.policy,
        event_type: log.level.event_type(),
        rule_id: report.rule_id,
        directive_id: report.directive_id,
        report_id: report.report_id,
        component: report.component.clone(),
        key_value: report.key_value.clone(),
        start: report.start,
        message: log.message,
    }
}
