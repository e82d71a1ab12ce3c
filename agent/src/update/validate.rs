// SPDX-License-Identifier: Apache-2.0
//! Whether policies that are in place, on trial, may be used.

use std::{ffi::OsString, path::Path};

use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{
    run::{
        orphan::Running,
        process::{self, Ending, Limits},
        turn::Turn,
    },
    settings::Settings,
};

/// What is kept of what the command says, in bytes.
const OUTPUT: usize = 64 * 1024;

/// What of that is shown, in lines.
const SHOWN: usize = 5;

/// Why policies do not pass.
#[derive(Debug)]
pub enum Verdict {
    /// They pass.
    Passed,
    /// They do not.
    Failed(String),
    /// It is not known: the agent was told to stop.
    Stopped,
}

/// Judges the policies in place: the settings they bring can be read, and the command has nothing against them.
pub async fn validate(turn: &Turn, root: &Path, settings: &Settings, stop: &CancellationToken) -> Verdict {
    if let Err(problems) = Settings::load(root) {
        return Verdict::Failed(format!("with them the settings are wrong: {problems}"));
    }
    let Some(command) = &settings.validate_command else { return Verdict::Passed };
    let command: Vec<OsString> = command.iter().map(OsString::from).collect();
    let environment = [("AGENT_POLICIES", settings.paths.policies.display().to_string())];
    let limits = Limits { time: settings.validate_time_limit, grace: settings.stop_grace, output: OUTPUT };
    let started = |pid| {
        if let Some(Err(e)) = Running::of(pid).map(|running| turn.state().save_running(&running)) {
            warn!("the validation command cannot be remembered: {e}");
        }
    };
    let (ending, output) = process::execute(&command, &environment, limits, None, started, stop).await;
    turn.state().clear_running();
    match ending {
        Ending::Exited(0) => Verdict::Passed,
        Ending::Stopped => Verdict::Stopped,
        ending => {
            let lines: Vec<String> = output.lines().map(|line| line.text.to_owned()).collect();
            let last = lines[lines.len().saturating_sub(SHOWN)..].join("; ");
            let colon = if last.is_empty() { "" } else { ": " };
            Verdict::Failed(format!("the validation command failed: {ending}{colon}{last}"))
        }
    }
}
