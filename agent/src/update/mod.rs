// SPDX-License-Identifier: Apache-2.0
//! Policies come from the policy server (protocol 8, 14.4).
//!
//! ```text
//! ask ─304─▶ nothing to do
//!  └─ manifest or archives ─▶ stage (`inputs.next`) ─fsync─▶ swap, on trial ─▶ validate ─▶ in use | taken back
//! ```
//!
//! | file | what |
//! |---|---|
//! | [`fetch`] | conditional requests, bodies to the disk |
//! | [`pinned`] | keys that may sign policies |
//! | [`manifest`], [`archives`] | the two forms that policies come in |
//! | [`unpack`] | archives, as if an enemy had made them |
//! | [`stage`], [`slot`], [`swap`] | directories: being made, replaced as a whole, on trial |
//! | [`validate`] | whether policies in place may be used |
//! | [`memory`] | what is remembered |
//! | [`first`] | the update before a run |
//!
//! Invariant: who holds the run lock finds whole policies in place that have passed, old or new.

pub mod archives;
pub mod attempt;
pub mod error;
pub mod fetch;
pub mod first;
pub mod manifest;
pub mod memory;
pub mod pinned;
pub mod slot;
pub mod stage;
pub mod swap;
pub mod unpack;
pub mod validate;

use std::{io, path::Path};

use chrono::{SubsecRound, Utc};
use protocol::hash::KeyHash;
use tokio_util::sync::CancellationToken;

pub use self::error::UpdateError;
use self::{
    attempt::{Attempt, Prepared},
    memory::{Memory, Refused},
    slot::Slot,
    validate::Verdict,
};
use crate::{
    identity::Identity,
    paths::Paths,
    run::turn::Turn,
    server::{succession, trust},
    settings::Settings,
    state::State,
    triggers::book::Book,
};

/// What is wanted of an update.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Only say whether there is something new.
    pub check: bool,
    /// Fetch everything, also what is there or did not pass.
    pub force: bool,
    /// Also ask which runs wait for this node; they are noted.
    pub news: bool,
}

/// How an update ended, where nothing was wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// No policy server is configured.
    NoServer,
    /// It has no policies for this node.
    NoPolicies,
    /// What it has is in use.
    Unchanged,
    /// It has something new; nothing was changed, because no more was asked.
    Available,
    /// New policies are in use.
    Updated,
}

/// An update that is over.
#[derive(Debug)]
pub struct Done {
    /// How it ended.
    pub outcome: Outcome,
    /// Bytes of bodies received.
    pub received: u64,
    /// How the server's keys have changed, in words.
    pub keys: Vec<String>,
    /// Key of the server, pinned from now on.
    pub pinned: Option<KeyHash>,
}

impl Done {
    fn new(outcome: Outcome) -> Self {
        Self { outcome, received: 0, keys: vec![], pinned: None }
    }
}

/// The directories that updates replace.
fn slots(paths: &Paths) -> [Slot; 2] {
    [Slot::new(paths.policies.clone()), Slot::new(paths.library.clone())]
}

/// Brings in order what an agent that was killed has left; needs the run lock. Gives what was done, in words.
///
/// **Errors**: policies that have not passed may be in place.
pub fn recover(state: &State, paths: &Paths) -> io::Result<Option<String>> {
    swap::recover(state, &slots(paths))
}

/// Fails while policies are in place that have not passed: they could not be taken back.
pub fn expect_passed(state: &State) -> io::Result<()> {
    match Memory::load(state)?.trial {
        None => Ok(()),
        Some(_) => Err(io::Error::other("policies that have not passed are in place")),
    }
}

/// Whether the policies in use were fetched from a policy server.
pub fn has_fetched(state: &State) -> bool {
    Memory::load(state).is_ok_and(|memory| memory.active.is_some())
}

/// Fetches the policies, if they have changed, and puts them to use. Settings have to be read again after
/// [`Outcome::Updated`]; `root` is what they are below.
///
/// **Errors**: the policies in use before are in use; why, is remembered.
pub async fn update(
    turn: &Turn,
    root: &Path,
    settings: &Settings,
    identity: &Identity,
    options: Options,
    stop: &CancellationToken,
) -> Result<Done, UpdateError> {
    if settings.server.is_none() {
        return Ok(Done::new(Outcome::NoServer));
    }
    let mut memory = Memory::load(turn.state()).map_err(UpdateError::Disk)?;
    let updated = try_update(turn, root, settings, identity, options, &mut memory, stop).await;
    if options.check {
        return updated;
    }
    memory.at = Some(Utc::now().trunc_subsecs(0));
    memory.problem = updated.as_ref().err().map(ToString::to_string);
    if let Ok(done) = &updated {
        memory.none = done.outcome == Outcome::NoPolicies;
    }
    memory.save(turn.state()).map_err(UpdateError::Disk)?;
    updated
}

