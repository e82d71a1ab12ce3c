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
use der::{AnyRef, Decode, Reader, SliceReader, Tag, TagNumber, Tagged, asn1::BitStringRef};
use openssl::{
    error::ErrorStack,
    hash::MessageDigest,
    pkey::{Id, PKey, PKeyRef, Private, Public},
    sign::{Signer, Verifier},
    x509::X509,
};
use zeroize::Zeroizing;

use crate::{
    asn1::{context, take, take_whole, value, value_of},
    certificate::{Certificate, UID, clean_node_id},
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
    spki: Box<[u8]>,
    token: Option<Token>,
    certificate: Option<Box<Certificate>>,
    /// May hold a token.
    der: Zeroizing<Vec<u8>>,
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
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Zeroizing<String>);

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

const LABEL: &str = "CERTIFICATE REQUEST";
const RELAY: &str = "relay";
const ORGANIZATIONAL_UNIT: ObjectIdentifier = rfc4519::OU;
const ALTERNATIVE_NAMES: ObjectIdentifier = rfc5280::ID_CE_SUBJECT_ALT_NAME;
const EXTENSION_REQUEST: ObjectIdentifier = rfc5912::ID_EXTENSION_REQ;
const CHALLENGE_PASSWORD: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.7");

/// What S/MIME signatures mean by their issuer and serial number: without it, only TLS knows the node.
const USER_CERTIFICATE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.36");

/// May be critical, because what they ask for has no consequence here.
const HARMLESS: [ObjectIdentifier; 3] =
    [rfc5280::ID_CE_BASIC_CONSTRAINTS, rfc5280::ID_CE_KEY_USAGE, rfc5280::ID_CE_EXT_KEY_USAGE];

/// `[2] IMPLICIT IA5String` of GeneralName.
const DNS_NAME: Tag = Tag::ContextSpecific { constructed: false, number: TagNumber::N2 };

/// `[0] IMPLICIT Attributes`.
const ATTRIBUTES: Tag = context(TagNumber::N0);

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
        if pem.len() > limits::ENROLMENT_REQUEST {
            return Err(RequestError::TooLarge);
        }
        let der = pem::decode_only(LABEL, pem).ok_or(RequestError::Pem)?;
        let mut request = SliceReader::new(value_of(&der, Tag::Sequence)?)?;
        let signed = take_whole(&mut request, Tag::Sequence)?;
        let algorithm = take(&mut request, Tag::Sequence)?;
        let signature = BitStringRef::decode(&mut request)?;
        request.finish(())?;

        let mut info = SliceReader::new(value_of(signed, Tag::Sequence)?)?;
        if take(&mut info, Tag::Integer)? != [0] {
            return Err(RequestError::Malformed("not version 1"));
        }
        let subject = take(&mut info, Tag::Sequence)?;
        let spki = take_whole(&mut info, Tag::Sequence)?;
        let attributes = take(&mut info, ATTRIBUTES)?;
        info.finish(())?;

        // Before anything else is believed.
        let signature = signature.as_bytes().ok_or(RequestError::Signature)?;
        let key = read_key(spki)?;
        check_signature(signed, algorithm, signature, &key)?;
        let (node_id, as_relay) = read_subject(subject)?;
        let Attributes { hostname, token, certificate } = read_attributes(attributes)?;
        let is_own = |c: &Certificate| c.sole_node_id() == Some(&node_id) && c.spki_der() == spki;
        if certificate.as_ref().is_some_and(|certificate| !is_own(certificate)) {
            return Err(RequestError::Certificate);
        }
        let key_hash = KeyHash::sha256_of(spki);
        let spki = spki.into();
        Ok(Self { node_id, hostname, as_relay, key_hash, spki, token, certificate, der })
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

/// The key, if it is a good one and written the one way that OpenSSL writes it: another notation
/// would have another hash.
fn read_key(spki: &[u8]) -> Result<PKey<Public>, RequestError> {
    /// Length of the only notation of P-256 keys without compression.
    const P256: usize = 91;
    let key = PKey::public_key_from_der(spki).map_err(|_| RequestError::Key)?;
    let is_usual = key.public_key_to_der().is_ok_and(|usual| usual == spki);
    let is_full = key.id() != Id::EC || spki.len() == P256;
    if public_key::is_accepted(&key) && is_usual && is_full { Ok(key) } else { Err(RequestError::Key) }
}

fn check_signature(
    signed: &[u8],
    algorithm: &[u8],
    signature: &[u8],
    key: &PKeyRef<Public>,
) -> Result<(), RequestError> {
    let mut algorithm = SliceReader::new(algorithm)?;
    let oid: ObjectIdentifier = algorithm.decode()?;
    if !algorithm.is_finished() && !take(&mut algorithm, Tag::Null)?.is_empty() {
        return Err(RequestError::Algorithm(oid));
    }
    algorithm.finish(())?;
    let digest = match (key.id(), oid) {
        (Id::RSA, rfc5912::SHA_256_WITH_RSA_ENCRYPTION) => MessageDigest::sha256(),
        (Id::RSA, rfc5912::SHA_384_WITH_RSA_ENCRYPTION) => MessageDigest::sha384(),
        (Id::RSA, rfc5912::SHA_512_WITH_RSA_ENCRYPTION) => MessageDigest::sha512(),
        (Id::EC, rfc5912::ECDSA_WITH_SHA_256) => MessageDigest::sha256(),
        (Id::EC, rfc5912::ECDSA_WITH_SHA_384) => MessageDigest::sha384(),
        (Id::EC, rfc5912::ECDSA_WITH_SHA_512) => MessageDigest::sha512(),
        _ => return Err(RequestError::Algorithm(oid)),
    };
    let verified =
        Verifier::new(digest, key).and_then(|mut verifier| verifier.verify_oneshot(signature, signed));
    if verified.unwrap_or(false) { Ok(()) } else { Err(RequestError::Signature) }
}

