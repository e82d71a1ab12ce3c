// SPDX-License-Identifier: Apache-2.0
//! Hash and signature of a file, made and checked without having the file in memory (protocol 6.3).

use std::{fmt, str::FromStr};

use base64::{Engine, prelude::BASE64_STANDARD};
use openssl::{
    error::ErrorStack,
    hash::{Hasher as DigestHasher, MessageDigest},
    md::{Md, MdRef},
    pkey::{HasPublic, Id, PKey, PKeyRef, Private, Public},
    pkey_ctx::PkeyCtx,
    rsa::Rsa,
};

use crate::public_key::is_accepted;

/// Which hash is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Algorithm {
    /// SHA-256.
    Sha256,
    /// SHA-512: what senders use.
    #[default]
    Sha512,
}

/// Hash of a file.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct FileHash(Box<[u8]>);

/// Takes a file piece by piece.
pub struct Hasher(DigestHasher);

/// The key of a sender as metadata hold it: PKCS#1 of an RSA key, or the SubjectPublicKeyInfo of a P-256 one.
#[derive(Clone, PartialEq, Eq)]
pub struct SenderKey {
    der: Vec<u8>,
    spki: Vec<u8>,
}

impl Algorithm {
    /// Its name in metadata.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// Length of a hash, in bytes.
    pub fn length(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }

    /// A hash of no bytes yet.
    pub fn hasher(self) -> Result<Hasher, ErrorStack> {
        let digest = match self {
            Self::Sha256 => MessageDigest::sha256(),
            Self::Sha512 => MessageDigest::sha512(),
        };
        DigestHasher::new(digest).map(Hasher)
    }

    /// Signs a file of this hash.
    pub fn sign(self, hash: &FileHash, key: &PKeyRef<Private>) -> Result<Vec<u8>, ErrorStack> {
        let mut context = PkeyCtx::new(key)?;
        context.sign_init()?;
        context.set_signature_md(self.md())?;
        let mut signature = Vec::new();
        context.sign_to_vec(&hash.0, &mut signature)?;
        Ok(signature)
    }

    /// Whether this key signed a file of this hash.
    pub fn is_signed(self, hash: &FileHash, signature: &[u8], key: &SenderKey) -> bool {
        let verify = |key: PKey<Public>| {
            let mut context = PkeyCtx::new(&key)?;
            context.verify_init()?;
            context.set_signature_md(self.md())?;
            context.verify(&hash.0, signature)
        };
        // A malformed signature is an error to OpenSSL, and a wrong one to us.
        PKey::public_key_from_der(&key.spki).and_then(verify).unwrap_or(false)
    }

    fn md(self) -> &'static MdRef {
        match self {
            Self::Sha256 => Md::sha256(),
            Self::Sha512 => Md::sha512(),
        }
    }
}

impl FromStr for Algorithm {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::Sha256, Self::Sha512].into_iter().find(|one| one.name() == text).ok_or(())
    }
}

impl Hasher {
    /// Takes the next piece.
    pub fn update(&mut self, piece: &[u8]) -> Result<(), ErrorStack> {
        self.0.update(piece)
    }

    /// The hash of all pieces.
    pub fn finish(mut self) -> Result<FileHash, ErrorStack> {
        Ok(FileHash(self.0.finish()?.to_vec().into()))
    }
}

impl FileHash {
    /// The hash of this algorithm in hexadecimal; `None` when it has another length, or is none.
    pub fn from_hex(digits: &str, algorithm: Algorithm) -> Option<Self> {
        let bytes = hex::decode(digits).ok()?;
        (bytes.len() == algorithm.length()).then(|| Self(bytes.into()))
    }

    /// The hash of either algorithm in hexadecimal.
    pub fn from_any_hex(digits: &str) -> Option<Self> {
        [Algorithm::Sha256, Algorithm::Sha512].into_iter().find_map(|one| Self::from_hex(digits, one))
    }
}

impl fmt::Display for FileHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl fmt::Debug for FileHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl SenderKey {
    /// The public half of a key.
    pub fn of<T: HasPublic>(key: &PKeyRef<T>) -> Result<Self, ErrorStack> {
        let spki = key.public_key_to_der()?;
        let der = match key.id() {
            Id::RSA => key.rsa()?.public_key_to_der_pkcs1()?,
            _ => spki.clone(),
        };
        Ok(Self { der, spki })
    }

