// SPDX-License-Identifier: Apache-2.0
//! S/MIME signatures of run logs (protocol 2.5): `multipart/signed`, detached, no certificates.
//!
//! The reader is strict (design 6): it knows the one shape that agents send and refuses everything
//! else, each for a reason of its own. OpenSSL does the arithmetic, not the reading.
//!
//! ```text
//! message ──mime──▶ signed part ─────────────────────────────▶ digest ─┐
//!              └──▶ signature part ──signed_data──▶ attributes ────────┴─▶ equal? ─▶ Verified
//!                                               └─▶ signature ─▶ key of the certificate?
//! ```

use openssl::{
    error::ErrorStack,
    pkey::{PKeyRef, Private},
};

use crate::certificate::Certificate;

mod mime;
mod sign;
mod signed_data;
mod verify;

/// Text whose signature was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The log: `text/plain` header removed, invalid UTF-8 and NUL replaced by U+FFFD.
    pub text: String,
    /// SHA-256 of the signed part: the identity of the content, whatever the envelope around it.
    pub digest: [u8; 32],
    /// How many NUL characters were replaced.
    pub nuls: usize,
}

/// Signs a log as existing agents do: CRLF line ends, `text/plain` header, SHA-256, no certificates.
/// NUL and invalid UTF-8 become U+FFFD.
pub fn sign(log: &[u8], certificate: &Certificate, key: &PKeyRef<Private>) -> Result<Vec<u8>, ErrorStack> {
    sign::sign(log, certificate, key)
}

/// Checks that `message` was signed by the key of one of `certificates` and returns what was signed.
///
/// Dates, usages and issuers of the certificates do not count, only their keys: whoever hands them
/// in has decided that they are the signer's. Certificates in the message are ignored.
pub fn verify(message: &[u8], certificates: &[Certificate]) -> Result<Verified, SmimeError> {
    verify::verify(message, certificates)
}

/// Checks that `message` was signed by one of `keys` (DER SubjectPublicKeyInfo), whatever certificate it
/// names, and returns what was signed: for signers that are known by their keys alone.
pub fn verify_with_keys(message: &[u8], keys: &[impl AsRef<[u8]>]) -> Result<Verified, SmimeError> {
    verify::verify_with_keys(message, keys)
}

/// What a message says that is signed by whomever: **not checked**, for readers that have no key to check
/// it with.
pub fn unverified_text(message: &[u8]) -> Result<String, SmimeError> {
    let parts = mime::split(message)?;
    Ok(String::from_utf8_lossy(mime::strip_text_header(parts.signed)?).into_owned())
}

/// Why a signed message is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SmimeError {
    /// No header block, or one that is malformed or too large.
    #[error("malformed MIME headers: {0}")]
    Headers(&'static str),
    /// Another content type than a detached signature has.
    #[error("not multipart/signed")]
    NotMultipartSigned,
    /// Another kind of signature, such as OpenPGP.
    #[error("not a PKCS#7 signature: the protocol parameter says otherwise or is missing")]
    Protocol,
    /// Missing, empty, too long, or with characters that boundaries cannot have.
    #[error("missing or malformed boundary parameter")]
    Boundary,
    /// A line that starts like a boundary and goes on differently: readers would disagree.
    #[error("text after a boundary on its line")]
    BoundaryLine,
    /// The closing boundary is missing.
    #[error("truncated: no closing boundary")]
    Truncated,
    /// Not exactly the signed part and the signature.
    #[error("not exactly two parts")]
    Parts,
    /// Something after the closing boundary.
    #[error("text after the closing boundary")]
    Trailing,
    /// The signed part has another header than one `Content-Type: text/plain`.
    #[error("the signed part is not text/plain, or has other headers")]
    NotText,
    /// The second part is not declared as what it must be.
    #[error("the second part is not a base64 PKCS#7 signature")]
    NotSignature,
    /// The signature is larger than any real one.
    #[error("the signature part is over {0} bytes")]
    SignatureTooLarge(usize),
    /// Characters or padding that base64 does not have.
    #[error("the signature is not base64")]
    Base64,
    /// Not DER: also BER, whose forms are not unique.
    #[error("the signature is not DER: {0}")]
    Der(&'static str),
    /// Bytes after the end of a structure.
    #[error("trailing bytes in the signature: {0}")]
    TrailingDer(&'static str),
    /// Another kind of CMS content.
    #[error("the signature is not CMS SignedData")]
    NotSignedData,
    /// The content is (also) in the signature.
    #[error("the signature is not detached, or not over plain data")]
    NotDetached,
    /// The digest of the signer is not among the announced ones.
    #[error("the digest algorithm of the signer is not announced")]
    DigestNotAnnounced,
    /// SignerInfos is empty.
    #[error("no signer")]
    NoSigner,
    /// More than one SignerInfo.
    #[error("more than one signer")]
    SeveralSigners,
    /// The signer is named by key identifier.
    #[error("the signer is not named by issuer and serial number")]
    SignerIdentifier,
    /// The signature is directly over the content.
    #[error("no signed attributes")]
    NoSignedAttributes,
    /// A required attribute is missing, doubled or malformed.
    #[error("signed attribute {0}: missing, doubled or malformed")]
    Attribute(&'static str),
    /// Anything but SHA-256, SHA-384 or SHA-512.
    #[error("digest algorithm {0} is not accepted: SHA-256, SHA-384 or SHA-512 is")]
    Digest(String),
    /// Anything but RSA PKCS#1 v1.5 or ECDSA with the signer's digest.
    #[error("signature algorithm {0} is not accepted with this digest and key")]
    Algorithm(String),
    /// None of the certificates has the signer's issuer and serial number.
    #[error("the signer is none of the {0} certificate(s) known for this node (by issuer and serial number)")]
    SignerNotFound(usize),
    /// Anything but RSA of 2048 to 8192 bits or P-256.
    #[error("the signer's key is not RSA of 2048 to 8192 bits or P-256")]
    Key,
    /// The signature does not fit the attributes and the key.
    #[error("bad signature")]
    BadSignature,
    /// The attributes are authentic, the content is another.
    #[error("digest mismatch: the content was altered")]
    DigestMismatch,
}
