// SPDX-License-Identifier: Apache-2.0
//! Composes the text of a run log from what a command said (protocol 3).
//!
//! Output in report form is kept, stamped, and framed with the control reports it lacks. Anything else
//! is attached to one report that says how the command ended:
//!
//! ```text
//! start · instance · log lines · Command result_success|result_error · end
//! ```
//!
//! Servers drop log lines after the last report, so the `end` report always goes last.

use std::fmt::Write;

use chrono::{DateTime, SecondsFormat, Utc};
use protocol::{
    run_id::RunId,
    run_log::{
        self, Kind, RunLogError,
        instance::{self, Instance},
    },
};

use super::{
    capture::{Capture, Captured, Stream},
    line::Line,
    process::Ending,
};

/// What a run log says about the run as a whole.
#[derive(Debug)]
pub struct Run<'a> {
    /// Node and start.
    pub id: &'a RunId,
    /// Which machine it was.
    pub instance: &'a Instance,
    /// Version of the policies, unless the command says another one.
    pub config_id: &'a str,
    /// Name of the command.
    pub command: &'a str,
    /// How it ended.
    pub ending: &'a Ending,
    /// When it ended.
    pub ended: DateTime<Utc>,
    /// What the agent itself has to say: log lines.
    pub notes: &'a [String],
}

/// The text of the run log, lines ending in LF.
pub fn compose(run: &Run<'_>, capture: &Capture) -> String {
    let lines: Vec<(Captured<'_>, Line<'_>)> =
        capture.lines().map(|captured| (captured, Line::new(captured.text))).collect();
    if !lines.iter().any(|(_, line)| line.is_report()) {
        return attached(run, &lines, None);
    }
    let mut plain = Log::default();
    plain.in_report_form(&lines);
    match run_log::parse(&plain.0, &run.id.node_id) {
        Ok(parsed) => {
            let config_id = parsed.config_id.as_deref().unwrap_or(run.config_id);
            framed(run, config_id, &lines)
        }
        Err(RunLogError::Empty) => attached(run, &lines, None),
        Err(unusable) => attached(run, &lines, Some(unusable)),
    }
}

/// Output in report form: kept, with the frame it lacks.
fn framed(run: &Run<'_>, config_id: &str, lines: &[(Captured<'_>, Line<'_>)]) -> String {
    let last_report = lines.iter().rposition(|(_, line)| line.is_report()).unwrap_or_default();
    let (body, end) = match lines[last_report].1.is_control("end") {
        true => lines.split_at(last_report),
        false => (lines, &[][..]),
    };
    let is_log_line = |(captured, line): &(Captured<'_>, Line<'_>)| {
        matches!(line.kind, Kind::Log(..)) || captured.stream == Stream::Err
    };
    let end_length = end.iter().skip(1).position(is_log_line).map_or(end.len(), |n| n + 1);
    let (end, after_end) = end.split_at(end_length);

    let mut log = Log::default();
    match body.iter().position(|(_, line)| line.is_control("start")) {
        None => {
            log.start(run, config_id);
            log.in_report_form(body);
        }
        Some(start) => {
            // Behind the start report with all lines of its message.
            let is_own = |(captured, line): &(Captured<'_>, Line<'_>)| {
                line.kind == Kind::Plain && captured.stream == Stream::Out
            };
            let more = body[start + 1..].iter().position(|line| !is_own(line));
            let (with_start, rest) = body.split_at(more.map_or(body.len(), |more| start + 1 + more));
            log.in_report_form(with_start);
            log.instance(run);
            log.after_a_report(rest);
        }
    }
    log.in_report_form(after_end);
    log.notes(run);
    if !run.ending.is_success() {
        log.result(run, None);
    }
    if end.is_empty() {
        log.control(run, config_id, run.ended, "end", "End execution");
    } else {
        log.in_report_form(end);
    }
    log.0
}

/// Any other output: log lines, attached to one report.
fn attached(run: &Run<'_>, lines: &[(Captured<'_>, Line<'_>)], unusable: Option<RunLogError>) -> String {
    let mut log = Log::default();
    log.start(run, run.config_id);
    for (captured, line) in lines {
        match line.kind {
            Kind::Log(..) => log.line(captured, line, ""),
            _ => log.line(captured, line, level_of(captured.stream)),
        }
    }
    log.notes(run);
    log.result(run, unusable);
    log.control(run, run.config_id, run.ended, "end", "End execution");
    log.0
}

