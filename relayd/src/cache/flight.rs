// SPDX-License-Identifier: Apache-2.0
//! One request to the upstream for all who ask for the same file at the same time. It belongs to none of
//! them: whoever goes away does not end it for the others.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use super::{follow::Coming, key::Key, store::Copy};

/// How far a request is.
#[derive(Clone)]
pub enum Stage {
    /// The upstream is being asked.
    Asking,
    /// It sends the file.
    Coming(Arc<Coming>),
    /// It is over.
    Done(Outcome),
}

/// What became of it.
#[derive(Clone)]
pub enum Outcome {
    /// The file is here.
    Kept(Arc<Copy>, Freshness),
    /// The upstream does not have it, or does not give it to this server.
    Gone,
    /// It cannot be kept: whoever wants it asks for itself.
    NotKept,
    /// There is no copy, and the upstream gives none now; why.
    Unavailable(String),
    /// The upstream answered something that makes no sense; what.
    Wrong(String),
}

/// Whether a copy is what the upstream has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Freshness {
    /// It has said so.
    Unchanged,
    /// It has just sent it.
    Fetched,
    /// It could not be asked.
    Stale,
}

/// The requests under way.
#[derive(Default)]
pub struct Flights(Arc<Mutex<HashMap<Key, watch::Receiver<Stage>>>>);

/// Ends a request, whatever becomes of who makes it.
pub struct Flight {
    key: Key,
    flights: Flights,
    stage: watch::Sender<Stage>,
}

impl Flights {
    /// Joins the request for this file; the first has to make it.
    pub fn join(&self, key: Key) -> (watch::Receiver<Stage>, Option<Flight>) {
        let mut flights = self.lock();
        if let Some(stage) = flights.get(&key) {
            return (stage.clone(), None);
        }
        let (sender, receiver) = watch::channel(Stage::Asking);
        flights.insert(key, receiver.clone());
        (receiver, Some(Flight { key, flights: Self(self.0.clone()), stage: sender }))
    }

    /// Whether there is one.
    pub fn contains(&self, key: &Key) -> bool {
        self.lock().contains_key(key)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, watch::Receiver<Stage>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Flight {
    /// Which file.
    pub fn key(&self) -> Key {
        self.key
    }

    /// The file comes.
    pub fn coming(&self, coming: Coming) {
        self.stage.send_replace(Stage::Coming(Arc::new(coming)));
    }

    /// It is over. Who asks from now on begins another one.
    pub fn done(self, outcome: Outcome) {
        self.flights.lock().remove(&self.key);
        self.stage.send_replace(Stage::Done(outcome));
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        // Also when it was broken off: then those who wait see the sender go.
        let mut flights = self.flights.lock();
        if flights.get(&self.key).is_some_and(|stage| stage.same_channel(&self.stage.subscribe())) {
            flights.remove(&self.key);
        }
    }
}
