// SPDX-License-Identifier: Apache-2.0
//! Makes the runs that were asked for, one after the other, in one process at a time.
//!
//! ```text
//! waiting ─▶ turn (no other run under way) ─▶ still wanted? ─▶ begun ─▶ run, told line by line ─▶ over
//!    └─ not in time: refused ─────────────────────┴─ no: not made
//! ```

use std::{io, path::Path, time::Duration};

use chrono::Utc;
use protocol::remote_run::{Event, RunRequestId};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    book::{Book, Noted, Stage},
    report::Reporter,
};
use crate::{
    identity::Identity,
    inventory,
    run::{self, RunError, order::Order, process::Ending, turn::Turn},
    settings::Settings,
    state::{LockError, State},
    update::first::update_first,
    upload,
};

/// Between two looks at whether another run is over.
const LOOK: Duration = Duration::from_millis(300);

/// How long the policy server may take to say whether a run is still wanted: other runs wait meanwhile.
const ANSWER: Duration = Duration::from_secs(20);

/// After it has not.
const NO_ANSWER_PAUSE: Duration = Duration::from_secs(5);

/// What became of a run that was asked for.
#[derive(Debug)]
pub struct Performed {
    /// Its number.
    pub id: RunRequestId,
    /// What became of it, in words.
    pub result: String,
    /// Whether it was made, whatever came of it.
    pub is_made: bool,
}

/// Makes the runs that wait, each with the settings as they are then, until none does or `stop`.
pub async fn perform(
    root: &Path,
    settings: &Settings,
    identity: &Identity,
    stop: &CancellationToken,
) -> Result<Vec<Performed>, PerformError> {
    let state = State::open(&settings.paths.state).map_err(PerformError::State)?;
    let book = Book::of(&state);
    let mut performed = vec![];
    let _lock = loop {
        if !book.has_work() || stop.is_cancelled() {
            return Ok(performed);
        }
        match state.lock_performing() {
            Ok(lock) => break lock,
            // Whoever has it may have looked for the last time before this run was noted.
            Err(LockError::Held(_)) => pause(LOOK, stop).await,
            Err(LockError::Io(path, e)) => {
                return Err(PerformError::State(io::Error::new(
                    e.kind(),
                    format!("{}: {e}", path.display()),
                )));
            }
        }
    };
    for run in book.begun() {
        own_up(settings, identity, &run, stop).await;
        book.set(run.id, Stage::Over).map_err(PerformError::State)?;
    }
    while let Some(run) = book.next().filter(|_| !stop.is_cancelled()) {
        let made = make(root, &current(root, settings), identity, book, &run, stop).await;
        if matches!(made, Err(NotMade::NoAnswer)) && Utc::now() < run.until {
            // Nothing was begun: others have their turn, and then it is tried again.
            book.set(run.id, Stage::Waiting).map_err(PerformError::State)?;
            pause(NO_ANSWER_PAUSE, stop).await;
            continue;
        }
        // Whatever it came to, it is not tried again.
        book.set(run.id, Stage::Over).map_err(PerformError::State)?;
        let (result, is_made) = match made {
            Ok(ending) => (ending.to_string(), true),
            Err(why) => (why.to_string(), false),
        };
        performed.push(Performed { id: run.id, result, is_made });
    }
    Ok(performed)
}

/// Says of a run that its process was killed. Nobody knows how far it got.
async fn own_up(settings: &Settings, identity: &Identity, run: &Noted, stop: &CancellationToken) {
    let mut reporter = Reporter::start(settings, identity, run, None);
    let wanted = tokio::select! {
        wanted = timeout(ANSWER, reporter.is_wanted()) => wanted.unwrap_or(false),
        () = stop.cancelled() => false,
    };
    match wanted {
        true => {
            let event = Event::unreachable("the agent was killed while it made the run");
            tell_in_time(reporter, &event, stop).await;
        }
        // Without a word the server finds it unreachable as well.
        false => reporter.abandon(),
    }
}

/// The settings as they are now: they may have changed since the run before. While they are wrong, the last good
/// ones count.
fn current(root: &Path, last: &Settings) -> Settings {
    Settings::load(root).map_or_else(|_| last.clone(), |(settings, _)| settings)
}

