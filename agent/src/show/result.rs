// SPDX-License-Identifier: Apache-2.0
//! A run log seen by component: the state of each, what was said about it, and how many are how.

use std::{collections::HashMap, fmt};

use protocol::run_log::{Report, RunLog};
use serde::Serialize;

/// State of a component, the worst last (protocol 3.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Only information, no result.
    Info,
    /// Does not apply here.
    NotApplicable,
    /// Was right already.
    Compliant,
    /// Was made right.
    Repaired,
    /// Is wrong, and only audited.
    NonCompliant,
    /// Could not be made or found right.
    Error,
}

impl State {
    fn of(event_type: &str) -> Self {
        match event_type {
            "result_success" | "audit_compliant" => Self::Compliant,
            "result_repaired" => Self::Repaired,
            "result_na" | "audit_na" => Self::NotApplicable,
            "audit_noncompliant" => Self::NonCompliant,
            "result_error" | "audit_error" => Self::Error,
            _ => Self::Info,
        }
    }

    /// The word for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::NotApplicable => "not applicable",
            Self::Compliant => "compliant",
            Self::Repaired => "repaired",
            Self::NonCompliant => "non-compliant",
            Self::Error => "error",
        }
    }

    /// Whether somebody has to look at it.
    pub fn is_failure(self) -> bool {
        self >= Self::NonCompliant
    }
}

/// One component with all that was said about it, in log order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Component<'a> {
    /// Technique name.
    pub policy: &'a str,
    /// Rule.
    pub rule_id: &'a str,
    /// Directive.
    pub directive_id: &'a str,
    /// Component.
    pub component: &'a str,
    /// Key value; `None` when there is none.
    pub key_value: &'a str,
    /// The worst of its results.
    pub state: State,
    /// Messages of its results.
    pub messages: Vec<&'a str>,
    /// Log lines attached to it.
    pub log: Vec<LogLine<'a>>,
}

/// A log line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogLine<'a> {
    /// `log_info`, `log_warn`…
    pub level: &'a str,
    /// What it says.
    pub message: &'a str,
}

/// The components of a run log, in order of their first report; control reports are left out.
pub fn components<'a>(log: &'a RunLog<'_>) -> Vec<Component<'a>> {
    let mut components: Vec<Component<'a>> = Vec::new();
    let mut places = HashMap::new();
    for report in log.reports.iter().filter(|report| !is_control(report)) {
        let id = (report.policy, report.rule_id, report.directive_id, report.report_id);
        let key = (id, &*report.component, &*report.key_value);
        let place = *places.entry(key).or_insert_with(|| {
            components.push(Component {
                policy: report.policy,
                rule_id: report.rule_id,
                directive_id: report.directive_id,
                component: &report.component,
                key_value: &report.key_value,
                state: State::Info,
                messages: vec![],
                log: vec![],
            });
            components.len() - 1
        });
        let component = &mut components[place];
        if report.event_type.starts_with("log_") {
            component.log.push(LogLine { level: report.event_type, message: &report.message });
        } else {
            component.state = component.state.max(State::of(report.event_type));
            component.messages.push(&report.message);
        }
    }
    components
}

/// Log lines in front of a control report are attached to it, and belong to no component.
fn is_control(report: &Report<'_>) -> bool {
    report.event_type == "control" || (report.rule_id == "rudder" && report.directive_id == "run")
}

/// How many components are how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Right already.
    pub compliant: usize,
    /// Made right.
    pub repaired: usize,
    /// Wrong, audited.
    pub non_compliant: usize,
    /// Failed.
    pub error: usize,
    /// Not for this node.
    pub not_applicable: usize,
}

impl Summary {
    /// Counts the components of a run log.
    pub fn of(log: &RunLog<'_>) -> Self {
        Self::over(&components(log))
    }

    /// Counts components.
    pub fn over(components: &[Component<'_>]) -> Self {
        let mut summary = Self::default();
        for component in components {
            match component.state {
                State::Info => {}
                State::NotApplicable => summary.not_applicable += 1,
                State::Compliant => summary.compliant += 1,
                State::Repaired => summary.repaired += 1,
                State::NonCompliant => summary.non_compliant += 1,
                State::Error => summary.error += 1,
            }
        }
        summary
    }

    /// Whether somebody has to look.
    pub fn has_failures(&self) -> bool {
        self.error + self.non_compliant > 0
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} compliant, {} repaired, {} in error", self.compliant, self.repaired, self.error)?;
        if self.non_compliant > 0 {
            write!(f, ", {} non-compliant", self.non_compliant)?;
        }
        if self.not_applicable > 0 {
            write!(f, ", {} not applicable", self.not_applicable)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use protocol::{node_id::NodeId, run_log};

    use super::*;

    #[test]
    fn the_worst_result_counts_and_log_lines_find_their_component() {
        let line = |event: &str, component: &str, message: &str| {
            format!(
                "2026-11-22T06:00:00+00:00 R: @@p@@{event}@@r@@d@@0@@{component}@@k@@2026-11-22 06:00:00+00:00##root@#{message}\n"
            )
        };
        let text = [
            line("result_success", "a", "fine"),
            "2026-11-22T06:00:00+00:00    error: why\n".to_owned(),
            line("result_error", "b", "bad"),
            line("result_repaired", "a", "mended"),
            line("audit_noncompliant", "c", "wrong"),
        ]
        .concat();
        let log = run_log::parse(&text, &NodeId::root()).unwrap();
        let components = components(&log);
        assert_eq!(
            components.iter().map(|c| (c.component, c.state)).collect::<Vec<_>>(),
            [("a", State::Repaired), ("b", State::Error), ("c", State::NonCompliant)]
        );
        assert_eq!(components[1].log, [LogLine { level: "log_warn", message: "why" }]);
        assert_eq!(Summary::of(&log).to_string(), "0 compliant, 1 repaired, 1 in error, 1 non-compliant");
    }
}
