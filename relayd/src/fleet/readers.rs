// SPDX-License-Identifier: Apache-2.0
//! Connections for reading only: few, kept for the next question, never those of the writers.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::spawn_blocking,
    time::{error::Elapsed, timeout},
};

use super::{Question, Reply, Trouble};
use crate::db::{Connection, Database, DbError};

/// Questions that are worked on at a time, each with a connection.
const AT_A_TIME: usize = 4;
/// Longest wait for one of these connections.
const WAIT: Duration = Duration::from_secs(5);
/// Longest time that one statement may take, in seconds; PostgreSQL only.
pub const STATEMENT: u32 = 20;
/// A connection that was not needed for so long is closed.
const IDLE: Duration = Duration::from_secs(60);

/// Answers questions.
#[derive(Clone)]
pub(super) struct Readers {
    database: Database,
    slots: Arc<Semaphore>,
    /// Connections that nobody uses, the one used last at the end.
    idle: Arc<Mutex<Vec<(Instant, Connection)>>>,
}

impl Readers {
    pub(super) fn new(database: Database) -> Self {
        Self { database, slots: Arc::new(Semaphore::new(AT_A_TIME)), idle: Arc::default() }
    }

    /// Asks, off the async threads.
    pub(super) async fn ask(&self, question: Question) -> Result<Reply, Trouble> {
        let slot = timeout(WAIT, self.slot()).await.map_err(|_: Elapsed| Trouble::Busy)?;
        self.ask_in(slot?, question).await
    }

    /// The same, however long it takes until there is a connection: for the rest of an answer that has begun.
    pub(super) async fn ask_when_free(&self, question: Question) -> Result<Reply, Trouble> {
        let slot = self.slot().await?;
        self.ask_in(slot, question).await
    }

    async fn slot(&self) -> Result<OwnedSemaphorePermit, Trouble> {
        self.slots.clone().acquire_owned().await.map_err(|error| Trouble::Internal(error.to_string()))
    }

    async fn ask_in(&self, slot: OwnedSemaphorePermit, question: Question) -> Result<Reply, Trouble> {
        let (database, idle) = (self.database.clone(), self.idle.clone());
        let work = move || {
            // Until the work is done, also when nobody waits for it any more.
            let _slot = slot;
            let mut connection = match take(&idle) {
                Some(connection) => connection,
                None => for_reading(database.connect()?)?,
            };
            let answer = ask(&mut connection, question);
            if !matches!(answer, Err(Trouble::Database(_))) {
                put_back(&idle, connection);
            }
            answer
        };
        spawn_blocking(work).await.map_err(|error| Trouble::Internal(error.to_string()))?
    }
}

/// Makes a connection one that only reads, with a limit on each statement.
pub fn for_reading(mut connection: Connection) -> Result<Connection, DbError> {
    connection.limit_statements(STATEMENT)?;
    connection.execute(match connection {
        // Compiling takes longer than most of these statements.
        Connection::Postgres(_) => "SET default_transaction_read_only = on; SET jit = off",
        Connection::Sqlite(_) => "PRAGMA query_only = ON",
    })?;
    Ok(connection)
}

fn ask(connection: &mut Connection, question: Question) -> Result<Reply, Trouble> {
    let start = Instant::now();
    let answer = connection.snapshot(question);
    match answer {
        // diesel does not say why a statement was cancelled; the time that it took does.
        Err(Trouble::Database(_)) if start.elapsed() >= Duration::from_secs(STATEMENT.into()) => {
            Err(Trouble::Late)
        }
        answer => answer,
    }
}

fn take(idle: &Mutex<Vec<(Instant, Connection)>>) -> Option<Connection> {
    loop {
        let (_, mut connection) = idle.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
        // It may be older than the server's last restart.
        if connection.is_usable() {
            return Some(connection);
        }
    }
}

fn put_back(idle: &Mutex<Vec<(Instant, Connection)>>, connection: Connection) {
    let mut idle = idle.lock().unwrap_or_else(PoisonError::into_inner);
    idle.push((Instant::now(), connection));
    idle.retain(|(used, _)| used.elapsed() < IDLE);
}
