// SPDX-License-Identifier: Apache-2.0
//! `agent status`.

use std::{io, process::ExitCode};

use serde_json::{Value, json};

use super::{CliError, print};
use crate::{identity::Identity, outbox::Outbox, settings::Settings, state::State};

/// Show who this node is, what waits in its outbox, and how the last run and upload went.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  agent status
  agent status --json | jq .outbox.waiting")]
pub(super) struct Args {
    /// Print as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(settings: &Settings, args: Args) -> Result<ExitCode, CliError> {
    let identity = Identity::load(&settings.paths)?;
    let status = gather(settings, &identity)?;
    print(&if args.json { format!("{status:#}\n") } else { for_people(&status) })?;
    Ok(ExitCode::SUCCESS)
}

fn gather(settings: &Settings, identity: &Identity) -> io::Result<Value> {
    let state = State::open(&settings.paths.state)?;
    let outbox = Outbox::open(&settings.paths, &identity.node_id)?;
    let waiting = outbox.waiting()?;
    let (run, send) = (state.run(), state.send());
    Ok(json!({
        "node_id": identity.node_id,
        "pin": identity.certificate.key_hash().to_string(),
        "server": settings.server.as_ref().map(ToString::to_string),
        "outbox": {
            "waiting": waiting.len(),
            "bytes": waiting.iter().map(|one| one.size).sum::<u64>(),
            "oldest": waiting.first().map(|one| one.name.run_id().start),
            "failed": outbox.failed()?,
        },
        "dropped": state.dropped(),
        "last_run": run.start.map(|start| json!({
            "start": start, "ending": run.ending, "summary": run.summary,
        })),
        "last_send": send.at.map(|at| json!({
            "at": at, "sent": send.sent, "rejected": send.rejected, "problem": send.problem,
            "next_attempt": send.next_attempt, "retry_after": send.retry_after,
        })),
    }))
}

fn for_people(status: &Value) -> String {
    let text = |value: &Value| match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let outbox = &status["outbox"];
    let mut lines = vec![
        format!("node       {}", text(&status["node_id"])),
        format!("pin        {}", text(&status["pin"])),
        format!("server     {}", text(&status["server"])),
        format!(
            "outbox     {} waiting ({} bytes), oldest {}; {} refused for good",
            outbox["waiting"],
            outbox["bytes"],
            text(&outbox["oldest"]),
            outbox["failed"]
        ),
        format!(
            "dropped    {} by retention ({} bytes)",
            status["dropped"]["logs"], status["dropped"]["bytes"]
        ),
    ];
    let run = &status["last_run"];
    lines.push(match run {
        Value::Null => "last run   none".to_owned(),
        run => {
            format!("last run   {}: {}; {}", text(&run["start"]), text(&run["ending"]), text(&run["summary"]))
        }
    });
    let send = &status["last_send"];
    lines.push(match send {
        Value::Null => "last send  none".to_owned(),
        send => {
            format!("last send  {}: {} sent, {} refused", text(&send["at"]), send["sent"], send["rejected"])
        }
    });
    if !send["problem"].is_null() {
        lines.push(format!("           {}", text(&send["problem"])));
        lines.push(format!("           next attempt {}", text(&send["next_attempt"])));
    }
    lines.join("\n") + "\n"
}
