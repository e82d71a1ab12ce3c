// SPDX-License-Identifier: Apache-2.0
//! `relayd runs`: which runs are stored, and what is in one.

use std::io::{self, BufWriter, Write};

use clap::{Args, Subcommand};

use super::{
    CliError,
    fleet::{Fleet, Listing, instant, json},
};
use crate::{
    config::Config,
    fleet::{
        Paging, moment,
        run::{self, RunDetails},
        runs::{self, Filter},
    },
    spool::disposition::printable,
};

/// List the complete runs that are stored, the newest first, or show one.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:
  relayd runs
  relayd runs --node web1.example.org --from 1d --limit 1000
  relayd runs show web1.example.org
  relayd runs show web1.example.org 2026-11-20T06:00:00Z --text

Instants are RFC 3339, a day (2026-11-20), Unix time, or how long ago (12h). Without --limit the last 20
runs are listed, in any format; standard error says when there are more.

Exit codes:
  0  said
  1  failed
  2  wrong form of the command line, or this server stores no run logs
  4  there is no such node, or no such run"
)]
pub struct Command {
    #[command(subcommand)]
    command: Option<More>,
    /// Of this node only: an id, the first 8 or more characters of one, or a host name.
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
    /// Only those that began then or later.
    #[arg(long, value_name = "INSTANT")]
    from: Option<String>,
    /// Only those that began before.
    #[arg(long, value_name = "INSTANT")]
    to: Option<String>,
    #[command(flatten)]
    listing: Listing,
}

#[derive(Debug, Subcommand)]
enum More {
    /// Show a run: its reports, each with the log lines attached to it.
    #[command(after_help = "Examples:
  relayd runs show web1.example.org
  relayd runs show web1.example.org 2026-11-20T06:00:00Z --json")]
    Show {
        /// Whose run.
        #[arg(value_name = "NODE")]
        node: String,
        /// Its start; the last one if absent.
        #[arg(value_name = "START")]
        start: Option<String>,
        /// Print a line for each report and log line, as run logs have them.
        #[arg(long, conflicts_with = "json")]
        text: bool,
        /// Print one JSON object: the run, with all reports.
        #[arg(long)]
        json: bool,
    },
}

/// Runs that are listed when nobody says how many.
const USUAL: usize = 20;
/// Stored rows of a run that are read in one go.
const ROWS: usize = 10_000;

/// Runs the command.
pub fn run(command: &Command, config: &Config) -> Result<(), CliError> {
    let mut fleet = Fleet::open(config)?;
    if let Some(More::Show { node, start, text, json }) = &command.command {
        let node = fleet.node(node)?;
        let start = start.as_deref().map(instant).transpose()?;
        let start = match start {
            Some(start) => start.timestamp(),
            None => fleet.ask(|c, _| run::last_start(c, &node))?,
        };
        return show(&mut fleet, &node, start, *text, *json);
    }
    let filter = Filter {
        node: command.node.as_deref().map(|node| fleet.node(node)).transpose()?,
        from: command.from.as_deref().map(instant).transpose()?.map(|at| at.timestamp()),
        to: command.to.as_deref().map(instant).transpose()?.map(|at| at.timestamp()),
        config_id: None,
    };
    moment::must_be_in_order(filter.from, filter.to)?;
    fleet.list(&command.listing, USUAL, |c, _, paging| runs::runs(c, &filter, paging))?;
    Ok(())
}

fn show(fleet: &mut Fleet, node: &str, start: i64, as_text: bool, as_json: bool) -> Result<(), CliError> {
    let mut out = BufWriter::new(io::stdout().lock());
    let mut paging = Paging { after: None, limit: ROWS };
    if as_text {
        loop {
            let (text, next) = fleet.ask(|c, _| run::text(c, node, start, &paging))?;
            out.write_all(text.as_bytes())?;
            paging.after = next;
            if paging.after.is_none() {
                return Ok(out.flush()?);
            }
        }
    }
    let mut all: Option<RunDetails> = None;
    loop {
        let mut part = fleet.ask(|c, _| run::run(c, node, start, &paging))?;
        paging.after = part.next.take();
        match &mut all {
            None => all = Some(part),
            Some(all) => all.reports.append(&mut part.reports),
        }
        if paging.after.is_none() {
            break;
        }
    }
    if let Some(run) = all {
        if as_json { json(&mut out, &run)? } else { print(&mut out, &run)? }
    }
    Ok(out.flush()?)
}

fn print(out: &mut impl Write, run: &RunDetails) -> io::Result<()> {
    let host = run.hostname.as_deref().unwrap_or_default();
    writeln!(out, "node      {} {}", run.node_id, printable(host))?;
    writeln!(out, "start     {}{}", run.start, if run.complete { "" } else { "  (not complete)" })?;
    if let Some(stored) = &run.stored {
        writeln!(out, "stored    {stored}")?;
    }
    if let Some(config) = &run.config_id {
        writeln!(out, "policies  {}", printable(config))?;
    }
    for report in &run.reports {
        let about = [&report.rule_id, &report.directive_id, &report.component, &report.key_value];
        let about: Vec<_> = about.into_iter().map(|text| printable(text)).collect();
        writeln!(out, "\n{:<18}  {}", printable(&report.event_type), about.join("  "))?;
        for log in &report.logs {
            for line in log.message.lines() {
                writeln!(out, "    {}: {}", printable(&log.event_type), printable(line))?;
            }
        }
        for line in report.message.lines() {
            writeln!(out, "    {}", printable(line))?;
        }
    }
    Ok(())
}
