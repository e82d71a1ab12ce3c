// SPDX-License-Identifier: Apache-2.0
//! Sweeps: reading the whole directory in parts, and the watch on it.
//!
//! The watch starts before the first sweep, so that nothing falls between them. When the directory
//! cannot be read (it was removed, or mounted over), it is made anew if it is missing, and watched
//! anew.

use std::{
    collections::VecDeque,
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use prometheus::IntCounter;
use tokio::{
    sync::{Notify, mpsc},
    task::{JoinError, JoinHandle},
};
use tracing::{info, warn};

use super::{
    later::FileName,
    listing::Listing,
    make_directories,
    settle::Directories,
    watch::{Noticed, Watch},
};

/// See the module.
pub struct Sweeper {
    directories: Directories,
    every: Option<Duration>,
    sweeps: IntCounter,
    noticed: mpsc::Sender<Noticed>,
    sweep_now: Arc<Notify>,

    watch: Option<Watch>,
    /// When the next sweep begins; `None`: not before it is asked for.
    due: Option<Instant>,
    begun: Option<Instant>,
    ended: Option<Instant>,
    /// Whether to make a pause before the next one.
    pause: bool,
    listing: Option<Listing>,
    reading: Option<JoinHandle<io::Result<Part>>>,
    names: VecDeque<FileName>,
    failing: bool,
}

/// Names, and where to go on.
type Part = (Listing, Vec<FileName>);

/// Between sweeps when there is no watch and none are configured.
const WITHOUT_WATCH: Duration = Duration::from_secs(10);
/// From the beginning of a sweep to that of the next, at least.
const AT_LEAST: Duration = Duration::from_millis(200);
/// From the end of a sweep to the beginning of the next, at least, when a pause is to be made.
const PAUSE: Duration = Duration::from_secs(60);

impl Sweeper {
    /// A sweep is due at once.
    pub fn new(
        directories: Directories,
        every: Option<Duration>,
        sweeps: IntCounter,
        noticed: mpsc::Sender<Noticed>,
        sweep_now: Arc<Notify>,
    ) -> Self {
        Self {
            directories,
            every,
            sweeps,
            noticed,
            sweep_now,
            watch: None,
            due: Some(Instant::now()),
            begun: None,
            ended: None,
            pause: false,
            listing: None,
            reading: None,
            names: VecDeque::new(),
            failing: false,
        }
    }

    /// Sweep as soon as can be; again, if one is under way.
    pub fn now(&mut self) {
        self.not_after(Instant::now());
    }

    /// Sweep at that time or before.
    pub fn not_after(&mut self, at: Instant) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// Make a pause before the next sweep, long enough for it to be no burden: it will find files
    /// that are to be left alone.
    pub fn make_a_pause(&mut self) {
        self.pause = true;
    }

    /// When a sweep wants to begin. `None` while one is under way, and when none is planned.
    pub fn due(&self) -> Option<Instant> {
        if self.is_reading() {
            return None;
        }
        let earliest = match (self.begun, self.ended) {
            (Some(begun), Some(ended)) if self.pause => Some(ended + (ended - begun).max(PAUSE)),
            (begun, _) => begun.map(|begun| begun + AT_LEAST),
        };
        self.due.map(|due| earliest.map_or(due, |earliest| due.max(earliest)))
    }

    /// The next name found.
    pub fn next(&mut self) -> Option<FileName> {
        let name = self.names.pop_front();
        if self.names.is_empty() && self.reading.is_none() {
            self.read_on();
        }
        name
    }

    /// Waits for the next part of a sweep. Only pending when there is none under way.
    pub async fn part(&mut self) -> Result<(), JoinError> {
        let Some(reading) = &mut self.reading else { return std::future::pending().await };
        let read = reading.await;
        self.reading = None;
        match read? {
            Ok((listing, names)) => {
                if std::mem::take(&mut self.failing) {
                    info!(spool = self.directories.kind.segment(), "the spool directory can be read again");
                }
                match names.is_empty() {
                    true => self.ended = Some(Instant::now()),
                    false => self.listing = Some(listing),
                }
                self.names.extend(names);
            }
            Err(e) => self.failed(&e),
        }
        Ok(())
    }

    /// Whether one is under way, so that names may come.
    pub fn is_reading(&self) -> bool {
        self.listing.is_some() || self.reading.is_some() || !self.names.is_empty()
    }

    fn read_on(&mut self) {
        let listing = self.listing.take();
        if listing.is_none() {
            let now = Instant::now();
            if self.due().is_none_or(|due| due > now) {
                return;
            }
            self.watch();
            self.begun = Some(now);
            self.pause = false;
            let every = self.every.or_else(|| self.watch.is_none().then_some(WITHOUT_WATCH));
            self.due = every.map(|every| now + every);
            self.sweeps.inc();
        }
        let Directories { kind, incoming, .. } = self.directories.clone();
        self.reading = Some(tokio::task::spawn_blocking(move || {
            let mut listing = listing.map_or_else(|| Listing::open(&incoming, kind), Ok)?;
            let names = listing.next_part()?;
            Ok((listing, names))
        }));
    }

    fn watch(&mut self) {
        if self.watch.is_some() {
            return;
        }
        let Directories { kind, incoming, .. } = &self.directories;
        match Watch::start(incoming, *kind, self.noticed.clone(), self.sweep_now.clone()) {
            Ok(watch) => self.watch = Some(watch),
            Err(e) if !self.failing => {
                let directory = incoming.display();
                warn!(
                    spool = kind.segment(),
                    "cannot watch {directory}: {e}; it is read every few seconds instead (see fs.inotify.*)"
                );
            }
            Err(_) => {}
        }
    }

    fn failed(&mut self, e: &io::Error) {
        self.listing = None;
        self.watch = None;
        if !std::mem::replace(&mut self.failing, true) {
            let Directories { kind, incoming, .. } = &self.directories;
            warn!(spool = kind.segment(), "cannot read {}: {e}; will retry", incoming.display());
        }
        // A failure to make it shows as the next failure to read it.
        let _ = make_directories(&self.directories);
        self.not_after(Instant::now() + self.every.unwrap_or(WITHOUT_WATCH).min(WITHOUT_WATCH));
    }
}
