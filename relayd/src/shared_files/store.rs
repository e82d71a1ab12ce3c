// SPDX-License-Identifier: Apache-2.0
//! Where shared files are (protocol 7.4, 15.2): names that other programs know, and how they change.
//!
//! ```text
//! <path>/<target>/files/<source>/<file id>             content   ┐ two names
//! <path>/@content/<hash>                               content   ┘ of one file
//! <path>/<target>/files/<source>/<file id>.metadata    the hash, and what the sender says
//! <path>/@parts/<random>                               what is being written
//! ```
//! No id has an `@`. Metadata are what counts: they are replaced at once, by a rename, and the content that
//! belongs to them is found by the hash in them, never by the name beside them. So whatever two writers or a
//! crash leave beside metadata, nobody gets it with them. `<file id>` is for programs that know nothing of
//! this; it is replaced just before its metadata, and set right by the sweeper after a crash between the
//! two. Where there is no `@content/<hash>`, as with files that another program stored, `<file id>` is read
//! whole once, and is the content if it has the hash.
//!
//! Names are changed under one lock that is never held for a sync. Everything here blocks.

use std::{
    fs::DirBuilder,
    io,
    os::{fd::OwnedFd, unix::fs::DirBuilderExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use protocol::{
    relative_path::RelativePath,
    shared_file::{Address, FileHash, Metadata, Name, metadata},
};
use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags, fstatvfs, fsync, mkdirat, open, openat, statat, unlinkat},
    io::Errno,
};
use tokio_util::sync::CancellationToken;

use super::part::{Part, link_over};
use crate::{
    durable,
    files::{OpenError, OpenFile, open_blocking},
    gateway::disk::{Room, room_of},
};

/// Below a target.
pub(super) const FILES: &str = "files";
const CONTENT: &str = "@content";
pub(super) const PARTS: &str = "@parts";
const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const MODE: u32 = 0o770;

/// The files of one server.
pub(super) struct Store {
    root: PathBuf,
    names: Mutex<()>,
    broken: CancellationToken,
}

/// A file that is there, whole.
pub(super) struct Found {
    /// What its sender says.
    pub(super) metadata: Metadata,
    /// The content that belongs to them.
    pub(super) content: OpenFile,
}

/// Why something could not be stored.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoreError {
    #[error("the disk is full")]
    Full,
    #[error("the file system is read-only")]
    ReadOnly,
    /// What was written may be lost without another sign.
    #[error("fsync failed: {0}")]
    Sync(io::Error),
    #[error("{0}")]
    Other(io::Error),
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        match Errno::from_io_error(&error) {
            Some(Errno::NOSPC | Errno::DQUOT) => Self::Full,
            Some(Errno::ROFS) => Self::ReadOnly,
            _ => Self::Other(error),
        }
    }
}

impl From<Errno> for StoreError {
    fn from(error: Errno) -> Self {
        io::Error::from(error).into()
    }
}

impl Store {
    /// Removes what an earlier process left unfinished. The directory need not be there until there is
    /// something to store.
    pub(super) fn open(root: &Path) -> Self {
        let parts = root.join(PARTS);
        for part in std::fs::read_dir(&parts).into_iter().flatten().flatten() {
            if let Err(error) = std::fs::remove_file(part.path()) {
                tracing::warn!(file = %part.path().display(), "cannot remove, left there: {error}");
            }
        }
        Self { root: root.to_owned(), names: Mutex::new(()), broken: CancellationToken::new() }
    }

    /// Where it is.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Cancelled when a sync has failed: from then on nothing must be acknowledged.
    pub(super) fn broken(&self) -> &CancellationToken {
        &self.broken
    }

    /// A new part for so many bytes, and whether the disk takes them.
    pub(super) fn new_part(&self, length: u64, high_water_percent: u8) -> Result<(Part, Room), StoreError> {
        if !self.root.is_dir() {
            DirBuilder::new().recursive(true).mode(MODE).create(&self.root)?;
            durable::sync_parent(&self.root)?;
        }
        let mut disk = fstatvfs(self.open_root()?)?;
        // As it will be: a file must not take what other uploads to the same disk still get.
        let blocks = length.div_ceil(disk.f_frsize.max(1));
        disk.f_bfree = disk.f_bfree.saturating_sub(blocks);
        disk.f_bavail = disk.f_bavail.saturating_sub(blocks);
        let room = room_of(&disk, high_water_percent);
        Ok((Part::create(Arc::new(self.directory(&[PARTS])?))?, room))
    }

