// SPDX-License-Identifier: Apache-2.0
//! The certificate that a node sends along with its request.
#![allow(missing_docs)]

mod common;

use std::fs;

use protocol::{
    enrolment::{Request, RequestError},
    private_key::{self, KeyKind},
};

use common::openssl;

#[test]
fn it_is_read_back_and_openssl_accepts_the_request() {
    let key = private_key::generate(KeyKind::P256).unwrap();
    let node = "node-1".parse().unwrap();
    let certificate = private_key::self_signed(&key, &node).unwrap();
    let pem = Request::make_with(&key, &node, "web-1", false, Some("t-1"), Some(&certificate)).unwrap();
    let request = Request::parse(&pem).unwrap();
    assert_eq!(request.certificate().unwrap().fingerprint(), certificate.fingerprint());
    assert_eq!((request.hostname.as_str(), request.token()), ("web-1", Some("t-1")));
    let without = Request::make(&key, &node, "web-1", false, None).unwrap();
    assert!(Request::parse(&without).unwrap().certificate().is_none());

    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("csr"), &pem).unwrap();
    openssl(directory.path(), &["req", "-in", "csr", "-verify", "-noout"]).unwrap();
}

#[test]
fn one_of_another_node_or_key_is_refused() {
    let key = private_key::generate(KeyKind::P256).unwrap();
    let other_key = private_key::generate(KeyKind::P256).unwrap();
    let node = "node-1".parse().unwrap();
    let other_node = "node-2".parse().unwrap();
    for certificate in [
        private_key::self_signed(&other_key, &node).unwrap(),
        private_key::self_signed(&key, &other_node).unwrap(),
    ] {
        let pem = Request::make_with(&key, &node, "", false, None, Some(&certificate)).unwrap();
        assert_eq!(Request::parse(&pem).unwrap_err(), RequestError::Certificate);
    }
}
