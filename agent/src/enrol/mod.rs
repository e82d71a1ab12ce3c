// SPDX-License-Identifier: Apache-2.0
//! How this node becomes known: it sends its certificate request until the root has decided (protocol 13).
//!
//! ```text
//! request ─PUT─▶ policy server ─▶ … ─▶ root ─▶ accepted · pending · rejected · revoked · refused · conflict
//!    ▲                                             │
//!    └───────── 5 s, growing to 5 min, jittered ◀──┘ (or as Retry-After says)
//! ```
//!
//! The request proves possession of the key, so no client certificate is shown. Asking again is
//! harmless: whoever is stopped or restarted just asks again.

mod pace;
pub mod words;

use std::{io, time::Duration};

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use hyper::{Method, StatusCode};
use protocol::{
    enrolment::{self, Answer},
    urls::IdentityKind,
};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::{
    identity::Identity,
    server::{
        connection::{Ask, ConnectionError},
        exchange::{self, exchange},
        target::{Target, TargetError},
    },
    settings::Settings,
    state::State,
    upload::{answer::retry_after_at, backoff},
};

/// Environment variable with a one-time token: no list of processes shows it.
pub const TOKEN_VARIABLE: &str = "AGENT_ENROLMENT_TOKEN";

/// What to ask for.
pub struct Options {
    /// Name of this machine, for people and tokens.
    pub hostname: String,
    /// Whether it asks to be a relay.
    pub as_relay: bool,
    /// One-time token.
    pub token: Option<Zeroizing<String>>,
    /// How long to go on asking while nothing is decided; `None`: for ever.
    pub wait: Option<Duration>,
}

/// The name of this machine, if it can be a host name.
pub fn hostname() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let is_name = name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    if is_name && name.len() <= 255 { name } else { String::new() }
}

/// What is remembered of the last answer.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Enrolment {
    /// How it stands.
    pub state: Option<enrolment::State>,
    /// In the words of the server.
    pub detail: String,
    /// When it said so.
    pub at: Option<DateTime<Utc>>,
    /// Under which name this machine asked.
    pub hostname: String,
    /// Whether it asked to be a relay.
    pub as_relay: bool,
    /// Whether the root issues certificates.
    pub has_ca: bool,
    /// When the daemon asks again.
    pub next_attempt: Option<DateTime<Utc>>,
}

impl Enrolment {
    /// The last answer that this machine has got.
    pub fn load(state: &State) -> Self {
        state.read("enrolment.json")
    }
}

/// How asking ended.
pub enum Ended {
    /// The root has decided.
    Decided(Answer),
    /// Nobody has decided in the time there was.
    Undecided(Answer),
}

/// Asks until it is decided or time is up. `say` gets what a person should know, each thing once.
pub async fn enrol(
    settings: &Settings,
    identity: &Identity,
    options: &Options,
    mut say: impl FnMut(&str),
    stop: &CancellationToken,
) -> Result<Ended, EnrolError> {
    let state = State::open(&settings.paths.state).map_err(EnrolError::State)?;
    let ask = Ask {
        method: Method::PUT,
        path: IdentityKind::Enrolment.path(&identity.node_id),
        content_type: Some("application/pkcs10"),
        body: request(identity, options)?,
    };
    let deadline = options.wait.map(|wait| Instant::now() + wait);
    let (mut attempts, mut last) = (0, None);
    let mut said = String::new();
    loop {
        let mut say_once = |text: String| {
            if text != said {
                say(&text);
                said = text;
            }
        };
        let outcome = tokio::select! {
            () = stop.cancelled() => return undecided(last, "stopped"),
            outcome = once(settings, identity, &ask, &mut say_once) => outcome?,
        };
        let (problem, retry_after) = match outcome {
            Outcome::Answer(answer) => {
                let wait =
                    pace::delay(attempts, answer.retry_after.map(Duration::from_secs), backoff::random());
                remember(&state, options, &answer, wait).map_err(EnrolError::State)?;
                if answer.state != enrolment::State::Pending {
                    return Ok(Ended::Decided(answer));
                }
                say_once(words::pending(&answer, options.as_relay));
                let retry_after = answer.retry_after.map(Duration::from_secs);
                last = Some(answer);
                (String::new(), retry_after)
            }
            Outcome::Later { problem, retry_after } => {
                say_once(format!("{problem}; trying again"));
                (problem, retry_after)
            }
        };
        let wait = pace::delay(attempts, retry_after, backoff::random());
        attempts += 1;
        let next = Instant::now() + wait;
        if deadline.is_some_and(|deadline| next >= deadline) {
            // The rest of the time is waited for, so that `--wait` means what it says.
            let left = deadline.unwrap_or(next).saturating_duration_since(Instant::now());
            tokio::select! { () = stop.cancelled() => {}, () = tokio::time::sleep(left) => {} }
            return undecided(last, &problem);
        }
        tokio::select! {
            () = stop.cancelled() => return undecided(last, "stopped"),
            () = tokio::time::sleep_until(next) => {}
        }
    }
}

