// SPDX-License-Identifier: Apache-2.0
//! A run for programs: the shape of `agent run --json`, of `agent send --json` and of their parts.

use chrono::SecondsFormat;
use protocol::run_log::RunLog;
use serde_json::{Value, json};

use super::result::{Summary, components};
use crate::{
    run::Done,
    upload::{SendError, Sent},
};

/// A run and its components.
pub fn run(done: &Done, log: &RunLog<'_>) -> Value {
    let components = components(log);
    json!({
        "node_id": done.id.node_id,
        "start": done.id.start.to_rfc3339_opts(SecondsFormat::Secs, false),
        "config_id": log.config_id,
        "ending": done.ending.to_string(),
        "success": done.ending.is_success(),
        "summary": Summary::over(&components),
        "components": components,
        "skipped": log.skipped.len(),
        "run_log": done.kept.as_ref().ok().map(|(path, _)| path.display().to_string()),
        "run_log_size": done.kept.as_ref().ok().map(|(_, size)| size),
        "not_kept": done.kept.as_ref().err().map(ToString::to_string),
    })
}

/// An attempt to send.
pub fn sent(result: &Result<Sent, SendError>) -> Value {
    match result {
        Ok(sent) => json!({
            "sent": sent.sent,
            "bytes": sent.bytes,
            "rejected": sent.rejected,
            "left": sent.left,
            "problem": sent.problem,
            "wait_until": sent.wait_until,
            "pinned": sent.pinned.as_ref().map(ToString::to_string),
            "keys": sent.keys,
            "dropped": sent.dropped,
            "again": sent.again,
        }),
        Err(e) => json!({ "problem": e.to_string() }),
    }
}
