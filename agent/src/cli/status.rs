// SPDX-License-Identifier: Apache-2.0
//! `agent status`.

use std::{process::ExitCode, time::Duration};

use chrono::{DateTime, Utc};
use protocol::enrolment::State as Standing;
use serde_json::{Value, json};

use super::{CliError, cert, print, trust};
use crate::{
    enrol::Enrolment,
    identity::Identity,
    inventory,
    outbox::Outbox,
    roll,
    settings::Settings,
    state::{SendState, State},
    update::{
        memory::{Memory, Source},
        slot,
    },
    upkeep::Upkeep,
};

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

fn gather(settings: &Settings, identity: &Identity) -> Result<Value, CliError> {
    let state = State::open(&settings.paths.state)?;
    let outbox = Outbox::open(&settings.paths, &identity.node_id)?;
    let waiting = outbox.waiting()?;
    let (run, send) = (state.run(), state.send());
    let (enrolment, upkeep) = (Enrolment::load(&state), Upkeep::load(&state));
    Ok(json!({
        "node_id": identity.node_id,
        "pin": identity.certificate.key_hash().to_string(),
        "enrolment": enrolment.state.map(|state| json!({
            "state": state.as_str(), "detail": enrolment.detail, "at": enrolment.at,
            "as_relay": enrolment.as_relay, "doubt": doubt(&enrolment, &send),
        })),
        "certificates": cert::gather(settings, &state, identity),
        "key_change": roll::is_under_way(settings),
        "trust": trust::gather(settings)?,
        "policies": policies(settings, &state),
        "upkeep": { "next": upkeep.next, "problem": upkeep.problem },
        "server": settings.server.as_ref().map(ToString::to_string),
        "outbox": {
            "waiting": waiting.len(),
            "bytes": waiting.iter().map(|one| one.size).sum::<u64>(),
            "oldest": waiting.first().map(|one| one.name.run_id().start),
            "failed": outbox.failed()?,
            "copies": outbox.copies()?,
        },
        "dropped": state.dropped(),
        "inventory": inventory(settings, &state),
        "last_run": run.start.map(|start| json!({
            "start": start, "ending": run.ending, "summary": run.summary,
        })),
        "last_send": send.at.map(|at| json!({
            "at": at, "sent": send.sent, "rejected": send.rejected, "problem": send.problem,
            "next_attempt": send.next_attempt, "retry_after": send.retry_after, "denied": send.denied,
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
        format!("fingerprint {}", text(&status["pin"])),
        format!("enrolment  {}", enrolment(status)),
        format!("certificate until {}", until(&status["certificates"])),
        format!("server     {}, {}", text(&status["server"]), known(&status["trust"])),
        format!("policies   {}", in_use(&status["policies"])),
        format!(
            "outbox     {} waiting ({} bytes), oldest {}; {} refused for good; {} copies of what was sent",
            outbox["waiting"],
            outbox["bytes"],
            text(&outbox["oldest"]),
            outbox["failed"],
            outbox["copies"]
        ),
        format!(
            "dropped    {} by retention ({} bytes)",
            status["dropped"]["logs"], status["dropped"]["bytes"]
        ),
    ];
    if status["key_change"] == true {
        lines.push("key        a change is under way; the daemon or `agent key roll` ends it".to_owned());
    }
    if let Some(problem) = status["upkeep"]["problem"].as_str() {
        lines.push(format!("upkeep     {problem}"));
    }
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
    let inventory = &status["inventory"];
    let off = if inventory["scheduled"] == true { "" } else { "; none are made on schedule" };
    lines.push(format!("inventory  last sent {}{off}", text(&inventory["sent"])));
    if !inventory["problem"].is_null() {
        lines.push(format!("           {}", text(&inventory["problem"])));
        lines.push(format!("           next attempt {}", text(&inventory["next_attempt"])));
    }
    lines.join("\n") + "\n"
}

/// How the last inventory went.
fn inventory(settings: &Settings, state: &State) -> Value {
    let memory = inventory::schedule::Memory::load(state);
    json!({
        "scheduled": inventory::schedule::is_enabled(settings),
        "sent": memory.sent,
        "waiting": memory.pending.is_some(),
        "problem": memory.problem,
        "next_attempt": memory.next_attempt,
    })
}

/// What is known of the policies.
fn policies(settings: &Settings, state: &State) -> Value {
    let memory = match Memory::load(state) {
        Ok(memory) => memory,
        Err(e) => return json!({ "problem": e.to_string() }),
    };
    let active = memory.active.filter(|active| {
        slot::id_of(&settings.paths.policies).is_ok_and(|there| there == Some(active.directory))
    });
    let now = Utc::now();
    json!({
        "directory": settings.paths.policies,
        "active": active,
        "signed": active.as_ref().map(|active| active.source == Source::SignedManifest),
        "age": active.as_ref().map(|active| (now - active.since).num_seconds().max(0)),
        "expired": active.as_ref().and_then(|active| active.expires).map(|expires| expires <= now),
        "key_pinned": slot::id_of(&settings.paths.policy_key).is_ok_and(|there| there.is_some()),
        "held": memory.held,
        "last_update": memory.at,
        "none_on_server": memory.none,
        "problem": memory.problem,
        "refused": memory.refused,
        "update": settings.update,
    })
}

/// The policies in use, in a line, and a second one when something is wrong.
fn in_use(policies: &Value) -> String {
    let active = &policies["active"];
    let mut line = match active["files"].as_u64() {
        None if policies["none_on_server"] == true => "none on the server for this node".to_owned(),
        None => "not fetched from the server".to_owned(),
        Some(files) => {
            let version = active["version"].as_u64().filter(|version| *version > 0);
            let version = version.map_or("no version".to_owned(), |version| format!("version {version}"));
            let signed = if policies["signed"] == true { "signed" } else { "not signed" };
            let source = match active["source"].as_str() {
                Some("archive") => "from an archive",
                _ => "by manifest",
            };
            let age = Duration::from_secs(policies["age"].as_u64().unwrap_or_default());
            let age = humantime::format_duration(age);
            format!("{version}, {files} files, {source}, {signed}, in use for {age}")
        }
    };
    if policies["expired"] == true {
        line += &format!("; expired at {}", active["expires"].as_str().unwrap_or_default());
    }
    if let Some(problem) = policies["problem"].as_str() {
        line += &format!("\n           {problem}");
    }
    line
}

/// Why what was said of the enrolment may not be so any more: what the server did with run logs since.
fn doubt(enrolment: &Enrolment, send: &SendState) -> Option<String> {
    let time = |at: DateTime<Utc>| at.format("%F %T UTC").to_string();
    let is_newer = |at: DateTime<Utc>| enrolment.at.is_none_or(|said| at > said);
    let accepted = enrolment.state == Some(Standing::Accepted);
    match (&send.denied, send.taken) {
        (Some(denied), _) if accepted && is_newer(denied.at) => Some(format!(
            "but on {} the server answered {} (revoked? `agent enroll --no-wait` asks)",
            time(denied.at),
            denied.answer
        )),
        (None, Some(at)) if !accepted && is_newer(at) => {
            Some(format!("but on {} the server took a run log (`agent enroll --no-wait` asks)", time(at)))
        }
        _ => None,
    }
}

fn enrolment(status: &Value) -> String {
    let said = said(&status["enrolment"]);
    match status["enrolment"]["doubt"].as_str() {
        Some(doubt) => format!("{said}\n           {doubt}"),
        None => said,
    }
}

fn said(enrolment: &Value) -> String {
    match (enrolment["state"].as_str(), enrolment["detail"].as_str()) {
        (None, _) => "never asked (`agent enroll`)".to_owned(),
        (Some(state), Some(detail)) if !detail.is_empty() && detail != state => format!("{state}: {detail}"),
        (Some(state), _) => state.to_owned(),
    }
}

/// When the certificates end: for one's own key nothing stops then.
fn until(certificates: &Value) -> String {
    let own = certificates["own"]["not_after"].as_str().unwrap_or_default();
    match certificates["issued"]["not_after"].as_str() {
        Some(issued) => format!("{issued} (issued), {own} (own)"),
        None => own.to_owned(),
    }
}

/// How the policy server is known, in one line.
fn known(trust: &Value) -> String {
    let pins: Vec<&str> = trust["pins"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    match trust["source"].as_str() {
        Some("authority") => "known by its certificate's authority and name".to_owned(),
        _ if pins.is_empty() => "not pinned yet".to_owned(),
        _ => format!("pinned: {}", pins.join(", ")),
    }
}
