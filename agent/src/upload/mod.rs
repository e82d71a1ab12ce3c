// SPDX-License-Identifier: Apache-2.0
//! Brings what is in the outbox to the policy server: oldest first, one at a time, one connection.
//!
//! A run log that the server will not take now does not hold up the others.
//!
//! Invariant: a run log leaves the outbox only on `2xx`, on a refusal for good (then to `failed`), or
//! by retention (then counted).

pub mod answer;
pub mod backoff;
pub mod resend;

use std::{collections::VecDeque, io, time::SystemTime};

use chrono::{DateTime, SubsecRound, Utc};
use hyper::Method;
use protocol::{
    hash::KeyHash,
    limits,
    tls::{self, ClientIdentity, ServerTrust},
    triggers::News,
    urls::UploadKind,
};
use tokio_util::sync::CancellationToken;

use self::answer::{Answer, Disposition};
use crate::{
    identity::{Identity, IdentityError, refused},
    outbox::{Outbox, Waiting},
    server::{
        connection::{Ask, Connection, ConnectionError, Reply},
        succession::{self, Seen},
        target::{Target, TargetError},
        trust,
    },
    settings::Settings,
    state::{Denied, Lock, LockError, SendState, State},
    triggers::{
        ask::{Answered, ask},
        book::Book,
    },
    upkeep,
};

/// After so many answers in a row that do not tell whether the files or the server is at fault, the
/// newest run log decides: if the server takes it, the others are passed over and the rest is tried.
const MAX_UNCLEAR: u32 = 3;

/// So many broken connections in a row are the server's fault.
const MAX_BROKEN: u32 = 3;

/// What one attempt to send did.
#[derive(Debug, Default)]
pub struct Sent {
    /// Run logs the server took, and their bytes.
    pub sent: u64,
    /// Bytes of those.
    pub bytes: u64,
    /// Run logs the server refused for good.
    pub rejected: u64,
    /// Run logs that still wait.
    pub left: u64,
    /// Why.
    pub problem: Option<String>,
    /// The server asked not to be called before; nothing was tried.
    pub wait_until: Option<DateTime<Utc>>,
    /// Key of the server, pinned from now on.
    pub pinned: Option<KeyHash>,
    /// How the server's keys have changed, in words.
    pub keys: Vec<String>,
    /// Run logs dropped by retention.
    pub dropped: u64,
    /// Run logs that were sent before and go again, because the server asked for it.
    pub again: u64,
    /// The server takes nothing from this node, with this key; in its words.
    pub denied: Option<String>,
    /// What the server had to tell afterwards, where it tells nodes of runs.
    pub news: Option<News>,
}

/// Sends what is in the outbox, unless the server asked to wait and `now` is false.
///
/// **Errors**: what keeps it from even trying; nothing is lost.
pub async fn send(
    settings: &Settings,
    identity: &Identity,
    now: bool,
    stop: &CancellationToken,
) -> Result<Sent, SendError> {
    let state = State::open(&settings.paths.state).map_err(SendError::State)?;
    let outbox = Outbox::open(&settings.paths, &identity.node_id).map_err(SendError::Outbox)?;
    let _lock = lock(&state)?;
    let mut sent = Sent { dropped: expire(settings, &outbox, &state)?, ..Sent::default() };
    let waiting = outbox.waiting().map_err(SendError::Outbox)?;
    sent.left = waiting.len() as u64;
    let before = state.send();
    if waiting.is_empty() {
        return Ok(sent);
    }
    if let Some(until) = before.retry_after.filter(|until| !now && answer::is_wait(*until, Utc::now())) {
        sent.problem = Some(format!("the server asked to wait until {}", until.format("%F %T UTC")));
        sent.wait_until = Some(until);
        return Ok(sent);
    }
    let client = trust::client_identity(settings, identity)?;
    let target = Target::of(settings, Some(&client))?;
    let mut drain = Drain {
        settings,
        outbox: &outbox,
        state: &state,
        client,
        target,
        connection: None,
        sent,
        retry_after: None,
        resend_since: None,
        begun: SystemTime::now(),
    };
    tokio::select! {
        () = stop.cancelled() => drain.sent.problem = Some("stopped".to_owned()),
        drained = async {
            drain.all(waiting).await?;
            drain.again().await?;
            drain.ask().await;
            Ok::<_, SendError>(())
        } => drained?,
    }
    let Drain { sent, retry_after, .. } = drain;
    remember(&state, before, &sent, retry_after).map_err(SendError::State)?;
    if sent.denied.is_some() && refused::is_any(&settings.paths) {
        // One of those keys may be the one that is known.
        upkeep::wake(&state).map_err(SendError::State)?;
    }
    Ok(sent)
}

