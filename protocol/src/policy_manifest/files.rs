// SPDX-License-Identifier: Apache-2.0
//! The files of a tree: each once, none of them a directory of another.

use std::{collections::HashSet, sync::OnceLock};

use serde::{Deserialize, Serialize};

use super::{ManifestError, json};
use crate::{
    hash::ContentDigest,
    limits::{POLICY_FILES, POLICY_TREE},
    relative_path::RelativePath,
};

/// A file of a tree.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestFile {
    /// Where it is.
    pub path: RelativePath,
    /// Its size, in bytes.
    pub size: u64,
    /// SHA-256 of its content.
    pub sha256: ContentDigest,
    /// Whether it may be run. Nothing else of its mode is kept.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub executable: bool,
}

/// Files by path, in the order of its bytes. Directories are there because files are in them.
#[derive(Debug, Clone, Default)]
pub struct FileList {
    files: Box<[ManifestFile]>,
    /// Made when first asked for, for as many manifests as name these files.
    lines: OnceLock<String>,
}

impl PartialEq for FileList {
    fn eq(&self, other: &Self) -> bool {
        self.files == other.files
    }
}

impl Eq for FileList {}

impl FileList {
    /// Checks and sorts them.
    ///
    /// **Errors**: [`ManifestError::Files`], [`ManifestError::Tree`], [`ManifestError::Twice`],
    /// [`ManifestError::FileAndDirectory`].
    pub fn new(mut files: Vec<ManifestFile>) -> Result<Self, ManifestError> {
        if files.len() > POLICY_FILES {
            return Err(ManifestError::Files(files.len()));
        }
        let sum = files.iter().try_fold(0u64, |sum, file| sum.checked_add(file.size));
        if sum.is_none_or(|sum| sum > POLICY_TREE) {
            return Err(ManifestError::Tree);
        }
        files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        if let Some(pair) = files.windows(2).find(|pair| pair[0].path == pair[1].path) {
            return Err(ManifestError::Twice(pair[0].path.clone()));
        }
        let directories: HashSet<&str> = files.iter().flat_map(|file| directories_of(&file.path)).collect();
        if let Some(file) = files.iter().find(|file| directories.contains(file.path.as_str())) {
            return Err(ManifestError::FileAndDirectory(file.path.to_string()));
        }
        Ok(Self { files: files.into(), lines: OnceLock::new() })
    }

    /// Reads what [`Self::lines`] gives; line ends may be CRLF.
    pub fn from_lines(lines: &str) -> Result<Self, ManifestError> {
        json::read_files(lines)
    }

    /// The lines about the files in a manifest, as they stand in it: what is the same for all nodes that have
    /// the same tree.
    pub fn lines(&self) -> &str {
        self.lines.get_or_init(|| json::write_files(self))
    }

    /// The file at a path.
    pub fn get(&self, path: &RelativePath) -> Option<&ManifestFile> {
        self.files.binary_search_by(|file| file.path.cmp(path)).ok().map(|at| &self.files[at])
    }

    /// All of them, by path.
    pub fn iter(&self) -> std::slice::Iter<'_, ManifestFile> {
        self.files.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Their sizes together, in bytes; at most [`POLICY_TREE`].
    pub fn total_size(&self) -> u64 {
        self.iter().map(|file| file.size).sum()
    }
}

impl<'a> IntoIterator for &'a FileList {
    type Item = &'a ManifestFile;
    type IntoIter = std::slice::Iter<'a, ManifestFile>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// The directories that lead to a file.
fn directories_of(path: &RelativePath) -> impl Iterator<Item = &str> {
    let path = path.as_str();
    path.match_indices('/').map(|(at, _)| &path[..at])
}