    /// Reads base64 of the DER. `None` for what is no key, or one that no node may have.
    pub fn from_base64(text: &str) -> Option<Self> {
        let der = BASE64_STANDARD.decode(text).ok()?;
        let key = match Rsa::public_key_from_der_pkcs1(&der) {
            Ok(rsa) => PKey::from_rsa(rsa).ok()?,
            Err(_) => PKey::public_key_from_der(&der).ok().filter(|key| key.id() == Id::EC)?,
        };
        let read = Self::of(&key).ok()?;
        // OpenSSL overlooks what follows a key, and what is written in more than one way.
        (is_accepted(&key) && read.der == der).then_some(read)
    }

    /// As in metadata.
    pub fn to_base64(&self) -> String {
        BASE64_STANDARD.encode(&self.der)
    }

    /// Its DER SubjectPublicKeyInfo, whose hash is that of the node.
    pub fn spki_der(&self) -> &[u8] {
        &self.spki
    }

    /// Last 8 hexadecimal digits of the modulus, or of the point, in upper case: what metadata call `keyid`.
    pub fn key_id(&self) -> String {
        let modulus = Rsa::public_key_from_der_pkcs1(&self.der).map(|rsa| rsa.n().to_vec());
        let bytes = modulus.unwrap_or_else(|_| self.spki.clone());
        hex::encode_upper(&bytes[bytes.len().saturating_sub(4)..])
    }
}

impl fmt::Debug for SenderKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SenderKey").field(&self.key_id()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::private_key::{self, KeyKind};

    fn hash_of(algorithm: Algorithm, pieces: &[&[u8]]) -> FileHash {
        let mut hasher = algorithm.hasher().unwrap();
        pieces.iter().for_each(|piece| hasher.update(piece).unwrap());
        hasher.finish().unwrap()
    }

    #[test]
    fn both_kinds_of_keys_sign_with_both_algorithms() {
        let rsa = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
        let other = private_key::generate(KeyKind::P256).unwrap();
        for key in [&rsa, &private_key::generate(KeyKind::P256).unwrap()] {
            for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
                let hash = hash_of(algorithm, &[b"a ", b"file"]);
                let signature = algorithm.sign(&hash, key).unwrap();
                let sender = SenderKey::of(key).unwrap();
                let read = SenderKey::from_base64(&sender.to_base64()).unwrap();
                assert_eq!(read, sender);
                assert!(algorithm.is_signed(&hash, &signature, &read));
                assert!(!algorithm.is_signed(&hash_of(algorithm, &[b"a fil3"]), &signature, &read));
                assert!(!algorithm.is_signed(&hash, &signature[1..], &read));
                assert!(!algorithm.is_signed(&hash, &signature, &SenderKey::of(&other).unwrap()));
                assert_eq!(sender.key_id().len(), 8);
            }
        }
    }

    #[test]
    fn stock_openssl_agrees() {
        let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
        let signature = Algorithm::Sha512.sign(&hash_of(Algorithm::Sha512, &[b"a file"]), &key).unwrap();
        let mut verifier = openssl::sign::Verifier::new(MessageDigest::sha512(), &key).unwrap();
        assert!(verifier.verify_oneshot(&signature, b"a file").unwrap());
    }

    #[test]
    fn weak_keys_and_what_follows_a_key_are_refused() {
        let weak = PKey::from_rsa(Rsa::generate(1024).unwrap()).unwrap();
        assert!(SenderKey::from_base64(&SenderKey::of(&weak).unwrap().to_base64()).is_none());
        let good = SenderKey::of(&PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap()).unwrap();
        let longer = BASE64_STANDARD.encode([&good.der[..], b"x"].concat());
        let spki = BASE64_STANDARD.encode(&good.spki);
        for text in ["", "myshortpubkey", "AAAA", &longer, &spki] {
            assert!(SenderKey::from_base64(text).is_none(), "{text}");
        }
    }

    #[test]
    fn hashes_have_the_length_of_their_algorithm() {
        let digits = "00".repeat(32);
        assert!(FileHash::from_hex(&digits, Algorithm::Sha256).is_some());
        assert!(FileHash::from_hex(&digits, Algorithm::Sha512).is_none());
        assert_eq!(FileHash::from_any_hex(&digits).unwrap().to_string(), digits);
        for digits in ["", "test", "zz", &"0".repeat(63)] {
            assert!(FileHash::from_any_hex(digits).is_none(), "{digits}");
        }
    }
}
