// SPDX-License-Identifier: Apache-2.0
//! Reports as text: as agents write them, and as people read them (protocol 3.2, 3.4, 3.8).
//!
//! Printed agent lines always parse back to the same number of reports: what would end a field or a
//! message too early gets a space. They give back the very same values if
//!
//! - policy, event type, rule, directive and report id have no line break, no `@@` and no `@` at the
//!   end, and all but policy and event type are not empty;
//! - component and key value are not empty, have no CR and no `@@`, do not end with `@`, and their
//!   last line is not `R: ` if they have more than one;
//! - the message has no CR, and no line of it after the first starts with a level tag or `R: @@`;
//! - the start has no fraction of a second and, as all dates, an offset of whole minutes and a year
//!   of four digits.

use std::fmt::{self, Write};

use chrono::{DateTime, FixedOffset};
use memchr::memchr2;

use super::{
    Report, RunLog,
    levels::{Kind, Level, REPORT, kind},
    timestamp,
};
use crate::node_id::NodeId;

/// The report that opens a run log (protocol 3.6).
pub fn start_report(
    execution: DateTime<FixedOffset>,
    start: DateTime<FixedOffset>,
    config_id: &str,
) -> Report<'_> {
    control_report(execution, start, config_id, "start", "Start execution")
}

/// The report that closes a run log (protocol 3.6).
pub fn end_report(
    execution: DateTime<FixedOffset>,
    start: DateTime<FixedOffset>,
    config_id: &str,
) -> Report<'_> {
    control_report(execution, start, config_id, "end", "End execution")
}

fn control_report<'a>(
    execution: DateTime<FixedOffset>,
    start: DateTime<FixedOffset>,
    config_id: &'a str,
    component: &'a str,
    message: &'a str,
) -> Report<'a> {
    Report {
        execution,
        policy: "Common",
        event_type: "control",
        rule_id: "rudder",
        directive_id: "run",
        report_id: "0",
        component: component.into(),
        key_value: config_id.into(),
        start,
        message: message.into(),
    }
}

/// Writes a report as an agent of `node_id` does, with line end. Line ends are LF, and each line has
/// the time stamp of the report. Empty fields become what stands for them: `0` or `None`.
pub fn write_report_line(out: &mut String, report: &Report<'_>, node_id: &NodeId) {
    let time = timestamp::print(&report.execution);
    out.extend([&time, " ", REPORT]);
    for field in [report.policy, report.event_type] {
        write_field(out, field);
    }
    for field in [report.rule_id, report.directive_id, report.report_id] {
        write_field(out, if field.is_empty() { "0" } else { field });
    }
    for value in [&report.component, &report.key_value] {
        write_value(out, &time, if value.is_empty() { "None" } else { value });
    }
    // Writing to a string cannot fail.
    let _ = write!(out, "{}##{node_id}@#", report.start.format("%Y-%m-%d %H:%M:%S%:z"));
    write_message(out, &time, &report.message);
}

/// Writes a log line as an agent does, with line end. The parser attaches it to the next report.
pub fn write_log_line(out: &mut String, execution: &DateTime<FixedOffset>, level: Level, message: &str) {
    let time = timestamp::print(execution);
    out.extend([&time, " ", level.tag(), ": "]);
    write_message(out, &time, message);
}

/// A run log as agents write it: log lines where they say the same, reports otherwise.
///
/// What was skipped is left out.
pub fn to_agent_lines(run_log: &RunLog<'_>) -> String {
    // From the end, because a log line takes its fields from the next report.
    let mut next_report: Option<&Report<'_>> = None;
    let mut levels: Vec<Option<Level>> = Vec::with_capacity(run_log.reports.len());
    for report in run_log.reports.iter().rev() {
        let level = next_report
            .filter(|next| is_attachable(report, next))
            .and_then(|_| Level::from_event_type(report.event_type));
        if level.is_none() {
            next_report = Some(report);
        }
        levels.push(level);
    }
    let mut out = String::new();
    for (report, level) in run_log.reports.iter().zip(levels.into_iter().rev()) {
        match level {
            Some(level) => write_log_line(&mut out, &report.execution, level, &report.message),
            None => write_report_line(&mut out, report, &run_log.node_id),
        }
    }
    out
}

