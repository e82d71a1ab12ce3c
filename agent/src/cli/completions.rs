// SPDX-License-Identifier: Apache-2.0
//! `agent completions`.

use std::process::ExitCode;

use clap_complete::{Shell, generate};

use super::{CliError, declared, print};

/// Print what a shell needs to complete the command line.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  agent completions bash > /usr/share/bash-completion/completions/agent")]
pub(super) struct Args {
    /// Which shell.
    shell: Shell,
}

pub(super) fn run(args: &Args) -> Result<ExitCode, CliError> {
    let mut text = vec![];
    generate(args.shell, &mut declared(), "agent", &mut text);
    print(&String::from_utf8_lossy(&text))?;
    Ok(ExitCode::SUCCESS)
}
