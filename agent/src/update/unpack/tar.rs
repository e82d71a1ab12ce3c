// SPDX-License-Identifier: Apache-2.0
//! tar: long names are read here, because a library that does it has no bound for their length.

use std::io::{self, Read};

use tar::{Archive, EntryType};

use super::{UnpackError, Unpacker, refused};

/// Longest name, or set of extended headers, in bytes.
const LONGEST: u64 = 16 * 1024;

/// What headers and padding add to an entry, in bytes; with a long name and a long link.
const FRAME: u64 = 16 * 1024;

/// What an entry said of the next one.
#[derive(Default)]
struct Ahead {
    name: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
}

pub(super) fn read(stream: impl Read, unpacker: &mut Unpacker<'_>) -> Result<(), UnpackError> {
    let most = unpacker.bound.saturating_add((unpacker.limits.entries as u64 + 1) * FRAME);
    let mut archive = Archive::new(Bounded { stream, left: most });
    let mut ahead = Ahead::default();
    let mut headers = 0;
    for entry in archive.entries().map_err(UnpackError::Read)?.raw(true) {
        let mut entry = entry.map_err(UnpackError::Read)?;
        headers += 1;
        if headers > unpacker.limits.entries * 4 {
            return Err(UnpackError::TooMany(unpacker.limits.entries));
        }
        let kind = entry.header().entry_type();
        match kind {
            EntryType::GNULongName => ahead.name = Some(text(&mut entry)?),
            EntryType::GNULongLink => ahead.target = Some(text(&mut entry)?),
            EntryType::XHeader => extended(&bounded(&mut entry)?, &mut ahead)?,
            EntryType::XGlobalHeader => drop(bounded(&mut entry)?),
            _ => {
                let Ahead { name, target } = std::mem::take(&mut ahead);
                let name = name.unwrap_or_else(|| entry.header().path_bytes().into_owned());
                match kind {
                    EntryType::Regular | EntryType::Continuous if name.ends_with(b"/") => {
                        unpacker.directory(&name)?;
                    }
                    EntryType::Regular | EntryType::Continuous => {
                        let size = entry.header().entry_size().map_err(UnpackError::Read)?;
                        let executable = entry.header().mode().map_err(UnpackError::Read)? & 0o111 != 0;
                        unpacker.file(&name, executable, size, &mut entry)?;
                    }
                    EntryType::Directory => unpacker.directory(&name)?,
                    EntryType::Symlink => {
                        let target = target.or_else(|| Some(entry.header().link_name_bytes()?.into_owned()));
                        unpacker.link(&name, &target.unwrap_or_default())?;
                    }
                    EntryType::Link => return Err(refused(&name, "it is a hard link")),
                    EntryType::Fifo => return Err(refused(&name, "it is a FIFO")),
                    EntryType::Char | EntryType::Block => return Err(refused(&name, "it is a device")),
                    _ => return Err(refused(&name, "it is no plain file, directory or link")),
                }
            }
        }
    }
    // The check sums of the packed stream are at its end.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(UnpackError::Read)?;
    Ok(())
}

/// A name that ends at the first NUL.
fn text(entry: &mut impl Read) -> Result<Vec<u8>, UnpackError> {
    let mut bytes = bounded(entry)?;
    if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
        bytes.truncate(end);
    }
    Ok(bytes)
}

fn bounded(entry: &mut impl Read) -> Result<Vec<u8>, UnpackError> {
    let mut bytes = vec![];
    entry.take(LONGEST + 1).read_to_end(&mut bytes).map_err(UnpackError::Read)?;
    match bytes.len() as u64 > LONGEST {
        true => Err(UnpackError::Refused(format!("a header of more than {LONGEST} bytes"))),
        false => Ok(bytes),
    }
}

/// Extended headers (POSIX.1-2001): names only. A size beyond what the plain header can say is too big anyway.
fn extended(bytes: &[u8], ahead: &mut Ahead) -> Result<(), UnpackError> {
    for extension in tar::PaxExtensions::new(bytes) {
        let extension = extension.map_err(UnpackError::Read)?;
        match extension.key_bytes() {
            b"path" => ahead.name = Some(extension.value_bytes().to_vec()),
            b"linkpath" => ahead.target = Some(extension.value_bytes().to_vec()),
            b"size" => return Err(UnpackError::Refused("an extended header with a size".to_owned())),
            key if key.starts_with(b"GNU.sparse") => {
                return Err(UnpackError::Refused("a sparse file".to_owned()));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Ends a stream with an error where it is too long: also what is skipped costs time.
struct Bounded<R> {
    stream: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.stream.read(buffer)?;
        self.left = self
            .left
            .checked_sub(length as u64)
            .ok_or_else(|| io::Error::other("far more comes out of it than its size allows"))?;
        Ok(length)
    }
}
