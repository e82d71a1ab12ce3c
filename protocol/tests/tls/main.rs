// SPDX-License-Identifier: Apache-2.0
//! Real handshakes over socket pairs: who is trusted, and what is refused.
#![allow(missing_docs)]

mod peers;
mod succession;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use openssl::{
    asn1::Asn1Type,
    pkey::PKey,
    rsa::Rsa,
    ssl::{SslAcceptor, SslConnector, SslMethod, SslVerifyMode, SslVersion},
};
use protocol::{
    certificate::Certificate,
    private_key::self_signed,
    tls::{
        ClientIdentity, Gatekeeper, ServerTrust, TlsVersion, acceptor, admit_all, connector,
        verifies_hostname,
    },
};

use TlsVersion::{V1_2, V1_3};
use peers::{Session, Template, Usage, handshake, handshake_with, identity};

fn trusts(trust: &ServerTrust, server: &ClientIdentity) -> bool {
    handshake(
        acceptor(&server.clone().into(), V1_3, admit_all(), None).unwrap(),
        connector(trust, V1_3, None).unwrap(),
        None,
    )
    .is_ok()
}

#[test]
fn a_pin_trusts_its_key_and_no_other() {
    let (server, other) = (identity("root"), identity("root"));
    let pin = |identity: &ClientIdentity| identity.0.key_hash();
    assert!(trusts(&ServerTrust::Pins(vec![pin(&server)]), &server));
    assert!(trusts(&ServerTrust::Pins(vec![pin(&other), pin(&server)]), &server));
    assert!(!trusts(&ServerTrust::Pins(vec![pin(&other)]), &server));
    assert!(!trusts(&ServerTrust::Pins(vec![]), &server));
    // The same key in a later certificate.
    let renewed = (self_signed(&server.1, &"root".parse().unwrap()).unwrap(), server.1.clone());
    assert!(trusts(&ServerTrust::Pins(vec![pin(&server)]), &renewed));
}

#[test]
fn anchors_trust_their_key_and_what_they_signed() {
    let (server, other) = (identity("root"), identity("root"));
    let anchors = |identities: &[&ClientIdentity]| {
        ServerTrust::Anchors(identities.iter().map(|i| i.0.clone()).collect())
    };
    assert!(trusts(&anchors(&[&other, &server]), &server));
    assert!(!trusts(&anchors(&[&other]), &server), "same subject, another key");
    assert!(!trusts(&anchors(&[]), &server));
    let issued = Template::new("relay").issued_by(&server);
    assert!(trusts(&anchors(&[&server]), &issued));
    assert!(!trusts(&anchors(&[&other]), &issued), "same issuer name, another key");
    assert!(trusts(&anchors(&[&issued]), &issued), "an anchor need not be self-signed");
    let forged = Template::new("relay").claiming_issuer(&server, &other.1);
    assert!(!trusts(&anchors(&[&server]), &forged));
}

#[test]
fn dates_count_for_what_an_anchor_signed_and_not_for_its_own_key() {
    let expired = Template::new("root").expired().self_signed();
    assert!(trusts(&ServerTrust::Anchors(vec![expired.0.clone()]), &expired));
    assert!(trusts(&ServerTrust::Pins(vec![expired.0.key_hash()]), &expired));
    let server = identity("root");
    let issued = Template::new("relay").expired().issued_by(&server);
    assert!(!trusts(&ServerTrust::Anchors(vec![server.0.clone()]), &issued));
}

#[test]
fn first_use_trusts_anything_and_sees_the_key() {
    let server = Template::new("root").expired().self_signed();
    assert!(trusts(&ServerTrust::FirstUse, &server));
}

#[test]
fn authorities_check_chain_and_host_name() {
    let authority = identity("root");
    let trust = ServerTrust::Authorities(vec![authority.0.clone()]);
    assert!(verifies_hostname(&trust));
    let server = Template::new("relay").host("relay.example.com").issued_by(&authority);
    let attempt = |trust: &ServerTrust, host| {
        let client = connector(trust, V1_3, None).unwrap();
        handshake(acceptor(&server.clone().into(), V1_3, admit_all(), None).unwrap(), client, Some(host))
            .is_ok()
    };
    assert!(attempt(&trust, "relay.example.com"));
    assert!(!attempt(&trust, "other.example.com"));
    assert!(!attempt(&ServerTrust::Authorities(vec![]), "relay.example.com"));
    assert!(!verifies_hostname(&ServerTrust::FirstUse));
}

