// SPDX-License-Identifier: Apache-2.0
//! A file that is being written, under a name that no shared file can have. Everything here blocks.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
};

use rustix::{
    fs::{AtFlags, Mode, OFlags, fdatasync, fsync, linkat, openat, renameat, unlinkat},
    io::Errno,
};

use super::store::StoreError;

/// Owner and group read; the group is that of other programs that deliver shared files.
const MODE: Mode = Mode::from_bits_truncate(0o640);

/// So many bytes are brought to the disk at a time: else whoever sends a large file would wait for all of it at the
/// end, without a byte moving.
const SYNC_EVERY: usize = 32 << 20;

/// A file in the directory of parts. Dropped, it loses its name there, and keeps those that it was given
/// elsewhere.
pub(super) struct Part {
    directory: Arc<OwnedFd>,
    name: String,
    file: File,
    unsynced: usize,
}

impl Part {
    /// Makes an empty one.
    pub(super) fn create(directory: Arc<OwnedFd>) -> io::Result<Self> {
        let name = random_name()?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::WRONLY;
        let file = File::from(openat(&*directory, &name, flags, MODE)?);
        Ok(Self { directory, name, file, unsynced: 0 })
    }

    /// Appends.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.file.write_all(bytes)?;
        self.unsynced += bytes.len();
        if self.unsynced >= SYNC_EVERY {
            self.unsynced = 0;
            fdatasync(&self.file).map_err(sync_failed)?;
        }
        Ok(())
    }

    /// Brings the content to stable storage. A part whose sync failed must not be used.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        fsync(&self.file).map_err(sync_failed)
    }

    /// Gives the file this name in a directory as well, at once: whoever looks finds the file that had it
    /// before, or this one.
    pub(super) fn link_over(&self, to: impl AsFd, name: &str) -> Result<(), StoreError> {
        link_over(&self.directory, &*self.directory, &self.name, to, name)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // What stays is removed at the next start.
        let _ = unlinkat(&*self.directory, &self.name, AtFlags::empty());
    }
}

/// Gives a file another name, in place of the file that has it now. `parts` is where the name is made.
pub(super) fn link_over(
    parts: &OwnedFd,
    from: impl AsFd,
    old: &str,
    to: impl AsFd,
    new: &str,
) -> Result<(), StoreError> {
    let link = random_name()?;
    linkat(from, old, parts, &*link, AtFlags::empty())?;
    let renamed = renameat(parts, &*link, to, new);
    // Two names of the same file are not exchanged: then the one made here is still there.
    match unlinkat(parts, &*link, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(renamed?)
}

fn sync_failed(error: Errno) -> StoreError {
    match StoreError::from(error) {
        StoreError::Other(error) => StoreError::Sync(error),
        full => full,
    }
}

fn random_name() -> io::Result<String> {
    let mut random = [0; 16];
    openssl::rand::rand_bytes(&mut random)?;
    Ok(hex::encode(random))
}
