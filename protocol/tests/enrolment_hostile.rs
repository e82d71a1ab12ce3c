// SPDX-License-Identifier: Apache-2.0
//! Certificate requests that an attacker would make: nothing of them gets in.
#![allow(missing_docs)]

use std::sync::LazyLock;

use base64::{Engine, prelude::BASE64_STANDARD};
use openssl::{
    asn1::Asn1Type,
    hash::MessageDigest,
    nid::Nid,
    pkey::{PKey, Private},
    x509::{X509Name, X509Req},
};
use proptest::prelude::*;
use protocol::{
    enrolment::{Request, RequestError},
    limits::ENROLMENT_REQUEST,
    node_id::NodeId,
    private_key::{KeyKind, generate, self_signed},
    smime,
};

static KEY: LazyLock<PKey<Private>> = LazyLock::new(|| generate(KeyKind::P256).unwrap());

fn node() -> NodeId {
    "e745a140-40bc-4b86-b6dc-084488fc906b".parse().unwrap()
}

fn good() -> Vec<u8> {
    Request::make(&KEY, &node(), "web-1", true, Some("abc-DEF")).unwrap().to_vec()
}

fn der_of(pem: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(pem).unwrap();
    let digits: String = text.lines().filter(|line| !line.starts_with('-')).collect();
    BASE64_STANDARD.decode(digits).unwrap()
}

fn pem_of(der: &[u8]) -> Vec<u8> {
    let digits = BASE64_STANDARD.encode(der);
    format!("-----BEGIN CERTIFICATE REQUEST-----\n{digits}\n-----END CERTIFICATE REQUEST-----\n").into_bytes()
}

/// A request with a subject of these UIDs, signed with `signer`.
fn with_uids(uids: &[(&str, Asn1Type)], signer: &PKey<Private>) -> Vec<u8> {
    let mut name = X509Name::builder().unwrap();
    for (uid, kind) in uids {
        name.append_entry_by_nid_with_type(Nid::USERID, uid, *kind).unwrap();
    }
    let mut request = X509Req::builder().unwrap();
    request.set_version(0).unwrap();
    request.set_subject_name(&name.build()).unwrap();
    request.set_pubkey(&KEY).unwrap();
    request.sign(signer, MessageDigest::sha256()).unwrap();
    request.build().to_pem().unwrap()
}

#[test]
fn one_clean_id_is_read_in_any_usual_string_type() {
    for kind in [Asn1Type::UTF8STRING, Asn1Type::PRINTABLESTRING, Asn1Type::IA5STRING] {
        let request = Request::parse(&with_uids(&[("node-1", kind)], &KEY)).unwrap();
        assert_eq!((request.node_id.as_str(), &*request.hostname), ("node-1", ""));
    }
}

#[test]
fn ids_that_two_readers_could_see_differently_are_refused() {
    let utf8 = Asn1Type::UTF8STRING;
    for (name, uids) in [
        ("none", &[][..]),
        ("two", &[("node", utf8), ("other", utf8)]),
        ("the same twice", &[("node", utf8), ("node", utf8)]),
        ("NUL", &[("node\0.evil", utf8)]),
        ("10 kB", &[(&*"a".repeat(10_000), utf8)]),
        ("129 characters", &[(&*"a".repeat(129), utf8)]),
        ("empty", &[("", utf8)]),
        ("path", &[("../node", utf8)]),
        ("line end", &[("node\n", utf8)]),
        ("space", &[(" node", utf8)]),
        ("not ASCII", &[("nодe", utf8)]),
        ("BMPString", &[("\0n\0o\0d\0e", Asn1Type::BMPSTRING)]),
        ("TeletexString", &[("node", Asn1Type::T61STRING)]),
        ("NumericString", &[("1", Asn1Type::NUMERICSTRING)]),
    ] {
        assert_eq!(Request::parse(&with_uids(uids, &KEY)).unwrap_err(), RequestError::NodeId, "{name}");
    }
}

#[test]
fn a_request_that_its_own_key_did_not_sign_is_refused() {
    let other = generate(KeyKind::P256).unwrap();
    let error = Request::parse(&with_uids(&[("node", Asn1Type::UTF8STRING)], &other)).unwrap_err();
    assert_eq!(error, RequestError::Signature);
}

