// SPDX-License-Identifier: Apache-2.0
//! Bounded decompression and compression of uploads (protocol 2.6).
//!
//! Sizes that a packed file declares about itself are hints at most. Up to [`PROBE`] bytes are kept
//! while inflating; what is larger is first counted in constant memory and only allocated once it
//! is known to be under the cap, so that a bomb costs time for one pass and no memory.

use std::{
    borrow::Cow,
    io::{self, Cursor, Read, Write},
};

use flate2::{bufread::GzDecoder, write::GzEncoder};
use memchr::memmem;
use zip::{ZipArchive, result::ZipError};

/// How a file is packed, as its last extension says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    /// As it is.
    None,
    /// One gzip member.
    Gzip,
    /// A zip archive; the first entry counts.
    Zip,
}

/// Why packed bytes cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum CompressionError {
    /// Inflates to more than the cap.
    #[error("inflates to more than {0} bytes")]
    TooLarge(u64),
    /// Ends in the middle: possibly still being written.
    #[error("truncated")]
    Truncated,
    /// The checksum over the content is wrong.
    #[error("bad checksum")]
    BadChecksum,
    /// Bytes after the one member.
    #[error("trailing bytes after the compressed data")]
    TrailingData,
    /// A second gzip member after the first.
    #[error("more than one gzip member")]
    SecondMember,
    /// Another format than the file name says.
    #[error("named as {expected}, but it is a {found} file: fix the extension")]
    OtherFormat {
        /// Format that the name says.
        expected: &'static str,
        /// Format of the content.
        found: &'static str,
    },
    /// Not in that format at all.
    #[error("not valid {0} data: {1}")]
    Invalid(&'static str, String),
}

/// How much is inflated into memory before the rest is only counted.
const PROBE: usize = 8 << 20;

/// More than deflate can gain on any input; a larger declared size is a lie.
const DEFLATE_GAIN: usize = 1032;

const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];
const ZIP_MAGIC: &[u8] = b"PK\x03\x04";
const ZIP_DIRECTORY_MAGIC: &[u8] = b"PK\x01\x02";
const ZIP_END_MAGIC: &[u8] = b"PK\x05\x06";

/// Entries in a zip archive, of which only the first is read.
const MAX_ZIP_ENTRIES: usize = 1000;

/// Unpacks `packed`, spending memory for at most `cap` bytes, and less when it turns out to be a bomb.
pub fn unpack(packed: &[u8], compression: Compression, cap: u64) -> Result<Cow<'_, [u8]>, CompressionError> {
    match compression {
        Compression::None if packed.len() as u64 > cap => Err(CompressionError::TooLarge(cap)),
        Compression::None => Ok(packed.into()),
        Compression::Gzip => gunzip(packed, cap).map(Cow::from),
        Compression::Zip => unzip(packed, cap).map(Cow::from),
    }
}

/// Packs into one gzip member.
pub fn gzip(content: &[u8]) -> Vec<u8> {
    let packed = Vec::with_capacity(content.len() / 6 + 64);
    let mut encoder = GzEncoder::new(packed, flate2::Compression::default());
    let written = encoder.write_all(content).and_then(|()| encoder.finish());
    written.expect("writing to memory does not fail")
}

fn gunzip(packed: &[u8], cap: u64) -> Result<Vec<u8>, CompressionError> {
    if packed.starts_with(ZIP_MAGIC) {
        return Err(CompressionError::OtherFormat { expected: "gzip", found: "zip" });
    }
    if !packed.is_empty() && !GZIP_MAGIC.starts_with(&packed[..packed.len().min(2)]) {
        return Err(CompressionError::Invalid("gzip", "no gzip header".into()));
    }
    // The last four bytes of a gzip member are its inflated size, modulo 4 GiB.
    let declared = packed.last_chunk().map_or(0, |size| u32::from_le_bytes(*size).into());
    let failed = |e| read_error("gzip", &e);
    let mut member = GzDecoder::new(packed);
    let inflated = inflate_or_count(&mut member, cap, hint(declared, packed)).map_err(failed)?;
    check_inflated(&inflated, cap)?;
    match member.into_inner() {
        [] => {}
        rest if rest.starts_with(GZIP_MAGIC) => return Err(CompressionError::SecondMember),
        _ => return Err(CompressionError::TrailingData),
    }
    match inflated {
        Inflated::Kept(content) => Ok(content),
        Inflated::Counted(size) => read_known(&mut GzDecoder::new(packed), size).map_err(failed),
    }
}

