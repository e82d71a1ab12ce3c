// SPDX-License-Identifier: Apache-2.0
//! Certificates, keys and node lists as stock tools and published samples have them.
#![allow(missing_docs)]

mod common;

use common::{Identity, openssl, read, samples};
use openssl::{pkey::PKey, rsa::Rsa};
use proptest::{collection::vec, prelude::*};
use protocol::{
    certificate::{Certificate, read_bundle},
    compression::{Compression, unpack},
    hash::KeyHash,
    limits::RELAY_DEPTH,
    node_id::NodeId,
    node_list::{NextHop, NoRoute, NodeList},
    private_key,
};

const A: &str = "37817c4d-fbf7-4850-a985-50021f4e8f41";
const B: &str = "e745a140-40bc-4b86-b6dc-084488fc906b";

fn id(text: &str) -> NodeId {
    text.parse().unwrap()
}

#[test]
fn stock_openssl_shows_the_certificate_that_agents_have() {
    let node = Identity::new(PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap());
    let shown = openssl(
        node.path(),
        &["x509", "-in", "cert.pem", "-noout", "-text", "-nameopt", "RFC2253,show_type"],
    );
    let shown = String::from_utf8(shown.unwrap()).unwrap();
    for expected in [
        "Version: 3 (0x2)",
        "Signature Algorithm: sha256WithRSAEncryption",
        "Issuer: UID=UTF8STRING:node-1\n",
        "Subject: UID=UTF8STRING:node-1\n",
        "X509v3 Basic Constraints: \n                CA:TRUE\n",
        "X509v3 Key Usage: \n                Digital Signature, Key Encipherment, Data Encipherment, Key Agreement, Certificate Sign\n",
        "X509v3 Subject Key Identifier: \n",
        "X509v3 Authority Key Identifier: \n                keyid:",
        "DirName:/UID=node-1\n                serial:",
    ] {
        assert!(shown.contains(expected), "{expected:?} is missing in\n{shown}");
    }
    let serial = hex::encode_upper(node.certificate.serial());
    let shown = openssl(node.path(), &["x509", "-in", "cert.pem", "-noout", "-serial"]).unwrap();
    assert_eq!(
        String::from_utf8(shown).unwrap().trim().trim_start_matches("serial=").trim_start_matches('0'),
        serial.trim_start_matches('0')
    );
    let year = 365 * 86_400;
    let valid = |seconds: u32| {
        openssl(node.path(), &["x509", "-in", "cert.pem", "-noout", "-checkend", &seconds.to_string()])
    };
    assert!(valid(9 * year).is_ok() && valid(10 * year + 86_400).is_err());
    assert!(openssl(node.path(), &["verify", "-CAfile", "cert.pem", "cert.pem"]).is_ok());
}

#[test]
fn keys_of_stock_openssl_are_read() {
    let directory = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| openssl(directory.path(), arguments).unwrap();
    run(&["genrsa", "-traditional", "-out", "plain", "2048"]);
    run(&[
        "rsa",
        "-traditional",
        "-des3",
        "-passout",
        "pass:Cfengine passphrase",
        "-in",
        "plain",
        "-out",
        "unix",
    ]);
    run(&[
        "rsa",
        "-traditional",
        "-aes128",
        "-passout",
        "pass:Rudder-dsc passphrase",
        "-in",
        "plain",
        "-out",
        "windows",
    ]);
    run(&["pkey", "-in", "plain", "-out", "pkcs8"]);
    run(&["ecparam", "-genkey", "-noout", "-name", "prime256v1", "-out", "ec"]);
    let key = |name: &str| private_key::from_pem(&read(directory.path().join(name))).unwrap();
    let plain = key("plain");
    for name in ["unix", "windows", "pkcs8"] {
        assert!(key(name).public_eq(&plain), "{name}");
    }
    // Byte for byte what stock OpenSSL writes.
    assert_eq!(*private_key::to_pem(&plain).unwrap(), read(directory.path().join("plain")));
    assert_eq!(*private_key::to_pem(&key("ec")).unwrap(), read(directory.path().join("ec")));
    let public = run(&["rsa", "-in", "plain", "-RSAPublicKey_out"]);
    assert_eq!(private_key::public_to_pem(&plain).unwrap(), public);
    assert!(private_key::from_pem(&public).is_err());
}

