// SPDX-License-Identifier: Apache-2.0
//! Hashes that go over the wire: key hashes in their notations (protocol 1.4), queue ids, digests of files.

use std::{fmt, str::FromStr};

use base64::{Engine, prelude::BASE64_STANDARD};
use openssl::sha::{sha256, sha512};
use serde::{Deserialize, Serialize};

/// A key, by the digest of its DER SubjectPublicKeyInfo: what pins and node lists hold.
///
/// In JSON it is a text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum KeyHash {
    /// SHA-256.
    Sha256([u8; 32]),
    /// SHA-512.
    Sha512([u8; 64]),
}

impl KeyHash {
    /// The SHA-256 key hash of a DER SubjectPublicKeyInfo.
    pub fn sha256_of(spki_der: &[u8]) -> Self {
        Self::Sha256(sha256(spki_der))
    }

    /// Whether this is the hash of that DER SubjectPublicKeyInfo.
    pub fn matches(&self, spki_der: &[u8]) -> bool {
        match self {
            Self::Sha256(hash) => *hash == sha256(spki_der),
            Self::Sha512(hash) => *hash == sha512(spki_der),
        }
    }
}

/// Why a text is not a key hash.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a key hash: expected sha256//<base64>, sha512//<base64>, sha256:<hex> or sha512:<hex>")]
pub struct KeyHashError(String);

impl FromStr for KeyHash {
    type Err = KeyHashError;

    fn from_str(text: &str) -> Result<Self, KeyHashError> {
        let (algorithm, bytes) = match text.split_once("//") {
            Some((algorithm, digits)) => (algorithm, BASE64_STANDARD.decode(digits).ok()),
            None => match text.split_once(':') {
                Some((algorithm, digits)) => (algorithm, hex::decode(digits).ok()),
                None => ("", None),
            },
        };
        let hash = bytes.and_then(|bytes| match algorithm {
            "sha256" => bytes.try_into().ok().map(Self::Sha256),
            "sha512" => bytes.try_into().ok().map(Self::Sha512),
            _ => None,
        });
        hash.ok_or_else(|| KeyHashError(text.to_owned()))
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sha256(hash) => write!(f, "sha256//{}", BASE64_STANDARD.encode(hash)),
            Self::Sha512(hash) => write!(f, "sha512//{}", BASE64_STANDARD.encode(hash)),
        }
    }
}

impl TryFrom<String> for KeyHash {
    type Error = KeyHashError;

    fn try_from(text: String) -> Result<Self, KeyHashError> {
        text.parse()
    }
}

impl From<KeyHash> for String {
    fn from(hash: KeyHash) -> String {
        hash.to_string()
    }
}

/// SHA-256 of the content of a file; as text 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContentDigest(pub [u8; 32]);

impl ContentDigest {
    /// The digest of that content.
    pub fn of(content: &[u8]) -> Self {
        Self(sha256(content))
    }
}

/// Why a text is not the digest of a content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a SHA-256 digest has 64 lower-case hexadecimal digits")]
pub struct ContentDigestError;

impl FromStr for ContentDigest {
    type Err = ContentDigestError;

    fn from_str(text: &str) -> Result<Self, ContentDigestError> {
        let mut digest = [0; 32];
        // One notation only: a digest is a file name, too.
        let lower = !text.bytes().any(|b| b.is_ascii_uppercase());
        match hex::decode_to_slice(text, &mut digest) {
            Ok(()) if lower => Ok(Self(digest)),
            _ => Err(ContentDigestError),
        }
    }
}

impl fmt::Display for ContentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl TryFrom<String> for ContentDigest {
    type Error = ContentDigestError;

    fn try_from(text: String) -> Result<Self, ContentDigestError> {
        text.parse()
    }
}

impl From<ContentDigest> for String {
    fn from(digest: ContentDigest) -> String {
        digest.to_string()
    }
}

/// The id under which every hop logs a file: the first 16 bytes of the SHA-256 of its name, in
/// upper-case hexadecimal (protocol 2.7). The same on every hop because names are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct QueueId([u8; 16]);

impl QueueId {
    /// The queue id of a file with this name (no directory).
    pub fn of_file_name(name: &str) -> Self {
        let mut id = [0; 16];
        id.copy_from_slice(&sha256(name.as_bytes())[..16]);
        Self(id)
    }
}

impl fmt::Display for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode_upper(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_all_notations() {
        let spki = b"any bytes do";
        for text in [
            KeyHash::sha256_of(spki).to_string(),
            format!("sha256:{}", hex::encode(sha256(spki))),
            format!("sha512:{}", hex::encode(sha512(spki))),
            KeyHash::Sha512(sha512(spki)).to_string(),
        ] {
            let hash: KeyHash = text.parse().unwrap();
            assert!(hash.matches(spki) && !hash.matches(b"others"), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_malformed_or_of_another_length() {
        for text in ["", "sha256:", "sha256//", "sha256//AAAA", "md5:00", "sha512:00", "sha256:zz", "abc"] {
            assert!(text.parse::<KeyHash>().is_err(), "{text}");
        }
    }

    #[test]
    fn queue_ids_are_the_start_of_the_digest_of_the_name() {
        assert_eq!(QueueId::of_file_name("").to_string(), "E3B0C44298FC1C149AFBF4C8996FB924");
    }
}
