// SPDX-License-Identifier: Apache-2.0
//! `relayd vulnerabilities`: which packages of the fleet fall under advisories.

use std::path::PathBuf;

use clap::Args;

use super::{
    CliError,
    fleet::{Fleet, Line, Listing},
    output::counted,
    packages::node_meant,
};
use crate::{
    advisories::{
        exposure::Matched,
        load,
        question::By,
        report::{self, Filter},
        rows::{ByAdvisory, ByNode, ByPackage, EachFinding},
        severity::Severity,
    },
    config::Config,
};

/// Say which packages of the fleet fall under advisories that you provide: what is vulnerable or outdated.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  relayd vulnerabilities
  relayd vulnerabilities --by node --severity high
  relayd vulnerabilities --advisory CVE-2026-1234 --by finding --csv
  relayd vulnerabilities --advisories ./ours.csv

The advisories are those of processing.inventory.advisories, as they are on disk now: OSV (.json, .jsonl,
.zip) or CSV (.csv), a file or a directory. docs/packages.md says what is in them.

Exit codes:
  0  said, also when nothing falls under any
  1  failed; also when the advisories cannot be read
  2  wrong form of the command line, or there are no advisories
  4  there is no such node, or no such advisory
")]
pub struct Command {
    /// Print a line for each of these; a finding is a package with an advisory on a node.
    #[arg(long, value_enum, default_value_t)]
    by: By,
    /// Those as bad as this, or worse: critical, high, medium, low or unknown.
    #[arg(long, value_name = "SEVERITY")]
    severity: Option<Severity>,
    /// On this node only: an id, the first 8 or more characters of one, or a host name.
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
    /// Of this advisory only; also by another name of it.
    #[arg(long, value_name = "NAME")]
    advisory: Option<String>,
    /// Of packages that are called like this; * stands for any text, ? for one character.
    #[arg(long, value_name = "PATTERN")]
    package: Option<String>,
    /// Those that a newer version mends (true), or those that none does (false).
    #[arg(long, value_name = "BOOL")]
    fixed: Option<bool>,
    /// Use these advisories instead, a file or a directory.
    #[arg(long, value_name = "PATH")]
    advisories: Option<PathBuf>,
    #[command(flatten)]
    listing: Listing,
}

/// Runs the command.
pub fn run(command: &Command, config: &Config) -> Result<(), CliError> {
    let mut fleet = Fleet::open(config)?;
    let path = command.advisories.as_ref().or(config.inventories.advisories.as_ref()).ok_or_else(|| {
        CliError::usage(
            "there are no advisories: set processing.inventory.advisories, or give a file with --advisories",
        )
    })?;
    let catalogue = load::load(path)
        .map_err(|error| CliError::failed(format!("the advisories cannot be read: {error}")))?;
    let matched = Matched::new(catalogue);
    let filter = Filter {
        node: command.node.as_deref().map(|node| node_meant(&mut fleet, node)).transpose()?,
        severity: command.severity,
        advisory: command.advisory.clone(),
        package: command.package.clone(),
        fixed: command.fixed,
    };
    let (listing, most) = (&command.listing, usize::MAX);
    let (number, what) = match command.by {
        By::Advisory => {
            let page = |c: &mut _, _: &_, paging: &_| report::by_advisory(c, &matched, &filter, paging);
            (fleet.list(listing, most, page)?, "advisory")
        }
        By::Node => {
            let page = |c: &mut _, _: &_, paging: &_| report::by_node(c, &matched, &filter, paging);
            (fleet.list(listing, most, page)?, "node")
        }
        By::Package => {
            let page = |c: &mut _, _: &_, paging: &_| report::by_package(c, &matched, &filter, paging);
            (fleet.list(listing, most, page)?, "package")
        }
        By::Finding => {
            let page = |c: &mut _, _: &_, paging: &_| report::findings(c, &matched, &filter, paging);
            (fleet.list(listing, most, page)?, "finding")
        }
    };
    if !listing.json && !listing.csv {
        match (number, what) {
            (1, _) | (_, "node" | "package" | "finding") => println!("{}", counted(number, what)),
            (several, _) => println!("{several} advisories"),
        }
    }
    Ok(())
}

fn or_dash(text: Option<&String>) -> String {
    text.cloned().unwrap_or_else(|| "-".into())
}

impl Line for ByAdvisory {
    const HEADINGS: &'static [&'static str] = &["SEVERITY", "NODES", "ADVISORY", "PACKAGES", "SUMMARY"];

    fn columns(&self) -> Vec<String> {
        let packages = match self.packages.as_slice() {
            [] => String::new(),
            [first] => first.clone(),
            [first, rest @ ..] => format!("{first} +{}", rest.len()),
        };
        let severity = self.severity.as_str().to_owned();
        vec![severity, self.nodes.to_string(), self.advisory.clone(), packages, self.summary.clone()]
    }
}

impl Line for ByNode {
    const HEADINGS: &'static [&'static str] =
        &["ID", "CRITICAL", "HIGH", "MEDIUM", "LOW", "UNKNOWN", "PACKAGES", "NAME"];

    fn columns(&self) -> Vec<String> {
        let numbers = [self.critical, self.high, self.medium, self.low, self.unknown, self.packages];
        let mut columns = vec![self.node_id.clone()];
        columns.extend(numbers.map(|number| number.to_string()));
        columns.push(self.hostname.clone());
        columns
    }
}

impl Line for ByPackage {
    const HEADINGS: &'static [&'static str] =
        &["SEVERITY", "NODES", "PACKAGE", "VERSION", "ARCH", "FIXED", "ADVISORIES"];

    fn columns(&self) -> Vec<String> {
        let row = self.clone();
        let (severity, fixed) = (row.severity.as_str().to_owned(), or_dash(row.fixed.as_ref()));
        let advisories = row.advisories.join(" ");
        vec![severity, row.nodes.to_string(), row.name, row.version, row.arch, fixed, advisories]
    }
}

impl Line for EachFinding {
    const HEADINGS: &'static [&'static str] =
        &["NODE", "SEVERITY", "ADVISORY", "PACKAGE", "VERSION", "ARCH", "FIXED"];

    fn columns(&self) -> Vec<String> {
        let row = self.clone();
        let node = if row.hostname.is_empty() { row.node_id } else { row.hostname };
        let (severity, fixed) = (row.severity.as_str().to_owned(), or_dash(row.fixed.as_ref()));
        vec![node, severity, row.advisory, row.name, row.version, row.arch, fixed]
    }
}
