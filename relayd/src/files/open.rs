// SPDX-License-Identifier: Apache-2.0
//! Opening files beneath a directory: whatever the tree holds, nothing outside it is opened.

use std::{
    fs::File,
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use protocol::relative_path::RelativePath;
use rustix::{
    fs::{CWD, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat, openat2, stat},
    io::Errno,
};
use tokio::task::spawn_blocking;

/// Why there is no file.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Not even the directory in which it would be.
    #[error("no such directory")]
    NoDirectory,
    /// Nothing there, or a link, or something that is neither file nor directory.
    #[error("no such file")]
    NotFound,
    /// A directory.
    #[error("a directory")]
    Directory,
    /// Something else is wrong: permissions, the disk.
    #[error("cannot open: {0}")]
    Failed(io::Error),
}

/// A regular file, open for reading.
#[derive(Debug, Clone)]
pub struct OpenFile {
    file: Arc<File>,
    stamp: Stamp,
    executable: bool,
}

/// What tells that a file is still the same, as far as the file system can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Device and inode.
    pub identity: (u64, u64),
    /// Size in bytes.
    pub size: u64,
    /// Time of the last change of the content: seconds and nanoseconds since 1970.
    pub modified: (i64, i64),
    /// The same for content, names or mode.
    pub changed: (i64, i64),
}

impl Stamp {
    fn of(stat: &Stat) -> Self {
        // Types differ between architectures.
        #[allow(clippy::unnecessary_cast, clippy::useless_conversion)]
        Self {
            identity: (stat.st_dev as u64, stat.st_ino as u64),
            size: u64::try_from(stat.st_size).unwrap_or(0),
            modified: (stat.st_mtime as i64, stat.st_mtime_nsec as i64),
            changed: (stat.st_ctime as i64, stat.st_ctime_nsec as i64),
        }
    }

    /// Whether the content is the same: another name or mode makes no difference.
    pub fn same_content(&self, other: &Self) -> bool {
        (self.identity, self.size, self.modified) == (other.identity, other.size, other.modified)
    }
}

/// Seconds and nanoseconds since 1970 as a time.
pub fn time((seconds, nanoseconds): (i64, i64)) -> SystemTime {
    let nanoseconds = Duration::from_nanos(nanoseconds.unsigned_abs());
    match u64::try_from(seconds) {
        Ok(seconds) => SystemTime::UNIX_EPOCH + Duration::from_secs(seconds) + nanoseconds,
        // Before 1970 nobody wrote files.
        Err(_) => SystemTime::UNIX_EPOCH,
    }
}

impl OpenFile {
    /// A file that was opened in another way.
    ///
    /// **Errors**: what [`OpenError`] says; `NotFound` when it is not a regular file.
    pub fn new(fd: OwnedFd) -> Result<Self, OpenError> {
        let stat = fstat(&fd)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {
                let executable = stat.st_mode & Mode::XUSR.bits() != 0;
                Ok(Self { file: Arc::new(fd.into()), stamp: Stamp::of(&stat), executable })
            }
            FileType::Directory => Err(OpenError::Directory),
            _ => Err(OpenError::NotFound),
        }
    }

    /// The file.
    pub fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// What it was when it was opened.
    pub fn stamp(&self) -> &Stamp {
        &self.stamp
    }

    /// What it is now.
    pub fn stamp_now(&self) -> io::Result<Stamp> {
        Ok(Stamp::of(&fstat(&*self.file)?))
    }

    /// Size in bytes, when it was opened.
    pub fn size(&self) -> u64 {
        self.stamp.size
    }

    /// Whether its owner may run it.
    pub fn is_executable(&self) -> bool {
        self.executable
    }

    /// When its content was changed last.
    pub fn modified(&self) -> SystemTime {
        time(self.stamp.modified)
    }
}

impl From<Errno> for OpenError {
    fn from(error: Errno) -> Self {
        match error {
            // ELOOP and EXDEV are links, ENXIO is a socket.
            Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV | Errno::NXIO | Errno::NAMETOOLONG => {
                Self::NotFound
            }
            other => Self::Failed(other.into()),
        }
    }
}

/// The stamp of what is at a path now, links followed: it proves nothing but that a file with the same stamp
/// is still there.
pub fn stamp_of(path: &Path) -> Option<Stamp> {
    stat(path).ok().map(|stat| Stamp::of(&stat))
}

/// Opens a file beneath a directory, on a thread that may wait for a disk only when the kernel would have
/// to read the way there.
pub async fn open(directory: &Path, path: &RelativePath) -> Result<OpenFile, OpenError> {
    match open_how(directory, path.as_path(), READ, ResolveFlags::CACHED) {
        // EINVAL: kernels before 5.12 do not know CACHED.
        Err(Missed::Top(Errno::AGAIN | Errno::INVAL) | Missed::Beneath(Errno::AGAIN)) => {}
        Err(Missed::Top(error)) if is_forbidden(error) => {}
        found => return OpenFile::new(found?),
    }
    let (directory, path): (PathBuf, _) = (directory.to_owned(), path.clone());
    spawn_blocking(move || open_blocking(&directory, &path))
        .await
        .map_err(|error| OpenError::Failed(io::Error::other(error)))?
}

/// The same for who may block.
pub fn open_blocking(directory: &Path, path: &RelativePath) -> Result<OpenFile, OpenError> {
    match open_how(directory, path.as_path(), READ, ResolveFlags::empty()) {
        Err(Missed::Top(error)) if is_forbidden(error) => OpenFile::new(walk(directory, path, READ)?),
        found => OpenFile::new(found?),
    }
}

