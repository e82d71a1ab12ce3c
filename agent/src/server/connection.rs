// SPDX-License-Identifier: Apache-2.0
//! One kept-alive HTTPS connection to the policy server.
//!
//! Time-outs: 5 s to connect, 15 s for the tunnel of a proxy, 15 s without any byte moving. An untrusted server fails the handshake,
//! before a request is made.

use std::{io, net::IpAddr, pin::Pin, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full, combinators::UnsyncBoxBody};
use hyper::{
    HeaderMap, Method, Request, StatusCode,
    client::conn::http1::{SendRequest, handshake},
    header::{self, HeaderValue},
};
use hyper_util::rt::TokioIo;
use openssl::{stack::StackRef, x509::X509};
use protocol::{
    hash::KeyHash,
    proxy::TunnelError,
    tls::{self, ServerTrust},
};
use tokio_openssl::SslStream;
use zeroize::Zeroizing;

use super::{download::Download, progress::Progress, target::Target, tcp};
use crate::settings::Credentials;

const NO_PROGRESS: Duration = Duration::from_secs(15);

/// Body of a request: may be a stream.
pub type Body = UnsyncBoxBody<Bytes, io::Error>;

/// No body.
pub fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// A body that is in memory.
pub fn full(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

/// A small request: what is particular to it.
pub struct Ask {
    /// Method.
    pub method: Method,
    /// Path on the server, escaped.
    pub path: String,
    /// Type of the body, where it has one.
    pub content_type: Option<&'static str>,
    /// Body.
    pub body: Bytes,
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    /// Status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// The body, or the start of one that is longer than 64 KiB.
    pub body: Vec<u8>,
}

impl Reply {
    /// The first line of the body that says something, for people.
    pub fn detail(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
        line.chars().filter(|c| !c.is_control()).take(200).collect()
    }
}

/// An open connection.
pub struct Connection {
    sender: SendRequest<Body>,
    /// DER SubjectPublicKeyInfo of each certificate of the server, its own first.
    pub server_keys: Vec<Vec<u8>>,
    /// Address of this node on this connection; that of the way to the proxy, if there is one.
    pub own_address: Option<IpAddr>,
}

impl Connection {
    /// Connects and shakes hands.
    pub async fn open(target: &Target) -> Result<Self, ConnectionError> {
        Self::open_patient(target, NO_PROGRESS).await
    }

    /// As [`Connection::open`], with another time without any byte after which the connection is broken.
    pub async fn open_patient(target: &Target, no_progress: Duration) -> Result<Self, ConnectionError> {
        let stream = tcp::connect(target).await?;
        let own_address = stream.local_addr().ok().map(|address| address.ip());
        let ssl = target
            .connector
            .configure()
            .and_then(|configuration| {
                configuration
                    .verify_hostname(tls::verifies_hostname(&target.trust))
                    .into_ssl(&target.server.host)
            })
            .map_err(|e| ConnectionError::Tls(e.to_string()))?;
        let mut stream = SslStream::new(ssl, Progress::new(stream, no_progress))
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
        let server_keys = stream.ssl().peer_cert_chain().map(keys_of).unwrap_or_default();
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // Ends with the connection; what goes wrong shows in the request under way.
        tokio::spawn(connection);
        Ok(Self { sender, server_keys, own_address })
    }

    /// Whether the server has not closed it.
    pub fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }

    /// Key of the server, as its certificate says.
    pub fn server_key(&self) -> Option<KeyHash> {
        self.server_keys.first().map(|key| KeyHash::sha256_of(key))
    }

    /// Sends one request and reads the answer. A body that is too long is not worth its connection.
    pub async fn ask(&mut self, target: &Target, ask: &Ask) -> Result<Reply, ConnectionError> {
        let mut headers = HeaderMap::new();
        if let Some(kind) = ask.content_type {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        let answer =
            self.begin(target, ask.method.clone(), &ask.path, headers, full(ask.body.clone())).await?;
        Ok(answer.reply().await)
    }

    /// Sends one request with a body that may be a stream, and waits for the head of the answer. What is not read
    /// of the answer's body costs the connection.
    pub async fn begin(
        &mut self,
        target: &Target,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Body,
    ) -> Result<Download, ConnectionError> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, target.server.to_string())
            .header(header::USER_AGENT, concat!("relayd-agent/", env!("CARGO_PKG_VERSION")));
        if let Some(credentials) = &target.credentials {
            request = request.header(header::AUTHORIZATION, basic(credentials));
        }
        if let Some(all) = request.headers_mut() {
            all.extend(headers);
        }
        let request = request.body(body).map_err(|e| ConnectionError::Tls(e.to_string()))?;
        self.sender.ready().await?;
        Ok(Download::new(self.sender.send_request(request).await?))
    }
}

/// The value of `Authorization` for basic authentication.
fn basic(Credentials { user, password }: &Credentials) -> HeaderValue {
    let plain = Zeroizing::new(format!("{user}:{}", &**password));
    let encoded = Zeroizing::new(format!("Basic {}", BASE64_STANDARD.encode(plain.as_bytes())));
    let mut value = HeaderValue::from_str(&encoded).expect("base64 is made of visible characters");
    value.set_sensitive(true);
    value
}

fn keys_of(chain: &StackRef<X509>) -> Vec<Vec<u8>> {
    chain.iter().filter_map(|one| one.public_key().ok()?.public_key_to_der().ok()).collect()
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
    /// The proxy makes no tunnel.
    #[error("cannot reach {server} through the proxy {proxy}: {error}")]
    Tunnel {
        /// Where to.
        server: String,
        /// Which proxy.
        proxy: String,
        /// Why not.
        error: TunnelError,
    },
    /// Another key than the pinned.
    #[error(
        "the server's key is not the pinned one ({0}). If the policy server was reinstalled, compare its new key with the one that the server shows (`relayd server-key show`) and pin it: agent trust pin sha256//…; if not, somebody is in between"
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
