// SPDX-License-Identifier: Apache-2.0
//! One connection to the upstream: TCP, TLS, HTTP/1.1, and the rules of how long anything may take.
//!
//! Time-outs are about progress, so that a slow line is no error: see [`Activity`].
//! What the kernel has taken but the peer has not acknowledged is watched by the kernel
//! (`TCP_USER_TIMEOUT`).

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use http_body_util::BodyExt;
use hyper::{Request, Response, body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use openssl::ssl::SslConnector;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{
    answer::Answer,
    upload::{Upload, UploadBody},
};
use crate::resend;
use crate::upstream::{Activity, ConnectError, ConnectLimits, Target, connect, retry_after, with_causes};

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// To connect.
    pub connect: Duration,
    /// For the TLS handshake.
    pub handshake: Duration,
    /// Without a byte moving.
    pub progress: Duration,
    /// After which an idle connection is closed.
    pub idle: Duration,
}

/// Why an upload got no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The connection ended before the answer.
    #[error("connection lost: {0}")]
    Lost(String),
    /// No byte moved for too long.
    #[error("no progress for {} s", .0.as_secs())]
    Stalled(Duration),
    /// The file itself could not be read to its end.
    #[error("cannot read the file: {0}")]
    File(String),
}

/// An open connection, idle or with one request under way.
#[derive(Debug)]
pub struct Connection {
    sender: http1::SendRequest<UploadBody>,
    activity: Arc<Activity>,
    abort: CancellationToken,
    limits: Limits,
    /// Which generation of the TLS settings it was made with.
    pub generation: u64,
}

/// Most bytes of an answer's body that are read to keep a connection.
const MOST_ANSWER: usize = 64 * 1024;
/// What is kept of it for people.
const EXCERPT: usize = 1024;
/// For HTTP's own buffers, in bytes per connection.
const HTTP_BUFFER: usize = 16 * 1024;
/// For the connection to become usable again after an answer.
const READY: Duration = Duration::from_secs(1);

impl Connection {
    /// Connects.
    pub async fn open(
        target: &Target,
        tls: &SslConnector,
        limits: Limits,
        generation: u64,
    ) -> Result<Self, Failure> {
        let within =
            ConnectLimits { connect: limits.connect, handshake: limits.handshake, silence: limits.progress };
        let (stream, activity) = connect(target, tls, within).await?;
        let http = http1::Builder::new().max_buf_size(HTTP_BUFFER).handshake(TokioIo::new(stream));
        let (sender, connection) = http.await.map_err(|e| target.failed(e.to_string()))?;
        let (watched, abort) = (activity.clone(), CancellationToken::new());
        let aborted = abort.clone().cancelled_owned();
        // Ends with the connection, which ends when its sender is dropped.
        tokio::spawn(async move {
            tokio::select! {
                // How it ended is told to the request, if there is one.
                _ = connection => {}
                () = watched.idle(limits.idle) => {}
                () = aborted => {}
            }
        });
        Ok(Self { sender, activity, abort, limits, generation })
    }

    /// Whether it can take no more requests.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Sends one request. Gives the connection back when it can be used again.
    pub async fn send(
        mut self,
        request: Request<UploadBody>,
        upload: &Upload,
    ) -> Result<(Answer, Option<Self>), Failure> {
        let activity = self.activity.clone();
        activity.begin();
        let exchange = async {
            let response = self.sender.send_request(request).await.map_err(lost)?;
            read_answer(response).await
        };
        let (answer, complete) = tokio::select! {
            answered = exchange => answered?,
            limit = activity.stalled(self.limits.progress, upload.size()) => {
                return Err(Failure::Stalled(limit));
            }
        };
        let usable = complete && matches!(timeout(READY, self.sender.ready()).await, Ok(Ok(())));
        if !usable {
            return Ok((answer, None));
        }
        activity.end();
        Ok((answer, Some(self)))
    }
}

impl Drop for Connection {
    /// In the middle of an exchange the socket is closed at once: what is still to be sent is of no use.
    fn drop(&mut self) {
        if self.activity.is_busy() {
            self.abort.cancel();
        }
    }
}

/// The answer, and whether all of its body was read.
async fn read_answer(response: Response<Incoming>) -> Result<(Answer, bool), Failure> {
    let (head, mut body) = response.into_parts();
    let retry_after = retry_after(&head.headers, SystemTime::now());
    let resend_since = resend::announced(&head.headers);
    let mut answer = Answer { status: head.status, retry_after, resend_since, excerpt: Vec::new() };
    let mut read = 0;
    while let Some(frame) = body.frame().await {
        let frame = match frame {
            Ok(frame) => frame,
            // The status says it all.
            Err(_) => return Ok((answer, false)),
        };
        let Some(data) = frame.data_ref() else { continue };
        let room = EXCERPT - answer.excerpt.len();
        answer.excerpt.extend_from_slice(&data[..data.len().min(room)]);
        read += data.len();
        if read > MOST_ANSWER {
            return Ok((answer, false));
        }
    }
    Ok((answer, true))
}

fn lost(e: hyper::Error) -> Failure {
    let text = with_causes(&e);
    if e.is_user() { Failure::File(text) } else { Failure::Lost(text) }
}
