// SPDX-License-Identifier: Apache-2.0
//! `agent key`.

use std::{process::ExitCode, time::Duration};

use clap::Subcommand;
use protocol::node_id::NodeId;
use tracing::{info, warn};

use super::{CliError, init::Key, print, runtime, stop_on_signals};
use crate::{
    enrol::Enrolment,
    identity::Identity,
    roll::{self, RollError},
    settings::Settings,
    state::State,
    upkeep,
};

/// Change this node's key.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  agent key roll
  agent key roll --key p256 --wait 10m")]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Roll(Roll),
}

/// Take a new key into use, signed with the old one.
///
/// The old key stays in use until the policy server knows the new one, and is kept as `.old` for a
/// month; run logs that wait are still good. A new key that is refused is put aside, should the root have it after all.
/// Stopped at any moment, the same command or the daemon goes on.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit status: 0 the new key is in use, 4 the policy server does not know it in time (the old one stays in
use), 5 it was refused, 1 another failure.

Examples:
  agent key roll
  agent key roll --key p256 --wait 10m
  agent key roll --also-server    on a relay whose gateway has no key of its own")]
struct Roll {
    /// Kind of the new key.
    #[arg(long, value_enum, default_value_t = Key::Rsa4096)]
    key: Key,
    /// How long to wait until the policy server knows the new key.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "5m")]
    wait: Duration,
    /// This machine is a relay, and nodes that pin its key are cared for (`relayd server-key`).
    #[arg(long)]
    also_server: bool,
}

pub(super) fn run(
    settings: &Settings,
    Args { action: Action::Roll(args) }: Args,
) -> Result<ExitCode, CliError> {
    let state = State::open(&settings.paths.state)?;
    let before = Identity::load(&settings.paths)?;
    if is_server(settings, &state, &before) && !args.also_server {
        return Err(CliError::Configuration(
            "this machine is a policy server, and unless gateway.certificate says otherwise its nodes know it by \
             this key\n    see `relayd server-key` for the gateway's key; when it has files of its own, give --also-server"
                .into(),
        ));
    }
    let options = roll::Options { kind: args.key.into(), wait: args.wait };
    let (identity, problems) = runtime()?.block_on(async {
        let stop = stop_on_signals()?;
        let say = |text: &str| info!("{text}");
        let rolled = roll::roll(settings, options, say, &stop).await;
        upkeep::wake(&state)?;
        let identity = rolled?;
        let problems = upkeep::certificates(settings, &state, &identity, false).await?;
        Ok::<_, CliError>((identity, problems))
    })?;
    for problem in problems {
        warn!("the daemon tries again: {problem}");
    }
    let hash = |identity: &Identity| identity.certificate.key_hash();
    print(&format!("old  {}\nnew  {}\n", hash(&before), hash(&identity)))?;
    Ok(ExitCode::SUCCESS)
}

/// Whether nodes may know this machine by the key of its agent.
fn is_server(settings: &Settings, state: &State, identity: &Identity) -> bool {
    let relayd = settings.paths.agent_conf.with_file_name("relayd").join("main.conf");
    Enrolment::load(state).as_relay || identity.node_id == NodeId::root() || relayd.exists()
}

impl From<RollError> for CliError {
    fn from(e: RollError) -> Self {
        match e {
            RollError::InProgress(_) => Self::Busy(e.to_string()),
            RollError::NotYet(_) | RollError::Undecided(_) => Self::Undecided(e.to_string()),
            RollError::Refused { .. } => Self::Refused(e.to_string()),
            RollError::Identity(e) => e.into(),
            RollError::Target(ref target) if target.is_configuration() => Self::Configuration(e.to_string()),
            _ => Self::Failure(e.to_string()),
        }
    }
}
