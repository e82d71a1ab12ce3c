// SPDX-License-Identifier: Apache-2.0
//! The command line: one file per command. Help texts are the docs of the argument types.

mod cert;
mod completions;
mod config;
mod daemon;
mod enroll;
mod init;
mod inventory;
mod key;
mod resend;
mod run;
mod send;
mod share;
mod status;
mod triggers;
mod trust;
mod update;
mod upkeep;

use std::{
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use logging::{Level, LogControl, LoggingError, Program, Style};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::{
    identity::{self, IdentityError},
    run::RunError,
    server::target::TargetError,
    settings::{Settings, problem::Problems},
    state::LockError,
    update::UpdateError,
    upload::SendError,
};

/// Runs this machine's policies, signs what they report and brings it to the policy server.
#[derive(Debug, Parser)]
#[command(name = "agent", version, after_help = AFTER_HELP)]
struct Cli {
    /// Directory all default paths are below.
    #[arg(long, global = true, value_name = "DIR", default_value = "/")]
    root: PathBuf,
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Exit status: 0 done, 1 failure, 2 bad configuration or usage, 3 another process is at it,
4 not yet: `enroll` and `key roll` without a decision in time, `run --strict` with a component in
error, or `update --check` with other policies on the server, 5 refused: `enroll`, `key roll`,
policies by `update`, and an inventory by the policy server.

Examples:
  agent enroll --server relay.example.org make this node's identity and ask to be taken in
  agent run -- /usr/local/bin/policies    run policies, keep the signed run log
  agent send                              bring what waits to the policy server
  agent inventory                         tell the policy server what this machine is
  agent update                            fetch the policies, if they have changed
  agent daemon                            run and send on schedule
  agent status                            what waits, what was sent";

#[derive(Debug, Subcommand)]
enum Command {
    Init(init::Args),
    Enroll(enroll::Args),
    Run(run::Args),
    Send(send::Args),
    Resend(resend::Args),
    Inventory(inventory::Args),
    Share(share::Args),
    Daemon(daemon::Args),
    Update(update::Args),
    Status(status::Args),
    Key(key::Args),
    Cert(cert::Args),
    Trust(trust::Args),
    Triggers(triggers::Args),
    Upkeep(upkeep::Args),
    Config(config::Args),
    Completions(completions::Args),
}

/// When to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Colour {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// In any case.
    Always,
    /// Never.
    Never,
}

impl Colour {
    fn is_on(self) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => {
                let forbidden = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
                io::stdout().is_terminal() && !forbidden
            }
        }
    }
}

/// Why a command failed, by exit status.
#[derive(Debug, thiserror::Error)]
enum CliError {
    /// 1
    #[error("{0}")]
    Failure(String),
    /// 2
    #[error("{0}")]
    Configuration(String),
    /// 3
    #[error("{0}")]
    Busy(String),
    /// 4
    #[error("{0}")]
    Undecided(String),
    /// 5
    #[error("{0}")]
    Refused(String),
}

impl CliError {
    fn code(&self) -> u8 {
        match self {
            Self::Failure(_) => 1,
            Self::Configuration(_) => 2,
            Self::Busy(_) => 3,
            Self::Undecided(_) => 4,
            Self::Refused(_) => 5,
        }
    }
}

impl From<io::Error> for CliError {
    fn from(e: io::Error) -> Self {
        Self::Failure(e.to_string())
    }
}

impl From<LoggingError> for CliError {
    fn from(e: LoggingError) -> Self {
        Self::Configuration(e.to_string())
    }
}

impl From<Problems> for CliError {
    fn from(problems: Problems) -> Self {
        Self::Configuration(problems.to_string())
    }
}

impl From<IdentityError> for CliError {
    fn from(e: IdentityError) -> Self {
        match e {
            IdentityError::Io(..) => Self::Failure(e.to_string()),
            _ => Self::Configuration(e.to_string()),
        }
    }
}

impl From<RunError> for CliError {
    fn from(e: RunError) -> Self {
        match e {
            RunError::NoCommand => Self::Configuration(e.to_string()),
            RunError::InProgress(_) => Self::Busy(e.to_string()),
            _ => Self::Failure(e.to_string()),
        }
    }
}

impl From<TargetError> for CliError {
    fn from(e: TargetError) -> Self {
        match e.is_configuration() {
            true => Self::Configuration(e.to_string()),
            false => Self::Failure(e.to_string()),
        }
    }
}

