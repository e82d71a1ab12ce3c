// SPDX-License-Identifier: Apache-2.0
//! Files of the policy server for all nodes (protocol 7.5): HEAD with the hash of what is here, then GET.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use hyper::{HeaderMap, Method, StatusCode, header::ETAG};
use protocol::{
    relative_path::RelativePath,
    shared_file::{Algorithm, FileHash},
};

use super::{ShareError, incoming::Incoming, session};
use crate::{identity::Identity, settings::Settings};

/// Where the shared folder is on a policy server.
const FOLDER: &str = "/rudder/relay-api/shared-folder";

/// A file of the shared folder that is here now.
#[derive(Debug)]
pub struct FolderFile {
    /// Its SHA-256.
    pub hash: FileHash,
    /// Its size, in bytes; `None` when it was here already.
    pub fetched: Option<u64>,
}

/// Fetches a file, unless `path` is the same already.
pub async fn fetch_from_folder(
    settings: &Settings,
    identity: &Identity,
    file: &RelativePath,
    path: &Path,
) -> Result<FolderFile, ShareError> {
    let mut session = session(settings, identity)?;
    let url = format!("{FOLDER}/{}", file.to_url());
    if let Some(hash) = hash_of(path).map_err(ShareError::of_file(path))? {
        let query = format!("{url}?hash={hash}&hash_type=sha256");
        let answer = session.send(Method::HEAD, &query, HeaderMap::new()).await?;
        match answer.status {
            StatusCode::NOT_MODIFIED => return Ok(FolderFile { hash, fetched: None }),
            StatusCode::OK => {}
            _ => return Err(missing(answer, file).await),
        }
    }
    let answer = session.get(&url, None).await?;
    if answer.status != StatusCode::OK {
        return Err(missing(answer, file).await);
    }
    // A tag of relayd is the hash of the content; that of another server can be anything.
    let tag =
        answer.header(ETAG).and_then(|tag| FileHash::from_hex(tag.trim_matches('"'), Algorithm::Sha256));
    let mut incoming = Incoming::create(path, Algorithm::Sha256).map_err(ShareError::of_file(path))?;
    let size = answer.save(&mut incoming, u64::MAX).await?;
    let hash = incoming.hash().map_err(ShareError::of_file(path))?;
    if tag.is_some_and(|tag| tag != hash) {
        return Err(ShareError::Altered(format!("{file} is not what the policy server says it is")));
    }
    incoming.keep().map_err(ShareError::of_file(path))?;
    Ok(FolderFile { hash, fetched: Some(size) })
}

async fn missing(answer: crate::server::download::Download, file: &RelativePath) -> ShareError {
    match answer.status {
        StatusCode::NOT_FOUND => {
            ShareError::Refused(format!("the shared folder of the policy server has no {file}"))
        }
        _ => ShareError::unexpected(&answer.reply().await),
    }
}

/// The hash of a file; `None` when it is not there.
fn hash_of(path: &Path) -> io::Result<Option<FileHash>> {
    let mut file = match File::open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file; name the file to write with --output"));
    }
    let (mut hasher, mut piece) = (Algorithm::Sha256.hasher()?, vec![0; 128 * 1024]);
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(Some(hasher.finish()?)),
            read => hasher.update(&piece[..read])?,
        }
    }
}
