// SPDX-License-Identifier: Apache-2.0
//! What a path led to, as it is kept on the disk: a line with the digest of the rest, and JSON.

use hyper::{
    HeaderMap,
    header::{CONTENT_TYPE, ETAG, HeaderName, HeaderValue, LAST_MODIFIED},
};
use openssl::sha::sha256;
use serde::{Deserialize, Serialize};

use super::key::{Digest, from_hex};

/// What the upstream said about a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The path on the upstream, query included.
    pub path: String,
    /// SHA-256 of the content.
    #[serde(with = "hex")]
    pub digest: Digest,
    /// Length of the content, in bytes.
    pub size: u64,
    /// `ETag`, as it came.
    pub tag: Option<String>,
    /// `Last-Modified`, as it came.
    pub modified: Option<String>,
    /// `Content-Type`, as it came.
    pub content_type: Option<String>,
}

/// Largest file that is read as an entry, in bytes. Paths and headers are far shorter.
pub const MOST: u64 = 64 * 1024;

/// Longest header that is kept, in bytes.
const LONGEST: usize = 1024;

impl Entry {
    /// What an answer of the upstream says. The digest is known when the content is here.
    pub fn of_answer(path: &str, headers: &HeaderMap, size: u64) -> Self {
        let text = |name: HeaderName| {
            let text = headers.get(name).and_then(|value| value.to_str().ok());
            text.filter(|text| text.len() <= LONGEST).map(str::to_owned)
        };
        Self {
            path: path.into(),
            digest: Digest::default(),
            size,
            tag: text(ETAG),
            modified: text(LAST_MODIFIED),
            content_type: text(CONTENT_TYPE),
        }
    }

    /// The kind of the content.
    pub fn content_type(&self) -> HeaderValue {
        let value = self.content_type.as_deref().and_then(|value| HeaderValue::from_str(value).ok());
        value.unwrap_or(HeaderValue::from_static("application/octet-stream"))
    }

    /// As it is written.
    pub fn to_bytes(&self) -> serde_json::Result<Vec<u8>> {
        let json = serde_json::to_vec(self)?;
        Ok([hex::encode(sha256(&json)).as_bytes(), b"\n", &json].concat())
    }

    /// Reads one; `None` when it is not whole, as after a power cut.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (digest, json) = (bytes.get(..64)?, bytes.get(65..)?);
        let digest = from_hex(std::str::from_utf8(digest).ok()?)?;
        (sha256(json) == digest).then(|| serde_json::from_slice(json).ok())?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_wrote_and_nothing_that_was_torn() {
        let entry = Entry {
            path: "/common/x".into(),
            digest: [7; 32],
            size: 9,
            tag: Some("\"a\"".into()),
            modified: None,
            content_type: Some("text/plain".into()),
        };
        let bytes = entry.to_bytes().unwrap();
        assert_eq!(Entry::from_bytes(&bytes), Some(entry));
        for length in 0..bytes.len() {
            assert_eq!(Entry::from_bytes(&bytes[..length]), None, "{length}");
            let mut torn = bytes.clone();
            torn[length..].fill(0);
            assert_eq!(Entry::from_bytes(&torn), None, "{length}");
        }
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            // The line end is not looked at.
            assert!(at == 64 || Entry::from_bytes(&changed).is_none(), "{at}");
        }
    }
}
