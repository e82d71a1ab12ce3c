// SPDX-License-Identifier: Apache-2.0
//! A file on its way to the disk: private, and under another name until it was checked.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use protocol::shared_file::{Algorithm, FileHash, Hasher};

use crate::durable::{self, PRIVATE};

/// Dropped before [`Incoming::keep`], it is removed.
pub struct Incoming {
    temporary: PathBuf,
    path: PathBuf,
    file: File,
    hasher: Option<Hasher>,
    kept: bool,
}

impl Incoming {
    /// A file that will be at `path`, whose directory must be there.
    pub fn create(path: &Path, algorithm: Algorithm) -> io::Result<Self> {
        let Some(name) = path.file_name().filter(|_| !path.is_dir()) else {
            return Err(io::Error::other("a directory; name the file to write"));
        };
        let mut hidden = OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}.part", std::process::id()));
        let temporary = path.with_file_name(hidden);
        match fs::remove_file(&temporary) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let file = OpenOptions::new().write(true).create_new(true).mode(PRIVATE).open(&temporary)?;
        let hasher = Some(algorithm.hasher()?);
        Ok(Self { temporary, path: path.to_owned(), file, hasher, kept: false })
    }

    /// The hash of what was written. Nothing can be written after that.
    pub fn hash(&mut self) -> io::Result<FileHash> {
        let hasher = self.hasher.take().ok_or_else(|| io::Error::other("the hash was asked for twice"))?;
        Ok(hasher.finish()?)
    }

    /// Gives it its name, for good.
    pub fn keep(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.temporary, &self.path)?;
        self.kept = true;
        durable::sync_parent(&self.path)
    }
}

impl Write for Incoming {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // First: what is written and not hashed would be kept all the same.
        let hasher = self.hasher.as_mut().ok_or_else(|| io::Error::other("written after its end"))?;
        let written = self.file.write(bytes)?;
        hasher.update(&bytes[..written])?;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if !self.kept {
            // Hidden, and named after this process: in nobody's way.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_has_its_name_when_it_is_kept_and_else_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "before").unwrap();
        for (keep, expected) in [(false, "before"), (true, "content")] {
            let mut incoming = Incoming::create(&path, Algorithm::Sha256).unwrap();
            incoming.write_all(b"content").unwrap();
            let hash = incoming.hash().unwrap().to_string();
            assert_eq!(hash, hex::encode(openssl::sha::sha256(b"content")));
            assert!(incoming.write_all(b"more").is_err());
            if keep {
                incoming.keep().unwrap();
            } else {
                drop(incoming);
            }
            assert_eq!(fs::read_to_string(&path).unwrap(), expected);
            assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(Incoming::create(directory.path(), Algorithm::Sha256).is_err());
    }
}
