// SPDX-License-Identifier: Apache-2.0
//! Manifests of policies (protocol 14.2): which files a node's policies consist of, in which version, for
//! which node and until when.
//!
//! ```text
//! FileList ──▶ Manifest ──sign──▶ multipart/signed ──accept──▶ Manifest | Refusal
//!                  └────to_json──▶ application/json ──read_unverified──▶ Manifest
//! ```
//!
//! A [`Manifest`] that is there is well-formed: its paths are no links out of the tree and name one file
//! each, its sums are within the limits. Whether it is the right one for a node, [`Expectation`] says.

use std::sync::Arc;

use chrono::{DateTime, SubsecRound, Utc};
use openssl::{
    error::ErrorStack,
    pkey::{PKeyRef, Private},
};

use crate::{
    certificate::Certificate,
    limits::{POLICY_FILES, POLICY_MANIFEST, POLICY_TREE},
    node_id::NodeId,
    relative_path::RelativePath,
    smime::{self, SmimeError},
};

mod acceptance;
mod changes;
mod files;
mod json;

pub use acceptance::{Expectation, Refusal};
pub use changes::Changes;
pub use files::{FileList, ManifestFile};

/// Name of the manifest below `/policies/<node id>/`.
pub const FILE_NAME: &str = "rules.manifest";
/// Media type of the signed form. The body is the whole message, with headers that name the boundary, so
/// that what was downloaded can be given to `openssl smime -verify`.
pub const SIGNED_TYPE: &str =
    "multipart/signed; protocol=\"application/x-pkcs7-signature\"; micalg=\"sha-256\"";
/// Media type of the unsigned form.
pub const UNSIGNED_TYPE: &str = "application/json";
/// Largest version: what readers of JSON that have only doubles still read exactly.
pub const MAX_VERSION: u64 = (1 << 53) - 1;
/// Longest note, in bytes.
pub const MAX_NOTE: usize = 1000;

/// What the policies of a node consist of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    node_id: NodeId,
    version: u64,
    created: DateTime<Utc>,
    expires: Option<DateTime<Utc>>,
    note: Option<String>,
    files: Arc<FileList>,
}

impl Manifest {
    /// Puts one together. Times are cut to seconds.
    ///
    /// **Errors**: [`ManifestError::Version`].
    pub fn new(
        node_id: NodeId,
        version: u64,
        created: DateTime<Utc>,
        expires: Option<DateTime<Utc>>,
        files: Arc<FileList>,
    ) -> Result<Self, ManifestError> {
        if version > MAX_VERSION {
            return Err(ManifestError::Version(version));
        }
        let expires = expires.map(|time| time.trunc_subsecs(0));
        Ok(Self { node_id, version, created: created.trunc_subsecs(0), expires, note: None, files })
    }

    /// With a line about it, for people.
    ///
    /// **Errors**: [`ManifestError::Note`].
    pub fn with_note(self, note: String) -> Result<Self, ManifestError> {
        if note.is_empty() || note.len() > MAX_NOTE || note.contains(char::is_control) {
            return Err(ManifestError::Note);
        }
        Ok(Self { note: Some(note), ..self })
    }

    /// The node that they are for.
    pub fn node_id(&self) -> &NodeId {
        &self.node_id
    }

    /// Grows with each publication for a node; 0 when nobody counts.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// When they were published, by the clock of the root.
    pub fn created(&self) -> DateTime<Utc> {
        self.created
    }

    /// From when on they must not be taken any more; `None`: never.
    pub fn expires(&self) -> Option<DateTime<Utc>> {
        self.expires
    }

    /// What the publisher says about them.
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// The files.
    pub fn files(&self) -> &Arc<FileList> {
        &self.files
    }

    /// Reads the unsigned form.
    pub fn from_json(text: &[u8]) -> Result<Self, ManifestError> {
        json::read(text)
    }

    /// The unsigned form; the same for the same manifest.
    pub fn to_json(&self) -> String {
        json::write(self)
    }

    /// The signed form, as [`smime::sign`] makes it.
    pub fn sign(&self, certificate: &Certificate, key: &PKeyRef<Private>) -> Result<Vec<u8>, ErrorStack> {
        smime::sign(self.to_json().as_bytes(), certificate, key)
    }

    /// Reads either form and **checks no signature**: for nodes that have no key to check it with, and for
    /// whoever wrote it.
    pub fn read_unverified(message: &[u8]) -> Result<Self, ManifestError> {
        check_size(message)?;
        match is_signed(message) {
            true => Self::from_json(smime::unverified_text(message)?.as_bytes()),
            false => Self::from_json(message),
        }
    }
}

/// Whether a manifest is in its signed form, by its first character: JSON starts with a brace.
pub fn is_signed(message: &[u8]) -> bool {
    message.trim_ascii_start().first() != Some(&b'{')
}

fn check_size(message: &[u8]) -> Result<(), ManifestError> {
    if message.len() > POLICY_MANIFEST { Err(ManifestError::Size(message.len())) } else { Ok(()) }
}

/// Why something is no manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Larger than [`POLICY_MANIFEST`].
    #[error("a manifest has at most {POLICY_MANIFEST} bytes, this one has {0}")]
    Size(usize),
    /// Neither JSON nor a signed message.
    #[error("it is not a signed message: {0}")]
    Envelope(#[from] SmimeError),
    /// Not JSON, or other fields than a manifest has.
    #[error("not a manifest: {0}")]
    Json(String),
    /// A format that this program does not know.
    #[error("manifests of format {0:?} are not known here")]
    Format(String),
    /// Larger than [`MAX_VERSION`].
    #[error("the version {0} is larger than {MAX_VERSION}")]
    Version(u64),
    /// Empty, too long, or more than a line.
    #[error("a note is one line of at most {MAX_NOTE} bytes")]
    Note,
    /// More files than [`POLICY_FILES`].
    #[error("policies have at most {POLICY_FILES} files, these have {0}")]
    Files(usize),
    /// More content than [`POLICY_TREE`].
    #[error("the files of policies have at most {POLICY_TREE} bytes together")]
    Tree,
    /// A path is there twice.
    #[error("{0} is named twice")]
    Twice(RelativePath),
    /// A path is that of a file and of a directory.
    #[error("{0} is both a file and a directory")]
    FileAndDirectory(String),
}
