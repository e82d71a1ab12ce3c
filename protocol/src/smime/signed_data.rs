// SPDX-License-Identifier: Apache-2.0
//! CMS SignedData (RFC 5652 5) with exactly one signer, read without copying.
//!
//! Only DER is read: lengths are definite and minimal, nothing may follow a structure. Embedded
//! certificates, revocation lists and unsigned attributes are stepped over, not looked into.

use const_oid::db::rfc6268;
use der::{AnyRef, Decode, Reader, SliceReader, Tag, TagNumber, Tagged, asn1::ObjectIdentifier};

use super::SmimeError;

/// What the one signer says, mostly in slices of the DER.
#[derive(Debug)]
pub struct Signer<'a> {
    /// DER of the name of the certificate's issuer.
    pub issuer: &'a [u8],
    /// Content of the DER INTEGER that the certificate's serial number is.
    pub serial: &'a [u8],
    /// Digest over the content and over the attributes.
    pub digest_algorithm: ObjectIdentifier,
    /// Signature over the attributes.
    pub signature_algorithm: ObjectIdentifier,
    /// DER of the attributes as SET OF, in the order they came: what is signed.
    pub attributes: Vec<u8>,
    /// Digest of the content, as the attributes have it.
    pub message_digest: &'a [u8],
    /// The signature.
    pub signature: &'a [u8],
}

/// Reads the DER of a detached signature.
pub fn read(der: &[u8]) -> Result<Signer<'_>, SmimeError> {
    let mut content_info = Structure::only(der, Tag::Sequence, "ContentInfo")?;
    if content_info.oid()? != rfc6268::ID_SIGNED_DATA {
        return Err(SmimeError::NotSignedData);
    }
    let explicit = content_info.take(context(0))?;
    content_info.end()?;
    let mut signed_data = Structure::only(explicit, Tag::Sequence, "SignedData")?;
    signed_data.take(Tag::Integer)?;
    let announced = signed_data.take(Tag::Set)?;
    check_detached(signed_data.take(Tag::Sequence)?)?;
    signed_data.skip_optional(context(0))?; // certificates
    signed_data.skip_optional(context(1))?; // revocation lists
    let mut signers = Structure::new(signed_data.take(Tag::Set)?, "SignerInfos")?;
    signed_data.end()?;
    if signers.is_empty() {
        return Err(SmimeError::NoSigner);
    }
    let signer = signers.take(Tag::Sequence)?;
    if !signers.is_empty() {
        return Err(SmimeError::SeveralSigners);
    }
    let signer = read_signer(signer)?;
    let mut announced = Structure::new(announced, "DigestAlgorithmIdentifiers")?;
    while !announced.is_empty() {
        if read_algorithm(announced.take(Tag::Sequence)?)? == signer.digest_algorithm {
            return Ok(signer);
        }
    }
    Err(SmimeError::DigestNotAnnounced)
}

fn check_detached(encapsulated: &[u8]) -> Result<(), SmimeError> {
    let mut encapsulated = Structure::new(encapsulated, "EncapsulatedContentInfo")?;
    let is_data = encapsulated.oid()? == rfc6268::ID_DATA;
    if is_data && encapsulated.is_empty() { Ok(()) } else { Err(SmimeError::NotDetached) }
}

fn read_signer(signer: &[u8]) -> Result<Signer<'_>, SmimeError> {
    let mut signer = Structure::new(signer, "SignerInfo")?;
    signer.take(Tag::Integer)?;
    if signer.peek() != Some(Tag::Sequence) {
        return Err(SmimeError::SignerIdentifier);
    }
    let mut identifier = Structure::new(signer.take(Tag::Sequence)?, "IssuerAndSerialNumber")?;
    let issuer = identifier.take_whole(Tag::Sequence)?;
    let serial = identifier.take(Tag::Integer)?;
    identifier.end()?;
    let digest_algorithm = read_algorithm(signer.take(Tag::Sequence)?)?;
    if signer.peek() != Some(context(0)) {
        return Err(SmimeError::NoSignedAttributes);
    }
    let implicit = signer.take_whole(context(0))?;
    let message_digest = read_attributes(Structure::only(implicit, context(0), "SignedAttributes")?)?;
    // The signature is over the attributes with the tag of a SET (RFC 5652 5.4).
    let mut attributes = implicit.to_vec();
    attributes[0] = SET_OCTET;
    let signature_algorithm = read_algorithm(signer.take(Tag::Sequence)?)?;
    let signature = signer.take(Tag::OctetString)?;
    signer.skip_optional(context(1))?; // unsigned attributes
    signer.end()?;
    Ok(Signer {
        issuer,
        serial,
        digest_algorithm,
        signature_algorithm,
        attributes,
        message_digest,
        signature,
    })
}

