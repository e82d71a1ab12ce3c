// SPDX-License-Identifier: Apache-2.0
//! Node certificates and bundles of them (protocol 1.3, 5.2).

use openssl::x509::X509;

use crate::{hash::KeyHash, node_id::NodeId};

/// A certificate with what identifies its owner, read once.
#[derive(Debug, Clone)]
pub struct Certificate {
    x509: X509,
    node_id: Option<NodeId>,
    spki_der: Vec<u8>,
}

impl Certificate {
    /// Reads the first PEM certificate.
    pub fn from_pem(pem: &[u8]) -> Result<Self, CertificateError> {
        let _ = pem;
        todo!()
    }

    /// Wraps a certificate, for instance the peer's in a TLS session.
    pub fn new(x509: X509) -> Result<Self, CertificateError> {
        let _ = x509;
        todo!()
    }

    /// The node named by the first UID attribute of the subject, if it is a valid node id.
    pub fn node_id(&self) -> Option<&NodeId> {
        self.node_id.as_ref()
    }

    /// DER SubjectPublicKeyInfo.
    pub fn spki_der(&self) -> &[u8] {
        &self.spki_der
    }

    /// SHA-256 key hash, as in pins.
    pub fn key_hash(&self) -> KeyHash {
        KeyHash::sha256_of(&self.spki_der)
    }

    /// The certificate itself.
    pub fn x509(&self) -> &X509 {
        &self.x509
    }
}

/// Reads all certificates of a PEM bundle, in order. Text between them is ignored.
pub fn read_bundle(pem: &[u8]) -> Result<Vec<Certificate>, CertificateError> {
    let _ = pem;
    todo!()
}

/// Why certificates cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// Not PEM, or not a certificate in it.
    #[error("not a PEM certificate: {0}")]
    Pem(String),
}
