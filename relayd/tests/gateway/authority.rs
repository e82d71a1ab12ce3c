// SPDX-License-Identifier: Apache-2.0
//! Clients that are known by an authority of the user's.

use std::{fs, path::Path, sync::Arc};

use openssl::{
    asn1::Asn1Time,
    bn::{BigNum, MsbOption},
    hash::MessageDigest,
    nid::Nid,
    pkey::{PKey, Private},
    ssl::{SslContext, SslMethod, SslVerifyMode},
    x509::{
        X509, X509Name,
        extension::{BasicConstraints, ExtendedKeyUsage, SubjectAlternativeName},
    },
};
use protocol::{certificate::Certificate, tls::ClientIdentity};
use relayd::{config::ClientTrust, gateway::GatewayError};

use crate::harness::*;

pub struct Authority {
    certificate: X509,
    key: PKey<Private>,
}

/// What a certificate says.
#[derive(Clone, Copy)]
pub struct Says<'a> {
    pub uid: Option<&'a str>,
    pub dns: &'a [&'a str],
    pub for_servers: bool,
    pub expired: bool,
}

pub const PLAIN: Says<'static> = Says { uid: None, dns: &[], for_servers: false, expired: false };

impl Authority {
    pub fn new() -> Self {
        let key = new_key();
        let mut name = X509Name::builder().unwrap();
        name.append_entry_by_nid(Nid::COMMONNAME, "Authority").unwrap();
        let name = name.build();
        let mut builder = builder(&key, -1, 100);
        builder.set_subject_name(&name).unwrap();
        builder.set_issuer_name(&name).unwrap();
        builder.append_extension(BasicConstraints::new().critical().ca().build().unwrap()).unwrap();
        builder.sign(&key, MessageDigest::sha256()).unwrap();
        Self { certificate: builder.build(), key }
    }

    pub fn issue(&self, says: Says<'_>) -> ClientIdentity {
        let key = new_key();
        let mut name = X509Name::builder().unwrap();
        name.append_entry_by_nid(Nid::COMMONNAME, "machine").unwrap();
        if let Some(uid) = says.uid {
            name.append_entry_by_nid(Nid::USERID, uid).unwrap();
        }
        let mut builder = builder(&key, -10, if says.expired { -1 } else { 10 });
        builder.set_subject_name(&name.build()).unwrap();
        builder.set_issuer_name(self.certificate.subject_name()).unwrap();
        if !says.dns.is_empty() {
            let mut names = SubjectAlternativeName::new();
            for dns in says.dns {
                names.dns(dns);
            }
            let names = names.build(&builder.x509v3_context(Some(&self.certificate), None)).unwrap();
            builder.append_extension(names).unwrap();
        }
        if says.for_servers {
            builder.append_extension(ExtendedKeyUsage::new().server_auth().build().unwrap()).unwrap();
        }
        builder.sign(&self.key, MessageDigest::sha256()).unwrap();
        (Certificate::new(builder.build()).unwrap(), key)
    }

    pub fn write(&self, directory: &Path) {
        fs::write(directory.join("ca.pem"), self.certificate.to_pem().unwrap()).unwrap();
    }
}

fn builder(key: &PKey<Private>, from: i64, until: i64) -> openssl::x509::X509Builder {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64;
    let day = |days: i64| Asn1Time::from_unix(now + days * 86_400).unwrap();
    let mut serial = BigNum::new().unwrap();
    serial.rand(64, MsbOption::MAYBE_ZERO, false).unwrap();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_serial_number(&serial.to_asn1_integer().unwrap()).unwrap();
    builder.set_pubkey(key).unwrap();
    builder.set_not_before(&day(from)).unwrap();
    builder.set_not_after(&day(until)).unwrap();
    builder
}

async fn start_with_authority(authority: &Authority, rule: &str) -> Running {
    let directory = tempfile::tempdir().unwrap();
    authority.write(directory.path());
    let spool = directory.path().join("spool");
    let trust = ClientTrust::Authority {
        authorities: directory.path().join("ca.pem"),
        node_id: rule.parse().unwrap(),
    };
    start_in(directory, spool, |settings| settings.clients = trust).await
}

async fn uuid(gateway: &Running, who: Option<&ClientIdentity>) -> u16 {
    gateway.connect(who).await.ask("GET", "/uuid", "").await.status
}

#[tokio::test]
async fn a_valid_chain_and_a_name_of_the_list_are_both_needed() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let gateway = start_with_authority(&ours, "uid").await;
    let direct = Says { uid: Some(DIRECT), ..PLAIN };
    let mut n = 0;
    for (what, identity, expected, expected_uuid) in [
        ("a node", ours.issue(direct), 201, 200),
        ("a stranger", ours.issue(Says { uid: Some("stranger"), ..PLAIN }), 403, 200),
        ("nobody", ours.issue(PLAIN), 403, 200),
        ("another authority", theirs.issue(direct), 403, 403),
        ("expired", ours.issue(Says { expired: true, ..direct }), 403, 403),
        ("for servers only", ours.issue(Says { for_servers: true, ..direct }), 403, 403),
        // The key of the list does not count here.
        ("self-signed", gateway.fleet.direct.clone(), 403, 403),
    ] {
        n += 1;
        let path = format!("/reports/{}", run_log(DIRECT, n));
        assert_eq!(gateway.put(Some(&identity), &path, &gzip(b"x")).await.status, expected, "{what}");
        assert_eq!(uuid(&gateway, Some(&identity)).await, expected_uuid, "{what}");
    }
    assert_eq!(uuid(&gateway, None).await, 401);
    gateway.stop().await;
}