    /// The file of an address, if there is one that has not expired at `now`.
    pub(super) fn find(&self, address: &Address, now: i64) -> io::Result<Option<Found>> {
        // The metadata may be replaced after they were read; in the end nobody may.
        for is_last in [false, false, false, true] {
            let names = is_last.then(|| self.lock());
            let Some(metadata) = self.metadata(address)?.filter(|metadata| !metadata.has_expired(now)) else {
                return Ok(None);
            };
            let content = self.open_file(&content_path(&metadata.hash_value))?;
            drop(names);
            if let Some(content) = content {
                return Ok(Some(Found { metadata, content }));
            }
            if let Some(content) = self.adopt(address, &metadata)? {
                return Ok(Some(Found { metadata, content }));
            }
        }
        Ok(None)
    }

    /// The metadata of an address, if they are there and can be read.
    ///
    /// **Errors**: as the system says, and `InvalidData` for what are no metadata.
    pub(super) fn metadata(&self, address: &Address) -> io::Result<Option<Metadata>> {
        let path = format!("{}/{}", directory_path(address), address.file.metadata_name());
        let Some(file) = self.open_file(&path)? else { return Ok(None) };
        if file.size() > metadata::MAX_SIZE as u64 {
            return Err(metadata::MetadataError::TooLarge.into());
        }
        let mut text = Vec::new();
        io::Read::read_to_end(&mut io::Read::take(&**file.file(), metadata::MAX_SIZE as u64 + 1), &mut text)?;
        Ok(Some(Metadata::parse(&text)?))
    }

    /// The content of this hash, or the file that has the name of the address: what there is to show of it.
    pub(super) fn size(&self, address: &Address, hash: &FileHash) -> io::Result<Option<u64>> {
        let content = self.open_file(&content_path(hash))?;
        let file = match content {
            Some(file) => Some(file),
            None => self.open_file(&format!("{}/{}", directory_path(address), address.file))?,
        };
        Ok(file.map(|file| file.size()))
    }

    /// Puts a synced part in the place of an address; when this returns it is there for good.
    pub(super) fn place(
        &self,
        content: &Part,
        metadata: &Metadata,
        address: &Address,
    ) -> Result<(), StoreError> {
        let placed = self.try_place(content, metadata, address);
        if matches!(placed, Err(StoreError::Sync(_))) {
            self.broken.cancel();
        }
        placed
    }

    fn try_place(&self, part: &Part, metadata: &Metadata, address: &Address) -> Result<(), StoreError> {
        let parts = Arc::new(self.directory(&[PARTS])?);
        let mut beside = Part::create(parts.clone())?;
        beside.write(metadata.to_string().as_bytes())?;
        beside.sync()?;
        let (content, place) = (
            self.directory(&[CONTENT])?,
            self.directory(&[address.target.as_str(), FILES, address.source.as_str()])?,
        );
        let hash = metadata.hash_value.to_string();
        {
            let _names = self.lock();
            // While the part has its own name as well, the sweeper does not take it for left over.
            part.link_over(&content, &hash)?;
        }
        sync(&content)?;
        {
            let _names = self.lock();
            let before = self.metadata(address).ok().flatten();
            part.link_over(&place, address.file.as_str())?;
            beside.link_over(&place, &address.file.metadata_name())?;
            if let Some(before) = before.filter(|before| before.hash_value != metadata.hash_value) {
                self.drop_unused(&content, &before.hash_value.to_string())?;
            }
        }
        sync(&place)
    }

