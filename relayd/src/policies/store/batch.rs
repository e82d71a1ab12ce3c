// SPDX-License-Identifier: Apache-2.0
//! Many files that are to be there together, and to last.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use crate::durable::{self, Access, make_directory};

/// Above this many files the whole file system is synced at once instead of one after the other. That may
/// have to wait for what other programs write.
const FEW: usize = 256;

/// Files and links, written under other names until [`Batch::commit`].
pub(super) struct Batch<'a> {
    incoming: &'a Path,
    access: Access,
    many: bool,
    waiting: Vec<(PathBuf, PathBuf)>,
}

impl<'a> Batch<'a> {
    /// For about so many files, which wait in `incoming`.
    pub(super) fn new(incoming: &'a Path, access: Access, expected: usize) -> Self {
        Self { incoming, access, many: expected > FEW, waiting: Vec::new() }
    }

    /// Writes what shall be there as `target`.
    pub(super) fn add(
        &mut self,
        target: PathBuf,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()> {
        let path = self.next(target);
        let file = durable::write_unsynced(&path, self.access, write)?;
        if self.many { Ok(()) } else { file.sync_all() }
    }

    /// Makes a link that shall be there as `target`.
    pub(super) fn add_link(&mut self, target: PathBuf, to: &str) -> io::Result<()> {
        symlink(to, self.next(target))
    }

    /// Puts all in their places, one after the other; they last when this returns. What was there is replaced.
    pub(super) fn commit(self) -> io::Result<()> {
        if self.many {
            sync_all_of(self.incoming)?;
        }
        let mut changed = BTreeSet::new();
        for (from, to) in &self.waiting {
            if let Some(directory) = to.parent() {
                if make_directory(directory, 0o700)? {
                    changed.extend(directory.parent());
                }
                changed.insert(directory);
            }
            fs::rename(from, to)?;
        }
        match self.many {
            true => sync_all_of(self.incoming),
            false => changed.into_iter().try_for_each(|directory| File::open(directory)?.sync_all()),
        }
    }

    fn next(&mut self, target: PathBuf) -> PathBuf {
        let path = self.incoming.join(self.waiting.len().to_string());
        self.waiting.push((path.clone(), target));
        path
    }
}

fn sync_all_of(path: &Path) -> io::Result<()> {
    Ok(rustix::fs::syncfs(File::open(path)?)?)
}