/// Opens a directory beneath another, or that one itself, to read the names in it. Blocks.
pub fn open_directory_blocking(
    directory: &Path,
    beneath: Option<&RelativePath>,
) -> Result<OwnedFd, OpenError> {
    let Some(path) = beneath else {
        return openat(CWD, directory, LIST, Mode::empty()).map_err(|error| Missed::Top(error).into());
    };
    match open_how(directory, path.as_path(), LIST, ResolveFlags::empty()) {
        Err(Missed::Top(error)) if is_forbidden(error) => Ok(walk(directory, path, LIST)?),
        found => Ok(found?),
    }
}

/// Whether there is no such system call, or some container's filter does not let it pass.
fn is_forbidden(error: Errno) -> bool {
    matches!(error, Errno::NOSYS | Errno::PERM)
}

/// A pipe or a device is opened without waiting for it, and closed again when its kind is seen.
const READ: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);
const LIST: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Where the way ended.
#[derive(Debug)]
enum Missed {
    /// At the directory.
    Top(Errno),
    /// Beneath it.
    Beneath(Errno),
}

impl From<Missed> for OpenError {
    fn from(missed: Missed) -> Self {
        match missed {
            Missed::Top(Errno::NOENT | Errno::NOTDIR) => Self::NoDirectory,
            Missed::Top(error) | Missed::Beneath(error) => error.into(),
        }
    }
}

/// The directory itself may be a link: that is the operator's choice.
fn open_how(directory: &Path, path: &Path, flags: OFlags, how: ResolveFlags) -> Result<OwnedFd, Missed> {
    let top = openat2(CWD, directory, DIRECTORY, Mode::empty(), how).map_err(Missed::Top)?;
    let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    openat2(top, path, flags, Mode::empty(), beneath | how).map_err(Missed::Beneath)
}

/// The same, step by step, for where `openat2` is not allowed (some containers).
fn walk(directory: &Path, path: &RelativePath, flags: OFlags) -> Result<OwnedFd, Missed> {
    let mut at = openat(CWD, directory, DIRECTORY, Mode::empty()).map_err(Missed::Top)?;
    let last = path.file_name();
    for segment in path.segments().take(path.segments().count() - 1) {
        at = openat(&at, segment, DIRECTORY | OFlags::NOFOLLOW, Mode::empty()).map_err(Missed::Beneath)?;
    }
    openat(&at, last, flags | OFlags::NOFOLLOW, Mode::empty()).map_err(Missed::Beneath)
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::{fs::symlink, net::UnixListener},
    };

    use rustix::fs::mknodat;

    use super::*;

    /// Each way to open, to a word about the outcome.
    fn outcomes(directory: &Path, path: &str) -> [&'static str; 2] {
        let path: RelativePath = path.parse().unwrap();
        let walked = walk(directory, &path, READ).map_err(OpenError::from).and_then(OpenFile::new);
        [open_blocking(directory, &path), walked].map(|found| match found {
            Ok(_) => "file",
            Err(OpenError::NotFound) => "not found",
            Err(OpenError::NoDirectory) => "no directory",
            Err(OpenError::Directory) => "directory",
            Err(OpenError::Failed(error)) => panic!("{error}"),
        })
    }

    #[test]
    fn only_regular_files_beneath_are_opened() {
        let temp = tempfile::tempdir().unwrap();
        let (tree, outside) = (temp.path().join("tree"), temp.path().join("outside"));
        fs::create_dir_all(tree.join("a/b")).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(tree.join("a/b/file"), "x").unwrap();
        fs::write(outside.join("secret"), "x").unwrap();
        symlink("b/file", tree.join("a/link")).unwrap();
        symlink("b", tree.join("a/linked")).unwrap();
        symlink("../outside", tree.join("out")).unwrap();
        symlink(outside.join("secret"), tree.join("absolute")).unwrap();
        symlink("/proc/self/fd/0", tree.join("magic")).unwrap();
        symlink("loop", tree.join("loop")).unwrap();
        mknodat(CWD, tree.join("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        let _socket = UnixListener::bind(tree.join("socket")).unwrap();
        for (path, expected) in [
            ("a/b/file", "file"),
            ("a/b", "directory"),
            ("a/b/nothing", "not found"),
            ("a/b/file/more", "not found"),
            ("a/link", "not found"),
            ("a/linked/file", "not found"),
            ("out/secret", "not found"),
            ("absolute", "not found"),
            ("magic", "not found"),
            ("loop", "not found"),
            ("pipe", "not found"),
            ("socket", "not found"),
        ] {
            assert_eq!(outcomes(&tree, path), [expected; 2], "{path}");
        }
        assert_eq!(outcomes(&temp.path().join("nowhere"), "file"), ["no directory"; 2]);
        let linked = temp.path().join("linked");
        symlink(&tree, &linked).unwrap();
        assert_eq!(outcomes(&linked, "a/b/file"), ["file"; 2], "the directory itself may be a link");
    }

    #[tokio::test]
    async fn what_the_kernel_has_to_read_is_opened_all_the_same() {
        let temp = tempfile::tempdir().unwrap();
        fs::write(temp.path().join("file"), "four").unwrap();
        let file = open(temp.path(), &"file".parse().unwrap()).await.unwrap();
        assert_eq!(file.size(), 4);
        assert!(matches!(open(temp.path(), &"gone".parse().unwrap()).await, Err(OpenError::NotFound)));
    }
}
