// SPDX-License-Identifier: Apache-2.0
//! A client that slept through changes of the server's key gets in by signatures of the earlier keys.

use openssl::{ssl::SslVersion, x509::X509};
use protocol::{
    certificate::Certificate,
    private_key::{KeyKind, generate},
    succession::{MAX_PREDECESSORS, succeed, vouched},
    tls::{ClientIdentity, ServerIdentity, ServerTrust, acceptor, admit_all, connector},
};

use crate::{
    V1_2,
    peers::{Template, Usage, handshake_with, identity},
};

/// Servers whose keys follow each other, the newest first.
fn succession(oldest: ClientIdentity, length: usize) -> Vec<ClientIdentity> {
    let mut servers = vec![oldest];
    for _ in 0..length {
        let key = generate(KeyKind::P256).unwrap();
        let certificate = succeed(&servers[0], &key, &"root".parse().unwrap()).unwrap();
        servers.insert(0, (certificate, key));
    }
    servers
}

fn certificates(servers: &[ClientIdentity]) -> Vec<Certificate> {
    servers.iter().map(|server| server.0.clone()).collect()
}

/// Whether a client with this trust connects to a server that has the key of `chain[0]`; both versions
/// of TLS agree.
fn connects_with(trust: &ServerTrust, chain: &[ClientIdentity]) -> bool {
    let server = ServerIdentity::new(certificates(chain), chain[0].1.clone()).unwrap();
    let [newer, older] = [SslVersion::TLS1_3, SslVersion::TLS1_2].map(|newest| {
        let client = connector(trust, V1_2, None).unwrap();
        let server = acceptor(&server, V1_2, admit_all(), None).unwrap();
        handshake_with(server, client, None, |ssl| ssl.set_max_proto_version(Some(newest)).unwrap()).is_ok()
    });
    assert_eq!(newer, older);
    newer
}

/// The same for a client with the pin of `pinned`.
fn connects(chain: &[ClientIdentity], pinned: &ClientIdentity) -> bool {
    connects_with(&ServerTrust::Pins(vec![pinned.0.key_hash()]), chain)
}

#[test]
fn any_key_of_the_chain_may_be_the_pinned_one() {
    let servers = succession(identity("root"), 3);
    for pinned in &servers {
        assert!(connects(&servers, pinned));
    }
    assert!(connects(&servers[..1], &servers[0]));
    assert!(!connects(&servers[..1], &servers[1]), "the certificate that signed was not sent");
    assert!(!connects(&servers, &identity("root")), "a key that is not in the chain");
}

#[test]
fn neither_dates_nor_usages_of_earlier_certificates_count() {
    for oldest in [
        Template::new("root").expired().self_signed(),
        Template::new("root").usage(Usage::NotToIssue).self_signed(),
        Template::nameless().self_signed(),
        Template::new("relay").issued_by(&identity("authority")),
    ] {
        let servers = succession(oldest, 2);
        assert!(connects(&servers, &servers[2]));
    }
}

#[test]
fn a_certificate_that_was_only_sent_along_vouches_for_nothing() {
    let old = identity("root");
    let thief = identity("root");
    assert!(!connects(&[thief.clone(), old.clone()], &old), "the same name, no signature");
    let forged = Template::new("root").claiming_issuer(&old.clone(), &thief.1);
    assert!(!connects(&[forged, old.clone()], &old), "signed by another key");
    // The chain breaks in the middle.
    let servers = succession(old, 2);
    let broken = [servers[0].clone(), thief, servers[2].clone()];
    assert!(!connects(&broken, &servers[2]));
}

/// Relays trust the certificate of their upstream as an anchor: they follow as well.
#[test]
fn an_anchor_follows_a_succession() {
    let servers = succession(identity("root"), 2);
    let anchor = |server: &ClientIdentity| ServerTrust::Anchors(vec![server.0.clone()]);
    assert!(servers.iter().all(|server| connects_with(&anchor(server), &servers)));
    assert!(!connects_with(&anchor(&identity("root")), &servers));
}

#[test]
fn no_more_than_eight_predecessors_count() {
    let servers = succession(identity("root"), MAX_PREDECESSORS + 1);
    let chain: Vec<X509> = servers.iter().map(|server| server.0.x509().clone()).collect();
    let pin = |index: usize| [servers[index].0.key_hash()];
    assert!((0..=MAX_PREDECESSORS).all(|index| vouched(&chain, &pin(index))));
    assert!(!vouched(&chain, &pin(MAX_PREDECESSORS + 1)));
    assert!(connects(&servers, &servers[MAX_PREDECESSORS]));
    assert!(!connects(&servers, &servers[MAX_PREDECESSORS + 1]));
    assert!(!vouched(&[], &pin(0)) && !vouched(&chain, &[]));
}

#[test]
fn a_successor_names_its_server_and_its_issuer() {
    let old = identity("root");
    let key = generate(KeyKind::P256).unwrap();
    let new = succeed(&old, &key, &"root".parse().unwrap()).unwrap();
    assert_eq!(new.sole_node_id().unwrap().as_str(), "root");
    assert_eq!(new.spki_der(), key.public_key_to_der().unwrap());
    assert!(new.x509().verify(&old.1).unwrap() && !new.x509().verify(&key).unwrap());
    assert_eq!(new.issuer_der(), old.0.issuer_der());
}
