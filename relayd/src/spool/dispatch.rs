// SPDX-License-Identifier: Apache-2.0
//! The dispatcher: one task that owns the names in flight.
//!
//! It takes names from two sides in turn, so that neither waits for the other: live ones (hints,
//! files to look at again) and the backlog (sweeps, files that came back from a closed outlet). Each
//! name becomes at most one delivery at a time; a delivery is inspect, sink, settle, in its own task.

use std::{
    collections::{HashMap, VecDeque},
    ffi::OsString,
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use tokio::{
    sync::{Notify, mpsc},
    task::{JoinError, JoinSet},
    time::sleep_until,
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::{
    Hint, Sink, Spool,
    clock::Clock,
    delivery::{self, Ended, Task},
    disposition::{Disposition, Reason, Rejection, printable},
    gate::{Change, Evidence, Gate, Leave},
    inspect::{Origin, SETTLED_AGE},
    later::{FileName, Later, Noted},
    metrics::{GateState, LastPutOff, Metrics, PutOff},
    name::is_considered,
    sweep::Sweeper,
    watch::Noticed,
};

/// See the module.
pub struct Dispatcher<S> {
    task: Arc<Task<S>>,
    max_in_flight: usize,
    metrics: Metrics,
    clock: Arc<dyn Clock>,

    notices: mpsc::Receiver<Hint>,
    noticed: mpsc::Receiver<Noticed>,
    sweep_now: Arc<Notify>,
    sweeper: Sweeper,

    live: VecDeque<(FileName, Origin)>,
    returned: VecDeque<FileName>,
    later: Later,
    backlog_is_next: bool,

    /// Names being delivered, and whether somebody finished a file of that name meanwhile.
    in_flight: HashMap<FileName, bool>,
    deliveries: JoinSet<Ended>,

    gate: Gate,
    gate_state: tokio::sync::watch::Sender<GateState>,
    put_off: LastPutOff,
    settling_fails: bool,

    /// Keeps the channel open when there is no gateway.
    _notices: mpsc::Sender<Hint>,
}

/// Live names taken out of the channels ahead of their turn.
const LIVE: usize = 256;
/// A file that met a closed outlet this often in a row may be what closes it.
const SUSPECT: u32 = 3;
/// How long such a file is left out.
const SUSPECT_HOLD: Duration = Duration::from_secs(2);
/// When to look at a file again that was too young.
const LOOK_AGAIN: Duration = SETTLED_AGE.saturating_add(Duration::from_millis(100));

impl<S: Sink> Dispatcher<S> {
    /// Takes over a spool.
    pub fn new(spool: Spool, sink: Arc<S>) -> Self {
        let (sender, noticed) = mpsc::channel(super::HINTS);
        let sweep_now = Arc::new(Notify::new());
        let sweeper = Sweeper::new(
            spool.directories.clone(),
            spool.settings.sweep_every,
            spool.metrics.sweeps.clone(),
            sender,
            sweep_now.clone(),
        );
        let task = Task {
            sink,
            directories: spool.directories,
            max_size: spool.settings.max_file_size,
            clock: spool.clock.clone(),
            waited: spool.metrics.waited.clone(),
        };
        Self {
            task: Arc::new(task),
            max_in_flight: spool.settings.max_in_flight.max(1),
            metrics: spool.metrics,
            clock: spool.clock,
            notices: spool.notices.1,
            noticed,
            sweep_now,
            sweeper,
            live: VecDeque::new(),
            returned: VecDeque::new(),
            later: Later::default(),
            backlog_is_next: false,
            in_flight: HashMap::new(),
            deliveries: JoinSet::new(),
            gate: Gate::new(),
            gate_state: spool.gate,
            put_off: spool.put_off,
            settling_fails: false,
            _notices: spool.notices.0,
        }
    }

    /// Dispatches until `stop`, then waits for what is in flight.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), JoinError> {
        let (mut notices, mut noticed) = (Vec::new(), Vec::new());
        loop {
            self.start_deliveries();
            let room = LIVE.saturating_sub(self.live.len());
            let wake = self.wake_at();
            tokio::select! {
                () = stop.cancelled() => break,
                Some(ended) = self.deliveries.join_next() => {
                    let ended = ended?;
                    self.ended(ended);
                }
                taken = self.notices.recv_many(&mut notices, room), if room > 0 => {
                    self.metrics.hints.inc_by(taken as u64);
                    let names = notices.drain(..).map(OsString::from);
                    let names = names.filter(|name| is_considered(self.task.directories.kind, name));
                    self.live.extend(names.map(|name| (Arc::from(name), Origin::Finished)));
                }
                taken = self.noticed.recv_many(&mut noticed, room), if room > 0 => {
                    self.metrics.hints.inc_by(taken as u64);
                    for (name, origin) in noticed.drain(..) {
                        self.hint(name.into(), origin);
                    }
                }
                () = self.sweep_now.notified() => self.sweeper.now(),
                swept = self.sweeper.part() => swept?,
                () = sleep_until(wake.into()) => {}
            }
        }
        while let Some(ended) = self.deliveries.join_next().await {
            self.ended(ended?);
        }
        Ok(())
    }

    fn hint(&mut self, name: FileName, origin: Origin) {
        match origin {
            Origin::Finished => self.live.push_back((name, origin)),
            Origin::Seen => self.look_again(name, Instant::now() + LOOK_AGAIN),
        }
    }

    fn look_again(&mut self, name: FileName, at: Instant) {
        if !self.later.look_again(name, at) {
            self.sweeper.not_after(at);
        }
    }

    /// Leaves a file alone for its next back-off; gives the end of that.
    fn hold(&mut self, name: FileName, asked: Option<Duration>, now: Instant) -> Instant {
        let (until, noted) = self.later.hold(name, asked, now);
        match noted {
            Noted::Both => {}
            Noted::OnlyHeld => self.sweeper.not_after(until),
            Noted::Neither => {
                // Each sweep delivers it again.
                self.sweeper.make_a_pause();
                self.sweeper.not_after(until);
            }
        }
        until
    }

    fn start_deliveries(&mut self) {
        let now = Instant::now();
        while self.in_flight.len() < self.max_in_flight {
            let probe = match self.gate.leave(now) {
                Leave::Free => false,
                Leave::Probe => true,
                Leave::NotBefore(_) | Leave::AfterProbe => return,
            };
            let Some((name, origin)) = self.next(now) else { return self.nothing_to_start(now) };
            if probe {
                self.gate.probe_started();
            }
            self.in_flight.insert(name.clone(), false);
            self.metrics.in_flight.set(self.in_flight.len() as i64);
            let task = self.task.clone();
            self.deliveries.spawn(async move { task.deliver(name, origin, probe).await });
        }
    }

    /// A gate that waits for a probe must not stay closed when no file is left to be one.
    fn nothing_to_start(&mut self, now: Instant) {
        let waits = !self.in_flight.is_empty() || self.later.next().is_some() || self.sweeper.is_reading();
        if !waits && self.gate.nothing_waits(now) {
            info!(
                spool = self.spool(),
                "nothing waits any more: the next file will show if the outlet is up"
            );
            self.metrics.gate_open.set(1);
            self.gate_state.send_replace(GateState::Open);
            self.sweeper.now();
        }
    }

    /// The next name that may be started, from both sides in turn.
    fn next(&mut self, now: Instant) -> Option<(FileName, Origin)> {
        loop {
            self.backlog_is_next = !self.backlog_is_next;
            let (name, origin) = match self.backlog_is_next {
                true => self.next_of_backlog().or_else(|| self.next_live(now)),
                false => self.next_live(now).or_else(|| self.next_of_backlog()),
            }?;
            if let Some(finished_again) = self.in_flight.get_mut(&name) {
                // Perhaps the file under delivery, perhaps the next one of its name.
                *finished_again |= origin == Origin::Finished;
                continue;
            }
            // A hint means that the file is another one now: it is not held for what it was.
            if origin == Origin::Finished || !self.later.is_held(&name, now) {
                return Some((name, origin));
            }
        }
    }

    fn next_live(&mut self, now: Instant) -> Option<(FileName, Origin)> {
        self.live.pop_front().or_else(|| self.later.pop(now).map(|name| (name, Origin::Seen)))
    }

    fn next_of_backlog(&mut self) -> Option<(FileName, Origin)> {
        let returned = self.returned.pop_front();
        // What came back had been settled before; it does not get younger.
        returned.or_else(|| self.sweeper.next()).map(|name| (name, Origin::Seen))
    }

    /// When to wake without anything happening.
    fn wake_at(&self) -> Instant {
        let far = Instant::now() + Duration::from_secs(3600);
        if self.in_flight.len() >= self.max_in_flight {
            return far;
        }
        match self.gate.leave(Instant::now()) {
            Leave::AfterProbe => far,
            Leave::NotBefore(at) => at,
            Leave::Free | Leave::Probe => {
                self.later.next().unwrap_or(far).min(self.sweeper.due().unwrap_or(far))
            }
        }
    }

    fn ended(&mut self, ended: Ended) {
        let now = Instant::now();
        // What is over leaves its name free for the next file, whose hint may have come too early. And
        // what a listing found too young is finished, says its hint.
        let follow = ended.what.is_over() || matches!(ended.what, delivery::What::TooYoung);
        if self.in_flight.remove(&ended.name) == Some(true) && follow {
            self.live.push_back((ended.name.clone(), Origin::Finished));
        }
        self.metrics.in_flight.set(self.in_flight.len() as i64);
        let (evidence, why) = self.conclude(&ended, now);
        match self.gate.ended(ended.probe, evidence, now) {
            Change::Same => {}
            Change::Closed => {
                let spool = self.spool();
                warn!(spool, reason = %why, "outlet down: deliveries wait, files stay in the spool");
                self.metrics.gate_open.set(0);
                let since = DateTime::<Utc>::from(self.clock.wall());
                self.gate_state.send_replace(GateState::Closed { why, since });
            }
            Change::Opened => {
                if let GateState::Closed { since, .. } = self.gate_state.send_replace(GateState::Open) {
                    let seconds = (DateTime::<Utc>::from(self.clock.wall()) - since).num_seconds();
                    info!(spool = self.spool(), seconds, "outlet up again: deliveries go on");
                }
                self.metrics.gate_open.set(1);
                // Hints may have been lost meanwhile.
                self.sweeper.now();
            }
        }
    }

    /// Counts, logs and remembers how a delivery ended; says what it showed of the outlet.
    fn conclude(&mut self, ended: &Ended, now: Instant) -> (Evidence, String) {
        let (spool, name) = (self.spool(), &ended.name);
        let _about_it = ended.about.enter();
        match &ended.what {
            delivery::What::Gone => self.later.forget(name),
            delivery::What::TooYoung => self.look_again(name.clone(), now + LOOK_AGAIN),
            delivery::What::Changed => {
                debug!(spool, "the file was changed while it was delivered");
                self.look_again(name.clone(), now + LOOK_AGAIN);
                return (Evidence::Up, String::new());
            }
            delivery::What::Accepted(outcome, evidence) => {
                debug!(spool, ?outcome, "accepted");
                self.later.forget(name);
                self.metrics.accepted.inc();
                self.settled();
                return (*evidence, String::new());
            }
            delivery::What::Rejected(rejection, evidence, unexplained) => {
                let (reason, detail) = (rejection.reason.as_str(), printable(&rejection.detail));
                let file = printable(&name.to_string_lossy());
                warn!(spool, file, reason, detail, "rejected, moved to failed/");
                if let Some(e) = unexplained {
                    warn!(spool, "cannot write its reason file: {e}");
                }
                self.later.forget(name);
                self.metrics.rejected.with_label_values(&[reason]).inc();
                self.settled();
                return (*evidence, String::new());
            }
            delivery::What::Released(release) if release.outlet_down => {
                self.metrics.released.inc();
                if self.later.met_closed_outlet(name, now) < SUSPECT {
                    // What finds no room is found by the sweep that follows the opening of the gate.
                    if self.returned.len() < self.max_in_flight {
                        self.returned.push_back(name.clone());
                    }
                } else if !self.later.hold_until(name.clone(), now + SUSPECT_HOLD, now) {
                    self.sweeper.not_after(now + SUSPECT_HOLD);
                }
                return (Evidence::Down(release.retry_after), printable(&release.detail));
            }
            delivery::What::Released(release) => {
                self.metrics.released.inc();
                let until = self.hold(name.clone(), release.retry_after, now);
                let seconds = until.saturating_duration_since(now).as_secs();
                let detail = printable(&release.detail);
                if release.is_usual {
                    debug!(spool, detail, seconds, "put off");
                    return (Evidence::Up, String::new());
                }
                info!(spool, detail, seconds, "put off");
                let at = DateTime::<Utc>::from(self.clock.wall());
                self.put_off.send_replace(Some(PutOff {
                    file: printable(&name.to_string_lossy()),
                    why: detail,
                    at,
                }));
                return (Evidence::Up, String::new());
            }
            delivery::What::Incomplete => {
                debug!(spool, "possibly still being written");
                self.metrics.released.inc();
                self.look_again(name.clone(), now + LOOK_AGAIN);
            }
            delivery::What::Unsettled(e, disposition) => {
                let first = !self.later.has_failed(name);
                self.hold(name.clone(), None, now);
                if let Disposition::Rejected(Rejection { reason: Reason::NotAFile, .. }) = disposition {
                    // A foreign directory may be impossible to move, which says nothing about others.
                    if first {
                        let file = printable(&name.to_string_lossy());
                        warn!(spool, file, "cannot move what is no regular file to failed/: {e}; left there");
                    }
                    return (Evidence::None, String::new());
                }
                if !std::mem::replace(&mut self.settling_fails, true) {
                    error!(spool, "cannot remove or move a finished file: {e}; will retry");
                }
                // Going on would deliver the same files over and over.
                return (Evidence::Down(None), format!("finished files cannot be removed: {e}"));
            }
        }
        (Evidence::None, String::new())
    }

    fn settled(&mut self) {
        if std::mem::take(&mut self.settling_fails) {
            info!(spool = self.spool(), "finished files can be removed again");
        }
    }

    fn spool(&self) -> &'static str {
        self.task.directories.kind.segment()
    }
}

#[cfg(test)]
mod tests;
