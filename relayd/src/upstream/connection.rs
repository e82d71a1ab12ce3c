// SPDX-License-Identifier: Apache-2.0
//! One connection for requests whose answer somebody waits for.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::{
    HeaderMap, Request, Response, StatusCode, body::Incoming, client::conn::http1, header::CONTENT_LENGTH,
};
use hyper_util::rt::TokioIo;
use openssl::ssl::SslConnector;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    client::{Failure, FetchLimits},
    connect::{ConnectLimits, Target, connect},
    progress::Activity,
    with_causes,
};
use crate::http::RequestBody;

/// An open connection, idle or with one request under way. Closed when dropped, whatever is under way.
pub struct Connection {
    sender: http1::SendRequest<RequestBody>,
    activity: Arc<Activity>,
    /// Which generation of the TLS settings it was made with.
    pub generation: u64,
    _closes: DropGuard,
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// For HTTP's own buffers, in bytes per connection.
const HTTP_BUFFER: usize = 64 * 1024;
/// For the connection to become usable again after an answer.
const READY: Duration = Duration::from_secs(1);

impl Connection {
    /// Connects. The connection closes itself when it was idle for `idle`.
    pub async fn open(
        target: &Target,
        tls: &SslConnector,
        limits: ConnectLimits,
        idle: Duration,
        generation: u64,
    ) -> Result<Self, Failure> {
        let (stream, activity) = connect(target, tls, limits).await?;
        let http = http1::Builder::new().max_buf_size(HTTP_BUFFER).handshake(TokioIo::new(stream));
        let (sender, connection) = http.await.map_err(|e| target.failed(e.to_string()))?;
        let (watched, closed) = (activity.clone(), CancellationToken::new());
        let closes = closed.clone().drop_guard();
        tokio::spawn(async move {
            tokio::select! {
                // How it ended is told to the request, if there is one.
                _ = connection => {}
                () = watched.idle(idle) => {}
                () = closed.cancelled() => {}
            }
        });
        Ok(Self { sender, activity, generation, _closes: closes })
    }

    /// Whether it can take no more requests.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Sends one request and reads its answer. Gives the connection back when it can be used again.
    pub async fn send(
        mut self,
        request: Request<RequestBody>,
        limits: FetchLimits,
    ) -> Result<(Answer, Option<Self>), Failure> {
        self.activity.begin();
        let response = timeout(limits.answer, self.sender.send_request(request)).await;
        let response = response.map_err(|_| Failure::Late(limits.answer))?.map_err(|e| lost(&e))?;
        let (head, body) = response.into_parts();
        let body = read(&head.headers, body, limits).await?;
        let answer = Answer { status: head.status, headers: head.headers, body };
        Ok((answer, self.ready().await))
    }

    /// Sends one request, with a body of that size, and reads the head of its answer. The body of the answer
    /// is read while the connection is held.
    pub async fn begin(
        &mut self,
        request: Request<RequestBody>,
        progress: Duration,
        size: u64,
    ) -> Result<Response<Incoming>, Failure> {
        self.activity.begin();
        tokio::select! {
            biased;
            answered = self.sender.send_request(request) => answered.map_err(|e| lost(&e)),
            waited = self.activity.stalled(progress, size) => Err(Failure::Late(waited)),
        }
    }

    /// The same connection for another request, after the answer to the last one was read; unless it
    /// cannot take one.
    pub async fn ready(mut self) -> Option<Self> {
        let usable = matches!(timeout(READY, self.sender.ready()).await, Ok(Ok(())));
        self.activity.end();
        usable.then_some(self)
    }
}

/// The whole body, if it comes steadily and is no larger than it may be.
async fn read(headers: &HeaderMap, mut body: Incoming, limits: FetchLimits) -> Result<Bytes, Failure> {
    let announced = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limits.body) {
        return Err(Failure::TooLarge(limits.body));
    }
    let mut content = BytesMut::new();
    while let Some(frame) =
        timeout(limits.pause, body.frame()).await.map_err(|_| Failure::Late(limits.pause))?
    {
        let frame = frame.map_err(|e| lost(&e))?;
        let Some(data) = frame.data_ref() else { continue };
        if (content.len() + data.len()) as u64 > limits.body {
            return Err(Failure::TooLarge(limits.body));
        }
        content.extend_from_slice(data);
    }
    Ok(content.freeze())
}

/// The connection ended before the answer did.
pub fn lost(error: &hyper::Error) -> Failure {
    Failure::Lost(with_causes(error))
}
