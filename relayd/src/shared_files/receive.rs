// SPDX-License-Identifier: Apache-2.0
//! A file on its way in: metadata, an empty line, content (protocol 7.4). The content goes to the disk as it
//! comes, and through the hash; no more than one buffer of it is in memory.

use protocol::{
    hash::KeyHash,
    shared_file::{FileHash, Hasher, Metadata, metadata},
};
use tokio::task::spawn_blocking;

use super::{part::Part, problem::Refused};
use crate::http::{BodyProblem, PacedBody, RequestBody};

/// Written at a time.
const BUFFER: usize = 256 * 1024;

/// A file that is here whole, and whose signature is good.
pub(super) struct Received {
    pub(super) metadata: Metadata,
    /// Synced.
    pub(super) content: Part,
}

/// Takes in a body of that length from somebody who may have any of these keys.
pub(super) async fn receive(
    body: RequestBody,
    slowest: u64,
    length: u64,
    keys: &[KeyHash],
    content: Part,
    count: impl Fn(u64),
) -> Result<Received, Refused> {
    let mut body = PacedBody::new(body, slowest);
    let mut received = 0;
    let mut next = async || {
        let piece = body.next().await?;
        received += piece.as_ref().map_or(0, |piece| piece.len() as u64);
        count(piece.as_ref().map_or(0, |piece| piece.len() as u64));
        if piece.is_none() && received != length {
            return Err(BodyProblem::Malformed("the body has another length than its header says"));
        }
        Ok(piece)
    };
    let mut start = Vec::new();
    let (metadata, begins) = loop {
        match next().await? {
            Some(piece) => start.extend_from_slice(&piece),
            None => return Err(Refused::Metadata(metadata::MetadataError::TooLarge)),
        }
        if let Some(at) = metadata::split(&start)? {
            break (Metadata::parse(&start[..at])?, at);
        }
    };
    if keys.is_empty() {
        return Err(Refused::NoKnownKey);
    }
    if !keys.iter().any(|key| key.matches(metadata.short_pubkey.spki_der())) {
        return Err(Refused::OtherKey);
    }
    let hasher = metadata.algorithm.hasher().map_err(|error| Refused::Failed(error.to_string()))?;
    let mut writing = Writing { content, hasher, buffer: start.split_off(begins) };
    while let Some(piece) = next().await? {
        if writing.buffer.len() + piece.len() > BUFFER {
            writing = writing.flush().await?;
        }
        writing.buffer.extend_from_slice(&piece);
    }
    let (content, hash) = writing.finish().await?;
    if !metadata.is_of(&hash) {
        return Err(Refused::Signature);
    }
    Ok(Received { metadata, content })
}

struct Writing {
    content: Part,
    hasher: Hasher,
    buffer: Vec<u8>,
}

impl Writing {
    async fn flush(self) -> Result<Self, Refused> {
        spawn_blocking(move || self.write()).await.map_err(|error| Refused::Failed(error.to_string()))?
    }

    async fn finish(self) -> Result<(Part, FileHash), Refused> {
        let finished = spawn_blocking(move || {
            let Self { content, hasher, .. } = self.write()?;
            content.sync()?;
            Ok((content, hasher.finish().map_err(|error| Refused::Failed(error.to_string()))?))
        });
        finished.await.map_err(|error| Refused::Failed(error.to_string()))?
    }

    fn write(mut self) -> Result<Self, Refused> {
        self.content.write(&self.buffer)?;
        self.hasher.update(&self.buffer).map_err(|error| Refused::Failed(error.to_string()))?;
        self.buffer.clear();
        Ok(self)
    }
}
