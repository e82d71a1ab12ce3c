// SPDX-License-Identifier: Apache-2.0
//! Requests of the walk: an operation with its parameters, to a local API or a gateway.

use std::{
    net::{SocketAddr, UdpSocket},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{
    Request,
    body::{Body, Frame},
    client::conn::http1::handshake,
    header::{CONTENT_LENGTH, HOST},
};
use hyper_util::rt::TokioIo;
use openssl::ssl::{Ssl, SslConnector};
use tests::{
    Result,
    client::{Reply, anonymous_connector, blocking, connector},
    identity::Identity,
    server::Server,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_openssl::SslStream;

use super::document::Operation;

/// Whom a request goes to, and as whom.
#[derive(Clone)]
pub struct To {
    address: SocketAddr,
    /// Not for the local API.
    tls: Option<SslConnector>,
}

/// A request, but for its operation.
#[derive(Clone, Default)]
pub struct Ask {
    parameters: Vec<(String, String)>,
    query: String,
    headers: Vec<(String, String)>,
    body: Bytes,
    length: Length,
}

/// What is said about the length of the body.
#[derive(Clone, Copy, Default, PartialEq)]
enum Length {
    #[default]
    Known,
    Chunked,
    /// This is announced, and never comes.
    Announced(u64),
}

/// An answer takes this long at most: some bodies are waited for for 30 s.
const PATIENCE: Duration = Duration::from_secs(60);

impl To {
    /// The local API.
    pub fn local(server: &Server) -> Self {
        Self { address: server.api(), tls: None }
    }

    /// A gateway, without a client certificate.
    pub fn anonymous(server: &Server) -> Result<Self> {
        Ok(Self { address: server.gateway(), tls: Some(anonymous_connector(server.key_hash())?) })
    }

    /// A gateway that listens everywhere, without a client certificate, by an address of this machine that is
    /// not loopback; `None` where it has none.
    pub fn by_own_address(server: &Server) -> Result<Option<Self>> {
        // Nothing is sent: the kernel says from which address it would be.
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        if socket.connect("192.0.2.1:9").is_err() {
            return Ok(None);
        }
        let mut address = socket.local_addr()?;
        address.set_port(server.gateway().port());
        let to = Self { address, ..Self::anonymous(server)? };
        Ok((!address.ip().is_loopback()).then_some(to))
    }

    /// A gateway, as this client.
    pub fn gateway(server: &Server, client: &Identity) -> Result<Self> {
        Ok(Self { address: server.gateway(), tls: Some(connector(client, server.key_hash())?) })
    }
}

/// A request without anything.
pub fn ask() -> Ask {
    Ask::default()
}

impl Ask {
    /// A parameter of the path.
    pub fn path(mut self, name: &str, value: impl ToString) -> Self {
        self.parameters.push((name.to_owned(), value.to_string()));
        self
    }

    /// The query.
    pub fn query(self, query: impl Into<String>) -> Self {
        Self { query: query.into(), ..self }
    }

    /// A header.
    pub fn header(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    /// The body.
    pub fn body(self, body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), ..self }
    }

    /// The body in chunks, without a length.
    pub fn chunked(self) -> Self {
        Self { length: Length::Chunked, ..self }
    }

    /// A body of this length is announced, and never ends.
    pub fn announced(self, length: u64) -> Self {
        Self { length: Length::Announced(length), ..self }
    }

    /// Sends it on a connection of its own.
    pub fn send(&self, operation: &Operation, to: &To) -> Result<Reply> {
        let mut uri = operation.path.clone();
        for (name, value) in &self.parameters {
            uri = uri.replace(&format!("{{{name}}}"), value);
        }
        if !self.query.is_empty() {
            uri = format!("{uri}?{}", self.query);
        }
        let mut request = Request::builder().method(&*operation.method).uri(uri).header(HOST, "localhost");
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        request = match self.length {
            Length::Known if self.body.is_empty() && matches!(&*operation.method, "GET" | "HEAD") => request,
            Length::Known => request.header(CONTENT_LENGTH, self.body.len()),
            Length::Announced(length) => request.header(CONTENT_LENGTH, length),
            Length::Chunked => request,
        };
        let is_endless = matches!(self.length, Length::Announced(_));
        let body =
            Scripted { bytes: Some(self.body.clone()), is_endless, is_known: self.length == Length::Known };
        let request = request.body(body)?;
        blocking(async { timeout(PATIENCE, exchange(to, request)).await? })
    }
}

async fn exchange(to: &To, request: Request<Scripted>) -> Result<Reply> {
    let tcp = TcpStream::connect(to.address).await?;
    match &to.tls {
        None => over(tcp, request).await,
        Some(connector) => {
            let ssl: Ssl = connector
                .configure()?
                .verify_hostname(false)
                .use_server_name_indication(false)
                .into_ssl("localhost")?;
            let mut tls = SslStream::new(ssl, tcp)?;
            Pin::new(&mut tls).connect().await?;
            over(tls, request).await
        }
    }
}

async fn over(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: Request<Scripted>,
) -> Result<Reply> {
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move {
        // An error of the connection is seen by the request that it breaks.
        let _ = connection.await;
    });
    let (head, body) = sender.send_request(request).await?.into_parts();
    let body = body.collect().await?.to_bytes();
    Ok(Reply { status: head.status.as_u16(), headers: head.headers, body })
}

/// A body that ends, or does not.
struct Scripted {
    bytes: Option<Bytes>,
    is_endless: bool,
    is_known: bool,
}

impl Body for Scripted {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, Self::Error>>> {
        match self.bytes.take().filter(|bytes| !bytes.is_empty()) {
            Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            // Nobody wakes this: the answer ends the exchange.
            None if self.is_endless => Poll::Pending,
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.is_known && self.bytes.as_ref().is_none_or(Bytes::is_empty)
    }
}
