// SPDX-License-Identifier: Apache-2.0
//! Requests to the upstream whose answer somebody waits for: those of nodes that a relay passes up,
//! and the relay's own.
//!
//! Everything sent may be sent twice: a kept connection may close at the moment of use, and then the
//! request goes out again on a new one.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderValue, RETRY_AFTER, USER_AGENT},
};
use prometheus::Registry;
use tokio::{sync::Semaphore, time::timeout};

use super::{
    AGENT, TlsError,
    connect::ConnectError,
    connection::{Answer, Connection},
    host_header,
    metrics::Metrics,
    pool::Pool,
    stream::Streams,
};
use crate::{
    config::Upstream,
    http::{
        Body, RequestBody,
        request_id::{self, REQUEST_ID},
    },
};

/// A client of the upstream, with the relay's own certificate. Shared by all who ask it something.
pub struct UpstreamClient {
    host: HeaderValue,
    pool: Arc<Pool>,
    passing: Semaphore,
    streams: Streams,
    metrics: Metrics,
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
    #[error("too many requests wait for the upstream already")]
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
pub(super) const TURN: Duration = Duration::from_secs(5);
/// Of a request that was passed.
const PASS: FetchLimits =
    FetchLimits { answer: Duration::from_secs(30), pause: Duration::from_secs(15), body: 64 * 1024 };

impl UpstreamClient {
    /// Reads certificates; connects when there is something to ask.
    pub fn new(upstream: &Upstream, registry: &Registry) -> Result<Self, ClientError> {
        Ok(Self {
            host: host_header(upstream).ok_or(ClientError::Host)?,
            pool: Arc::new(Pool::new(upstream)?),
            passing: Semaphore::new(MOST_PASSING),
            streams: Streams::new(),
            metrics: Metrics::new(registry)?,
        })
    }

    /// Reads the certificate files again. On error those read earlier stay in use.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.pool.reload()
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

    /// Sends a request whose body and answer may be of any size: neither is ever in memory whole. The
    /// length of the body, if it is known, is a header; without it the body is sent in chunks.
    ///
    /// The answer is whatever the upstream said; reading its body fails when the connection ends or stalls
    /// ([`NO_PROGRESS`](super::NO_PROGRESS)) before it is whole. How many are under way at a time is bounded
    /// ([`MOST_STREAMS`](super::MOST_STREAMS)), apart from requests that are [passed](Self::pass).
    pub async fn stream(
        &self,
        method: Method,
        path: &str,
        headers: &HeaderMap,
        body: RequestBody,
    ) -> Result<Response<Body>, Failure> {
        let request = || self.request(&method, path, headers);
        let streamed = self.streams.send(&self.pool, request, body).await;
        self.metrics.streamed(streamed.as_ref().ok().map(Response::status));
        streamed
    }

    async fn exchange(
        &self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
        body: Bytes,
        limits: FetchLimits,
    ) -> Result<Answer, Failure> {
        let request = || {
            let mut request = self.request(method, path, headers)?;
            if !body.is_empty() || method == Method::PUT {
                // Also when it is 0, which hyper would leave out.
                request.headers_mut().insert(CONTENT_LENGTH, body.len().into());
            }
            Ok::<_, Failure>(
                request.map(|()| Full::new(body.clone()).map_err(|never| match never {}).boxed()),
            )
        };
        if let Some(connection) = self.pool.idle() {
            match connection.send(request()?, limits).await {
                // The upstream may close an idle connection at any moment.
                Err(Failure::Lost(_)) => {}
                answered => return answered.map(|answered| self.keep(answered)),
            }
        }
        let connection = self.pool.open().await?;
        connection.send(request()?, limits).await.map(|answered| self.keep(answered))
    }

    /// A request without its body.
    fn request(
        &self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
    ) -> Result<Request<()>, hyper::http::Error> {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(all) = request.headers_mut() {
            all.extend(headers.iter().map(|(name, value)| (name.clone(), value.clone())));
            all.insert(HOST, self.host.clone());
            all.insert(USER_AGENT, AGENT);
            if let Some(id) = request_id::current() {
                all.insert(REQUEST_ID, id);
            }
        }
        request.body(())
    }

    /// Keeps the connection of an answer for the next request.
    fn keep(&self, (answer, connection): (Answer, Option<Connection>)) -> Answer {
        if let Some(connection) = connection {
            self.pool.keep(connection);
        }
        answer
    }
}