    /// The directory of all content, if there is one.
    pub(super) fn content(&self) -> io::Result<Option<OwnedFd>> {
        match openat(CWD, self.root.join(CONTENT), DIRECTORY, Mode::empty()) {
            Ok(content) => Ok(Some(content)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn drop_unused(&self, content: &OwnedFd, hash: &str) -> Result<bool, StoreError> {
        let unused = match statat(content, hash, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat.st_nlink == 1,
            Err(Errno::NOENT) => false,
            Err(error) => return Err(error.into()),
        };
        if unused {
            unlink(content, hash)?;
        }
        Ok(unused)
    }

    /// The content that another program stored, if it is what the metadata say.
    fn adopt(&self, address: &Address, metadata: &Metadata) -> io::Result<Option<OpenFile>> {
        let path = format!("{}/{}", directory_path(address), address.file);
        let Some(file) = self.open_file(&path)? else { return Ok(None) };
        let mut hasher = metadata.algorithm.hasher()?;
        let mut piece = vec![0; 128 * 1024];
        let mut at = 0;
        loop {
            let read = std::os::unix::fs::FileExt::read_at(&**file.file(), &mut piece, at)?;
            if read == 0 {
                break;
            }
            hasher.update(&piece[..read])?;
            at += read as u64;
        }
        if hasher.finish()? != metadata.hash_value {
            return Ok(None);
        }
        let adopted = self.link_content(address, &file, &metadata.hash_value);
        if let Err(error) = adopted {
            // It is read again the next time.
            tracing::debug!(%address, "cannot note the content of a shared file: {error}");
        }
        Ok(Some(file))
    }

    fn link_content(&self, address: &Address, file: &OpenFile, hash: &FileHash) -> Result<(), StoreError> {
        let (content, parts) = (self.directory(&[CONTENT])?, self.directory(&[PARTS])?);
        let _names = self.lock();
        let place = self.place_of(address)?;
        let stat = statat(&place, address.file.as_str(), AtFlags::SYMLINK_NOFOLLOW)?;
        if stat.st_ino == file.stamp().identity.1 {
            link_over(&parts, &place, address.file.as_str(), &content, &hash.to_string())?;
        }
        Ok(())
    }

    fn open_file(&self, path: &str) -> io::Result<Option<OpenFile>> {
        let path: RelativePath = path.parse().map_err(io::Error::other)?;
        match open_blocking(&self.root, &path) {
            Ok(file) => Ok(Some(file)),
            Err(OpenError::Failed(error)) => Err(error),
            Err(_) => Ok(None),
        }
    }

    fn open_root(&self) -> io::Result<OwnedFd> {
        // The directory itself may be a link: that is the operator's choice.
        Ok(open(&self.root, DIRECTORY.difference(OFlags::NOFOLLOW), Mode::empty())?)
    }

    pub(super) fn place_of(&self, address: &Address) -> io::Result<OwnedFd> {
        self.subdirectory(&address.target, &address.source)
    }

    /// The directory of what one node sent to another.
    pub(super) fn subdirectory(&self, target: &Name, source: &Name) -> io::Result<OwnedFd> {
        let mut at = self.open_root()?;
        for name in [target.as_str(), FILES, source.as_str()] {
            at = openat(&at, name, DIRECTORY, Mode::empty())?;
        }
        Ok(at)
    }

    /// A directory, made where it is not there, and then for good.
    pub(super) fn directory(&self, names: &[&str]) -> Result<OwnedFd, StoreError> {
        let mut at = self.open_root()?;
        for name in names {
            at = match openat(&at, *name, DIRECTORY, Mode::empty()) {
                Err(Errno::NOENT) => {
                    match mkdirat(&at, *name, Mode::from_bits_truncate(MODE)) {
                        Ok(()) => sync(&at)?,
                        Err(Errno::EXIST) => {}
                        Err(error) => return Err(error.into()),
                    }
                    openat(&at, *name, DIRECTORY, Mode::empty())?
                }
                found => found?,
            };
        }
        Ok(at)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, ()> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn directory_path(address: &Address) -> String {
    format!("{}/{FILES}/{}", address.target, address.source)
}

fn content_path(hash: &FileHash) -> String {
    format!("{CONTENT}/{hash}")
}

pub(super) fn unlink(directory: &OwnedFd, name: &str) -> Result<(), StoreError> {
    match unlinkat(directory, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn sync(directory: &OwnedFd) -> Result<(), StoreError> {
    fsync(directory).map_err(|error| StoreError::Sync(error.into()))
}
