// SPDX-License-Identifier: Apache-2.0
//! A node's key pair and its self-signed certificate (protocol 1.2, 1.3).

use openssl::pkey::{PKey, Private};

use crate::{certificate::Certificate, node_id::NodeId};

/// Which kind of key to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyKind {
    /// RSA, 4096 bits: what every existing server accepts.
    #[default]
    Rsa4096,
    /// ECDSA on P-256: smaller and faster; needs servers that accept it.
    P256,
}

/// Makes a key pair.
pub fn generate(kind: KeyKind) -> Result<PKey<Private>, PrivateKeyError> {
    let _ = kind;
    todo!()
}

/// Reads a PEM private key; tries the fixed passphrases of older agents when it is encrypted.
pub fn from_pem(pem: &[u8]) -> Result<PKey<Private>, PrivateKeyError> {
    let _ = pem;
    todo!()
}

/// PEM as existing agents write it: PKCS#1 for RSA, SEC 1 for P-256.
pub fn to_pem(key: &PKey<Private>) -> Result<Vec<u8>, PrivateKeyError> {
    let _ = key;
    todo!()
}

/// Self-signed certificate with the single-RDN subject `UID=<node id>`, 3650 days (protocol 1.3).
pub fn self_signed(key: &PKey<Private>, node_id: &NodeId) -> Result<Certificate, PrivateKeyError> {
    let _ = (key, node_id);
    todo!()
}

/// Why a key cannot be made or read.
#[derive(Debug, thiserror::Error)]
pub enum PrivateKeyError {
    /// Encrypted with a passphrase other than the known ones, or no key at all.
    #[error("not a usable PEM private key: {0}")]
    Unreadable(String),
    /// OpenSSL refused.
    #[error("OpenSSL: {0}")]
    OpenSsl(#[from] openssl::error::ErrorStack),
}
