// SPDX-License-Identifier: Apache-2.0
//! Runs and sends on schedule.
//!
//! Each run, and each further attempt to send, is a process of its own of this same program: memory
//! goes back after each, a crash ends only that one, and the rules are those of the commands. This
//! process sleeps in between: it wakes for the next run, for back-fill that is due, and for signals.
//!
//! ```text
//! wait ─run due─▶ `agent run` ─┐
//!   ▲  ├back-fill due─▶ `agent send` ─┤
//!   │  └identity due──▶ `agent upkeep` ┤
//!   └──────────────────────────┘      SIGTERM: passed on to the child, whose run log is still kept
//!
//! beside it: inventory due ─▶ `agent inventory --due`
//!            connection to the policy server ─runs asked for─▶ `agent triggers --noted`
//! ```

use std::{
    ffi::OsStr,
    io,
    path::Path,
    process::ExitStatus,
    time::{Duration, SystemTime},
};

use logging::LogControl;
use protocol::node_id::NodeId;
use rustix::process::{Pid, kill_process};
use tokio::{
    process::Command,
    signal::unix::{Signal, SignalKind, signal},
    sync::{Notify, watch},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::{
    inventory::keep,
    outbox::Outbox,
    schedule, service_manager,
    settings::Settings,
    state::{SendState, State},
    triggers::{book::Book, link},
    upkeep,
};

/// Longest sleep at a time: the wall clock may be set while asleep.
const LONGEST_SLEEP: Duration = Duration::from_secs(3600);

/// Shortest time between two attempts to send, even if the first could not say when to try again.
const BETWEEN_SENDS: Duration = Duration::from_secs(10);

/// When the process that makes runs that were asked for has failed, perhaps was killed.
const AFTER_FAILED_RUN: Duration = Duration::from_secs(2);

/// Shortest time between two looks at the identity; the second after one that failed, which perhaps could not
/// even note when to look again.
const BETWEEN_CHORES: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(40));

/// Works until `stop` is cancelled.
///
/// Settings are read again before each run; while they are wrong, the last good ones count here.
pub async fn daemon(
    root: &Path,
    settings: Settings,
    node_id: &NodeId,
    log: &LogControl,
    stop: CancellationToken,
) -> io::Result<()> {
    let state = State::open(&settings.paths.state)?;
    let (current, known) = watch::channel(settings.clone());
    let hangups = signal(SignalKind::hangup())?;
    service_manager::ready();
    let ((), (), (), ended) = tokio::join!(
        service_manager::signs_of_life(&stop),
        make_runs(root, known.clone(), &state, &stop),
        keep::keep(root, known, &state, node_id, &stop, async |arguments| {
            let ended = child(root, arguments, &stop).await;
            let done = ended.as_ref().is_ok_and(ExitStatus::success);
            report("inventory", ended);
            done
        }),
        on_schedule(root, settings, node_id, &state, Reload { current, log, hangups }, &stop),
    );
    ended
}

/// Keeps the connection to the policy server, and makes the runs that are asked for.
async fn make_runs(
    root: &Path,
    settings: watch::Receiver<Settings>,
    state: &State,
    stop: &CancellationToken,
) {
    let noted = Notify::new();
    // What a daemon before this one has left.
    noted.notify_one();
    let making = async {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = noted.notified() => {}
            }
            while Book::of(state).has_work() && !stop.is_cancelled() {
                let ended = child(root, &["triggers", "--noted", "--quiet"], stop).await;
                let failed = !ended.as_ref().is_ok_and(ExitStatus::success);
                report("triggers", ended);
                if failed {
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = tokio::time::sleep(AFTER_FAILED_RUN) => {}
                    }
                }
            }
        }
    };
    tokio::join!(link::keep(settings, &noted, stop), making);
}