async fn make(
    root: &Path,
    settings: &Settings,
    identity: &Identity,
    book: Book<'_>,
    run: &Noted,
    stop: &CancellationToken,
) -> Result<Ending, NotMade> {
    if settings.policy_command.is_none() {
        return Err(refuse(
            settings,
            identity,
            run,
            "no policy command is configured on the node".into(),
            stop,
        )
        .await);
    }
    let turn = match turn(settings, run, stop).await {
        Ok(turn) => turn,
        Err(NotMade::Stopped) => return Err(NotMade::Stopped),
        Err(why) => return Err(refuse(settings, identity, run, why.to_string(), stop).await),
    };
    book.set(run.id, Stage::Begun).map_err(NotMade::State)?;
    let mut reporter = Reporter::start(settings, identity, run, Some(&Event::Started));
    let wanted = tokio::select! {
        wanted = timeout(ANSWER, reporter.is_wanted()) => wanted.ok(),
        () = stop.cancelled() => None,
    };
    match wanted {
        Some(true) => {}
        Some(false) => {
            reporter.abandon();
            return Err(NotMade::Unwanted);
        }
        None if stop.is_cancelled() => {
            tell_in_time(reporter, &Event::unreachable("the agent was told to stop before it began"), stop)
                .await;
            return Err(NotMade::Stopped);
        }
        None => {
            reporter.abandon();
            return Err(NotMade::NoAnswer);
        }
    }
    let order = Order {
        command: None,
        conditions: run.conditions.clone(),
        listener: run.output.then(|| reporter.listener()),
    };
    // The run that was waited for may have brought new policies.
    let mut settings = current(root, settings);
    let notes = match settings.update {
        true => update_first(&turn, root, &mut settings, identity, stop).await,
        false => vec![],
    };
    let done = run::run(&turn, &settings, identity, order, &notes, stop).await;
    drop(turn);
    let event = match &done {
        Ok(done) => ended(&done.ending),
        Err(e) => Event::unreachable(e.to_string()),
    };
    tell_in_time(reporter, &event, stop).await;
    let done = done.map_err(NotMade::Run)?;
    if settings.sends_reports() && !stop.is_cancelled() {
        // What cannot be sent stays, and is sent later like every run log.
        let sent = upload::send(&settings, identity, false, stop).await;
        if let Some(news) = sent.ok().and_then(|sent| sent.news) {
            book.note(&news, Utc::now()).map_err(NotMade::State)?;
        }
    }
    inventory::after_run(root, &settings, identity, &run.conditions, stop).await;
    Ok(done.ending)
}

/// How a command ended, as an event. Exit statuses as a shell has them.
fn ended(ending: &Ending) -> Event {
    match ending {
        Ending::Exited(status) => Event::Finished { exit_status: Some(*status) },
        Ending::Signalled(signal) => Event::Finished { exit_status: Some(128 + signal) },
        // As timeout(1) has it.
        Ending::TimedOut(_) => Event::Finished { exit_status: Some(124) },
        Ending::Stopped => Event::unreachable("the agent was told to stop while it made the run"),
        Ending::NotStarted(e) => {
            Event::refused(format!("the policy command of the node cannot be started: {e}"))
        }
    }
}

/// How long the end of a run is told after the run: the run log still waits to be sent.
const TELLING: Duration = Duration::from_secs(70);

/// The same, when the agent was told to stop.
const TELLING_LAST: Duration = Duration::from_secs(5);

async fn tell_in_time(reporter: Reporter, event: &Event, stop: &CancellationToken) {
    let telling = timeout(TELLING, reporter.end(event));
    let stopped = async {
        stop.cancelled().await;
        sleep(TELLING_LAST).await;
    };
    tokio::select! {
        _ = telling => {}
        () = stopped => {}
    }
}

/// Waits until no other run is under way, as long as this one may still begin.
async fn turn(settings: &Settings, run: &Noted, stop: &CancellationToken) -> Result<Turn, NotMade> {
    loop {
        let busy = match Turn::take(settings).await {
            Ok(turn) => return Ok(turn),
            Err(e @ RunError::InProgress(_)) => e,
            Err(e) => return Err(NotMade::Run(e)),
        };
        if Utc::now() >= run.until {
            return Err(NotMade::Run(busy));
        }
        pause(LOOK, stop).await;
        if stop.is_cancelled() {
            return Err(NotMade::Stopped);
        }
    }
}

async fn refuse(
    settings: &Settings,
    identity: &Identity,
    run: &Noted,
    why: String,
    stop: &CancellationToken,
) -> NotMade {
    let reporter = Reporter::start(settings, identity, run, Some(&Event::refused(why.as_str())));
    tell_in_time(reporter, &Event::refused(why.as_str()), stop).await;
    NotMade::Refused(why)
}

async fn pause(time: Duration, stop: &CancellationToken) {
    tokio::select! {
        () = sleep(time) => {}
        () = stop.cancelled() => {}
    }
}

/// Why a run that was asked for was not made.
#[derive(Debug, thiserror::Error)]
enum NotMade {
    #[error("not made: the policy server does not want it any more")]
    Unwanted,
    #[error("not made: the policy server could not be asked whether it is still wanted")]
    NoAnswer,
    #[error("refused: {0}")]
    Refused(String),
    #[error("not made: the agent was told to stop")]
    Stopped,
    #[error("{0}")]
    Run(RunError),
    #[error("the state directory: {0}")]
    State(io::Error),
}

/// Why runs that were asked for cannot be made at all.
#[derive(Debug, thiserror::Error)]
pub enum PerformError {
    /// The state directory cannot be used.
    #[error("the state directory: {0}")]
    State(io::Error),
}
