// SPDX-License-Identifier: Apache-2.0
//! `agent run`.

use std::{ffi::OsString, path::Path, process::ExitCode};

use protocol::{
    remote_run::{Condition, Conditions},
    run_log,
};

use super::{CliError, Colour, print, runtime, send, stop_on_signals, triggers};
use crate::{
    identity::Identity,
    inventory,
    run::{self, Done, order::Order, turn::Turn},
    settings::Settings,
    show::{json, result::Summary, text},
    update::first::update_first,
    upload::{self, SendError, Sent},
};

/// Run the policies once: show what they did and leave the signed run log in the outbox.
///
/// First the policies are fetched, as by `agent update`; when that fails, those that are there run.
/// The command finds AGENT_NODE_ID, AGENT_RUN_START, AGENT_CONFIG_ID, AGENT_CONDITIONS and AGENT_POLICIES (the directory) in its
/// environment, so that it can print reports. Output in another form is attached to one report of the command's exit status.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The exit status is 0 whatever the policies found; see --strict.

Examples:
  agent run                               the configured policy command
  agent run -- cf-agent -K -I -f policy.cf
  agent run --no-update                   with the policies that are there
  agent run --send                        then send what waits, as agent send
  agent run --condition force_update      tell the policies so
  agent run --json -- /usr/local/bin/policies | jq .summary
  agent run --strict -- sh -c 'systemctl is-active sshd'")]
pub(super) struct Args {
    /// Then send what waits in the outbox.
    #[arg(long)]
    send: bool,
    /// Run the policies that are there, without asking for others.
    #[arg(long)]
    no_update: bool,
    /// Tell the policies this: letters, digits and `_`. May be given more than once. The command gets
    /// `-D NAME` for each (setting `condition_argument`), and AGENT_CONDITIONS.
    #[arg(long, value_name = "NAME")]
    condition: Vec<Condition>,
    /// Print the result as JSON.
    #[arg(long, conflicts_with = "quiet")]
    json: bool,
    /// Print one line only.
    #[arg(long)]
    quiet: bool,
    /// Exit with status 4 when a component is in error or not compliant.
    #[arg(long)]
    strict: bool,
    /// When to colour.
    #[arg(long, value_enum, default_value_t = Colour::Auto, value_name = "WHEN")]
    color: Colour,
    /// Policy command with its arguments, instead of the configured one.
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

pub(super) fn run(root: &Path, mut settings: Settings, args: Args) -> Result<ExitCode, CliError> {
    let identity = Identity::load(&settings.paths)?;
    let conditions =
        Conditions::try_from(args.condition).map_err(|e| CliError::Configuration(e.to_string()))?;
    let order = Order {
        command: Some(args.command).filter(|command| !command.is_empty()),
        conditions: conditions.clone(),
        listener: None,
    };
    let (done, sent) = runtime()?.block_on(async {
        let stop = stop_on_signals()?;
        let turn = Turn::take(&settings).await?;
        let notes = match settings.update && !args.no_update {
            true => update_first(&turn, root, &mut settings, &identity, &stop).await,
            false => vec![],
        };
        let done = run::run(&turn, &settings, &identity, order, &notes, &stop).await?;
        drop(turn);
        let send = args.send && settings.sends_reports() && !stop.is_cancelled();
        let sent = if send { Some(upload::send(&settings, &identity, false, &stop).await) } else { None };
        inventory::after_run(root, &settings, &identity, &conditions, &stop).await;
        if let Some(news) = sent.as_ref().and_then(|sent| sent.as_ref().ok()?.news.as_ref()) {
            triggers::take_up(root, &settings, &identity, news, &stop).await;
        }
        Ok::<_, CliError>((done, sent))
    })?;
    let log = run_log::parse(&done.text, &done.id.node_id)
        .map_err(|e| CliError::Failure(format!("the run log cannot be read back: {e}")))?;
    let summary = Summary::of(&log);
    if args.json {
        let mut value = json::run(&done, &log);
        value["send"] = sent.as_ref().map(json::sent).unwrap_or_default();
        print(&format!("{value:#}\n"))?;
    } else if args.quiet {
        print(&format!(
            "run {}: {}; {summary}; {}\n",
            done.id.start.to_rfc3339(),
            done.ending,
            fate(&done, &sent)
        ))?;
    } else {
        let mut out = text::render(&log, args.color.is_on());
        out += &format!("{}\n", fate(&done, &sent));
        print(&out)?;
    }
    Ok(match args.strict && (summary.has_failures() || !done.ending.is_success()) {
        true => ExitCode::from(4),
        false => ExitCode::SUCCESS,
    })
}

/// What became of the run log, in one line.
fn fate(done: &Done, sent: &Option<Result<Sent, SendError>>) -> String {
    let (path, size) = match &done.kept {
        Ok(kept) => kept,
        Err(reason) => return reason.to_string(),
    };
    let waits = || format!("run log waits in {} ({size} bytes)", path.display());
    match sent {
        None => waits(),
        Some(Ok(sent)) if sent.left == 0 && sent.rejected == 0 => {
            format!("run log sent: {}", send::describe(sent))
        }
        Some(Ok(sent)) => format!("{}; {}", waits(), send::describe(sent)),
        Some(Err(e)) => format!("{}; not sent: {e}", waits()),
    }
}
