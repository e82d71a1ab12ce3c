// SPDX-License-Identifier: Apache-2.0
//! Requests to the relays below this server: HTTPS, each relay known by the keys in the node table, this
//! server by its own certificate.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, StatusCode,
    body::Incoming,
    client::conn::http1,
    header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT},
};
use hyper_util::rt::TokioIo;
use openssl::ssl::SslConnector;
use protocol::{
    certificate::{self, Certificate},
    hash::KeyHash,
    headers::HOPS,
    node_id::NodeId,
    private_key,
    tls::{self, ClientIdentity, ServerTrust},
};
use tokio::{task::spawn_blocking, time::timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::host::HostName;
use crate::{
    config::{IdentityFiles, RelayAccess, RelayTrust},
    nodes::{NodeTable, Nodes},
    upstream::{AGENT, ConnectLimits, Target, connect, with_causes},
};

/// How relays are reached.
pub struct Relays {
    access: RelayAccess,
    nodes: Nodes,
}

/// A request to a relay.
#[derive(Debug, Clone)]
pub struct Post {
    /// Path.
    pub path: &'static str,
    /// Kind of the body.
    pub content_type: HeaderValue,
    /// The body.
    pub body: Bytes,
    /// Relays that the request has come through, with this one.
    pub hops: usize,
    /// Longest wait for the head of the answer.
    pub answer: Duration,
}

/// The answer of a relay. The connection is closed when it is dropped.
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    body: Incoming,
    _closes: DropGuard,
}

