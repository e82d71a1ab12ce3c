// SPDX-License-Identifier: Apache-2.0
//! Node lists as they are written, cut to what is below a relay, and changed by documents.
#![allow(missing_docs)]

use std::collections::BTreeMap;

use proptest::{
    collection::{btree_map, vec},
    prelude::*,
};
use protocol::{
    hash::KeyHash,
    node_id::NodeId,
    node_list::{NodeEntry, NodeList},
    node_tree::{TreeDocument, TreeDocumentError},
};

fn id(text: &str) -> NodeId {
    text.parse().unwrap()
}

fn entry(server: &str) -> NodeEntry {
    NodeEntry {
        hostname: "h".into(),
        key_hash: None,
        other_key_hashes: vec![],
        policy_server: id(server),
        is_relay: false,
    }
}

#[test]
fn a_list_is_written_one_node_a_line_and_without_what_is_not_known() {
    let key = KeyHash::sha256_of(b"");
    let list: NodeList = [
        (id("root"), NodeEntry { key_hash: Some(key.clone()), ..entry("root") }),
        (id("a"), NodeEntry { hostname: "\"a\"\n".into(), ..entry("relay") }),
        (
            id("relay"),
            NodeEntry {
                key_hash: Some(key.clone()),
                other_key_hashes: vec![key.clone()],
                is_relay: true,
                ..entry("root")
            },
        ),
    ]
    .into_iter()
    .collect();
    let expected = format!(
        r#"{{
  "a": {{"hostname":"\"a\"\n","policy-server":"relay"}},
  "relay": {{"hostname":"h","policy-server":"root","key-hash":"{key}","other-key-hashes":["{key}"],"role":"relay"}},
  "root": {{"hostname":"h","policy-server":"root","key-hash":"{key}"}}
}}
"#
    );
    assert_eq!(String::from_utf8(list.to_json()).unwrap(), expected);
    assert_eq!(NodeList::from_json(&list.to_json()).unwrap(), list);
    assert_eq!(NodeList::from_json(&NodeList::default().to_json()).unwrap(), NodeList::default());
}