fn lock(state: &State) -> Result<Lock, SendError> {
    state.lock_send().map_err(|e| match e {
        LockError::Held(holder) => SendError::InProgress(holder),
        LockError::Io(path, e) => {
            SendError::State(io::Error::new(e.kind(), format!("{}: {e}", path.display())))
        }
    })
}

fn expire(settings: &Settings, outbox: &Outbox, state: &State) -> Result<u64, SendError> {
    let (logs, bytes) = outbox.expire(settings.retention, SystemTime::now()).map_err(SendError::Outbox)?;
    if logs > 0 {
        let mut dropped = state.dropped();
        dropped.logs += logs;
        dropped.bytes += bytes;
        dropped.last = Some(Utc::now());
        state.save_dropped(&dropped).map_err(SendError::State)?;
    }
    Ok(logs)
}

fn remember(
    state: &State,
    before: SendState,
    sent: &Sent,
    retry_after: Option<DateTime<Utc>>,
) -> io::Result<()> {
    let now = Utc::now().trunc_subsecs(0);
    let failures = if sent.problem.is_some() { before.failures.saturating_add(1) } else { 0 };
    let denied = sent.denied.clone().map(|answer| Denied { at: now, answer });
    let next = (failures > 0).then(|| backoff::next_attempt(failures, retry_after, now, backoff::random()));
    state.save_send(&SendState {
        at: Some(now),
        sent: sent.sent,
        rejected: sent.rejected,
        problem: sent.problem.clone(),
        failures,
        retry_after,
        next_attempt: next,
        denied: if sent.sent > 0 { denied } else { denied.or(before.denied) },
        taken: if sent.sent > 0 { Some(now) } else { before.taken },
    })
}

/// One attempt under way.
struct Drain<'a> {
    settings: &'a Settings,
    outbox: &'a Outbox,
    state: &'a State,
    client: ClientIdentity,
    target: Target,
    connection: Option<Connection>,
    sent: Sent,
    retry_after: Option<DateTime<Utc>>,
    /// Since when the server lacks run logs, in its words.
    resend_since: Option<DateTime<Utc>>,
    begun: SystemTime,
}

