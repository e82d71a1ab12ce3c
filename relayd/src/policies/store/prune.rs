// SPDX-License-Identifier: Apache-2.0
//! Removing what is not needed any more: old versions, then lists and contents that no version refers to.
//!
//! Readers take no lock. One that has opened a file keeps it; one that comes too late finds nothing, and
//! then a newer version is active.

use std::{collections::HashSet, fs, io, path::Path};

use protocol::{hash::ContentDigest, node_id::NodeId};

use super::{Edition, names_in, read_list, write::Writer};

/// Unneeded lists are tolerated until they are this part of the needed ones: to tell which contents are
/// needed, all needed lists are read.
const TOLERATED: usize = 8;

/// What was removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Removed {
    /// Versions.
    pub versions: usize,
    /// Contents.
    pub contents: usize,
}

impl Writer {
    /// Removes all versions of these nodes but the active one, the one before it and the `keep` newest others,
    /// and what is referred to by nothing then.
    pub fn prune(&self, nodes: &[NodeId], keep: usize) -> io::Result<Removed> {
        let mut removed = Removed::default();
        for node in nodes {
            let needed = [self.store.active_edition(node)?, self.store.previous_edition(node)?];
            let mut others = self.store.editions(node)?;
            others.retain(|edition| !needed.contains(&Some(*edition)));
            others.truncate(others.len().saturating_sub(keep));
            for edition in others {
                fs::remove_file(self.store.node_directory(node).join(edition.to_string()))?;
                removed.versions += 1;
            }
        }
        removed.contents = self.sweep()?;
        Ok(removed)
    }

    /// Forgets all versions of nodes: nothing published is served to them any more.
    pub fn remove(&self, nodes: &[NodeId]) -> io::Result<Removed> {
        let mut removed = Removed::default();
        for node in nodes {
            // First what says that the rest counts.
            remove_if_there(&self.store.active_link(node))?;
            remove_if_there(&self.store.previous_link(node))?;
            for edition in self.store.editions(node)? {
                fs::remove_file(self.store.node_directory(node).join(edition.to_string()))?;
                removed.versions += 1;
            }
            fs::remove_dir(self.store.node_directory(node))?;
        }
        removed.contents = self.sweep()?;
        Ok(removed)
    }

    /// Removes lists that no version refers to, and contents that no other list refers to; returns how many
    /// contents.
    fn sweep(&self) -> io::Result<usize> {
        let mut needed = HashSet::new();
        for node in self.store.nodes()? {
            needed.extend(self.store.editions(&node)?.into_iter().map(|Edition { list, .. }| list));
        }
        let lists = names_in(&self.store.directory().join("lists"))?;
        let unneeded: Vec<ContentDigest> =
            lists.iter().filter_map(|name| name.parse().ok()).filter(|list| !needed.contains(list)).collect();
        if unneeded.len() * TOLERATED <= needed.len() {
            return Ok(0);
        }
        let mut contents = HashSet::new();
        for list in needed {
            // When one cannot be read nothing is removed: it may refer to anything.
            let files = read_list(&self.store.list(list), list)?;
            contents.extend(files.iter().map(|file| file.sha256));
        }
        let removed = self.remove_objects_but(&contents)?;
        // Last: while they are there this is done again.
        for list in unneeded {
            fs::remove_file(self.store.list(list))?;
        }
        Ok(removed)
    }

    fn remove_objects_but(&self, needed: &HashSet<ContentDigest>) -> io::Result<usize> {
        let (objects, mut removed) = (self.store.directory().join("objects"), 0);
        for part in names_in(&objects)? {
            let part = objects.join(part);
            for name in names_in(&part)? {
                if name.parse().is_ok_and(|digest| !needed.contains(&digest)) {
                    fs::remove_file(part.join(name))?;
                    removed += 1;
                }
            }
        }
        Ok(removed)
    }
}

pub(super) fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
