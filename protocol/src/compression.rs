// SPDX-License-Identifier: Apache-2.0
//! Bounded decompression and compression of uploads (protocol 2.6).

use std::borrow::Cow;

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
    /// Not in that format at all.
    #[error("not valid {0} data: {1}")]
    Invalid(&'static str, String),
}

/// Unpacks `packed`, spending memory for at most `cap` bytes, and less when it turns out to be a bomb.
pub fn unpack(packed: &[u8], compression: Compression, cap: u64) -> Result<Cow<'_, [u8]>, CompressionError> {
    let _ = (packed, compression, cap);
    todo!()
}

/// Packs into one gzip member.
pub fn gzip(content: &[u8]) -> Vec<u8> {
    let _ = content;
    todo!()
}
