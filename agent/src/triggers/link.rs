// SPDX-License-Identifier: Apache-2.0
//! The connection that the daemon keeps to hear at once of runs that are asked for.
//!
//! ```text
//! apart ─connect, ask─▶ connected ─ask, wait for the answer─▶ connected …
//!   ▲                       │ closed by the server: everybody's is, so each waits its part of the pace
//!   └───────────────────────┘ silent for longer than the pace allows, or broken: this one's, so soon again
//! ```
//!
//! Invariant: nothing is kept but one connection and the pace; what was asked for is in the book.

use std::{fs, os::unix::fs::MetadataExt, path::PathBuf, time::Duration};

use chrono::Utc;
use hyper::header::HeaderValue;
use protocol::{headers::SERVER_PINS, tls::ServerTrust, triggers::Pace};
use tokio::{
    sync::{Notify, watch},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{
    ask::{Answered, ask},
    book::Book,
};
use crate::{
    identity::Identity,
    server::{
        connection::{Connection, ConnectionError},
        succession::{self, Seen},
        target::Target,
        trust,
    },
    settings::Settings,
    state::State,
    upload::backoff,
};

/// Between attempts to connect that fail: doubled from the first to the second, and spread.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(120));

/// To a server that has nothing to tell, or not to this node.
const RARELY: Duration = Duration::from_secs(1800);

/// While settings do not allow a connection, they may change.
const LOOK: Duration = Duration::from_secs(60);

/// How long the first answer may take.
const FIRST_ANSWER: Duration = Duration::from_secs(10);

/// Longest time without any byte, whatever the pace.
const SILENCE: Duration = Duration::from_secs(30);

/// Whether the same connection is kept by both settings.
pub fn is_same(one: &Settings, other: &Settings) -> bool {
    let part = |settings: &Settings| {
        let Settings { connected, cert_validation, min_tls_version, .. } = *settings;
        let (server, pins) = (settings.server.clone(), settings.policy_pins.clone());
        (
            connected,
            cert_validation,
            min_tls_version,
            server,
            pins,
            settings.proxy.clone(),
            settings.paths.clone(),
        )
    };
    part(one) == part(other)
}

/// Keeps the connection until `stop`; `noted` is told when there are runs to make.
pub async fn keep(settings: watch::Receiver<Settings>, noted: &Notify, stop: &CancellationToken) {
    let mut link = Link { settings, noted, pace: None, failures: 0, said: None };
    tokio::select! {
        () = link.run() => {}
        () = stop.cancelled() => {}
    }
}

struct Link<'a> {
    settings: watch::Receiver<Settings>,
    noted: &'a Notify,
    /// As last announced.
    pace: Option<Pace>,
    /// Attempts in a row that did not get an answer.
    failures: u32,
    /// The last complaint, which is not repeated.
    said: Option<String>,
}

/// Why a connection came to its end, or to none.
#[derive(Debug, thiserror::Error)]
enum Apart {
    #[error(
        "connections are switched off, or there is no policy server that is known by its key or authority"
    )]
    NotAllowed,
    #[error("{0}")]
    Failed(String),
    #[error("the policy server has no runs to tell of")]
    Nothing,
    #[error("another machine connects with the identity of this node: is it a copy?")]
    Replaced(Duration),
    #[error("the policy server has closed the connection")]
    Closed,
    #[error("the connection to the policy server was silent for too long, or broke")]
    Silent,
    #[error("the keys of this node or of its server have changed")]
    Changed,
}

