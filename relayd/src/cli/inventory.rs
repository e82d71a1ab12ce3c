// SPDX-License-Identifier: Apache-2.0
//! `relayd inventory`: what nodes say of themselves, and how that changed.

use std::io::{self, BufWriter, Write};

use clap::{Args, Subcommand};
use serde_json::Value as Json;

use super::{
    CliError,
    fleet::{Fleet, Line, Listing, instant, json, say_more},
    output::counted,
    packages::node_meant,
};
use crate::{
    config::Config,
    fleet::Paging,
    inventories::{
        changes::{Change, FactChange},
        questions::{self, Filter, NodeInventory, Summary, Wanted},
    },
    spool::disposition::printable,
};

/// Commands about inventories.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the newest inventory of each node, in short.
    #[command(after_help = "Examples:
  relayd inventory list --os '*bookworm*'
  relayd inventory list --csv > inventories.csv")]
    List {
        /// Which nodes.
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        listing: Listing,
    },
    /// Show what a node says of itself.
    #[command(after_help = "Examples:
  relayd inventory show web1.example.org
  relayd inventory show web1.example.org --section packages
  relayd inventory show web1.example.org --at 2026-11-20 --section hardware,networks
  relayd inventory show web1.example.org --json | jq '.sections.bios.serial'

NODE is an id, the first 8 or more characters of one, or a host name. Without --section large sections
are counted only; with --json all is printed.")]
    Show {
        /// Which one.
        #[arg(value_name = "NODE")]
        node: String,
        /// Only these sections, separated by commas.
        #[arg(long, value_name = "NAMES")]
        section: Option<String>,
        /// As it was then: a date, a day, or how long ago such as 12h.
        #[arg(long, value_name = "TIME")]
        at: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Say how a node changed: packages and facts, the last change first.
    #[command(after_help = "Examples:
  relayd inventory changes web1.example.org
  relayd inventory changes web1.example.org --limit 1 --json")]
    Changes {
        /// Which one.
        #[arg(value_name = "NODE")]
        node: String,
        /// Print at most so many changes.
        #[arg(long, value_name = "NUMBER", default_value = "10", value_parser = clap::value_parser!(u16).range(1..))]
        limit: u16,
        /// Print one JSON object per line.
        #[arg(long)]
        json: bool,
    },
    /// Print facts of all nodes for other programs, one JSON object per line.
    #[command(after_help = "Examples:
  relayd inventory export > facts.jsonl
  relayd inventory export --section packages --name 'web*' | gzip > packages.jsonl.gz

Without --section all sections are printed but packages and momentary, which are large.")]
    Export {
        /// Which nodes.
        #[command(flatten)]
        which: Which,
        /// Only these sections, separated by commas.
        #[arg(long, value_name = "NAMES")]
        section: Option<String>,
    },
}

/// Which nodes.
#[derive(Debug, Args)]
pub struct Which {
    /// Those whose host name is like this; * stands for any text, ? for one character.
    #[arg(long, value_name = "PATTERN")]
    name: Option<String>,
    /// Those whose operating system is called like this, in words.
    #[arg(long, value_name = "PATTERN")]
    os: Option<String>,
}

impl Which {
    fn filter(&self) -> Filter {
        Filter { name: self.name.clone(), os: self.os.clone() }
    }
}

/// Nodes that are exported in one go.
const PAGE: usize = 1000;
/// Most elements of a section that are printed when nobody asked for that section.
const SOME: usize = 20;

