// SPDX-License-Identifier: Apache-2.0
//! What `relayd run` prints: output as it comes, progress on a terminal, a table at the end.

use std::{
    collections::{BTreeMap, HashMap},
    io::{self, BufWriter, IsTerminal, Stderr, Stdout, Write},
};

use protocol::{
    node_id::NodeId,
    remote_run::{Event, Line, NodeEvent, Outcome, RunLine},
};

use super::names::Names;
use crate::{
    cli::{CliError, output::counted},
    spool::disposition::printable,
};

/// What the operator sees.
pub struct Screen {
    names: HashMap<NodeId, String>,
    json: bool,
    out: BufWriter<Stdout>,
    /// Standard error, when it is a terminal and there are people before it.
    progress: Option<Stderr>,
    /// How many nodes were asked; `None` before the first line.
    asked: Option<usize>,
    running: usize,
    over: usize,
    nodes: BTreeMap<NodeId, State>,
}

/// How far a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Asked,
    Started,
    Over(Outcome, String),
}

impl Screen {
    /// An empty one.
    pub fn new(names: Names, json: bool) -> Self {
        let progress = Some(io::stderr()).filter(|stderr| !json && stderr.is_terminal());
        Self {
            names: names.show(),
            json,
            out: BufWriter::new(io::stdout()),
            progress,
            asked: None,
            running: 0,
            over: 0,
            nodes: BTreeMap::new(),
        }
    }

    /// Whether the daemon has taken the request.
    pub fn has_begun(&self) -> bool {
        self.asked.is_some()
    }

    /// Whether no node was asked.
    pub fn is_empty(&self) -> bool {
        self.asked == Some(0)
    }

    /// Shows a line of the answer.
    pub fn take(&mut self, line: Line) -> io::Result<()> {
        let is_heartbeat = matches!(line, Line::Run(RunLine::Heartbeat { .. }));
        if self.json && !is_heartbeat {
            self.out.write_all(&line.to_json())?;
        }
        match line {
            Line::Run(RunLine::Run { id, nodes }) => {
                self.asked = Some(nodes);
                if !self.json {
                    self.clear()?;
                    eprintln!("run {id}: {} asked", counted(nodes, "node"));
                }
            }
            Line::Run(RunLine::Heartbeat { .. } | RunLine::End(_)) => {}
            Line::Node(event) => self.node(event)?,
        }
        self.out.flush()?;
        self.draw()
    }

    fn node(&mut self, NodeEvent { node_id, event, .. }: NodeEvent) -> io::Result<()> {
        let state = match &event {
            Event::Asked => State::Asked,
            Event::Started | Event::Output { .. } => State::Started,
            end => match end.outcome() {
                Some(outcome) => State::Over(outcome, said(end)),
                None => return Ok(()),
            },
        };
        let before = self.nodes.insert(node_id.clone(), state.clone());
        self.running += usize::from(state == State::Started);
        self.running -= usize::from(before == Some(State::Started));
        self.over += usize::from(matches!(state, State::Over(..)));
        if self.json {
            return Ok(());
        }
        let Event::Output { line, truncated } = &event else { return Ok(()) };
        self.clear()?;
        let name = self.name(&node_id);
        writeln!(self.out, "{name}: {}", plain(line))?;
        if *truncated {
            writeln!(self.out, "{name}: [output truncated]")?;
        }
        Ok(())
    }

    /// Prints the table.
    pub fn close(&mut self) -> io::Result<()> {
        self.clear()?;
        self.progress = None;
        if self.json || self.nodes.is_empty() {
            return self.out.flush();
        }
        let mut rows: Vec<(String, String)> = Vec::with_capacity(self.nodes.len());
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for (node, state) in &self.nodes {
            let (word, detail) = match state {
                State::Asked | State::Started => ("no answer", String::new()),
                State::Over(outcome, said) => (word(*outcome), said.clone()),
            };
            *counts.entry(word).or_default() += 1;
            let separator = if detail.is_empty() { "" } else { ": " };
            rows.push((self.name(node), format!("{word}{separator}{detail}")));
        }
        rows.sort();
        let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default();
        writeln!(self.out, "{:<width$}  RESULT", "NODE")?;
        for (name, result) in &rows {
            writeln!(self.out, "{name:<width$}  {result}")?;
        }
        let counts: Vec<String> = counts.iter().map(|(word, count)| format!("{count} {word}")).collect();
        writeln!(self.out, "{}: {}", counted(rows.len(), "node"), counts.join(", "))?;
        self.out.flush()
    }

