// SPDX-License-Identifier: Apache-2.0
//! A file that is being fetched.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use openssl::sha::Sha256;
use rustix::{
    fs::{FallocateFlags, fallocate},
    io::Errno,
};

use super::key::Digest;
use crate::durable::PRIVATE;

/// A file under a temporary name, which goes with this unless it was [taken](Self::take).
pub struct Part {
    path: Option<PathBuf>,
    file: Arc<File>,
    digest: Sha256,
}

impl Part {
    /// Makes one. When the size is known, the disk is asked for it now: a full one is found out before
    /// anybody was promised anything.
    pub fn create(path: PathBuf, size: Option<u64>) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(PRIVATE).open(&path)?;
        let part = Self { path: Some(path), file: Arc::new(file), digest: Sha256::new() };
        match size.filter(|size| *size > 0) {
            None => Ok(part),
            // The size stays 0: what is not written is not there.
            Some(size) => match fallocate(&*part.file, FallocateFlags::KEEP_SIZE, 0, size) {
                // Then a full disk is found out on the way.
                Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(part),
                Err(error) => Err(error.into()),
            },
        }
    }

    /// To read what was written.
    pub fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// Adds to it.
    pub fn write(&mut self, pieces: &[Bytes]) -> io::Result<()> {
        for piece in pieces {
            (&*self.file).write_all(piece)?;
            self.digest.update(piece);
        }
        Ok(())
    }

    /// SHA-256 of what was written.
    pub fn digest(&self) -> Digest {
        self.digest.clone().finish()
    }

    /// Gives the file its name.
    pub fn take(mut self, name: &Path) -> io::Result<()> {
        let Some(path) = self.path.take() else { return Ok(()) };
        fs::rename(&path, name).inspect_err(|_| self.path = Some(path))
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if let Some(path) = self.path.take() {
            // At the next start, all are removed.
            let _ = fs::remove_file(path);
        }
    }
}
