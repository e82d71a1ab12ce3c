// SPDX-License-Identifier: Apache-2.0
//! A run for people: one line per component, all that was said about the failing ones.
//!
//! Everything a policy command said is made harmless first: it must not drive the terminal.

use std::fmt::Write;

use protocol::run_log::RunLog;

use super::result::{Component, State, Summary, components};

/// Lines shown of the log of one failing component; all of them are in the run log.
const MAX_LOG_LINES: usize = 50;

/// Renders a run log.
pub fn render(log: &RunLog<'_>, colour: bool) -> String {
    let mut out = String::new();
    let config = log.config_id.as_deref().unwrap_or("unknown");
    let _ = writeln!(out, "Run of {} on node {}, policies {}\n", log.start, log.node_id, safe(config));
    let components = components(log);
    for component in components.iter().filter(|c| c.state != State::Info) {
        line(&mut out, component, colour);
    }
    let summary = Summary::over(&components);
    let skipped = log.skipped.len();
    let _ = writeln!(out, "\n{summary}");
    if skipped > 0 {
        let _ = writeln!(out, "{skipped} parts of the output are in no report");
    }
    out
}

fn line(out: &mut String, component: &Component<'_>, colour: bool) {
    let state = paint(component.state, &format!("{:<14}", component.state.name()), colour);
    let _ = write!(out, "  {state}  {} · {}", safe(component.policy), safe(component.component));
    if component.key_value != "None" {
        let _ = write!(out, " · {}", safe(component.key_value));
    }
    if !component.state.is_failure() {
        let message = component.messages.last().copied().unwrap_or_default();
        let first = message.lines().next().unwrap_or_default();
        let _ = match first {
            "" => writeln!(out),
            first => writeln!(out, ": {}", safe(first)),
        };
        return;
    }
    out.push('\n');
    for message in component.messages.iter().flat_map(|message| message.lines()) {
        let _ = writeln!(out, "{:18}{}", "", safe(message));
    }
    let hidden = component.log.len().saturating_sub(MAX_LOG_LINES);
    if hidden > 0 {
        let _ = writeln!(out, "{:18}│ ({hidden} earlier log lines are in the run log)", "");
    }
    for log in &component.log[hidden..] {
        let level = log.level.strip_prefix("log_").unwrap_or(log.level);
        for text in log.message.lines() {
            let _ = writeln!(out, "{:18}│ {level:<5} {}", "", safe(text));
        }
    }
}

fn paint(state: State, text: &str, colour: bool) -> String {
    let code = match state {
        State::Compliant => "32",
        State::Repaired => "33",
        State::Error | State::NonCompliant => "31;1",
        State::Info | State::NotApplicable => "2",
    };
    if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

/// A text in one line, without control characters.
pub fn safe(text: &str) -> String {
    text.replace(|c: char| c.is_control() && c != '\t', "\u{FFFD}")
}

#[cfg(test)]
mod tests {
    use protocol::{node_id::NodeId, run_log};

    use super::*;

    const TEXT: &str = "\
2026-11-22T06:00:00+00:00 R: @@p@@result_success@@r@@d@@0@@File@@motd@@2026-11-22 06:00:00+00:00##root@#in place
2026-11-22T06:00:00+00:00    error: because\x1b[2J
2026-11-22T06:00:00+00:00 R: @@p@@result_error@@r@@d@@0@@Command@@None@@2026-11-22 06:00:00+00:00##root@#failed:
over lines
";

    #[test]
    fn says_all_about_failures_and_little_about_the_rest() {
        let log = run_log::parse(TEXT, &NodeId::root()).unwrap();
        let expected = "\
Run of 2026-11-22 06:00:00 +00:00 on node root, policies unknown

  compliant       p · File · motd: in place
  error           p · Command
                  failed:
                  over lines
                  │ warn  because\u{FFFD}[2J

1 compliant, 0 repaired, 1 in error
";
        assert_eq!(render(&log, false), expected);
        assert!(render(&log, true).contains("\x1b[31;1merror         \x1b[0m"));
    }
}