/// Node id, and whether it wants to be a relay. Other attributes do not count.
fn read_subject(name: &[u8]) -> Result<(NodeId, bool), RequestError> {
    let (mut node_id, mut as_relay) = (None, false);
    let mut rdns = SliceReader::new(name)?;
    while !rdns.is_finished() {
        let mut rdn = SliceReader::new(take(&mut rdns, Tag::Set)?)?;
        while !rdn.is_finished() {
            let mut attribute = SliceReader::new(take(&mut rdn, Tag::Sequence)?)?;
            let kind: ObjectIdentifier = attribute.decode()?;
            let value = AnyRef::decode(&mut attribute)?;
            attribute.finish(())?;
            if kind == UID {
                let id = clean_node_id(value).ok_or(RequestError::NodeId)?;
                if node_id.replace(id).is_some() {
                    return Err(RequestError::NodeId);
                }
            } else if kind == ORGANIZATIONAL_UNIT {
                if as_relay || ascii(value) != Some(RELAY) {
                    return Err(RequestError::Unit);
                }
                as_relay = true;
            }
        }
    }
    Ok((node_id.ok_or(RequestError::NodeId)?, as_relay))
}

struct Attributes {
    hostname: String,
    token: Option<Token>,
    certificate: Option<Box<Certificate>>,
}

/// Attributes other than these do not count.
fn read_attributes(attributes: &[u8]) -> Result<Attributes, RequestError> {
    let (mut extensions, mut token, mut certificate) = (None, None, None);
    let mut attributes = SliceReader::new(attributes)?;
    while !attributes.is_finished() {
        let mut attribute = SliceReader::new(take(&mut attributes, Tag::Sequence)?)?;
        let kind: ObjectIdentifier = attribute.decode()?;
        let values = take(&mut attribute, Tag::Set)?;
        attribute.finish(())?;
        if kind == EXTENSION_REQUEST {
            if extensions.replace(value_of(values, Tag::Sequence)?).is_some() {
                return Err(RequestError::Malformed("two extension requests"));
            }
        } else if kind == CHALLENGE_PASSWORD {
            let text = ascii(AnyRef::from_der(values)?).ok_or(RequestError::Token)?;
            check_token(text.as_bytes())?;
            if token.replace(Token(Zeroizing::new(text.to_owned()))).is_some() {
                return Err(RequestError::Token);
            }
        } else if kind == USER_CERTIFICATE {
            let x509 = X509::from_der(take_only(values)?).map_err(|_| RequestError::Certificate)?;
            let read = Certificate::new(x509).map_err(|_| RequestError::Certificate)?;
            if certificate.replace(Box::new(read)).is_some() {
                return Err(RequestError::Certificate);
            }
        }
    }
    Ok(Attributes { hostname: read_hostname(extensions.unwrap_or_default())?, token, certificate })
}

/// The one value of a set.
fn take_only(values: &[u8]) -> Result<&[u8], RequestError> {
    let mut reader = SliceReader::new(values)?;
    let value = take_whole(&mut reader, Tag::Sequence)?;
    Ok(reader.finish(value)?)
}

fn read_hostname(extensions: &[u8]) -> Result<String, RequestError> {
    let mut hostname = None;
    let mut extensions = SliceReader::new(extensions)?;
    while !extensions.is_finished() {
        let mut extension = SliceReader::new(take(&mut extensions, Tag::Sequence)?)?;
        let kind: ObjectIdentifier = extension.decode()?;
        let is_critical = Option::<bool>::decode(&mut extension)?.unwrap_or(false);
        let content = take(&mut extension, Tag::OctetString)?;
        extension.finish(())?;
        if kind == ALTERNATIVE_NAMES {
            let name =
                value_of(value_of(content, Tag::Sequence)?, DNS_NAME).map_err(|_| RequestError::Hostname)?;
            if hostname.replace(check_hostname(name)?).is_some() {
                return Err(RequestError::Hostname);
            }
        } else if is_critical && !HARMLESS.contains(&kind) {
            return Err(RequestError::Critical(kind));
        }
    }
    Ok(hostname.unwrap_or_default().to_owned())
}

/// The text of the string types in which ASCII is ASCII.
fn ascii(value: AnyRef<'_>) -> Option<&str> {
    let is_text = matches!(value.tag(), Tag::Utf8String | Tag::PrintableString | Tag::Ia5String);
    std::str::from_utf8(value.value()).ok().filter(|text| is_text && text.is_ascii())
}

fn check_hostname(name: &[u8]) -> Result<&str, RequestError> {
    let is_hostname = (1..=MAX_HOSTNAME).contains(&name.len())
        && name[0].is_ascii_alphanumeric()
        && name.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b));
    let name = std::str::from_utf8(name).ok();
    name.filter(|_| is_hostname).ok_or(RequestError::Hostname)
}

fn check_token(token: &[u8]) -> Result<(), RequestError> {
    let is_token = (1..=MAX_TOKEN).contains(&token.len()) && token.iter().all(u8::is_ascii_graphic);
    if is_token { Ok(()) } else { Err(RequestError::Token) }
}
