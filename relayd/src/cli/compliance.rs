// SPDX-License-Identifier: Apache-2.0
//! `relayd compliance`: how the fleet is, what is wrong, what changed.

use std::{
    io::{self, Write},
    ops::ControlFlow,
    time::{Duration, Instant},
};

use clap::{Args, Subcommand, ValueEnum};

use super::{
    CliError,
    fleet::{Filters, Fleet, Listing, json},
};
use crate::{
    compliance::{
        Compliance,
        rebuild::{self, Rebuilt},
    },
    config::Config,
    db::{Database, DbError},
    fleet::{
        by_node, changes,
        counts::{Counts, Wanted},
        failing, moment,
        parts::{self, By},
        summary::{self, Summary},
        timeline::{self, Span},
    },
};

/// Say how the fleet is, now or at any instant, as a whole or by parts; what is wrong; what changed.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:
  relayd compliance
  relayd compliance --at 2026-11-20T06:00:00Z
  relayd compliance --by rule --status failing
  relayd compliance failing --node web1.example.org
  relayd compliance changes --from 12h --by component
  relayd compliance timeline web1.example.org --from 7d

Instants are RFC 3339, a day (2026-11-20), Unix time, or how long ago (12h). A STATUS is failing,
no_answer, success, repaired, error, na, audit_compliant, audit_noncompliant, audit_error or audit_na.

