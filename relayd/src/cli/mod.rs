// SPDX-License-Identifier: Apache-2.0
//! The command line: without a subcommand the daemon, with one a tool for its administrator.
//!
//! Each subcommand is a file here with its arguments and a `run` function.

mod ca;
mod completions;
mod compliance;
mod config;
mod database;
mod doctor;
mod finding;
mod fleet;
mod inventory;
mod node;
mod nodes;
mod output;
mod packages;
mod policy;
mod reload;
mod routes;
mod run;
mod run_log;
mod runs;
mod server_key;
pub mod spool;
mod status;
mod token;
mod vulnerabilities;
mod why;

use std::{
    fmt::Display,
    io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, Subcommand};

use crate::{
    config::{Config, ConfigError, look},
    daemon,
};

const EXAMPLES: &str = "\
Examples:
  relayd                              run the daemon
  relayd -c /etc/relayd --test        check the configuration and exit
  relayd config default > main.conf   print a commented configuration with all defaults
  relayd run-log show FILE            unpack, parse and print a run log
  relayd node list --state pending    say which nodes wait to be accepted
  relayd policy publish DIR --all     sign policies for all nodes; `policy activate` serves them
  relayd compliance failing           say what is wrong in the fleet, and why
  relayd run web1.example.org         have a node run its agent now

Exit codes:
  0  stopped, or done
  1  failed
  2  wrong form of a configuration file or of the command line
  3  any other error at start: settings that do not fit together, an address in use, no database;
     or the daemon could not be asked
  4  there is nothing of what was asked for: no such node, token, key or version";

/// The road between managed machines and the centre: relay and root daemon.
#[derive(Debug, Parser)]
#[command(name = "relayd", version, after_help = EXAMPLES)]
pub struct Cli {
    /// The directory that holds main.conf and logging.conf.
    #[arg(short, long, global = true, value_name = "DIR", default_value = "/opt/rudder/etc/relayd")]
    config: PathBuf,
    /// Check the configuration and exit.
    #[arg(short, long, visible_alias = "check")]
    test: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Status(status::Command),
    Why(why::Command),
    Doctor(doctor::Command),
    /// Look into run logs.
    #[command(subcommand)]
    RunLog(run_log::Command),
    /// Look into the spools: what waits, what failed and why.
    #[command(subcommand)]
    Spool(spool::Command),
    Run(run::Command),
    Nodes(nodes::Command),
    Runs(runs::Command),
    Compliance(compliance::Command),
    /// Look at what nodes say of themselves: hardware, network, packages, and how that changed.
    #[command(subcommand)]
    Inventory(inventory::Command),
    Packages(packages::Command),
    Vulnerabilities(vulnerabilities::Command),
    Reload(reload::Args),
    /// Say which nodes there are, and which of them belong to the instance.
    #[command(subcommand)]
    Node(node::Command),
    /// Make one-time tokens that let nodes in.
    #[command(subcommand)]
    Token(token::Command),
    /// Publish policies for nodes, signed, and go back.
    #[command(subcommand, after_help = policy::EXAMPLES)]
    Policy(policy::Command),
    /// Print which routes there are and who may use them.
    Routes(routes::Command),
    /// Look after the built-in certification authority.
    #[command(subcommand)]
    Ca(ca::Command),
    /// Change the key by which nodes know this server, without losing one.
    #[command(subcommand)]
    ServerKey(server_key::Command),
    /// Look after the tables of the reports database.
    #[command(subcommand)]
    Database(database::Command),
    /// Print defaults, reference and effective settings; check the configuration.
    #[command(subcommand)]
    Config(config::Command),
    Completions(completions::Command),
}

/// Why a command failed: what to print, and the exit code.
#[derive(Debug)]
pub struct CliError {
    text: String,
    code: u8,
}

impl CliError {
    /// The command itself failed: exit code 1.
    pub fn failed(error: impl Display) -> Self {
        Self { text: error.to_string(), code: 1 }
    }

    /// The command line or the configuration does not allow that: exit code 2.
    pub fn usage(error: impl Display) -> Self {
        Self { text: error.to_string(), code: 2 }
    }

