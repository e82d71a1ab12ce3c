// SPDX-License-Identifier: Apache-2.0
//! The PKCS#10 request (RFC 2986) of a node: its id, host name, key, wish to be a relay, token.
//!
//! ```text
//! subject           UID=<node id> [OU=relay]
//! extensionRequest  subjectAltName dNSName=<host name>      (PKCS#9, RFC 2985 5.4.2)
//! challengePassword <token>                                 (PKCS#9, RFC 2985 5.4.1)
//! userCertificate   the certificate that signs run logs      (RFC 4523 2.1)
//! signature         with the key of the request: proves its possession
//! ```
//!
//! Written and read here instead of by a library, so that no copy of a token stays in memory.

use std::fmt;

use const_oid::{
    ObjectIdentifier,
    db::{rfc4519, rfc5280, rfc5912},
};
use der::{Tag, TagNumber};
use openssl::{
    error::ErrorStack,
    hash::MessageDigest,
    pkey::{Id, PKey, Private, Public},
    sign::Signer,
};
use zeroize::Zeroizing;

use super::reader;
use crate::{
    asn1::{context, value},
    certificate::{Certificate, UID},
    hash::KeyHash,
    limits,
    node_id::NodeId,
    pem, public_key,
};

/// A request whose signature was made with its own key.
#[derive(Clone)]
pub struct Request {
    /// The id that the node claims.
    pub node_id: NodeId,
    /// The host name that it claims; empty if it does not say.
    pub hostname: String,
    /// Whether it wants to be a relay.
    pub as_relay: bool,
    /// SHA-256 hash of the key.
    pub key_hash: KeyHash,
    pub(super) spki: Box<[u8]>,
    pub(super) token: Option<Token>,
    pub(super) certificate: Option<Box<Certificate>>,
    /// May hold a token.
    pub(super) der: Zeroizing<Vec<u8>>,
}

/// Never shows the token.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("node_id", &self.node_id)
            .field("hostname", &self.hostname)
            .field("as_relay", &self.as_relay)
            .field("key_hash", &self.key_hash)
            .field("token", &self.token)
            .finish_non_exhaustive()
    }
}

/// A one-time token; erased when dropped, never printed.
///
/// It cannot be compared here: that takes constant time, and is done with digests.
#[derive(Clone)]
pub struct Token(pub(super) Zeroizing<String>);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Why a request cannot be made or is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Larger than [`limits::ENROLMENT_REQUEST`].
    #[error("a certificate request has at most {} bytes", limits::ENROLMENT_REQUEST)]
    TooLarge,
    /// Not one PEM block with nothing around it.
    #[error("not one PEM certificate request and nothing else")]
    Pem,
    /// Not DER, or not what RFC 2986 wants.
    #[error("malformed certificate request: {0}")]
    Malformed(&'static str),
    /// No UID in the subject, several, or one that is no node id.
    #[error("the subject has not exactly one UID that is a node id")]
    NodeId,
    /// The organizational unit says something else than `relay`, or says it twice.
    #[error("the organizational unit of the subject is not \"relay\"")]
    Unit,
    /// Alternative names other than one host name.
    #[error(
        "the alternative names are not one host name of 1 to {MAX_HOSTNAME} letters, digits, '-', '_' and '.'"
    )]
    Hostname,
    /// A critical extension that is not known here.
    #[error("unknown critical extension {0}")]
    Critical(ObjectIdentifier),
    /// Not one certificate with the id and the key of the request.
    #[error("the certificate in the request is not one of this node and this key")]
    Certificate,
    /// The challenge password cannot be a token.
    #[error("the token is not 1 to {MAX_TOKEN} printable ASCII characters without spaces")]
    Token,
    /// Another kind or size of key, or a key that is not written the usual way.
    #[error("the key is not RSA of 2048 to 8192 bits or P-256")]
    Key,
    /// Another signature algorithm, or one that does not go with the key.
    #[error("signature algorithm {0} is not accepted: RSA or ECDSA with SHA-256, SHA-384 or SHA-512 is")]
    Algorithm(ObjectIdentifier),
    /// The request was not signed with its key, or altered since.
    #[error("bad signature: the request was not made with its key")]
    Signature,
    /// OpenSSL refused to sign.
    #[error("OpenSSL: {0}")]
    OpenSsl(String),
}

impl From<ErrorStack> for RequestError {
    fn from(error: ErrorStack) -> Self {
        Self::OpenSsl(error.to_string())
    }
}

impl From<der::Error> for RequestError {
    fn from(_: der::Error) -> Self {
        Self::Malformed("not DER, or not in the order of RFC 2986")
    }
}

/// Longest host name, in characters.
const MAX_HOSTNAME: usize = 255;

/// Longest token, in characters.
const MAX_TOKEN: usize = 255;

pub(super) const LABEL: &str = "CERTIFICATE REQUEST";
pub(super) const RELAY: &str = "relay";
pub(super) const ORGANIZATIONAL_UNIT: ObjectIdentifier = rfc4519::OU;
pub(super) const ALTERNATIVE_NAMES: ObjectIdentifier = rfc5280::ID_CE_SUBJECT_ALT_NAME;
pub(super) const EXTENSION_REQUEST: ObjectIdentifier = rfc5912::ID_EXTENSION_REQ;
pub(super) const CHALLENGE_PASSWORD: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.7");

/// What S/MIME signatures mean by their issuer and serial number: without it, only TLS knows the node.
pub(super) const USER_CERTIFICATE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.36");

/// May be critical, because what they ask for has no consequence here.
pub(super) const HARMLESS: [ObjectIdentifier; 3] =
    [rfc5280::ID_CE_BASIC_CONSTRAINTS, rfc5280::ID_CE_KEY_USAGE, rfc5280::ID_CE_EXT_KEY_USAGE];