Exit codes:
  0  said, whatever the state is
  1  failed
  2  wrong form of the command line, or this server stores no run logs
  4  there is no such node, or nothing is known of such a rule, directive or technique"
)]
pub struct Command {
    #[command(subcommand)]
    command: Option<More>,
    #[command(flatten)]
    filters: Filters,
    /// At this instant; now if absent.
    #[arg(long, value_name = "INSTANT")]
    at: Option<String>,
    /// List parts.
    #[arg(long, value_name = "WHAT")]
    by: Option<ByArg>,
    /// List only what has such results; needs --by.
    #[arg(long, value_name = "STATUS", requires = "by")]
    status: Option<Wanted>,
    #[command(flatten)]
    listing: Listing,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ByArg {
    /// Nodes.
    Node,
    /// Rules.
    Rule,
    /// Directives.
    Directive,
    /// Components.
    Component,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ChangesBy {
    /// Each change on each node.
    Node,
    /// The same change on all nodes, the most frequent first.
    Component,
}

#[derive(Debug, Subcommand)]
enum More {
    /// Make state and history anew from the runs that are stored.
    #[command(after_help = "Example:
  relayd compliance rebuild

Needed after compliance.run_interval was changed, for what was stored before. The daemon may run: it goes on
storing. History before the first run that is still stored stays as it is. The daemon does this by
itself for a database that had runs before there was state.")]
    Rebuild,
    /// List what is wrong, with what the reports say of it and the log lines attached to them.
    #[command(after_help = "Examples:
  relayd compliance failing
  relayd compliance failing --rule 32377fd7-02fd-43d0-aab7-28460a91347b --csv
  relayd compliance failing --status repaired --node web1.example.org")]
    Failing {
        #[command(flatten)]
        filters: Filters,
        /// At this instant; now if absent.
        #[arg(long, value_name = "INSTANT")]
        at: Option<String>,
        /// Other results than those that are wrong.
        #[arg(long, value_name = "STATUS")]
        status: Option<Wanted>,
        #[command(flatten)]
        listing: Listing,
    },
    /// List what is other than it was.
    #[command(after_help = "Examples:
  relayd compliance changes --from 12h
  relayd compliance changes --from 2026-11-19T22:00:00Z --to 2026-11-20T06:00:00Z --by component")]
    Changes {
        /// The earlier instant.
        #[arg(long, value_name = "INSTANT")]
        from: String,
        /// The later instant; now if absent.
        #[arg(long, value_name = "INSTANT")]
        to: Option<String>,
        /// What changes are put together by.
        #[arg(long, value_name = "WHAT", default_value = "node")]
        by: ChangesBy,
        #[command(flatten)]
        filters: Filters,
        #[command(flatten)]
        listing: Listing,
    },
    /// Say how a node was over time, and what changed each time.
    #[command(after_help = "Example:
  relayd compliance timeline web1.example.org --from 7d")]
    Timeline {
        /// Which node: an id, the first 8 or more characters of one, or a host name.
        #[arg(value_name = "NODE")]
        node: String,
        /// Only what ended then or later.
        #[arg(long, value_name = "INSTANT")]
        from: Option<String>,
        /// Only what began then or earlier.
        #[arg(long, value_name = "INSTANT")]
        to: Option<String>,
        #[command(flatten)]
        listing: Listing,
    },
}

/// Time between two words about progress.
const SAY_EVERY: Duration = Duration::from_secs(2);

/// State and history anew. What is interrupted goes on at the next start of the daemon, or of this command.
fn rebuild(config: &Config) -> Result<(), CliError> {
    let mut connection =
        Database::open(&config.database).and_then(|database| database.connect()).map_err(CliError::failed)?;
    let failed = |error: diesel::result::Error| CliError::failed(DbError::from(error));
    rebuild::start_over(&mut connection).map_err(failed)?;
    let compliance = Compliance::new(config.compliance.run_interval);
    let mut said = Instant::now();
    let progress = |_: &str, so_far: Rebuilt| {
        if said.elapsed() >= SAY_EVERY {
            said = Instant::now();
            eprintln!("{} nodes, {} runs", so_far.nodes, so_far.runs);
        }
        ControlFlow::Continue(())
    };
    let now = chrono::Utc::now().timestamp();
    match rebuild::rebuild_alone(&mut connection, &compliance, now, progress).map_err(failed)? {
        Some(done) => Ok(writeln!(io::stdout(), "built from {} runs of {} nodes", done.runs, done.nodes)?),
        None => Err(CliError::failed("the daemon builds it already; its log says how far it is")),
    }
}

/// Runs the command.
pub fn run(command: &Command, config: &Config) -> Result<(), CliError> {
    let mut fleet = Fleet::open(config)?;
    match &command.command {
        None => state(&mut fleet, command),
        Some(More::Rebuild) => rebuild(config),
        Some(More::Failing { filters, at, status, listing }) => {
            let (node, filter) = fleet.filter(filters)?;
            let ask =
                by_node::Ask { moment: fleet.known_moment(at.as_deref())?, node, filter, wanted: *status };
            let number = fleet.list(listing, usize::MAX, |c, _, paging| failing::failing(c, &ask, paging))?;
            Ok(say_nothing(listing, number, "nothing")?)
        }
        Some(More::Changes { from, to, by, filters, listing }) => {
            let (from, to) = (fleet.moment(Some(from))?, fleet.moment(to.as_deref())?);
            moment::must_be_in_order(Some(from.at.timestamp()), Some(to.at.timestamp()))?;
            let (node, filter) = fleet.filter(filters)?;
            let ask = changes::Ask { from, to, node, filter };
            let number = match by {
                ChangesBy::Node => {
                    fleet.list(listing, usize::MAX, |c, _, paging| changes::by_node(c, &ask, paging))?
                }
                ChangesBy::Component => {
                    fleet.list(listing, usize::MAX, |c, _, paging| changes::by_component(c, &ask, paging))?
                }
            };
            Ok(say_nothing(listing, number, "nothing changed")?)
        }
        Some(More::Timeline { node, from, to, listing }) => {
            let node = fleet.node(node)?;
            let unix = |text: &Option<String>| -> Result<Option<i64>, CliError> {
                Ok(text.as_deref().map(super::fleet::instant).transpose()?.map(|at| at.timestamp()))
            };
            let span = Span { from: unix(from)?, to: unix(to)? };
            moment::must_be_in_order(span.from, span.to)?;
            let now = chrono::Utc::now().timestamp();
            let number = fleet.list(listing, usize::MAX, |c, settings, paging| {
                timeline::timeline(c, settings, now, &node, span, paging)
            })?;
            Ok(say_nothing(listing, number, "no complete run is stored")?)
        }
    }
}

fn state(fleet: &mut Fleet, command: &Command) -> Result<(), CliError> {
    let (node, filter) = fleet.filter(&command.filters)?;
    let (moment, wanted, listing) =
        (fleet.known_moment(command.at.as_deref())?, command.status, &command.listing);
    let by = match command.by {
        None => return whole(fleet, command),
        Some(ByArg::Node) => {
            let ask = by_node::Ask { moment, node, filter, wanted };
            let number = fleet.list(listing, usize::MAX, |c, _, paging| by_node::nodes(c, &ask, paging))?;
            return Ok(say_nothing(listing, number, "no such node")?);
        }
        Some(ByArg::Rule) => By::Rule,
        Some(ByArg::Directive) => By::Directive,
        Some(ByArg::Component) => By::Component,
    };
    let ask = parts::Ask { moment, by, node, filter, wanted };
    let number = fleet.list(listing, usize::MAX, |c, _, paging| parts::parts(c, &ask, paging))?;
    Ok(say_nothing(listing, number, "no such results")?)
}

fn whole(fleet: &mut Fleet, command: &Command) -> Result<(), CliError> {
    if command.listing.csv || command.listing.limit.is_some() {
        return Err(CliError::usage("--csv and --limit are for lists: say --by"));
    }
    let (node, filter) = fleet.filter(&command.filters)?;
    let moment = fleet.known_moment(command.at.as_deref())?;
    let summary =
        fleet.ask(|c, settings| summary::summary(c, settings, &moment, node.as_deref(), &filter))?;
    let mut out = io::stdout().lock();
    let printed = if command.listing.json { json(&mut out, &summary) } else { print(&mut out, &summary) };
    Ok(printed?)
}

fn print(out: &mut impl Write, summary: &Summary) -> io::Result<()> {
    let Summary { at, nodes, compliance, results, .. } = summary;
    let share = compliance.map_or_else(|| "no results".into(), |share| format!("{share:.2} %"));
    writeln!(out, "compliance  {share} at {at}")?;
    writeln!(
        out,
        "nodes       {}: {} compliant, {} failing, {} without answer",
        nodes.all, nodes.compliant, nodes.failing, nodes.no_answer
    )?;
    let counted = Counts::COLUMNS.iter().zip(results.numbers()).filter(|(_, number)| *number > 0);
    let counted: Vec<_> = counted.map(|(name, number)| format!("{number} {name}")).collect();
    match counted.as_slice() {
        [] => Ok(()),
        some => writeln!(out, "results     {}: {}", results.all(), some.join(", ")),
    }
}

/// Says that a list for people has nothing in it.
fn say_nothing(listing: &Listing, number: usize, text: &str) -> io::Result<()> {
    if number == 0 && !listing.json && !listing.csv {
        writeln!(io::stdout(), "{text}")?;
    }
    Ok(())
}
