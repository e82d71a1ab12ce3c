// SPDX-License-Identifier: Apache-2.0
//! Uploads over mutually authenticated TLS, as an agent makes them.

use std::{
    net::SocketAddr,
    pin::Pin,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    HeaderMap, Method, Request, StatusCode,
    client::conn::http1::{SendRequest, handshake},
    header,
};
use hyper_util::rt::TokioIo;
use openssl::ssl::SslConnector;
use protocol::{
    hash::KeyHash,
    tls::{self, ServerTrust, TlsVersion},
    urls::UploadKind,
};
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_openssl::SslStream;

use crate::{Error, Result, identity::Identity, simulated::Packed};

/// A kept-alive connection to a policy server.
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Status code.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
}

impl Reply {
    /// A header as text; empty when it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The body as JSON.
    pub fn json(&self) -> Result<serde_json::Value> {
        let text = || String::from_utf8_lossy(&self.body).into_owned();
        serde_json::from_slice(&self.body).map_err(|e| format!("{}: {e}: {}", self.status, text()).into())
    }
}

/// A connector that shows no certificate and trusts the server with this key only.
pub fn anonymous_connector(pin: &KeyHash) -> Result<SslConnector> {
    Ok(tls::connector(&ServerTrust::Pins(vec![pin.clone()]), TlsVersion::V1_3, None)?)
}

/// A connector that presents `identity` and trusts the server with this key only.
pub fn connector(identity: &Identity, pin: &KeyHash) -> Result<SslConnector> {
    let identity = (identity.certificate.clone(), identity.key.clone());
    Ok(tls::connector(&ServerTrust::Pins(vec![pin.clone()]), TlsVersion::V1_3, Some(&identity))?)
}

impl Connection {
    /// Connects and shakes hands.
    pub async fn open(address: SocketAddr, connector: &SslConnector) -> Result<Self> {
        Self::open_as(address, connector, None).await
    }

    /// As [`Connection::open`], presenting `identity` instead of what the connector has. A connector for each of
    /// many machines would cost more than the handshakes.
    pub async fn open_as(
        address: SocketAddr,
        connector: &SslConnector,
        identity: Option<&Identity>,
    ) -> Result<Self> {
        let tcp = TcpStream::connect(address).await?;
        tcp.set_nodelay(true)?;
        let mut ssl = connector
            .configure()?
            .verify_hostname(false)
            .use_server_name_indication(false)
            .into_ssl("localhost")?;
        if let Some(identity) = identity {
            ssl.set_certificate(identity.certificate.x509())?;
            ssl.set_private_key(&identity.key)?;
        }
        let mut tls = SslStream::new(ssl, tcp)?;
        Pin::new(&mut tls).connect().await?;
        let (sender, connection) = handshake(TokioIo::new(tls)).await?;
        tokio::spawn(async move {
            // An error of the connection is seen by the request that it breaks.
            let _ = connection.await;
        });
        Ok(Self { sender })
    }

    /// Puts `body` and gives the status of the answer.
    pub async fn put(&mut self, path: &str, body: Bytes) -> Result<StatusCode> {
        Ok(StatusCode::from_u16(self.send(Method::PUT, path, &[], body).await?.status)?)
    }

    /// Gets `path`.
    pub async fn get(&mut self, path: &str) -> Result<Reply> {
        self.send(Method::GET, path, &[], Bytes::new()).await
    }

    /// Sends one request.
    pub async fn send(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<Reply> {
        self.sender.ready().await?;
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, "localhost");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = self.sender.send_request(request.body(Full::new(body))?).await?;
        let (parts, body) = answer.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Reply { status: parts.status.as_u16(), headers: parts.headers, body })
    }

    /// Whether the server, or the network, has closed it.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Uploads a run log.
    pub async fn upload(&mut self, packed: &Packed) -> Result<StatusCode> {
        self.put(&UploadKind::RunLog.path(&packed.name), Bytes::from(packed.content.clone())).await
    }
}

/// Uploads run logs of one machine over one connection, from a thread without a runtime; gives the statuses.
pub fn upload_all(
    address: SocketAddr,
    identity: &Identity,
    pin: &KeyHash,
    logs: &[Packed],
) -> Result<Vec<u16>> {
    let connector = connector(identity, pin)?;
    blocking(async {
        let mut connection = Connection::open(address, &connector).await?;
        let mut statuses = Vec::with_capacity(logs.len());
        for log in logs {
            statuses.push(connection.upload(log).await?.as_u16());
        }
        Ok(statuses)
    })
}

/// Uploads run logs of one machine until each is acknowledged, whatever happens in between: a refusal
/// or a broken connection is waited out and tried again. Gives the number of attempts that failed.
pub fn upload_stubbornly(
    address: SocketAddr,
    identity: &Identity,
    pin: &KeyHash,
    logs: &[Packed],
    limit: Duration,
) -> Result<usize> {
    let connector = connector(identity, pin)?;
    let deadline = Instant::now() + limit;
    let mut failures = 0;
    blocking(async {
        let mut connection = None;
        for log in logs {
            loop {
                let attempt = timeout(ATTEMPT, attempt(&mut connection, address, &connector, log)).await;
                let problem: Error = match attempt {
                    Ok(Ok(status)) if status.is_success() => break,
                    Ok(Ok(status)) => format!("answer {status}").into(),
                    Ok(Err(e)) => e,
                    Err(e) => e.into(),
                };
                failures += 1;
                connection = None;
                if Instant::now() > deadline {
                    return Err(format!("{} was never acknowledged: {problem}", log.name).into());
                }
                sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(failures)
    })
}

/// How long one upload may take before it is tried anew.
const ATTEMPT: Duration = Duration::from_secs(10);

/// How long one request may take that is not tried again: it may pass twenty relays on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

async fn attempt(
    connection: &mut Option<Connection>,
    address: SocketAddr,
    connector: &SslConnector,
    log: &Packed,
) -> Result<StatusCode> {
    let open = match connection.take() {
        Some(open) => open,
        None => Connection::open(address, connector).await?,
    };
    connection.insert(open).upload(log).await
}

/// One request on a connection of its own, from a thread without a runtime.
pub fn once(
    address: SocketAddr,
    connector: &SslConnector,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Result<Reply> {
    let body = body.into();
    blocking(async {
        let exchange =
            async { Connection::open(address, connector).await?.send(method, path, headers, body).await };
        timeout(PATIENCE, exchange).await?
    })
}

/// Runs a future to its end on a runtime of its own.
pub fn blocking<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future)
}
