// SPDX-License-Identifier: Apache-2.0

use std::{fs, path::Path};

use openssl::{asn1::Asn1Time, x509::X509};
use prometheus::{Encoder, TextEncoder};
use protocol::{
    certificate::Certificate,
    node_list::NodeList,
    private_key::{self, KeyKind},
};
use tokio::sync::watch;

use super::*;
use crate::{config::resolve, nodes::NodeTable, spool::clock::tests::TestClock};

/// A certificate like that of a node, which expires then.
fn certificate(node: &str, days: u32) -> Vec<u8> {
    issued(node, node, days)
}

fn issued(node: &str, issuer: &str, days: u32) -> Vec<u8> {
    let named = |name: &str| {
        let key = private_key::generate(KeyKind::P256).unwrap();
        private_key::self_signed(&key, &name.parse().unwrap()).unwrap().to_x509().unwrap()
    };
    let issuer = named(issuer);
    let key = private_key::generate(KeyKind::P256).unwrap();
    let model = named(node);
    let mut certificate = X509::builder().unwrap();
    certificate.set_serial_number(model.serial_number()).unwrap();
    certificate.set_subject_name(model.subject_name()).unwrap();
    certificate.set_issuer_name(issuer.subject_name()).unwrap();
    certificate.set_not_before(model.not_before()).unwrap();
    certificate.set_not_after(&Asn1Time::days_from_now(days).unwrap()).unwrap();
    certificate.set_pubkey(&key).unwrap();
    certificate.sign(&key, openssl::hash::MessageDigest::sha256()).unwrap();
    certificate.build().to_pem().unwrap()
}

struct Server {
    directory: tempfile::TempDir,
    clock: Arc<TestClock>,
    registry: Registry,
    expiry: Expiry,
}

/// A root whose gateway certificate is valid for this long, with nodes whose certificates are.
fn server(days: u32, nodes: &[(&str, u32)], more: &str) -> Server {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().display();
    fs::write(directory.path().join("server.cert"), certificate("root", days)).unwrap();
    let text = format!(
        "[general]\nnode_id = \"root\"\n[ca]\ndirectory = \"{path}/ca\"\n\
         [gateway]\nlisten = \"127.0.0.1:0\"\ncertificate = \"{path}/server.cert\"\nkey = \"{path}/server.key\"\n{more}"
    );
    let config = resolve::read(Path::new("main.conf"), &text).unwrap().config;
    let list: serde_json::Map<_, _> = nodes
        .iter()
        .map(|(node, _)| {
            (
                node.trim_end_matches('*').to_owned(),
                serde_json::json!({"hostname": "h", "policy-server": "root"}),
            )
        })
        .collect();
    let list = NodeList::from_json(serde_json::Value::Object(list).to_string().as_bytes()).unwrap();
    // Those of an authority are marked so.
    let bundle = nodes.iter().map(|(node, days)| match node.strip_suffix('*') {
        Some(node) => Certificate::from_pem(&issued(node, "authority", *days)).unwrap(),
        None => Certificate::from_pem(&certificate(node, *days)).unwrap(),
    });
    let (_, nodes) = watch::channel(Arc::new(NodeTable::new(list, bundle.collect())));
    let (clock, registry) = (Arc::new(TestClock::new()), Registry::new());
    let expiry = Expiry::new(&config, nodes, clock.clone(), &registry).unwrap();
    Server { directory, clock, registry, expiry }
}

impl Server {
    fn warnings(&self) -> Vec<(bool, String)> {
        self.expiry.check().into_iter().map(|warning| (warning.urgent, warning.text)).collect()
    }

    fn metrics(&self) -> String {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text).unwrap();
        String::from_utf8(text).unwrap()
    }
}

fn days(days: u64) -> Duration {
    Duration::from_secs(days * DAY)
}

#[test]
fn warns_from_30_days_on_once_a_day_and_urgently_in_the_last_7() {
    let server = server(100, &[], "");
    assert!(server.warnings().is_empty());
    server.clock.pass(days(69));
    assert!(server.warnings().is_empty());
    server.clock.pass(days(1));
    let said = server.warnings();
    assert!(
        matches!(&said[..], [(false, text)] if text.contains("expires in ") && text.contains("nothing stops")),
        "{said:?}"
    );
    for _ in 0..22 {
        server.clock.pass(EVERY);
        assert!(server.warnings().is_empty(), "only once a day");
    }
    server.clock.pass(2 * EVERY);
    assert_eq!(server.warnings().len(), 1);
    server.clock.pass(days(23));
    assert!(matches!(&server.warnings()[..], [(true, text)] if text.contains("expires in 5 days")));
    server.clock.pass(days(7));
    assert!(matches!(&server.warnings()[..], [(true, text)] if text.contains("has expired on ")));
}

