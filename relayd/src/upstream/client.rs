// SPDX-License-Identifier: Apache-2.0
//! Requests to the upstream whose answer somebody waits for: those of nodes that a relay passes up,
//! and the relay's own.
//!
//! Everything sent may be sent twice: a kept connection may close at the moment of use, and then the
//! request goes out again on a new one.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    HeaderMap, Method, Request, StatusCode,
    header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderValue, RETRY_AFTER, USER_AGENT},
};
use openssl::ssl::SslConnector;
use prometheus::Registry;
use tokio::{sync::Semaphore, time::timeout};

use super::{
    AGENT, Target, Tls, TlsError,
    connect::{ConnectError, ConnectLimits},
    connection::{Answer, Connection},
    host_header,
    metrics::Metrics,
};
use crate::config::Upstream;

/// A client of the upstream, with the relay's own certificate. Shared by all who ask it something.
pub struct UpstreamClient {
    upstream: Upstream,
    host: HeaderValue,
    pool: Mutex<Pool>,
    passing: Semaphore,
    metrics: Metrics,
}

struct Pool {
    idle: Vec<Connection>,
    target: Arc<Target>,
    tls: SslConnector,
    /// Of the files the TLS settings were read from.
    digest: [u8; 32],
    /// Counts the TLS settings.
    generation: u64,
}

/// What the upstream answered to a request that was passed to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passed {
    /// The status.
    pub status: StatusCode,
    /// `Retry-After` and `Content-Type`, as far as the answer has them.
    pub headers: HeaderMap,
    /// The body, of 64 KiB at most.
    pub body: Bytes,
}

/// What the upstream answered to this server itself.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// The status.
    pub status: StatusCode,
    /// All headers.
    pub headers: HeaderMap,
    /// The body as it came; whoever asked for compression unpacks it.
    pub body: Bytes,
}

/// How much time and memory an answer may take.
#[derive(Debug, Clone, Copy)]
pub struct FetchLimits {
    /// Until its head is there.
    pub answer: Duration,
    /// Between two pieces of its body.
    pub pause: Duration,
    /// Its body, in bytes.
    pub body: u64,
}

/// Why there is no answer. All of them may be different later.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The connection ended before the answer did.
    #[error("connection lost: {0}")]
    Lost(String),
    /// The upstream was silent.
    #[error("no answer for {} s", .0.as_secs())]
    Late(Duration),
    /// The answer has more bytes than these.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(u64),
    /// Too many requests wait for the upstream already.
    #[error("{MOST_PASSING} requests wait for the upstream already")]
    Busy,
    /// The path or a header cannot be sent.
    #[error("no request can be made of this: {0}")]
    Request(#[from] hyper::http::Error),
}

/// Why a client cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Certificates, keys, TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The host name cannot be sent in HTTP.
    #[error("output.upstream: host holds characters that cannot be sent in an HTTP header")]
    Host,
    /// A metric is registered twice.
    #[error("metrics of requests to the upstream: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// Requests of nodes under way at a time.
pub const MOST_PASSING: usize = 64;
/// How long one waits for its turn.
const TURN: Duration = Duration::from_secs(5);
/// Connecting: a host that is down must not hold up for long those who ask.
const CONNECT: ConnectLimits = ConnectLimits {
    connect: Duration::from_secs(5),
    handshake: Duration::from_secs(10),
    silence: Duration::from_secs(15),
};
/// Of a request that was passed.
const PASS: FetchLimits =
    FetchLimits { answer: Duration::from_secs(30), pause: Duration::from_secs(15), body: 64 * 1024 };

impl UpstreamClient {
    /// Reads certificates; connects when there is something to ask.
    pub fn new(upstream: &Upstream, registry: &Registry) -> Result<Self, ClientError> {
        let tls = Tls::load(upstream)?;
        let pool = Pool {
            idle: Vec::new(),
            target: Arc::new(Target::new(upstream, tls.verify_host)),
            tls: tls.connector,
            digest: tls.digest,
            generation: 0,
        };
        Ok(Self {
            upstream: upstream.clone(),
            host: host_header(upstream).ok_or(ClientError::Host)?,
            pool: Mutex::new(pool),
            passing: Semaphore::new(MOST_PASSING),
            metrics: Metrics::new(registry)?,
        })
    }