const INFO: &str = "    info: ";
const WARNING: &str = " warning: ";

fn level_of(stream: Stream) -> &'static str {
    match stream {
        Stream::Out => INFO,
        Stream::Err => WARNING,
    }
}

/// A text without what would break the fields of a report.
fn field(text: &str) -> String {
    let text = text.replace(char::is_control, "\u{FFFD}").replace("@@", "@").replace("##", "#");
    match text.trim_matches('@') {
        "" => "None".to_owned(),
        text => text.to_owned(),
    }
}

#[derive(Default)]
struct Log(String);

impl Log {
    fn in_report_form(&mut self, lines: &[(Captured<'_>, Line<'_>)]) {
        self.lines(lines, true);
    }

    fn after_a_report(&mut self, lines: &[(Captured<'_>, Line<'_>)]) {
        self.lines(lines, false);
    }

    fn lines(&mut self, lines: &[(Captured<'_>, Line<'_>)], mut leading: bool) {
        for (captured, line) in lines {
            leading &= line.kind == Kind::Plain;
            // Standard error is no part of a report's message, and neither is what precedes the first.
            let foreign = captured.stream == Stream::Err || leading;
            match line.kind {
                Kind::Plain if foreign => self.line(captured, line, level_of(captured.stream)),
                _ => self.line(captured, line, ""),
            }
        }
    }

    fn line(&mut self, captured: &Captured<'_>, line: &Line<'_>, tag: &str) {
        let at = line.stamp.map_or(captured.at, |stamp| stamp.to_utc());
        self.stamp(at);
        self.0.push_str(tag);
        self.0.push_str(line.body);
        self.0.push('\n');
    }

    fn notes(&mut self, run: &Run<'_>) {
        for note in run.notes {
            self.stamp(run.ended);
            self.0.push_str(WARNING);
            self.0.push_str(note);
            self.0.push('\n');
        }
    }

    /// The one report of a command: how it ended.
    fn result(&mut self, run: &Run<'_>, unusable: Option<RunLogError>) {
        let success = run.ending.is_success() && unusable.is_none();
        let kind = if success { "result_success" } else { "result_error" };
        let component = field(run.command);
        let message = match unusable {
            None => field(&run.ending.to_string()),
            Some(e) => field(&format!("{}; its reports cannot be used: {e}", run.ending)),
        };
        self.report(
            run,
            run.ended,
            &format!("Command@@{kind}@@agent@@policy-command@@0@@{component}@@exit status"),
            &message,
        );
    }

    fn start(&mut self, run: &Run<'_>, config_id: &str) {
        self.control(run, config_id, run.id.start.to_utc(), "start", "Start execution");
        self.instance(run);
    }

    /// Which machine it was, always right behind the start.
    fn instance(&mut self, run: &Run<'_>) {
        let counter = run.instance.counter.to_string();
        self.control(run, &counter, run.id.start.to_utc(), instance::COMPONENT, &run.instance.message());
    }

    fn control(&mut self, run: &Run<'_>, key: &str, at: DateTime<Utc>, component: &str, message: &str) {
        self.report(run, at, &format!("Common@@control@@rudder@@run@@0@@{component}@@{key}"), message);
    }

    fn report(&mut self, run: &Run<'_>, at: DateTime<Utc>, fields: &str, message: &str) {
        self.stamp(at);
        let start = run.id.start.format("%Y-%m-%d %H:%M:%S%:z");
        let _ = writeln!(self.0, "R: @@{fields}@@{start}##{}@#{message}", run.id.node_id);
    }

    fn stamp(&mut self, at: DateTime<Utc>) {
        self.0.push_str(&at.to_rfc3339_opts(SecondsFormat::Secs, false));
        self.0.push(' ');
    }
}

#[cfg(test)]
mod tests {
    use protocol::node_id::NodeId;

    use super::*;

