// SPDX-License-Identifier: Apache-2.0
//! Connections that are kept for the next request, and how more are made.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use openssl::ssl::SslConnector;

use super::{Failure, Target, Tls, TlsError, connect::ConnectLimits, connection::Connection};
use crate::config::Upstream;

/// The connections to one upstream.
pub struct Pool {
    upstream: Upstream,
    state: Mutex<State>,
}

struct State {
    idle: Vec<Connection>,
    target: Arc<Target>,
    tls: SslConnector,
    /// Of the files the TLS settings were read from.
    digest: [u8; 32],
    /// Counts the TLS settings.
    generation: u64,
}

/// Connecting: a host that is down must not hold up for long those who ask.
const CONNECT: ConnectLimits = ConnectLimits {
    connect: Duration::from_secs(5),
    handshake: Duration::from_secs(10),
    silence: Duration::from_secs(15),
};

impl Pool {
    /// Reads certificates; connects when there is something to ask.
    pub fn new(upstream: &Upstream) -> Result<Self, TlsError> {
        let tls = Tls::load(upstream)?;
        let state = State {
            idle: Vec::new(),
            target: Arc::new(Target::new(upstream, tls.verify_host)),
            tls: tls.connector,
            digest: tls.digest,
            generation: 0,
        };
        Ok(Self { upstream: upstream.clone(), state: Mutex::new(state) })
    }

    /// Reads the certificate files again. On error those read earlier stay in use.
    pub fn reload(&self) -> Result<(), TlsError> {
        let tls = Tls::load(&self.upstream)?;
        let mut state = self.lock();
        if state.digest != tls.digest {
            state.target = Arc::new(Target::new(&self.upstream, tls.verify_host));
            (state.tls, state.digest) = (tls.connector, tls.digest);
            state.generation += 1;
            state.idle.clear();
        }
        Ok(())
    }

    /// A new connection.
    pub async fn open(&self) -> Result<Connection, Failure> {
        let (target, tls, generation) = {
            let state = self.lock();
            (state.target.clone(), state.tls.clone(), state.generation)
        };
        Connection::open(&target, &tls, CONNECT, self.upstream.idle_timeout, generation).await
    }

    /// One that is open already.
    pub fn idle(&self) -> Option<Connection> {
        let mut state = self.lock();
        // The one used last: the others get old and close.
        state.idle.retain(|connection| !connection.is_closed());
        state.idle.pop()
    }

    /// Keeps a connection for the next request.
    pub fn keep(&self, connection: Connection) {
        let mut state = self.lock();
        if connection.generation == state.generation {
            state.idle.push(connection);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
