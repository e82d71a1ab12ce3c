// SPDX-License-Identifier: Apache-2.0
//! Node certificates and bundles of them (protocol 1.3, 5.2).
//!
//! A certificate says two things here: which key, and which node claims it. The claim is worth
//! something only once a list of nodes or a signature confirms the key.
//!
//! A root server holds one or more per node, and reads them all at each reload: so the few fields
//! that matter are read in place from the DER (RFC 5280 4.1), which takes a hundredth of the time
//! and a fifth of the memory of an OpenSSL object.

use std::{ops::Range, sync::OnceLock, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use chrono::{DateTime, Utc};
use const_oid::{ObjectIdentifier, db::rfc5912::RSA_ENCRYPTION};
use der::{
    AnyRef, Decode, Reader, SliceReader, Tag, TagNumber, Tagged,
    asn1::{BitStringRef, GeneralizedTime, UtcTime},
};
use memchr::memmem;
use openssl::{
    error::ErrorStack,
    pkey::{PKey, Public},
    rsa::Rsa,
    sha::sha256,
    x509::{GeneralNameRef, X509},
};

use crate::{
    asn1::{context, first_value, take, value_of},
    hash::KeyHash,
    node_id::NodeId,
    node_id_rule::NodeIdRule,
    pem,
};

/// A certificate with what identifies its owner, read once.
#[derive(Debug, Clone)]
pub struct Certificate {
    der: Box<[u8]>,
    x509: OnceLock<X509>,
    serial: Range<usize>,
    issuer: Range<usize>,
    not_before: DateTime<Utc>,
    not_after: DateTime<Utc>,
    spki: Range<usize>,
    first_uid: Option<NodeId>,
    uids: usize,
}

impl Certificate {
    /// Reads the first PEM certificate.
    pub fn from_pem(pem: &[u8]) -> Result<Self, CertificateError> {
        let mut all = PemCertificates { rest: pem };
        let first = all.next().unwrap_or(Err(CertificateError::Pem("there is no certificate in it")))?;
        Self::new(first.to_x509().map_err(|_| CertificateError::Content)?)
    }

    /// Wraps a certificate, for instance the peer's in a TLS session.
    pub fn new(x509: X509) -> Result<Self, CertificateError> {
        let der = x509.to_der().map_err(|_| CertificateError::Content)?;
        let certificate = Self::from_der(der.into()).map_err(|_| CertificateError::Content)?;
        Ok(Self { x509: x509.into(), ..certificate })
    }

    fn from_der(der: Box<[u8]>) -> der::Result<Self> {
        let mut tbs = SliceReader::new(first_value(value_of(&der, Tag::Sequence)?, Tag::Sequence)?)?;
        if tbs.peek_tag()? == VERSION {
            AnyRef::decode(&mut tbs)?;
        }
        let serial = take(&mut tbs, Tag::Integer)?;
        take(&mut tbs, Tag::Sequence)?; // signature algorithm
        let issuer = tbs.tlv_bytes()?;
        let mut validity = SliceReader::new(take(&mut tbs, Tag::Sequence)?)?;
        let [not_before, not_after] = [read_time(&mut validity)?, read_time(&mut validity)?];
        let (first_uid, uids) = read_uids(take(&mut tbs, Tag::Sequence)?)?;
        let spki = tbs.tlv_bytes()?;
        let [serial, issuer, spki] = [serial, issuer, spki].map(|part| range_in(&der, part));
        let x509 = OnceLock::new();
        Ok(Self { der, x509, serial, issuer, not_before, not_after, spki, first_uid, uids })
    }

    /// The node named by the first UID attribute of the subject, if that is a valid node id.
    ///
    /// This is how bundles are read. To decide who a peer is, use [`Self::sole_node_id`].
    pub fn node_id(&self) -> Option<&NodeId> {
        self.first_uid.as_ref()
    }

    /// The node named by the subject, unless the subject is ambiguous: with several UID attributes
    /// two readers could see two nodes.
    pub fn sole_node_id(&self) -> Option<&NodeId> {
        self.node_id().filter(|_| self.uids == 1)
    }

    /// Whether the subject has a UID attribute at all, clean or not.
    pub fn has_uid(&self) -> bool {
        self.uids > 0
    }

    /// The node that a rule finds in the certificate, unless the certificate is ambiguous: with
    /// several names that fit. Names of hosts have no case, so a node id from one is in lower case.
    pub fn node_id_by(&self, rule: &NodeIdRule) -> Option<NodeId> {
        let (names, pattern) = match rule {
            NodeIdRule::Uid => return self.sole_node_id().cloned(),
            NodeIdRule::Dns(pattern) => (self.dns_names(), pattern),
            NodeIdRule::Uri(pattern) => (self.uris(), pattern),
        };
        let ids = names.iter().filter_map(|name| {
            name.strip_prefix(&*pattern.prefix)?.strip_suffix(&*pattern.suffix)?.parse().ok()
        });
        let mut ids: Vec<NodeId> = ids.take(2).collect();
        if ids.len() == 1 { ids.pop() } else { None }
    }

    /// The dNSNames among the alternative names, in lower case.
    pub fn dns_names(&self) -> Vec<String> {
        let mut names = self.alternative_names(|name| name.dnsname());
        names.iter_mut().for_each(|name| name.make_ascii_lowercase());
        names
    }

    /// The uniformResourceIdentifiers among the alternative names.
    pub fn uris(&self) -> Vec<String> {
        self.alternative_names(|name| name.uri())
    }

    fn alternative_names(&self, of_kind: impl Fn(&GeneralNameRef) -> Option<&str>) -> Vec<String> {
        let names = self.to_x509().ok().and_then(|x509| x509.subject_alt_names());
        names.iter().flatten().filter_map(|name| of_kind(name).map(str::to_owned)).collect()
    }

    /// Start of its validity.
    ///
    /// A date that X.509 does not have (RFC 5280 4.1.2.5) reads as the start of 1970: pinned keys do not
    /// need dates, and to everybody else the certificate has expired.
    pub fn not_before(&self) -> DateTime<Utc> {
        self.not_before
    }

    /// End of its validity, read as [`Self::not_before`].
    pub fn not_after(&self) -> DateTime<Utc> {
        self.not_after
    }

    /// SHA-256 of the whole certificate.
    pub fn fingerprint(&self) -> [u8; 32] {
        sha256(&self.der)
    }

    /// The certificate as it came.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// PEM with LF line ends.
    pub fn to_pem(&self) -> Vec<u8> {
        pem::encode("CERTIFICATE", &self.der).to_vec()
    }

    /// DER SubjectPublicKeyInfo.
    pub fn spki_der(&self) -> &[u8] {
        &self.der[self.spki.clone()]
    }

    /// SHA-256 key hash, as in pins.
    pub fn key_hash(&self) -> KeyHash {
        KeyHash::sha256_of(self.spki_der())
    }

    /// The key, to verify with: made anew, because an RSA key in OpenSSL takes several kilobytes.
    pub fn public_key(&self) -> Result<PKey<Public>, ErrorStack> {
        match rsa_public_key(self.spki_der()) {
            // Ten times as fast as leaving it to OpenSSL to find out what it is.
            Ok(Some(pkcs1)) => PKey::from_rsa(Rsa::public_key_from_der_pkcs1(pkcs1)?),
            _ => PKey::public_key_from_der(self.spki_der()),
        }
    }

    /// DER of the issuer's name.
    pub fn issuer_der(&self) -> &[u8] {
        &self.der[self.issuer.clone()]
    }

    /// Content of the DER INTEGER that the serial number is.
    pub fn serial(&self) -> &[u8] {
        &self.der[self.serial.clone()]
    }

    /// The certificate as OpenSSL has it, made when first asked for.
    ///
    /// **Panics** when OpenSSL cannot read it, which [`Self::new`] and [`Self::from_pem`] rule out
    /// and [`read_bundle`] does not: use [`Self::to_x509`] for those.
    pub fn x509(&self) -> &X509 {
        self.x509.get_or_init(|| self.to_x509().expect("OpenSSL reads this certificate"))
    }

    /// The certificate as OpenSSL has it, if it can read it.
    pub fn to_x509(&self) -> Result<X509, ErrorStack> {
        X509::from_der(&self.der)
    }
}

/// Reads all certificates of a PEM bundle, in order. Text between them is ignored.
pub fn read_bundle(pem: &[u8]) -> Result<Vec<Certificate>, CertificateError> {
    PemCertificates { rest: pem }.collect()
}

/// Why certificates cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Not PEM, or not a certificate in it.
    #[error("not a PEM certificate: {0}")]
    Pem(&'static str),
    /// Not DER, or not a certificate.
    #[error("malformed certificate")]
    Content,
}

/// UserId of RFC 4519.
pub(crate) const UID: ObjectIdentifier = ObjectIdentifier::new_unwrap("0.9.2342.19200300.100.1.1");

/// `[0] EXPLICIT Version`.
const VERSION: Tag = context(TagNumber::N0);

/// A UTCTime or GeneralizedTime; the start of 1970 if it is malformed.
fn read_time(reader: &mut SliceReader<'_>) -> der::Result<DateTime<Utc>> {
    let der = reader.tlv_bytes()?;
    let since_1970 = UtcTime::from_der(der)
        .map(|time| time.to_unix_duration())
        .or_else(|_| GeneralizedTime::from_der(der).map(|time| time.to_unix_duration()))
        .unwrap_or(Duration::ZERO);
    let seconds = i64::try_from(since_1970.as_secs()).unwrap_or_default();
    Ok(DateTime::from_timestamp(seconds, 0).unwrap_or_default())
}

/// The UID of a Name, if it is clean, and how many there are.
fn read_uids(name: &[u8]) -> der::Result<(Option<NodeId>, usize)> {
    let (mut first, mut uids) = (None, 0);
    let mut rdns = SliceReader::new(name)?;
    while !rdns.is_finished() {
        let mut rdn = SliceReader::new(take(&mut rdns, Tag::Set)?)?;
        while !rdn.is_finished() {
            let mut attribute = SliceReader::new(take(&mut rdn, Tag::Sequence)?)?;
            let kind = take(&mut attribute, Tag::ObjectIdentifier)?;
            let value = AnyRef::decode(&mut attribute)?;
            if kind == UID.as_bytes() {
                uids += 1;
                if uids == 1 {
                    first = clean_node_id(value);
                }
            }
        }
    }
    Ok((first, uids))
}

/// A node id in one of the string types in which ASCII is ASCII.
pub(crate) fn clean_node_id(value: AnyRef<'_>) -> Option<NodeId> {
    match value.tag() {
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String => {
            std::str::from_utf8(value.value()).ok()?.parse().ok()
        }
        _ => None,
    }
}

/// The PKCS#1 key in a SubjectPublicKeyInfo, if it is one for plain RSA.
fn rsa_public_key(spki: &[u8]) -> der::Result<Option<&[u8]>> {
    let mut spki = SliceReader::new(value_of(spki, Tag::Sequence)?)?;
    let algorithm = take(&mut spki, Tag::Sequence)?;
    let is_rsa = first_value(algorithm, Tag::ObjectIdentifier)? == RSA_ENCRYPTION.as_bytes();
    let key = BitStringRef::decode(&mut spki)?;
    Ok(key.as_bytes().filter(|_| is_rsa))
}

/// Where in `whole` its slice `part` is.
fn range_in(whole: &[u8], part: &[u8]) -> Range<usize> {
    let start = part.as_ptr().addr() - whole.as_ptr().addr();
    start..start + part.len()
}

struct PemCertificates<'a> {
    rest: &'a [u8],
}

const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";
const END: &[u8] = b"-----END CERTIFICATE-----";

impl Iterator for PemCertificates<'_> {
    type Item = Result<Certificate, CertificateError>;

    fn next(&mut self) -> Option<Self::Item> {
        let begin = memmem::find(self.rest, BEGIN)? + BEGIN.len();
        let after = &self.rest[begin..];
        let Some(end) = memmem::find(after, END) else {
            self.rest = &[];
            return Some(Err(CertificateError::Pem("no end line")));
        };
        self.rest = &after[end + END.len()..];
        let digits: Vec<u8> = after[..end].iter().copied().filter(|b| !b.is_ascii_whitespace()).collect();
        Some(match BASE64_STANDARD.decode(digits) {
            Ok(der) => Certificate::from_der(der.into()).map_err(|_| CertificateError::Content),
            Err(_) => Err(CertificateError::Pem("not base64")),
        })
    }
}
