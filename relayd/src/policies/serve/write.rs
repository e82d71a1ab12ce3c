// SPDX-License-Identifier: Apache-2.0
//! Writes archives, file by file; memory does not grow with them.

use std::{
    fs::File,
    io::{self, BufWriter, Read, Write},
};

use bzip2::write::BzEncoder;
use chrono::{DateTime, Datelike, Timelike, Utc};
use flate2::write::GzEncoder;
use openssl::sha::Sha256;
use protocol::policy_manifest::ManifestFile;
use tar::{EntryType, Header};
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

use super::plan::{Contents, Format, Plan};
use crate::files::{OpenError, open_blocking};

/// Writes the archive of a plan into an empty file; blocks.
///
/// **Errors**: as the system says; [`io::ErrorKind::ResourceBusy`] when a file is not the one that was
/// planned.
pub fn write(plan: &Plan, out: File) -> io::Result<File> {
    let out = BufWriter::with_capacity(128 * 1024, out);
    let out = match plan.format() {
        Format::Zip => zip(plan, out)?,
        // No time in the header, and no name: the same content gives the same bytes.
        Format::TarGz => tar(plan, GzEncoder::new(out, flate2::Compression::default()))?.finish()?,
        Format::TarBz2 => tar(plan, BzEncoder::new(out, bzip2::Compression::best()))?.finish()?,
    };
    out.into_inner().map_err(io::IntoInnerError::into_error)
}

fn tar<W: Write>(plan: &Plan, out: W) -> io::Result<W> {
    let mut archive = tar::Builder::new(out);
    for (name, file) in plan.files() {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_size(file.size);
        header.set_mode(mode(file));
        header.set_mtime(u64::try_from(plan.created().timestamp()).unwrap_or(0));
        header.set_uid(0);
        header.set_gid(0);
        let mut content = Planned::open(plan.contents(), file)?;
        archive.append_data(&mut header, &name, &mut content)?;
        content.check()?;
    }
    archive.into_inner()
}

fn zip<W: Write + io::Seek>(plan: &Plan, out: W) -> io::Result<W> {
    let mut archive = ZipWriter::new(out);
    for (name, file) in plan.files() {
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Deflated)
            .last_modified_time(zip_time(plan.created()))
            .unix_permissions(mode(file))
            .large_file(file.size >= u64::from(u32::MAX));
        archive.start_file(name, options)?;
        let mut content = Planned::open(plan.contents(), file)?;
        io::copy(&mut content, &mut archive)?;
        content.check()?;
    }
    Ok(archive.finish()?)
}

fn mode(file: &ManifestFile) -> u32 {
    if file.executable { 0o755 } else { 0o644 }
}

/// Zip knows the years 1980 to 2107.
fn zip_time(time: DateTime<Utc>) -> zip::DateTime {
    let small = |number: u32| u8::try_from(number).unwrap_or(0);
    let year = u16::try_from(time.year()).unwrap_or(0);
    zip::DateTime::from_date_and_time(
        year,
        small(time.month()),
        small(time.day()),
        small(time.hour()),
        small(time.minute()),
        small(time.second()),
    )
    .unwrap_or_default()
}

/// The content of a file, watched while it is read.
struct Planned<'a> {
    file: &'a ManifestFile,
    content: io::Take<File>,
    hasher: Sha256,
}

impl<'a> Planned<'a> {
    fn open(contents: &Contents, file: &'a ManifestFile) -> io::Result<Self> {
        let content = match contents {
            Contents::Published(published) => published.open(file.sha256)?,
            Contents::Directory(directory) => match open_blocking(directory, &file.path) {
                Ok(file) => file.file().try_clone()?,
                Err(OpenError::Failed(error)) => return Err(error),
                Err(_) => return Err(io::ErrorKind::ResourceBusy.into()),
            },
        };
        Ok(Self { file, content: content.take(file.size), hasher: Sha256::new() })
    }

    fn check(self) -> io::Result<()> {
        let as_planned = self.content.limit() == 0 && self.hasher.finish() == self.file.sha256.0;
        if as_planned { Ok(()) } else { Err(io::ErrorKind::ResourceBusy.into()) }
    }
}

impl Read for Planned<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.content.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        Ok(read)
    }
}
