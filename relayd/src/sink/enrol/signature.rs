// SPDX-License-Identifier: Apache-2.0
//! Signature files of inventories (protocol 6.3): `key=value` lines, of which two matter.

use openssl::{
    md::Md,
    pkey::{PKey, Public},
    pkey_ctx::PkeyCtx,
};
use protocol::public_key::is_accepted;

/// The signature of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Signature(Vec<u8>);

/// Largest signature file, in bytes.
pub(super) const MAX_SIZE: u64 = 64 * 1024;

/// Why a signature file is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum SignatureError {
    #[error("the signature file is not UTF-8")]
    NotText,
    #[error("the signature file says {0} twice")]
    Twice(&'static str),
    #[error("the signature file does not start with header=rudder-signature-v1")]
    Header,
    #[error("the algorithm of the signature is not sha512")]
    Algorithm,
    #[error("the digest of the signature file is missing or not hexadecimal")]
    Digest,
}

impl Signature {
    /// Reads a signature file.
    pub(super) fn read(file: &[u8]) -> Result<Self, SignatureError> {
        let text = std::str::from_utf8(file).map_err(|_| SignatureError::NotText)?;
        let find = |name: &'static str| {
            let mut values = text.lines().filter_map(|line| line.split_once('=')).filter(|(k, _)| *k == name);
            let first = values.next().map(|(_, value)| value.trim());
            if values.next().is_some() { Err(SignatureError::Twice(name)) } else { Ok(first) }
        };
        if find("header")? != Some("rudder-signature-v1") {
            return Err(SignatureError::Header);
        }
        if find("algorithm")? != Some("sha512") {
            return Err(SignatureError::Algorithm);
        }
        let digest = find("digest")?.and_then(|digits| hex::decode(digits).ok());
        digest.filter(|digest| !digest.is_empty()).map(Self).ok_or(SignatureError::Digest)
    }

    /// Whether a key made this signature of a file with that SHA-512 digest.
    pub(super) fn is_by(&self, spki: &[u8], digest: &[u8; 64]) -> bool {
        let verify = |key: PKey<Public>| {
            if !is_accepted(&key) {
                return Ok(false);
            }
            let mut context = PkeyCtx::new(&key)?;
            context.verify_init()?;
            context.set_signature_md(Md::sha512())?;
            context.verify(digest, &self.0)
        };
        // A malformed signature is an error to OpenSSL, and a wrong one to us.
        PKey::public_key_from_der(spki).and_then(verify).unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use std::{env, fs, path::PathBuf};

    use openssl::{hash::MessageDigest, rsa::Rsa, sha::sha512, sign::Signer};
    use protocol::{
        inventory::{self, check},
        private_key::{self, KeyKind},
    };

    use super::*;

    fn file(digest: &str) -> String {
        format!("header=rudder-signature-v1\nalgorithm=sha512\ndigest={digest}\nhostname=a=b\nkeyid=0\r\n")
    }

    #[test]
    fn signatures_of_both_kinds_of_keys_are_verified() {
        let rsa = |bits| PKey::from_rsa(Rsa::generate(bits).unwrap()).unwrap();
        for key in [private_key::generate(KeyKind::P256).unwrap(), rsa(2048)] {
            let mut signer = Signer::new(MessageDigest::sha512(), &key).unwrap();
            let digits = hex::encode(signer.sign_oneshot_to_vec(b"inventory").unwrap());
            let signature = Signature::read(file(&digits).as_bytes()).unwrap();
            let spki = key.public_key_to_der().unwrap();
            assert!(signature.is_by(&spki, &sha512(b"inventory")));
            assert!(!signature.is_by(&spki, &sha512(b"other")));
            let other = private_key::generate(KeyKind::P256).unwrap().public_key_to_der().unwrap();
            assert!(!signature.is_by(&other, &sha512(b"inventory")));
            assert!(!Signature(vec![1, 2]).is_by(&spki, &sha512(b"inventory")));
        }
        let weak = rsa(1024);
        let signature =
            Signer::new(MessageDigest::sha512(), &weak).unwrap().sign_oneshot_to_vec(b"x").unwrap();
        assert!(!Signature(signature).is_by(&weak.public_key_to_der().unwrap(), &sha512(b"x")));
    }

    #[test]
    fn refuses_what_is_no_such_file() {
        let good = file("00ff");
        assert!(Signature::read(good.as_bytes()).is_ok());
        for (text, expected) in [
            (good.replace("v1", "v2"), SignatureError::Header),
            (good.replace("sha512", "sha256"), SignatureError::Algorithm),
            (good.replace("00ff", "0"), SignatureError::Digest),
            (good.replace("00ff", ""), SignatureError::Digest),
            (good.replace("digest", "other"), SignatureError::Digest),
            (format!("{good}digest=00\n"), SignatureError::Twice("digest")),
            (String::new(), SignatureError::Header),
        ] {
            assert_eq!(Signature::read(text.as_bytes()), Err(expected), "{text}");
        }
        assert_eq!(Signature::read(b"\xff"), Err(SignatureError::NotText));
    }

    /// Each is signed with the key of the certificate in it.
    #[test]
    fn signatures_of_existing_agents_are_verified() {
        let beside = || concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/fixtures").into();
        let samples = env::var_os("RELAYD_FIXTURES").map_or_else(beside, PathBuf::from).join("inventories");
        let Ok(files) = fs::read_dir(&samples) else {
            eprintln!("SKIPPED: no compatibility samples here; RELAYD_FIXTURES can name their directory");
            return;
        };
        let files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
        let documents: Vec<_> =
            files.iter().filter(|file| file.extension().is_some_and(|e| e == "ocs")).collect();
        assert_eq!(documents.len(), 6);
        for file in documents {
            let document = fs::read(file).unwrap();
            let checked = check::content(inventory::read(&document).unwrap()).unwrap();
            let certificate = check::certificate(&checked).unwrap();
            let signature = Signature::read(&fs::read(file.with_extension("ocs.sign")).unwrap()).unwrap();
            let spki = certificate.spki_der();
            assert!(signature.is_by(spki, &sha512(&document)), "{}", file.display());
            assert!(!signature.is_by(spki, &sha512(&document[1..])), "{}", file.display());
        }
    }
}