    /// Reads the certificate files again. On error those read earlier stay in use.
    pub fn reload(&self) -> Result<(), TlsError> {
        let tls = Tls::load(&self.upstream)?;
        let mut pool = self.lock();
        if pool.digest != tls.digest {
            pool.target = Arc::new(Target::new(&self.upstream, tls.verify_host));
            (pool.tls, pool.digest) = (tls.connector, tls.digest);
            pool.generation += 1;
            pool.idle.clear();
        }
        Ok(())
    }

    /// Passes a request of a node up. `headers` are sent as they are, besides those every request has.
    pub async fn pass(
        &self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Passed, Failure> {
        // Never closed; if it were, one request more would do no harm.
        let _turn = timeout(TURN, self.passing.acquire()).await.map_err(|_| Failure::Busy)?.ok();
        let passed = self.exchange(&method, path, &headers, body, PASS).await;
        self.metrics.passed(passed.as_ref().ok().map(|answer| answer.status));
        passed.map(|mut answer| {
            let kept = [RETRY_AFTER, CONTENT_TYPE];
            let kept =
                kept.into_iter().filter_map(|name| answer.headers.remove(&name).map(|value| (name, value)));
            Passed { status: answer.status, headers: kept.collect(), body: answer.body }
        })
    }

    /// Asks for something on this server's own behalf.
    pub async fn fetch(
        &self,
        path: &str,
        headers: HeaderMap,
        limits: FetchLimits,
    ) -> Result<Fetched, Failure> {
        let answer = self.exchange(&Method::GET, path, &headers, Bytes::new(), limits).await?;
        Ok(Fetched { status: answer.status, headers: answer.headers, body: answer.body })
    }

    async fn exchange(
        &self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
        body: Bytes,
        limits: FetchLimits,
    ) -> Result<Answer, Failure> {
        let request = || self.request(method, path, headers, body.clone());
        if let Some(connection) = self.idle_connection() {
            match connection.send(request()?, limits).await {
                // The upstream may close an idle connection at any moment.
                Err(Failure::Lost(_)) => {}
                answered => return answered.map(|answered| self.keep(answered)),
            }
        }
        let connection = self.open().await?;
        connection.send(request()?, limits).await.map(|answered| self.keep(answered))
    }

    fn request(
        &self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(all) = request.headers_mut() {
            all.extend(headers.iter().map(|(name, value)| (name.clone(), value.clone())));
            all.insert(HOST, self.host.clone());
            all.insert(USER_AGENT, AGENT);
            if !body.is_empty() || method == Method::PUT {
                // Also when it is 0, which hyper would leave out.
                all.insert(CONTENT_LENGTH, body.len().into());
            }
        }
        request.body(Full::new(body))
    }

    async fn open(&self) -> Result<Connection, Failure> {
        let (target, tls, generation) = {
            let pool = self.lock();
            (pool.target.clone(), pool.tls.clone(), pool.generation)
        };
        Connection::open(&target, &tls, CONNECT, self.upstream.idle_timeout, generation).await
    }

    fn idle_connection(&self) -> Option<Connection> {
        let mut pool = self.lock();
        // The one used last: the others get old and close.
        pool.idle.retain(|connection| !connection.is_closed());
        pool.idle.pop()
    }

    /// Keeps the connection of an answer for the next request.
    fn keep(&self, (answer, connection): (Answer, Option<Connection>)) -> Answer {
        let mut pool = self.lock();
        if let Some(connection) = connection.filter(|connection| connection.generation == pool.generation) {
            pool.idle.push(connection);
        }
        answer
    }

    fn lock(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
