// SPDX-License-Identifier: Apache-2.0
//! Tells the policy server what becomes of a run, while it is made and over as many connections as it takes.
//!
//! Each report is answered with the number of the next event wanted; what has not arrived is sent again.
//! A report without events says that the run is alive.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use hyper::{Method, StatusCode};
use protocol::{
    remote_run::Event,
    tls::ServerTrust,
    triggers::{Receipt, ReportFrom, report_path},
};
use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

use super::{book::Noted, lines::Lines};
use crate::{
    identity::Identity,
    run::order::Listener,
    server::{
        connection::{Ask, Connection, Reply},
        target::Target,
        trust,
    },
    settings::Settings,
    upload::backoff,
};

/// Between two attempts that fail: doubled from the first to the second, and spread.
const AGAIN: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// How long it is tried to tell of the end, when nothing is heard any more.
const LAST_WORDS: Duration = Duration::from_secs(60);

/// What the policy server thinks of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It has not answered.
    Unknown,
    /// It wants to hear of it.
    Wanted,
    /// It does not, or not any more.
    Unwanted,
}

/// Tells of one run. Ends when everything was told, or when nobody wants to know.
pub struct Reporter {
    shared: Arc<Shared>,
    standing: watch::Receiver<Standing>,
    task: JoinHandle<()>,
}

struct Shared {
    lines: Mutex<Lines>,
    more: Notify,
}

impl Reporter {
    /// Begins with an event; or, without one, goes on after what was told of the run by a process that is no
    /// more.
    pub fn start(settings: &Settings, identity: &Identity, run: &Noted, first: Option<&Event>) -> Self {
        let shared = Arc::new(Shared { lines: Mutex::default(), more: Notify::new() });
        if let Some(first) = first {
            shared.lines().add(first);
        }
        let (told, standing) = watch::channel(Standing::Unknown);
        let teller = Teller {
            settings: settings.clone(),
            identity: identity.clone(),
            run: run.clone(),
            shared: shared.clone(),
            connection: None,
            told,
        };
        Self { shared, standing, task: tokio::spawn(teller.run()) }
    }

    /// Waits until the policy server has said whether it wants the run.
    pub async fn is_wanted(&mut self) -> bool {
        let known = self.standing.wait_for(|standing| *standing != Standing::Unknown).await;
        known.is_ok_and(|standing| *standing == Standing::Wanted)
    }

    /// Hears the output of the run.
    pub fn listener(&self) -> Listener {
        let shared = self.shared.clone();
        Listener(Arc::new(move |line| {
            shared.lines().output(line);
            shared.more.notify_one();
        }))
    }

    /// Tells the end, and waits until it has arrived or there is no hope. Gives whether it has.
    pub async fn end(self, event: &Event) -> bool {
        self.shared.lines().add(event);
        self.shared.more.notify_one();
        let _ = self.task.await;
        self.shared.lines().is_over()
    }

    /// Stops telling.
    pub fn abandon(self) {
        self.task.abort();
    }
}

impl Shared {
    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Teller {
    settings: Settings,
    identity: Identity,
    run: Noted,
    shared: Arc<Shared>,
    connection: Option<(Target, Connection)>,
    told: watch::Sender<Standing>,
}

/// What came of one report.
enum Told {
    /// So much has arrived.
    Until(u64),
    /// Nobody wants to know.
    Unwanted,
    /// Nothing was heard, or something that may pass.
    NotNow,
}

impl Teller {
    async fn run(mut self) {
        let beat = Duration::from_secs(self.run.heartbeat);
        let (mut pause, mut heard) = (AGAIN.0, Instant::now());
        loop {
            let (from, body) = self.shared.lines().report();
            match self.tell(from, body.into()).await {
                Told::Until(next) => {
                    (pause, heard) = (AGAIN.0, Instant::now());
                    let progress = next > from;
                    let (fits, is_over, is_empty) = {
                        let mut lines = self.shared.lines();
                        let fits = lines.arrived(next);
                        (fits, lines.is_over(), lines.is_empty())
                    };
                    if !fits {
                        break;
                    }
                    self.told.send_replace(Standing::Wanted);
                    if is_over {
                        return;
                    }
                    if is_empty {
                        // Lines that come together go together.
                        let _ = timeout(beat, self.shared.more.notified()).await;
                    } else if !progress {
                        sleep(pause).await;
                    }
                }
                Told::Unwanted => break,
                Told::NotNow => {
                    if self.is_hopeless(heard) {
                        break;
                    }
                    sleep(pause.mul_f64(0.5 + backoff::random() / 2.0)).await;
                    pause = (pause * 2).min(AGAIN.1);
                }
            }
        }
        self.told.send_replace(Standing::Unwanted);
    }

    /// Whether there is no use in trying again: the run cannot begin in time, or is over for long.
    fn is_hopeless(&self, heard: Instant) -> bool {
        let is_unknown = *self.told.borrow() == Standing::Unknown;
        let is_late = chrono::Utc::now() >= self.run.until;
        let is_mute = heard.elapsed() > LAST_WORDS;
        if is_unknown { is_late && is_mute } else { is_mute && self.shared.lines().is_complete() }
    }

    async fn tell(&mut self, from: u64, body: Bytes) -> Told {
        let place = ReportFrom { by: self.run.by, from };
        let path = report_path(&self.run.id, place);
        let ask = Ask { method: Method::POST, path, content_type: Some("application/jsonl"), body };
        match self.ask(&ask).await {
            Some(reply) => heard(&reply),
            None => Told::NotNow,
        }
    }

    async fn ask(&mut self, ask: &Ask) -> Option<Reply> {
        if let Some((target, open)) = self.connection.as_mut().filter(|(_, open)| open.is_open())
            && let Ok(reply) = open.ask(target, ask).await
        {
            return Some(reply);
        }
        self.connection = None;
        let client = trust::client_identity(&self.settings, &self.identity).ok()?;
        let target = Target::of(&self.settings, Some(&client)).ok()?;
        if matches!(target.trust, ServerTrust::FirstUse) {
            return None;
        }
        let open = Connection::open(&target).await.ok()?;
        let (target, open) = self.connection.insert((target, open));
        open.ask(target, ask).await.ok()
    }
}

fn heard(reply: &Reply) -> Told {
    let receipt = serde_json::from_slice::<Receipt>(&reply.body).ok();
    match (reply.status, receipt) {
        (StatusCode::OK, Some(Receipt { next })) => Told::Until(next),
        (StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS, _) => Told::NotNow,
        (status, _) if status.is_client_error() => Told::Unwanted,
        _ => Told::NotNow,
    }
}