fn unzip(packed: &[u8], cap: u64) -> Result<Vec<u8>, CompressionError> {
    if packed.starts_with(GZIP_MAGIC) {
        return Err(CompressionError::OtherFormat { expected: "zip", found: "gzip" });
    }
    if !packed.starts_with(&ZIP_MAGIC[..packed.len().min(ZIP_MAGIC.len())]) {
        return Err(CompressionError::Invalid("zip", "no zip header".into()));
    }
    // Reading the directory costs memory for each entry, long before one is inflated.
    if memmem::find_iter(packed, ZIP_DIRECTORY_MAGIC).nth(MAX_ZIP_ENTRIES).is_some() {
        return Err(CompressionError::Invalid("zip", format!("more than {MAX_ZIP_ENTRIES} entries")));
    }
    let invalid = |e: ZipError| CompressionError::Invalid("zip", e.to_string());
    let mut archive = ZipArchive::new(Cursor::new(packed)).map_err(|e| match e {
        // The directory is at the end of the file.
        ZipError::InvalidArchive(_) if memmem::rfind(packed, ZIP_END_MAGIC).is_none() => {
            CompressionError::Truncated
        }
        other => invalid(other),
    })?;
    let failed = |e| read_error("zip", &e);
    let mut entry = archive.by_index(0).map_err(invalid)?;
    let declared = entry.size();
    let inflated = inflate_or_count(&mut entry, cap, hint(declared, packed)).map_err(failed)?;
    drop(entry);
    check_inflated(&inflated, cap)?;
    match inflated {
        Inflated::Kept(content) => Ok(content),
        Inflated::Counted(size) => {
            read_known(&mut archive.by_index(0).map_err(invalid)?, size).map_err(failed)
        }
    }
}

/// Memory to set aside for content of this declared size, which may be a lie.
fn hint(declared: u64, packed: &[u8]) -> usize {
    let possible = packed.len().saturating_mul(DEFLATE_GAIN).min(PROBE);
    usize::try_from(declared).unwrap_or(possible).min(possible)
}

enum Inflated {
    /// The whole content.
    Kept(Vec<u8>),
    /// Only its size: it is larger than [`PROBE`]. Not counted on beyond the cap.
    Counted(u64),
}

fn inflate_or_count(reader: &mut impl Read, cap: u64, hint: usize) -> io::Result<Inflated> {
    let mut content = Vec::with_capacity(hint);
    let probe = cap.min(PROBE as u64);
    reader.by_ref().take(probe).read_to_end(&mut content)?;
    // Also at the end of the content: only a read that finds the end makes the checksum checked.
    let rest = io::copy(&mut reader.take((cap - content.len() as u64).saturating_add(1)), &mut io::sink())?;
    if rest == 0 {
        return Ok(Inflated::Kept(content));
    }
    Ok(Inflated::Counted(content.len() as u64 + rest))
}

fn check_inflated(inflated: &Inflated, cap: u64) -> Result<(), CompressionError> {
    match inflated {
        Inflated::Counted(size) if *size > cap => Err(CompressionError::TooLarge(cap)),
        _ => Ok(()),
    }
}

fn read_known(reader: &mut impl Read, size: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::with_capacity(usize::try_from(size).map_err(io::Error::other)?);
    reader.take(size).read_to_end(&mut content)?;
    Ok(content)
}

