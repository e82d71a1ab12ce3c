// SPDX-License-Identifier: Apache-2.0
//! From a spooled file to a parsed run log: bounded read, unpack, verify, parse. CPU work; blocks.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::Path,
};

use protocol::{
    compression::{self, Compression, CompressionError},
    run_id::RunLogName,
    smime,
};
use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};

use super::{StoreSettings, parsed::Parsed};
use crate::{
    compliance::results::RunResults,
    nodes::NodeTable,
    spool::disposition::{Disposition, Outcome, Reason, Rejection, Release},
};

/// A run log that is what it claims to be.
pub(super) struct Intake {
    /// The run log.
    pub(super) parsed: Parsed,
    /// Its counted results, if it is complete.
    pub(super) results: Option<RunResults>,
    /// SHA-256 of the verified content.
    pub(super) digest: [u8; 32],
    /// NUL characters that were replaced.
    pub(super) nuls: usize,
}

/// Deflate never packs better than this.
const MAX_RATIO: u64 = 1032;

/// Reads a whole file that is safe to read.
pub(super) fn read(path: &Path, max_size: u64) -> Result<Vec<u8>, Disposition> {
    // O_NONBLOCK: opening a FIFO must not wait for a writer.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty()).map_err(cannot_open)?);
    let metadata = file.metadata().map_err(cannot_read)?;
    if !metadata.is_file() {
        return Err(rejected(Reason::NotAFile, "not a regular file"));
    }
    if metadata.nlink() > 1 {
        // For a moment a file that is being put there may have two names.
        return Err(maybe_incomplete(Reason::NotAFile, "a file with several hard links"));
    }
    if metadata.len() > max_size {
        let detail = format!("{} bytes, more than the {max_size} allowed", metadata.len());
        return Err(rejected(Reason::TooLarge, detail));
    }
    let mut content = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
    file.take(max_size + 1).read_to_end(&mut content).map_err(cannot_read)?;
    if content.len() as u64 > max_size {
        return Err(maybe_incomplete(Reason::TooLarge, "grew over the allowed size while it was read"));
    }
    Ok(content)
}

/// Most bytes that the content can have when it is unpacked: what the gzip trailer says, because
/// a gzip file that unpacks to more is not a valid one.
pub(super) fn unpacked_bound(packed: &[u8], compression: Compression, cap: u64) -> u64 {
    let length = packed.len() as u64;
    let bound = match (compression, packed.last_chunk::<4>()) {
        (Compression::None, _) => length,
        (Compression::Gzip, Some(size)) => u64::from(u32::from_le_bytes(*size)),
        _ => length.saturating_mul(MAX_RATIO),
    };
    bound.min(cap)
}

/// Unpacks, verifies and parses. `bound` is from [`unpacked_bound`].
pub(super) fn take_in(
    packed: Vec<u8>,
    bound: u64,
    name: &RunLogName,
    nodes: &NodeTable,
    settings: &StoreSettings,
) -> Result<Intake, Disposition> {
    let node = &name.run_id().node_id;
    if nodes.list().get(node).is_none() {
        return Err(rejected(Reason::UnknownNode, format!("node {node} is not in the node list")));
    }
    let (keys, certificates) = (nodes.signing_keys(node), nodes.certificates(node));
    if keys.is_empty() && certificates.is_empty() {
        return Err(rejected(Reason::NoCertificate, format!("no certificate of node {node} is known")));
    }
    let message = compression::unpack(&packed, name.compression(), bound)
        .map_err(|e| cannot_unpack(&e, name.compression(), settings.max_inflated))?;
    let verified = match keys {
        [] => smime::verify(&message, certificates),
        // Whatever certificate the signature names.
        keys => smime::verify_with_keys(&message, keys),
    };
    let verified = verified.map_err(|e| Rejection {
        reason: Reason::BadSignature,
        detail: e.to_string(),
        // Nothing but the signature tells whether a plain file is whole.
        maybe_incomplete: name.compression() == Compression::None,
    });
    let verified = verified.map_err(Disposition::Rejected)?;
    drop(message);
    drop(packed);
    let parsed = Parsed::parse(verified.text, node, &settings.skip_event_types)
        .map_err(|e| rejected(Reason::BadContent, e.to_string()))?;
    let results = RunResults::of_run_log(parsed.log());
    Ok(Intake { parsed, results, digest: verified.digest, nuls: verified.nuls })
}

fn cannot_unpack(error: &CompressionError, compression: Compression, cap: u64) -> Disposition {
    match error {
        CompressionError::TooLarge(bound) if *bound >= cap => rejected(Reason::TooLarge, error.to_string()),
        // The trailer that was taken for the size is no trailer yet, or it lies.
        CompressionError::TooLarge(_) => maybe_incomplete(
            Reason::BadCompression,
            "the gzip trailer gives another size than the content has",
        ),
        CompressionError::Truncated => maybe_incomplete(Reason::BadCompression, error.to_string()),
        // The directory of a zip archive is at its end.
        _ if compression == Compression::Zip => maybe_incomplete(Reason::BadCompression, error.to_string()),
        _ => rejected(Reason::BadCompression, error.to_string()),
    }
}

fn cannot_open(error: Errno) -> Disposition {
    match error {
        Errno::NOENT => Disposition::Accepted(Outcome::Vanished),
        Errno::LOOP | Errno::NXIO => rejected(Reason::NotAFile, "a link or a socket"),
        other => cannot_read(other.into()),
    }
}

fn cannot_read(error: io::Error) -> Disposition {
    let detail = format!("cannot read the file: {error}");
    match Errno::from_io_error(&error) {
        Some(Errno::IO) => rejected(Reason::Unreadable, detail),
        // No permission, no descriptors, no memory: may be better later.
        _ => {
            Disposition::Released(Release { outlet_down: false, detail, retry_after: None, is_usual: false })
        }
    }
}

/// A rejection whatever the age of the file.
pub(super) fn rejected(reason: Reason, detail: impl Into<String>) -> Disposition {
    Disposition::Rejected(Rejection { reason, detail: detail.into(), maybe_incomplete: false })
}

fn maybe_incomplete(reason: Reason, detail: impl Into<String>) -> Disposition {
    Disposition::Rejected(Rejection { reason, detail: detail.into(), maybe_incomplete: true })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_read_now_waits_and_a_broken_one_does_not() {
        for errno in [Errno::ACCESS, Errno::PERM, Errno::MFILE, Errno::NOMEM] {
            let disposition = cannot_open(errno);
            assert!(
                matches!(disposition, Disposition::Released(Release { outlet_down: false, .. })),
                "{errno}: {disposition:?}"
            );
        }
        assert!(matches!(cannot_open(Errno::IO), Disposition::Rejected(_)));
    }
}
