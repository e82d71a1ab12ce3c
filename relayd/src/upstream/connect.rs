// SPDX-License-Identifier: Apache-2.0
//! A connection to another server: TCP, the tunnel of a proxy if there is one, and TLS, each within its time.

use std::{io, pin::Pin, sync::Arc, time::Duration};

use openssl::ssl::{self, SslConnector};
use protocol::proxy::{self, Proxy, ProxyRule, RuleError, TunnelError, address::authority};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
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
    /// The proxy on the way, if there is one.
    pub proxy: Result<Option<Proxy>, RuleError>,
}

/// How long connecting may take.
#[derive(Debug, Clone, Copy)]
pub struct ConnectLimits {
    /// For TCP, name resolution included.
    pub connect: Duration,
    /// For the TLS handshake, and before it for the tunnel of a proxy.
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
        Self::with(upstream.host.clone(), upstream.port, verify_host, &upstream.proxy)
    }

    /// Another server; the rule says how it is reached.
    pub fn with(host: String, port: u16, verify_host: bool, rule: &ProxyRule) -> Self {
        let proxy = rule.towards(&host, port).map(Option::<&Proxy>::cloned);
        Self { host, port, verify_host, proxy }
    }

    /// The error that says why this cannot be reached.
    pub fn failed(&self, why: String) -> ConnectError {
        let to = authority(&self.host, self.port);
        match &self.proxy {
            Ok(Some(proxy)) => ConnectError { to: format!("{to} through the proxy {proxy}"), why },
            Ok(None) | Err(_) => ConnectError { to, why },
        }
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
    let proxy = target.proxy.as_ref().map_err(|e| target.failed(e.to_string()))?.as_ref();
    let next = proxy.map_or((target.host.as_str(), target.port), |proxy| (proxy.host.as_str(), proxy.port));
    let what = if proxy.is_some() { "connecting to the proxy" } else { "connecting" };
    let tcp = timeout(limits.connect, TcpStream::connect(next));
    let tcp = tcp.await.map_err(|_| late(what, limits.connect))?;
    let mut tcp = tcp.map_err(|e| match proxy {
        Some(_) => target.failed(format!("{what}: {e}")),
        None => target.failed(e.to_string()),
    })?;
    set_options(&tcp, limits.silence).map_err(|e| target.failed(e.to_string()))?;
    if let Some(proxy) = proxy {
        let tunnel = timeout(limits.handshake, tunnel(&mut tcp, proxy, target));
        let tunnel = tunnel.await.map_err(|_| late("the answer of the proxy", limits.handshake))?;
        tunnel.map_err(|e| target.failed(e.to_string()))?.map_err(|e| target.failed(e.to_string()))?;
    }

    let (tcp, activity) = Watched::new(tcp);
    let tls = tls.configure().and_then(|tls| tls.verify_hostname(target.verify_host).into_ssl(&target.host));
    let stream = tls.and_then(|tls| SslStream::new(tls, tcp));
    let mut stream = stream.map_err(|e| target.failed(format!("TLS: {e}")))?;
    let handshake = timeout(limits.handshake, Pin::new(&mut stream).connect());
    let handshake = handshake.await.map_err(|_| late("the TLS handshake", limits.handshake))?;
    handshake.map_err(|e| target.failed(tls_error(&stream, &e)))?;
    Ok((stream, activity))
}

/// Asks the proxy for a tunnel. The outer error is that of the connection, the inner one what the proxy says.
async fn tunnel(tcp: &mut TcpStream, proxy: &Proxy, to: &Target) -> io::Result<Result<(), TunnelError>> {
    let request = match proxy::request(proxy, &to.host, to.port) {
        Ok(request) => request,
        Err(error) => return Ok(Err(error)),
    };
    tcp.write_all(&request).await?;
    let mut answer = proxy::Answer::default();
    loop {
        let byte = tcp.read_u8().await.map_err(|e| match e.kind() {
            io::ErrorKind::UnexpectedEof => io::Error::new(e.kind(), "it closed the connection unanswered"),
            _ => e,
        })?;
        if let Some(verdict) = answer.take(byte, proxy) {
            return Ok(verdict);
        }
    }
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