#[tokio::test]
async fn a_chain_that_is_nonsense_harms_nobody() {
    let gateway = start().await;
    // Issued by one, and sent with the certificate of another of the same name.
    let (ours, theirs) = (Authority::new(), Authority::new());
    let (certificate, key) = ours.issue(Says { uid: Some("nobody"), ..PLAIN });
    let mut builder = SslContext::builder(SslMethod::tls_client()).unwrap();
    builder.set_verify(SslVerifyMode::NONE);
    builder.set_certificate(certificate.x509()).unwrap();
    builder.set_private_key(&key).unwrap();
    builder.add_extra_chain_cert(theirs.certificate.clone()).unwrap();
    let nonsense = builder.build();
    // All on one thread, as one connection's errors would be another's.
    let mut node = gateway.connect(Some(&gateway.fleet.direct)).await;
    for n in 0..20 {
        let mut strange = Client::connect_with(gateway.address, &nonsense).await.unwrap();
        let path = format!("/reports/{}", run_log(DIRECT, n));
        assert_eq!(node.put(&path, "", &gzip(b"x")).await.status, 201);
        assert_eq!(strange.put(&path, "", &gzip(b"x")).await.status, 403);
    }
    gateway.stop().await;
}

#[tokio::test]
async fn the_rule_says_where_the_node_id_is() {
    let ours = Authority::new();
    let gateway = start_with_authority(&ours, "dns:{id}.nodes.example.org").await;
    let (own, other) = (format!("{DIRECT}.nodes.example.org"), format!("{BELOW}.nodes.example.org"));
    let mut n = 0;
    for (says, expected) in [
        (Says { dns: &["host.example.org", &own], ..PLAIN }, 201),
        (Says { dns: &[&own.to_ascii_uppercase()], ..PLAIN }, 201),
        (Says { dns: &[&own, &other], ..PLAIN }, 403),
        (Says { dns: &[&other], ..PLAIN }, 403),
        (Says { dns: &["host.example.org"], uid: Some(DIRECT), ..PLAIN }, 403),
        // The subject is not asked.
        (Says { dns: &[&own], uid: Some(BELOW), ..PLAIN }, 201),
    ] {
        n += 1;
        let path = format!("/reports/{}", run_log(DIRECT, n));
        let identity = ours.issue(says);
        assert_eq!(gateway.put(Some(&identity), &path, &gzip(b"x")).await.status, expected, "{:?}", says.dns);
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_node_that_is_revoked_loses_its_connections_though_its_certificate_is_valid() {
    let ours = Authority::new();
    let gateway = start_with_authority(&ours, "uid").await;
    let identity = ours.issue(Says { uid: Some(DIRECT), ..PLAIN });
    let mut client = gateway.connect(Some(&identity)).await;
    let path = |n| format!("/reports/{}", run_log(DIRECT, n));
    assert_eq!(client.put(&path(1), "", &gzip(b"x")).await.status, 201);
    gateway.nodes.send_replace(Arc::new(gateway.fleet.table_without(DIRECT)));
    assert_eq!(client.reply().await, None);
    assert_eq!(gateway.put(Some(&identity), &path(2), &gzip(b"x")).await.status, 403);
    gateway.stop().await;
}

#[tokio::test]
async fn authorities_are_read_again_and_a_bad_file_changes_nothing() {
    let (ours, next) = (Authority::new(), Authority::new());
    let gateway = start_with_authority(&ours, "uid").await;
    let [old, new] = [&ours, &next].map(|authority| authority.issue(Says { uid: Some(DIRECT), ..PLAIN }));
    let mut open = gateway.connect(Some(&old)).await;
    assert_eq!(open.ask("GET", "/identity", "").await.status, 200);
    // Of no node yet, but it may become one.
    let mut certified = gateway.connect(Some(&ours.issue(PLAIN))).await;
    assert_eq!(certified.ask("GET", "/uuid", "").await.status, 200);
    // The same again is no reason to come again.
    gateway.reload.reload().unwrap();
    for bad in ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        fs::write(gateway.directory.path().join("ca.pem"), bad).unwrap();
        let error = gateway.reload.reload().unwrap_err();
        assert!(
            matches!(error, GatewayError::Identity(_)) && error.to_string().contains("ca.pem"),
            "{error}"
        );
        assert_eq!(uuid(&gateway, Some(&old)).await, 200);
    }
    assert_eq!(open.ask("GET", "/identity", "").await.status, 200);
    next.write(gateway.directory.path());
    gateway.reload.reload().unwrap();
    assert_eq!(certified.reply().await, None);
    assert_eq!(open.reply().await, None, "what the old authority said counts no more");
    assert_eq!(uuid(&gateway, Some(&old)).await, 403);
    assert_eq!(uuid(&gateway, Some(&new)).await, 200);
    gateway.stop().await;
}
