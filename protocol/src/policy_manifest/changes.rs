// SPDX-License-Identifier: Apache-2.0
//! What differs between two trees, by their lists of files.

use super::{FileList, ManifestFile};

/// From one tree to another, each part by path.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes<'a> {
    /// Files that only the new tree has.
    pub added: Vec<&'a ManifestFile>,
    /// Files with another content or another executable bit: old and new.
    pub changed: Vec<(&'a ManifestFile, &'a ManifestFile)>,
    /// Files that only the old tree has.
    pub removed: Vec<&'a ManifestFile>,
}

impl<'a> Changes<'a> {
    /// Compares two trees.
    pub fn between(old: &'a FileList, new: &'a FileList) -> Self {
        let mut changes = Self::default();
        for file in new {
            match old.get(&file.path) {
                None => changes.added.push(file),
                Some(before) if before != file => changes.changed.push((before, file)),
                Some(_) => {}
            }
        }
        changes.removed.extend(old.iter().filter(|file| new.get(&file.path).is_none()));
        changes
    }

    /// Whether the trees are the same.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.removed.is_empty()
    }
}
