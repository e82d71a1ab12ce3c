// SPDX-License-Identifier: Apache-2.0
//! What is read from certificates of a user's own PKI: names, dates, fingerprints.
#![allow(missing_docs)]

mod common;

use std::{fs, path::Path};

use chrono::{DateTime, Utc};
use common::{openssl, read};
use protocol::{certificate::Certificate, node_id_rule::NodeIdRule};

/// A certificate that stock OpenSSL makes with this subject and these alternative names.
fn made(directory: &Path, subject: &str, names: &str) -> Certificate {
    let key = "ecparam -genkey -noout -name prime256v1 -out key";
    openssl(directory, &key.split(' ').collect::<Vec<_>>()).unwrap();
    let mut request =
        vec!["req", "-x509", "-new", "-key", "key", "-days", "30", "-subj", subject, "-out", "cert"];
    let names = format!("subjectAltName={names}");
    if names.len() > 15 {
        request.extend(["-addext", &names]);
    }
    openssl(directory, &request).unwrap();
    Certificate::from_pem(&read(directory.join("cert"))).unwrap()
}

#[test]
fn rules_find_the_one_node_that_a_certificate_names() {
    let directory = tempfile::tempdir().unwrap();
    let dns = "dns:{id}.nodes.example.org";
    let uri = "uri:urn:uuid:{id}";
    for (rule, subject, names, expected) in [
        ("uid", "/CN=x/UID=node-1", "", Some("node-1")),
        ("uid", "/CN=x", "DNS:node-1.nodes.example.org", None),
        ("uid", "/UID=a/UID=b", "", None),
        (dns, "/CN=x", "DNS:node-1.nodes.example.org", Some("node-1")),
        (dns, "/CN=x", "DNS:NODE-1.Nodes.example.ORG, DNS:www.example.org", Some("node-1")),
        (dns, "/CN=x", "DNS:a.nodes.example.org, DNS:b.nodes.example.org", None),
        (dns, "/CN=x", "DNS:.nodes.example.org", None),
        (dns, "/CN=x", "DNS:*.nodes.example.org", None),
        (dns, "/CN=x", "DNS:node-1.nodes.example.org.evil", None),
        (dns, "/CN=x", "URI:node-1.nodes.example.org", None),
        (dns, "/CN=node-1.nodes.example.org", "", None),
        (uri, "/CN=x", "URI:urn:uuid:Node-1, DNS:b", Some("Node-1")),
        (uri, "/CN=x", "URI:urn:uuid:a, URI:urn:uuid:b", None),
        (uri, "/CN=x", "URI:URN:UUID:a", None),
        (uri, "/CN=x", "URI:urn:uuid:a/b", None),
    ] {
        let rule: NodeIdRule = rule.parse().unwrap();
        let found = made(directory.path(), subject, names).node_id_by(&rule);
        assert_eq!(found.as_ref().map(|id| id.as_str()), expected, "{rule} {subject} {names}");
    }
}

#[test]
fn names_dates_and_fingerprint_are_those_that_openssl_shows() {
    let directory = tempfile::tempdir().unwrap();
    let certificate = made(directory.path(), "/UID=node-1", "DNS:a.Example,URI:urn:x:Y,DNS:b,IP:192.0.2.1");
    assert_eq!(certificate.dns_names(), ["a.example", "b"]);
    assert_eq!(certificate.uris(), ["urn:x:Y"]);
    let shown = |what: &str| {
        let output = openssl(directory.path(), &["x509", "-in", "cert", "-noout", what]).unwrap();
        let output = String::from_utf8(output).unwrap();
        output.trim().split_once('=').unwrap().1.to_owned()
    };
    let date = |text: &str| {
        let text = text.strip_suffix(" GMT").unwrap();
        chrono::NaiveDateTime::parse_from_str(text, "%b %e %H:%M:%S %Y").unwrap().and_utc()
    };
    assert_eq!(certificate.not_before(), date(&shown("-startdate")));
    assert_eq!(certificate.not_after(), date(&shown("-enddate")));
    openssl(directory.path(), &["x509", "-in", "cert", "-outform", "DER", "-out", "der"]).unwrap();
    assert_eq!(certificate.der(), read(directory.path().join("der")));
    let fingerprint = openssl(directory.path(), &["dgst", "-sha256", "-r", "der"]).unwrap();
    assert!(fingerprint.starts_with(hex::encode(certificate.fingerprint()).as_bytes()));
    assert_eq!(certificate.to_pem(), read(directory.path().join("cert")));
}

/// Dates from 2050 on are GeneralizedTime.
#[test]
fn both_kinds_of_dates_are_read() {
    let directory = tempfile::tempdir().unwrap();
    let key = "ecparam -genkey -noout -name prime256v1 -out key";
    openssl(directory.path(), &key.split(' ').collect::<Vec<_>>()).unwrap();
    fs::write(directory.path().join("conf"), "[ca]\ndefault_ca=c\n[c]\ndatabase=index\nserial=serial\nnew_certs_dir=.\ndefault_md=sha256\npolicy=p\n[p]\ncommonName=supplied\n").unwrap();
    fs::write(directory.path().join("index"), "").unwrap();
    fs::write(directory.path().join("serial"), "01\n").unwrap();
    openssl(directory.path(), &["req", "-new", "-key", "key", "-subj", "/CN=x", "-out", "csr"]).unwrap();
    let arguments = "ca -batch -selfsign -config conf -in csr -keyfile key -notext -startdate 20491231235959Z -enddate 99991231235959Z -out cert";
    openssl(directory.path(), &arguments.split(' ').collect::<Vec<_>>()).unwrap();
    let certificate = Certificate::from_pem(&read(directory.path().join("cert"))).unwrap();
    assert_eq!(certificate.not_before(), "2049-12-31T23:59:59Z".parse::<DateTime<Utc>>().unwrap());
    assert_eq!(certificate.not_after(), "9999-12-31T23:59:59Z".parse::<DateTime<Utc>>().unwrap());
}
