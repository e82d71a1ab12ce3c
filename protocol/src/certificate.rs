// SPDX-License-Identifier: Apache-2.0
//! Node certificates and bundles of them (protocol 1.3, 5.2).
//!
//! A certificate says two things here: which key, and which node claims it. The claim is worth
//! something only once a list of nodes or a signature confirms the key.

use const_oid::ObjectIdentifier;
use der::{AnyRef, Decode, Reader, SliceReader, Tag, Tagged};
use openssl::{
    pkey::{PKey, Public},
    x509::X509,
};

use crate::{hash::KeyHash, node_id::NodeId};

/// A certificate with what identifies its owner, read once.
#[derive(Debug, Clone)]
pub struct Certificate {
    x509: X509,
    subject: Subject,
    public_key: PKey<Public>,
    spki_der: Vec<u8>,
    issuer_der: Vec<u8>,
    serial: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Subject {
    first_uid: Option<NodeId>,
    uids: usize,
}

impl Certificate {
    /// Reads the first PEM certificate.
    pub fn from_pem(pem: &[u8]) -> Result<Self, CertificateError> {
        let mut all = read_bundle(pem)?.into_iter();
        all.next().ok_or_else(|| CertificateError::Pem("no certificate in it".into()))
    }

    /// Wraps a certificate, for instance the peer's in a TLS session.
    pub fn new(x509: X509) -> Result<Self, CertificateError> {
        let unreadable = |e: openssl::error::ErrorStack| CertificateError::Content(e.to_string());
        let public_key = x509.public_key().map_err(unreadable)?;
        let subject_der = x509.subject_name().to_der().map_err(unreadable)?;
        Ok(Self {
            subject: Subject::read(&subject_der).map_err(|e| CertificateError::Content(e.to_string()))?,
            spki_der: public_key.public_key_to_der().map_err(unreadable)?,
            issuer_der: x509.issuer_name().to_der().map_err(unreadable)?,
            serial: x509.serial_number().to_bn().map_err(unreadable)?.to_vec(),
            public_key,
            x509,
        })
    }

    /// The node named by the first UID attribute of the subject, if that is a valid node id.
    ///
    /// This is how bundles are read. To decide who a peer is, use [`Self::sole_node_id`].
    pub fn node_id(&self) -> Option<&NodeId> {
        self.subject.first_uid.as_ref()
    }

    /// The node named by the subject, unless the subject is ambiguous: with several UID attributes
    /// two readers could see two nodes.
    pub fn sole_node_id(&self) -> Option<&NodeId> {
        self.node_id().filter(|_| self.subject.uids == 1)
    }

    /// Whether the subject has a UID attribute at all, clean or not.
    pub fn has_uid(&self) -> bool {
        self.subject.uids > 0
    }

    /// DER SubjectPublicKeyInfo.
    pub fn spki_der(&self) -> &[u8] {
        &self.spki_der
    }

    /// SHA-256 key hash, as in pins.
    pub fn key_hash(&self) -> KeyHash {
        KeyHash::sha256_of(&self.spki_der)
    }

    /// The key, to verify with.
    pub fn public_key(&self) -> &PKey<Public> {
        &self.public_key
    }

    /// DER of the issuer's name.
    pub fn issuer_der(&self) -> &[u8] {
        &self.issuer_der
    }

    /// Magnitude of the serial number, big-endian, without leading zeros.
    pub fn serial(&self) -> &[u8] {
        &self.serial
    }

    /// The certificate itself.
    pub fn x509(&self) -> &X509 {
        &self.x509
    }
}

/// Reads all certificates of a PEM bundle, in order. Text between them is ignored.
pub fn read_bundle(pem: &[u8]) -> Result<Vec<Certificate>, CertificateError> {
    let all = X509::stack_from_pem(pem).map_err(|e| CertificateError::Pem(e.to_string()))?;
    all.into_iter().map(Certificate::new).collect()
}

/// Why certificates cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// Not PEM, or not a certificate in it.
    #[error("not a PEM certificate: {0}")]
    Pem(String),
    /// The certificate's subject, issuer, serial number or key is malformed.
    #[error("malformed certificate: {0}")]
    Content(String),
}

/// UserId of RFC 4519.
const UID: ObjectIdentifier = ObjectIdentifier::new_unwrap("0.9.2342.19200300.100.1.1");

impl Subject {
    /// Reads a DER Name: SEQUENCE OF SET OF SEQUENCE { type, value } (RFC 5280 4.1.2.4).
    fn read(der: &[u8]) -> der::Result<Self> {
        let mut subject = Self { first_uid: None, uids: 0 };
        let mut rdns = SliceReader::new(AnyRef::from_der(der)?.value())?;
        while !rdns.is_finished() {
            let mut rdn = SliceReader::new(AnyRef::decode(&mut rdns)?.value())?;
            while !rdn.is_finished() {
                let mut attribute = SliceReader::new(AnyRef::decode(&mut rdn)?.value())?;
                let kind = AnyRef::decode(&mut attribute)?;
                let value = AnyRef::decode(&mut attribute)?;
                if kind.tag() == Tag::ObjectIdentifier && kind.value() == UID.as_bytes() {
                    subject.uids += 1;
                    if subject.uids == 1 {
                        subject.first_uid = clean_node_id(value);
                    }
                }
            }
        }
        Ok(subject)
    }
}

fn clean_node_id(value: AnyRef<'_>) -> Option<NodeId> {
    match value.tag() {
        // The string types in which ASCII is ASCII.
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String => {
            std::str::from_utf8(value.value()).ok()?.parse().ok()
        }
        _ => None,
    }
}
