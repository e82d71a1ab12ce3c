// SPDX-License-Identifier: Apache-2.0
//! A thread that writes batches over its own connection, and decides what a failure means.
//!
//! ```text
//!            ┌───────────── works ─────────────▶ settle all
//! batch ─▶ write ── connection lost ─▶ reconnect once, again ── still ─▶ outlet down: release all
//!            └── refused ─▶ rehearse ── fails as well ─▶ outlet down: release all
//!                             └── works ─▶ halve until the one is alone ─▶ reject it, write the rest
//! ```

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, mpsc::Receiver},
    time::{Duration, Instant},
};

use diesel::result::{DatabaseErrorKind, Error};

use super::{
    batch::{Job, collect},
    metrics::Metrics,
    rehearsal::{rehearse, rehearse_smallest},
    write::{Entry, Purpose, Verdict, write},
};
use crate::db::{
    Connection, Database,
    connection::{LOCK_TIMEOUT, STATEMENT_TIMEOUT},
};

/// Writes batches until nobody can send any more.
pub(super) struct Writer {
    pub(super) queue: Arc<Mutex<Receiver<Job>>>,
    pub(super) deferred: VecDeque<Job>,
    pub(super) database: Database,
    pub(super) connection: Option<Connection>,
    pub(super) metrics: Metrics,
}

/// Why a batch was not written.
enum Failure {
    /// No run log is to blame.
    Down(String),
    /// Something in the batch may be.
    Refused(Refusal),
}

/// What the database says against a batch.
struct Refusal {
    detail: String,
    /// A constraint is violated: trying again cannot help.
    final_word: bool,
    /// It took as long as a time limit.
    slow: bool,
}

/// How often a lone run log is tried again before it is refused.
const RETRIES: usize = 2;
/// Longest time for a statement of a lone run log that ran into the usual limit, in seconds.
const PATIENT_STATEMENT_TIMEOUT: u32 = 600;
/// When a run log that ran into time limits is tried again.
const RETRY_SLOW: Duration = Duration::from_secs(30);

impl Writer {
    /// Works until the queue is closed and empty.
    pub(super) fn run(mut self) {
        while let Some(batch) = collect(&self.queue, &mut self.deferred) {
            self.store(batch);
        }
    }

    /// Writes a batch, or what of it can be written; every job gets its disposition.
    fn store(&mut self, mut batch: Vec<Job>) {
        while !batch.is_empty() {
            let refusal = match self.attempt(&batch) {
                Ok(verdicts) => return settle(batch, verdicts),
                Err(Failure::Down(detail)) => return self.release_all(batch, &detail),
                Err(Failure::Refused(refusal)) => refusal,
            };
            if let Err(detail) = self.rehearsed(rehearse_smallest) {
                return self.release_all(batch, &format!("{}; {detail}", refusal.detail));
            }
            match self.isolate(batch, refusal) {
                Some(rest) => batch = rest,
                None => return,
            }
        }
    }

    /// Finds one run log that cannot be written and deals with it; what is on the way and can be
    /// written, is. Returns what is left to write; `None` when the outlet went down.
    fn isolate(&mut self, mut suspects: Vec<Job>, mut refusal: Refusal) -> Option<Vec<Job>> {
        self.metrics.batches_split.inc();
        let mut rest = Vec::new();
        while suspects.len() > 1 {
            let right = suspects.split_off(suspects.len() / 2);
            match self.attempt(&suspects) {
                // Then it is on the right.
                Ok(verdicts) => settle(std::mem::replace(&mut suspects, right), verdicts),
                Err(Failure::Refused(newer)) => {
                    refusal = newer;
                    rest.extend(right);
                }
                Err(Failure::Down(detail)) => {
                    suspects.extend(right);
                    suspects.extend(rest);
                    self.release_all(suspects, &detail);
                    return None;
                }
            }
        }
        match suspects.pop() {
            Some(job) => self.judge(job, refusal, rest),
            None => Some(rest),
        }
    }

    /// Tries a lone run log again, patiently if time was the matter, before it is refused.
    fn judge(&mut self, job: Job, mut refusal: Refusal, rest: Vec<Job>) -> Option<Vec<Job>> {
        let alone = std::slice::from_ref(&job);
        // Each slow attempt keeps this writer from others.
        let retries = if refusal.slow { 1 } else { RETRIES };
        for _ in 0..retries {
            if refusal.slow {
                self.limit_statements(PATIENT_STATEMENT_TIMEOUT);
            }
            let result = self.attempt(alone);
            if refusal.slow {
                self.limit_statements(STATEMENT_TIMEOUT);
            }
            match result {
                Ok(verdicts) => {
                    settle(vec![job], verdicts);
                    return Some(rest);
                }
                Err(Failure::Down(detail)) => return self.give_up(job, rest, &detail),
                Err(Failure::Refused(newer)) => refusal = newer,
            }
            if refusal.final_word {
                break;
            }
        }
        // A stand-in of the same size: a nearly full disk takes a small one and not this.
        let like = job.entry();
        if let Err(detail) = self.rehearsed(|connection| rehearse(connection, like.log)) {
            return self.give_up(job, rest, &detail);
        }
        if refusal.slow {
            job.release(false, &refusal.detail, Some(RETRY_SLOW));
        } else {
            job.refuse(refusal.detail);
        }
        Some(rest)
    }

