// SPDX-License-Identifier: Apache-2.0
//! `agent update`.

use std::{path::Path, process::ExitCode};

use serde_json::{Value, json};

use super::{CliError, print, runtime, stop_on_signals, triggers};
use crate::{
    identity::Identity,
    run::turn::Turn,
    settings::Settings,
    update::{self, Done, Options, Outcome, UpdateError, memory::Memory},
};

/// Fetch the policies from the policy server, if they have changed, and put them to use.
///
/// Only what changed travels. The directory is replaced as a whole; the one before stays beside it and comes back
/// when `validate_command` fails. With certificates in `paths.policy_key` only policies signed by one of these keys
/// are taken, meant for this node, not older than those it had, and not expired. `agent run` does all this first.
/// Then runs that the policy server asks for are made, as after `agent send`; that does not count here.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit status: 0 the policies in use are those of the server, or it has none; 1 the server cannot be
asked, or the disk is at fault; 2 settings, or the file of policy keys, are wrong; 3 a run or an
update is under way; 4 with --check: there are other policies; 5 there are policies that this node
does not take.

Examples:
  agent update
  agent update --check          only say whether there is something new
  agent update --force          look at each file, also try again what did not pass
  agent update --json | jq .received")]
pub(super) struct Args {
    /// Only say whether there is something new: nothing is changed.
    #[arg(long, conflicts_with = "force")]
    check: bool,
    /// Compare each file, and try again what did not pass.
    #[arg(long)]
    force: bool,
    /// Print the result as JSON.
    #[arg(long, conflicts_with = "quiet")]
    json: bool,
    /// Print nothing when nothing changed.
    #[arg(long)]
    quiet: bool,
}

pub(super) fn run(root: &Path, settings: &Settings, args: Args) -> Result<ExitCode, CliError> {
    if settings.server.is_none() {
        return Err(crate::server::target::TargetError::NoServer.into());
    }
    let identity = Identity::load(&settings.paths)?;
    let options = Options { check: args.check, force: args.force, news: !args.check };
    let (updated, memory) = runtime()?.block_on(async {
        let stop = stop_on_signals()?;
        let turn = Turn::take(settings).await?;
        let updated = update::update(&turn, root, settings, &identity, options, &stop).await;
        let memory = Memory::load(turn.state())?;
        drop(turn);
        if options.news {
            triggers::make_noted(root, settings, &identity, &stop).await;
        }
        Ok::<_, CliError>((updated, memory))
    })?;
    if args.json {
        print(&format!("{:#}\n", as_json(&updated, &memory)))?;
    }
    let done = updated?;
    let quiet = args.quiet && matches!(done.outcome, Outcome::Unchanged | Outcome::NoPolicies);
    if !args.json && !quiet {
        print(&format!("{}\n", describe(&done, &memory)))?;
    }
    Ok(match done.outcome {
        Outcome::Available => ExitCode::from(4),
        _ => ExitCode::SUCCESS,
    })
}

/// An update in one line.
pub(super) fn describe(done: &Done, memory: &Memory) -> String {
    let what = memory.active.as_ref().map(|active| {
        let version = active.version.filter(|version| *version > 0);
        let version = version.map(|version| format!("version {version}, ")).unwrap_or_default();
        format!("{version}{} files", active.files)
    });
    let what = what.unwrap_or_else(|| "the library".to_owned());
    let mut text = match done.outcome {
        Outcome::NoServer => "no policy server is configured".to_owned(),
        Outcome::NoPolicies => "the policy server has no policies for this node".to_owned(),
        Outcome::Unchanged => format!("the policies have not changed ({what})"),
        Outcome::Available => "the policy server has other policies than those in use".to_owned(),
        Outcome::Updated => format!("new policies are in use: {what}, {} bytes received", done.received),
    };
    if let Some(pin) = &done.pinned {
        text += &format!("; the policy server is trusted from now on by its key {pin}");
    }
    for change in &done.keys {
        text += &format!("; {change}");
    }
    text
}

fn as_json(updated: &Result<Done, UpdateError>, memory: &Memory) -> Value {
    let outcome = match updated {
        Err(e) if e.is_refusal() => "refused",
        Err(_) => "failed",
        Ok(done) => match done.outcome {
            Outcome::NoServer => "no_server",
            Outcome::NoPolicies => "no_policies",
            Outcome::Unchanged => "unchanged",
            Outcome::Available => "available",
            Outcome::Updated => "updated",
        },
    };
    json!({
        "outcome": outcome,
        "error": updated.as_ref().err().map(ToString::to_string),
        "received": updated.as_ref().ok().map(|done| done.received),
        "policies": memory.active,
    })
}