/// Whether a log line gets the fields of `log` from `report`.
fn is_attachable(log: &Report<'_>, report: &Report<'_>) -> bool {
    log.policy == report.policy
        && log.rule_id == report.rule_id
        && log.directive_id == report.directive_id
        && log.report_id == report.report_id
        && log.component == report.component
        && log.key_value == report.key_value
        && (log.start, log.start.offset()) == (report.start, report.start.offset())
}

/// A field on one line, and the `@@` after it.
fn write_field(out: &mut String, text: &str) {
    for (index, line) in lines(text).enumerate() {
        if index > 0 {
            out.push(' ');
        }
        write_without_separator(out, line);
    }
    write_separator(out, text);
}

/// A field that may span lines, and the `@@` after it.
fn write_value(out: &mut String, time: &str, text: &str) {
    for (index, line) in lines(text).enumerate() {
        if index > 0 {
            out.extend(["\n", time, " "]);
        } else if has_timestamp(line) {
            out.extend([time, " "]);
        }
        write_without_separator(out, line);
    }
    // Not to look like a report with the separator.
    if lines(text).skip(1).last() == Some("R: ") {
        out.push(' ');
    }
    write_separator(out, text);
}

fn write_separator(out: &mut String, after: &str) {
    // An `@` before it would move it.
    if after.ends_with('@') {
        out.push(' ');
    }
    out.push_str("@@");
}

fn write_without_separator(out: &mut String, text: &str) {
    let mut last = None;
    for part in text.split_inclusive('@') {
        if last == Some('@') && part == "@" {
            out.push(' ');
        }
        out.push_str(part);
        last = part.chars().last();
    }
}

fn write_message(out: &mut String, time: &str, text: &str) {
    for (index, line) in lines(text).enumerate() {
        if index > 0 {
            out.extend(["\n", time, " "]);
            if kind(line) != Kind::Plain {
                out.push(' ');
            }
        } else if line.starts_with(' ') || has_timestamp(line) {
            // The parser removes one time stamp at the start of a message, and spaces after a tag.
            out.extend([time, " "]);
        }
        out.push_str(line);
    }
    out.push('\n');
}

fn has_timestamp(line: &str) -> bool {
    timestamp::split(line).is_some()
}

/// The lines of a value. Unlike those of a log they are separated, not ended, by line ends: an empty
/// text is one line.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(at) = memchr2(b'\n', b'\r', text.as_bytes()) else { return rest.take() };
        let after = &text[at..];
        rest = Some(after.strip_prefix("\r\n").unwrap_or(&after[1..]));
        Some(&text[..at])
    })
}

/// A report as people read it, without time stamp (protocol 3.8).
#[derive(Debug, Clone, Copy)]
pub struct Plain<'a> {
    report: &'a Report<'a>,
    node_id: &'a NodeId,
}

impl<'a> Report<'a> {
    /// This report of `node_id` as people read it.
    pub fn plain(&'a self, node_id: &'a NodeId) -> Plain<'a> {
        Plain { report: self, node_id }
    }
}

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { report: r, node_id } = self;
        write!(
            f,
            "{REPORT}{}@@{}@@{}@@{}@@{}@@{}@@{}@@{}##{node_id}@#{}",
            r.policy,
            r.event_type,
            r.rule_id,
            r.directive_id,
            r.report_id,
            r.component,
            r.key_value,
            r.start.format("%Y-%m-%d %H:%M:%S %:z"),
            r.message
        )
    }
}

impl fmt::Display for RunLog<'_> {
    /// All reports as people read them, each ended by LF.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reports.iter().try_for_each(|report| writeln!(f, "{}", report.plain(&self.node_id)))
    }
}
