// SPDX-License-Identifier: Apache-2.0
//! The asking side of the local API, for the command line.

use std::{fmt::Display, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Request,
    client::conn::http1::{self, SendRequest},
    header::HOST,
};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::timeout,
};

use crate::{config::LocalAddress, upstream::with_causes};

/// Largest `system/status` that is read, in bytes.
const LARGEST_STATUS: usize = 1024 * 1024;

/// The daemon cannot be asked.
#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot ask the daemon at {place}: {why}")]
pub struct Away {
    /// Where it should listen.
    pub place: String,
    /// Why not.
    pub why: String,
    /// Whether nobody listens there; otherwise somebody does, and does not answer as it should.
    pub is_absent: bool,
}

impl Away {
    /// What to do.
    pub fn remedy(&self) -> &'static str {
        match self.is_absent {
            true => {
                "start it with `systemctl start rudder-relayd` (`journalctl -u rudder-relayd` says why it ended, \
                 `relayd doctor` what would keep it from starting), or name its configuration with --config"
            }
            false => {
                "see what it does with `journalctl -u rudder-relayd`, and that nothing else listens there; \
                 `systemctl restart rudder-relayd` loses nothing"
            }
        }
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// The address, as people write it.
pub fn place(listen: &LocalAddress) -> String {
    match listen {
        LocalAddress::Tcp(address) => address.to_string(),
        LocalAddress::Unix(path) => path.display().to_string(),
    }
}

/// Connects to the daemon that listens there.
pub async fn connect(listen: &LocalAddress) -> Result<SendRequest<Full<Bytes>>, Away> {
    let stream: Result<Box<dyn Stream>, _> = match listen {
        LocalAddress::Tcp(address) => TcpStream::connect(address).await.map(|stream| Box::new(stream) as _),
        LocalAddress::Unix(path) => UnixStream::connect(path).await.map(|stream| Box::new(stream) as _),
    };
    let stream =
        stream.map_err(|error| Away { place: place(listen), why: error.to_string(), is_absent: true })?;
    let shaken = http1::handshake(TokioIo::new(stream)).await;
    let (sender, connection) = shaken.map_err(|error| odd(listen, &with_causes(&error)))?;
    tokio::spawn(connection);
    Ok(sender)
}

/// What `system/status` says: the member `data`. Blocks; not for threads of a runtime.
pub fn status(listen: &LocalAddress, limit: Duration) -> Result<Value, Away> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| odd(listen, &error))?;
    let answer = runtime.block_on(async { timeout(limit, ask(listen)).await });
    answer.unwrap_or_else(|_| Err(odd(listen, &format!("no answer within {limit:?}"))))
}

async fn ask(listen: &LocalAddress) -> Result<Value, Away> {
    let mut sender = connect(listen).await?;
    let lost = |error: hyper::Error| odd(listen, &with_causes(&error));
    let request = Request::get("/rudder/relay-api/1/system/status").header(HOST, "localhost");
    let request = request.body(Full::default()).map_err(|error| odd(listen, &error))?;
    let answer = sender.send_request(request).await.map_err(lost)?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), LARGEST_STATUS).collect().await;
    let body = body.map_err(|error| odd(listen, &error))?.to_bytes();
    if !status.is_success() {
        return Err(odd(listen, &format!("it answers {status}; is that relayd?")));
    }
    let mut answer: Value = serde_json::from_slice(&body)
        .map_err(|error| odd(listen, &format!("it answers with nonsense ({error}); is that relayd?")))?;
    Ok(answer["data"].take())
}

fn odd(listen: &LocalAddress, why: &dyn Display) -> Away {
    Away { place: place(listen), why: why.to_string(), is_absent: false }
}
