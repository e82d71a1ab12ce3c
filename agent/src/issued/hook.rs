// SPDX-License-Identifier: Apache-2.0
//! The program that is told of a new certificate: no shell, a time limit, its own process group.

use std::{path::Path, process::Stdio, time::Duration};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{process::Command, time::timeout};

use crate::enrol::TOKEN_VARIABLE;

/// How long it may take.
const LIMIT: Duration = Duration::from_secs(60);

/// Runs `words`, a program and its arguments, with the places of the files in its environment.
///
/// **Errors**: why it did not succeed, for people.
pub async fn run(words: &[String], environment: &[(&str, Option<&Path>)]) -> Result<(), String> {
    let Some((program, arguments)) = words.split_first() else { return Ok(()) };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).process_group(0).env_remove(TOKEN_VARIABLE);
    for (name, path) in environment {
        match path {
            Some(path) => command.env(name, path),
            None => command.env_remove(name),
        };
    }
    let mut child = command.spawn().map_err(|e| format!("the hook {program:?} cannot be started: {e}"))?;
    match timeout(LIMIT, child.wait()).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(format!("the hook {program:?} ended with {status}")),
        Ok(Err(e)) => Err(format!("the hook {program:?}: {e}")),
        Err(_) => {
            if let Some(group) = child.id().and_then(|id| Pid::from_raw(id as i32)) {
                let _ = kill_process_group(group, Signal::KILL);
            }
            let _ = child.wait().await;
            Err(format!("the hook {program:?} took longer than {} s and was ended", LIMIT.as_secs()))
        }
    }
}
