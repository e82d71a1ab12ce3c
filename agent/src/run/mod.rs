// SPDX-License-Identifier: Apache-2.0
//! One run: policy command → captured lines → framed text → signed, packed file in the outbox.
//!
//! | file | what |
//! |---|---|
//! | [`order`] | what a run is to do beside what is configured |
//! | [`turn`] | the right to run: one at a time, with everything in order |
//! | [`process`] | the command in its process group, time limit, stop |
//! | [`capture`] | its output as stamped lines, in bounded memory |
//! | [`orphan`] | a command that outlived its agent |
//! | [`line`], [`frame`] | what lines are, and the run log made of them |
//!
//! Invariant: one run at a time, the command of a killed agent included, and each has its own start in whole seconds, hence its own file name.

pub mod capture;
pub mod frame;
pub mod line;
pub mod order;
pub mod orphan;
pub mod process;
pub mod turn;

use std::{ffi::OsString, fs, io, path::Path, path::PathBuf, time::Duration};

use chrono::{DateTime, SubsecRound, Utc};
use openssl::error::ErrorStack;
use protocol::{
    compression, limits,
    run_id::{RunId, RunLogName},
    run_log::{self, RunLog, instance::Instance},
    smime,
};
use tokio_util::sync::CancellationToken;

use self::{
    capture::Capture,
    order::Order,
    orphan::Running,
    process::{Ending, Limits},
    turn::Turn,
};
use tracing::warn;

use crate::{
    identity::Identity,
    outbox::Outbox,
    settings::{Settings, policies::ReportMode},
    show::result::Summary,
    update,
};

/// A run that is over.
#[derive(Debug)]
pub struct Done {
    /// Node and start.
    pub id: RunId,
    /// How the command ended.
    pub ending: Ending,
    /// The whole run log, before anything was left out.
    pub text: String,
    /// What was put into the outbox: file and its bytes; or why nothing was.
    pub kept: Result<(PathBuf, u64), NotKept>,
}

/// Why a run leaves no file in the outbox, by intention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotKept {
    /// Bootstrap policies.
    #[error("not sent: these are the initial policies")]
    Initial,
    /// Reporting is off.
    #[error("not sent: the report mode is reports-disabled")]
    Disabled,
}

/// Runs the policy command and keeps its run log.
///
/// A cancelled `stop` ends the command; its run log is kept all the same. `notes` are what the agent itself has to
/// say in it, a line each.
pub async fn run(
    turn: &Turn,
    settings: &Settings,
    identity: &Identity,
    order: Order,
    notes: &[String],
    stop: &CancellationToken,
) -> Result<Done, RunError> {
    let command = order.command(settings).ok_or(RunError::NoCommand)?;
    let state = turn.state();
    update::expect_passed(state).map_err(RunError::Policies)?;
    let outbox = Outbox::open(&settings.paths, &identity.node_id).map_err(RunError::Outbox)?;
    outbox.clean().map_err(RunError::Outbox)?;

    let mut remembered = state.run();
    let id = unused_run_id(identity, &outbox, remembered.start).await;
    remembered.start = Some(id.start.to_utc());
    let instance = Instance {
        counter: state.next_counter(id.start.to_utc()).map_err(RunError::State)?,
        boot_id: boot_id(),
        address: state.address(),
    };
    let environment = [
        ("AGENT_NODE_ID", id.node_id.to_string()),
        ("AGENT_RUN_START", id.start.format("%Y-%m-%d %H:%M:%S%:z").to_string()),
        ("AGENT_CONFIG_ID", settings.config_id.clone()),
        ("AGENT_CONDITIONS", order.conditions.to_string()),
        ("AGENT_POLICIES", settings.paths.policies.display().to_string()),
    ];
    let limits =
        Limits { time: settings.time_limit, grace: settings.stop_grace, output: settings.max_output_size };
    let started = |pid| {
        if let Some(Err(e)) = Running::of(pid).map(|running| state.save_running(&running)) {
            warn!("the policy command cannot be remembered: {e}");
        }
    };
    let (ending, mut capture) =
        process::execute(&command, &environment, limits, order.listener, started, stop).await;
    state.clear_running();

    let dropped = state.dropped();
    let composer = Composer {
        settings,
        identity,
        id: &id,
        instance: &instance,
        command: &command,
        ending: &ending,
        ended: Utc::now(),
        notes,
        dropped: dropped.logs.saturating_sub(remembered.dropped_reported),
    };
    let text;
    let kept = match not_kept(settings) {
        Some(reason) => {
            text = composer.text(&capture);
            Err(reason)
        }
        None => {
            let packed;
            (text, packed) = composer.packed(&mut capture)?;
            let name = RunLogName::new(id.clone());
            let path = outbox.put(&name, &packed).map_err(RunError::Outbox)?;
            remembered.dropped_reported = dropped.logs;
            Ok((path, packed.len() as u64))
        }
    };
    remembered.ending = ending.to_string();
    if let Ok(log) = run_log::parse(&text, &id.node_id) {
        remembered.summary = Summary::of(&log).to_string();
    }
    state.save_run(&remembered).map_err(RunError::State)?;
    Ok(Done { id, ending, text, kept })
}

