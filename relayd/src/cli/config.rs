// SPDX-License-Identifier: Apache-2.0
//! `relayd config`, and `relayd --test`.

use std::{
    io::{self, Write},
    path::Path,
};

use clap::{Subcommand, ValueEnum};

use super::CliError;
use crate::{
    config::{
        load, load_logging, logging_file::LoggingFile, look, main_file::MainFile, passed_credentials, print,
    },
    gateway::authorities,
};

/// Commands about the configuration.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print a commented configuration file with all defaults.
    #[command(after_help = "Example:\n  relayd config default logging > /opt/rudder/etc/relayd/logging.conf")]
    Default {
        /// Which file.
        #[arg(value_enum, default_value = "main")]
        file: File,
    },
    /// Print all settings with type, default and meaning, in Markdown.
    Reference,
    /// Check the configuration, as --test.
    Check,
    /// Print the settings as they apply, without secrets.
    #[command(after_help = "Example:\n  relayd --config /etc/relayd config show | grep -v '# default'")]
    Show,
}

/// A configuration file.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum File {
    /// main.conf
    Main,
    /// logging.conf
    Logging,
}

/// Runs a command.
pub fn run(command: &Command, directory: &Path) -> Result<(), CliError> {
    let text = match command {
        Command::Default { file: File::Main } => {
            print::default_file("main.conf: what this server does", &MainFile::describe())
        }
        Command::Default { file: File::Logging } => {
            print::default_file("logging.conf: what is logged. May be missing.", &LoggingFile::describe())
        }
        Command::Reference => reference(),
        Command::Check => return test(directory),
        Command::Show => {
            let (logging, _) = load_logging(directory)?;
            let main = look(directory)?.typed;
            format!(
                "# main.conf\n{}\n# logging.conf\n{}",
                print::shown(&main.shown()),
                print::shown(&logging.shown())
            )
        }
    };
    Ok(io::stdout().write_all(text.as_bytes())?)
}

/// Checks both files, as start-up does. Credentials are checked where the service manager has passed some, as it does
/// for the daemon; an administrator is told that they are not.
pub fn test(directory: &Path) -> Result<(), CliError> {
    load_logging(directory)?;
    let mut loaded = if passed_credentials().is_some() { load(directory)? } else { look(directory)? };
    loaded.warnings.extend(loaded.absent.iter().map(|(problem, absent)| {
        format!("{} is not checked: {}; {}", problem.key, absent.cause, absent.remedy())
    }));
    if let Some(gateway) = &loaded.config.gateway {
        authorities::check(&gateway.clients, &loaded.config.ca)
            .map_err(|error| CliError { text: error.to_string(), code: 3 })?;
    }
    let mut out = io::stdout().lock();
    for warning in &loaded.warnings {
        writeln!(out, "warning: {warning}")?;
    }
    Ok(writeln!(out, "Syntax: OK")?)
}

fn reference() -> String {
    format!(
        "# Configuration reference\n\n\
         Two TOML files in one directory (`/opt/rudder/etc/relayd`, or `--config`). Unknown keys are refused.\n\
         `main.conf` must be there; a missing `logging.conf` means the defaults. `relayd config check` tells\n\
         all mistakes at once.\n\n{}\n{}",
        print::reference("main.conf", &MainFile::describe()),
        print::reference("logging.conf", &LoggingFile::describe())
    )
}
