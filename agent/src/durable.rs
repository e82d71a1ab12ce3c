// SPDX-License-Identifier: Apache-2.0
//! Files that are either whole or not there, whatever stops the machine.
//!
//! Write elsewhere, `fsync`, rename, `fsync` the directory. An `fsync` that failed is never repeated:
//! the kernel may have dropped the pages, so the file is given up.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

use rustix::{
    fs::fchown,
    process::{Gid, Uid},
};

/// Mode of files for the owner only.
pub const PRIVATE: u32 = 0o600;
/// Mode of files that everybody may read.
pub const PUBLIC: u32 = 0o644;

/// Replaces `path` by a file with this content; a reader sees the old or the new one, whole.
pub fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let mut name = path.file_name().map(|n| n.to_owned()).unwrap_or_default();
    name.push(".tmp");
    publish(&path.with_file_name(name), path, content, mode)
}

/// Writes `content` to `temporary` and renames that to `path`. The directories must exist.
///
/// **Errors**: as the system says; nothing is left at `temporary` then.
pub fn publish(temporary: &Path, path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let written = write_synced(temporary, content, mode).and_then(|_| fs::rename(temporary, path));
    if written.is_err() {
        let _ = fs::remove_file(temporary);
    }
    written?;
    sync_parent(path)
}

/// Who may do what with a file.
#[derive(Debug, Clone, Copy)]
pub struct Rights {
    /// Mode.
    pub mode: u32,
    /// Owner, if another than this process's user.
    pub owner: Option<Uid>,
    /// Group, if another than this process's.
    pub group: Option<Gid>,
}

/// Like [`replace`], for another program: the file has its rights before it has its name.
pub fn replace_for(path: &Path, content: &[u8], rights: Rights) -> io::Result<()> {
    let mut name = path.file_name().map(|n| n.to_owned()).unwrap_or_default();
    name.push(".tmp");
    let temporary = path.with_file_name(name);
    let written = write_synced(&temporary, content, PRIVATE)
        .and_then(|file| {
            fchown(&file, rights.owner, rights.group)?;
            file.set_permissions(fs::Permissions::from_mode(rights.mode))?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written?;
    sync_parent(path)
}

/// Makes the rename or removal of a directory entry last.
pub fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(directory) if directory.as_os_str().is_empty() => File::open(".")?.sync_all(),
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

/// Creates a directory for the owner only. Those above it, if they are new, may be entered by everybody.
pub fn create_private_directory(path: &Path) -> io::Result<()> {
    create_parent(path)?;
    create_directory(path, 0o700)
}

/// Creates the directory a file is to be in; new ones may be entered by everybody.
pub fn create_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(directory) if !directory.as_os_str().is_empty() && !directory.is_dir() => {
            create_parent(directory)?;
            create_directory(directory, 0o755)
        }
        _ => Ok(()),
    }
}

/// What is synced in a directory lasts only if the directory does.
fn create_directory(path: &Path, mode: u32) -> io::Result<()> {
    match DirBuilder::new().mode(mode).create(path) {
        Ok(()) => sync_parent(path),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(e) => Err(e),
    }
}

fn write_synced(path: &Path, content: &[u8], mode: u32) -> io::Result<File> {
    // A left-over of an earlier crash may have other rights: start from none.
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(content)?;
    file.sync_all()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_whole_and_leaves_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(directory.path().join("file.tmp"), "left over").unwrap();
        replace(&path, b"one", PUBLIC).unwrap();
        replace(&path, b"two", PRIVATE).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_for_others_has_its_rights_from_the_start() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let rights = Rights { mode: 0o640, owner: None, group: None };
        replace_for(&path, b"secret", rights).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        // Not given away: nothing is left, and the old file stays.
        let foreign = Rights { owner: Some(Uid::from_raw(12345)), ..rights };
        if replace_for(&path, b"new", foreign).is_err() {
            assert_eq!(fs::read(&path).unwrap(), b"secret");
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn directories_are_made_with_those_above_and_may_be_there() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a/b/c");
        for _ in 0..2 {
            create_private_directory(&path).unwrap();
        }
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&root.path().join("a"))), (0o700, 0o755));
        fs::write(path.join("file"), "").unwrap();
        assert!(create_private_directory(&path.join("file")).is_err());
        assert!(create_private_directory(&path.join("file/below")).is_err());
    }

    #[test]
    fn a_failed_rename_leaves_no_temporary_file() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("target");
        fs::create_dir(&target).unwrap();
        assert!(replace(&target, b"x", PRIVATE).is_err());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