/// `[2] IMPLICIT IA5String` of GeneralName.
pub(super) const DNS_NAME: Tag = Tag::ContextSpecific { constructed: false, number: TagNumber::N2 };

/// `[0] IMPLICIT Attributes`.
pub(super) const ATTRIBUTES: Tag = context(TagNumber::N0);

impl Request {
    /// PEM of a request, signed with `key`. An empty host name is left out.
    pub fn make(
        key: &PKey<Private>,
        node_id: &NodeId,
        hostname: &str,
        as_relay: bool,
        token: Option<&str>,
    ) -> Result<Zeroizing<Vec<u8>>, RequestError> {
        Self::make_with(key, node_id, hostname, as_relay, token, None)
    }

    /// The same, with the certificate of the node that signs its run logs: servers find the key of
    /// a signature by the issuer and the serial number in it.
    pub fn make_with(
        key: &PKey<Private>,
        node_id: &NodeId,
        hostname: &str,
        as_relay: bool,
        token: Option<&str>,
        certificate: Option<&Certificate>,
    ) -> Result<Zeroizing<Vec<u8>>, RequestError> {
        if !public_key::is_accepted(key) {
            return Err(RequestError::Key);
        }
        let name = |oid, text: &str| {
            let text = value(Tag::Utf8String, &[text.as_bytes()]);
            value(Tag::Set, &[&value(Tag::Sequence, &[&oid_der(oid), &text])])
        };
        let unit = as_relay.then(|| name(ORGANIZATIONAL_UNIT, RELAY));
        let unit = unit.as_deref().map_or(&[][..], |unit| unit);
        let subject = value(Tag::Sequence, &[&name(UID, node_id.as_str()), unit]);
        let mut attributes = Vec::new();
        if !hostname.is_empty() {
            check_hostname(hostname.as_bytes())?;
            let names = value(Tag::Sequence, &[&value(DNS_NAME, &[hostname.as_bytes()])]);
            let names = value(Tag::OctetString, &[&names]);
            let extension = value(Tag::Sequence, &[&oid_der(ALTERNATIVE_NAMES), &names]);
            attributes.push(attribute(EXTENSION_REQUEST, &value(Tag::Sequence, &[&extension])));
        }
        if let Some(token) = token {
            check_token(token.as_bytes())?;
            attributes.push(attribute(CHALLENGE_PASSWORD, &value(Tag::Utf8String, &[token.as_bytes()])));
        }
        if let Some(certificate) = certificate {
            attributes.push(attribute(USER_CERTIFICATE, certificate.der()));
        }
        let mut attributes: Vec<&[u8]> = attributes.iter().map(|attribute| attribute.as_slice()).collect();
        // DER sorts what is in a set.
        attributes.sort_unstable();
        let version = value(Tag::Integer, &[&[0]]);
        let spki = key.public_key_to_der()?;
        let info = value(Tag::Sequence, &[&version, &subject, &spki, &value(ATTRIBUTES, &attributes)]);

        let (algorithm, parameters) = match key.id() {
            Id::RSA => (rfc5912::SHA_256_WITH_RSA_ENCRYPTION, value(Tag::Null, &[])),
            _ => (rfc5912::ECDSA_WITH_SHA_256, Zeroizing::default()),
        };
        let algorithm = value(Tag::Sequence, &[&oid_der(algorithm), &parameters]);
        let signature = Signer::new(MessageDigest::sha256(), key)?.sign_oneshot_to_vec(&info)?;
        let signature = value(Tag::BitString, &[&[0], &signature]);
        Ok(pem::encode(LABEL, &value(Tag::Sequence, &[&info, &algorithm, &signature])))
    }

    /// Reads a request and checks its signature.
    pub fn parse(pem: &[u8]) -> Result<Self, RequestError> {
        reader::read(pem)
    }

    /// The token, if there is one.
    pub fn token(&self) -> Option<&str> {
        self.token.as_ref().map(|token| token.0.as_str())
    }

    /// The certificate that signs the node's run logs, if it came along: of this node and this key.
    pub fn certificate(&self) -> Option<&Certificate> {
        self.certificate.as_deref()
    }

    /// The request as it came, PEM. May hold a token.
    pub fn to_pem(&self) -> Zeroizing<Vec<u8>> {
        pem::encode(LABEL, &self.der)
    }

    /// DER SubjectPublicKeyInfo.
    pub fn spki_der(&self) -> &[u8] {
        &self.spki
    }

    /// The key.
    pub fn public_key(&self) -> Result<PKey<Public>, ErrorStack> {
        PKey::public_key_from_der(&self.spki)
    }
}

fn oid_der(oid: ObjectIdentifier) -> Zeroizing<Vec<u8>> {
    value(Tag::ObjectIdentifier, &[oid.as_bytes()])
}

fn attribute(oid: ObjectIdentifier, content: &[u8]) -> Zeroizing<Vec<u8>> {
    value(Tag::Sequence, &[&oid_der(oid), &value(Tag::Set, &[content])])
}

pub(super) fn check_hostname(name: &[u8]) -> Result<&str, RequestError> {
    let is_hostname = (1..=MAX_HOSTNAME).contains(&name.len())
        && name[0].is_ascii_alphanumeric()
        && name.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b));
    let name = std::str::from_utf8(name).ok();
    name.filter(|_| is_hostname).ok_or(RequestError::Hostname)
}

pub(super) fn check_token(token: &[u8]) -> Result<(), RequestError> {
    let is_token = (1..=MAX_TOKEN).contains(&token.len()) && token.iter().all(u8::is_ascii_graphic);
    if is_token { Ok(()) } else { Err(RequestError::Token) }
}
