// SPDX-License-Identifier: Apache-2.0
//! What the strict reader refuses, each for its own reason, and what it still accepts.
#![allow(missing_docs)]

mod common;

use std::sync::LazyLock;

use base64::{Engine, prelude::BASE64_STANDARD};
use common::{Identity, openssl};
use openssl::{
    pkey::{Id, PKey, Private},
    rsa::Rsa,
};
use proptest::prelude::*;
use protocol::{
    certificate::Certificate,
    private_key::{KeyKind, generate, self_signed},
    smime::{SmimeError as E, Verified, sign, verify},
};

const LOG: &[u8] = b"2026-01-02T03:04:05+00:00 first\n\n2026-01-02T03:04:05+00:00 last\n";

struct Node {
    identity: Identity,
    message: Vec<u8>,
    verified: Verified,
}

static NODE: LazyLock<Node> = LazyLock::new(|| {
    let identity = Identity::new(PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap());
    let message = sign(LOG, &identity.certificate, &identity.key).unwrap();
    let verified = verify(&message, std::slice::from_ref(&identity.certificate)).unwrap();
    std::fs::write(identity.path().join("log"), LOG).unwrap();
    Node { identity, message, verified }
});

fn check(message: &[u8]) -> Result<Verified, E> {
    verify(message, std::slice::from_ref(&NODE.identity.certificate))
}

fn text(message: &[u8]) -> String {
    String::from_utf8(message.to_vec()).unwrap()
}

/// The good message with one (existing) text replaced.
fn replaced(from: &str, to: &str) -> Vec<u8> {
    let message = text(&NODE.message);
    assert!(message.contains(from), "{from:?}");
    message.replacen(from, to, 1).into_bytes()
}

fn boundary() -> String {
    text(&NODE.message).split('"').nth(5).unwrap().to_owned()
}

/// The good message with another signature.
fn with_signature(base64: &str) -> Vec<u8> {
    let message = text(&NODE.message);
    let start = message.rfind("\n\nMII").unwrap() + 2;
    let end = message.rfind("\n\n--").unwrap();
    format!("{}{base64}{}", &message[..start], &message[end..]).into_bytes()
}

fn with_der(der: &[u8]) -> Vec<u8> {
    with_signature(&BASE64_STANDARD.encode(der))
}

fn der() -> Vec<u8> {
    let message = text(&NODE.message);
    let start = message.rfind("\n\nMII").unwrap() + 2;
    let end = message.rfind("\n\n--").unwrap();
    BASE64_STANDARD.decode(message[start..end].replace('\n', "")).unwrap()
}

/// DER of one value.
fn tlv(tag: u8, content: &[&[u8]]) -> Vec<u8> {
    let content = content.concat();
    let length = content.len() as u32;
    let octets = match length {
        0..0x80 => vec![length as u8],
        0x80..0x100 => vec![0x81, length as u8],
        _ => vec![0x82, (length >> 8) as u8, length as u8],
    };
    [&[tag][..], &octets, &content].concat()
}

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const CONTEXT_0: u8 = 0xa0;
const CONTEXT_1: u8 = 0xa1;
const INTEGER: u8 = 2;
const OCTETS: u8 = 4;
const OID: u8 = 6;