/// Runs, sends, and keeps the identity in order.
async fn on_schedule(
    root: &Path,
    mut settings: Settings,
    node_id: &NodeId,
    state: &State,
    mut reload: Reload<'_>,
    stop: &CancellationToken,
) -> io::Result<()> {
    let delay = |settings: &Settings| schedule::splay(node_id, settings.splay);
    let mut next_run = schedule::next(SystemTime::now(), settings.run_interval, delay(&settings));
    announce(next_run);
    let mut send_not_before = SystemTime::now();
    let mut chores_not_before = SystemTime::now();
    loop {
        let back_fill = back_fill_due(&settings, node_id, state).map(|due| due.max(send_not_before));
        let chores = upkeep::due(&settings, state).map(|due| due.max(chores_not_before));
        let wake = [back_fill, chores].into_iter().flatten().fold(next_run, SystemTime::min);
        service_manager::status(|| describe(&settings, node_id, state, next_run));
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = sleep_until(wake) => {}
            Some(()) = reload.hangups.recv() => {
                if reload.read(root, &mut settings) {
                    info!("settings read again");
                }
                next_run = schedule::next(SystemTime::now(), settings.run_interval, delay(&settings));
                continue;
            }
        }
        let now = SystemTime::now();
        if now >= next_run {
            report("run", child(root, &["run", "--send", "--quiet"], stop).await);
            reload.read(root, &mut settings);
            // A run that took longer than the interval is not made up for.
            next_run = schedule::next(SystemTime::now(), settings.run_interval, delay(&settings));
        } else if back_fill.is_some_and(|due| now >= due) {
            report("send", child(root, &["send", "--quiet"], stop).await);
            send_not_before = SystemTime::now() + BETWEEN_SENDS;
        } else if chores.is_some_and(|due| now >= due) {
            let ended = child(root, &["upkeep"], stop).await;
            let failed = !ended.as_ref().is_ok_and(ExitStatus::success);
            report("upkeep", ended);
            let pause = if failed { BETWEEN_CHORES.1 } else { BETWEEN_CHORES.0 };
            chores_not_before = SystemTime::now() + pause;
        } else if wake.duration_since(now).is_ok_and(|left| left > settings.run_interval * 2) {
            // The clock was set back: the schedule goes by the new time.
            next_run = schedule::next(now, settings.run_interval, delay(&settings));
        }
        if stop.is_cancelled() {
            return Ok(());
        }
    }
}

/// Who hears of new settings, and when they are asked for (SIGHUP) besides before each run.
struct Reload<'a> {
    current: watch::Sender<Settings>,
    log: &'a LogControl,
    hangups: Signal,
}

impl Reload<'_> {
    /// Reads the settings again; while they are wrong, the last good ones stay. Whether they are good.
    fn read(&self, root: &Path, settings: &mut Settings) -> bool {
        match Settings::load(root) {
            Ok((new, _)) => *settings = new,
            Err(problems) => {
                error!("settings are wrong, the last good ones stay:");
                problems.to_string().lines().for_each(|line| error!("{line}"));
                return false;
            }
        }
        if let Err(e) = self.log.refilter(&settings.logging) {
            error!("{e}");
        }
        self.current.send_if_modified(|before| {
            let is_new = !link::is_same(before, settings);
            before.clone_from(settings);
            is_new
        });
        true
    }
}

/// When what waits in the outbox is to be sent again, if anything waits after a failure.
fn back_fill_due(settings: &Settings, node_id: &NodeId, state: &State) -> Option<SystemTime> {
    let due = state.send().next_attempt?;
    let waiting = Outbox::open(&settings.paths, node_id).and_then(|outbox| outbox.waiting());
    waiting.is_ok_and(|waiting| !waiting.is_empty()).then(|| due.into())
}

async fn sleep_until(at: SystemTime) {
    let left = at.duration_since(SystemTime::now()).unwrap_or_default();
    tokio::time::sleep(left.min(LONGEST_SLEEP)).await;
}

/// Runs this program with other arguments; a stop is passed on and the end still waited for.
async fn child(root: &Path, arguments: &[&str], stop: &CancellationToken) -> io::Result<ExitStatus> {
    // The file this process was started from, even if it was replaced since.
    let mut command = Command::new("/proc/self/exe");
    command.arg0("agent").args([OsStr::new("--root"), root.as_os_str()]).args(arguments);
    service_manager::keep_from(command.as_std_mut());
    let mut child = command.spawn()?;
    tokio::select! {
        status = child.wait() => return status,
        () = stop.cancelled() => {}
    }
    if let Some(pid) = child.id().and_then(|id| Pid::from_raw(id as i32)) {
        let _ = kill_process(pid, rustix::process::Signal::TERM);
    }
    child.wait().await
}

fn report(what: &str, ended: io::Result<ExitStatus>) {
    match ended {
        // The child has said on its own what is wrong, unless it could not.
        Ok(status) if status.code().is_some() => {}
        Ok(status) => error!("{what} ended abnormally: {status}"),
        Err(e) => error!("{what} cannot be started: {e}"),
    }
}

fn announce(next_run: SystemTime) {
    info!("next run at {}", time(next_run));
}

/// What goes on, in one line.
fn describe(settings: &Settings, node_id: &NodeId, state: &State, next_run: SystemTime) -> String {
    let waiting = Outbox::open(&settings.paths, node_id).and_then(|outbox| outbox.waiting());
    let waiting = match waiting {
        Ok(waiting) => format!("{} run logs waiting", waiting.len()),
        Err(e) => format!("outbox: {e}"),
    };
    let uplink = match state.send() {
        SendState { problem: Some(problem), .. } => format!("uplink down: {problem}"),
        SendState { at: Some(_), .. } => "uplink up".to_owned(),
        _ => "nothing sent yet".to_owned(),
    };
    format!("next run at {}; {waiting}; {uplink}", time(next_run))
}

fn time(at: SystemTime) -> impl std::fmt::Display {
    let at: chrono::DateTime<chrono::Utc> = at.into();
    at.format("%F %T UTC")
}
