// SPDX-License-Identifier: Apache-2.0
//! A file while it is being received: a hidden name, which becomes the real one only when all of
//! it is on stable storage. Dropped before that, it is removed. Everything here blocks.

use std::{
    fs::File,
    io::{self, Read, Seek, Write},
    os::fd::OwnedFd,
    sync::Arc,
};

use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, RenameFlags, fstat, linkat, openat, renameat_with, unlinkat},
    io::Errno,
};

/// Spools do not look at names that start like this.
pub const PART_PREFIX: &str = ".part-";

/// Owner and group read; the group is that of the spool's readers.
const MODE: Mode = Mode::from_bits_truncate(0o640);

/// A file that nobody else knows yet.
pub struct PartFile {
    directory: Arc<OwnedFd>,
    name: String,
    file: File,
    renamed: bool,
}

/// What publishing a part file found.
#[derive(Debug, PartialEq, Eq)]
pub enum Published {
    /// The name was free; it is the file's now.
    New,
    /// A file with this name and the same bytes is there; it is on stable storage, its name may
    /// not be yet.
    SameContent,
    /// A file with this name and other bytes is there; it was left alone.
    OtherContent,
}

/// Why a part file could not be written or published.
#[derive(Debug)]
pub enum PartError {
    /// No space, quota or inodes.
    Full,
    /// The file system is read-only.
    ReadOnly,
    /// fsync failed: what was written may be lost without another sign.
    Sync(io::Error),
    /// Anything else.
    Other(io::Error),
}

impl From<io::Error> for PartError {
    fn from(error: io::Error) -> Self {
        match Errno::from_io_error(&error) {
            Some(Errno::NOSPC | Errno::DQUOT) => Self::Full,
            Some(Errno::ROFS) => Self::ReadOnly,
            _ => Self::Other(error),
        }
    }
}

impl From<Errno> for PartError {
    fn from(error: Errno) -> Self {
        io::Error::from(error).into()
    }
}

impl PartFile {
    /// Makes an empty one with a random name.
    pub fn create(directory: Arc<OwnedFd>) -> io::Result<Self> {
        let mut random = [0; 16];
        openssl::rand::rand_bytes(&mut random)?;
        let name = format!("{PART_PREFIX}{}", hex::encode(random));
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDWR;
        let file = File::from(openat(&*directory, &name, flags, MODE)?);
        Ok(Self { directory, name, file, renamed: false })
    }

    /// Appends.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), PartError> {
        Ok(self.file.write_all(bytes)?)
    }

    /// Brings the content to stable storage and gives the file its name, unless that is taken.
    /// The directory still needs an fsync.
    pub fn publish(mut self, name: &str) -> Result<Published, PartError> {
        sync(&self.file)?;
        // A spool may take the waiting file away while we look at it; then the name is free.
        for _ in 0..8 {
            match self.rename(name) {
                Ok(()) => return Ok(Published::New),
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            match self.compare(name)? {
                Some(published) => return Ok(published),
                None => continue,
            }
        }
        Err(PartError::Other(io::Error::other("the name comes and goes")))
    }

    fn rename(&mut self, name: &str) -> Result<(), Errno> {
        let dir = &*self.directory;
        match renameat_with(dir, &self.name, dir, name, RenameFlags::NOREPLACE) {
            // The file system does not know the flag; a link does not replace either.
            Err(Errno::INVAL | Errno::NOSYS) => linkat(dir, &self.name, dir, name, AtFlags::empty()),
            Err(error) => Err(error),
            Ok(()) => {
                self.renamed = true;
                Ok(())
            }
        }
    }

    /// How the file that has the name compares; `None` when it is gone.
    fn compare(&mut self, name: &str) -> Result<Option<Published>, PartError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let mut other = match openat(&*self.directory, name, flags, Mode::empty()) {
            Ok(fd) => File::from(fd),
            Err(Errno::NOENT) => return Ok(None),
            // A link.
            Err(Errno::LOOP) => return Ok(Some(Published::OtherContent)),
            Err(error) => return Err(error.into()),
        };
        let (ours, theirs) = (fstat(&self.file)?, fstat(&other)?);
        let comparable = FileType::from_raw_mode(theirs.st_mode) == FileType::RegularFile
            && ours.st_size == theirs.st_size;
        self.file.rewind()?;
        if !comparable || !same_bytes(&mut self.file, &mut other)? {
            return Ok(Some(Published::OtherContent));
        }
        // It may have come through another server, which does not sync.
        sync(&other)?;
        Ok(Some(Published::SameContent))
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        if !self.renamed {
            // Nothing to be done if that fails; the next start removes it.
            let _ = unlinkat(&*self.directory, &self.name, AtFlags::empty());
        }
    }
}

