// SPDX-License-Identifier: Apache-2.0
//! `relayd nodes`: which nodes there are, and how each of them is.

use std::io::{self, Write};

use clap::{Args, Subcommand};

use super::{
    CliError,
    fleet::{Fleet, Line, Listing, json, print},
    output::counted,
};
use crate::{
    config::Config,
    fleet::{
        node::{self, NodeAnswer},
        nodes::{self, Filter, NodeStatus},
        parts::Part,
        runs::Run,
    },
    registry::record::NodeState,
    spool::disposition::printable,
};

/// Say how nodes are: whether they answer, and what their last runs said.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:
  relayd nodes
  relayd nodes --status no_answer
  relayd nodes --name 'web*' --csv
  relayd nodes show web1.example.org

`relayd node` decides which nodes belong to the instance; this command says how they are. A node does
not answer when its last run is older than compliance.run_interval and 5 minutes.

Exit codes:
  0  said
  1  failed
  2  wrong form of the command line, or this server stores no run logs
  4  there is no such node"
)]
pub struct Command {
    #[command(subcommand)]
    command: Option<More>,
    /// Those whose host name is like this; * stands for any text, ? for one character.
    #[arg(long, value_name = "PATTERN")]
    name: Option<String>,
    /// Those that are like this.
    #[arg(long, value_name = "STATUS")]
    status: Option<NodeStatus>,
    /// Those in this state of the registry.
    #[arg(long, value_name = "STATE", default_value = "accepted", value_parser = state)]
    state: NodeState,
    /// Those that connect to this server.
    #[arg(long, value_name = "RELAY")]
    relay: Option<String>,
    #[command(flatten)]
    listing: Listing,
}

#[derive(Debug, Subcommand)]
enum More {
    /// Show how a node is: by rule, and its last runs.
    #[command(after_help = "Example:
  relayd nodes show web1.example.org

NODE is an id, the first 8 or more characters of one, or a host name; id:ID when other nodes have
that for a name.")]
    Show {
        /// Which one.
        #[arg(value_name = "NODE")]
        node: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

fn state(text: &str) -> Result<NodeState, String> {
    let names = NodeState::ALL.map(NodeState::as_str).join(", ");
    NodeState::parse(text).ok_or_else(|| format!("not one of {names}"))
}

/// Runs the command.
pub fn run(command: &Command, config: &Config) -> Result<(), CliError> {
    let mut fleet = Fleet::open(config)?;
    if let Some(More::Show { node, json: as_json }) = &command.command {
        let id = fleet.node(node)?;
        let answer = fleet.ask(|c, settings| node::node(c, settings, &id))?;
        let mut out = io::stdout().lock();
        let printed = if *as_json { json(&mut out, &answer) } else { show(&mut out, &answer) };
        return Ok(printed?);
    }
    let filter = Filter {
        id: None,
        name: command.name.clone(),
        state: Some(command.state),
        relay: command.relay.as_deref().map(|relay| fleet.node(relay)).transpose()?,
        status: command.status,
    };
    let listing = &command.listing;
    let number =
        fleet.list(listing, usize::MAX, |c, settings, paging| nodes::nodes(c, settings, &filter, paging))?;
    if !listing.json && !listing.csv {
        println!("{}", counted(number, "node"));
    }
    Ok(())
}

fn show(out: &mut impl Write, answer: &NodeAnswer) -> io::Result<()> {
    let node = &answer.node;
    let or_never = |text: &Option<String>| text.clone().unwrap_or_else(|| "never".into());
    writeln!(out, "node         {}", node.node_id)?;
    writeln!(out, "host name    {}", printable(&node.hostname))?;
    writeln!(out, "state        {}", node.state)?;
    writeln!(out, "connects to  {}", printable(&node.policy_server))?;
    writeln!(out, "last seen    {}", or_never(&node.last_contact))?;
    writeln!(out, "last run     {}", or_never(&node.last_run))?;
    if let Some(since) = &node.since {
        writeln!(out, "unchanged    since {since}")?;
    }
    if let Some(config) = &node.config_id {
        writeln!(out, "policies     {}", printable(config))?;
    }
    let share = node.compliance.map(|share| format!(", {share:.2} %")).unwrap_or_default();
    writeln!(out, "status       {}{share}", node.status.as_str())?;
    if let Some(inventory) = node_inventory(answer) {
        writeln!(out, "inventory    {inventory}")?;
    }
    section::<Part>(out, &answer.rules)?;
    section::<Run>(out, &answer.runs)
}

fn node_inventory(answer: &NodeAnswer) -> Option<String> {
    let inventory = answer.inventory.as_ref()?;
    Some(format!("of {}, {}", inventory.made, printable(&inventory.os)))
}

fn section<T: Line>(out: &mut impl Write, items: &[T]) -> io::Result<()> {
    if items.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    print(out, items, true)
}
