// SPDX-License-Identifier: Apache-2.0
//! One request to the upstream for all who ask for the same file at the same time. It belongs to none of
//! them: whoever goes away does not end it for the others.

use std::{
    collections::HashMap,
    fs::File,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use super::{entry::Entry, follow::Coming, key::Key, store::Copy};
use crate::files::Tag;

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
///
/// Nobody hears of its end, not even by the last piece of the file or by its breaking off, who could join it
/// again after that.
pub struct Flight {
    key: Key,
    flights: Flights,
    stage: watch::Sender<Stage>,
    /// How much of the file may be sent.
    ready: watch::Sender<u64>,
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
        let ready = watch::Sender::new(0);
        (receiver, Some(Flight { key, flights: Self(self.0.clone()), stage: sender, ready }))
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

    /// The file comes, and is written to `file`. What is known of it: see [`Coming`].
    pub fn coming(&self, entry: Entry, tag: Option<Tag>, file: Arc<File>) {
        let ready = self.ready.subscribe();
        self.stage.send_replace(Stage::Coming(Arc::new(Coming { entry, tag, file, ready })));
    }

    /// So many bytes of it may be sent; not all of them.
    pub fn came(&self, ready: u64) {
        self.ready.send_replace(ready);
    }

    /// All of it came, and is kept: so many bytes.
    pub fn came_whole(&self, size: u64) {
        self.close();
        self.ready.send_replace(size);
    }

    /// It is over.
    pub fn done(self, outcome: Outcome) {
        self.close();
        self.stage.send_replace(Stage::Done(outcome));
    }

    /// Who asks from now on begins another one.
    fn close(&self) {
        let mut flights = self.flights.lock();
        if flights.get(&self.key).is_some_and(|stage| stage.same_channel(&self.stage.subscribe())) {
            flights.remove(&self.key);
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        // Also when it was broken off: then those who wait see the senders go.
        self.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_joins_what_has_ended() {
        let (flights, key) = (Flights::default(), Key::of("/common/a"));
        let (_, flight) = flights.join(key);
        let flight = flight.expect("the first");
        assert!(flights.join(key).1.is_none() && flights.contains(&key));
        flight.came(5);
        assert!(flights.contains(&key));
        // Before its maker says what became of it, for others have the file already.
        let ready = flight.ready.subscribe();
        flight.came_whole(7);
        assert_eq!(*ready.borrow(), 7);
        assert!(!flights.contains(&key));

        // The end of it is none of another one for the same file.
        let (mut stage, next) = flights.join(key);
        let next = next.expect("another one");
        flight.done(Outcome::Gone);
        assert!(flights.contains(&key) && !stage.has_changed().expect("its sender is there"));
        drop(next);
        assert!(!flights.contains(&key));
        assert!(matches!(*stage.borrow_and_update(), Stage::Asking));
    }
}