#[test]
fn bundles_may_hold_text_and_may_be_empty() {
    let node = Identity::new(private_key::generate(private_key::KeyKind::P256).unwrap());
    let pem = String::from_utf8(node.certificate.to_x509().unwrap().to_pem().unwrap()).unwrap();
    let bundle = format!("# first\n{pem}\nsubject=UID = x\n\n{pem}trailing text");
    assert_eq!(read_bundle(bundle.as_bytes()).unwrap().len(), 2);
    assert!(read_bundle(b"").unwrap().is_empty() && read_bundle(b"just text\n").unwrap().is_empty());
    assert!(Certificate::from_pem(b"").is_err());
    let damaged = pem.replacen("MII", "MIJ", 1);
    assert!(read_bundle(damaged.as_bytes()).is_err());
    assert!(read_bundle(&bundle.as_bytes()[..bundle.len() - 100]).is_err(), "cut in the second");
}

#[test]
fn published_certificates_have_their_documented_keys() {
    let Some(samples) = samples() else { return };
    for (node, hashes) in [
        (
            B,
            &[
                "sha256//I8utFWGj+OpqpbiAIZ/s8qRC4fQXxQ8IRVjFe0X1Lug=",
                "sha256:23cbad1561a3f8ea6aa5b880219fecf2a442e1f417c50f084558c57b45f52ee8",
            ][..],
        ),
        (A, &["sha256//ZE9q37dB6Nq+ZJz1cdrfdt+qPL+Xk8sKkLDMTp4QemY="]),
    ] {
        let certificate = Certificate::from_pem(&read(samples.join(format!("keys/{node}.cert")))).unwrap();
        assert_eq!((certificate.node_id(), certificate.sole_node_id()), (Some(&id(node)), Some(&id(node))));
        for hash in hashes {
            assert_eq!(certificate.key_hash(), hash.parse::<KeyHash>().unwrap());
        }
    }
    let bundle = read_bundle(&read(samples.join("keys/nodescerts.pem"))).unwrap();
    let count = |node| bundle.iter().filter(|c| c.node_id() == Some(&id(node))).count();
    assert_eq!((count(A), count(B), bundle.len()), (1, 2, 3));
}

#[test]
fn published_compressed_files_give_the_same_bytes() {
    let Some(samples) = samples() else { return };
    let read = |name: &str| read(samples.join("gz").join(name));
    let plain = read("normal.log");
    assert_eq!(plain.len(), 13_569);
    let gz = read("normal.log.gz");
    assert!(unpack(&gz, Compression::Gzip, 13_569).unwrap() == plain);
    assert!(unpack(&read("normal.log.zip"), Compression::Zip, 13_569).unwrap() == plain);
    assert!(unpack(&gz, Compression::Gzip, 13_568).is_err());
}

#[test]
fn published_node_lists_have_their_documented_routes() {
    let Some(samples) = samples() else { return };
    let read = |name: &str| NodeList::from_json(&read(samples.join("nodeslist").join(name))).unwrap();
    let list = read("nodeslist.json");
    let find = |start: &str| list.iter().map(|(id, _)| id).find(|id| id.as_str().starts_with(start)).unwrap();
    let root = NodeId::root();
    assert_eq!(list.len(), 6);
    for (start, known) in [("c745a140", false), ("b745a140", false), ("e745a140", true), ("37817c4d", true)] {
        assert_eq!(list.get(find(start)).unwrap().key_hash.is_some(), known, "{start}");
    }
    let mut direct: Vec<&str> = list.direct(&root).map(NodeId::as_str).collect();
    direct.sort_unstable();
    assert_eq!(direct, [A, B, "root"]);
    for (start, hop) in [("c745a140", A), ("a745a140", B), ("b745a140", B)] {
        assert_eq!(list.next_hop(find(start), &root), Ok(NextHop::Relay(id(hop))), "{start}");
        assert!(list.is_below(find(start), &root) && list.is_below(find(start), &id(hop)), "{start}");
    }
    for direct in [A, B, "root"] {
        assert_eq!(list.next_hop(&id(direct), &root), Ok(NextHop::Local));
    }
    assert_eq!(list.next_hop(&id("nobody"), &root), Err(NoRoute::Unknown(id("nobody"))));

    assert!(read("nodeslist-generated-root.json").get(&root).unwrap().key_hash.is_some());
    let large = read("nodeslist-4549.json");
    assert_eq!(large.len(), 4549);
    assert!(
        large
            .iter()
            .all(|(id, entry)| entry.key_hash.is_some() && large.next_hop(id, &root) == Ok(NextHop::Local))
    );
}

