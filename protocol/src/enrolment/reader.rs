// SPDX-License-Identifier: Apache-2.0
//! The strict reader of requests: DER only, each part once, nothing left over.

use const_oid::{ObjectIdentifier, db::rfc5912};
use der::{AnyRef, Decode, Reader, SliceReader, Tag, Tagged, asn1::BitStringRef};
use openssl::{
    hash::MessageDigest,
    pkey::{Id, PKey, PKeyRef, Public},
    sign::Verifier,
    x509::X509,
};
use zeroize::Zeroizing;

use super::request::{
    ALTERNATIVE_NAMES, ATTRIBUTES, CHALLENGE_PASSWORD, DNS_NAME, EXTENSION_REQUEST, HARMLESS, LABEL,
    ORGANIZATIONAL_UNIT, RELAY, Request, RequestError, Token, USER_CERTIFICATE, check_hostname, check_token,
};
use crate::{
    asn1::{take, take_whole, value_of},
    certificate::{Certificate, UID, clean_node_id},
    hash::KeyHash,
    limits,
    node_id::NodeId,
    pem, public_key,
};

pub fn read(pem: &[u8]) -> Result<Request, RequestError> {
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
    Ok(Request { node_id, hostname, as_relay, key_hash, spki, token, certificate, der })
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
    let has_parameters =
        !algorithm.is_finished() && !take(&mut algorithm, Tag::Null).is_ok_and(<[u8]>::is_empty);
    if has_parameters || !algorithm.is_finished() {
        return Err(RequestError::Algorithm(oid));
    }
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
