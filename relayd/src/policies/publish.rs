// SPDX-License-Identifier: Apache-2.0
//! From a tree to signed manifests, one for each node.

use std::{
    num::NonZero,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use chrono::{DateTime, Utc};
use openssl::error::ErrorStack;
use protocol::{
    limits::POLICY_MANIFEST,
    node_id::NodeId,
    policy_manifest::{FileList, Manifest, ManifestError},
};

use super::{
    key::PolicyKey,
    store::{Signed, StoredLines},
};

/// Files that are in the store.
pub struct Tree {
    files: Arc<FileList>,
    lines: StoredLines,
}

impl Tree {
    /// With the lines about them, as they are in manifests.
    ///
    /// **Errors**: [`ManifestError::Size`]: nodes would not read so long a manifest.
    pub fn new(files: Arc<FileList>) -> Result<Self, ManifestError> {
        // For everything else in a manifest, and its signature.
        const REST: usize = 64 * 1024;
        let lines = StoredLines::of(&files);
        match lines.len() + REST {
            size if size > POLICY_MANIFEST => Err(ManifestError::Size(size)),
            _ => Ok(Self { files, lines }),
        }
    }

    /// The files.
    pub fn files(&self) -> &Arc<FileList> {
        &self.files
    }

    /// The lines about them.
    pub fn lines(&self) -> &StoredLines {
        &self.lines
    }
}

/// What all manifests of one publication say.
#[derive(Debug, Clone)]
pub struct Terms {
    /// The version.
    pub version: u64,
    /// The time.
    pub created: DateTime<Utc>,
    /// From when on nodes refuse it.
    pub expires: Option<DateTime<Utc>>,
    /// A line for people.
    pub note: Option<String>,
}

/// Why manifests cannot be signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// What they should say is not allowed.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// OpenSSL refused.
    #[error("OpenSSL cannot sign: {0}")]
    OpenSsl(#[from] ErrorStack),
}

/// Signs a manifest for each node, on all processors. `progress` gets how many are done, now and then.
pub fn sign_all(
    key: &PolicyKey,
    terms: &Terms,
    nodes: &[(NodeId, Arc<Tree>)],
    progress: &(dyn Fn(usize) + Sync),
) -> Result<Vec<Signed>, SignError> {
    const BETWEEN_WORDS: usize = 1000;
    let done = AtomicUsize::new(0);
    let sign_some = |nodes: &[(NodeId, Arc<Tree>)]| {
        let some = nodes.iter().map(|(node, tree)| {
            let signed = sign(key, terms, node, tree)?;
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            if done.is_multiple_of(BETWEEN_WORDS) {
                progress(done);
            }
            Ok(signed)
        });
        some.collect::<Result<Vec<_>, SignError>>()
    };
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        let parts = nodes.chunks(nodes.len().div_ceil(threads).max(1));
        let workers: Vec<_> = parts.map(|part| scope.spawn(|| sign_some(part))).collect();
        let mut all = Vec::with_capacity(nodes.len());
        for worker in workers {
            all.extend(worker.join().expect("signing does not panic")?);
        }
        Ok(all)
    })
}

fn sign(key: &PolicyKey, terms: &Terms, node: &NodeId, tree: &Tree) -> Result<Signed, SignError> {
    let mut manifest =
        Manifest::new(node.clone(), terms.version, terms.created, terms.expires, tree.files.clone())?;
    if let Some(note) = &terms.note {
        manifest = manifest.with_note(note.clone())?;
    }
    let message = manifest.sign(key.certificate(), key.key())?;
    Ok(Signed::new(node.clone(), terms.version, &message, &tree.lines))
}
