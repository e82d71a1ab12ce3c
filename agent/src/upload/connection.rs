// SPDX-License-Identifier: Apache-2.0
//! One kept-alive HTTPS connection to the policy server.
//!
//! Time-outs: 5 s to connect, 15 s without any byte moving. An untrusted server fails the handshake,
//! before a request is made.

use std::{io, pin::Pin, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use chrono::Utc;
use http_body_util::{BodyExt, Full};
use hyper::{
    Request,
    client::conn::http1::{SendRequest, handshake},
    header,
};
use hyper_util::rt::TokioIo;
use openssl::ssl::SslConnector;
use protocol::{
    hash::KeyHash,
    run_id::RunLogName,
    tls::{self, ServerTrust},
    urls::UploadKind,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_openssl::SslStream;

use super::{
    answer::{Answer, retry_after},
    progress::Progress,
};
use crate::settings::{Credentials, Server, proxy::Proxy};

const CONNECT: Duration = Duration::from_secs(5);
const NO_PROGRESS: Duration = Duration::from_secs(15);

/// Small, so that bytes count as sent about when they leave: else a slow link looks like no progress.
const SEND_BUFFER: usize = 256 * 1024;

/// What is read of an answer's body.
const MAX_ANSWER: usize = 64 * 1024;

/// Where and how to connect.
pub struct Target {
    /// The policy server.
    pub server: Server,
    /// The way there.
    pub proxy: Option<Proxy>,
    /// How it is known.
    pub trust: ServerTrust,
    /// TLS with that trust and the node's identity.
    pub connector: SslConnector,
    /// Basic authentication.
    pub credentials: Option<Credentials>,
}

/// An open connection.
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    /// Key of the server, as its certificate says.
    pub server_key: Option<KeyHash>,
}

impl Connection {
    /// Connects and shakes hands.
    pub async fn open(target: &Target) -> Result<Self, ConnectionError> {
        let stream = timeout(CONNECT, connect(target)).await.map_err(|_| ConnectionError::Connect {
            to: target.server.to_string(),
            error: io::Error::new(io::ErrorKind::TimedOut, "no answer for 5 s"),
        })??;
        let ssl = target
            .connector
            .configure()
            .and_then(|configuration| {
                configuration
                    .verify_hostname(tls::verifies_hostname(&target.trust))
                    .into_ssl(&target.server.host)
            })
            .map_err(|e| ConnectionError::Tls(e.to_string()))?;
        let mut stream = SslStream::new(ssl, Progress::new(stream, NO_PROGRESS))
            .map_err(|e| ConnectionError::Tls(e.to_string()))?;
        if let Err(e) = Pin::new(&mut stream).connect().await {
            let verdict = stream.ssl().verify_result();
            let distrusted = verdict != openssl::x509::X509VerifyResult::OK;
            return Err(match (&target.trust, distrusted) {
                (ServerTrust::Pins(pins), true) => ConnectionError::OtherKey(listed(pins)),
                (_, true) => ConnectionError::Certificate(verdict.error_string().to_owned()),
                _ => ConnectionError::Tls(e.to_string()),
            });
        }
        let server_key = stream
            .ssl()
            .peer_certificate()
            .and_then(|certificate| certificate.public_key().ok()?.public_key_to_der().ok())
            .map(|der| KeyHash::sha256_of(&der));
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // Ends with the connection; what goes wrong shows in the request under way.
        tokio::spawn(connection);
        Ok(Self { sender, server_key })
    }

    /// Whether the server has not closed it.
    pub fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }

    /// Uploads one run log (protocol 2.3).
    pub async fn put(
        &mut self,
        target: &Target,
        name: &RunLogName,
        content: Bytes,
    ) -> Result<Answer, ConnectionError> {
        let mut request = Request::put(UploadKind::RunLog.path(name.as_str()))
            .header(header::HOST, target.server.to_string())
            .header(header::USER_AGENT, concat!("relayd-agent/", env!("CARGO_PKG_VERSION")));
        if let Some(Credentials { user, password }) = &target.credentials {
            let encoded = BASE64_STANDARD.encode(format!("{user}:{password}"));
            request = request.header(header::AUTHORIZATION, format!("Basic {encoded}"));
        }
        let request = request.body(Full::new(content)).map_err(|e| ConnectionError::Tls(e.to_string()))?;
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        let now = Utc::now();
        let retry_after = response
            .headers()
            .get(header::RETRY_AFTER)
            .and_then(|value| retry_after(value.to_str().ok()?, now));
        let status = response.status();
        let detail = self.detail(response.into_body()).await;
        Ok(Answer { status, retry_after, detail })
    }

    /// The start of a body in one line. A longer one is not worth its connection.
    async fn detail(&mut self, mut body: hyper::body::Incoming) -> String {
        let mut start = Vec::new();
        while let Some(Ok(frame)) = body.frame().await {
            start.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
            if start.len() > MAX_ANSWER {
                break;
            }
        }
        let text = String::from_utf8_lossy(&start);
        let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
        line.chars().filter(|c| !c.is_control()).take(200).collect()
    }
}