/// Why a relay does not answer, or no further.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// It is not in the node list any more.
    #[error("it is not in the node list")]
    Unknown,
    /// Its host name cannot be used.
    #[error("its host name in the node list is none")]
    HostName,
    /// No key of it is known.
    #[error("no key of it is known, so it cannot be told from an impostor")]
    NoKey,
    /// Own certificate, or files of authorities.
    #[error("cannot use {}: {error}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// OpenSSL refuses the settings.
    #[error("TLS: {0}")]
    Tls(#[from] openssl::error::ErrorStack),
    /// No connection.
    #[error(transparent)]
    Connect(#[from] crate::upstream::ConnectError),
    /// The connection ended before the answer did.
    #[error("the connection was lost: {0}")]
    Lost(String),
    /// It says nothing.
    #[error("silent for {} s", .0.as_secs())]
    Silent(Duration),
}

const CONNECT: ConnectLimits = ConnectLimits {
    connect: Duration::from_secs(10),
    handshake: Duration::from_secs(10),
    silence: Duration::from_secs(15),
};
/// For HTTP's own buffers, in bytes per connection.
const HTTP_BUFFER: usize = 64 * 1024;
/// Largest file read, in bytes.
const MAX_FILE: u64 = 1024 * 1024;

impl Relays {
    /// With these nodes.
    pub fn new(access: RelayAccess, nodes: Nodes) -> Self {
        Self { access, nodes }
    }

    /// Sends a request and waits for the head of the answer.
    pub async fn post(&self, relay: &NodeId, post: Post) -> Result<Answer, RelayError> {
        let table = self.nodes.borrow().clone();
        let entry = table.list().get(relay).ok_or(RelayError::Unknown)?;
        let host = HostName::parse(&entry.hostname).ok_or(RelayError::HostName)?;
        let keys = keys(&table, relay);
        let access = self.access.clone();
        let (tls, verify_host) = spawn_blocking(move || connector(&access, keys))
            .await
            .map_err(|error| RelayError::Lost(error.to_string()))??;
        let target = Target::with(host.to_string(), self.access.port, verify_host, &self.access.proxy);
        let (stream, _) = connect(&target, &tls, CONNECT).await?;
        let http = http1::Builder::new().max_buf_size(HTTP_BUFFER).handshake(TokioIo::new(stream));
        let (mut sender, connection) = http.await.map_err(|e| lost(&e))?;
        let closed = CancellationToken::new();
        let closes = closed.clone().drop_guard();
        // How it ended is told to the request.
        tokio::spawn(async move { closed.run_until_cancelled(connection).await });
        let request = request(&host, self.access.port, &post)?;
        let response = timeout(post.answer, sender.send_request(request)).await;
        let response = response.map_err(|_| RelayError::Silent(post.answer))?.map_err(|e| lost(&e))?;
        let (head, body) = response.into_parts();
        Ok(Answer { status: head.status, body, _closes: closes })
    }
}

impl Answer {
    /// The next piece of the body; `None` at its proper end. Nothing may be longer in coming than `silence`.
    pub async fn next(&mut self, silence: Duration) -> Result<Option<Bytes>, RelayError> {
        loop {
            let frame = timeout(silence, self.body.frame()).await.map_err(|_| RelayError::Silent(silence))?;
            let Some(frame) = frame else { return Ok(None) };
            if let Ok(data) = frame.map_err(|e| lost(&e))?.into_data() {
                return Ok(Some(data));
            }
        }
    }
}

/// The keys by which a relay is known: those on the list, else those of its certificates.
fn keys(table: &NodeTable, relay: &NodeId) -> Vec<KeyHash> {
    let listed = table.list().get(relay).into_iter().flat_map(|entry| entry.key_hashes());
    let listed: Vec<KeyHash> = listed.cloned().collect();
    if !listed.is_empty() {
        return listed;
    }
    table.certificates(relay).iter().map(Certificate::key_hash).collect()
}

/// Reads the files at each connection: they may have been replaced.
fn connector(access: &RelayAccess, keys: Vec<KeyHash>) -> Result<(SslConnector, bool), RelayError> {
    let trust = match &access.trust {
        RelayTrust::Keys if keys.is_empty() => return Err(RelayError::NoKey),
        RelayTrust::Keys => ServerTrust::Pins(keys),
        RelayTrust::Authorities(None) => ServerTrust::Authorities(Vec::new()),
        RelayTrust::Authorities(Some(path)) => {
            let bundle = certificate::read_bundle(&read(path)?);
            ServerTrust::Authorities(bundle.map_err(|error| unusable(path, &error))?)
        }
        RelayTrust::DangerousNone => ServerTrust::FirstUse,
    };
    let identity = access.client_identity.as_ref().map(identity).transpose()?;
    let connector = tls::connector(&trust, access.oldest_tls, identity.as_ref())?;
    Ok((connector, tls::verifies_hostname(&trust)))
}

fn identity(files: &IdentityFiles) -> Result<ClientIdentity, RelayError> {
    // The file of a gateway may hold more certificates than its own, which is the first.
    let chain = certificate::read_bundle(&read(&files.certificate)?);
    let mut chain = chain.map_err(|error| unusable(&files.certificate, &error))?;
    if chain.is_empty() {
        return Err(unusable(&files.certificate, &"no certificate in it"));
    }
    let key = private_key::from_pem(&read(&files.key)?).map_err(|error| unusable(&files.key, &error))?;
    Ok((chain.swap_remove(0), key))
}

fn read(path: &Path) -> Result<zeroize::Zeroizing<Vec<u8>>, RelayError> {
    let unreadable = |error| RelayError::File { path: path.to_owned(), error };
    if fs::metadata(path).map_err(unreadable)?.len() > MAX_FILE {
        return Err(unusable(path, &"too large"));
    }
    fs::read(path).map(Into::into).map_err(unreadable)
}

fn unusable(path: &Path, problem: &dyn std::fmt::Display) -> RelayError {
    let error = io::Error::new(io::ErrorKind::InvalidData, problem.to_string());
    RelayError::File { path: path.to_owned(), error }
}

fn request(host: &HostName, port: u16, post: &Post) -> Result<Request<Full<Bytes>>, RelayError> {
    let host = if host.as_str().contains(':') { format!("[{host}]") } else { host.to_string() };
    let host = if port == 443 { host } else { format!("{host}:{port}") };
    let request = Request::post(post.path)
        .header(HOST, host)
        .header(USER_AGENT, AGENT)
        .header(CONTENT_TYPE, &post.content_type)
        .header(CONTENT_LENGTH, post.body.len())
        .header(HOPS, post.hops)
        .body(Full::new(post.body.clone()));
    request.map_err(|error| RelayError::Lost(error.to_string()))
}

fn lost(error: &hyper::Error) -> RelayError {
    RelayError::Lost(with_causes(error))
}
