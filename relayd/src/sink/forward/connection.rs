// SPDX-License-Identifier: Apache-2.0
//! One connection to the upstream: TCP, TLS, HTTP/1.1, and the rules of how long anything may take.
//!
//! Time-outs are about progress, so that a slow line is no error: see [`progress`](super::progress).
//! What the kernel has taken but the peer has not acknowledged is watched by the kernel
//! (`TCP_USER_TIMEOUT`).

use std::{
    io,
    pin::Pin,
    sync::Arc,
    time::{Duration, SystemTime},
};

use http_body_util::BodyExt;
use hyper::{Request, Response, body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use openssl::ssl::{self, SslConnector};
use tokio::{net::TcpStream, time::timeout};
use tokio_openssl::SslStream;
use tokio_util::sync::CancellationToken;

use super::{
    answer::{Answer, retry_after},
    progress::{Activity, SEND_BUFFER, Watched},
    upload::{Upload, UploadBody},
};

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

/// Where to connect to.
#[derive(Debug, Clone)]
pub struct Target {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Whether the certificate must name the host.
    pub verify_host: bool,
}

/// Why an upload got no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// No connection.
    #[error("cannot connect to {0}: {1}")]
    Connect(String, String),
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
        let failed = |what: String| Failure::Connect(format!("{}:{}", target.host, target.port), what);
        let late =
            |what: &str, limit: Duration| failed(format!("{what} took more than {} s", limit.as_secs()));

        let tcp = timeout(limits.connect, TcpStream::connect((target.host.as_str(), target.port)));
        let tcp = tcp.await.map_err(|_| late("connecting", limits.connect))?;
        let tcp = tcp.map_err(|e| failed(e.to_string()))?;
        set_options(&tcp, limits.progress).map_err(|e| failed(e.to_string()))?;

        let (tcp, activity) = Watched::new(tcp);
        let tls =
            tls.configure().and_then(|tls| tls.verify_hostname(target.verify_host).into_ssl(&target.host));
        let stream = tls.and_then(|tls| SslStream::new(tls, tcp));
        let mut stream = stream.map_err(|e| failed(format!("TLS: {e}")))?;
        let handshake = timeout(limits.handshake, Pin::new(&mut stream).connect());
        let handshake = handshake.await.map_err(|_| late("the TLS handshake", limits.handshake))?;
        handshake.map_err(|e| failed(tls_error(&stream, &e)))?;

        let http = http1::Builder::new().max_buf_size(HTTP_BUFFER).handshake(TokioIo::new(stream));
        let (sender, connection) = http.await.map_err(|e| failed(e.to_string()))?;
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
    let mut answer = Answer { status: head.status, retry_after, excerpt: Vec::new() };
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
    let mut text = e.to_string();
    let mut source = std::error::Error::source(&e);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    if e.is_user() { Failure::File(text) } else { Failure::Lost(text) }
}

fn tls_error(stream: &SslStream<Watched>, e: &ssl::Error) -> String {
    let verdict = stream.ssl().verify_result();
    match verdict == openssl::x509::X509VerifyResult::OK {
        true => format!("TLS: {e}"),
        false => format!("the server's certificate is not trusted: {verdict}"),
    }
}

fn set_options(tcp: &TcpStream, progress: Duration) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let millis = u32::try_from(progress.as_millis()).unwrap_or(u32::MAX);
    rustix::net::sockopt::set_tcp_user_timeout(tcp, millis)?;
    rustix::net::sockopt::set_socket_send_buffer_size(tcp, SEND_BUFFER)?;
    Ok(())
}