/// The digest of the content. The attributes also have to say that the content is plain data.
fn read_attributes(mut attributes: Structure<'_>) -> Result<&[u8], SmimeError> {
    const DIGEST: SmimeError = SmimeError::Attribute("messageDigest");
    const TYPE: SmimeError = SmimeError::Attribute("contentType");
    let (mut digest, mut has_type) = (None, false);
    while !attributes.is_empty() {
        let mut attribute = Structure::new(attributes.take(Tag::Sequence)?, "Attribute")?;
        let kind = attribute.take(Tag::ObjectIdentifier)?;
        let values = attribute.take(Tag::Set)?;
        attribute.end()?;
        if kind == rfc6268::ID_MESSAGE_DIGEST.as_bytes() {
            let value = Structure::only_value(values, Tag::OctetString).ok_or(DIGEST)?;
            if digest.replace(value).is_some() {
                return Err(DIGEST);
            }
        } else if kind == rfc6268::ID_CONTENT_TYPE.as_bytes() {
            let value = Structure::only_value(values, Tag::ObjectIdentifier).ok_or(TYPE)?;
            if has_type || value != rfc6268::ID_DATA.as_bytes() {
                return Err(TYPE);
            }
            has_type = true;
        }
    }
    if has_type { digest.ok_or(DIGEST) } else { Err(TYPE) }
}

/// Algorithm without parameters, or with NULL in their place.
fn read_algorithm(algorithm: &[u8]) -> Result<ObjectIdentifier, SmimeError> {
    let mut algorithm = Structure::new(algorithm, "AlgorithmIdentifier")?;
    let oid = algorithm.oid()?;
    if !algorithm.is_empty() && !algorithm.take(Tag::Null)?.is_empty() {
        return Err(SmimeError::Der("AlgorithmIdentifier"));
    }
    algorithm.end()?;
    Ok(oid)
}

const SET_OCTET: u8 = 0x31;

fn context(number: u8) -> Tag {
    Tag::ContextSpecific { constructed: true, number: TagNumber::new(number) }
}

/// The content of a constructed value, with its name for errors.
struct Structure<'a> {
    reader: SliceReader<'a>,
    name: &'static str,
}

impl<'a> Structure<'a> {
    fn new(content: &'a [u8], name: &'static str) -> Result<Self, SmimeError> {
        let reader = SliceReader::new(content).map_err(|_| SmimeError::Der(name))?;
        Ok(Self { reader, name })
    }

    /// The content of the one value that `der` consists of.
    fn only(der: &'a [u8], tag: Tag, name: &'static str) -> Result<Self, SmimeError> {
        let mut outer = Self::new(der, name)?;
        let content = outer.take(tag)?;
        outer.end()?;
        Self::new(content, name)
    }

    /// The content of the one value of an attribute.
    fn only_value(values: &'a [u8], tag: Tag) -> Option<&'a [u8]> {
        let mut values = Self::new(values, "AttributeValue").ok()?;
        let value = values.take(tag).ok()?;
        values.is_empty().then_some(value)
    }

    fn is_empty(&self) -> bool {
        self.reader.is_finished()
    }

    fn end(&self) -> Result<(), SmimeError> {
        if self.is_empty() { Ok(()) } else { Err(SmimeError::TrailingDer(self.name)) }
    }

    fn peek(&self) -> Option<Tag> {
        self.reader.peek_tag().ok()
    }

    fn oid(&mut self) -> Result<ObjectIdentifier, SmimeError> {
        self.reader.decode().map_err(|_| SmimeError::Der(self.name))
    }

    /// The content of the next value.
    fn take(&mut self, tag: Tag) -> Result<&'a [u8], SmimeError> {
        match AnyRef::decode(&mut self.reader) {
            Ok(value) if value.tag() == tag => Ok(value.value()),
            _ => Err(SmimeError::Der(self.name)),
        }
    }

    /// The next value with its tag and length.
    fn take_whole(&mut self, tag: Tag) -> Result<&'a [u8], SmimeError> {
        if self.peek() != Some(tag) {
            return Err(SmimeError::Der(self.name));
        }
        self.reader.tlv_bytes().map_err(|_| SmimeError::Der(self.name))
    }

    fn skip_optional(&mut self, tag: Tag) -> Result<(), SmimeError> {
        if self.peek() == Some(tag) { self.take(tag).map(drop) } else { Ok(()) }
    }
}