#[test]
fn malformed_keys_and_roles_are_left_out_and_make_no_list_invalid() {
    let key = KeyHash::sha256_of(b"");
    let read = |more: &str| {
        let json = format!(r#"{{"x":{{"hostname":"h","policy-server":"root",{more}}}}}"#);
        NodeList::from_json(json.as_bytes()).unwrap().get(&id("x")).unwrap().clone()
    };
    for more in
        [r#""other-key-hashes":null"#, r#""other-key-hashes":"x""#, r#""other-key-hashes":[1,"x",null,[]]"#]
    {
        assert_eq!(read(more).other_key_hashes, [], "{more}");
    }
    let both = read(&format!(r#""key-hash":"sha256:","other-key-hashes":["x","{key}"]"#));
    assert_eq!((both.key_hash.clone(), both.key_hashes().collect::<Vec<_>>()), (None, vec![&key]));
    for role in ["null", "\"node\"", "\"Relay\"", "1", "[\"relay\"]"] {
        assert!(!read(&format!(r#""role":{role}"#)).is_relay, "{role}");
    }
    assert!(read(r#""role":"relay""#).is_relay);
}

#[test]
fn a_relay_sees_itself_all_below_it_and_root() {
    let tree = [
        ("root", "root"),
        ("r1", "root"),
        ("r2", "r1"),
        ("n1", "r1"),
        ("n2", "r2"),
        ("other", "root"),
        ("n3", "other"),
        ("lost", "gone"),
    ];
    let list: NodeList = tree.iter().map(|(node, server)| (id(node), entry(server))).collect();
    let below = |relay: &str| {
        let mut nodes: Vec<_> = list.below(&id(relay)).iter().map(|(id, _)| id.to_string()).collect();
        nodes.sort_unstable();
        nodes.join(" ")
    };
    assert_eq!(below("r1"), "n1 n2 r1 r2 root");
    assert_eq!(below("r2"), "n2 r2 root");
    assert_eq!(below("n1"), "n1 root");
    assert_eq!(below("root"), "n1 n2 n3 other r1 r2 root");
    assert_eq!(below("unknown"), "root");
    assert_eq!(list.below(&id("r2")).get(&id("r2")), list.get(&id("r2")));
}

#[test]
fn documents_are_read_strictly() {
    let read = |json: &str| TreeDocument::from_json(json.as_bytes());
    let good = r#"{"version":"ab-7","full":false,"nodes":{"x":null,"y":{"hostname":"h","policy-server":"root"}},"more":1}"#;
    let document = read(good).unwrap();
    assert_eq!((&*document.version, document.full), ("ab-7", false));
    assert_eq!(document.nodes, BTreeMap::from([(id("x"), None), (id("y"), Some(entry("root")))]));
    for version in ["", "a b", "a\\\"", "é", "a\\n", &"a".repeat(65)] {
        let json = format!(r#"{{"version":"{version}","full":true,"nodes":{{}}}}"#);
        assert!(matches!(read(&json), Err(TreeDocumentError::Version)), "{version}");
    }
    let gone = read(r#"{"version":"1","full":true,"nodes":{"x":null}}"#);
    assert!(matches!(gone, Err(TreeDocumentError::Gone(node)) if node == id("x")));
    for json in [
        "",
        "{}",
        "null",
        r#"{"version":1,"full":true,"nodes":{}}"#,
        r#"{"version":"1","full":1,"nodes":{}}"#,
        r#"{"version":"1","full":true}"#,
        r#"{"version":"1","full":true,"nodes":[]}"#,
        r#"{"version":"1","full":true,"nodes":{"../x":null}}"#,
        r#"{"version":"1","full":false,"nodes":{"x":{}}}"#,
        r#"{"version":"1","full":false,"nodes":{"x":{"hostname":"h","policy-server":"a/b"}}}"#,
        r#"{"version":"1","full":true,"nodes":{}}x"#,
    ] {
        assert!(matches!(read(json), Err(TreeDocumentError::Json(_))), "{json}");
    }
}

fn any_key() -> impl Strategy<Value = KeyHash> {
    any::<[u8; 32]>().prop_map(KeyHash::Sha256)
}

fn any_entry() -> impl Strategy<Value = NodeEntry> {
    (any::<String>(), proptest::option::of(any_key()), vec(any_key(), 0..3), 0..8usize, any::<bool>())
        .prop_map(|(hostname, key_hash, other_key_hashes, server, is_relay)| NodeEntry {
            hostname,
            key_hash,
            other_key_hashes,
            policy_server: id(&format!("n{server}")),
            is_relay,
        })
}

/// Some of the nodes `n0` to `n7`, attached to any of them: trees and loops.
fn any_list() -> impl Strategy<Value = NodeList> {
    btree_map((0..8usize).prop_map(|n| id(&format!("n{n}"))), any_entry(), 0..8)
        .prop_map(|nodes| nodes.into_iter().collect())
}

/// What leads from one list to the other.
fn changes(from: &NodeList, to: &NodeList) -> TreeDocument {
    let gone = from.iter().filter(|(node, _)| to.get(node).is_none()).map(|(node, _)| (node.clone(), None));
    let new = to.iter().filter(|(node, entry)| from.get(node) != Some(entry));
    let nodes = gone.chain(new.map(|(node, entry)| (node.clone(), Some(entry.clone())))).collect();
    TreeDocument { version: "x-1".into(), full: false, nodes }
}

/// No time is demanded here; `tests/load` measures it.
#[test]
fn a_list_of_fifty_thousand_nodes_is_read_cut_and_told() {
    let relay = |n: usize| format!("relay-{}", n % 50);
    let relays = (0..50).map(|n| (id(&relay(n)), NodeEntry { is_relay: true, ..entry("root") }));
    let nodes = (0..50_000).map(|n: usize| {
        let key_hash = Some(KeyHash::sha256_of(&n.to_be_bytes()));
        (id(&format!("node-{n}")), NodeEntry { key_hash, ..entry(&relay(n)) })
    });
    let list: NodeList = relays.chain(nodes).collect();
    assert_eq!(NodeList::from_json(&list.to_json()).unwrap(), list);
    let below = list.below(&id("relay-7"));
    assert_eq!(below.len(), 1_001);
    let document = TreeDocument { full: true, ..changes(&NodeList::default(), &list) };
    assert_eq!(TreeDocument::from_json(&document.to_json()).unwrap().apply(below), list);
}

proptest! {
    #[test]
    fn lists_are_read_back_and_always_written_the_same(list in any_list()) {
        let json = list.to_json();
        prop_assert_eq!(json.iter().filter(|&&b| b == b'\n').count(), list.len() + 2);
        let again = NodeList::from_json(&json).unwrap();
        prop_assert_eq!(again.to_json(), json);
        prop_assert_eq!(again, list);
    }

    #[test]
    fn what_is_below_agrees_with_the_routes(list in any_list(), relay in 0..9usize) {
        let relay = id(&format!("n{relay}"));
        let below = list.below(&relay);
        for (node, entry) in list.iter() {
            let expected = (*node == relay || list.is_below(node, &relay)).then_some(entry);
            prop_assert_eq!(below.get(node), expected, "{}", node);
        }
        prop_assert!(below.len() <= list.len());
    }

    #[test]
    fn documents_lead_from_any_list_to_any_other(from in any_list(), to in any_list()) {
        let document = changes(&from, &to);
        let read = TreeDocument::from_json(&document.to_json()).unwrap();
        prop_assert_eq!(&read, &document);
        prop_assert_eq!(read.apply(from.clone()), to.clone());
        let full = TreeDocument { full: true, ..changes(&NodeList::default(), &to) };
        prop_assert_eq!(TreeDocument::from_json(&full.to_json()).unwrap().apply(from), to);
    }

    #[test]
    fn any_json_is_read_without_panic(text in "[{}\\[\\]\",:a-z0-9 -]{0,60}") {
        let _ = TreeDocument::from_json(text.as_bytes());
    }
}
