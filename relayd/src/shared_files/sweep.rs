// SPDX-License-Identifier: Apache-2.0
//! Removes what has expired, and sets right what a crash left (protocol 7.4, 15.2).
//!
//! At start and then every `shared_files.cleanup.frequency`. The time that counts is in the metadata, so a
//! restart changes nothing. When the clock jumped nothing is removed for an hour: a clock that is wrong for
//! that long is believed. Metadata that cannot be read, or do not say when, are kept, and so is their file;
//! each is logged once.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, UNIX_EPOCH},
};

use protocol::shared_file::Address;
use tokio::{
    task::spawn_blocking,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{metrics::Metrics, store::Store};
use crate::spool::clock::{Agreement, Clock};

/// After a jump of the clock nothing expires for so long.
const AFTER_JUMP: Duration = Duration::from_secs(3600);
/// How often at least the two clocks are compared.
const COMPARE_EVERY: Duration = Duration::from_secs(60);
/// A sweep is not begun sooner than this after the last.
const SHORTEST: Duration = Duration::from_millis(100);
/// Of unreadable files, so many are remembered as having been logged.
const MOST_REMEMBERED: usize = 1000;

/// The sweeper.
pub(super) struct Sweeper {
    store: Arc<Store>,
    metrics: Metrics,
    every: Duration,
    clock: Arc<dyn Clock>,
    agreement: Agreement,
    logged: Mutex<HashSet<String>>,
}

impl Sweeper {
    /// Over a store.
    pub(super) fn new(store: Arc<Store>, metrics: Metrics, every: Duration, clock: Arc<dyn Clock>) -> Self {
        let agreement = Agreement::new(&*clock);
        Self { store, metrics, every: every.max(SHORTEST), clock, agreement, logged: Mutex::default() }
    }

    /// Works until `stop`.
    ///
    /// **Errors**: a sync of the store failed, after which this process must not go on.
    pub(super) async fn run(self, stop: CancellationToken) -> Result<(), String> {
        let this = Arc::new(self);
        let broken = this.store.broken().clone();
        let (mut sweep_at, mut compare_at) = (Instant::now(), Instant::now() + COMPARE_EVERY);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = broken.cancelled() => return Err(format!(
                    "fsync failed in {}: what was written may be lost; check the disk",
                    this.store.root().display()
                )),
                () = sleep_until(compare_at) => {
                    this.agreement.check(&*this.clock);
                    compare_at = Instant::now() + COMPARE_EVERY;
                }
                () = sleep_until(sweep_at) => {
                    let sweeper = this.clone();
                    spawn_blocking(move || sweeper.sweep()).await.map_err(|error| error.to_string())?;
                    sweep_at = Instant::now() + this.every;
                }
            }
        }
    }

    /// One pass over everything. Blocks.
    pub(super) fn sweep(&self) {
        let (agreed_for, after_jump) = self.agreement.check(&*self.clock);
        let may_expire = !after_jump || agreed_for >= AFTER_JUMP;
        // Before 1970 nothing has expired.
        let now = self.clock.wall().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        let (mut files, mut expired, mut orphaned, mut unreadable) = (0, 0, 0, 0);
        for address in self.each(true) {
            match self.store.metadata(&address) {
                Ok(Some(metadata)) if metadata.expires.is_some() => {
                    files += 1;
                    if may_expire && metadata.has_expired(now) {
                        expired += self
                            .done(&address, self.store.remove_if(&address, |found| found.has_expired(now)));
                    } else if self.done(&address, self.store.repair(&address)) > 0 {
                        tracing::info!(%address, "set right the content of a shared file, which a crash had left apart");
                    }
                }
                // Removed meanwhile.
                Ok(None) => {}
                Ok(Some(_)) => {
                    (files, unreadable) = (files + 1, unreadable + 1);
                    self.log_once(
                        &address,
                        "the metadata of a shared file do not say when it expires; it is kept",
                    );
                }
                Err(error) => {
                    (files, unreadable) = (files + 1, unreadable + 1);
                    self.log_once(
                        &address,
                        &format!("the metadata of a shared file cannot be read; it is kept: {error}"),
                    );
                }
            }
        }
        for address in self.each(false) {
            orphaned += self.done(&address, self.store.remove_orphan(&address));
        }
        for hash in self.store.contents().unwrap_or_default() {
            match self.store.remove_unused(&hash) {
                Ok(removed) => orphaned += u64::from(removed),
                Err(error) => tracing::warn!(hash, "cannot remove a content that nothing refers to: {error}"),
            }
        }
        self.metrics.files.set(files - i64::try_from(expired).unwrap_or(0));
        self.metrics.unreadable.set(unreadable);
        self.metrics.removed.with_label_values(&["expired"]).inc_by(expired);
        self.metrics.removed.with_label_values(&["orphaned"]).inc_by(orphaned);
        if expired + orphaned > 0 {
            tracing::info!(expired, orphaned, "removed shared files");
        }
    }

    /// All addresses, with metadata or without; those of one source are in memory at a time.
    fn each(&self, described: bool) -> impl Iterator<Item = Address> {
        let targets = self.store.targets().unwrap_or_else(|error| {
            tracing::error!(directory = %self.store.root().display(), "cannot look through shared files: {error}");
            Vec::new()
        });
        let pairs = targets.into_iter().flat_map(move |target| {
            let sources = self.store.sources(&target).unwrap_or_default();
            sources.into_iter().map(move |source| (target.clone(), source))
        });
        pairs.flat_map(move |(target, source)| {
            let sent = self.store.sent(&target, &source).unwrap_or_default();
            let ids = if described { sent.described } else { sent.bare };
            ids.into_iter().map(move |file| Address { target: target.clone(), source: source.clone(), file })
        })
    }

    fn done<E: std::fmt::Display>(&self, address: &Address, result: Result<bool, E>) -> u64 {
        match result {
            Ok(done) => u64::from(done),
            Err(error) => {
                self.log_once(address, &format!("cannot remove or set right a shared file: {error}"));
                0
            }
        }
    }

    fn log_once(&self, address: &Address, text: &str) {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.len() < MOST_REMEMBERED && logged.insert(address.to_url()) {
            tracing::error!(%address, "{text}");
        }
    }
}
