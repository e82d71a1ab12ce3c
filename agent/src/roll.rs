// SPDX-License-Identifier: Apache-2.0
//! A new key for this node, without a moment in which servers know neither (protocol 13).
//!
//! ```text
//! make the new pair beside the old ─▶ request for the new key, signed with the old ─▶ root
//!   ─▶ the policy server answers to the new key ─▶ it takes the place of the old (`identity::next`)
//! ```
//!
//! Invariant: the old pair is in use until the policy server knows the new one. Stopped anywhere, the
//! same command, or the daemon, goes on from there. A pair that was refused is kept: the word came from the
//! policy server, and the root may know better, which shows when the old key is not known any more.

use std::{
    io,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use hyper::Method;
use protocol::{
    enrolment::{Answer, Request, State as Standing},
    private_key::KeyKind,
    smime,
    urls::IdentityKind,
};
use tokio_util::sync::CancellationToken;

use crate::{
    identity::{Identity, IdentityError, next, refused},
    server::{
        connection::{Ask, ConnectionError, Reply},
        exchange::exchange,
        target::{Target, TargetError},
        trust, whoami,
    },
    settings::Settings,
    state::{Lock, LockError, State},
};

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Kind of the new key, unless one is prepared already.
    pub kind: KeyKind,
    /// How long to wait until the policy server knows the new key.
    pub wait: Duration,
}

/// Changes the key. Gives the new identity, which is in use.
pub async fn roll(
    settings: &Settings,
    options: Options,
    mut say: impl FnMut(&str),
    stop: &CancellationToken,
) -> Result<Identity, RollError> {
    let paths = &settings.paths;
    let _lock = lock(settings)?;
    if next::recover(paths)? {
        say("a change that was interrupted has been finished");
        return Ok(Identity::load(paths)?);
    }
    let old = Identity::load(paths)?;
    let work = async {
        if take_back(settings, &old).await? {
            say("a new key that was refused is known to the policy server after all; it is in use now");
            return Ok(());
        }
        let new = next::prepare(paths, &old.node_id, options.kind)?;
        hand_over(settings, &old, &new, options.wait, &mut say).await?;
        next::activate(paths)?;
        Ok::<_, RollError>(())
    };
    tokio::select! {
        () = stop.cancelled() => return Err(RollError::Stopped),
        done = work => done?,
    }
    Ok(Identity::load(paths)?)
}

fn lock(settings: &Settings) -> Result<Lock, RollError> {
    let state = State::open(&settings.paths.state).map_err(RollError::State)?;
    state.lock_identity().map_err(|e| match e {
        LockError::Held(holder) => RollError::InProgress(holder),
        LockError::Io(path, e) => {
            RollError::State(io::Error::new(e.kind(), format!("{}: {e}", path.display())))
        }
    })
}

/// Looks after keys that were refused: takes one into use if the policy server knows it and not the one in use;
/// removes those put aside before `then` if it knows the one in use. Gives the identity that is new.
pub async fn look_after_refused(
    settings: &Settings,
    then: SystemTime,
) -> Result<Option<Identity>, RollError> {
    let paths = &settings.paths;
    if !refused::is_any(paths) || is_under_way(settings) {
        return Ok(None);
    }
    let _lock = lock(settings)?;
    let own = Identity::load(paths)?;
    if take_back(settings, &own).await? {
        return Ok(Some(Identity::load(paths)?));
    }
    if whoami::is_known(settings, &own).await.unwrap_or(false) {
        refused::forget(paths, then)?;
    }
    Ok(None)
}