#[test]
fn nothing_older_than_the_oldest_version_is_spoken() {
    let server = identity("root");
    let attempt = |server_oldest, client_oldest, client_newest: Option<SslVersion>| {
        let client = connector(&ServerTrust::FirstUse, client_oldest, None).unwrap();
        let server = acceptor(&server.clone().into(), server_oldest, admit_all(), None).unwrap();
        handshake_with(server, client, None, |ssl| ssl.set_max_proto_version(client_newest).unwrap())
            .map(|session| session.version)
    };
    assert_eq!(attempt(V1_3, V1_3, None).unwrap(), "TLSv1.3");
    assert_eq!(attempt(V1_2, V1_2, None).unwrap(), "TLSv1.3");
    assert_eq!(attempt(V1_2, V1_2, Some(SslVersion::TLS1_2)).unwrap(), "TLSv1.2");
    assert!(attempt(V1_3, V1_2, Some(SslVersion::TLS1_2)).is_err(), "an old client at a new server");
    assert!(attempt(V1_2, V1_2, Some(SslVersion::TLS1_1)).is_err(), "TLS 1.1");
    // A new client at a server that only speaks 1.2.
    let mut old = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).unwrap();
    old.set_certificate(&server.0.to_x509().unwrap()).unwrap();
    old.set_private_key(&server.1).unwrap();
    old.set_max_proto_version(Some(SslVersion::TLS1_2)).unwrap();
    let old = old.build();
    for (oldest, works) in [(V1_2, true), (V1_3, false)] {
        let client = connector(&ServerTrust::FirstUse, oldest, None).unwrap();
        assert_eq!(handshake(old.clone(), client, None).is_ok(), works, "{oldest:?}");
    }
}

#[test]
fn key_exchange_without_forward_secrecy_and_weak_groups_are_refused() {
    let attempt = |server: &ClientIdentity, cipher: &str, groups: &str| {
        let mut client = SslConnector::builder(SslMethod::tls_client()).unwrap();
        client.set_security_level(0);
        client.set_verify(SslVerifyMode::NONE);
        client.set_max_proto_version(Some(SslVersion::TLS1_2)).unwrap();
        client.set_cipher_list(cipher).unwrap();
        client.set_groups_list(groups).unwrap();
        handshake(acceptor(&server.clone().into(), V1_2, admit_all(), None).unwrap(), client.build(), None)
            .is_ok()
    };
    let p256 = identity("root");
    let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
    let rsa = (self_signed(&key, &"root".parse().unwrap()).unwrap(), key);
    assert!(attempt(&p256, "ECDHE-ECDSA-AES128-GCM-SHA256", "P-256"));
    assert!(attempt(&rsa, "ECDHE-RSA-AES128-GCM-SHA256", "X25519"));
    assert!(!attempt(&rsa, "AES128-GCM-SHA256", "P-256"), "RSA key exchange");
    assert!(!attempt(&rsa, "aNULL", "P-256"), "no authentication");
    assert!(!attempt(&p256, "ECDHE-ECDSA-NULL-SHA", "P-256"), "no encryption");
    assert!(!attempt(&p256, "ECDHE-ECDSA-AES128-GCM-SHA256", "secp224r1"), "a weak group");
}

#[test]
fn the_server_sees_the_key_of_the_client_if_there_is_one() {
    let server = identity("root");
    let attempt = |client: Option<&ClientIdentity>| {
        let trust = ServerTrust::Pins(vec![server.0.key_hash()]);
        handshake(
            acceptor(&server.clone().into(), V1_3, admit_all(), None).unwrap(),
            connector(&trust, V1_3, client).unwrap(),
            None,
        )
    };
    let node = identity("e745a140-40bc-4b86-b6dc-084488fc906b");
    assert_eq!(attempt(Some(&node)).unwrap().client, Some(node.0.key_hash()));
    assert_eq!(attempt(None).unwrap().client, None);
    let expired = Template::new("node").expired().self_signed();
    assert_eq!(attempt(Some(&expired)).unwrap().client, Some(expired.0.key_hash()));
    let nameless = Template::nameless().self_signed();
    assert!(attempt(Some(&nameless)).is_ok(), "who it is, is decided by the key");
}

#[test]
fn no_session_can_be_resumed() {
    let (server, node) = (identity("root"), identity("node"));
    let client = connector(&ServerTrust::FirstUse, V1_2, Some(&node)).unwrap();
    for newest in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        let server = acceptor(&server.clone().into(), V1_2, admit_all(), None).unwrap();
        let session = handshake_with(server, client.clone(), None, |ssl| {
            ssl.set_max_proto_version(Some(newest)).unwrap();
        });
        assert!(!session.unwrap().resumable, "{newest:?}");
    }
}

