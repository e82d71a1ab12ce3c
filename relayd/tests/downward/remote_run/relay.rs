// SPDX-License-Identifier: Apache-2.0
//! A relay that is played: it takes one request after the other, and answers with what a test says.

use std::{io, pin::Pin};

use openssl::ssl::Ssl;
use protocol::{
    remote_run::{Event, Line, NodeEvent},
    tls::{self, ClientIdentity, TlsVersion},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_openssl::SslStream;

use crate::harness::{PATIENCE, id};

/// A relay below the root that answers as a test says.
pub struct PlayedRelay {
    pub identity: ClientIdentity,
    listener: TcpListener,
}

/// A request as it came.
pub struct Asked {
    pub head: String,
    pub body: String,
    pub stream: SslStream<TcpStream>,
}

impl PlayedRelay {
    /// Takes requests from this listener.
    pub fn new(identity: ClientIdentity, listener: TcpListener) -> Self {
        Self { identity, listener }
    }

    /// Takes the next request; shows its own certificate.
    pub async fn take(&self) -> Asked {
        let identity = self.identity.clone();
        self.take_as(identity).await.unwrap()
    }

    /// Takes the next request, showing that it is this one.
    pub async fn take_as(&self, identity: ClientIdentity) -> io::Result<Asked> {
        let acceptor = tls::acceptor(&identity.into(), TlsVersion::V1_3, tls::admit_all(), None).unwrap();
        let accepted = timeout(PATIENCE, self.listener.accept()).await.expect("a connection in time");
        let mut stream = SslStream::new(Ssl::new(acceptor.context()).unwrap(), accepted.unwrap().0)?;
        Pin::new(&mut stream).accept().await.map_err(io::Error::other)?;
        let mut bytes = Vec::new();
        let (head, length) = loop {
            let mut piece = [0; 4096];
            let read = stream.read(&mut piece).await?;
            assert!(read > 0, "a whole request");
            bytes.extend_from_slice(&piece[..read]);
            if let Some(end) = memchr::memmem::find(&bytes, b"\r\n\r\n") {
                let head = String::from_utf8(bytes.drain(..end + 4).collect()).unwrap();
                let length = head.to_lowercase();
                let length = length.split("content-length: ").nth(1).unwrap();
                break (head.clone(), length.split("\r\n").next().unwrap().parse::<usize>().unwrap());
            }
        };
        while bytes.len() < length {
            let mut piece = [0; 4096];
            let read = stream.read(&mut piece).await?;
            bytes.extend_from_slice(&piece[..read]);
        }
        Ok(Asked { head, body: String::from_utf8(bytes).unwrap(), stream })
    }
}

impl Asked {
    /// A head without a length: the body ends with the connection, or by chunks.
    pub async fn begin(&mut self) {
        self.raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    }

    /// A piece of the body.
    pub async fn say(&mut self, piece: impl AsRef<[u8]>) {
        let piece = piece.as_ref();
        let chunk = [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
        self.raw(&chunk).await;
    }

    pub async fn event(&mut self, node: &str, event: Event) {
        self.say(Line::Node(NodeEvent::now(id(node), event)).to_json()).await;
    }

    /// The proper end of the body.
    pub async fn end(mut self) {
        self.raw(b"0\r\n\r\n").await;
        let _ = self.stream.shutdown().await;
    }

    /// Bytes as they are. The other side may be gone.
    pub async fn raw(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
        let _ = self.stream.flush().await;
    }

    /// Waits until the other side closes the connection.
    pub async fn closed(&mut self) {
        let mut rest = [0; 64];
        let closed = async { while !matches!(self.stream.read(&mut rest).await, Ok(0) | Err(_)) {} };
        timeout(PATIENCE, closed).await.expect("the connection is closed");
    }
}