const DATA: &[u8] = &[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 7, 1];
const SIGNED_DATA: &[u8] = &[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 7, 2];
const CONTENT_TYPE: &[u8] = &[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 9, 3];
const MESSAGE_DIGEST: &[u8] = &[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 9, 4];
const SHA256: &[u8] = &[6, 9, 0x60, 0x86, 0x48, 1, 101, 3, 4, 2, 1];
const SHA1: &[u8] = &[6, 5, 0x2b, 14, 3, 2, 26];
const RSA: &[u8] = &[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 1, 1];
const RSA_SHA512: &[u8] = &[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 1, 13];
const RSA_PSS: &[u8] = &[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 1, 10];
const ECDSA_SHA256: &[u8] = &[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
const NULL: &[u8] = &[5, 0];

/// A signature made by hand, with the node's real key, so that every field can be wrong on its own.
struct ByHand {
    announced: Vec<Vec<u8>>,
    encapsulated: Vec<u8>,
    certificates: Vec<u8>,
    signers: usize,
    identifier: Vec<u8>,
    digest: Vec<u8>,
    attributes: Vec<Vec<u8>>,
    algorithm: Vec<u8>,
    unsigned: Vec<u8>,
    after: Vec<u8>,
}

fn attribute(oid: &[u8], values: &[&[u8]]) -> Vec<u8> {
    tlv(SEQUENCE, &[oid, &tlv(SET, values)])
}

impl ByHand {
    fn new() -> Self {
        let certificate = &NODE.identity.certificate;
        Self {
            announced: vec![tlv(SEQUENCE, &[SHA256, NULL])],
            encapsulated: tlv(SEQUENCE, &[DATA]),
            certificates: vec![],
            signers: 1,
            identifier: tlv(SEQUENCE, &[certificate.issuer_der(), &tlv(INTEGER, &[certificate.serial()])]),
            digest: tlv(SEQUENCE, &[SHA256, NULL]),
            attributes: vec![
                attribute(CONTENT_TYPE, &[DATA]),
                attribute(MESSAGE_DIGEST, &[&tlv(OCTETS, &[&NODE.verified.digest])]),
            ],
            algorithm: tlv(SEQUENCE, &[RSA, NULL]),
            unsigned: vec![],
            after: vec![],
        }
    }

    fn der(&self) -> Vec<u8> {
        let attributes = self.attributes.concat();
        let key = &NODE.identity.key;
        let mut signer = openssl::sign::Signer::new(openssl::hash::MessageDigest::sha256(), key).unwrap();
        let signature = signer.sign_oneshot_to_vec(&tlv(SET, &[&attributes])).unwrap();
        let attributes = match attributes.is_empty() {
            true => vec![],
            false => tlv(CONTEXT_0, &[&attributes]),
        };
        let signer = tlv(
            SEQUENCE,
            &[
                &[INTEGER, 1, 1],
                &self.identifier,
                &self.digest,
                &attributes,
                &self.algorithm,
                &tlv(OCTETS, &[&signature]),
                &self.unsigned,
            ],
        );
        let signed_data = tlv(
            SEQUENCE,
            &[
                &[INTEGER, 1, 1],
                &tlv(SET, &[&self.announced.concat()]),
                &self.encapsulated,
                &self.certificates,
                &tlv(SET, &[&signer.repeat(self.signers)]),
                &self.after,
            ],
        );
        tlv(SEQUENCE, &[SIGNED_DATA, &tlv(CONTEXT_0, &[&signed_data])])
    }
}

fn by_hand(change: impl FnOnce(&mut ByHand)) -> Result<Verified, E> {
    let mut signature = ByHand::new();
    change(&mut signature);
    check(&with_der(&signature.der()))
}

#[test]
fn made_by_hand_it_is_accepted_until_a_field_is_wrong() {
    assert_eq!(by_hand(|_| {}).as_ref(), Ok(&NODE.verified));
    let digest = attribute(MESSAGE_DIGEST, &[&tlv(OCTETS, &[&NODE.verified.digest])]);
    let kind = attribute(CONTENT_TYPE, &[DATA]);
    type Change = Box<dyn Fn(&mut ByHand)>;
    let table: Vec<(&str, Change, E)> = vec![
        ("no digest algorithms", Box::new(|s| s.announced.clear()), E::DigestNotAnnounced),
        (
            "another digest announced",
            Box::new(|s| s.announced = vec![tlv(SEQUENCE, &[SHA1, NULL])]),
            E::DigestNotAnnounced,
        ),
        (
            "content inside",
            Box::new(|s| s.encapsulated = tlv(SEQUENCE, &[DATA, &tlv(CONTEXT_0, &[&tlv(OCTETS, &[LOG])])])),
            E::NotDetached,
        ),
        (
            "over signed data, not data",
            Box::new(|s| s.encapsulated = tlv(SEQUENCE, &[SIGNED_DATA])),
            E::NotDetached,
        ),
        ("no signer", Box::new(|s| s.signers = 0), E::NoSigner),
        ("two signers", Box::new(|s| s.signers = 2), E::SeveralSigners),
        (
            "signer by key identifier",
            Box::new(|s| s.identifier = tlv(0x80, &[&[1; 20]])),
            E::SignerIdentifier,
        ),
        (
            "another serial",
            Box::new(|s| {
                let issuer = NODE.identity.certificate.issuer_der();
                s.identifier = tlv(SEQUENCE, &[issuer, &[INTEGER, 1, 9]]);
            }),
            E::SignerNotFound(1),
        ),
        (
            "the serial, negative",
            Box::new(|s| {
                let issuer = NODE.identity.certificate.issuer_der();
                let serial = [&[0xff], NODE.identity.certificate.serial()].concat();
                s.identifier = tlv(SEQUENCE, &[issuer, &tlv(INTEGER, &[&serial])]);
            }),
            E::SignerNotFound(1),
        ),
        (
            "another issuer",
            Box::new(|s| {
                let serial = NODE.identity.certificate.serial();
                s.identifier = tlv(SEQUENCE, &[&tlv(SEQUENCE, &[]), &tlv(INTEGER, &[serial])]);
            }),
            E::SignerNotFound(1),
        ),
        (
            "more in the identifier",
            Box::new(|s| {
                let issuer = NODE.identity.certificate.issuer_der();
                s.identifier = tlv(SEQUENCE, &[issuer, &[INTEGER, 1, 9], NULL]);
            }),
            E::TrailingDer("IssuerAndSerialNumber"),
        ),
        (
            "SHA-1",
            Box::new(|s| {
                s.digest = tlv(SEQUENCE, &[SHA1, NULL]);
                s.announced = vec![tlv(SEQUENCE, &[SHA1, NULL])];
            }),
            E::Digest("1.3.14.3.2.26".into()),
        ),
        (
            "digest with parameters",
            Box::new(|s| s.digest = tlv(SEQUENCE, &[SHA256, &[INTEGER, 1, 1]])),
            E::Der("AlgorithmIdentifier"),
        ),
        ("no signed attributes", Box::new(|s| s.attributes.clear()), E::NoSignedAttributes),
        ("no content type", Box::new(|s| drop(s.attributes.remove(0))), E::Attribute("contentType")),
        ("no message digest", Box::new(|s| drop(s.attributes.remove(1))), E::Attribute("messageDigest")),
        (
            "two content types",
            Box::new(move |s| s.attributes.push(kind.clone())),
            E::Attribute("contentType"),
        ),
        (
            "two message digests",
            Box::new(move |s| s.attributes.push(digest.clone())),
            E::Attribute("messageDigest"),
        ),
        (
            "a message digest of two values",
            Box::new(|s| {
                let value = tlv(OCTETS, &[&NODE.verified.digest]);
                s.attributes[1] = attribute(MESSAGE_DIGEST, &[&value, &value]);
            }),
            E::Attribute("messageDigest"),
        ),
        (
            "a message digest of no value",
            Box::new(|s| s.attributes[1] = attribute(MESSAGE_DIGEST, &[])),
            E::Attribute("messageDigest"),
        ),
        (
            "a message digest of another type",
            Box::new(|s| {
                s.attributes[1] = attribute(MESSAGE_DIGEST, &[&tlv(12, &[&NODE.verified.digest])]);
            }),
            E::Attribute("messageDigest"),
        ),
        (
            "another content type",
            Box::new(|s| s.attributes[0] = attribute(CONTENT_TYPE, &[SIGNED_DATA])),
            E::Attribute("contentType"),
        ),
        (
            "another digest",
            Box::new(|s| s.attributes[1] = attribute(MESSAGE_DIGEST, &[&tlv(OCTETS, &[&[7; 32]])])),
            E::DigestMismatch,
        ),
        (
            "half the digest",
            Box::new(|s| {
                let half = tlv(OCTETS, &[&NODE.verified.digest[..16]]);
                s.attributes[1] = attribute(MESSAGE_DIGEST, &[&half]);
            }),
            E::DigestMismatch,
        ),
        (
            "an attribute that goes on",
            Box::new(|s| s.attributes[0] = tlv(SEQUENCE, &[CONTENT_TYPE, &tlv(SET, &[DATA]), NULL])),
            E::TrailingDer("Attribute"),
        ),
        (
            "RSA with another digest",
            Box::new(|s| s.algorithm = tlv(SEQUENCE, &[RSA_SHA512, NULL])),
            E::Algorithm("1.2.840.113549.1.1.13".into()),
        ),
        (
            "RSA-PSS",
            Box::new(|s| s.algorithm = tlv(SEQUENCE, &[RSA_PSS])),
            E::Algorithm("1.2.840.113549.1.1.10".into()),
        ),
        (
            "ECDSA with an RSA key",
            Box::new(|s| s.algorithm = tlv(SEQUENCE, &[ECDSA_SHA256])),
            E::Algorithm("1.2.840.10045.4.3.2".into()),
        ),
        ("more after the signers", Box::new(|s| s.after = NULL.to_vec()), E::TrailingDer("SignedData")),
        ("more in the signer", Box::new(|s| s.unsigned = NULL.to_vec()), E::TrailingDer("SignerInfo")),
    ];
    for (name, change, error) in table {
        assert_eq!(by_hand(|s| change(s)), Err(error), "{name}");
    }
}

#[test]
fn what_does_not_matter_is_stepped_over() {
    let good = Ok(&NODE.verified);
    let embedded = NODE.identity.certificate.to_x509().unwrap().to_der().unwrap();
    for certificates in [
        tlv(CONTEXT_0, &[&embedded]),
        tlv(CONTEXT_0, &[&tlv(SEQUENCE, &[b"no certificate at all"])]),
        tlv(CONTEXT_1, &[&tlv(SEQUENCE, &[b"no revocation list"])]),
        [tlv(CONTEXT_0, &[]), tlv(CONTEXT_1, &[])].concat(),
    ] {
        assert_eq!(by_hand(|s| s.certificates = certificates).as_ref(), good);
    }
    assert_eq!(by_hand(|s| s.unsigned = tlv(CONTEXT_1, &[b"anything"])).as_ref(), good);
    // Not DER, but signed as they stand.
    assert_eq!(by_hand(|s| s.attributes.reverse()).as_ref(), good);
    assert_eq!(by_hand(|s| s.digest = tlv(SEQUENCE, &[SHA256])).as_ref(), good);
    assert_eq!(by_hand(|s| s.announced.insert(0, tlv(SEQUENCE, &[SHA1]))).as_ref(), good);
    let unknown = attribute(&tlv(OID, &[&[0x2a, 3]]), &[b"\x0c\x01x", b"\x0c\x01y"]);
    assert_eq!(by_hand(|s| s.attributes.push(unknown)).as_ref(), good);
}

#[test]
fn damaged_der_is_refused() {
    let good = der();
    assert_eq!(check(&with_der(&good)).as_ref(), Ok(&NODE.verified));
    for length in 0..good.len() {
        assert!(check(&with_der(&good[..length])).is_err(), "{length}");
    }
    let trailing = [&good[..], &[0]].concat();
    assert!(matches!(check(&with_der(&trailing)), Err(E::Der(_) | E::TrailingDer(_))));
    let trailing = [&good[..], NULL].concat();
    assert_eq!(check(&with_der(&trailing)), Err(E::TrailingDer("ContentInfo")));
    // BER: the outer length indefinite, or with a leading zero.
    let indefinite = [&[SEQUENCE, 0x80], &good[4..], &[0, 0]].concat();
    assert_eq!(check(&with_der(&indefinite)), Err(E::Der("ContentInfo")));
    let long = [&[SEQUENCE, 0x83, 0], &good[2..]].concat();
    assert_eq!(check(&with_der(&long)), Err(E::Der("ContentInfo")));
    let enveloped = tlv(SEQUENCE, &[DATA, &tlv(CONTEXT_0, &[&tlv(OCTETS, &[LOG])])]);
    assert_eq!(check(&with_der(&enveloped)), Err(E::NotSignedData));
    let nested = tlv(SEQUENCE, &[SIGNED_DATA, &tlv(CONTEXT_0, &[&good])]);
    assert!(check(&with_der(&nested)).is_err());
}

#[test]
fn damaged_envelopes_are_refused() {
    let b = boundary();
    let body_start = text(&NODE.message).find(&format!("--{b}\n")).unwrap();
    let body = &text(&NODE.message)[body_start..];
    let head = text(&NODE.message)[..body_start].to_owned();
    let signed_part = body.split(&format!("\n--{b}")).next().unwrap();
    let append = |more: &str| [&NODE.message, more.as_bytes()].concat();
    let big = BASE64_STANDARD.encode(vec![0; 60_000]);
    let many_headers = format!("X: {}\n", "x".repeat(1000)).repeat(9);

    for (name, message, error) in [
        ("empty", vec![], E::Headers("no empty line after them")),
        ("plain log", LOG.to_vec(), E::NotMultipartSigned),
        ("no headers", body.into(), E::Headers("a line without colon")),
        (
            "no content type",
            replaced("Content-Type: multipart", "Content-Kind: multipart"),
            E::NotMultipartSigned,
        ),
        (
            "two content types",
            replaced("MIME-Version: 1.0", "Content-Type: multipart/signed"),
            E::Headers("two content types"),
        ),
        ("multipart/mixed", replaced("multipart/signed", "multipart/mixed"), E::NotMultipartSigned),
        ("opaque", replaced("multipart/signed", "application/pkcs7-mime"), E::NotMultipartSigned),
        ("OpenPGP", replaced("x-pkcs7-signature", "pgp-signature"), E::Protocol),
        ("no protocol", replaced("protocol=\"application/x-pkcs7-signature\"; ", ""), E::Protocol),
        ("no boundary", replaced(&format!("; boundary=\"{b}\""), ""), E::Boundary),
        ("empty boundary", replaced(&format!("\"{b}\""), "\"\""), E::Boundary),
        ("long boundary", replaced(&format!("\"{b}\""), &format!("\"{}\"", "b".repeat(71))), E::Boundary),
        ("odd boundary", replaced(&format!("\"{b}\""), "\"a*b\""), E::Boundary),
        ("two boundaries", replaced("micalg=", "boundary=\"x\"; micalg="), E::Headers("a doubled parameter")),
        ("another boundary", replaced(&format!("\"{b}\""), "\"other\""), E::Truncated),
        (
            "open quote",
            replaced(&format!("\"{b}\""), &format!("\"{b}")),
            E::Headers("a malformed content type"),
        ),
        ("8-bit header", replaced("MIME-Version: 1.0", "X: \u{e9}"), E::Headers("not ASCII")),
        ("a name with a space", replaced("MIME-Version:", "MIME Version:"), E::Headers("a malformed name")),
        (
            "headers without end",
            [many_headers.as_bytes(), &NODE.message].concat(),
            E::Headers("no empty line after them"),
        ),
        ("text after the end", append("x"), E::Trailing),
        ("a third part after the end", append(&format!("--{b}\n\nx\n")), E::Trailing),
        ("twice", NODE.message.repeat(2), E::Trailing),
        ("no closing", replaced(&format!("\n--{b}--"), ""), E::Truncated),
        ("closing is no closing", replaced(&format!("\n--{b}--"), &format!("\n--{b}")), E::Parts),
        ("only one part", format!("{head}{signed_part}\n--{b}--\n").into(), E::Parts),
        ("no part", format!("{head}--{b}--\n").into(), E::Parts),
        ("a part in front", format!("{head}--{b}\n\nx\n{body}").into(), E::Parts),
        (
            "a part in between",
            format!("{head}{signed_part}\n--{b}\n\nx\n{}", &body[signed_part.len() + 1..]).into(),
            E::Parts,
        ),
        (
            "a boundary that goes on",
            replaced(&format!("\n--{b}\nC"), &format!("\n--{b}x\nC")),
            E::BoundaryLine,
        ),
        (
            "a boundary that goes on, in the content",
            replaced("first", &format!("first\r\n--{b}x")),
            E::BoundaryLine,
        ),
        ("no text header", replaced("Content-Type: text/plain\r\n\r\n", ""), E::DigestMismatch),
        ("HTML", replaced("text/plain", "text/html"), E::DigestMismatch),
        ("altered", replaced("first", "fir5t"), E::DigestMismatch),
        ("a line more", replaced("first\r\n", "first\r\n\r\n"), E::DigestMismatch),
        ("a line less", replaced("\r\n\r\n2026", "\r\n2026"), E::DigestMismatch),
        ("a space more", replaced("first\r\n", "first \r\n"), E::DigestMismatch),
        (
            "another signature type",
            replaced("application/x-pkcs7-signature; name", "text/plain; name"),
            E::NotSignature,
        ),
        ("no base64", replaced("Encoding: base64", "Encoding: binary"), E::NotSignature),
        ("two encodings", replaced("Content-Disposition", "Content-Transfer-Encoding"), E::NotSignature),
        ("empty signature", with_signature(""), E::Der("ContentInfo")),
        ("no base64 digits", with_signature("MII*"), E::Base64),
        ("spaces in base64", replaced("\n\nMII", "\n\nM II"), E::Base64),
        ("bad padding", with_signature("MII"), E::Base64),
        ("loose bits", with_signature("MB=="), E::Base64),
        ("a huge signature", with_signature(&big), E::SignatureTooLarge(64 << 10)),
    ] {
        assert_eq!(check(&message), Err(error), "{name}");
    }
    for length in 0..NODE.message.len() - 5 {
        assert!(check(&NODE.message[..length]).is_err(), "cut at {length}");
    }
}

#[test]
fn a_signed_part_that_is_not_plain_text_is_refused() {
    for header in [
        "",
        "\r\n",
        "Content-Type: text/html\r\n\r\n",
        "Content-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\n",
        "Content-Type: text/plain\r\nContent-Type: text/plain\r\n\r\n",
        "Content-Type: text/plain\r\n",
    ] {
        let content = format!("{header}log\r\n");
        let mut signature = ByHand::new();
        let digest = openssl::sha::sha256(content.as_bytes());
        signature.attributes[1] = attribute(MESSAGE_DIGEST, &[&tlv(OCTETS, &[&digest])]);
        let signature = BASE64_STANDARD.encode(signature.der());
        let message = format!(
            "Content-Type: multipart/signed; protocol=\"application/pkcs7-signature\"; boundary=B\n\n\
             --B\n{content}\n--B\nContent-Type: application/pkcs7-signature\n\
             Content-Transfer-Encoding: base64\n\n{signature}\n--B--\n"
        );
        assert_eq!(check(message.as_bytes()), Err(E::NotText), "{header:?}");
    }
}

fn signed_by_openssl(identity: &Identity, more: &[&str]) -> Vec<u8> {
    std::fs::write(identity.path().join("log"), LOG).unwrap();
    let common = ["cms", "-sign", "-text", "-in", "log", "-signer", "cert.pem", "-inkey", "key.pem"];
    openssl(identity.path(), &[&common[..], more].concat()).unwrap()
}

#[test]
fn weak_or_unusual_messages_of_stock_openssl_are_refused() {
    let node = &NODE.identity;
    let check = |arguments: &[&str]| check(&signed_by_openssl(node, arguments));
    assert_eq!(check(&["-nocerts"]).as_ref(), Ok(&NODE.verified));
    assert_eq!(check(&[]).as_ref(), Ok(&NODE.verified), "embedded certificate");
    assert_eq!(check(&["-nocerts", "-nosmimecap"]).as_ref(), Ok(&NODE.verified));
    assert!(matches!(check(&["-nocerts", "-md", "md5"]), Err(E::Digest(_))));
    assert!(matches!(check(&["-nocerts", "-md", "sha1"]), Err(E::Digest(_))));
    assert!(matches!(check(&["-nocerts", "-md", "sha224"]), Err(E::Digest(_))));
    assert_eq!(check(&["-nocerts", "-noattr"]), Err(E::NoSignedAttributes));
    assert_eq!(check(&["-nocerts", "-keyid"]), Err(E::SignerIdentifier));
    assert_eq!(check(&["-nocerts", "-nodetach"]), Err(E::NotMultipartSigned));
    assert!(check(&["-nocerts", "-keyopt", "rsa_padding_mode:pss"]).is_err());
    assert!(matches!(check(&["-outform", "PEM"]), Err(E::Headers(_) | E::NotMultipartSigned)));
    let two = ["-nocerts", "-signer", "cert.pem", "-inkey", "key.pem"];
    assert_eq!(check(&two), Err(E::SeveralSigners));
}

#[test]
fn weak_and_unsupported_keys_are_refused() {
    for (name, key) in [
        ("RSA 1024", PKey::from_rsa(Rsa::generate(1024).unwrap()).unwrap()),
        ("RSA 2047", PKey::from_rsa(Rsa::generate(2047).unwrap()).unwrap()),
        ("P-384", {
            let curve = openssl::ec::EcGroup::from_curve_name(openssl::nid::Nid::SECP384R1).unwrap();
            PKey::from_ec_key(openssl::ec::EcKey::generate(&curve).unwrap()).unwrap()
        }),
    ] {
        let identity = Identity::new(key);
        let message = signed_by_openssl(&identity, &["-nocerts"]);
        assert_eq!(verify(&message, &[identity.certificate]), Err(E::Key), "{name}");
    }
}

#[test]
fn another_key_under_the_same_name_and_serial_does_not_verify() {
    let forger = generate(KeyKind::P256).unwrap();
    let forged = forge(&NODE.identity.certificate, &forger);
    let message = sign(LOG, &forged, &forger).unwrap();
    assert!(verify(&message, std::slice::from_ref(&forged)).is_ok());
    assert!(matches!(check(&message), Err(E::Algorithm(_))));
    let forger = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
    let forged = forge(&NODE.identity.certificate, &forger);
    let message = sign(LOG, &forged, &forger).unwrap();
    assert_eq!(check(&message), Err(E::BadSignature));
    // With both known, the one that fits decides.
    let both = [NODE.identity.certificate.clone(), forged];
    assert!(verify(&message, &both).is_ok() && verify(&NODE.message, &both).is_ok());
}

/// A certificate with the subject, issuer and serial number of another.
fn forge(certificate: &Certificate, key: &PKey<Private>) -> Certificate {
    assert!(matches!(key.id(), Id::RSA | Id::EC));
    let node = certificate.node_id().unwrap();
    let mut x509 = openssl::x509::X509::builder().unwrap();
    let template = self_signed(key, node).unwrap().to_x509().unwrap();
    x509.set_version(2).unwrap();
    let original = certificate.to_x509().unwrap();
    x509.set_serial_number(original.serial_number()).unwrap();
    x509.set_subject_name(original.subject_name()).unwrap();
    x509.set_issuer_name(original.issuer_name()).unwrap();
    x509.set_not_before(template.not_before()).unwrap();
    // Over before it began: dates do not count.
    x509.set_not_after(template.not_before()).unwrap();
    x509.set_pubkey(key).unwrap();
    x509.sign(key, openssl::hash::MessageDigest::sha256()).unwrap();
    Certificate::new(x509.build()).unwrap()
}

/// The same run in 100 and more forms that transport or another tool can give it.
#[test]
fn byte_variants_have_one_identity() {
    let good = text(&NODE.message);
    let b = boundary();
    let (head, body) = good.split_at(good.find("\n\n").unwrap());
    let body_start = body.find(&format!("--{b}")).unwrap();
    let (preamble, parts) = body.split_at(body_start);
    assert!(preamble.contains("S/MIME"));
    let heads = [
        head.to_owned(),
        head.replace("MIME-Version: 1.0\n", ""),
        head.replace("Content-Type", "content-type").replace("multipart/signed", "Multipart/SIGNED"),
        format!("X-Hop: 1\n{head}\nX-Hop: 2"),
        head.replace("; ", ";\n\t"),
        head.replace(&format!("\"{b}\""), &b),
    ];
    let preambles = ["\n\n".to_owned(), preamble.to_owned(), "\n\nother\nwords --x\n".to_owned()];
    let line_ends: [fn(&str) -> String; 5] = [
        |s| s.to_owned(),
        |s| s.replace("\r\n", "\n"),
        |s| s.replace("\r\n", "\n").replace('\n', "\r\n"),
        |s| s.replace('\n', "\r\n"),
        |s| s.replace("\r\n", "\r\r\n"),
    ];
    let mut seen = std::collections::HashSet::new();
    for head in &heads {
        for preamble in &preambles {
            for change in line_ends {
                for end in ["", "\n", " \r\n\r\n"] {
                    let message = change(&format!("{head}{preamble}{}{end}", parts.trim_end()));
                    let verified = check(message.as_bytes()).unwrap_or_else(|e| panic!("{e}: {message}"));
                    assert_eq!(verified.digest, NODE.verified.digest);
                    assert_eq!(verified.text, NODE.verified.text);
                    seen.insert(message);
                }
            }
        }
    }
    assert!(seen.len() >= 100, "{}", seen.len());
}

#[test]
fn nul_and_invalid_utf8_in_a_validly_signed_log_are_replaced() {
    let content = b"Content-Type: text/plain\r\n\r\na\0b\0\r\n\xff\xfe\r\n";
    let mut signature = ByHand::new();
    let digest = openssl::sha::sha256(content);
    signature.attributes[1] = attribute(MESSAGE_DIGEST, &[&tlv(OCTETS, &[&digest])]);
    let signature = BASE64_STANDARD.encode(signature.der());
    let message = [
        b"Content-Type: multipart/signed; protocol=\"application/pkcs7-signature\"; boundary=B\n\n--B\n",
        &content[..],
        b"\n--B\nContent-Type: application/pkcs7-signature\nContent-Transfer-Encoding: base64\n\n",
        signature.as_bytes(),
        b"\n--B--",
    ]
    .concat();
    let verified = check(&message).unwrap();
    assert_eq!(verified.text, "a\u{fffd}b\u{fffd}\r\n\u{fffd}\u{fffd}\r\n");
    assert_eq!((verified.nuls, verified.digest), (2, digest));
}

#[test]
fn time_is_linear_in_hostile_content() {
    let b = boundary();
    let head = text(&NODE.message);
    let head = &head[..head.find("first").unwrap()];
    for pattern in
        [format!("--{b}"), format!("x--{b}\n"), "\r".into(), "\r\n".into(), "\n--".into(), "-".into()]
    {
        let message = format!("{head}{}", pattern.repeat((16 << 20) / pattern.len()));
        let start = std::time::Instant::now();
        assert!(check(message.as_bytes()).is_err());
        // Quadratic would be hours.
        assert!(start.elapsed().as_secs() < 20, "{pattern:?}: {:?}", start.elapsed());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever changes on the way: refused, or the same text under the same identity.
    #[test]
    fn changed_bytes_never_give_other_text(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3u8), 1..4)) {
        let mut message = NODE.message.clone();
        for (at, byte, kind) in changes {
            let at = at.index(message.len());
            match kind {
                0 => message[at] = byte,
                1 => message.insert(at, byte),
                _ => drop(message.remove(at)),
            }
        }
        if let Ok(verified) = check(&message) {
            prop_assert_eq!(&verified, &NODE.verified);
        }
    }

    #[test]
    fn any_bytes_are_read_without_panic(der in prop::collection::vec(any::<u8>(), 0..300), message in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = check(&with_der(&der));
        let _ = check(&message);
    }

    #[test]
    fn any_log_survives_signing(log in "(\\PC|\r|\n|\0){0,200}") {
        let message = sign(log.as_bytes(), &NODE.identity.certificate, &NODE.identity.key).unwrap();
        let verified = check(&message).unwrap();
        let expected: Vec<String> = log.replace('\0', "\u{fffd}").split(['\r', '\n']).filter(|l| !l.is_empty()).map(Into::into).collect();
        let found: Vec<String> = verified.text.split("\r\n").filter(|l| !l.is_empty()).map(Into::into).collect();
        prop_assert_eq!(found, expected);
        prop_assert_eq!(verified.nuls, 0);
    }
}
