// SPDX-License-Identifier: Apache-2.0
//! Sending a file (protocol 7.4): asked first whether it is there, then signed and streamed from the disk.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::Path,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use chrono::{DateTime, Utc};
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::{
    HeaderMap, Method, StatusCode,
    body::Frame,
    header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue},
};
use protocol::shared_file::{Address, Algorithm, FileHash, Metadata, PATH};
use tokio::io::AsyncReadExt;

use super::{ShareError, session};
use crate::{
    enrol::hostname,
    identity::Identity,
    server::{connection::Body, download::Download},
    settings::Settings,
};

/// Read at a time.
const PIECE: usize = 128 * 1024;

/// A file that is with the policy servers now.
#[derive(Debug)]
pub struct Put {
    /// Its size, in bytes.
    pub size: u64,
    /// Its hash.
    pub hash: FileHash,
    /// Whether it was sent; else the same was there already, and is kept for as long as was said then.
    pub sent: bool,
}

/// Sends a file to a node, unless the policy servers have it for that node already.
pub async fn put(
    settings: &Settings,
    identity: &Identity,
    address: &Address,
    file: &Path,
    ttl: Duration,
) -> Result<Put, ShareError> {
    let (hash, size) = hash_of(file).map_err(ShareError::of_file(file))?;
    let mut session = session(settings, identity)?;
    let url = format!("{PATH}/{address}");
    let asked = session.send(Method::HEAD, &format!("{url}?hash={hash}"), HeaderMap::new()).await?;
    match asked.status {
        StatusCode::OK => return Ok(Put { size, hash, sent: false }),
        StatusCode::NOT_FOUND => {}
        _ => return Err(refused(asked, address).await),
    }
    let metadata = Metadata::sign(hash.clone(), &identity.key, &hostname(), &keydate(settings))?;
    let head = Bytes::from(format!("{metadata}\n"));
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_LENGTH, (head.len() as u64 + size).into());
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    let content = tokio::fs::File::open(file).await.map_err(ShareError::of_file(file))?;
    let url = format!("{url}?ttl={}", ttl.as_secs());
    let answer = session.upload(Method::PUT, &url, headers, body(head, content, size)).await?;
    match answer.status.is_success() {
        true => Ok(Put { size, hash, sent: true }),
        false => Err(refused(answer, address).await),
    }
}

/// What an answer means for whoever sends.
async fn refused(answer: Download, address: &Address) -> ShareError {
    let reply = answer.reply().await;
    let (status, target) = (reply.status, &address.target);
    ShareError::Refused(match status {
        StatusCode::NOT_FOUND => {
            "the policy server does not take files of this node: it does not know it, or not by \
             this key\n    `agent status` shows how the node stands"
                .to_owned()
        }
        StatusCode::PAYLOAD_TOO_LARGE => "the file is larger than a policy server takes\n    have \
             shared_files.max_body_size raised on the policy servers between the two nodes"
            .to_owned(),
        StatusCode::INTERNAL_SERVER_ERROR => format!(
            "the policy server cannot take the file\n    is {target} a node that the root knows, is this node's key in the \
             node list, and does each policy server reach the one above it? Their logs say which"
        ),
        StatusCode::INSUFFICIENT_STORAGE | StatusCode::SERVICE_UNAVAILABLE => {
            format!("the policy server cannot take the file now ({}); try again later", reply.detail())
        }
        _ => return ShareError::unexpected(&reply),
    })
}

/// Metadata, an empty line, and the file: as much of it as was signed.
fn body(head: Bytes, file: tokio::fs::File, size: u64) -> Body {
    let pieces = stream::try_unfold((Some(head), file, size), async |(head, mut file, left)| {
        if let Some(head) = head {
            return Ok(Some((Frame::data(head), (None, file, left))));
        }
        if left == 0 {
            return Ok(None);
        }
        let mut piece = BytesMut::with_capacity(PIECE.min(usize::try_from(left).unwrap_or(PIECE)));
        if file.read_buf(&mut piece).await? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file became shorter"));
        }
        let left = left.saturating_sub(piece.len() as u64);
        Ok(Some((Frame::data(piece.freeze()), (None, file, left))))
    });
    StreamBody::new(pieces).boxed_unsync()
}

fn hash_of(path: &Path) -> io::Result<(FileHash, u64)> {
    let mut file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let (mut hasher, mut piece, mut size) = (Algorithm::Sha512.hasher()?, vec![0; PIECE], 0);
    loop {
        match file.read(&mut piece)? {
            0 => return Ok((hasher.finish()?, size)),
            read => {
                hasher.update(&piece[..read])?;
                size += read as u64;
            }
        }
    }
}

/// When the key was changed last, as existing senders write it.
fn keydate(settings: &Settings) -> String {
    let changed = fs::metadata(&settings.paths.key).and_then(|facts| facts.modified());
    let changed: DateTime<Utc> = changed.unwrap_or(std::time::UNIX_EPOCH).into();
    changed.format("%Y-%m-%d %H:%M:%S%.9f %z").to_string()
}
