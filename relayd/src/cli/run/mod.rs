// SPDX-License-Identifier: Apache-2.0
//! `relayd run`: has nodes run their agent now, and prints what they say.
//!
//! Asks the running daemon through its local API (version 2 of remote runs, protocol 16.2).

mod ask;
mod names;
mod show;

use std::{path::Path, time::Duration};

use clap::Args;
use protocol::remote_run::{Condition, Conditions, LONGEST_EXPIRY, Line, RunLine, RunOrder, Targets};
use tokio::signal::ctrl_c;

use self::{ask::Asked, names::Names, show::Screen};
use super::{CliError, node::duration};
use crate::config::Config;

/// Have nodes run their agent now, and print what they say.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  relayd run web1.example.org web2.example.org
  relayd run --all --behind relay1.example.org --condition audit_only --no-output
  relayd run 4f2a9c1e --expires 1h --json | jq -c 'select(.event == \"finished\")'

NODE is an id, the first 8 or more characters of one, or a host name; id:ID when other nodes have
that for a name. Nodes with a connection to their policy server run at once; others at their next
contact, if that comes before the time is over. Ctrl-C cancels what no node has begun yet.

Exit codes:
  0    all nodes ran, each with exit status 0 (with --asynchronous: the daemon took the request)
  1    some did not: failed, refused, unreachable, expired, or how it ended is not known
  2    wrong form of the command line or of the configuration
  3    the daemon could not be asked, or its answer was cut off
  4    there is no such node
  130  cancelled with Ctrl-C")]
pub struct Command {
    /// Which nodes.
    #[arg(value_name = "NODE", required_unless_present = "all", conflicts_with = "all")]
    nodes: Vec<String>,
    /// All nodes below this server, at any depth.
    #[arg(long)]
    all: bool,
    /// With --all: only nodes below this relay.
    #[arg(long, value_name = "RELAY", requires = "all")]
    behind: Option<String>,
    /// A condition that the runs are told; may be repeated, or several with commas between.
    #[arg(long = "condition", short = 'D', value_name = "CONDITION", value_delimiter = ',')]
    conditions: Vec<Condition>,
    /// Do not pass on what the runs write.
    #[arg(long)]
    no_output: bool,
    /// How long nodes that are not there are waited for, such as 5m; remote_run.expiry without this.
    #[arg(long, value_name = "DURATION", value_parser = expiry)]
    expires: Option<Duration>,
    /// Print the events as they come, one JSON object per line, and nothing else.
    #[arg(long)]
    json: bool,
    /// Do not wait for the end.
    #[arg(long)]
    asynchronous: bool,
}

/// How it went, beside errors.
enum Seen {
    /// The daemon said how each node ended.
    Whole,
    /// The daemon does not wait.
    Detached,
    /// The daemon's answer was cut off.
    Cut(String),
    /// Ctrl-C.
    Interrupted,
}

/// Runs the command.
pub fn run(command: &Command, config: &Config) -> Result<(), CliError> {
    let names = Names::read(&config.general.nodes_list_file);
    let order = command.order(&names, &config.general.nodes_list_file)?;
    let mut screen = Screen::new(names, command.json);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let seen = runtime.block_on(async {
        tokio::select! {
            seen = follow(config, &order, &mut screen) => seen,
            pressed = ctrl_c() => pressed.map(|()| Seen::Interrupted).map_err(CliError::failed),
        }
    });
    // A connection under way is closed by this, which cancels.
    runtime.shutdown_background();
    let seen = seen?;
    if !matches!(seen, Seen::Detached) {
        screen.close()?;
    }
    match seen {
        Seen::Detached => Ok(()),
        Seen::Whole if screen.is_empty() => {
            Err(CliError::nothing("there are no such nodes below this server"))
        }
        Seen::Whole => screen.verdict(),
        Seen::Cut(why) => Err(CliError::unasked(why)),
        Seen::Interrupted => {
            Err(CliError::interrupted("cancelled; nodes that have begun their run go on with it"))
        }
    }
}

impl Command {
    fn order(&self, names: &Names, list: &Path) -> Result<RunOrder, CliError> {
        let find = |text: &String| names.find(text, list);
        let targets = match (self.all, &self.behind) {
            (true, behind) => Targets::All { behind: behind.as_ref().map(find).transpose()? },
            (false, _) => {
                let mut nodes = Vec::with_capacity(self.nodes.len());
                for node in &self.nodes {
                    let node = find(node)?;
                    if !nodes.contains(&node) {
                        nodes.push(node);
                    }
                }
                Targets::Nodes(nodes)
            }
        };
        Ok(RunOrder {
            targets,
            conditions: Conditions::try_from(self.conditions.clone()).map_err(CliError::usage)?,
            output: !self.no_output,
            expires_in: self.expires,
            asynchronous: self.asynchronous,
        })
    }
}

async fn follow(config: &Config, order: &RunOrder, screen: &mut Screen) -> Result<Seen, CliError> {
    let mut asked = Asked::send(&config.general.listen, order).await?;
    loop {
        let lines = match asked.lines().await {
            Ok(Some(lines)) => lines,
            Ok(None) if order.asynchronous && screen.has_begun() => return Ok(Seen::Detached),
            Ok(None) => return Ok(Seen::Cut("the answer of the daemon ended too early".to_owned())),
            Err(why) => return Ok(Seen::Cut(why)),
        };
        for line in lines {
            let ends = matches!(line, Line::Run(RunLine::End(_)));
            screen.take(line)?;
            if ends {
                return Ok(Seen::Whole);
            }
        }
    }
}

fn expiry(text: &str) -> Result<Duration, String> {
    let expiry = duration(text)?;
    if expiry.subsec_nanos() > 0 || expiry > LONGEST_EXPIRY {
        return Err("must be whole seconds, and no more than 24h".to_owned());
    }
    Ok(expiry)
}
