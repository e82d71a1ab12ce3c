// SPDX-License-Identifier: Apache-2.0
//! zip: as the policies of Windows nodes come (protocol 11).

use std::{
    fs::File,
    io::{self, Read, Seek},
};

use zip::{ZipArchive, result::ZipError};

use super::{UnpackError, Unpacker, refused};

/// Starts an entry of the directory.
const DIRECTORY_ENTRY: &[u8; 4] = b"PK\x01\x02";

/// Type of a file in its Unix mode.
const TYPE: u32 = 0o170_000;

pub(super) fn read(file: &mut File, unpacker: &mut Unpacker<'_>) -> Result<(), UnpackError> {
    let most = unpacker.limits.entries;
    // Reading the directory costs memory for each entry, long before one is inflated.
    if has_more_entries(file, most).map_err(UnpackError::Read)? {
        return Err(UnpackError::TooMany(most));
    }
    file.rewind().map_err(UnpackError::Read)?;
    let mut archive = ZipArchive::new(file).map_err(damaged)?;
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(damaged)?;
        let name = entry.name_raw().to_vec();
        let mode = entry.unix_mode().unwrap_or(0);
        match mode & TYPE {
            0o120_000 => {
                let mut target = vec![];
                (&mut entry).take(4097).read_to_end(&mut target).map_err(UnpackError::Read)?;
                unpacker.link(&name, &target)?;
            }
            0 | 0o040_000 if name.ends_with(b"/") => unpacker.directory(&name)?,
            0 | 0o100_000 => {
                let size = entry.size();
                unpacker.file(&name, mode & 0o111 != 0, size, &mut entry)?;
            }
            _ => return Err(refused(&name, "it is no plain file, directory or link")),
        }
    }
    Ok(())
}

fn damaged(e: ZipError) -> UnpackError {
    UnpackError::Read(io::Error::other(e))
}

/// Whether more directory entries start somewhere in the file.
fn has_more_entries(file: &mut File, most: usize) -> io::Result<bool> {
    let (mut buffer, mut kept, mut entries) = (vec![0; 64 * 1024], 0, 0);
    loop {
        let length = file.read(&mut buffer[kept..])?;
        if length == 0 {
            return Ok(false);
        }
        let all = &buffer[..kept + length];
        entries += all.windows(4).filter(|window| window == DIRECTORY_ENTRY).count();
        if entries > most {
            return Ok(true);
        }
        let end = all.len();
        kept = end.min(3);
        buffer.copy_within(end - kept..end, 0);
    }
}
