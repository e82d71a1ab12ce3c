// SPDX-License-Identifier: Apache-2.0
//! The file with the signature of an inventory (protocol 6.3, version 1.0).

use chrono::{DateTime, Utc};
use openssl::error::ErrorStack;
use protocol::shared_file::{Algorithm, SenderKey};

use crate::{enrol::hostname, identity::Identity};

/// The signature file for a document; `key_date` is when the key was changed last.
pub fn sign(document: &[u8], identity: &Identity, key_date: DateTime<Utc>) -> Result<String, ErrorStack> {
    let algorithm = Algorithm::Sha512;
    let mut hasher = algorithm.hasher()?;
    hasher.update(document)?;
    let signature = algorithm.sign(&hasher.finish()?, &identity.key)?;
    Ok(format!(
        "header=rudder-signature-v1\nalgorithm={}\ndigest={}\nhostname={}\nkeydate={}\nkeyid={}\n",
        algorithm.name(),
        hex::encode(signature),
        hostname(),
        key_date.format("%Y-%m-%d %H:%M:%S%.9f %z"),
        SenderKey::of(&identity.key)?.key_id(),
    ))
}

#[cfg(test)]
mod tests {
    use openssl::{hash::MessageDigest, sign::Verifier};
    use protocol::private_key::KeyKind;

    use super::*;
    use crate::{
        identity::{InitOptions, init},
        paths::Paths,
    };

    #[test]
    fn the_digest_is_a_plain_signature_of_the_document() {
        let root = tempfile::tempdir().unwrap();
        for key in [KeyKind::P256, KeyKind::Rsa4096] {
            let paths = Paths::below(&root.path().join(format!("{key:?}")));
            let identity = init(&paths, &InitOptions { key, node_id: None }).unwrap().identity;
            let file = sign(b"inventory", &identity, DateTime::UNIX_EPOCH).unwrap();
            let value = |name: &str| {
                file.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).unwrap().to_owned()
            };
            assert_eq!(
                (value("header").as_str(), value("algorithm").as_str()),
                ("rudder-signature-v1", "sha512")
            );
            assert_eq!(value("keydate"), "1970-01-01 00:00:00.000000000 +0000");
            let mut verifier = Verifier::new(MessageDigest::sha512(), &identity.key).unwrap();
            let signature = hex::decode(value("digest")).unwrap();
            assert!(verifier.verify_oneshot(&signature, b"inventory").unwrap());
            if key == KeyKind::Rsa4096 {
                let modulus = hex::encode_upper(identity.key.rsa().unwrap().n().to_vec());
                assert!(modulus.ends_with(&value("keyid")) && value("keyid").len() == 8);
            }
        }
    }
}
