// SPDX-License-Identifier: Apache-2.0
//! A thread that writes batches over its own connection, and decides what a failure means.
//!
//! ```text
//!            ┌───────────── works ─────────────▶ settle all
//! batch ─▶ write ── connection lost ─▶ reconnect once, again ── still ─▶ outlet down: release all
//!            └── refused ─▶ rehearse ── fails as well ─▶ outlet down: release all
//!                             └── works ─▶ halve until the one is alone ─▶ reject it, write the rest
//! ```
//! A lone run log that runs into time limits is not refused at once: it is released, and tried again
//! with a longer limit, [`SLOW_ATTEMPTS`] times. Waiting for a lock is never held against it, nor are partitions
//! that are made while it is written.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, mpsc::Receiver},
    time::{Duration, Instant},
};

use super::{
    batch::{Job, collect},
    metrics::Metrics,
    refusal::{Cause, Refusal, TimeLimits},
    rehearsal::{rehearse, rehearse_smallest},
    slow::SlowOnes,
    write::{Entry, Purpose, Verdict, write},
};
use crate::{
    compliance::Compliance,
    db::{Connection, Database, connection::STATEMENT_TIMEOUT},
};
use chrono::Utc;

/// Writes batches until nobody can send any more.
pub(super) struct Writer {
    pub(super) queue: Arc<Mutex<Receiver<Job>>>,
    pub(super) deferred: VecDeque<Job>,
    pub(super) database: Database,
    pub(super) compliance: Arc<Compliance>,
    pub(super) connection: Option<Connection>,
    pub(super) metrics: Metrics,
    pub(super) slow: Arc<SlowOnes>,
    pub(super) limits: TimeLimits,
}

/// Why a batch was not written.
enum Failure {
    /// No run log is to blame.
    Down(String),
    /// Something in the batch may be.
    Refused(Refusal),
}

