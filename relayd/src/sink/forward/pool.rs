// SPDX-License-Identifier: Apache-2.0
//! Kept-alive connections to one upstream.
//!
//! A delivery takes an idle connection or opens one; which it gets is decided by what is there
//! first. Few are opened at a time: on a fast line those that come back serve the waiting
//! deliveries, and on a slow one there are soon as many as deliveries. The dispatcher bounds these,
//! so the pool needs no bound of its own.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use openssl::ssl::SslConnector;
use tokio::sync::{Notify, Semaphore};

use super::connection::{Connection, Failure, Limits};
use crate::upstream::{ConnectError, Target};

/// See the module.
#[derive(Debug)]
pub struct Pool {
    limits: Limits,
    state: Mutex<State>,
    returned: Notify,
    opening: Semaphore,
}

struct State {
    idle: Vec<Connection>,
    target: Arc<Target>,
    tls: SslConnector,
    generation: u64,
    /// The last time a connection could not be opened, and why.
    failed: Option<(Instant, ConnectError)>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("idle", &self.idle.len())
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

/// Connections being opened at a time.
const OPENING: usize = 32;

impl Pool {
    /// An empty pool.
    pub fn new(target: Target, tls: SslConnector, limits: Limits) -> Self {
        let state = State { idle: Vec::new(), target: Arc::new(target), tls, generation: 0, failed: None };
        Self { limits, state: Mutex::new(state), returned: Notify::new(), opening: Semaphore::new(OPENING) }
    }

    /// From now on connects with other TLS settings; idle connections made with the old ones are closed.
    pub fn replace_tls(&self, tls: SslConnector, verify_host: bool) {
        let mut state = self.lock();
        state.target = Arc::new(Target { verify_host, ..(*state.target).clone() });
        state.tls = tls;
        state.generation += 1;
        state.idle.clear();
    }

    /// A connection, and whether it was used before.
    pub async fn take(&self) -> Result<(Connection, bool), Failure> {
        let asked = Instant::now();
        loop {
            if let Some(connection) = self.take_idle() {
                return Ok((connection, true));
            }
            tokio::select! {
                biased;
                () = self.returned.notified() => {}
                permit = self.opening.acquire() => {
                    // Never closed; if it were, one permit more would do no harm.
                    let _permit = permit.ok();
                    if let Some(connection) = self.take_idle() {
                        return Ok((connection, true));
                    }
                    // Whoever waited while another one failed has its answer.
                    if let Some(failure) = self.failed_since(asked) {
                        return Err(failure);
                    }
                    return self.open().await.map(|connection| (connection, false));
                }
            }
        }
    }

    /// A new connection.
    pub async fn open(&self) -> Result<Connection, Failure> {
        let (target, tls, generation) = {
            let state = self.lock();
            (state.target.clone(), state.tls.clone(), state.generation)
        };
        let opened = Connection::open(&target, &tls, self.limits, generation).await;
        if let Err(Failure::Connect(error)) = &opened {
            self.lock().failed = Some((Instant::now(), error.clone()));
        }
        opened
    }

    /// Gives a connection back for others.
    pub fn give_back(&self, connection: Connection) {
        {
            let mut state = self.lock();
            if connection.generation != state.generation {
                return;
            }
            state.idle.retain(|idle| !idle.is_closed());
            state.idle.push(connection);
        }
        self.returned.notify_one();
    }

    fn take_idle(&self) -> Option<Connection> {
        let mut state = self.lock();
        // The one used last: the others get old and are closed.
        while let Some(connection) = state.idle.pop() {
            if !connection.is_closed() {
                return Some(connection);
            }
        }
        None
    }

    fn failed_since(&self, asked: Instant) -> Option<Failure> {
        let state = self.lock();
        let (at, error) = state.failed.as_ref()?;
        (*at > asked).then(|| Failure::Connect(error.clone()))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
