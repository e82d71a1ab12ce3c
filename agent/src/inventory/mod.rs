// SPDX-License-Identifier: Apache-2.0
//! What this machine is: collected, signed, and brought to the policy server (protocol 6).
//!
//! ```text
//! schedule ─due─▶ collect ─content─▶ document ─XML─▶ sign, gzip ─two files─▶ waiting ─PUT, PUT─▶ policy server
//!                                     └ the checks of servers             └ on the root: into its spool
//! ```
//!
//! | module | what it owns |
//! |---|---|
//! | [`machine`] | what collectors may ask of the machine, within limits |
//! | [`collect`] | hardware, system, network, users, processes, packages, custom properties |
//! | [`document`] | the inventory as a whole, and what of it is worth sending |
//! | [`sign`] | the file with the signature |
//! | [`waiting`] | the newest inventory, as long as it was not taken: one, never a queue |
//! | [`send`] | bringing it to the policy server |
//! | [`schedule`] | when one is due, and what is remembered for that |
//! | [`order`] | the file that asks for one |
//! | [`signs`] | from which a change is seen without collecting anything |
//! | [`keep`] | in the daemon: waits until one is due, and has it made by a process of its own |
//!
//! Invariant: nothing is sent that servers would refuse for what is in it: their checks are made here first.

pub mod collect;
pub mod document;
pub mod keep;
pub mod machine;
pub mod order;
pub mod schedule;
pub mod send;
pub mod sign;
pub mod signs;
pub mod waiting;

use std::{
    io,
    path::Path,
    time::{Duration, Instant},
};

use chrono::{SubsecRound, Utc};
use protocol::{remote_run::Conditions, urls::UploadKind};
use tokio_util::sync::CancellationToken;

use self::{
    document::{Document, DocumentError},
    order::Order,
    schedule::{Memory, Why},
    send::{PolicyServer, SendInventoryError},
    waiting::Waiting,
};
use crate::{
    identity::Identity,
    settings::Settings,
    state::{Lock, LockError, State},
};

/// The condition of a run that asks for an inventory (protocol 6.2).
const FORCED: &str = "force_inventory";

/// What became of an inventory.
#[derive(Debug)]
pub enum Made {
    /// It was sent.
    Sent {
        /// Name of the file.
        name: String,
        /// Bytes of the file.
        size: u64,
        /// How the server's keys have changed, in words.
        keys: Vec<String>,
    },
    /// It says what the server has already, and was asked for only in case it does not.
    Unchanged,
    /// It waits, and is sent later.
    Waits(String),
}

/// Collects and sends. `why` says how much that is asked for: where nothing has changed, an inventory that was due for a
/// change only is not sent.
pub async fn make(
    root: &Path,
    settings: &Settings,
    identity: &Identity,
    why: Why,
    stop: &CancellationToken,
) -> Result<Made, InventoryError> {
    let state = State::open(&settings.paths.state).map_err(InventoryError::State)?;
    let _lock = turn(&state, why, stop).await?;
    let waiting = Waiting::open(&state).map_err(InventoryError::Waiting)?;
    let order = Order::given(&settings.paths.force_inventory);
    let (signs, before) = (signs::of(root, settings), Memory::load(&state));
    let mut server = match PolicyServer::of(settings, identity) {
        Ok(server) => server,
        Err(e) => {
            before
                .after_sending(&e, Utc::now().trunc_subsecs(0))
                .save(&state)
                .map_err(InventoryError::State)?;
            return Err(e.into());
        }
    };
    if let Why::Again = why
        && let Some(pair) = waiting.read(Utc::now()).map_err(InventoryError::Waiting)?
    {
        // It is from before any order that is there now.
        return finish(None, &state, &waiting, before, server.send(&pair).await);
    }
    if before.sent == Some(Utc::now().trunc_subsecs(0)) {
        // Names have seconds, and two inventories with one name could be taken for one.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let policy_server = match server.node_id(&state).await {
        Ok(id) => id,
        Err(e) => return finish(None, &state, &waiting, before, Err(e)),
    };
    let document = match Document::make(root, settings, identity, &policy_server, &state, stop).await {
        Ok(document) => document,
        Err(e) => {
            let memory = Memory { signs: Some(signs), ..before };
            memory
                .after_making(&e, Utc::now().trunc_subsecs(0))
                .save(&state)
                .map_err(InventoryError::State)?;
            return Err(e.into());
        }
    };
    if stop.is_cancelled() {
        return Err(InventoryError::Stopped);
    }
    let memory = Memory { signs: Some(signs), ..before };
    if why == Why::Changed && memory.digest.as_ref() == Some(&document.digest) {
        memory.without_problem().save(&state).map_err(InventoryError::State)?;
        return Ok(Made::Unchanged);
    }
    let pair = waiting.put(&document, settings, identity).map_err(InventoryError::Waiting)?;
    let memory = Memory { pending: Some(document.digest), ..memory };
    finish(order, &state, &waiting, memory, server.send(&pair).await)
}