#[test]
fn a_node_list_is_read_leniently_where_it_may_and_strictly_where_it_must() {
    let read = |entry: &str| NodeList::from_json(format!(r#"{{"root":{entry}}}"#).as_bytes());
    for hash in [r#""""#, r#""sha256:""#, r#""sha256//AAAA""#, r#""x""#, "null", "5", "[]"] {
        let list = read(&format!(r#"{{"hostname":"h","policy-server":"root","key-hash":{hash}}}"#)).unwrap();
        assert_eq!(list.get(&NodeId::root()).unwrap().key_hash, None, "{hash}");
    }
    assert!(read(r#"{"hostname":"h","policy-server":"root","new":{"x":[1]}}"#).is_ok());
    for (entry, expected) in [
        (r#"{"hostname":"h"}"#, "policy-server"),
        (r#"{"policy-server":"root"}"#, "hostname"),
        (r#"{"hostname":1,"policy-server":"root"}"#, "string"),
        (r#"{"hostname":"h","policy-server":"a/b"}"#, "'/'"),
        (r#"{"hostname":"h","policy-server":null}"#, "string"),
        ("[]", "struct"),
    ] {
        let error = read(entry).unwrap_err().to_string();
        assert!(
            error.contains("node root") && (error.contains(expected) || expected == "struct"),
            "{entry}: {error}"
        );
    }
    let error = NodeList::from_json(br#"{"../x":{"hostname":"h","policy-server":"root"}}"#).unwrap_err();
    assert!(error.to_string().contains("../x"), "{error}");
    for json in ["", "[]", "{", r#"{"root":{"hostname":"h","policy-server":"root"}}x"#] {
        assert!(NodeList::from_json(json.as_bytes()).is_err(), "{json}");
    }
}

#[test]
fn routes_end_after_the_greatest_depth() {
    let chain = |length: usize| {
        let mut entries = vec![r#""n0":{"hostname":"h","policy-server":"root"}"#.to_owned()];
        entries.extend(
            (1..length).map(|n| format!(r#""n{n}":{{"hostname":"h","policy-server":"n{}"}}"#, n - 1)),
        );
        NodeList::from_json(format!("{{{}}}", entries.join(",")).as_bytes()).unwrap()
    };
    let route = |length: usize| chain(length).next_hop(&id(&format!("n{}", length - 1)), &NodeId::root());
    assert_eq!(route(RELAY_DEPTH), Ok(NextHop::Relay(id("n0"))));
    assert!(matches!(route(RELAY_DEPTH + 1), Err(NoRoute::Astray(_))));
}

/// The list of nodes `n0`, `n1`…, each attached to the given one.
fn list_of(servers: &[usize]) -> NodeList {
    let entries = servers
        .iter()
        .enumerate()
        .map(|(n, server)| format!(r#""n{n}":{{"hostname":"h","policy-server":"n{server}"}}"#));
    NodeList::from_json(format!("{{{}}}", entries.collect::<Vec<_>>().join(",")).as_bytes()).unwrap()
}

/// What the text of protocol 7.6 says, in the plainest way.
fn naive_path(servers: &[usize], node: usize, here: usize) -> Option<Vec<usize>> {
    let mut path = vec![node];
    for _ in 0..RELAY_DEPTH {
        let server = *servers.get(*path.last()?)?;
        if server == here {
            return Some(path);
        }
        path.push(server);
    }
    None
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Trees, loops, and servers that are not in the list.
    #[test]
    fn routes_agree_with_a_naive_model(servers in vec(0..30usize, 1..25), here in 0..30usize) {
        let list = list_of(&servers);
        let here_id = id(&format!("n{here}"));
        for node in 0..servers.len() {
            let node_id = id(&format!("n{node}"));
            let path = naive_path(&servers, node, here);
            let expected = match path.as_deref() {
                Some([_]) => Ok(NextHop::Local),
                Some([.., last]) => Ok(NextHop::Relay(id(&format!("n{last}")))),
                _ => Err(NoRoute::Astray(node_id.clone())),
            };
            prop_assert_eq!(list.next_hop(&node_id, &here_id), expected);
            prop_assert_eq!(list.is_below(&node_id, &here_id), node != here && path.is_some());
        }
    }

    #[test]
    fn any_json_is_read_without_panic(text in "[{}\\[\\]\",:a-z0-9 -]{0,60}") {
        let _ = NodeList::from_json(text.as_bytes());
    }
}
