// SPDX-License-Identifier: Apache-2.0
//! Lists for people: a line for each item, in columns.

use std::io::{self, Write};

use super::super::output::short;
use crate::{
    fleet::{
        by_node::NodeCompliance,
        changes::{Change, Kind, SameChange},
        counts::{Counts, percent},
        differences::Difference,
        failing::Found,
        nodes::Node,
        parts::Part,
        runs::Run,
        timeline::Segment,
    },
    spool::disposition::printable,
};

/// Something that people read in a line.
pub trait Line {
    /// What stands over the columns.
    const HEADINGS: &'static [&'static str];

    /// What is in them.
    fn columns(&self) -> Vec<String>;

    /// What follows in lines of its own.
    fn below(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Prints items in columns as wide as they have to be, with headings when they are the first.
pub fn print<T: Line>(out: &mut impl Write, items: &[T], is_first: bool) -> io::Result<()> {
    let rows: Vec<Vec<String>> = items.iter().map(Line::columns).collect();
    let mut widths: Vec<usize> = T::HEADINGS.iter().map(|heading| heading.len()).collect();
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(printable(cell).chars().count());
        }
    }
    if is_first && !items.is_empty() {
        line(out, &widths, T::HEADINGS)?;
    }
    for (item, row) in items.iter().zip(&rows) {
        line(out, &widths, row)?;
        for more in item.below() {
            writeln!(out, "    {}", printable(&more))?;
        }
    }
    Ok(())
}

/// A line of cells; the last one is as long as it is.
fn line(out: &mut impl Write, widths: &[usize], cells: &[impl AsRef<str>]) -> io::Result<()> {
    let mut text = String::new();
    for (width, cell) in widths.iter().zip(cells) {
        text.push_str(&format!("{:<width$}  ", printable(cell.as_ref())));
    }
    writeln!(out, "{}", text.trim_end())
}

/// `97.21 %`, or `-`.
fn share(compliance: Option<f64>) -> String {
    compliance.map_or_else(|| "-".into(), |_| format!("{} %", percent(compliance)))
}

fn or_dash(text: Option<&String>) -> String {
    text.cloned().unwrap_or_else(|| "-".into())
}

/// What is not as it should be, and how many results there are.
fn wrong(results: &Counts) -> [String; 2] {
    [results.failing().to_string(), results.all().to_string()]
}

impl Line for Node {
    const HEADINGS: &'static [&'static str] =
        &["ID", "STATUS", "LAST RUN", "COMPLIANCE", "WRONG", "RESULTS", "NAME"];

    fn columns(&self) -> Vec<String> {
        let [wrong, all] = wrong(&self.results);
        let status = match self.state.as_str() {
            "accepted" => self.status.as_str().to_owned(),
            other => other.to_owned(),
        };
        let last = or_dash(self.last_run.as_ref());
        vec![self.node_id.clone(), status, last, share(self.compliance), wrong, all, self.hostname.clone()]
    }
}

impl Line for NodeCompliance {
    const HEADINGS: &'static [&'static str] =
        &["ID", "STATUS", "LAST RUN", "COMPLIANCE", "WRONG", "RESULTS", "NAME"];

    fn columns(&self) -> Vec<String> {
        let [wrong, all] = wrong(&self.results);
        let (status, last) = (self.status.as_str().to_owned(), or_dash(self.last_run.as_ref()));
        vec![self.node_id.clone(), status, last, share(self.compliance), wrong, all, self.hostname.clone()]
    }
}

impl Line for Part {
    const HEADINGS: &'static [&'static str] =
        &["NODES", "COMPLIANCE", "WRONG", "NO ANSWER", "RESULTS", "RULE", "DIRECTIVE", "COMPONENT"];

    fn columns(&self) -> Vec<String> {
        let [wrong, all] = wrong(&self.results);
        let silent = self.results.no_answer.to_string();
        let directive = self.directive_id.clone().unwrap_or_default();
        let component = self.component.clone().unwrap_or_default();
        let (nodes, rule) = (self.nodes.to_string(), self.rule_id.clone());
        vec![nodes, share(self.compliance), wrong, silent, all, rule, directive, component]
    }
}