/// Neither library has an own error kind for a bad checksum: the tests watch over these words.
fn read_error(format: &'static str, error: &io::Error) -> CompressionError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => CompressionError::Truncated,
        _ if error.to_string().contains("checksum") => CompressionError::BadChecksum,
        _ => CompressionError::Invalid(format, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zip(content: &[u8], options: zip::write::SimpleFileOptions) -> Vec<u8> {
        let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
        archive.start_file("run.log", options).unwrap();
        archive.write_all(content).unwrap();
        archive.start_file("other", options).unwrap();
        archive.write_all(b"not this one").unwrap();
        archive.finish().unwrap().into_inner()
    }

    fn text(size: usize) -> Vec<u8> {
        (0..size).map(|i| b"any text, but not too regular"[i * i % 29]).collect()
    }

    #[test]
    fn what_is_packed_comes_out_again() {
        for size in [0, 1, 10_000, PROBE - 1, PROBE, PROBE + 1, 2 * PROBE] {
            let content = text(size);
            let cap = 3 * PROBE as u64;
            let stored =
                zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
            let deflated = stored.compression_method(zip::CompressionMethod::Deflated);
            for (packed, compression) in [
                (content.clone(), Compression::None),
                (gzip(&content), Compression::Gzip),
                (zip(&content, stored), Compression::Zip),
                (zip(&content, deflated), Compression::Zip),
            ] {
                assert!(unpack(&packed, compression, cap).unwrap() == content, "{size} {compression:?}");
                // The cap is exact.
                assert!(
                    unpack(&packed, compression, size as u64).unwrap() == content,
                    "{size} {compression:?}"
                );
                if size > 0 {
                    let e = unpack(&packed, compression, size as u64 - 1).unwrap_err();
                    assert!(matches!(e, CompressionError::TooLarge(_)), "{size} {compression:?} {e}");
                }
            }
        }
    }

    #[test]
    fn plain_files_are_borrowed() {
        assert!(matches!(unpack(b"x", Compression::None, 1), Ok(Cow::Borrowed(b"x"))));
    }

    #[test]
    fn each_damage_has_its_error() {
        let good = gzip(&text(10_000));
        let error = |packed: &[u8], compression| {
            let e = unpack(packed, compression, 1 << 20).unwrap_err();
            format!("{e:?}").split(['(', ' ']).next().unwrap().to_owned()
        };
        for length in 0..good.len() {
            assert_eq!(error(&good[..length], Compression::Gzip), "Truncated", "{length}");
        }
        let mut bad_crc = good.clone();
        bad_crc[good.len() - 8] ^= 1;
        assert_eq!(error(&bad_crc, Compression::Gzip), "BadChecksum");
        let mut bad_size = good.clone();
        bad_size[good.len() - 1] ^= 1;
        assert_eq!(error(&bad_size, Compression::Gzip), "BadChecksum");
        assert_eq!(error(&[&good[..], b"\n"].concat(), Compression::Gzip), "TrailingData");
        assert_eq!(error(&[&good[..], &good].concat(), Compression::Gzip), "SecondMember");
        assert_eq!(error(b"plain text", Compression::Gzip), "Invalid");
        let mut other_method = good.clone();
        other_method[2] = 7;
        assert_eq!(error(&other_method, Compression::Gzip), "Invalid");

        let zipped = zip(&text(10_000), zip::write::SimpleFileOptions::default());
        assert_eq!(error(&zipped, Compression::Gzip), "OtherFormat");
        assert_eq!(error(&good, Compression::Zip), "OtherFormat");
        assert_eq!(error(b"plain text", Compression::Zip), "Invalid");
        for length in 0..zipped.len() - 22 {
            assert_eq!(error(&zipped[..length], Compression::Zip), "Truncated", "{length}");
        }
        let mut bad_data = zipped.clone();
        let crc_in_directory = memmem::find(&zipped, ZIP_DIRECTORY_MAGIC).unwrap() + 16;
        bad_data[crc_in_directory] ^= 1;
        assert_eq!(error(&bad_data, Compression::Zip), "BadChecksum");
    }

    #[test]
    fn sizes_declared_by_an_archive_are_not_believed() {
        let content = text(10_000);
        let zipped = zip(&content, zip::write::SimpleFileOptions::default());
        let size_in_directory = memmem::find(&zipped, ZIP_DIRECTORY_MAGIC).unwrap() + 24;
        for declared in [0, 1, u32::MAX - 1] {
            let mut lying = zipped.clone();
            lying[size_in_directory..size_in_directory + 4].copy_from_slice(&declared.to_le_bytes());
            if let Ok(unpacked) = unpack(&lying, Compression::Zip, 10_000) {
                assert!(*unpacked == content, "{declared}");
            }
            assert!(unpack(&lying, Compression::Zip, 9_999).is_err(), "{declared}");
        }
    }
}
