// SPDX-License-Identifier: Apache-2.0
//! `agent upkeep`.

use std::process::ExitCode;
use tracing::error;

use super::{CliError, runtime, stop_on_signals};
use crate::{settings::Settings, upkeep};

/// Do what keeps this node's identity in order and is due: end a change of keys, ask about an enrolment,
/// renew the certificate of the root's authority, repeat exports.
///
/// The daemon does it by itself; machines that run the agent from a timer may add this.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  agent upkeep")]
pub(super) struct Args {}

pub(super) fn run(settings: &Settings, _: Args) -> Result<ExitCode, CliError> {
    let problems = runtime()?.block_on(async {
        let stop = stop_on_signals()?;
        upkeep::upkeep(settings, &stop).await
    })?;
    for problem in &problems {
        error!("{problem}");
    }
    Ok(if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