impl Link<'_> {
    async fn run(&mut self) {
        loop {
            let settings = self.settings.borrow_and_update().clone();
            let apart = self.talk(&settings).await;
            let pause = self.pause(&apart);
            self.say(&apart, pause);
            tokio::select! {
                () = sleep(pause) => {}
                // Perhaps they allow it now, or name another server. Those who are to wait do.
                _ = self.settings.changed(), if matches!(apart, Apart::NotAllowed) => {}
            }
        }
    }

    /// Connects and asks again and again.
    async fn talk(&mut self, settings: &Settings) -> Apart {
        if !settings.connected || settings.server.is_none() {
            return Apart::NotAllowed;
        }
        let failed = |e: &dyn std::fmt::Display| Apart::Failed(e.to_string());
        let state = match State::open(&settings.paths.state) {
            Ok(state) => state,
            Err(e) => return failed(&e),
        };
        let since = Versions::of(settings);
        let target = match target(settings) {
            Ok(target) => target,
            Err(apart) => return apart,
        };
        let mut connection = match timeout(FIRST_ANSWER, Connection::open_patient(&target, SILENCE)).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(e)) => return failed(&e),
            Err(_) => return Apart::Failed("no connection within 10 s".to_owned()),
        };
        if let Some(address) = connection.own_address {
            state.note_address(address);
        }
        // Whoever sends in the meantime need not ask.
        let _lock = state.lock_connected();
        let mut announced: Option<HeaderValue> = None;
        let mut wait = None;
        loop {
            let known = Book::of(&state).known(Utc::now());
            let patience = match (wait, self.pace) {
                (Some(_), Some(pace)) => pace.longest_silence().min(SILENCE),
                _ => FIRST_ANSWER,
            };
            let asked = timeout(patience, ask(&mut connection, &target, &known, wait)).await;
            let (answered, headers) = match asked {
                Ok(Ok(answered)) => answered,
                Ok(Err(e)) => return broken(&e),
                Err(_) => return Apart::Silent,
            };
            let pins = headers.get(SERVER_PINS).cloned();
            if wait.is_none() || pins != announced {
                announced = pins;
                heed(settings, &target, &Seen::new(&connection.server_keys, &headers));
            }
            match answered {
                Answered::News(news) => {
                    self.failures = 0;
                    self.said = None;
                    self.pace = Some(news.pace);
                    wait = Some(news.pace.heartbeat.clamp(1, 20));
                    if !news.runs.is_empty()
                        && let Err(e) = Book::of(&state).note(&news, Utc::now())
                    {
                        return failed(&format!("runs that were asked for cannot be noted: {e}"));
                    }
                    if Book::of(&state).has_work() {
                        self.noted.notify_one();
                    }
                }
                Answered::Nothing => return Apart::Nothing,
                Answered::Replaced(later) => return Apart::Replaced(later),
                Answered::Other(what) => return Apart::Failed(what),
            }
            if !connection.is_open() {
                return Apart::Closed;
            }
            if self.settings.has_changed().unwrap_or(false) || since != Versions::of(settings) {
                return Apart::Changed;
            }
        }
    }

    /// How long to stay apart.
    fn pause(&mut self, apart: &Apart) -> Duration {
        let random = backoff::random();
        let spread = |within: Duration| within.mul_f64(random);
        let pace = self.pace.unwrap_or(Pace { heartbeat: 15, reconnect_within: 5 });
        let all = Duration::from_secs(pace.reconnect_within.min(3600));
        match apart {
            Apart::NotAllowed => LOOK,
            Apart::Changed => spread(Duration::from_millis(500)),
            // Requests end at different times over a beat: so much is spread already.
            Apart::Silent => {
                let beat = Duration::from_secs(pace.heartbeat);
                spread(all.saturating_sub(beat).max(Duration::from_secs(1)))
            }
            Apart::Closed => spread(all),
            Apart::Nothing => RARELY.mul_f64(0.5 + random / 2.0),
            Apart::Replaced(later) => later.mul_f64(1.0 + random),
            Apart::Failed(_) => {
                self.failures = self.failures.saturating_add(1);
                let doubled = AGAIN.0 * 2_u32.pow(self.failures.saturating_sub(1).min(10));
                doubled.clamp(AGAIN.0, AGAIN.1).max(all).mul_f64(0.5 + random / 2.0)
            }
        }
    }

    /// What an operator may want to know, once.
    fn say(&mut self, apart: &Apart, pause: Duration) {
        let worth_it = match apart {
            Apart::Failed(_) => self.failures == 3,
            Apart::Replaced(_) => true,
            _ => false,
        };
        let text = apart.to_string();
        if worth_it && self.said.as_ref() != Some(&text) {
            warn!("no connection for remote runs: {text}; trying again in {} s", pause.as_secs());
            self.said = Some(text);
        }
    }
}

fn target(settings: &Settings) -> Result<Target, Apart> {
    let failed = |e: &dyn std::fmt::Display| Apart::Failed(e.to_string());
    let identity = Identity::load(&settings.paths).map_err(|e| failed(&e))?;
    let client = trust::client_identity(settings, &identity).map_err(|e| failed(&e))?;
    let target = Target::of(settings, Some(&client)).map_err(|e| failed(&e))?;
    match target.trust {
        ServerTrust::FirstUse => Err(Apart::NotAllowed),
        _ => Ok(target),
    }
}

fn heed(settings: &Settings, target: &Target, seen: &Seen) {
    match succession::heed(settings, &target.trust, seen) {
        Ok(words) => words.iter().for_each(|text| info!("{text}")),
        Err(e) => error!("the policy server's keys cannot be followed: {e}"),
    }
}

fn broken(error: &ConnectionError) -> Apart {
    match error {
        ConnectionError::Http(_) => Apart::Closed,
        e => Apart::Failed(e.to_string()),
    }
}

/// Which files identities and trust were read from: when one is another, the connection is made anew.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Versions(Vec<Option<(u64, i64, i64, u64)>>);

impl Versions {
    fn of(settings: &Settings) -> Self {
        let paths = &settings.paths;
        let pins: PathBuf = paths.state.join("pins.json");
        let files = [
            &paths.certificate,
            &paths.issued_certificate,
            &paths.key,
            &paths.http_certificate,
            &paths.http_key,
            &paths.server_pins,
            &paths.server_authority,
            &pins,
        ];
        let version = |file: &&PathBuf| {
            let data = fs::metadata(file).ok()?;
            Some((data.ino(), data.mtime(), data.mtime_nsec(), data.len()))
        };
        Self(files.iter().map(version).collect())
    }
}