#[test]
fn ambiguous_and_weak_client_certificates_are_refused_in_the_handshake() {
    let server = identity("root");
    let attempt = |client: &ClientIdentity| {
        let mut connector = SslConnector::builder(SslMethod::tls_client()).unwrap();
        // An attacker's client does not check what it sends.
        connector.set_security_level(0);
        connector.set_verify(SslVerifyMode::NONE);
        connector.set_certificate(&client.0.to_x509().unwrap()).unwrap();
        connector.set_private_key(&client.1).unwrap();
        handshake(acceptor(&server.clone().into(), V1_3, admit_all(), None).unwrap(), connector.build(), None)
    };
    assert!(attempt(&Template::new("node").self_signed()).is_ok());
    for (name, template) in [
        ("two UIDs", Template::new("node").uid("other", Asn1Type::UTF8STRING)),
        ("the same UID twice", Template::new("node").uid("node", Asn1Type::UTF8STRING)),
        ("NUL", Template::new("node\0.evil")),
        ("10 kB", Template::new(&"a".repeat(10_000))),
        ("129 characters", Template::new(&"a".repeat(129))),
        ("empty", Template::new("")),
        ("path", Template::new("../node")),
        ("BMPString", Template::nameless().uid("\0n\0o\0d\0e", Asn1Type::BMPSTRING)),
        ("TeletexString", Template::nameless().uid("node", Asn1Type::T61STRING)),
        ("RSA 1024", Template::new("node").key(PKey::from_rsa(Rsa::generate(1024).unwrap()).unwrap())),
    ] {
        let client = template.self_signed();
        assert!(attempt(&client).is_err(), "{name}: {:?}", client.0.node_id());
    }
}

#[test]
fn the_gatekeeper_turns_clients_away_in_the_handshake() {
    let (server, node, other) = (identity("root"), identity("node"), identity("node"));
    let asked = Arc::new(AtomicUsize::new(0));
    let gatekeeper: Gatekeeper = {
        let (asked, known) = (asked.clone(), node.0.key_hash());
        Arc::new(move |certificate| {
            asked.fetch_add(1, Ordering::Relaxed);
            certificate.key_hash() == known
        })
    };
    let attempt = |client: Option<&ClientIdentity>| {
        let server = acceptor(&server.clone().into(), V1_3, gatekeeper.clone(), None).unwrap();
        handshake(server, connector(&ServerTrust::FirstUse, V1_3, client).unwrap(), None)
    };
    assert!(attempt(None).is_ok(), "who shows nothing is not asked about");
    assert_eq!(asked.load(Ordering::Relaxed), 0);
    assert!(attempt(Some(&node)).is_ok());
    assert!(attempt(Some(&other)).is_err());
    assert!(asked.load(Ordering::Relaxed) >= 2);
}

#[test]
fn a_valid_chain_to_an_authority_is_told_and_decides_nothing() {
    let (server, authority) = (identity("root"), identity("authority"));
    let attempt = |client: Option<&ClientIdentity>, authorities: Option<&[Certificate]>| -> Session {
        let server = acceptor(&server.clone().into(), V1_3, admit_all(), authorities).unwrap();
        handshake(server, connector(&ServerTrust::FirstUse, V1_3, client).unwrap(), None).unwrap()
    };
    let authorities = [identity("other").0, authority.0.clone()];
    let issued = Template::new("node").usage(Usage::Client).issued_by(&authority);
    assert!(attempt(Some(&issued), Some(&authorities)).vouched);
    assert!(attempt(Some(&Template::new("node").issued_by(&authority)), Some(&authorities)).vouched);
    for (name, client, authorities) in [
        ("no authority", Some(&issued), None),
        ("another authority", Some(&issued), Some(&authorities[..1])),
        ("nothing shown", None, Some(&authorities[..])),
        ("self-signed", Some(&identity("node")), Some(&authorities)),
        ("expired", Some(&Template::new("node").expired().issued_by(&authority)), Some(&authorities)),
        (
            "for servers",
            Some(&Template::new("node").usage(Usage::Server).issued_by(&authority)),
            Some(&authorities),
        ),
        ("forged", Some(&Template::new("node").claiming_issuer(&authority, &server.1)), Some(&authorities)),
    ] {
        assert!(!attempt(client, authorities).vouched, "{name}");
    }
}

#[test]
fn weak_groups_are_refused_in_tls_1_3_too() {
    let server = identity("root");
    let attempt = |groups: &str| {
        let mut client = SslConnector::builder(SslMethod::tls_client()).unwrap();
        client.set_security_level(0);
        client.set_verify(SslVerifyMode::NONE);
        client.set_groups_list(groups).unwrap();
        handshake(acceptor(&server.clone().into(), V1_3, admit_all(), None).unwrap(), client.build(), None)
            .map(|session| session.version)
    };
    for group in ["X25519", "P-256", "P-384"] {
        assert_eq!(attempt(group).as_deref(), Ok("TLSv1.3"), "{group}");
    }
    for group in ["P-521", "X448", "ffdhe2048"] {
        assert!(attempt(group).is_err(), "{group}");
    }
}
