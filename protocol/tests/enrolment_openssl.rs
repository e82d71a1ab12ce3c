// SPDX-License-Identifier: Apache-2.0
//! Certificate requests against the `openssl` program, both ways.
#![allow(missing_docs)]

mod common;

use std::fs;

use openssl::pkey::{PKey, Private};
use protocol::{
    enrolment::Request,
    private_key::{self, KeyKind},
};

use common::openssl;

const NODE: &str = "e745a140-40bc-4b86-b6dc-084488fc906b";

fn keys() -> [PKey<Private>; 2] {
    let rsa = openssl::rsa::Rsa::generate(2048).unwrap();
    [PKey::from_rsa(rsa).unwrap(), private_key::generate(KeyKind::P256).unwrap()]
}

#[test]
fn openssl_reads_what_we_make() {
    for key in keys() {
        let directory = tempfile::tempdir().unwrap();
        let node = NODE.parse().unwrap();
        let pem = Request::make(&key, &node, "web-1.example.org", true, Some("abc-DEF_1")).unwrap();
        fs::write(directory.path().join("csr"), &pem).unwrap();
        let text = openssl(directory.path(), &["req", "-in", "csr", "-verify", "-noout", "-text"]).unwrap();
        let text = String::from_utf8(text).unwrap();
        for expected in [
            &format!("UID = {NODE}, OU = relay"),
            "DNS:web-1.example.org",
            "challengePassword",
            "abc-DEF_1",
            "Version: 1",
        ] {
            assert!(
                text.replace("UID=", "UID = ").replace("OU=", "OU = ").contains(expected),
                "{expected}: {text}"
            );
        }

        let request = Request::parse(&pem).unwrap();
        assert_eq!(request.node_id, node);
        assert_eq!(request.hostname, "web-1.example.org");
        assert!(request.as_relay);
        assert_eq!(request.token(), Some("abc-DEF_1"));
        assert_eq!(request.spki_der(), key.public_key_to_der().unwrap());
        assert!(request.key_hash.matches(request.spki_der()));
        assert!(request.public_key().unwrap().public_eq(&key));
        assert!(!format!("{request:?}").contains("DEF"));
    }
}

/// A request that the `openssl` program makes, with this configuration file's sections `req`, `names`,
/// `extensions` and `attributes`.
fn made_by_openssl(key: &PKey<Private>, names: &str, extensions: &str, attributes: &str) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("key"), private_key::to_pem(key).unwrap()).unwrap();
    let parts = [("distinguished_name", names), ("req_extensions", extensions), ("attributes", attributes)];
    let mut configuration = "[req]\nprompt = no\nstring_mask = utf8only\n".to_owned();
    for (part, _) in parts.iter().filter(|(_, lines)| !lines.is_empty()) {
        configuration += &format!("{part} = {part}_section\n");
    }
    for (part, lines) in parts {
        configuration += &format!("[{part}_section]\n{lines}\n");
    }
    fs::write(directory.path().join("conf"), configuration).unwrap();
    openssl(directory.path(), &["req", "-new", "-config", "conf", "-key", "key", "-out", "csr"]).unwrap();
    common::read(directory.path().join("csr"))
}

#[test]
fn we_read_what_openssl_makes() {
    for key in keys() {
        let names = format!("CN = anything\nUID = {NODE}\nOU = relay");
        let token = "challengePassword = abc-DEF_1\nunstructuredName = more";
        let pem = made_by_openssl(
            &key,
            &names,
            "subjectAltName = DNS:web-1.example.org\nkeyUsage = critical, digitalSignature",
            token,
        );
        let request = Request::parse(&pem).unwrap();
        assert_eq!((request.node_id.as_str(), &*request.hostname), (NODE, "web-1.example.org"));
        assert_eq!((request.as_relay, request.token()), (true, Some("abc-DEF_1")));
        assert!(request.key_hash.matches(&key.public_key_to_der().unwrap()));

        let pem = made_by_openssl(&key, &format!("UID = {NODE}"), "", "");
        let request = Request::parse(&pem).unwrap();
        assert_eq!((&*request.hostname, request.as_relay, request.token()), ("", false, None));
    }
}

#[test]
fn what_openssl_can_be_made_to_ask_for_and_nobody_needs_is_refused() {
    let key = &keys()[1];
    let uid = &format!("UID = {NODE}");
    for (names, extensions, attributes, expected) in [
        ("CN = no-uid", "", "", "UID"),
        (&format!("0.UID = {NODE}\n1.UID = {NODE}"), "", "", "UID"),
        (&format!("{uid}\nOU = server"), "", "", "organizational unit"),
        (&format!("{uid}\n0.OU = relay\n1.OU = relay"), "", "", "organizational unit"),
        (uid, "subjectAltName = DNS:a, DNS:b", "", "alternative names"),
        (uid, "subjectAltName = IP:192.0.2.1", "", "alternative names"),
        (uid, "subjectAltName = DNS:*.example.org", "", "alternative names"),
        (uid, "nameConstraints = critical, permitted;DNS:x", "", "unknown critical extension"),
        (uid, "", "challengePassword = two words", "token"),
    ] {
        let pem = made_by_openssl(key, names, extensions, attributes);
        let error = Request::parse(&pem).expect_err(names).to_string();
        assert!(error.contains(expected), "{names}, {extensions}, {attributes}: {error}");
    }
    assert!(Request::parse(&made_by_openssl(key, uid, "nameConstraints = permitted;DNS:x", "")).is_ok());
}

#[test]
fn only_good_keys_and_digests_are_taken() {
    let directory = tempfile::tempdir().unwrap();
    let run = |arguments: &str| {
        openssl(directory.path(), &arguments.split(' ').collect::<Vec<_>>()).unwrap();
    };
    let attempt = |make: &str, options: &str| {
        run(&format!("{make} -out key"));
        run(&format!("req -new -subj /UID={NODE} -key key -out csr{options}"));
        Request::parse(&common::read(directory.path().join("csr"))).map(|_| ()).map_err(|e| e.to_string())
    };
    for (make, options) in [
        ("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048", ""),
        ("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:3072", " -sha384"),
        ("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048", " -sha512"),
        ("ecparam -genkey -noout -name prime256v1", " -sha256"),
        ("ecparam -genkey -noout -name prime256v1", " -sha384"),
    ] {
        assert_eq!(attempt(make, options), Ok(()), "{make}{options}");
    }
    run("ecparam -genkey -noout -name prime256v1 -out plain");
    for (make, options, expected) in [
        ("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024", "", "key is not"),
        ("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2047", "", "key is not"),
        ("ecparam -genkey -noout -name secp384r1", "", "key is not"),
        ("ecparam -genkey -noout -name secp256k1", "", "key is not"),
        ("ec -in plain -conv_form compressed", "", "key is not"),
        ("ecparam -genkey -noout -name prime256v1 -param_enc explicit", "", "key is not"),
        ("genpkey -algorithm ED25519", "", "key is not"),
        ("genpkey -algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048", "", "key is not"),
        ("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048", " -sha1", "algorithm"),
        ("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048", " -md5", "algorithm"),
        (
            "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048",
            " -sigopt rsa_padding_mode:pss",
            "algorithm",
        ),
        ("ecparam -genkey -noout -name prime256v1", " -sha1", "algorithm"),
    ] {
        let error = attempt(make, options).expect_err(make);
        assert!(error.contains(expected), "{make}{options}: {error}");
    }
}
