// SPDX-License-Identifier: Apache-2.0
//! Archives of policies (protocol 8.1), unpacked as if an enemy had made them.
//!
//! ```text
//! tar | zip ─entries─▶ names (inside, once, no case tricks) ─▶ limits ─content─▶ sink
//! ```
//!
//! Only directories and plain files are ever made. A symbolic link to a file of the same archive becomes a copy of
//! that file, because existing archives have such links; every other link, and everything else that is no
//! plain file, is refused. Owners and modes are not taken over, but for the right to execute.

mod names;
mod tar;
mod zip;

use std::{
    fs::File,
    io::{self, BufReader, Read, Seek, Write},
};

use openssl::sha::Sha256;
use protocol::{hash::ContentDigest, limits, relative_path::RelativePath};

use self::names::{Kind, Names};

/// What an archive may hold.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Files, directories and links.
    pub entries: usize,
    /// Bytes of all content, copies included.
    pub total: u64,
    /// So many times its own size may what is in it have, beyond the first 16 MiB.
    pub gain: u64,
}

/// What no archive of policies comes near.
pub const LIMITS: Limits = Limits { entries: limits::POLICY_FILES, total: limits::POLICY_TREE, gain: 200 };

/// What is free of the rule about gain, in bytes.
const SMALL: u64 = 16 << 20;

/// How an archive is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// tar, packed by bzip2.
    TarBz2,
    /// tar, packed by gzip.
    TarGz,
    /// zip.
    Zip,
}

/// Takes what is in an archive.
pub trait Sink {
    /// A directory.
    fn directory(&mut self, path: &RelativePath) -> io::Result<()>;
    /// Where to write a file; `None` for one that is not wanted.
    fn begin(&mut self, path: &RelativePath, executable: bool) -> io::Result<Option<File>>;
    /// The file is written.
    fn end(&mut self, path: &RelativePath, size: u64, digest: ContentDigest) -> io::Result<()>;
    /// A copy of a file that was written is wanted; gives its size.
    fn copy(&mut self, from: &RelativePath, to: &RelativePath) -> io::Result<u64>;
}

/// Unpacks an archive. With `top` every entry must be below a directory of that name, which is taken away.
pub fn unpack(
    archive: &mut File,
    format: Format,
    top: Option<&str>,
    limits: Limits,
    sink: &mut dyn Sink,
) -> Result<(), UnpackError> {
    let size = archive.metadata().map_err(UnpackError::Read)?.len();
    archive.rewind().map_err(UnpackError::Read)?;
    let bound = limits.total.min(size.saturating_mul(limits.gain).max(SMALL));
    let mut unpacker = Unpacker { names: Names::new(top), limits, bound, written: 0, links: vec![], sink };
    match format {
        Format::TarBz2 => tar::read(bzip2::read::MultiBzDecoder::new(archive), &mut unpacker)?,
        Format::TarGz => tar::read(flate2::bufread::GzDecoder::new(BufReader::new(archive)), &mut unpacker)?,
        Format::Zip => zip::read(archive, &mut unpacker)?,
    }
    unpacker.make_links()
}

/// Judges entries and passes them on.
struct Unpacker<'a> {
    names: Names<'a>,
    limits: Limits,
    /// Bytes that may come out.
    bound: u64,
    written: u64,
    links: Vec<(RelativePath, RelativePath)>,
    sink: &'a mut dyn Sink,
}

impl Unpacker<'_> {
    fn directory(&mut self, name: &[u8]) -> Result<(), UnpackError> {
        match self.name(name, Kind::Directory)? {
            Some(path) => self.sink.directory(&path).map_err(UnpackError::Write),
            None => Ok(()),
        }
    }

    fn file(
        &mut self,
        name: &[u8],
        executable: bool,
        size: u64,
        content: &mut dyn Read,
    ) -> Result<(), UnpackError> {
        let path = self.name(name, Kind::File)?.ok_or_else(|| refused(name, "it has no name"))?;
        let left = self.bound.saturating_sub(self.written);
        if size > left {
            return Err(UnpackError::TooBig(self.bound));
        }
        let file = self.sink.begin(&path, executable).map_err(UnpackError::Write)?;
        let (size, digest) = match file {
            Some(mut file) => copy(&mut content.take(left + 1), &mut file)?,
            None => copy(&mut content.take(left + 1), &mut io::sink())?,
        };
        if size > left {
            return Err(UnpackError::TooBig(self.bound));
        }
        self.written += size;
        self.sink.end(&path, size, digest).map_err(UnpackError::Write)
    }

    fn link(&mut self, name: &[u8], target: &[u8]) -> Result<(), UnpackError> {
        let path = self.name(name, Kind::Link)?.ok_or_else(|| refused(name, "it has no name"))?;
        let target =
            names::resolve(&path, target).ok_or_else(|| refused(name, "it links to a place outside"))?;
        self.links.push((path, target));
        Ok(())
    }

    /// Links are looked at last: what they name may come after them.
    fn make_links(&mut self) -> Result<(), UnpackError> {
        for (path, target) in std::mem::take(&mut self.links) {
            let name = path.as_str().as_bytes();
            if !self.names.is_written(&target) {
                return Err(refused(name, "it links to what is no file of the archive"));
            }
            self.written += self.sink.copy(&target, &path).map_err(UnpackError::Write)?;
            if self.written > self.bound {
                return Err(UnpackError::TooBig(self.bound));
            }
        }
        Ok(())
    }

    fn name(&mut self, name: &[u8], kind: Kind) -> Result<Option<RelativePath>, UnpackError> {
        let path = self.names.take(name, kind).map_err(|why| refused(name, &why))?;
        if self.names.len() > self.limits.entries {
            return Err(UnpackError::TooMany(self.limits.entries));
        }
        Ok(path)
    }
}

/// Copies in pieces; an error says which side it is of.
pub(super) fn copy(from: &mut dyn Read, to: &mut dyn Write) -> Result<(u64, ContentDigest), UnpackError> {
    let (mut size, mut digest) = (0, Sha256::new());
    let mut buffer = [0; 64 * 1024];
    loop {
        let length = match from.read(&mut buffer) {
            Ok(0) => return Ok((size, ContentDigest(digest.finish()))),
            Ok(length) => length,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(UnpackError::Read(e)),
        };
        digest.update(&buffer[..length]);
        to.write_all(&buffer[..length]).map_err(UnpackError::Write)?;
        size += length as u64;
    }
}

fn refused(name: &[u8], why: &str) -> UnpackError {
    let name: String = String::from_utf8_lossy(name).chars().take(200).collect();
    UnpackError::Refused(format!("{name:?}: {why}"))
}

/// Why an archive is not unpacked to its end.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// Something in it is not what policies have.
    #[error("it has an entry that is refused: {0}")]
    Refused(String),
    /// Too many entries.
    #[error("it has more than {0} entries")]
    TooMany(usize),
    /// Too much content.
    #[error("more than {0} bytes come out of it")]
    TooBig(u64),
    /// It is damaged.
    #[error("it cannot be read: {0}")]
    Read(io::Error),
    /// The place to write to is at fault, not the archive.
    #[error("{0}")]
    Write(io::Error),
}

impl UnpackError {
    /// Whether the archive is at fault.
    pub fn is_archive(&self) -> bool {
        !matches!(self, Self::Write(_))
    }
}

#[cfg(test)]
mod tests;
