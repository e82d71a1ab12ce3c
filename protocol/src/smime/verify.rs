// SPDX-License-Identifier: Apache-2.0
//! The strict reader: signature first, because it is small, then the content.

use std::borrow::Cow;

use base64::{Engine, prelude::BASE64_STANDARD};
use const_oid::{ObjectIdentifier, db::rfc5912};
use memchr::{memchr, memchr_iter};
use openssl::{
    hash::{MessageDigest, hash},
    nid::Nid,
    pkey::{Id, PKey, Public},
    sha::sha256,
    sign::Verifier,
};

use super::{SmimeError, Verified, mime, signed_data, signed_data::Signer};
use crate::{certificate::Certificate, public_key};

/// Largest accepted signature part, in bytes of base64: room for embedded certificates.
const MAX_SIGNATURE: usize = 64 << 10;

pub fn verify(message: &[u8], certificates: &[Certificate]) -> Result<Verified, SmimeError> {
    verify_by(message, |signer, digest| check_signature(signer, digest, certificates))
}

pub fn verify_with_keys(message: &[u8], keys: &[impl AsRef<[u8]>]) -> Result<Verified, SmimeError> {
    verify_by(message, |signer, digest| {
        let mut error = SmimeError::SignerNotFound(0);
        for spki in keys {
            let checked = match PKey::public_key_from_der(spki.as_ref()) {
                Ok(key) => check_with_key(signer, digest, &key),
                Err(_) => Err(SmimeError::Key),
            };
            match checked {
                Ok(()) => return Ok(()),
                Err(e) => error = e,
            }
        }
        Err(error)
    })
}

fn verify_by(
    message: &[u8],
    check: impl FnOnce(&Signer<'_>, MessageDigest) -> Result<(), SmimeError>,
) -> Result<Verified, SmimeError> {
    let parts = mime::split(message)?;
    let der = decode_base64(parts.signature)?;
    let signer = signed_data::read(&der)?;
    let digest_algorithm = accepted_digest(signer.digest_algorithm)?;
    check(&signer, digest_algorithm)?;
    let content = signed_content(parts.signed, &signer, digest_algorithm)?;
    let digest = match digest_algorithm.type_() {
        Nid::SHA256 => signer.message_digest.try_into().map_err(|_| SmimeError::DigestMismatch)?,
        _ => sha256(&content),
    };
    let (text, nuls) = to_text(mime::strip_text_header(&content)?);
    Ok(Verified { text, digest, nuls })
}

fn decode_base64(part: &[u8]) -> Result<Vec<u8>, SmimeError> {
    if part.len() > MAX_SIGNATURE {
        return Err(SmimeError::SignatureTooLarge(MAX_SIGNATURE));
    }
    let digits: Vec<u8> = part.iter().copied().filter(|b| !matches!(b, b'\r' | b'\n')).collect();
    BASE64_STANDARD.decode(digits).map_err(|_| SmimeError::Base64)
}

fn accepted_digest(algorithm: ObjectIdentifier) -> Result<MessageDigest, SmimeError> {
    match algorithm {
        rfc5912::ID_SHA_256 => Ok(MessageDigest::sha256()),
        rfc5912::ID_SHA_384 => Ok(MessageDigest::sha384()),
        rfc5912::ID_SHA_512 => Ok(MessageDigest::sha512()),
        other => Err(SmimeError::Digest(other.to_string())),
    }
}

/// Checks the signature over the attributes with each certificate that the signer can mean.
fn check_signature(
    signer: &Signer<'_>,
    digest: MessageDigest,
    certificates: &[Certificate],
) -> Result<(), SmimeError> {
    let mut error = SmimeError::SignerNotFound(certificates.len());
    for certificate in certificates.iter().filter(|certificate| is_meant(signer, certificate)) {
        let checked = match certificate.public_key() {
            Ok(key) => check_with_key(signer, digest, &key),
            Err(_) => Err(SmimeError::Key),
        };
        match checked {
            Ok(()) => return Ok(()),
            Err(e) => error = e,
        }
    }
    Err(error)
}

fn is_meant(signer: &Signer<'_>, certificate: &Certificate) -> bool {
    signer.serial == certificate.serial() && signer.issuer == certificate.issuer_der()
}

fn check_with_key(signer: &Signer<'_>, digest: MessageDigest, key: &PKey<Public>) -> Result<(), SmimeError> {
    if !public_key::is_accepted(key) {
        return Err(SmimeError::Key);
    }
    let fits = match (key.id(), signer.signature_algorithm) {
        (Id::RSA, rfc5912::RSA_ENCRYPTION) => true,
        (Id::RSA, rfc5912::SHA_256_WITH_RSA_ENCRYPTION) => digest.type_() == Nid::SHA256,
        (Id::RSA, rfc5912::SHA_384_WITH_RSA_ENCRYPTION) => digest.type_() == Nid::SHA384,
        (Id::RSA, rfc5912::SHA_512_WITH_RSA_ENCRYPTION) => digest.type_() == Nid::SHA512,
        (Id::EC, rfc5912::ECDSA_WITH_SHA_256) => digest.type_() == Nid::SHA256,
        (Id::EC, rfc5912::ECDSA_WITH_SHA_384) => digest.type_() == Nid::SHA384,
        (Id::EC, rfc5912::ECDSA_WITH_SHA_512) => digest.type_() == Nid::SHA512,
        _ => false,
    };
    if !fits {
        return Err(SmimeError::Algorithm(signer.signature_algorithm.to_string()));
    }
    let verified = Verifier::new(digest, key)
        .and_then(|mut verifier| verifier.verify_oneshot(signer.signature, &signer.attributes));
    if verified.unwrap_or(false) { Ok(()) } else { Err(SmimeError::BadSignature) }
}

/// The content as it was signed: as it stands, or, when transport changed its line ends, with CRLF.
fn signed_content<'a>(
    part: &'a [u8],
    signer: &Signer<'_>,
    digest: MessageDigest,
) -> Result<Cow<'a, [u8]>, SmimeError> {
    let is_signed = |content: &[u8]| hash(digest, content).is_ok_and(|d| *d == *signer.message_digest);
    if is_signed(part) {
        return Ok(part.into());
    }
    let canonical = with_crlf(part);
    if is_signed(&canonical) { Ok(canonical.into()) } else { Err(SmimeError::DigestMismatch) }
}

/// CRs and LF at the end of a line become one CRLF, CRs at the end of the content go.
fn with_crlf(part: &[u8]) -> Vec<u8> {
    let mut canonical = Vec::with_capacity(part.len() + part.len() / 32);
    let mut rest = part;
    while let Some(end) = memchr(b'\n', rest) {
        canonical.extend_from_slice(trim_crs(&rest[..end]));
        canonical.extend_from_slice(b"\r\n");
        rest = &rest[end + 1..];
    }
    canonical.extend_from_slice(trim_crs(rest));
    canonical
}

fn trim_crs(line: &[u8]) -> &[u8] {
    let crs = line.iter().rev().take_while(|&&b| b == b'\r').count();
    &line[..line.len() - crs]
}

/// Text without what a database cannot hold, and the number of NULs that it had.
fn to_text(log: &[u8]) -> (String, usize) {
    let text = String::from_utf8_lossy(log);
    match memchr_iter(0, log).count() {
        0 => (text.into_owned(), 0),
        nuls => (text.replace('\0', "\u{fffd}"), nuls),
    }
}