    /// The daemon could not be asked, or did not answer to the end: exit code 3.
    pub fn unasked(error: impl Display) -> Self {
        Self { text: error.to_string(), code: 3 }
    }

    /// Ended by whoever gave the command: exit code 130, as of a shell.
    pub fn interrupted(error: impl Display) -> Self {
        Self { text: error.to_string(), code: 130 }
    }

    /// There is nothing of what was asked for: exit code 4.
    pub fn nothing(error: impl Display) -> Self {
        Self { text: error.to_string(), code: 4 }
    }
}

impl From<ConfigError> for CliError {
    fn from(error: ConfigError) -> Self {
        Self { text: error.to_string(), code: error.exit_code() }
    }
}

impl From<io::Error> for CliError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            // Whoever read the output has enough.
            io::ErrorKind::BrokenPipe => Self { text: String::new(), code: 0 },
            _ => Self::failed(error),
        }
    }
}

/// Runs the program.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match &cli.command {
        None if cli.test => config::test(&cli.config),
        None => return daemon::main(&cli.config),
        Some(Command::Status(command)) => status::run(command, &cli.config),
        Some(Command::Doctor(command)) => doctor::run(command, &cli.config),
        Some(Command::Why(command)) => {
            configuration(&cli.config).map_err(goes_on).and_then(|config| why::run(command, &config))
        }
        Some(Command::Config(command)) => config::run(command, &cli.config),
        Some(Command::RunLog(command)) => run_log::run(command),
        Some(Command::Node(command)) => {
            configuration(&cli.config).and_then(|config| node::run(command, &config))
        }
        Some(Command::Run(command)) => {
            configuration(&cli.config).and_then(|config| run::run(command, &config))
        }
        Some(Command::Nodes(command)) => {
            configuration(&cli.config).and_then(|config| nodes::run(command, &config))
        }
        Some(Command::Runs(command)) => {
            configuration(&cli.config).and_then(|config| runs::run(command, &config))
        }
        Some(Command::Compliance(command)) => {
            configuration(&cli.config).and_then(|config| compliance::run(command, &config))
        }
        Some(Command::Inventory(command)) => {
            configuration(&cli.config).and_then(|config| inventory::run(command, &config))
        }
        Some(Command::Packages(command)) => {
            configuration(&cli.config).and_then(|config| packages::run(command, &config))
        }
        Some(Command::Vulnerabilities(command)) => {
            configuration(&cli.config).and_then(|config| vulnerabilities::run(command, &config))
        }
        Some(Command::Reload(reload::Args {})) => reload::run(&cli.config),
        Some(Command::Token(command)) => {
            configuration(&cli.config).and_then(|config| token::run(command, &config))
        }
        Some(Command::Policy(command)) => {
            configuration(&cli.config).and_then(|config| policy::run(command, &config))
        }
        Some(Command::Routes(command)) => routes::run(command),
        Some(Command::Completions(command)) => completions::run(command),
        Some(Command::Ca(command)) => {
            configuration(&cli.config).and_then(|config| ca::run(command, &config.ca))
        }
        Some(Command::ServerKey(command)) => {
            configuration(&cli.config).and_then(|config| server_key::run(command, &config))
        }
        Some(Command::Spool(command)) => configuration(&cli.config).and_then(|config| {
            spool::run(command, &config.run_logs.spool, &config.inventories.spool).map_err(CliError::failed)
        }),
        Some(Command::Database(command)) => database::run(command, || configuration(&cli.config)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            for line in error.text.lines() {
                eprintln!("error: {line}");
            }
            ExitCode::from(error.code)
        }
    }
}

/// A configuration that is broken on disk says nothing about a daemon that runs.
fn goes_on(error: CliError) -> CliError {
    let more = "`relayd why` needs the configuration; a daemon that runs goes on with what it read when it started: \
                see `relayd status`";
    CliError { text: format!("{}\n{more}", error.text), ..error }
}

/// The configuration, for commands that need it, also where the credentials of the daemon are absent. Warnings are for the daemon and for `--test`.
fn configuration(directory: &Path) -> Result<Config, CliError> {
    Ok(look(directory)?.config)
}