impl Line for Found {
    const HEADINGS: &'static [&'static str] =
        &["NODE", "STATUS", "RULE", "DIRECTIVE", "COMPONENT", "KEY VALUE"];

    fn columns(&self) -> Vec<String> {
        let found = self.clone();
        let node = if found.hostname.is_empty() { found.node_id } else { found.hostname };
        vec![node, found.status, found.rule_id, found.directive_id, found.component, found.key_value]
    }

    fn below(&self) -> Vec<String> {
        let logs = self.logs.iter().map(|log| (log.event_type.as_str(), log.message.as_str()));
        let lines = logs.flat_map(|(kind, text)| text.lines().map(move |line| format!("{kind}: {line}")));
        lines.chain(self.message.lines().map(str::to_owned)).collect()
    }
}

impl Line for Run {
    const HEADINGS: &'static [&'static str] =
        &["START", "NODE", "COMPLIANCE", "WRONG", "RESULTS", "CONFIG ID"];

    fn columns(&self) -> Vec<String> {
        let [wrong, all] = wrong(&self.results);
        let node = self.hostname.clone().unwrap_or_else(|| self.node_id.clone());
        let config = or_dash(self.config_id.as_ref());
        vec![self.start.clone(), node, share(self.compliance), wrong, all, config]
    }
}

/// `success → error`
fn step(change: &Difference) -> String {
    let (was, is) = (change.was.as_deref().unwrap_or("-"), change.is.as_deref().unwrap_or("-"));
    format!("{was} → {is}")
}

impl Line for Change {
    const HEADINGS: &'static [&'static str] =
        &["NODE", "SINCE", "CHANGE", "RULE", "DIRECTIVE", "COMPONENT", "KEY VALUE"];

    fn columns(&self) -> Vec<String> {
        let mut columns = vec![self.hostname.clone(), or_dash(self.since.as_ref())];
        match (&self.kind, &self.result) {
            (Kind::WentSilent, _) => columns.push("does not answer any more".into()),
            (Kind::CameBack, _) => columns.push("answers again".into()),
            (Kind::New, _) => columns.push("answers for the first time".into()),
            (Kind::Result, None) => columns.push(String::new()),
            (Kind::Result, Some(one)) => {
                columns.push(step(one));
                let one = one.clone();
                columns.extend([one.rule_id, one.directive_id, one.component, one.key_value]);
            }
        }
        columns.resize(Self::HEADINGS.len(), String::new());
        columns
    }
}

impl Line for SameChange {
    const HEADINGS: &'static [&'static str] =
        &["NODES", "CHANGE", "RULE", "DIRECTIVE", "COMPONENT", "AMONG THEM"];

    fn columns(&self) -> Vec<String> {
        let one = self.result.clone();
        let nodes = self.nodes.to_string();
        vec![nodes, step(&one), one.rule_id, one.directive_id, one.component, self.among.join(" ")]
    }
}

impl Line for Segment {
    const HEADINGS: &'static [&'static str] =
        &["SINCE", "LAST RUN", "FOR", "COMPLIANCE", "WRONG", "RESULTS", "THEN"];

    fn columns(&self) -> Vec<String> {
        let [wrong, all] = wrong(&self.results);
        let time = |text: &str| chrono::DateTime::parse_from_rfc3339(text).unwrap_or_default();
        let lasted = (time(&self.last) - time(&self.since)).to_std().unwrap_or_default();
        let silent = self.silent_from.as_ref().map(|from| format!("no answer from {from}"));
        let (since, last) = (self.since.clone(), self.last.clone());
        vec![since, last, short(lasted), share(self.compliance), wrong, all, silent.unwrap_or_default()]
    }

    fn below(&self) -> Vec<String> {
        let line = |one: &Difference| {
            format!("{}  {} {} {} {}", step(one), one.rule_id, one.directive_id, one.component, one.key_value)
        };
        self.changes.iter().map(line).collect()
    }
}