/// What the system calls this boot; one that does not say counts as one boot for ever.
fn boot_id() -> String {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let id: String =
        text.trim().chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(64).collect();
    if id.is_empty() { "unknown".to_owned() } else { id }
}

fn not_kept(settings: &Settings) -> Option<NotKept> {
    match settings.report_mode {
        _ if settings.initial => Some(NotKept::Initial),
        ReportMode::Disabled => Some(NotKept::Disabled),
        _ => None,
    }
}

/// Names hold whole seconds: when this second has a run already, the next one is waited for.
async fn unused_run_id(identity: &Identity, outbox: &Outbox, last: Option<DateTime<Utc>>) -> RunId {
    loop {
        let start = Utc::now().trunc_subsecs(0);
        let id = RunId { node_id: identity.node_id.clone(), start: start.fixed_offset() };
        if Some(start) != last && !outbox.contains(&RunLogName::new(id.clone())) {
            return id;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Makes the run log of one run.
struct Composer<'a> {
    settings: &'a Settings,
    identity: &'a Identity,
    id: &'a RunId,
    instance: &'a Instance,
    command: &'a [OsString],
    ending: &'a Ending,
    ended: DateTime<Utc>,
    notes: &'a [String],
    dropped: u64,
}

impl Composer<'_> {
    fn text(&self, capture: &Capture) -> String {
        let mut notes = self.notes.to_vec();
        if capture.dropped_bytes() > 0 {
            notes.push(format!(
                "the output was too long: {} bytes after this point were dropped (max_output_size is {} bytes)",
                capture.dropped_bytes(),
                self.settings.max_output_size
            ));
        }
        if self.dropped > 0 {
            notes.push(format!(
                "{} older run logs could not be sent in time and were dropped by retention",
                self.dropped
            ));
        }
        let program = self.command.first().map(Path::new).and_then(Path::file_name).unwrap_or_default();
        let run = frame::Run {
            id: self.id,
            instance: self.instance,
            config_id: &self.settings.config_id,
            command: &program.to_string_lossy(),
            ending: self.ending,
            ended: self.ended,
            notes: &notes,
        };
        frame::compose(&run, capture)
    }

    /// The text, and the file that servers take: signed and gzipped, small enough.
    fn packed(&self, capture: &mut Capture) -> Result<(String, Vec<u8>), RunError> {
        loop {
            let text = self.text(capture);
            let sent = match self.settings.report_mode {
                ReportMode::ChangesOnly => changes_only(&text, self.id),
                _ => None,
            };
            let sent = sent.as_deref().unwrap_or(&text);
            let signed = smime::sign(sent.as_bytes(), &self.identity.certificate, &self.identity.key)?;
            let packed = compression::gzip(&signed);
            if packed.len() as u64 <= limits::RUN_LOG_COMPRESSED || capture.lines().next().is_none() {
                return Ok((text, packed));
            }
            capture.halve();
        }
    }
}

/// What a changes-only run log holds (protocol 2.8); `None` if the text cannot be read.
fn changes_only(text: &str, id: &RunId) -> Option<String> {
    const KEPT: [&str; 8] = [
        "control",
        "result_error",
        "result_repaired",
        "log_warn",
        "log_repaired",
        "audit_noncompliant",
        "audit_error",
        "report_json",
    ];
    let log = run_log::parse(text, &id.node_id).ok()?;
    let reports = log.reports.into_iter().filter(|report| KEPT.contains(&report.event_type)).collect();
    Some(run_log::print::to_agent_lines(&RunLog { reports, ..log }))
}

/// Why there was no run, or no run log of it.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Nothing to run.
    #[error(
        "no policy command\n    set `policy_command` in relayd-agent.conf, or give one: agent run -- COMMAND"
    )]
    NoCommand,
    /// Another run is under way.
    #[error("a run is already in progress ({0})")]
    InProgress(String),
    /// Not signed.
    #[error("the run log cannot be signed: {0}")]
    Sign(#[from] ErrorStack),
    /// Not kept.
    #[error("the outbox: {0}")]
    Outbox(io::Error),
    /// The state directory cannot be used.
    #[error("the state directory: {0}")]
    State(io::Error),
    /// Policies that have not passed may be in place.
    #[error("an interrupted update of the policies cannot be taken back: {0}")]
    Policies(io::Error),
}