fn sync(file: &File) -> Result<(), PartError> {
    file.sync_all().map_err(|error| match PartError::from(error) {
        PartError::Other(error) => PartError::Sync(error),
        // The file is thrown away and its sender told so: nothing to lose.
        full => full,
    })
}

fn same_bytes(a: &mut impl Read, b: &mut impl Read) -> io::Result<bool> {
    let (mut left, mut right) = (vec![0; 32 * 1024], vec![0; 32 * 1024]);
    loop {
        let n = a.read(&mut left)?;
        if n == 0 {
            return Ok(b.read(&mut right[..1])? == 0);
        }
        match b.read_exact(&mut right[..n]) {
            Ok(()) if left[..n] == right[..n] => {}
            Ok(()) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    struct Dir(tempfile::TempDir, Arc<OwnedFd>);

    fn dir() -> Dir {
        let temp = tempfile::tempdir().unwrap();
        let fd = File::open(temp.path()).unwrap();
        Dir(temp, Arc::new(fd.into()))
    }

    impl Dir {
        fn put(&self, name: &str, bytes: &[u8]) -> Published {
            let mut part = PartFile::create(self.1.clone()).unwrap();
            part.write(bytes).unwrap();
            part.publish(name).unwrap()
        }

        fn names(&self) -> Vec<String> {
            let mut names: Vec<_> = fs::read_dir(self.0.path())
                .unwrap()
                .map(|e| e.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        }
    }

    #[test]
    fn the_first_content_stays() {
        let dir = dir();
        assert_eq!(dir.put("a", b"one"), Published::New);
        assert_eq!(dir.put("a", b"one"), Published::SameContent);
        assert_eq!(dir.put("a", b"two"), Published::OtherContent);
        assert_eq!(dir.put("a", b"longer"), Published::OtherContent);
        assert_eq!(fs::read(dir.0.path().join("a")).unwrap(), b"one");
        assert_eq!(dir.names(), ["a"]);
    }

    #[test]
    fn content_is_compared_beyond_one_buffer() {
        let dir = dir();
        let mut long = vec![7; 100_000];
        assert_eq!(dir.put("a", &long), Published::New);
        assert_eq!(dir.put("a", &long), Published::SameContent);
        long[99_999] = 8;
        assert_eq!(dir.put("a", &long), Published::OtherContent);
    }

    #[test]
    fn what_is_no_file_is_left_alone() {
        let dir = dir();
        fs::write(dir.0.path().join("target"), b"x").unwrap();
        symlink("target", dir.0.path().join("link")).unwrap();
        fs::create_dir(dir.0.path().join("folder")).unwrap();
        assert_eq!(dir.put("link", b"x"), Published::OtherContent);
        assert_eq!(dir.put("folder", b""), Published::OtherContent);
        assert_eq!(dir.names(), ["folder", "link", "target"]);
    }

    #[test]
    fn a_dropped_part_is_gone() {
        let dir = dir();
        let mut part = PartFile::create(dir.1.clone()).unwrap();
        part.write(b"half").unwrap();
        assert_eq!(dir.names().len(), 1);
        drop(part);
        assert_eq!(dir.names().len(), 0);
    }

    #[test]
    fn a_full_disk_is_told_from_a_broken_one() {
        for (errno, full) in [(Errno::NOSPC, true), (Errno::DQUOT, true), (Errno::IO, false)] {
            assert_eq!(matches!(PartError::from(errno), PartError::Full), full, "{errno}");
        }
        assert!(matches!(PartError::from(Errno::ROFS), PartError::ReadOnly));
    }
}