#[test]
fn one_request_and_nothing_else_is_read() {
    let good = good();
    let parse = |pem: &[u8]| Request::parse(pem).map(|_| ());
    let text = String::from_utf8(good.clone()).unwrap();
    assert_eq!(parse(&good), Ok(()));
    assert_eq!(parse(text.replace('\n', "\r\n").as_bytes()), Ok(()));
    assert_eq!(parse(format!("\n{text}\n\n").as_bytes()), Ok(()));
    for pem in [
        String::new(),
        "text".into(),
        format!("{text}{text}"),
        format!("text\n{text}"),
        format!("{text}text"),
        text.replace("CERTIFICATE REQUEST", "CERTIFICATE"),
        text.replace("-----END", "-----EMD"),
        text.replacen("MI", "M!", 1),
        text.replacen("-----\n", "-----\nProc-Type: 4,ENCRYPTED\n\n", 1),
    ] {
        assert_eq!(parse(pem.as_bytes()), Err(RequestError::Pem), "{pem}");
    }
    let padded = [&good[..], &vec![b' '; ENROLMENT_REQUEST][..]].concat();
    assert_eq!(parse(&padded), Err(RequestError::TooLarge));

    let der = der_of(&good);
    assert_eq!(parse(&pem_of(&der)), Ok(()));
    assert!(parse(&pem_of(&[&der[..], &[0]].concat())).is_err(), "a byte after the request");
    assert!(parse(&pem_of(&der[..der.len() - 1])).is_err());
    // The same with a length that is not minimal, or indefinite: BER.
    assert_eq!(der[1], 0x82);
    assert!(parse(&pem_of(&[&[0x30, 0x83, 0][..], &der[2..]].concat())).is_err());
    assert!(parse(&pem_of(&[&[0x30, 0x80][..], &der[4..], &[0, 0]].concat())).is_err());
}

#[test]
fn a_request_survives_being_signed_as_a_message() {
    let old = generate(KeyKind::P256).unwrap();
    let certificate = self_signed(&old, &node()).unwrap();
    let message = smime::sign(&good(), &certificate, &old).unwrap();
    let verified = smime::verify(&message, &[certificate]).unwrap();
    assert_eq!(Request::parse(verified.text.as_bytes()).unwrap().node_id, node());
}

#[test]
fn nothing_is_made_that_would_not_be_read() {
    let make = |hostname: &str, token| Request::make(&KEY, &node(), hostname, false, token).map(|_| ());
    assert_eq!(make("", None), Ok(()));
    assert_eq!(make(&"a".repeat(255), Some("x")), Ok(()));
    for hostname in [" ", "a b", "-a", ".", "a/b", "a\0", "é", "*.a", &"a".repeat(256)] {
        assert_eq!(make(hostname, None), Err(RequestError::Hostname), "{hostname:?}");
    }
    for token in ["", " ", "a b", "a\n", "é", &"a".repeat(256)] {
        let error = make("host", Some(token)).unwrap_err();
        assert_eq!(error, RequestError::Token);
        assert!(token.trim().is_empty() || token == "a\n" || !error.to_string().contains(token));
    }
    let weak = PKey::from_rsa(openssl::rsa::Rsa::generate(1024).unwrap()).unwrap();
    assert_eq!(Request::make(&weak, &node(), "", false, None).unwrap_err(), RequestError::Key);
}

#[test]
fn a_token_is_shown_nowhere() {
    let request = Request::parse(&good()).unwrap();
    assert_eq!(request.token(), Some("abc-DEF"));
    assert!(!format!("{request:?} {request:#?}").contains("DEF"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn requests_say_what_was_asked(
        id in "[a-z0-9][a-zA-Z0-9._-]{0,127}",
        hostname in "([a-z0-9][a-zA-Z0-9._-]{0,254})?",
        as_relay: bool,
        token in proptest::option::of("[!-~]{1,255}"),
    ) {
        let node: NodeId = id.parse().unwrap();
        let pem = Request::make(&KEY, &node, &hostname, as_relay, token.as_deref()).unwrap();
        let request = Request::parse(&pem).unwrap();
        prop_assert_eq!((request.node_id.clone(), request.as_relay), (node, as_relay));
        prop_assert_eq!((&request.hostname, request.token()), (&hostname, token.as_deref()));
    }

    /// Each bit of a request is under its signature, or needed to read it.
    #[test]
    fn no_bit_can_be_flipped(at in any::<prop::sample::Index>(), bit in 0..8) {
        let mut der = der_of(&good());
        let at = at.index(der.len());
        der[at] ^= 1u8 << bit;
        prop_assert!(Request::parse(&pem_of(&der)).is_err(), "{at}, {bit}");
    }

    #[test]
    fn any_cut_is_refused(at in any::<prop::sample::Index>()) {
        let good = good();
        let cut = good.trim_ascii();
        prop_assert!(Request::parse(&cut[..at.index(cut.len())]).is_err());
    }
}
