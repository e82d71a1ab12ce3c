// SPDX-License-Identifier: Apache-2.0
//! `relayd doctor`: is this installation sound?

use std::{
    io::{self, Write},
    path::Path,
};

use clap::Args;
use serde_json::json;

use super::{CliError, finding, output::counted};
use crate::{
    doctor,
    finding::{Finding, Level},
};

/// Check the installation, and say what to do: files, ports, certificates, time, database, limits, disk.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  relayd doctor
  relayd doctor --user relayd --config /etc/relayd
  relayd doctor --json | jq -r '.findings[] | select(.level == \"error\") | .remedy'

Run it as root: it looks at files as the user of the daemon sees them, which is the user of a running
daemon, else rudder-relayd. It changes nothing, and works whether the daemon runs or not.

Exit codes:
  0  no errors; there may be warnings
  1  errors, also in the configuration")]
pub struct Command {
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// The user that the daemon runs as.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
}

/// Runs the command.
pub fn run(command: &Command, directory: &Path) -> Result<(), CliError> {
    let findings = doctor::examine(directory, command.user.as_deref());
    let number = |level| findings.iter().filter(|finding| finding.level == level).count();
    let (errors, warnings) = (number(Level::Error), number(Level::Warning));
    let mut out = io::stdout().lock();
    match command.json {
        true => {
            let answer = json!({"errors": errors, "warnings": warnings, "findings": findings});
            serde_json::to_writer_pretty(&mut out, &answer).map_err(io::Error::from)?;
            writeln!(out)?;
        }
        false => print(&mut out, findings, errors, warnings)?,
    }
    // Said already.
    if errors > 0 { Err(CliError { text: String::new(), code: 1 }) } else { Ok(()) }
}

/// The worst last, where people look.
fn print(out: &mut impl Write, mut findings: Vec<Finding>, errors: usize, warnings: usize) -> io::Result<()> {
    findings.sort_by_key(|finding| finding.level);
    findings.iter().try_for_each(|finding| finding::print(out, finding))?;
    writeln!(out, "{}, {}", counted(errors, "error"), counted(warnings, "warning"))
}
