// SPDX-License-Identifier: Apache-2.0
//! `agent send`.

use std::{path::Path, process::ExitCode};

use super::{CliError, print, runtime, stop_on_signals, triggers};
use crate::{
    identity::Identity,
    settings::Settings,
    show::json,
    upload::{self, Sent},
};

/// Send the run logs that wait in the outbox, oldest first.
///
/// What the policy server refuses for good goes to the `failed` directory with the reason beside it;
/// everything else stays until it is sent or too old.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The exit status is 0 when nothing is left, 1 when something is.

Examples:
  agent send
  agent send --now      even if the server asked to wait
  agent send --json | jq .left")]
#[group(skip)] // `agent resend` takes these arguments as well
pub(super) struct Args {
    /// Do not wait, even if the server asked for it (Retry-After).
    #[arg(long)]
    now: bool,
    /// Print the result as JSON.
    #[arg(long, conflicts_with = "quiet")]
    json: bool,
    /// Print nothing when there was nothing to send.
    #[arg(long)]
    quiet: bool,
}

impl Args {
    /// Whether nothing else than the result may be printed.
    pub(super) fn is_silent(&self) -> bool {
        self.json || self.quiet
    }
}

pub(super) fn run(root: &Path, settings: &Settings, args: Args) -> Result<ExitCode, CliError> {
    let identity = Identity::load(&settings.paths)?;
    let result = runtime()?.block_on(async {
        let stop = stop_on_signals()?;
        let sent = upload::send(settings, &identity, args.now, &stop).await;
        if let Some(news) = sent.as_ref().ok().and_then(|sent| sent.news.as_ref()) {
            triggers::take_up(root, settings, &identity, news, &stop).await;
        }
        Ok::<_, CliError>(sent)
    })?;
    if args.json {
        print(&format!("{:#}\n", json::sent(&result)))?;
    }
    let sent = result?;
    let done = sent.left == 0;
    let nothing_to_say = args.quiet && done && sent.sent == 0;
    if !args.json && !nothing_to_say {
        print(&format!("{}\n", describe(&sent)))?;
    }
    Ok(if done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// An attempt in one line.
pub(super) fn describe(sent: &Sent) -> String {
    let mut parts = vec![format!("{} sent", sent.sent)];
    if sent.rejected > 0 {
        parts.push(format!("{} refused for good", sent.rejected));
    }
    if sent.again > 0 {
        parts.push(format!("{} of them again, which the server asked for", sent.again));
    }
    if sent.dropped > 0 {
        parts.push(format!("{} dropped by retention", sent.dropped));
    }
    parts.push(format!("{} left", sent.left));
    let mut text = parts.join(", ");
    if let Some(problem) = &sent.problem {
        text += &format!(": {problem}");
    }
    if let Some(pin) = &sent.pinned {
        text += &format!("; the policy server is trusted from now on by its key {pin}");
    }
    for change in &sent.keys {
        text += &format!("; {change}");
    }
    text
}
