// SPDX-License-Identifier: Apache-2.0
//! The way to the policy server, straight or through a proxy; TLS begins at its end.

use std::{io, time::Duration};

use protocol::proxy::{self, Proxy, TunnelError};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{connection::ConnectionError, target::Target};

/// For TCP, name resolution included.
const CONNECT: Duration = Duration::from_secs(5);
/// For the proxy's answer: it has to connect, too.
const TUNNEL: Duration = Duration::from_secs(15);

/// Small, so that bytes count as sent about when they leave: else a slow link looks like no progress.
const SEND_BUFFER: usize = 256 * 1024;

/// Connects to the policy server.
pub async fn connect(target: &Target) -> Result<TcpStream, ConnectionError> {
    let server = &target.server;
    let Some(proxy) = &target.proxy else {
        let failed = |error| ConnectionError::Connect { to: server.to_string(), error };
        return open(&server.host, server.port).await.map_err(failed);
    };
    let failed = |error| ConnectionError::Connect { to: format!("the proxy {proxy}"), error };
    let mut stream = open(&proxy.host, proxy.port).await.map_err(failed)?;
    let answer = timeout(TUNNEL, tunnel(&mut stream, proxy, &server.host, server.port));
    match answer.await.unwrap_or_else(|_| Err(late(TUNNEL))).map_err(failed)? {
        Ok(()) => Ok(stream),
        Err(error) => {
            Err(ConnectionError::Tunnel { server: server.to_string(), proxy: proxy.to_string(), error })
        }
    }
}

async fn open(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream =
        timeout(CONNECT, TcpStream::connect((host, port))).await.unwrap_or_else(|_| Err(late(CONNECT)))?;
    stream.set_nodelay(true)?;
    rustix::net::sockopt::set_socket_send_buffer_size(&stream, SEND_BUFFER)?;
    Ok(stream)
}

/// The outer error is that of the connection to the proxy, the inner one what the proxy says.
async fn tunnel(
    stream: &mut TcpStream,
    proxy: &Proxy,
    host: &str,
    port: u16,
) -> io::Result<Result<(), TunnelError>> {
    let request = match proxy::request(proxy, host, port) {
        Ok(request) => request,
        Err(error) => return Ok(Err(error)),
    };
    stream.write_all(&request).await?;
    let mut answer = proxy::Answer::default();
    loop {
        let byte = stream.read_u8().await.map_err(|e| match e.kind() {
            io::ErrorKind::UnexpectedEof => io::Error::new(e.kind(), "it closed the connection unanswered"),
            _ => e,
        })?;
        if let Some(verdict) = answer.take(byte, proxy) {
            return Ok(verdict);
        }
    }
}

fn late(limit: Duration) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("no answer for {} s", limit.as_secs()))
}
