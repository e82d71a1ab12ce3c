// SPDX-License-Identifier: Apache-2.0
//! What a client says about its copy: `hash` and `hash_type` (protocol 7.5).

use std::io;

use crate::files::{Files, OpenFile};

/// The digest of the copy that a client has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// SHA-256.
    Sha256([u8; 32]),
    /// SHA-512.
    Sha512([u8; 64]),
}

impl Claim {
    /// Reads the query; `None` when it names no hash.
    ///
    /// **Errors**: what is wrong with it.
    pub fn read(query: Option<&str>) -> Result<Option<Self>, String> {
        let (mut digits, mut kind) = (None, None);
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            match &*name {
                "hash" => digits = Some(value),
                "hash_type" => kind = Some(value),
                _ => {}
            }
        }
        let is_long = match kind.as_deref() {
            None | Some("" | "sha256") => false,
            Some("sha512") => true,
            Some(_) => return Err("hash_type is neither sha256 nor sha512".into()),
        };
        let Some(digits) = digits.filter(|digits| !digits.is_empty()) else { return Ok(None) };
        let bytes = hex::decode(&*digits).map_err(|_| "hash is not hexadecimal")?;
        let claim =
            if is_long { bytes.try_into().map(Self::Sha512) } else { bytes.try_into().map(Self::Sha256) };
        claim.map(Some).map_err(|_| "hash has not the length of its type".into())
    }

    /// Whether the file is the same.
    pub async fn holds(&self, files: &Files, file: &OpenFile) -> io::Result<bool> {
        Ok(match self {
            Self::Sha256(digest) => files.digest(file).await? == *digest,
            Self::Sha512(digest) => files.long_digest(file).await? == *digest,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_a_digest_of_a_known_kind() {
        let (short, long) = ("0a".repeat(32), "0b".repeat(64));
        let sha256 = Ok(Some(Claim::Sha256([10; 32])));
        for (query, expected) in [
            (None, Ok(None)),
            (Some(String::new()), Ok(None)),
            (Some("hash=".into()), Ok(None)),
            (Some("hash_type=sha256".into()), Ok(None)),
            (Some(format!("hash={short}")), sha256.clone()),
            (Some(format!("hash={}", short.to_uppercase())), sha256.clone()),
            (Some(format!("x=y&hash_type=sha256&hash={short}")), sha256),
            (Some(format!("hash={long}&hash_type=sha512")), Ok(Some(Claim::Sha512([11; 64])))),
        ] {
            assert_eq!(Claim::read(query.as_deref()), expected, "{query:?}");
        }
        for query in [
            "hash=test".to_owned(),
            format!("hash={long}"),
            format!("hash={short}&hash_type=sha512"),
            format!("hash={short}&hash_type=md5"),
            format!("hash={short}&hash_type=SHA256"),
            format!("hash={short}0"),
            "hash=%00".into(),
            "hash_type=md5".into(),
        ] {
            assert!(Claim::read(Some(&query)).is_err(), "{query}");
        }
    }
}
