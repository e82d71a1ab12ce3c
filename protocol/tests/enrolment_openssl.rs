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