/// Runs the command.
pub fn run(command: &Command, config: &Config) -> Result<(), CliError> {
    let mut fleet = Fleet::open(config)?;
    match command {
        Command::List { which, listing } => {
            let filter = which.filter();
            let number =
                fleet.list(listing, usize::MAX, |c, _, paging| questions::summaries(c, &filter, paging))?;
            if !listing.json && !listing.csv {
                println!("{}", counted(number, "node"));
            }
            Ok(())
        }
        Command::Show { node, section, at, json: as_json } => {
            let node = node_meant(&mut fleet, node)?;
            let at = at.as_deref().map(instant).transpose()?.map(|at| at.timestamp());
            let wanted = Wanted::read(section.as_deref())?;
            let inventory = fleet.ask(|c, _| questions::inventory(c, &node, at, &wanted))?;
            let mut out = BufWriter::new(io::stdout().lock());
            match as_json {
                true => json(&mut out, &inventory)?,
                false => show(&mut out, &inventory, section.is_some())?,
            }
            Ok(out.flush()?)
        }
        Command::Changes { node, limit, json: as_json } => {
            let node = node_meant(&mut fleet, node)?;
            let (most, mut printed, mut after) = (usize::from(*limit), 0, None);
            let mut out = BufWriter::new(io::stdout().lock());
            loop {
                let paging = Paging { after, limit: most - printed };
                let page = fleet.ask(|c, _| questions::changes(c, &node, &paging))?;
                for change in &page.items {
                    if *as_json { json(&mut out, change)? } else { print_change(&mut out, change)? }
                }
                printed += page.items.len();
                after = page.next;
                // A page ends early where its changes are large.
                if after.is_none() || printed >= most {
                    break;
                }
            }
            if !as_json {
                writeln!(out, "{}", counted(printed, "change"))?;
            }
            out.flush()?;
            say_more(after.is_some());
            Ok(())
        }
        Command::Export { which, section } => {
            let (filter, wanted) = (which.filter(), Wanted::read(section.as_deref())?);
            let mut out = BufWriter::new(io::stdout().lock());
            let mut paging = Paging { after: None, limit: PAGE };
            loop {
                let (lines, next) = fleet.ask(|c, _| questions::lines(c, &filter, &wanted, &paging))?;
                out.write_all(&lines)?;
                paging.after = next;
                if paging.after.is_none() {
                    return Ok(out.flush()?);
                }
            }
        }
    }
}

fn show(out: &mut impl Write, inventory: &NodeInventory, all: bool) -> io::Result<()> {
    writeln!(out, "node      {}", inventory.node_id)?;
    writeln!(out, "made      {}", inventory.made)?;
    if let Some(received) = &inventory.received {
        writeln!(out, "received  {received}")?;
    }
    writeln!(out, "the same  since {}", inventory.since)?;
    for (name, section) in &inventory.sections {
        writeln!(out, "\n{}", printable(name))?;
        match section {
            Json::Array(elements) => {
                let most = if all { elements.len() } else { SOME };
                for element in elements.iter().take(most) {
                    writeln!(out, "  {}", printable(&in_words(element)))?;
                }
                if elements.len() > most {
                    writeln!(out, "  … and {} more: --section {}", elements.len() - most, printable(name))?;
                }
            }
            Json::Object(members) => {
                for (key, value) in members {
                    match value {
                        Json::Array(elements) if !all && elements.len() > SOME => {
                            writeln!(out, "  {}: {} of them", printable(key), elements.len())?;
                        }
                        value => writeln!(out, "  {}: {}", printable(key), printable(&in_words(value)))?,
                    }
                }
            }
            other => writeln!(out, "  {}", printable(&in_words(other)))?,
        }
    }
    Ok(())
}

/// A value in one line: `name: bash, version: 5.2`.
fn in_words(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        Json::Object(members) => {
            let member = |(name, value): (&String, &Json)| format!("{name}: {}", in_words(value));
            members.iter().map(member).collect::<Vec<_>>().join(", ")
        }
        Json::Array(elements) => elements.iter().map(in_words).collect::<Vec<_>>().join("; "),
        other => other.to_string(),
    }
}

fn print_change(out: &mut impl Write, change: &Change) -> io::Result<()> {
    writeln!(out, "{} (as before until {})", change.at, change.before)?;
    for package in &change.packages {
        let (sign, versions) = match (&package.from, &package.to) {
            (Some(from), Some(to)) => ('~', format!("{from} -> {to}")),
            (None, Some(to)) => ('+', to.clone()),
            (Some(from), None) => ('-', from.clone()),
            (None, None) => continue,
        };
        let name = [package.name.as_str(), package.arch.as_str()].join(" ");
        writeln!(out, "  {sign} package {} {}", printable(name.trim_end()), printable(&versions))?;
    }
    for FactChange { path, from, to } in &change.facts {
        let (sign, text) = match (from, to) {
            (Some(from), Some(to)) => ('~', format!("{} -> {}", in_words(from), in_words(to))),
            (None, Some(to)) => ('+', in_words(to)),
            (Some(from), None) => ('-', in_words(from)),
            (None, None) => continue,
        };
        writeln!(out, "  {sign} {} {}", printable(path), printable(&text))?;
    }
    Ok(())
}

impl Line for Summary {
    const HEADINGS: &'static [&'static str] = &["NODE", "AGENT", "MADE", "OS", "NAME"];

    fn columns(&self) -> Vec<String> {
        let one = self.clone();
        let made = crate::fleet::moment::show(one.times.made);
        vec![one.node_id, one.agent_version, made, one.os, one.hostname]
    }
}