    fn composed(ending: Ending, lines: &[(Stream, &str)]) -> String {
        let id = RunId { node_id: NodeId::root(), start: "2026-11-22T06:00:00+00:00".parse().unwrap() };
        let mut capture = Capture::new(1 << 20);
        for (stream, line) in lines {
            capture.push("2026-11-22T06:00:01Z".parse().unwrap(), *stream, line.as_bytes());
        }
        let instance = Instance { counter: 7, boot_id: "boot-1".into(), address: None };
        let run = Run {
            id: &id,
            instance: &instance,
            config_id: "cfg",
            command: "apply",
            ending: &ending,
            ended: "2026-11-22T06:00:02Z".parse().unwrap(),
            notes: &["a note".to_owned()],
        };
        compose(&run, &capture)
    }

    fn parsed(text: &str) -> Vec<(String, String, String)> {
        let log = run_log::parse(text, &NodeId::root()).unwrap();
        assert!(log.complete && log.skipped.is_empty(), "{text}");
        assert_eq!(instance::of(&log).unwrap().counter, 7, "{text}");
        let own = |r: &run_log::Report<'_>| {
            (r.event_type.to_owned(), r.component.to_string(), r.message.to_string())
        };
        log.reports.iter().map(own).collect()
    }

    fn row(event: &str, component: &str, message: &str) -> (String, String, String) {
        (event.into(), component.into(), message.into())
    }

    #[test]
    fn other_output_is_attached_to_one_report() {
        let text = composed(
            Ending::Exited(1),
            &[
                (Stream::Out, "hello"),
                (Stream::Err, "oh"),
                (Stream::Out, "   error: tagged"),
                (Stream::Out, "R: @@bad"),
            ],
        );
        assert_eq!(
            parsed(&text),
            [
                row("control", "start", "Start execution"),
                row("control", "instance", "boot=boot-1 address=-"),
                row("log_info", "apply", "hello"),
                row("log_warn", "apply", "oh"),
                row("log_warn", "apply", "tagged"),
                row("log_info", "apply", "R: @@bad"),
                row("log_warn", "apply", "a note"),
                row("result_error", "apply", "exit status 1"),
                row("control", "end", "End execution"),
            ]
        );
    }

    const REPORT: &str = "R: @@p@@result_success@@r@@d@@0@@c@@k@@2026-11-22 06:00:00+00:00##root@#fine";
    const START: &str =
        "R: @@Common@@control@@rudder@@run@@0@@start@@v7@@2026-11-22 06:00:00+00:00##root@#Start execution";
    const END: &str =
        "R: @@Common@@control@@rudder@@run@@0@@end@@v7@@2026-11-22 06:00:00+00:00##root@#End execution";

    #[test]
    fn reports_are_framed_when_the_command_does_not() {
        let text = composed(Ending::Exited(0), &[(Stream::Out, "before"), (Stream::Out, REPORT)]);
        assert_eq!(
            parsed(&text).iter().map(|row| row.0.as_str()).collect::<Vec<_>>(),
            ["control", "control", "log_info", "result_success", "log_warn", "control"]
        );
        assert_eq!(run_log::parse(&text, &NodeId::root()).unwrap().config_id.as_deref(), Some("cfg"));
    }

    #[test]
    fn a_frame_is_kept_and_nothing_comes_after_its_end() {
        let text = composed(
            Ending::Exited(2),
            &[(Stream::Out, START), (Stream::Out, REPORT), (Stream::Out, END), (Stream::Err, "late")],
        );
        assert_eq!(
            parsed(&text),
            [
                row("control", "start", "Start execution"),
                row("control", "instance", "boot=boot-1 address=-"),
                row("result_success", "c", "fine"),
                row("log_warn", "apply", "late"),
                row("log_warn", "apply", "a note"),
                row("result_error", "apply", "exit status 2"),
                row("control", "end", "End execution"),
            ]
        );
        assert_eq!(text.matches("@@v7@@").count(), 2);
    }

    #[test]
    fn reports_of_another_node_are_not_sent_as_ours() {
        let text = composed(Ending::Exited(0), &[(Stream::Out, &REPORT.replace("root", "other"))]);
        let rows = parsed(&text);
        let result = rows.iter().find(|row| row.0 == "result_error").unwrap();
        assert!(result.2.contains("other"), "{result:?}");
    }

    #[test]
    fn time_stamps_of_the_command_are_kept_and_not_doubled() {
        let text = composed(
            Ending::Exited(0),
            &[(Stream::Out, "2026-11-22T05:59:59+0000     info: x"), (Stream::Out, REPORT)],
        );
        assert!(text.contains("\n2026-11-22T05:59:59+00:00     info: x\n"), "{text}");
    }
}