async fn try_update(
    turn: &Turn,
    root: &Path,
    settings: &Settings,
    identity: &Identity,
    options: Options,
    memory: &mut Memory,
    stop: &CancellationToken,
) -> Result<Done, UpdateError> {
    let mut attempt = Attempt::new(settings, identity, options, memory)?;
    let prepared = tokio::select! {
        () = stop.cancelled() => Err(UpdateError::Stopped),
        prepared = tokio::time::timeout(settings.update_time_limit, attempt.prepare()) => {
            prepared.unwrap_or(Err(UpdateError::TimedOut(settings.update_time_limit)))
        }
    };
    let (mut fetch, slots, keys) = attempt.into_parts();
    if options.news
        && let Some(news) = fetch.news().await
    {
        Book::of(turn.state()).note(&news, Utc::now()).map_err(UpdateError::Disk)?;
    }
    let session = fetch.session();
    let mut done =
        Done { received: fetch.received, keys: session.keys.clone(), ..Done::new(Outcome::Unchanged) };
    let prepared = match prepared {
        Ok(prepared) => prepared,
        Err(e) => {
            slots.iter().try_for_each(|slot| slot::remove(&slot.next())).map_err(UpdateError::Disk)?;
            if let Some(mut new) = Refused::of(&e, fetch.judged, settings, keys) {
                if new.library_etag.is_some() {
                    // Those in use are not at fault.
                    new.etag = memory.active.as_ref().and_then(|active| active.etag.clone());
                }
                memory.refused = Some(new);
            }
            return Err(e);
        }
    };
    done.outcome = match prepared {
        Prepared::Outcome(outcome) => outcome,
        Prepared::Same(active, held) => {
            (memory.active, memory.held, memory.refused) = (Some(*active), held, None);
            Outcome::Unchanged
        }
        Prepared::Ready(new) => {
            swap::begin(turn.state(), memory, &new.ready).map_err(UpdateError::Disk)?;
            let verdict = validate::validate(turn, root, settings, stop).await;
            if !matches!(verdict, Verdict::Passed) {
                swap::take_back(turn.state(), memory).map_err(UpdateError::Disk)?;
            }
            match verdict {
                Verdict::Stopped => return Err(UpdateError::Stopped),
                Verdict::Failed(reason) => {
                    let library_etag = new.library.as_ref().and_then(|library| library.etag.clone());
                    let etag = new.active.as_ref().and_then(|active| active.etag.clone());
                    let version = new.active.as_ref().and_then(|active| active.version);
                    let new = Refused::new(etag, reason.clone(), settings, keys);
                    memory.refused = Some(Refused { version, library_etag, ..new });
                    return Err(UpdateError::NotPassed(reason));
                }
                Verdict::Passed => {}
            }
            memory.active = new.active;
            memory.library = new.library;
            memory.held = new.held;
            memory.refused = None;
            swap::commit(turn.state(), memory, &new.ready).map_err(UpdateError::Disk)?;
            Outcome::Updated
        }
    };
    if done.outcome != Outcome::NoPolicies {
        done.pinned = pin(root, session).map_err(UpdateError::Disk)?;
    }
    Ok(done)
}

/// A server whose policies are in use is the policy server from now on: one that was met for the first time, and
/// one whose pin came with policies of which the new ones have none.
fn pin(root: &Path, session: &crate::server::session::Session<'_>) -> io::Result<Option<KeyHash>> {
    let Ok((settings, _)) = Settings::load(root) else { return Ok(None) };
    let has_pins = trust::pins(&settings).is_ok_and(|pins| !pins.pins.is_empty());
    match session.server_key() {
        Some(key) if !has_pins && !settings.cert_validation => {
            Ok(succession::pin_first_use(&settings, &key)?.then_some(key))
        }
        _ => Ok(None),
    }
}