impl Drain<'_> {
    async fn all(&mut self, waiting: Vec<Waiting>) -> Result<(), SendError> {
        let mut waiting = VecDeque::from(waiting);
        let (mut unclear, mut broken) = (0, 0);
        let mut works = false;
        loop {
            let deciding = unclear >= MAX_UNCLEAR && !works;
            let next = if deciding { waiting.pop_back() } else { waiting.pop_front() };
            let Some(one) = next else { return Ok(()) };
            if one.size > limits::RUN_LOG_COMPRESSED {
                self.reject(&one, "too big", &format!("{} bytes, more than servers take", one.size))?;
                continue;
            }
            let Some(content) = self.outbox.read(&one.name).map_err(SendError::Outbox)? else {
                self.sent.left -= 1;
                continue;
            };
            match self.put(&one, content.into()).await {
                Ok(answer) => {
                    self.settle(&one, &answer)?;
                    broken = 0;
                    match answer.disposition() {
                        Disposition::Accepted | Disposition::Rejected => {
                            unclear = 0;
                            works |= deciding;
                        }
                        Disposition::Released => unclear += 1,
                        Disposition::Unavailable => return Ok(()),
                    }
                }
                // A server that refuses one upload early may close before its answer is read.
                Err(e @ ConnectionError::Http(_)) => {
                    self.sent.problem = Some(e.to_string());
                    self.connection = None;
                    (unclear, broken) = (unclear + 1, broken + 1);
                }
                Err(e) => {
                    self.sent.problem = Some(e.to_string());
                    return Ok(());
                }
            }
            if broken >= MAX_BROKEN || (unclear > MAX_UNCLEAR && !works) {
                return Ok(());
            }
        }
    }

    /// Sends what the server has asked for with its answers.
    async fn again(&mut self) -> Result<(), SendError> {
        let Some(since) = self.resend_since else { return Ok(()) };
        // What was taken just now it has.
        let waiting =
            resend::follow(self.outbox, self.state, since, self.begun).map_err(SendError::Outbox)?;
        self.sent.again = waiting.len() as u64;
        self.sent.left += self.sent.again;
        self.all(waiting).await
    }

    /// Uploads over the open connection, or a new one: the server may close it at any time, and only
    /// a try tells. Sending the same bytes twice is harmless.
    async fn put(&mut self, one: &Waiting, content: bytes::Bytes) -> Result<Answer, ConnectionError> {
        let path = UploadKind::RunLog.path(one.name.as_str());
        let ask = Ask { method: Method::PUT, path, content_type: None, body: content };
        if let Some(open) = self.connection.as_mut().filter(|connection| connection.is_open())
            && let Ok(reply) = open.ask(&self.target, &ask).await
        {
            return Ok(self.heard(&reply));
        }
        let open = self.connection.insert(Connection::open(&self.target).await?);
        if let Some(address) = open.own_address {
            self.state.note_address(address);
        }
        let reply = open.ask(&self.target, &ask).await?;
        // Once a connection: what is learnt of its keys can wait for the next one.
        let seen = Seen::new(&open.server_keys, &reply.headers);
        match succession::heed(self.settings, &self.target.trust, &seen) {
            Ok(words) => self.sent.keys.extend(words),
            Err(e) => self.sent.keys.push(format!("the policy server's keys cannot be followed: {e}")),
        }
        Ok(self.heard(&reply))
    }

    fn heard(&mut self, reply: &Reply) -> Answer {
        self.resend_since = resend::announced(&reply.headers).or(self.resend_since);
        Answer::of(reply)
    }

    /// Asks whether runs wait for this node, once something was taken and the connection is there already.
    async fn ask(&mut self) {
        let is_known = !matches!(self.target.trust, ServerTrust::FirstUse);
        let Some(open) = self.connection.as_mut().filter(|open| is_known && open.is_open()) else { return };
        // The daemon asks all the time.
        let Ok(free) = self.state.lock_connected() else { return };
        drop(free);
        let known = Book::of(self.state).known(Utc::now());
        if self.sent.sent > 0
            && let Ok((Answered::News(news), _)) = ask(open, &self.target, &known, None).await
        {
            self.sent.news = Some(news);
        }
    }

    fn settle(&mut self, one: &Waiting, answer: &Answer) -> Result<(), SendError> {
        match answer.disposition() {
            Disposition::Accepted => {
                self.outbox.sent(&one.name, self.settings.retention).map_err(SendError::Outbox)?;
                self.sent.sent += 1;
                self.sent.bytes += one.size;
                self.sent.left -= 1;
                self.pin_first_use()?;
            }
            Disposition::Rejected => {
                let reason = format!("status {}", answer.status.as_u16());
                self.reject(one, &reason, &answer.detail)?;
            }
            Disposition::Released | Disposition::Unavailable => {
                self.sent.problem = Some(answer.describe());
                self.sent.denied = answer.denies().then(|| answer.brief());
                self.retry_after = answer.retry_after;
            }
        }
        Ok(())
    }

    fn reject(&mut self, one: &Waiting, reason: &str, detail: &str) -> Result<(), SendError> {
        self.outbox.reject(&one.name, reason, detail).map_err(SendError::Outbox)?;
        self.sent.rejected += 1;
        self.sent.left -= 1;
        Ok(())
    }

    /// The first server that took a run log is the policy server from now on.
    fn pin_first_use(&mut self) -> Result<(), SendError> {
        let key = self.connection.as_ref().and_then(Connection::server_key);
        if let (ServerTrust::FirstUse, None, Some(key)) = (&self.target.trust, &self.sent.pinned, key) {
            if !succession::pin_first_use(self.settings, &key).map_err(SendError::Pin)? {
                // Somebody has pinned one meanwhile, and by that this server has to be judged.
                self.connection = None;
                self.target = Target::of(self.settings, Some(&self.client))?;
                return Ok(());
            }
            let trust = ServerTrust::Pins(vec![key.clone()]);
            self.target.connector = tls::connector(&trust, self.settings.min_tls_version, Some(&self.client))
                .map_err(|e| SendError::Tls(e.to_string()))?;
            self.target.trust = trust;
            self.sent.pinned = Some(key);
        }
        Ok(())
    }
}

/// Why sending cannot even be tried.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The policy server cannot be called.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// Somebody else sends.
    #[error("already being sent ({0})")]
    InProgress(String),
    /// The client certificate cannot be had.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
    /// The outbox cannot be read or changed.
    #[error("the outbox: {0}")]
    Outbox(io::Error),
    /// The server's key cannot be pinned.
    #[error("the policy server's key cannot be pinned: {0}")]
    Pin(io::Error),
    /// The state directory cannot be used.
    #[error("the state directory: {0}")]
    State(io::Error),
}

impl SendError {
    /// Whether the configuration is at fault.
    pub fn is_configuration(&self) -> bool {
        match self {
            Self::Target(e) => e.is_configuration(),
            Self::Identity(_) => true,
            _ => false,
        }
    }
}