/// How long who asks for an inventory waits for one that is being made: it may be from before what is to be told.
const TURN: Duration = Duration::from_secs(180);

async fn turn(state: &State, why: Why, stop: &CancellationToken) -> Result<Lock, InventoryError> {
    let deadline = Instant::now() + TURN;
    loop {
        match state.lock_inventory() {
            Err(LockError::Held(_)) if why == Why::Asked && Instant::now() < deadline => {}
            taken => return Ok(taken?),
        }
        tokio::select! {
            () = stop.cancelled() => return Err(InventoryError::Stopped),
            () = tokio::time::sleep(Duration::from_millis(200)) => {}
        }
    }
}

/// Remembers what came of it. `order` was there when it was begun.
fn finish(
    order: Option<Order>,
    state: &State,
    waiting: &Waiting,
    before: Memory,
    sent: Result<Made, SendInventoryError>,
) -> Result<Made, InventoryError> {
    let now = Utc::now().trunc_subsecs(0);
    let (memory, made) = match sent {
        Ok(made) => {
            let digest = before.pending.clone().or(before.digest.clone());
            let memory = Memory { sent: Some(now), digest, pending: None, ..before.without_problem() };
            waiting.clear().map_err(InventoryError::Waiting)?;
            if let Some(order) = order {
                order.forget();
            }
            (memory, made)
        }
        Err(e) => {
            let memory = before.after_sending(&e, now);
            if e.is_refusal() {
                waiting.clear().map_err(InventoryError::Waiting)?;
                memory.save(state).map_err(InventoryError::State)?;
                return Err(e.into());
            }
            (memory, Made::Waits(e.to_string()))
        }
    };
    memory.save(state).map_err(InventoryError::State)?;
    Ok(made)
}

/// Makes an inventory where the conditions of a run ask for it. How that went is logged: it is no part of the run.
pub async fn after_run(
    root: &Path,
    settings: &Settings,
    identity: &Identity,
    conditions: &Conditions,
    stop: &CancellationToken,
) {
    let is_asked = conditions.iter().any(|condition| condition.as_str() == FORCED);
    if is_asked && settings.makes_inventories() && !stop.is_cancelled() {
        log(&make(root, settings, identity, Why::Asked, stop).await);
    }
}

/// Logs what became of one that nobody waits for.
pub fn log(made: &Result<Made, InventoryError>) {
    match made {
        Ok(Made::Sent { name, size, keys }) => {
            tracing::info!("inventory sent: {name}, {size} bytes");
            keys.iter().for_each(|change| tracing::info!("{change}"));
        }
        Ok(Made::Unchanged) => tracing::debug!("the inventory has not changed"),
        Ok(Made::Waits(why)) => tracing::warn!("the inventory is not sent yet: {why}"),
        Err(e) if e.is_nobodys_fault() => {}
        Err(e) => tracing::error!("no inventory: {e}"),
    }
}

/// Why there is no inventory.
#[derive(Debug, thiserror::Error)]
pub enum InventoryError {
    /// Somebody else is at it.
    #[error("an inventory is already being made ({0})")]
    InProgress(String),
    /// It could not be made.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// It could not be sent, and never will.
    #[error(transparent)]
    Send(#[from] SendInventoryError),
    /// The place where it waits cannot be used.
    #[error("the inventory that waits: {0}")]
    Waiting(io::Error),
    /// The state directory cannot be used.
    #[error("the state directory: {0}")]
    State(io::Error),
    /// The agent was told to stop.
    #[error("the agent was told to stop")]
    Stopped,
}

impl InventoryError {
    /// Whether there is nothing to be told or mended.
    pub fn is_nobodys_fault(&self) -> bool {
        matches!(self, Self::InProgress(_) | Self::Stopped)
    }
}

impl From<LockError> for InventoryError {
    fn from(e: LockError) -> Self {
        match e {
            LockError::Held(holder) => Self::InProgress(holder),
            LockError::Io(path, e) => {
                Self::State(io::Error::new(e.kind(), format!("{}: {e}", path.display())))
            }
        }
    }
}

/// Which door of the policy server an inventory of this node goes to (protocol 6.2).
pub fn door(settings: &Settings) -> UploadKind {
    if settings.initial { UploadKind::NewInventory } else { UploadKind::InventoryUpdate }
}