    /// An error unless all nodes succeeded.
    pub fn verdict(&self) -> Result<(), CliError> {
        let succeeded = |state: &&State| matches!(state, State::Over(outcome, _) if outcome.is_success());
        let succeeded = self.nodes.values().filter(succeeded).count();
        match self.asked {
            Some(asked) if succeeded == asked => Ok(()),
            asked => {
                let asked = asked.unwrap_or_default();
                let text =
                    format!("{} of {} did not succeed", asked - succeeded.min(asked), counted(asked, "node"));
                Err(CliError::failed(text))
            }
        }
    }

    fn name(&self, node: &NodeId) -> String {
        self.names.get(node).map_or_else(|| node.to_string(), |name| printable(name))
    }

    fn draw(&mut self) -> io::Result<()> {
        let over = self.over;
        let (Some(terminal), Some(asked)) = (&mut self.progress, self.asked) else { return Ok(()) };
        write!(terminal, "\r\x1b[K{over} of {asked} over, {} running", self.running)?;
        terminal.flush()
    }

    fn clear(&mut self) -> io::Result<()> {
        let Some(terminal) = &mut self.progress else { return Ok(()) };
        write!(terminal, "\r\x1b[K")?;
        terminal.flush()
    }
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Succeeded => "succeeded",
        Outcome::Failed(_) => "failed",
        Outcome::Unknown => "unknown",
        Outcome::Refused => "refused",
        Outcome::Unreachable => "unreachable",
        Outcome::Expired => "expired",
    }
}

fn said(end: &Event) -> String {
    match end {
        Event::Finished { exit_status: Some(0) } => String::new(),
        Event::Finished { exit_status: Some(status) } => format!("exit status {status}"),
        Event::Finished { exit_status: None } => "an older relay does not tell how it ended".to_owned(),
        Event::Refused { reason } | Event::Unreachable { reason } => printable(reason),
        _ => String::new(),
    }
}

/// A line without what would move the cursor or colour what follows.
fn plain(line: &str) -> String {
    let plain = |c: char| match c {
        '\t' => '\t',
        c if c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}') => {
            char::REPLACEMENT_CHARACTER
        }
        c => c,
    };
    line.chars().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(node: &str, event: Event) -> Line {
        Line::Node(NodeEvent::now(node.parse().unwrap(), event))
    }

    #[test]
    fn only_if_all_that_were_asked_succeeded_is_it_success() {
        let finished = |status| Event::Finished { exit_status: Some(status) };
        for (second, all_well) in [
            (Some(finished(0)), true),
            (Some(finished(1)), false),
            (Some(Event::Finished { exit_status: None }), false),
            (Some(Event::Expired), false),
            (Some(Event::Started), false),
            (None, false),
        ] {
            let mut screen = Screen::new(Names::default(), false);
            screen.take(Line::Run(RunLine::Run { id: Default::default(), nodes: 2 })).unwrap();
            screen.take(event("a", finished(0))).unwrap();
            if let Some(second) = second.clone() {
                screen.take(event("b", second)).unwrap();
            }
            assert_eq!(screen.verdict().is_ok(), all_well, "{second:?}");
        }
    }

    #[test]
    fn what_nodes_write_does_not_move_the_cursor() {
        assert_eq!(plain("a\tb\u{1b}[2Jc\rd\u{202e}"), "a\tb\u{fffd}[2Jc\u{fffd}d\u{fffd}");
    }
}