#[test]
fn the_date_in_use_counts_until_a_reload_and_a_new_certificate_ends_the_warnings() {
    let server = server(5, &[], "");
    assert_eq!(server.warnings().len(), 1);
    let shown = |server: &Server| {
        let metrics = server.metrics();
        let line = metrics
            .lines()
            .find(|line| line.starts_with("relayd_certificate_not_after_seconds{"))
            .unwrap()
            .to_owned();
        let value = line.rsplit(' ').next().unwrap().parse::<f64>().unwrap();
        (value - DateTime::<Utc>::from(server.clock.wall()).timestamp() as f64) / DAY as f64
    };
    assert!((4.9..5.1).contains(&shown(&server)), "{}", shown(&server));
    fs::write(server.directory.path().join("server.cert"), certificate("root", 500)).unwrap();
    server.clock.pass(days(1));
    assert_eq!(server.warnings().len(), 1);
    server.expiry.load();
    assert!((498.9..500.1).contains(&shown(&server)), "{}", shown(&server));
    server.clock.pass(days(1));
    assert!(server.warnings().is_empty());
    fs::remove_file(server.directory.path().join("server.cert")).unwrap();
    server.expiry.load();
    assert!(!server.metrics().contains("relayd_certificate_not_after_seconds{"));
}

#[test]
fn the_next_key_and_the_authority_are_watched_when_they_are_there() {
    let server = server(500, &[], "");
    assert!(server.warnings().is_empty());
    fs::write(server.directory.path().join("server.cert.next"), certificate("root", 3)).unwrap();
    fs::create_dir(server.directory.path().join("ca")).unwrap();
    fs::write(server.directory.path().join("ca/ca.cert"), certificate("ca", 20)).unwrap();
    // That of the authority is read each time that it is used; the next key is announced by a reload.
    let said = server.warnings();
    assert!(matches!(&said[..], [(false, ca)] if ca.contains("relayd ca renew")), "{said:?}");
    server.expiry.load();
    server.clock.pass(days(1));
    let said = server.warnings();
    assert!(
        matches!(&said[..], [(true, next), (false, ca)]
            if next.contains("relayd server-key activate") && ca.contains("relayd ca renew")),
        "{said:?}"
    );
    for label in ["gateway", "next", "ca"] {
        let series = format!("relayd_certificate_not_after_seconds{{certificate=\"{label}\"}}");
        assert!(server.metrics().contains(&series), "{series}");
    }
}

#[test]
fn nodes_are_counted_by_their_longest_certificate_and_nothing_stops_for_pinned_keys() {
    let nodes = [("a", 0), ("b", 3), ("b", 300), ("c", 20), ("d", 5)];
    let server = server(500, &nodes, "");
    server.clock.pass(Duration::from_secs(60));
    let said = server.warnings();
    assert!(
        matches!(&said[..], [(false, text)]
            if text.contains("30 days: 2, first d;") && text.contains("nothing stops")),
        "{said:?}"
    );
    let metrics = server.metrics();
    for (left, nodes) in [("expired", 1), ("under_7_days", 1), ("under_30_days", 1), ("longer", 1)] {
        let series = format!("relayd_nodes_certificate_expiry{{issuer=\"self\",left=\"{left}\"}} {nodes}\n");
        assert!(metrics.contains(&series), "{metrics}");
    }
}

#[test]
fn certificates_of_an_authority_that_nodes_do_not_renew_are_said() {
    // A minute before its end, or soon after its beginning: what counts is how much of its life is left.
    let nodes = [("a", 300), ("a*", 0), ("b*", 20), ("c*", 200)];
    for (more, urgent, consequence) in [
        ("", false, "whoever checks it"),
        (
            "client_authentication = \"authority\"\nclient_ca_path = \"/nowhere\"\n",
            true,
            "the gateway refuses",
        ),
    ] {
        let server = server(500, &nodes, more);
        server.clock.pass(Duration::from_secs(60));
        let said = server.warnings();
        assert!(
            matches!(&said[..], [(level, text)] if *level == urgent
                && text.contains("have ended: 1, first a;") && text.contains(consequence)),
            "{said:?}"
        );
        assert!(
            server
                .metrics()
                .contains("relayd_nodes_certificate_expiry{issuer=\"authority\",left=\"under_30_days\"} 1\n")
        );
        server.clock.pass(days(15));
        let said = server.warnings();
        assert!(matches!(&said[..], [(_, text)] if text.contains("have ended: 2, first a;")), "{said:?}");
    }
}