async fn connect(target: &Target) -> Result<TcpStream, ConnectionError> {
    let (host, port) = match &target.proxy {
        Some(proxy) => (proxy.host.as_str(), proxy.port),
        None => (target.server.host.as_str(), target.server.port),
    };
    let failed = |error| ConnectionError::Connect { to: format!("{host}:{port}"), error };
    let mut stream = TcpStream::connect((host, port)).await.map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    rustix::net::sockopt::set_socket_send_buffer_size(&stream, SEND_BUFFER).map_err(|e| failed(e.into()))?;
    if let Some(proxy) = &target.proxy {
        tunnel(&mut stream, proxy, &target.server).await?;
    }
    Ok(stream)
}

/// Asks a proxy for a tunnel (RFC 9110 9.3.6).
async fn tunnel(stream: &mut TcpStream, proxy: &Proxy, server: &Server) -> Result<(), ConnectionError> {
    let mut request = format!("CONNECT {server} HTTP/1.1\r\nHost: {server}\r\n");
    if let Some(authorization) = &proxy.authorization {
        request += &format!("Proxy-Authorization: {}\r\n", authorization.0);
    }
    request += "\r\n";
    let failed =
        |error| ConnectionError::Connect { to: format!("proxy {}:{}", proxy.host, proxy.port), error };
    stream.write_all(request.as_bytes()).await.map_err(failed)?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        // Byte by byte: what follows the header belongs to TLS.
        answer.push(stream.read_u8().await.map_err(failed)?);
        if answer.len() > 8 * 1024 {
            return Err(failed(io::Error::other("its answer is too long")));
        }
    }
    let line = String::from_utf8_lossy(&answer);
    let line = line.lines().next().unwrap_or_default();
    match line.split(' ').nth(1) {
        Some(status) if status.len() == 3 && status.starts_with('2') => Ok(()),
        _ => Err(failed(io::Error::other(format!("it answered {line:?}")))),
    }
}

fn listed(pins: &[KeyHash]) -> String {
    pins.iter().map(KeyHash::to_string).collect::<Vec<_>>().join(", ")
}

/// Why the policy server cannot be talked to. Nothing is lost by any of them.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// No connection.
    #[error("cannot connect to {to}: {error}")]
    Connect {
        /// Where to.
        to: String,
        /// Why not.
        error: io::Error,
    },
    /// Another key than the pinned.
    #[error(
        "the server's key is not the pinned one ({0}). If the policy server was reinstalled, pin its new key with `agent init --pin`, or in rudder.json if POLICY_SERVER_KEY_HASH is there, which goes first; if not, somebody is in between"
    )]
    OtherKey(String),
    /// Certificate validation failed.
    #[error("the server's certificate is not trusted: {0}")]
    Certificate(String),
    /// Another error in the handshake.
    #[error("TLS: {0}")]
    Tls(String),
    /// The connection broke.
    #[error("the connection broke: {}", innermost(.0))]
    Http(#[from] hyper::Error),
}

/// The cause that says most.
fn innermost(error: &hyper::Error) -> String {
    let mut error: &dyn std::error::Error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