fn undecided(last: Option<Answer>, problem: &str) -> Result<Ended, EnrolError> {
    last.map(Ended::Undecided).ok_or_else(|| EnrolError::NoAnswer(problem.to_owned()))
}

fn request(identity: &Identity, options: &Options) -> Result<Bytes, EnrolError> {
    let token = options.token.as_ref().map(|token| token.as_str());
    let made = enrolment::Request::make_with(
        &identity.key,
        &identity.node_id,
        &options.hostname,
        options.as_relay,
        token,
        Some(&identity.certificate),
    );
    let request = made.map_err(|e| EnrolError::Request(e.to_string()))?;
    // Its memory is zeroed when the last holder lets go of it.
    Ok(Bytes::from_owner(request))
}

fn remember(state: &State, options: &Options, answer: &Answer, wait: Duration) -> io::Result<()> {
    let now = Utc::now();
    let waits = answer.state == enrolment::State::Pending;
    state.write(
        "enrolment.json",
        &Enrolment {
            state: Some(answer.state),
            detail: answer.detail.clone(),
            at: Some(now),
            hostname: options.hostname.clone(),
            as_relay: options.as_relay,
            has_ca: answer.has_ca,
            next_attempt: waits.then(|| now + TimeDelta::from_std(wait).unwrap_or(TimeDelta::minutes(5))),
        },
    )
}

/// What came of one request.
enum Outcome {
    Answer(Answer),
    Later { problem: String, retry_after: Option<Duration> },
}

/// Asks once. **Errors**: what asking again does not mend.
async fn once(
    settings: &Settings,
    identity: &Identity,
    ask: &Ask,
    say: &mut impl FnMut(String),
) -> Result<Outcome, EnrolError> {
    // Read anew each time: the first answer may have pinned the server's key.
    let target = Target::of(settings, None)?;
    let exchange = match exchange(settings, &target, ask).await {
        Ok(exchange) => exchange,
        Err(e @ (ConnectionError::OtherKey(_) | ConnectionError::Certificate(_))) => {
            return Err(EnrolError::Server(e));
        }
        Err(e) => return Ok(Outcome::Later { problem: e.to_string(), retry_after: None }),
    };
    exchange.keys.iter().for_each(|change| say(change.clone()));
    let reply = &exchange.reply;
    match Answer::from_json(&reply.body) {
        Ok(answer) if answer.state.status() == reply.status.as_u16() => {
            if answer.node_id != identity.node_id || answer.key_hash != identity.certificate.key_hash() {
                return Err(EnrolError::NotOurs(answer.node_id.to_string()));
            }
            let taken = matches!(answer.state, enrolment::State::Accepted | enrolment::State::Pending);
            if taken
                && let Some(key) =
                    exchange::pin_first_use(settings, &target, &exchange).map_err(EnrolError::Pin)?
            {
                say(words::first_use(&target.server.to_string(), &key));
            }
            Ok(Outcome::Answer(answer))
        }
        _ => later(reply.status, reply),
    }
}

/// What a status without an answer means.
fn later(status: StatusCode, reply: &crate::server::connection::Reply) -> Result<Outcome, EnrolError> {
    let detail = reply.detail();
    match status.as_u16() {
        408 | 425 | 429 | 500..=507 | 509.. => {
            let now = Utc::now();
            let header = reply.headers.get(hyper::header::RETRY_AFTER).and_then(|value| value.to_str().ok());
            let at = header.and_then(|value| retry_after_at(value, now));
            let retry_after = at.and_then(|at| (at - now).to_std().ok());
            Ok(Outcome::Later { problem: words::answered(status, &detail), retry_after })
        }
        404 | 405 => Err(EnrolError::Off(words::answered(status, &detail))),
        _ => Err(EnrolError::Unexpected(words::answered(status, &detail))),
    }
}

/// Why asking is over without an answer. Nothing is lost by any of them.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// The policy server cannot be called.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The server is not the one that is pinned.
    #[error("{0}")]
    Server(ConnectionError),
    /// The request cannot be made.
    #[error("the enrolment request cannot be made: {0}\n    name this machine with --hostname")]
    Request(String),
    /// No answer in the time there was.
    #[error("no answer yet: {0}\n    run the same command again when the policy server is reachable")]
    NoAnswer(String),
    /// The server takes no enrolments.
    #[error(
        "{0}\n    the server takes no enrolments: set enrolment.enabled and nodes.source there, or enrol by an inventory"
    )]
    Off(String),
    /// An answer that is none.
    #[error("{0}\n    is it a relayd policy server, and of a version that knows this agent's?")]
    Unexpected(String),
    /// The answer is about somebody else.
    #[error("the server answered about another node or key ({0})\n    report it: this should not happen")]
    NotOurs(String),
    /// The server's key cannot be pinned.
    #[error("the policy server's key cannot be pinned: {0}")]
    Pin(io::Error),
    /// The state directory cannot be used.
    #[error("the state directory: {0}")]
    State(io::Error),
}
