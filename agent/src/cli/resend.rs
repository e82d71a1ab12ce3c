// SPDX-License-Identifier: Apache-2.0
//! `agent resend`.

use std::{
    path::Path,
    process::ExitCode,
    time::{Duration, SystemTime},
};

use chrono::{DateTime, Utc};

use super::{CliError, print, send};
use crate::{identity::Identity, settings::Settings, upload::resend};

/// Send run logs again that the policy server had taken: what it lacks after it came back from a backup.
///
/// Copies are kept for `sent_retention`. A server that has a run log already does not store it twice.
#[derive(Debug, clap::Args)]
#[group(skip)]
#[command(after_help = "\
Servers with relayd ask for this themselves (`processing.reporting.resend_since`).
The exit status is that of `agent send`.

Examples:
  agent resend                               all that is kept
  agent resend --since 26h                   what was sent in the last 26 hours
  agent resend --since 2026-11-22T03:00:00Z")]
pub(super) struct Args {
    /// From when on: a time ago, or a moment. An hour more is added for clocks and relays.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<SystemTime>,
    #[command(flatten)]
    send: send::Args,
}

pub(super) fn run(root: &Path, settings: &Settings, args: Args) -> Result<ExitCode, CliError> {
    let identity = Identity::load(&settings.paths)?;
    let again = resend::put_back(settings, &identity, args.since.unwrap_or(SystemTime::UNIX_EPOCH))?;
    if !args.send.is_silent() {
        print(&format!("{again} put back into the outbox\n"))?;
    }
    send::run(root, settings, args.send)
}

fn moment(text: &str) -> Result<SystemTime, String> {
    if let Ok(at) = text.parse::<DateTime<Utc>>() {
        return Ok(at.into());
    }
    let ago: Duration = humantime::parse_duration(text).map_err(|e| {
        format!("{e}; write a time ago such as 26h, or a moment such as 2026-11-22T03:00:00Z")
    })?;
    Ok(SystemTime::now().checked_sub(ago).unwrap_or(SystemTime::UNIX_EPOCH))
}
