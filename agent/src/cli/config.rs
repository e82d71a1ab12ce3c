// SPDX-License-Identifier: Apache-2.0
//! `agent config`.

use std::{path::Path, process::ExitCode};

use clap::Subcommand;

use super::{CliError, print};
use crate::settings::{Settings, own, reference};

/// Show or check the settings.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  agent config default > /opt/rudder/etc/relayd-agent.conf
  agent config check")]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print a relayd-agent.conf with every setting explained and commented out.
    Default,
    /// Print all settings with default and meaning, in Markdown.
    Reference,
    /// Check all settings files, and name every mistake with its line and remedy.
    Check,
}

pub(super) fn run(root: &Path, args: Args) -> Result<ExitCode, CliError> {
    match args.action {
        Action::Default => print(&own::default_text())?,
        Action::Reference => print(&reference::markdown())?,
        Action::Check => {
            let (_, warnings) = Settings::load(root)?;
            for warning in warnings {
                eprintln!("warning: {warning}");
            }
            print("the settings are valid\n")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