/// How often a lone run log is tried again before it is refused.
const RETRIES: usize = 2;
/// How often a batch is tried again at once because partitions were made meanwhile: after a downtime that is one for
/// each table and day.
const REROUTES: usize = 10;
/// How often a run log may run into time limits, alone and with the longer one, before it is refused.
const SLOW_ATTEMPTS: u32 = 3;
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
        let ran_into_limit = |refusal: &Refusal| matches!(refusal.cause, Cause::Lock | Cause::Slow);
        // Each slow attempt keeps this writer from others.
        let retries = if ran_into_limit(&refusal) { 1 } else { RETRIES };
        for _ in 0..retries {
            let patient = ran_into_limit(&refusal);
            if patient {
                self.limit_statements(PATIENT_STATEMENT_TIMEOUT);
            }
            let result = self.attempt(alone);
            if patient {
                self.limit_statements(STATEMENT_TIMEOUT);
            }
            match result {
                Ok(verdicts) => {
                    self.slow.forget(&job.digest);
                    settle(vec![job], verdicts);
                    return Some(rest);
                }
                Err(Failure::Down(detail)) => return self.give_up(job, rest, &detail),
                Err(Failure::Refused(newer)) => refusal = newer,
            }
            if refusal.cause == Cause::Constraint {
                break;
            }
        }
        let like = job.entry();
        let rehearsed = match refusal.cause {
            // One of its size would take as long, and say nothing of the database.
            Cause::Slow => self.rehearsed(rehearse_smallest),
            // A stand-in of the same size: a nearly full disk takes a small one and not this.
            _ => self.rehearsed(|connection, compliance| rehearse(connection, compliance, like.log)),
        };
        if let Err(detail) = rehearsed {
            return self.give_up(job, rest, &detail);
        }
        match refusal.cause {
            Cause::Slow if self.slow.count(&job.digest) >= SLOW_ATTEMPTS => {
                self.slow.forget(&job.digest);
                let detail = refusal.detail;
                job.refuse(format!("ran into time limits {SLOW_ATTEMPTS} times although alone: {detail}"));
            }
            Cause::Slow | Cause::Lock | Cause::Rerouted => {
                job.release(false, &refusal.detail, Some(RETRY_SLOW))
            }
            Cause::Constraint | Cause::Other => job.refuse(refusal.detail),
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
        let (mut reroutes, mut is_new) = (0, false);
        loop {
            let started = Instant::now();
            self.metrics.transactions.inc();
            let compliance = Arc::clone(&self.compliance);
            let connection = self.connected().map_err(Failure::Down)?;
            match write(connection, &entries, &compliance, Purpose::Store) {
                Ok(verdicts) => {
                    self.committed(&entries, &verdicts, started);
                    return Ok(verdicts);
                }
                Err(error) if connection.is_usable() => {
                    let refusal = Refusal::new(&error, started.elapsed(), self.limits);
                    if refusal.cause != Cause::Rerouted || reroutes == REROUTES {
                        return Err(Failure::Refused(refusal));
                    }
                    reroutes += 1;
                }
                Err(error) => {
                    self.connection = None;
                    if is_new {
                        return Err(Failure::Down(format!("connection lost: {error}")));
                    }
                    is_new = true;
                }
            }
        }
    }

    fn committed(&mut self, entries: &[Entry<'_>], verdicts: &[Verdict], started: Instant) {
        let stored = || entries.iter().zip(verdicts).filter(|(_, verdict)| **verdict == Verdict::Stored);
        let rows: usize = stored().map(|(entry, _)| entry.rows()).sum();
        let already = verdicts.iter().filter(|verdict| **verdict == Verdict::AlreadyStored).count();
        self.metrics.batch_seconds.observe(started.elapsed().as_secs_f64());
        self.metrics.batch_run_logs.observe(stored().count() as f64);
        self.metrics.batch_rows.observe(rows as f64);
        let now = Utc::now();
        for (entry, _) in stored() {
            let age = now.signed_duration_since(entry.log.start).to_std().unwrap_or_default();
            self.metrics.run_age.observe(age.as_secs_f64());
        }
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
        // All are taken before the first hears of it: whoever comes after that may know that it works again.
        let waiting: Vec<Job> = self.queue.try_lock().iter().flat_map(|queue| queue.try_iter()).collect();
        for job in batch.into_iter().chain(self.deferred.drain(..)).chain(waiting) {
            job.release(true, detail, None);
        }
    }

    fn connected(&mut self) -> Result<&mut Connection, String> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let connection = self.database.connect().map_err(|e| e.to_string())?;
                self.compliance.forget();
                connection
            }
        };
        Ok(self.connection.insert(connection))
    }

    fn rehearsed(
        &mut self,
        work: impl FnOnce(&mut Connection, &Compliance) -> Result<(), String>,
    ) -> Result<(), String> {
        self.metrics.transactions.inc();
        let compliance = Arc::clone(&self.compliance);
        let connection = self.connected()?;
        let result = work(connection, &compliance);
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

fn settle(batch: Vec<Job>, verdicts: Vec<Verdict>) {
    for (job, verdict) in batch.into_iter().zip(verdicts) {
        job.settle(verdict);
    }
}

#[cfg(test)]
mod tests {
    use std::{path::Path, sync::mpsc};

    use prometheus::Registry;
    use protocol::node_id::NodeId;
    use tokio::sync::{Semaphore, oneshot};

    use super::*;
    use crate::{
        config::{self, DatabaseUrl},
        sink::store::parsed::Parsed,
        spool::disposition::{Disposition, Release},
    };

    const LOG: &str = "2024-05-11T00:00:00+00:00 R: @@Common@@control@@rudder@@run@@0@@start@@0@@\
        2024-05-11 00:00:00+00:00##root@#Start execution\n";

    /// A writer to a database that refuses all reports of `root`.
    fn writer(directory: &Path, limits: TimeLimits) -> Writer {
        let url = DatabaseUrl::Sqlite(directory.join("reports.sqlite"));
        let config = config::Database { url, absent: None, max_pool_size: 1, migrate_at_start: true };
        let database = Database::open(&config).unwrap();
        let poison = "CREATE TRIGGER poison BEFORE INSERT ON ruddersysevents WHEN NEW.nodeid = 'root' \
            AND NEW.policy = 'Common' BEGIN SELECT RAISE(ABORT, 'no such luck'); END";
        database.connect().unwrap().execute(poison).unwrap();
        Writer {
            queue: Arc::new(Mutex::new(mpsc::channel().1)),
            deferred: VecDeque::new(),
            database,
            compliance: Arc::new(Compliance::new(Duration::from_secs(300))),
            connection: None,
            metrics: Metrics::new(&Registry::new()).unwrap(),
            slow: Arc::default(),
            limits,
        }
    }

    fn store(writer: &mut Writer) -> Disposition {
        let (answer, mut verdict) = oneshot::channel();
        let job = Job {
            parsed: Parsed::parse(LOG.into(), &NodeId::root(), &[]).unwrap(),
            results: None,
            digest: [7; 32],
            file: "root.log".into(),
            waiting: vec![answer],
            _memory: Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap(),
        };
        writer.store(vec![job]);
        verdict.try_recv().unwrap()
    }

    fn is_put_off(disposition: &Disposition) -> bool {
        matches!(disposition, Disposition::Released(Release { outlet_down: false, retry_after: Some(_), .. }))
    }

    #[test]
    fn a_run_log_that_always_runs_into_time_limits_is_refused_the_third_time() {
        let directory = tempfile::tempdir().unwrap();
        let limits = TimeLimits { lock: Duration::ZERO, statement: Duration::ZERO };
        let mut writer = writer(directory.path(), limits);
        for _ in 0..2 {
            for _ in 1..SLOW_ATTEMPTS {
                let disposition = store(&mut writer);
                assert!(is_put_off(&disposition), "{disposition:?}");
            }
            let disposition = store(&mut writer);
            assert!(matches!(disposition, Disposition::Rejected(_)), "{disposition:?}");
        }
    }

    #[test]
    fn waiting_for_a_lock_is_never_held_against_a_run_log() {
        let directory = tempfile::tempdir().unwrap();
        let limits = TimeLimits { lock: Duration::ZERO, statement: Duration::MAX };
        let mut writer = writer(directory.path(), limits);
        for _ in 0..2 * SLOW_ATTEMPTS {
            let disposition = store(&mut writer);
            assert!(is_put_off(&disposition), "{disposition:?}");
        }
    }
}
