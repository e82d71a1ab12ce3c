// SPDX-License-Identifier: Apache-2.0
//! S/MIME signatures of run logs (protocol 2.5): `multipart/signed`, detached, no certificates.

use openssl::pkey::{PKeyRef, Private};

use crate::certificate::Certificate;

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

/// Why a signed message is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SmimeError {
    /// Not the one shape that is accepted; says which rule.
    #[error("not an acceptable signed message: {0}")]
    Shape(&'static str),
    // The owner of this module refines this.
}

/// Signs a log as existing agents do: CRLF line ends, `text/plain` header, SHA-256, no certificates.
/// NUL and invalid UTF-8 become U+FFFD.
pub fn sign(
    log: &[u8],
    certificate: &Certificate,
    key: &PKeyRef<Private>,
) -> Result<Vec<u8>, openssl::error::ErrorStack> {
    let _ = (log, certificate, key);
    todo!()
}

/// Checks that `message` was signed by the key of one of `certificates` and returns what was signed.
pub fn verify(message: &[u8], certificates: &[Certificate]) -> Result<Verified, SmimeError> {
    let _ = (message, certificates);
    todo!()
}
