// SPDX-License-Identifier: Apache-2.0
//! Archives of policies. Their reader is part of `agent`; it is included as a file, because nothing else of `agent`
//! is needed here.
//!
//! A test of `agent` includes this file, so that plain `cargo test` replays the corpus.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write},
    os::fd::{AsRawFd, OwnedFd},
};

use openssl::sha::sha256;
use protocol::{hash::ContentDigest, relative_path::RelativePath};

#[path = "../../agent/src/update/unpack/mod.rs"]
#[allow(dead_code)]
mod unpack;

use self::unpack::{Format, Limits, Sink};

/// More than any seed has.
const LIMITS: Limits = Limits { entries: 64, total: 1 << 20, gain: 200 };

/// Archives, the format in the first byte (`z` zip, `b` tar with bzip2, `t` tar alone; else tar with gzip): each name
/// comes out once, below no file, and not more than the limits allow.
pub fn policy_archive(data: &[u8]) {
    let Some((format, content)) = data.split_first() else { return };
    // Packed here, because damage hardly ever leaves the sums of a packed stream right.
    let packed = if *format == b't' { protocol::compression::gzip(content) } else { content.to_vec() };
    let format = match format {
        b'z' => Format::Zip,
        b'b' => Format::TarBz2,
        _ => Format::TarGz,
    };
    let mut archive = file_in_memory();
    archive.write_all(&packed).expect("memory");
    let mut seen = Seen::default();
    let unpacked = unpack::unpack(&mut archive, format, None, LIMITS, &mut seen);
    let total: u64 = seen.files.values().sum();
    assert!(total <= LIMITS.total, "{total} bytes");
    assert!(seen.files.len() + seen.directories <= 2 * LIMITS.entries);
    assert!(unpacked.is_err() || seen.open.is_none());
    for path in seen.files.keys() {
        for (at, _) in path.match_indices('/') {
            assert!(!seen.files.contains_key(&path[..at]), "{path:?} is below a file");
        }
    }
}

/// What came out.
#[derive(Default)]
struct Seen {
    /// Sizes by path in lower case.
    files: BTreeMap<String, u64>,
    directories: usize,
    open: Option<File>,
}

impl Seen {
    fn note(&mut self, path: &RelativePath, size: u64) {
        assert!(path.segments().all(|segment| !segment.is_empty() && !segment.starts_with("..")));
        assert!(self.files.insert(path.as_str().to_lowercase(), size).is_none(), "{path} twice");
    }
}

impl Sink for Seen {
    fn directory(&mut self, _: &RelativePath) -> io::Result<()> {
        self.directories += 1;
        Ok(())
    }

    fn begin(&mut self, path: &RelativePath, executable: bool) -> io::Result<Option<File>> {
        assert!(self.open.is_none());
        self.note(path, 0);
        // Some are not wanted.
        if executable {
            return Ok(None);
        }
        let file = file_in_memory();
        self.open = Some(file.try_clone()?);
        Ok(Some(file))
    }

    fn end(&mut self, path: &RelativePath, size: u64, digest: ContentDigest) -> io::Result<()> {
        if let Some(file) = self.open.take() {
            let content = fs::read(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
            assert_eq!((content.len() as u64, sha256(&content)), (size, digest.0));
        }
        self.files.insert(path.as_str().to_lowercase(), size);
        Ok(())
    }

    fn copy(&mut self, from: &RelativePath, to: &RelativePath) -> io::Result<u64> {
        let size = self.files[&from.as_str().to_lowercase()];
        self.note(to, 0);
        Ok(size)
    }
}

fn file_in_memory() -> File {
    let flags = rustix::fs::MemfdFlags::CLOEXEC;
    let file: OwnedFd = rustix::fs::memfd_create("fuzz", flags).expect("memory");
    file.into()
}
