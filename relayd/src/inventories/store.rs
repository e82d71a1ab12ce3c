// SPDX-License-Identifier: Apache-2.0
//! The thread that writes inventories: what waits goes into one transaction, and each sender hears of it
//! after the commit.

use std::{
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use chrono::Utc;
use tokio::sync::oneshot;

use super::{
    record::Record,
    rehearsal,
    write::{self, WriteError},
};
use crate::db::{Connection, Database, connection::LOCK_TIMEOUT};

/// Stores inventories; cheap to clone. The thread ends with the last of them.
#[derive(Clone)]
pub struct Store(mpsc::SyncSender<Job>);

/// Why an inventory was not stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The database does not take anything now.
    #[error("the database does not work: {0}")]
    Down(String),
    /// It takes others, but not this one.
    #[error("the database does not take this inventory: {0}")]
    This(String),
}

struct Job {
    record: Box<Record>,
    reply: oneshot::Sender<Result<(), StoreError>>,
}

/// Inventories that may wait for the thread.
const WAITING: usize = 64;
/// Most inventories in one transaction.
const BATCH: usize = 64;
/// How often a batch is tried when another server is faster.
const ATTEMPTS: usize = 5;

impl Store {
    /// Starts the thread.
    pub fn start(database: Database) -> std::io::Result<Self> {
        let (sender, jobs) = mpsc::sync_channel(WAITING);
        let work = move || Writer { database, connection: None }.run(&jobs);
        thread::Builder::new().name("inventories".into()).spawn(work)?;
        Ok(Self(sender))
    }

    /// Stores an inventory: when this returns, it is on stable storage.
    pub async fn store(&self, record: Box<Record>) -> Result<(), StoreError> {
        let (reply, replied) = oneshot::channel();
        let stopped = || StoreError::Down("it is stopping".into());
        // At most as many wait as files are on their way.
        let (queue, job) = (self.0.clone(), Job { record, reply });
        let sent = match queue.try_send(job) {
            Err(mpsc::TrySendError::Full(job)) => {
                tokio::task::spawn_blocking(move || queue.send(job).is_ok()).await.unwrap_or(false)
            }
            sent => sent.is_ok(),
        };
        if !sent {
            return Err(stopped());
        }
        replied.await.unwrap_or_else(|_| Err(stopped()))
    }
}

struct Writer {
    database: Database,
    connection: Option<Connection>,
}

impl Writer {
    fn run(mut self, jobs: &mpsc::Receiver<Job>) {
        while let Ok(first) = jobs.recv() {
            let mut batch = vec![first];
            batch.extend(jobs.try_iter().take(BATCH - 1));
            let records: Vec<&Record> = batch.iter().map(|job| &*job.record).collect();
            let verdicts = self.store(&records);
            for (job, verdict) in batch.into_iter().zip(verdicts) {
                drop(job.reply.send(verdict));
            }
        }
    }

    /// Together, or else each by itself: one that the database does not take holds up no others. When the
    /// database takes nothing, that is the end for all of them.
    fn store(&mut self, records: &[&Record]) -> Vec<Result<(), StoreError>> {
        let result = self.look_into(records);
        if records.len() == 1 || !matches!(result, Err(StoreError::This(_))) {
            return vec![result; records.len()];
        }
        let mut verdicts = Vec::with_capacity(records.len());
        for record in records {
            let verdict = match verdicts.last() {
                Some(Err(StoreError::Down(_))) => verdicts.last().cloned().unwrap_or(Ok(())),
                _ => self.look_into(&[record]),
            };
            verdicts.push(verdict);
        }
        verdicts
    }

    /// Stores these together. When that fails: is it them, or the database?
    fn look_into(&mut self, records: &[&Record]) -> Result<(), StoreError> {
        let started = Instant::now();
        let error = match self.try_store(records) {
            Err(StoreError::This(error)) => error,
            other => return other,
        };
        // Somebody holds a lock: trying each by itself would wait for it as often.
        if started.elapsed() >= Duration::from_secs(LOCK_TIMEOUT.into()) {
            return Err(StoreError::Down(error));
        }
        let (Some(connection), Some(like)) = (&mut self.connection, records.first()) else {
            return Err(StoreError::Down(error));
        };
        Err(match rehearsal::rehearse(connection, like) {
            Ok(()) => StoreError::This(error),
            Err(error) => StoreError::Down(error),
        })
    }

    fn try_store(&mut self, records: &[&Record]) -> Result<(), StoreError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.database.connect().map_err(|error| StoreError::Down(error.to_string()))?,
        };
        let mut result = Err(WriteError::Raced);
        for _ in 0..ATTEMPTS {
            result = write::write(&mut connection, records, Utc::now().timestamp());
            if !matches!(result, Err(WriteError::Raced)) {
                break;
            }
        }
        let Err(error) = result else {
            self.connection = Some(connection);
            return Ok(());
        };
        let error = error.to_string();
        if !connection.is_usable() {
            return Err(StoreError::Down(error));
        }
        self.connection = Some(connection);
        Err(StoreError::This(error))
    }
}
