// SPDX-License-Identifier: Apache-2.0
//! Metadata of a shared file: `key=value` lines (protocol 6.3, version 1.1).

use std::{fmt, io};

use openssl::{
    error::ErrorStack,
    pkey::{PKeyRef, Private},
};

use super::signature::{Algorithm, FileHash, SenderKey};

/// Most bytes of metadata, the empty line after them included.
pub const MAX_SIZE: usize = 16 * 1024;

const HEADER: &str = "rudder-signature-v1";

/// What is known of a shared file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// Which hash is signed.
    pub algorithm: Algorithm,
    /// The signature.
    pub digest: Vec<u8>,
    /// Hash of the file, as the sender says.
    pub hash_value: FileHash,
    /// Key that made the signature, as the sender says.
    pub short_pubkey: SenderKey,
    /// Host name of the sender, informative.
    pub hostname: String,
    /// Date of its key, informative.
    pub keydate: String,
    /// Short id of its key, informative.
    pub keyid: String,
    /// Until when the file is kept, in seconds of Unix time. Policy servers set it.
    pub expires: Option<i64>,
}

/// Why metadata are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// Not UTF-8, or control characters within a line.
    #[error("the metadata are not UTF-8 text")]
    NotText,
    /// More than [`MAX_SIZE`].
    #[error("the metadata are larger than {MAX_SIZE} bytes, or no empty line follows them")]
    TooLarge,
    /// A key is there more than once.
    #[error("the metadata say {0} twice")]
    Twice(&'static str),
    /// A key is not there.
    #[error("the metadata do not say {0}")]
    Missing(&'static str),
    /// A value is not what this key has.
    #[error("the metadata have a wrong {0}")]
    Wrong(&'static str),
}

/// Keys, in the order in which they are written.
const KEYS: [&str; 9] = [
    "header",
    "algorithm",
    "digest",
    "hash_value",
    "short_pubkey",
    "hostname",
    "keydate",
    "keyid",
    "expires",
];

impl Metadata {
    /// Reads metadata. The order of lines does not matter; lines without `=` and keys that nobody knows are
    /// passed over.
    pub fn parse(text: &[u8]) -> Result<Self, MetadataError> {
        if text.len() > MAX_SIZE {
            return Err(MetadataError::TooLarge);
        }
        let text = std::str::from_utf8(text).map_err(|_| MetadataError::NotText)?;
        let mut values: [Option<&str>; KEYS.len()] = [None; KEYS.len()];
        for (key, value) in text.lines().filter_map(|line| line.split_once('=')) {
            let Some(at) = KEYS.iter().position(|known| *known == key) else { continue };
            if value.contains(char::is_control) {
                return Err(MetadataError::NotText);
            }
            if values[at].replace(value).is_some() {
                return Err(MetadataError::Twice(KEYS[at]));
            }
        }
        let [header, algorithm, digest, hash_value, short_pubkey, hostname, keydate, keyid, expires] = values;
        let needed =
            |value: Option<&'_ str>, key| value.map(str::to_owned).ok_or(MetadataError::Missing(key));
        if needed(header, "header")? != HEADER {
            return Err(MetadataError::Wrong("header"));
        }
        let algorithm: Algorithm =
            needed(algorithm, "algorithm")?.parse().map_err(|()| MetadataError::Wrong("algorithm"))?;
        let hash_value = FileHash::from_hex(&needed(hash_value, "hash_value")?, algorithm)
            .ok_or(MetadataError::Wrong("hash_value"))?;
        let digest = hex::decode(needed(digest, "digest")?).ok().filter(|digest| !digest.is_empty());
        let short_pubkey = SenderKey::from_base64(&needed(short_pubkey, "short_pubkey")?);
        let expires = expires.map(|text| text.parse().map_err(|_| MetadataError::Wrong("expires")));
        Ok(Self {
            algorithm,
            digest: digest.ok_or(MetadataError::Wrong("digest"))?,
            hash_value,
            short_pubkey: short_pubkey.ok_or(MetadataError::Wrong("short_pubkey"))?,
            hostname: needed(hostname, "hostname")?,
            keydate: needed(keydate, "keydate")?,
            keyid: needed(keyid, "keyid")?,
            expires: expires.transpose()?,
        })
    }

    /// Metadata of a file of this hash, signed with SHA-512 as all senders do. `hostname` and `keydate` must
    /// be one line each.
    pub fn sign(
        hash_value: FileHash,
        key: &PKeyRef<Private>,
        hostname: &str,
        keydate: &str,
    ) -> Result<Self, ErrorStack> {
        let (algorithm, short_pubkey) = (Algorithm::Sha512, SenderKey::of(key)?);
        let line = |text: &str| text.chars().filter(|c| !c.is_control()).take(255).collect();
        Ok(Self {
            algorithm,
            digest: algorithm.sign(&hash_value, key)?,
            hash_value,
            keyid: short_pubkey.key_id(),
            short_pubkey,
            hostname: line(hostname),
            keydate: line(keydate),
            expires: None,
        })
    }

    /// Whether the signature is that of a file of this hash, which also is the hash that the sender says.
    pub fn is_of(&self, hash: &FileHash) -> bool {
        self.hash_value == *hash && self.algorithm.is_signed(hash, &self.digest, &self.short_pubkey)
    }

    /// Whether its time is over; metadata that do not say when are kept.
    pub fn has_expired(&self, now: i64) -> bool {
        self.expires.is_some_and(|expires| expires < now)
    }
}

impl fmt::Display for Metadata {
    /// As it is stored: keys in the order of the protocol, each with a line end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (digest, key) = (hex::encode(&self.digest), self.short_pubkey.to_base64());
        writeln!(f, "header={HEADER}\nalgorithm={}\ndigest={digest}", self.algorithm.name())?;
        writeln!(f, "hash_value={}\nshort_pubkey={key}", self.hash_value)?;
        writeln!(f, "hostname={}\nkeydate={}\nkeyid={}", self.hostname, self.keydate, self.keyid)?;
        self.expires.map_or(Ok(()), |expires| writeln!(f, "expires={expires}"))
    }
}

/// Where metadata end at the start of an upload: at how many bytes the file begins. `None` when the empty
/// line is not there yet.
///
/// **Errors**: [`MetadataError::TooLarge`] when it is not where it must be at the latest.
pub fn split(start: &[u8]) -> Result<Option<usize>, MetadataError> {
    let mut line = 0;
    while let Some(end) = memchr::memchr(b'\n', &start[line..]).map(|at| line + at) {
        if end >= MAX_SIZE {
            break;
        }
        if matches!(&start[line..end], b"" | b"\r") {
            return Ok(Some(end + 1));
        }
        line = end + 1;
    }
    if start.len() > MAX_SIZE { Err(MetadataError::TooLarge) } else { Ok(None) }
}

impl From<MetadataError> for io::Error {
    fn from(error: MetadataError) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

#[cfg(test)]
mod tests {
    use openssl::{pkey::PKey, rsa::Rsa};
    use proptest::prelude::*;

    use super::*;

    fn signed() -> Metadata {
        let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
        let mut hasher = Algorithm::Sha512.hasher().unwrap();
        hasher.update(b"a file").unwrap();
        let hash = hasher.finish().unwrap();
        Metadata::sign(hash, &key, "node1.example", "2023-11-16 10:46:17.981062497 +0000").unwrap()
    }

    #[test]
    fn metadata_are_written_and_read_in_any_order() {
        let mut metadata = signed();
        assert!(metadata.is_of(&metadata.hash_value));
        for expires in [None, Some(2_061_475_500)] {
            metadata.expires = expires;
            let text = metadata.to_string();
            assert_eq!(Metadata::parse(text.as_bytes()), Ok(metadata.clone()));
            let mut lines: Vec<_> = text.lines().rev().collect();
            lines.insert(3, "a line of no key");
            lines.insert(2, "comment=ignored=twice");
            lines.insert(2, "comment=ignored=twice");
            assert_eq!(Metadata::parse(lines.join("\r\n").as_bytes()), Ok(metadata.clone()));
            let keys: Vec<_> = text.lines().map(|line| line.split_once('=').unwrap().0).collect();
            assert_eq!(keys[..8], KEYS[..8]);
            assert_eq!(keys.len(), if expires.is_some() { 9 } else { 8 });
        }
        assert!(metadata.has_expired(2_061_475_501) && !metadata.has_expired(2_061_475_500));
    }

    #[test]
    fn each_rule_refuses() {
        let good = Metadata { expires: Some(5), ..signed() }.to_string();
        for key in &KEYS[..8] {
            let without: String = good
                .lines()
                .filter(|l| !l.starts_with(&format!("{key}=")))
                .map(|l| format!("{l}\n"))
                .collect();
            assert_eq!(Metadata::parse(without.as_bytes()), Err(MetadataError::Missing(key)));
        }
        for key in KEYS {
            let twice = format!("{good}{key}=5\n");
            assert_eq!(Metadata::parse(twice.as_bytes()), Err(MetadataError::Twice(key)));
        }
        let wrong = |key: &'static str, value: &str| {
            let changed: String = good
                .lines()
                .map(|l| {
                    if l.starts_with(&format!("{key}=")) {
                        format!("{key}={value}\n")
                    } else {
                        format!("{l}\n")
                    }
                })
                .collect();
            assert_eq!(Metadata::parse(changed.as_bytes()), Err(MetadataError::Wrong(key)), "{value}");
        };
        wrong("header", "rudder-signature-v2");
        wrong("algorithm", "md5");
        wrong("algorithm", "SHA512");
        wrong("digest", "the_digest");
        wrong("digest", "");
        wrong("hash_value", "00");
        wrong("short_pubkey", "myshortpubkey");
        wrong("expires", "soon");
        wrong("expires", "");
        assert_eq!(Metadata::parse(b"\xff"), Err(MetadataError::NotText));
        let control = good.replace("node1", "node\u{1b}1");
        assert_eq!(Metadata::parse(control.as_bytes()), Err(MetadataError::NotText));
        let large = format!("{good}{}", "x\n".repeat(MAX_SIZE));
        assert_eq!(Metadata::parse(large.as_bytes()), Err(MetadataError::TooLarge));
    }

    #[test]
    fn the_file_begins_after_the_first_empty_line() {
        for (start, at) in [
            (&b"a=b\nc=d\n\n\nfile"[..], Some(9)),
            (b"a=b\r\n\r\nfile", Some(7)),
            (b"\nfile", Some(1)),
            (b"a=b\n", None),
            (b"a=b\nc", None),
            (b"", None),
        ] {
            assert_eq!(split(start), Ok(at));
        }
        assert_eq!(split(&vec![b'x'; MAX_SIZE + 1]), Err(MetadataError::TooLarge));
        assert_eq!(split(&[&vec![b'x'; MAX_SIZE][..], b"\n\n"].concat()), Err(MetadataError::TooLarge));
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_the_same(hostname in "[^\\p{C}]{0,40}", expires in any::<i64>(), cut in 0_usize..3_000) {
            let metadata = Metadata { hostname, expires: Some(expires), ..fixed().clone() };
            let text = metadata.to_string();
            prop_assert_eq!(Metadata::parse(text.as_bytes()), Ok(metadata));
            // Whatever is cut off, nothing panics.
            let _ = Metadata::parse(&text.as_bytes()[..cut.min(text.len())]);
        }
    }

    fn fixed() -> &'static Metadata {
        static FIXED: std::sync::LazyLock<Metadata> = std::sync::LazyLock::new(signed);
        &FIXED
    }
}