/// Whether a key that was refused is known where the one in use is not. It is in use then.
async fn take_back(settings: &Settings, own: &Identity) -> Result<bool, RollError> {
    let paths = &settings.paths;
    let all = refused::all(paths, &own.node_id)?;
    let may_ask = !all.is_empty() && !trust::has_https_pair(settings);
    if !may_ask || whoami::is_known(settings, own).await.unwrap_or(true) {
        return Ok(false);
    }
    for one in all {
        if whoami::is_known(settings, &one).await.unwrap_or(false) {
            refused::take_back(paths, &one)?;
            next::activate(paths)?;
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a change of keys was begun and not ended.
pub fn is_under_way(settings: &Settings) -> bool {
    let paths = &settings.paths;
    next::next_of(&paths.key).exists() || next::next_of(&paths.certificate).exists()
}

/// Until the policy server knows the new key.
async fn hand_over(
    settings: &Settings,
    old: &Identity,
    new: &Identity,
    wait: Duration,
    say: &mut impl FnMut(&str),
) -> Result<(), RollError> {
    let own_pki = trust::has_https_pair(settings);
    // After an interruption the root may have agreed already, and the old key be out of date.
    if !own_pki && whoami::is_known(settings, new).await.unwrap_or(false) {
        return Ok(());
    }
    let answer = announce(settings, old, new).await?;
    match answer.state {
        Standing::Accepted => {}
        Standing::Pending => return Err(RollError::Undecided(answer.detail)),
        state => {
            // Where the node itself is not wanted, the same key may be offered again.
            let kept = match state {
                Standing::Refused | Standing::Conflict => refused::put_aside(&settings.paths, new)?,
                _ => next::next_of(&settings.paths.key),
            };
            return Err(RollError::Refused { state: state.as_str(), detail: answer.detail, kept });
        }
    }
    // Connections are made with another certificate: only signatures are by this key.
    if own_pki {
        return Ok(());
    }
    say("the root has the new key; waiting until the policy server knows it");
    whoami::wait_until_known(settings, new, wait).await.map_err(RollError::NotYet)
}

/// Sends the request for the new key, signed with the old one.
async fn announce(settings: &Settings, old: &Identity, new: &Identity) -> Result<Answer, RollError> {
    let made = Request::make_with(&new.key, &new.node_id, "", false, None, Some(&new.certificate));
    let request = made.map_err(|e| RollError::Request(e.to_string()))?;
    let signed =
        smime::sign(&request, &old.certificate, &old.key).map_err(|e| RollError::Request(e.to_string()))?;
    let client = trust::client_identity(settings, old)?;
    let target = Target::of(settings, Some(&client))?;
    let ask = Ask {
        method: Method::PUT,
        path: IdentityKind::Keys.path(&old.node_id),
        content_type: Some("multipart/signed"),
        body: Bytes::from(signed),
    };
    let reply = exchange(settings, &target, &ask).await?.reply;
    match Answer::from_json(&reply.body) {
        Ok(answer) if answer.state.status() == reply.status.as_u16() => Ok(answer),
        _ => Err(unexpected(&reply)),
    }
}

fn unexpected(reply: &Reply) -> RollError {
    RollError::Unexpected(crate::enrol::words::answered(reply.status, &reply.detail()))
}

/// Why the key was not changed. The old one is in use.
#[derive(Debug, thiserror::Error)]
pub enum RollError {
    /// Another change is under way.
    #[error("keys or certificates are already being changed ({0})")]
    InProgress(String),
    /// Told to stop.
    #[error("stopped; the same command goes on, and so does the daemon")]
    Stopped,
    /// The root does not want the new key.
    #[error(
        "the new key was not taken ({state}: {detail})\n    the old key stays in use, and the new one is kept as {}; ask the operator of the root",
        .kept.display()
    )]
    Refused {
        /// In one word.
        state: &'static str,
        /// In the words of the server.
        detail: String,
        /// Where the new key is.
        kept: PathBuf,
    },
    /// The root wants somebody to decide.
    #[error(
        "the new key waits for a decision: {0}\n    the old key stays in use; run the same command again"
    )]
    Undecided(String),
    /// Not known in the time there was.
    #[error(
        "the policy server does not use the new key yet: {0}\n    the old key stays in use; the same command goes on, and so does the daemon"
    )]
    NotYet(String),
    /// An answer that is none.
    #[error("{0}\n    the old key stays in use; does the policy server know this node, and changes of keys?")]
    Unexpected(String),
    /// The request cannot be made.
    #[error("the request cannot be made: {0}")]
    Request(String),
    /// The policy server cannot be called.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The connection failed.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// The node's files.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The state directory cannot be used.
    #[error("the state directory: {0}")]
    State(io::Error),
}
