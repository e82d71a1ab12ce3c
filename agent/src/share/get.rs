// SPDX-License-Identifier: Apache-2.0
//! What was sent to this node (protocol 15.2).

use std::path::Path;

use chrono::Utc;
use hyper::StatusCode;
use protocol::{
    hash::KeyHash,
    shared_file::{FileId, List, Metadata, Name, PATH, address::METADATA, metadata},
};

use super::{ShareError, incoming::Incoming, session};
use crate::{identity::Identity, server::session::Session, settings::Settings};

/// Largest list that is read, in bytes.
const LARGEST_LIST: u64 = 16 << 20;
/// How often a file is fetched that is replaced meanwhile.
const MOST_ATTEMPTS: usize = 50;
/// How often the same content comes with the same metadata, which are not of each other, until it is no accident.
const UNCHANGED: usize = 4;

/// A file that was fetched.
#[derive(Debug)]
pub struct Fetched {
    /// What its sender says, and what was found to be so.
    pub metadata: Metadata,
    /// Its size, in bytes.
    pub size: u64,
    /// The key that signed it.
    pub signed_by: KeyHash,
    /// Whether this node itself knows that this is the sender's key, and does not only trust its policy server to
    /// have checked it.
    pub is_sender_known: bool,
}

/// What waits for this node.
pub async fn list(settings: &Settings, identity: &Identity) -> Result<List, ShareError> {
    let mut session = session(settings, identity)?;
    let answer = session.get(&format!("{PATH}/{}/", identity.node_id), None).await?;
    if answer.status != StatusCode::OK {
        return Err(ShareError::unexpected(&answer.reply().await));
    }
    let json = answer.bytes(LARGEST_LIST).await?;
    serde_json::from_slice(&json)
        .map_err(|error| ShareError::Refused(format!("the policy server gave no list of files: {error}")))
}

/// Fetches a file, checks hash and signature, and puts it at `path`. With `sender_key` it must be that key's.
pub async fn fetch(
    settings: &Settings,
    identity: &Identity,
    (source, file): (&Name, &FileId),
    path: &Path,
    sender_key: Option<&KeyHash>,
) -> Result<Fetched, ShareError> {
    let mut session = session(settings, identity)?;
    let url = format!("{PATH}/{}/{source}/{file}", identity.node_id);
    // What did not belong together at the last attempt, and how often that came.
    let (mut last_mismatch, mut repeated) = (None, 0);
    for _ in 0..MOST_ATTEMPTS {
        let metadata = metadata_of(&mut session, &url, source, file).await?;
        let signed_by = KeyHash::sha256_of(metadata.short_pubkey.spki_der());
        let own = source.as_str() == identity.node_id.as_str();
        let wanted = match own {
            true => Some(identity.certificate.key_hash()),
            false => sender_key.cloned(),
        };
        if let Some(wanted) =
            wanted.as_ref().filter(|wanted| !wanted.matches(metadata.short_pubkey.spki_der()))
        {
            return Err(ShareError::Altered(format!("{file} was signed by {signed_by}, not by {wanted}")));
        }
        let answer = session.get(&url, None).await?;
        if answer.status != StatusCode::OK {
            return Err(missing(answer, source, file).await);
        }
        let mut incoming = Incoming::create(path, metadata.algorithm).map_err(ShareError::of_file(path))?;
        let size = answer.save(&mut incoming, u64::MAX).await?;
        let hash = incoming.hash().map_err(ShareError::of_file(path))?;
        if hash != metadata.hash_value && repeated < UNCHANGED {
            // Replaced between the two requests, perhaps once more by now.
            let mismatch = Some((hash, metadata.hash_value.clone()));
            repeated = if last_mismatch == mismatch { repeated + 1 } else { 1 };
            last_mismatch = mismatch;
            continue;
        }
        if !metadata.is_of(&hash) {
            return Err(ShareError::Altered(format!("{file} is not what {source} signed")));
        }
        incoming.keep().map_err(ShareError::of_file(path))?;
        return Ok(Fetched { metadata, size, signed_by, is_sender_known: wanted.is_some() });
    }
    Err(ShareError::Refused(format!("{file} of {source} is replaced all the time; try again later")))
}

async fn metadata_of(
    session: &mut Session<'_>,
    url: &str,
    source: &Name,
    file: &FileId,
) -> Result<Metadata, ShareError> {
    let answer = session.get(&format!("{url}{METADATA}"), None).await?;
    if answer.status != StatusCode::OK {
        return Err(missing(answer, source, file).await);
    }
    let metadata = Metadata::parse(&answer.bytes(metadata::MAX_SIZE as u64).await?)?;
    match metadata.has_expired(Utc::now().timestamp()) {
        true => Err(ShareError::NotThere(format!("{source}/{file} that has not expired"))),
        false => Ok(metadata),
    }
}

async fn missing(answer: crate::server::download::Download, source: &Name, file: &FileId) -> ShareError {
    match answer.status {
        StatusCode::NOT_FOUND => ShareError::NotThere(format!("{source}/{file}")),
        _ => ShareError::unexpected(&answer.reply().await),
    }
}
