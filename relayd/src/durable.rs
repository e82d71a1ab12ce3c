// SPDX-License-Identifier: Apache-2.0
//! Files that are either whole or not there, whatever stops the machine, and that belong to whom
//! they should.
//!
//! Write elsewhere, `fsync`, rename, `fsync` the directory. An `fsync` that failed is never repeated:
//! the kernel may have dropped the pages, so the file is given up.
//!
//! Commands are often run by root, the daemon is not: what root makes for it is given to the owner
//! of what is there already.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, BufWriter, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown, fchown},
    path::{Path, PathBuf},
};

use rustix::process::geteuid;

use crate::spool::settle::rename_new;

/// Mode of files for the owner only.
pub const PRIVATE: u32 = 0o600;
/// Mode of files that everybody may read.
pub const PUBLIC: u32 = 0o644;

/// To whom a file shall belong, and who may read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    mode: u32,
    /// User and group; given only by root, because nobody else may.
    owner: Option<(u32, u32)>,
}

impl Access {
    /// Of whoever runs this program.
    pub fn own(mode: u32) -> Self {
        Self { mode, owner: None }
    }

    /// Mode and owner of a file or directory that is there.
    pub fn like(model: &Path) -> io::Result<Self> {
        let facts = fs::metadata(model)?;
        Ok(Self { mode: facts.permissions().mode() & 0o777, owner: Some((facts.uid(), facts.gid())) })
    }

    /// The same owner with another mode.
    pub fn with_mode(self, mode: u32) -> Self {
        Self { mode, ..self }
    }

    fn owner_to_give(self) -> Option<(u32, u32)> {
        self.owner.filter(|_| geteuid().is_root())
    }
}

/// Replaces `path` by a file with this content; a reader sees the old or the new one, whole.
///
/// **Errors**: as the system says; what was there is still there then.
pub fn replace(path: &Path, content: &[u8], access: Access) -> io::Result<()> {
    replace_with(path, access, |file| file.write_all(content))
}

/// As [`replace`], with content that is written piece by piece, so that it is never in memory whole.
pub fn replace_with(
    path: &Path,
    access: Access,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    publish(path, access, write, |temporary| fs::rename(temporary, path))
}

/// Makes a file that is not there yet.
///
/// **Errors**: [`io::ErrorKind::AlreadyExists`], or as the system says.
pub fn create(path: &Path, content: &[u8], access: Access) -> io::Result<()> {
    publish(path, access, |file| file.write_all(content), |temporary| rename_new(temporary, path))
}

/// Makes a directory for its owner only, who is that of the directory above. Does nothing when it is there.
pub fn create_private_directory(path: &Path) -> io::Result<()> {
    let parent = parent_of(path);
    if !parent.is_dir() {
        create_directory(parent, 0o755)?;
    }
    create_directory(path, 0o700)
}

/// Makes a directory for whoever runs this, and nobody else. Does nothing when it is there.
pub fn create_own_private_directory(path: &Path) -> io::Result<()> {
    let parent = parent_of(path);
    if !parent.is_dir() {
        create_directory(parent, 0o755)?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(e) => Err(e),
        Ok(()) => sync_parent(path),
    }
}

/// Makes the rename or removal of a directory entry last.
pub fn sync_parent(path: &Path) -> io::Result<()> {
    File::open(parent_of(path))?.sync_all()
}

fn create_directory(path: &Path, mode: u32) -> io::Result<()> {
    let parent = parent_of(path);
    if !parent.is_dir() {
        create_directory(parent, 0o755)?;
    }
    if make_directory(path, mode)? { sync_parent(path) } else { Ok(()) }
}

/// Makes a directory in one that is there, whose owner it gets; returns whether it was not there yet. **It
/// does not last** before the one above is synced.
pub fn make_directory(path: &Path, mode: u32) -> io::Result<bool> {
    match DirBuilder::new().mode(mode).create(path) {
        Ok(()) => {
            if let Some((user, group)) = Access::like(parent_of(path))?.owner_to_give() {
                chown(path, Some(user), Some(group))?;
            }
            Ok(true)
        }
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(false),
        Err(e) => Err(e),
    }
}

fn publish(
    path: &Path,
    access: Access,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    put: impl FnOnce(&Path) -> io::Result<()>,
) -> io::Result<()> {
    let temporary = temporary_of(path);
    let written = write_synced(&temporary, access, write).and_then(|()| put(&temporary));
    if written.is_err() {
        // The error that is reported is the one that matters.
        let _ = fs::remove_file(&temporary);
    }
    written?;
    sync_parent(path)
}

/// Hidden, and another one for each process: two may publish the same file at a time.
fn temporary_of(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}.tmp", std::process::id()))
}

fn write_synced(
    path: &Path,
    access: Access,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    // A left-over of an earlier crash may have other rights: start from none.
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    write_unsynced(path, access, write)?.sync_all()
}

/// Writes a file that must not be there yet. **It does not last** before it, or its whole file system, is
/// synced: for who writes many at a time.
pub fn write_unsynced(
    path: &Path,
    access: Access,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<File> {
    // Narrow until it belongs to whom it should.
    let file = OpenOptions::new().write(true).create_new(true).mode(PRIVATE).open(path)?;
    if let Some((user, group)) = access.owner_to_give() {
        fchown(&file, Some(user), Some(group))?;
    }
    file.set_permissions(fs::Permissions::from_mode(access.mode))?;
    let mut buffered = BufWriter::new(file);
    write(&mut buffered)?;
    buffered.into_inner().map_err(io::IntoInnerError::into_error)
}

fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) => Path::new("."),
        None => Path::new("/"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn replaces_whole_and_leaves_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        replace(&path, b"one", Access::own(PUBLIC)).unwrap();
        assert_eq!(mode(&path), 0o644);
        replace(&path, b"two", Access::like(&path).unwrap().with_mode(PRIVATE)).unwrap();
        assert_eq!((fs::read(&path).unwrap(), mode(&path)), (b"two".to_vec(), 0o600));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_there_is_not_created_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        create(&path, b"one", Access::own(PRIVATE)).unwrap();
        let again = create(&path, b"two", Access::own(PRIVATE)).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn directories_are_made_with_those_above_and_may_be_there() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a/b/c");
        for _ in 0..2 {
            create_private_directory(&path).unwrap();
        }
        assert_eq!((mode(&path), mode(&root.path().join("a"))), (0o700, 0o755));
        fs::write(path.join("file"), "").unwrap();
        assert!(create_private_directory(&path.join("file")).is_err());
    }

    #[test]
    fn what_root_makes_belongs_to_the_owner_of_what_is_there() {
        if !geteuid().is_root() {
            return;
        }
        let root = tempfile::tempdir().unwrap();
        chown(root.path(), Some(65_534), Some(65_534)).unwrap();
        let directory = root.path().join("ca");
        create_private_directory(&directory).unwrap();
        create(&directory.join("key"), b"x", Access::like(&directory).unwrap().with_mode(PRIVATE)).unwrap();
        for path in [directory.clone(), directory.join("key")] {
            let facts = fs::metadata(path).unwrap();
            assert_eq!((facts.uid(), facts.gid()), (65_534, 65_534));
        }
        assert_eq!(mode(&directory.join("key")), 0o600);
    }
}
