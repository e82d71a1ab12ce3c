// SPDX-License-Identifier: Apache-2.0
//! A connection to the upstream: TCP and TLS, each within its time.

use std::{io, pin::Pin, sync::Arc, time::Duration};

use openssl::ssl::{self, SslConnector};
use tokio::{net::TcpStream, time::timeout};
use tokio_openssl::SslStream;

use super::progress::{Activity, SEND_BUFFER, Watched};
use crate::config::Upstream;

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

/// How long connecting may take.
#[derive(Debug, Clone, Copy)]
pub struct ConnectLimits {
    /// For TCP, name resolution included.
    pub connect: Duration,
    /// For the TLS handshake.
    pub handshake: Duration,
    /// For the peer's kernel to acknowledge what was sent, at any time (`TCP_USER_TIMEOUT`).
    pub silence: Duration,
}

/// Why there is no connection.
#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot connect to {to}: {why}")]
pub struct ConnectError {
    to: String,
    why: String,
}

impl Target {
    /// The upstream of the configuration.
    pub fn new(upstream: &Upstream, verify_host: bool) -> Self {
        Self { host: upstream.host.clone(), port: upstream.port, verify_host }
    }

    /// The error that says why this cannot be reached.
    pub fn failed(&self, why: String) -> ConnectError {
        ConnectError { to: format!("{}:{}", self.host, self.port), why }
    }
}

/// Connects, and checks that it is the right server before anything is sent.
pub async fn connect(
    target: &Target,
    tls: &SslConnector,
    limits: ConnectLimits,
) -> Result<(SslStream<Watched>, Arc<Activity>), ConnectError> {
    let late =
        |what: &str, limit: Duration| target.failed(format!("{what} took more than {} s", limit.as_secs()));
    let tcp = timeout(limits.connect, TcpStream::connect((target.host.as_str(), target.port)));
    let tcp = tcp.await.map_err(|_| late("connecting", limits.connect))?;
    let tcp = tcp.map_err(|e| target.failed(e.to_string()))?;
    set_options(&tcp, limits.silence).map_err(|e| target.failed(e.to_string()))?;

    let (tcp, activity) = Watched::new(tcp);
    let tls = tls.configure().and_then(|tls| tls.verify_hostname(target.verify_host).into_ssl(&target.host));
    let stream = tls.and_then(|tls| SslStream::new(tls, tcp));
    let mut stream = stream.map_err(|e| target.failed(format!("TLS: {e}")))?;
    let handshake = timeout(limits.handshake, Pin::new(&mut stream).connect());
    let handshake = handshake.await.map_err(|_| late("the TLS handshake", limits.handshake))?;
    handshake.map_err(|e| target.failed(tls_error(&stream, &e)))?;
    Ok((stream, activity))
}

fn tls_error(stream: &SslStream<Watched>, e: &ssl::Error) -> String {
    let verdict = stream.ssl().verify_result();
    match verdict == openssl::x509::X509VerifyResult::OK {
        true => format!("TLS: {e}"),
        false => format!("the server's certificate is not trusted: {verdict}"),
    }
}

fn set_options(tcp: &TcpStream, silence: Duration) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let millis = u32::try_from(silence.as_millis()).unwrap_or(u32::MAX);
    rustix::net::sockopt::set_tcp_user_timeout(tcp, millis)?;
    rustix::net::sockopt::set_socket_send_buffer_size(tcp, SEND_BUFFER)?;
    Ok(())
}