    fn give_up(&mut self, job: Job, mut rest: Vec<Job>, detail: &str) -> Option<Vec<Job>> {
        rest.push(job);
        self.release_all(rest, detail);
        None
    }

    /// Writes and commits a batch; over a new connection when the old one turns out to be lost.
    fn attempt(&mut self, batch: &[Job]) -> Result<Vec<Verdict>, Failure> {
        let entries: Vec<Entry<'_>> = batch.iter().map(Job::entry).collect();
        let mut lost = String::new();
        for _ in 0..2 {
            let started = Instant::now();
            self.metrics.transactions.inc();
            let connection = self.connected().map_err(Failure::Down)?;
            match write(connection, &entries, Purpose::Store) {
                Ok(verdicts) => {
                    self.committed(&entries, &verdicts, started);
                    return Ok(verdicts);
                }
                Err(error) if connection.is_usable() => {
                    return Err(Failure::Refused(Refusal::new(&error, started.elapsed())));
                }
                Err(error) => {
                    lost = format!("connection lost: {error}");
                    self.connection = None;
                }
            }
        }
        Err(Failure::Down(lost))
    }

    fn committed(&mut self, entries: &[Entry<'_>], verdicts: &[Verdict], started: Instant) {
        let stored = || entries.iter().zip(verdicts).filter(|(_, verdict)| **verdict == Verdict::Stored);
        let rows: usize = stored().map(|(entry, _)| entry.rows()).sum();
        let already = verdicts.iter().filter(|verdict| **verdict == Verdict::AlreadyStored).count();
        self.metrics.batch_seconds.observe(started.elapsed().as_secs_f64());
        self.metrics.batch_run_logs.observe(stored().count() as f64);
        self.metrics.batch_rows.observe(rows as f64);
        self.metrics.rows.inc_by(rows as u64);
        self.metrics.already_stored.inc_by(already as u64);
        if self.metrics.database_up.get() == 0 {
            tracing::info!("the database works again");
        }
        self.metrics.database_up.set(1);
    }

    /// Releases these and all that wait in the queue: it is as down for them.
    fn release_all(&mut self, batch: Vec<Job>, detail: &str) {
        if self.metrics.database_up.get() == 1 {
            tracing::error!("the database is down, run logs stay in the spool: {detail}");
        }
        self.metrics.database_up.set(0);
        for job in batch.into_iter().chain(self.deferred.drain(..)) {
            job.release(true, detail, None);
        }
        let queue = self.queue.try_lock();
        let waiting = queue.iter().flat_map(|queue| queue.try_iter());
        for job in waiting {
            job.release(true, detail, None);
        }
    }

    fn connected(&mut self) -> Result<&mut Connection, String> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.database.connect().map_err(|e| e.to_string())?,
        };
        Ok(self.connection.insert(connection))
    }

    fn rehearsed(&mut self, work: impl FnOnce(&mut Connection) -> Result<(), String>) -> Result<(), String> {
        self.metrics.transactions.inc();
        let connection = self.connected()?;
        let result = work(connection);
        if result.is_err() && !connection.is_usable() {
            self.connection = None;
        }
        result
    }

    /// A lost connection shows, and is dealt with, at the next attempt.
    fn limit_statements(&mut self, seconds: u32) {
        if let Some(connection) = &mut self.connection
            && connection.limit_statements(seconds).is_err()
        {
            self.connection = None;
        }
    }
}

impl Refusal {
    fn new(error: &Error, took: Duration) -> Self {
        let final_word = matches!(
            error,
            Error::DatabaseError(
                DatabaseErrorKind::UniqueViolation
                    | DatabaseErrorKind::ForeignKeyViolation
                    | DatabaseErrorKind::NotNullViolation
                    | DatabaseErrorKind::CheckViolation
                    | DatabaseErrorKind::ExclusionViolation
                    | DatabaseErrorKind::RestrictViolation,
                _
            ) | Error::SerializationError(_)
        );
        Self { detail: error.to_string(), final_word, slow: took >= Duration::from_secs(LOCK_TIMEOUT.into()) }
    }
}

fn settle(batch: Vec<Job>, verdicts: Vec<Verdict>) {
    for (job, verdict) in batch.into_iter().zip(verdicts) {
        job.settle(verdict);
    }
}
