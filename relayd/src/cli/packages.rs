// SPDX-License-Identifier: Apache-2.0
//! `relayd packages`: which nodes have a package, and how many have which version of it.

use clap::Args;

use super::{
    CliError,
    fleet::{Fleet, Line, Listing},
    output::counted,
};
use crate::{
    config::Config,
    fleet::node::has_inventory,
    packages::{
        condition::Condition,
        found::{self, By, Filter, OfVersion, OnNode},
    },
};

/// Say which nodes have a package, by what their newest inventories list.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  relayd packages openssl
  relayd packages openssl --version '<3.0.13-1~deb12u1'
  relayd packages 'linux-image*' --by version
  relayd packages openssl-libs --version '>=1:3.0' --version '<1:3.0.7-27' --csv

Versions are compared by the rules of the package: those of dpkg or of rpm. Of a version of rpm without
a release, any release counts.

Exit codes:
  0  said, also when no node has it
  1  failed
  2  wrong form of the command line, or this server stores nothing")]
pub struct Command {
    /// Name of the package; * stands for any text, ? for one character.
    #[arg(value_name = "NAME")]
    name: String,
    /// A condition on the version, such as '<1.2'; may be given several times, all must hold.
    #[arg(long = "version", value_name = "CONDITION")]
    versions: Vec<Condition>,
    /// Print a line for each package on each node, or one for each version.
    #[arg(long, value_enum, default_value_t)]
    by: By,
    /// On this node only: an id, the first 8 or more characters of one, or a host name.
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
    /// Of this architecture only.
    #[arg(long, value_name = "ARCH")]
    arch: Option<String>,
    #[command(flatten)]
    listing: Listing,
}

/// Runs the command.
pub fn run(command: &Command, config: &Config) -> Result<(), CliError> {
    let mut fleet = Fleet::open(config)?;
    let filter = Filter {
        name: Some(command.name.clone()),
        versions: command.versions.clone(),
        arch: command.arch.clone(),
        kind: None,
        node: command.node.as_deref().map(|node| node_meant(&mut fleet, node)).transpose()?,
    };
    let (listing, mut nodes) = (&command.listing, 0);
    match command.by {
        By::Node => fleet.list(listing, usize::MAX, |c, _, paging| {
            let found = found::on_nodes(c, &filter, paging)?;
            nodes = found.nodes;
            Ok(found.page)
        })?,
        By::Version => fleet.list(listing, usize::MAX, |c, _, paging| {
            let found = found::versions(c, &filter, paging)?;
            nodes = found.nodes;
            Ok(found.page)
        })?,
    };
    if !listing.json && !listing.csv {
        println!("{}", counted(usize::try_from(nodes).unwrap_or(usize::MAX), "node"));
    }
    Ok(())
}

/// The id of the node that the operator means; the text itself where only inventories know it, or several have
/// this host name.
pub fn node_meant(fleet: &mut Fleet, text: &str) -> Result<String, CliError> {
    match fleet.node(text) {
        Err(_) if fleet.ask(|c, _| Ok(has_inventory(c, text)?))? => Ok(text.to_owned()),
        meant => meant,
    }
}

impl Line for OnNode {
    const HEADINGS: &'static [&'static str] = &["NODE", "PACKAGE", "VERSION", "ARCH", "NAME"];

    fn columns(&self) -> Vec<String> {
        let on = self.clone();
        vec![on.node_id, on.name, on.version, on.arch, on.hostname]
    }
}

impl Line for OfVersion {
    const HEADINGS: &'static [&'static str] = &["NODES", "PACKAGE", "VERSION", "ARCH", "KIND"];

    fn columns(&self) -> Vec<String> {
        let of = self.clone();
        vec![of.nodes.to_string(), of.name, of.version, of.arch, of.kind]
    }
}
