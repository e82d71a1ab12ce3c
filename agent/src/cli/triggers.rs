// SPDX-License-Identifier: Apache-2.0
//! `agent triggers`.

use std::{path::Path, process::ExitCode};

use protocol::triggers::News;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::{CliError, print, runtime, stop_on_signals};
use crate::{
    identity::Identity,
    settings::Settings,
    state::State,
    triggers::{
        self,
        ask::{Answered, AskError, once},
        perform::{PerformError, Performed, perform},
    },
};

/// Ask the policy server which runs it wants, and make them: the configured policy command, told the
/// conditions of each.
///
/// The daemon does it by itself over the connection that it keeps (setting `connected`), and `agent send` and
/// `agent run --send` do it after they have sent something; machines that run the agent from a timer may add
/// this.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The exit status is 0 when there was nothing to do, or all of it was done.

Examples:
  agent triggers
  agent triggers --noted    make those that are noted already, without asking")]
pub(super) struct Args {
    /// Do not ask: make the runs that were noted before, and not made.
    #[arg(long)]
    noted: bool,
    /// Print nothing when there was nothing to do.
    #[arg(long)]
    quiet: bool,
}

pub(super) fn run(root: &Path, settings: &Settings, args: Args) -> Result<ExitCode, CliError> {
    let identity = Identity::load(&settings.paths)?;
    let performed = runtime()?.block_on(async {
        let stop = stop_on_signals()?;
        if args.noted {
            return Ok::<_, CliError>(perform(root, settings, &identity, &stop).await?);
        }
        let news = match once(settings, &identity).await? {
            Answered::News(news) => news,
            Answered::Nothing => {
                return Err(CliError::Failure("the policy server has no runs to tell of (404)".into()));
            }
            Answered::Replaced(_) => return Err(CliError::Failure("the policy server answered 409".into())),
            Answered::Other(what) => return Err(CliError::Failure(what)),
        };
        Ok(triggers::take_up(root, settings, &identity, &news, &stop).await?)
    })?;
    for one in &performed {
        print(&format!("{}\n", words(one)))?;
    }
    if performed.is_empty() && !args.quiet {
        print("no run is asked for\n")?;
    }
    Ok(if performed.iter().all(|one| one.is_made) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Makes the runs that the policy server asked for after it was sent something. That is told, but is no part
/// of how the command fared.
pub(super) async fn take_up(
    root: &Path,
    settings: &Settings,
    identity: &Identity,
    news: &News,
    stop: &CancellationToken,
) {
    match triggers::take_up(root, settings, identity, news, stop).await {
        Ok(performed) => performed.iter().for_each(|one| info!("{}", words(one))),
        Err(e) => error!("runs that were asked for cannot be made: {e}"),
    }
}

/// Makes the runs that were noted, with the settings as they are now, unless the daemon sees to them.
pub(super) async fn make_noted(
    root: &Path,
    settings: &Settings,
    identity: &Identity,
    stop: &CancellationToken,
) {
    let is_free = State::open(&settings.paths.state).is_ok_and(|state| state.lock_connected().is_ok());
    if !is_free {
        return;
    }
    let performed = match Settings::load(root) {
        Ok((settings, _)) => perform(root, &settings, identity, stop).await.map_err(|e| e.to_string()),
        Err(problems) => Err(problems.to_string()),
    };
    match performed {
        Ok(performed) => performed.iter().for_each(|one| info!("{}", words(one))),
        Err(e) => error!("runs that were asked for cannot be made: {e}"),
    }
}

fn words(one: &Performed) -> String {
    format!("run {} asked for by the policy server: {}", one.id, one.result)
}

impl From<PerformError> for CliError {
    fn from(e: PerformError) -> Self {
        Self::Failure(e.to_string())
    }
}

impl From<AskError> for CliError {
    fn from(e: AskError) -> Self {
        if e.is_configuration() { Self::Configuration(e.to_string()) } else { Self::Failure(e.to_string()) }
    }
}
