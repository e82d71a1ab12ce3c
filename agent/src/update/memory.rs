// SPDX-License-Identifier: Apache-2.0
//! What is remembered of the policies: `update.json` in the state directory.
//!
//! Unlike other files there, one that is damaged counts as damaged: it says which policies are on trial and which
//! versions are too old.

use std::{fs, io, path::PathBuf};

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use protocol::hash::ContentDigest;
use serde::{Deserialize, Serialize};

use super::{UpdateError, slot::DirectoryId};
use crate::{settings::Settings, state::State};

/// The file.
pub const FILE: &str = "update.json";

/// All that is remembered. Written by whoever holds the run lock.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// When policies were last asked for.
    pub at: Option<DateTime<Utc>>,
    /// Why that failed.
    pub problem: Option<String>,
    /// The server had none for this node.
    pub none: bool,
    /// The policies in use, if they were fetched.
    pub active: Option<Active>,
    /// The library in use, if it was fetched.
    pub library: Option<Library>,
    /// Newest version taken under a pinned key; never goes back.
    pub held: Option<u64>,
    /// Policies that were tried and did not pass.
    pub refused: Option<Refused>,
    /// In place, but not to be used yet.
    pub trial: Option<Trial>,
    /// Directories that the last swap took out of use.
    pub replaced: Vec<DirectoryId>,
}

/// Where policies came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// File by file, by a manifest that a pinned key signed.
    SignedManifest,
    /// File by file, by a manifest that nobody checked.
    Manifest,
    /// One archive.
    Archive,
}

/// Policies in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Active {
    /// Where they came from.
    pub source: Source,
    /// Their version, if they have one.
    pub version: Option<u64>,
    /// When they were made.
    pub created: Option<DateTime<Utc>>,
    /// Until when they may be taken.
    pub expires: Option<DateTime<Utc>>,
    /// In use since.
    pub since: DateTime<Utc>,
    /// Entity tag of what they came by.
    pub etag: Option<String>,
    /// The pinned keys that they were checked with.
    pub keys: Option<ContentDigest>,
    /// Paths and digests of all files.
    pub content: Option<ContentDigest>,
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The directory that they were put into.
    pub directory: DirectoryId,
}

/// The library in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Library {
    /// Entity tag of its archive.
    pub etag: Option<String>,
    /// The directory that it was put into.
    pub directory: DirectoryId,
}

/// Policies that did not pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Entity tag of what they came by.
    pub etag: Option<String>,
    /// Entity tag of the library that came with them.
    pub library_etag: Option<String>,
    /// Their version, if they have one.
    pub version: Option<u64>,
    /// Why.
    pub reason: String,
    /// When.
    pub at: DateTime<Utc>,
    /// What they were checked with.
    pub validate_command: Option<Vec<String>>,
    /// The pinned keys that they were checked with.
    pub keys: Option<ContentDigest>,
    /// When they are looked at again all the same: what was refused before its content was known may have been
    /// sent by somebody who only gave it their tag.
    pub until: Option<DateTime<Utc>>,
}

/// Directories that are in place, or about to be, and not to be used yet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// Where they are, and which they are.
    pub directories: Vec<(PathBuf, DirectoryId)>,
}

/// How long what is refused by its manifest is not fetched again.
const REFUSED: TimeDelta = TimeDelta::hours(1);

/// The same, where a file is not what the manifest says: caches may have changed in between.
const ALTERED: TimeDelta = TimeDelta::minutes(10);

impl Refused {
    /// Policies that came by `etag`.
    pub fn new(
        etag: Option<String>,
        reason: String,
        settings: &Settings,
        keys: Option<ContentDigest>,
    ) -> Self {
        Self {
            etag,
            library_etag: None,
            version: None,
            reason,
            at: Utc::now().trunc_subsecs(0),
            validate_command: settings.validate_command.clone(),
            keys,
            until: None,
        }
    }

    /// What is remembered of an error: so that the same is not fetched each time to be refused again.
    pub fn of(
        e: &UpdateError,
        judged: Option<String>,
        settings: &Settings,
        keys: Option<ContentDigest>,
    ) -> Option<Self> {
        let (etag, lasts) = match e {
            UpdateError::Archive { etag, is_library: false, .. } => (etag.clone(), None),
            UpdateError::Archive { .. } => (None, None),
            UpdateError::Refused(_) | UpdateError::Empty => (Some(judged?), Some(REFUSED)),
            UpdateError::Altered(_) => (Some(judged?), Some(ALTERED)),
            _ => return None,
        };
        let mut new = Self::new(etag, e.to_string(), settings, keys);
        new.until = lasts.map(|lasts| new.at + lasts);
        if let UpdateError::Archive { etag, is_library: true, .. } = e {
            new.library_etag.clone_from(etag);
        }
        Some(new)
    }

    /// Whether they would be refused again.
    pub fn holds(&self, settings: &Settings, keys: Option<ContentDigest>, now: DateTime<Utc>) -> bool {
        self.validate_command == settings.validate_command
            && self.keys == keys
            // A clock that was set back must not make it last.
            && self.until.is_none_or(|until| self.at <= now && now < until)
    }
}

impl Memory {
    /// Reads it; empty when nothing was remembered yet.
    pub fn load(state: &State) -> io::Result<Self> {
        let path = state.path(FILE);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(e) => return Err(super::slot::named(&path, e)),
        };
        serde_json::from_slice(&text).map_err(|e| {
            io::Error::other(format!(
                "{}: {e}\n    it was damaged by something else than this program; remove it, and the policies in use count as unknown, \
                 of any version",
                path.display()
            ))
        })
    }

    /// Writes it, whole or not at all; needs the run lock.
    pub fn save(&self, state: &State) -> io::Result<()> {
        state.write(FILE, self)
    }
}
