// SPDX-License-Identifier: Apache-2.0
//! `agent daemon`.

use std::{path::Path, process::ExitCode};

use logging::LogControl;
use tokio::signal::unix::SignalKind;

use super::{CliError, runtime, stop_on};
use crate::{
    identity::{self, IdentityError},
    settings::Settings,
};

/// Run the policies and send run logs on schedule, until told to stop.
///
/// Runs start every `run_interval`, counted from 1970-01-01 00:00 UTC, plus this node's splay: the bytes of its id
/// as one big-endian number, modulo `splay` in seconds. SIGTERM ends the current policy command; its
/// run log is still kept. SIGHUP has the settings read again, which they are before each run as well.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  agent daemon
  agent --root /tmp/node1 daemon")]
pub(super) struct Args {}

pub(super) fn run(root: &Path, settings: Settings, log: &LogControl, _: Args) -> Result<ExitCode, CliError> {
    if settings.policy_command.is_none() {
        return Err(crate::run::RunError::NoCommand.into());
    }
    let file = &settings.paths.node_id;
    let node_id = identity::read_node_id(file)?.ok_or(IdentityError::Missing(file.clone()))?;
    runtime()?.block_on(async {
        // SIGHUP has the settings read again.
        let stop = stop_on(&[SignalKind::terminate(), SignalKind::interrupt()])?;
        crate::daemon::daemon(root, settings, &node_id, log, stop).await
    })?;
    Ok(ExitCode::SUCCESS)
}