impl From<UpdateError> for CliError {
    fn from(e: UpdateError) -> Self {
        match e {
            _ if e.is_configuration() => Self::Configuration(e.to_string()),
            _ if e.is_refusal() => Self::Refused(e.to_string()),
            _ => Self::Failure(e.to_string()),
        }
    }
}

impl From<SendError> for CliError {
    fn from(e: SendError) -> Self {
        match e {
            SendError::InProgress(_) => Self::Busy(e.to_string()),
            _ if e.is_configuration() => Self::Configuration(e.to_string()),
            _ => Self::Failure(e.to_string()),
        }
    }
}

/// The command line as declared, for its manual pages.
pub fn declared() -> clap::Command {
    Cli::command()
}

/// Who logs.
const PROGRAM: Program = Program { identifier: "relayd-agent", style: Style::Command("agent") };

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    let Cli { root, command } = Cli::parse();
    let log = match LogControl::start(PROGRAM) {
        Ok(log) => log,
        Err(e) => {
            eprintln!("agent: {e}");
            return ExitCode::FAILURE;
        }
    };
    let ended = perform(&root, command, &log).unwrap_or_else(|e| {
        // What is wrong with settings has several lines: for people all at once, else one event each.
        match Program::is_in_journal() {
            true => e.to_string().lines().for_each(|line| tracing::error!("{line}")),
            false => eprintln!("agent: {e}"),
        }
        ExitCode::from(e.code())
    });
    log.finish();
    ended
}

fn perform(root: &Path, command: Command, log: &LogControl) -> Result<ExitCode, CliError> {
    log.configure(&logging::Settings::new(Level::Info, ""), &[])?;
    let load = |root: &Path| -> Result<Settings, CliError> {
        let settings = Settings::load(root)?.0;
        // What is wrong with the identity is told by whoever needs it.
        let node_id = identity::read_node_id(&settings.paths.node_id).ok().flatten();
        let fields: Vec<_> = node_id.iter().map(|id| ("NODE_ID", id.as_str())).collect();
        log.configure(&settings.logging, &fields)?;
        Ok(settings)
    };
    match command {
        Command::Init(args) => init::run(root, args),
        Command::Enroll(args) => enroll::run(root, args),
        Command::Key(args) => load(root).and_then(|settings| key::run(&settings, args)),
        Command::Cert(args) => load(root).and_then(|settings| cert::run(&settings, args)),
        Command::Trust(args) => load(root).and_then(|settings| trust::run(&settings, args)),
        Command::Triggers(args) => load(root).and_then(|settings| triggers::run(root, &settings, args)),
        Command::Upkeep(args) => load(root).and_then(|settings| upkeep::run(&settings, args)),
        Command::Config(args) => config::run(root, args),
        Command::Completions(args) => completions::run(&args),
        Command::Run(args) => load(root).and_then(|settings| run::run(root, settings, args)),
        Command::Update(args) => load(root).and_then(|settings| update::run(root, &settings, args)),
        Command::Share(args) => load(root).and_then(|settings| share::run(&settings, args)),
        Command::Inventory(args) => load(root).and_then(|settings| inventory::run(root, &settings, args)),
        Command::Send(args) => load(root).and_then(|settings| send::run(root, &settings, args)),
        Command::Resend(args) => load(root).and_then(|settings| resend::run(root, &settings, args)),
        Command::Daemon(args) => load(root).and_then(|settings| daemon::run(root, settings, log, args)),
        Command::Status(args) => load(root).and_then(|settings| status::run(&settings, args)),
    }
}

/// What a lock that cannot be had means.
fn locked(e: LockError) -> CliError {
    match e {
        LockError::Held(holder) => CliError::Busy(format!("already under way ({holder})")),
        LockError::Io(..) => CliError::Failure(e.to_string()),
    }
}

/// A runtime that takes this thread only.
fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// Cancelled by the signals that ask a program to end. Needs a runtime.
fn stop_on_signals() -> io::Result<CancellationToken> {
    stop_on(&[SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()])
}

/// Cancelled by these signals. Needs a runtime.
fn stop_on(kinds: &[SignalKind]) -> io::Result<CancellationToken> {
    let stop = CancellationToken::new();
    for kind in kinds {
        let mut signals = signal(*kind)?;
        let stop = stop.clone();
        tokio::spawn(async move {
            signals.recv().await;
            stop.cancel();
        });
    }
    Ok(stop)
}

/// Prints to standard output; a reader that went away is no error.
fn print(text: &str) -> Result<(), CliError> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(e.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        super::Cli::command().debug_assert();
    }
}
