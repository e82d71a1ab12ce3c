// SPDX-License-Identifier: Apache-2.0
//! `relayd completions`.

use std::io::{self, Write};

use clap::{Args, CommandFactory};
use clap_complete::{Shell, generate};

use super::{Cli, CliError};

/// Print what a shell needs to complete the command line.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  relayd completions bash > /usr/share/bash-completion/completions/relayd")]
pub struct Command {
    /// Which shell.
    shell: Shell,
}

/// Runs the command.
pub fn run(command: &Command) -> Result<(), CliError> {
    let mut text = vec![];
    generate(command.shell, &mut Cli::command(), "relayd", &mut text);
    Ok(io::stdout().write_all(&text)?)
}
