// SPDX-License-Identifier: Apache-2.0
//! `agent trust`, and how a policy server's keys are followed.

use std::fs;

use protocol::{
    hash::KeyHash,
    node_id::NodeId,
    private_key::{self, KeyKind},
    succession,
    tls::ServerIdentity,
};
use serde_json::Value;

use crate::{
    node::{Node, text},
    root::{Root, key},
};

fn shown(node: &Node) -> Vec<String> {
    let value: Value = serde_json::from_slice(&node.agent(&["trust", "show", "--json"]).stdout).unwrap();
    value["pins"].as_array().unwrap().iter().map(|pin| pin.as_str().unwrap().to_owned()).collect()
}

fn sends(node: &Node) -> bool {
    node.policies("true");
    node.agent(&["send"]).status.success()
}

fn texts(pins: &[&KeyHash]) -> Vec<String> {
    pins.iter().map(ToString::to_string).collect()
}

#[test]
fn an_announced_key_is_pinned_ahead_and_followed() {
    let old = Root::start();
    let next = key();
    let new_pin = next.0.key_hash();
    let node = Node::new();
    old.knows(&node.identity.certificate);
    node.server(old.server.port);
    assert!(sends(&node));
    let a = old.server.pin.clone();
    assert_eq!(shown(&node), texts(&[&a]));
    old.mind(|mind| mind.announced = vec![a.clone(), new_pin.clone()]);
    node.policies("true");
    let output = node.agent(&["send"]);
    assert!(text(&output.stdout).contains(&new_pin.to_string()), "{output:?}");
    assert_eq!(shown(&node), texts(&[&a, &new_pin]));
    assert_eq!(fs::read_to_string(&node.paths.server_pins).unwrap(), format!("{a};{new_pin}\n"));

    let new = old.with_key(next.into());
    new.mind(|mind| mind.announced.clear());
    node.server(new.server.port);
    assert!(sends(&node));
    assert_eq!(shown(&node), texts(&[&new_pin]));
    node.server(old.server.port);
    assert!(!sends(&node), "the old key is over");
}

#[test]
fn a_node_that_slept_through_it_follows_the_chain_of_signatures() {
    let old = key();
    let root = Root::start().with_key(old.clone().into());
    let node = Node::new();
    root.knows(&node.identity.certificate);
    node.server(root.server.port);
    assert!(sends(&node));
    let new_key = private_key::generate(KeyKind::P256).unwrap();
    let new = succession::succeed(&old, &new_key, &NodeId::root()).unwrap();
    let chain = ServerIdentity::new(vec![new.clone(), old.0.clone()], new_key).unwrap();
    let moved = root.with_key(chain);
    node.server(moved.server.port);
    node.policies("true");
    let output = node.agent(&["send"]);
    assert!(output.status.success(), "{output:?}");
    assert!(text(&output.stdout).contains("signed by its key"), "{output:?}");
    assert!(sends(&node));
    assert_eq!(shown(&node), texts(&[&new.key_hash()]));
}

#[test]
fn a_useless_pin_is_replaced_by_hand_also_where_policies_have_one() {
    let root = Root::start();
    let node = Node::new();
    root.knows(&node.identity.certificate);
    node.server(root.server.port);
    let wrong = KeyHash::sha256_of(b"wrong").to_string();
    node.rudder_json(&format!("{{\"POLICY_SERVER_KEY_HASH\": \"{wrong}\"}}"));
    node.policies("true");
    let output = node.agent(&["send"]);
    assert!(text(&output.stdout).contains("agent trust pin"), "{output:?}");
    let pin = root.server.pin.to_string();
    assert!(node.agent(&["trust", "pin", &pin]).status.success());
    assert!(node.agent(&["send"]).status.success());
    assert!(text(&node.agent(&["trust", "show"]).stdout).contains("instead of the pins of the policies"));
    assert!(text(&node.agent(&["status"]).stdout).contains(&pin));
    // Other policies count again.
    let other = KeyHash::sha256_of(b"other").to_string();
    node.rudder_json(&format!("{{\"POLICY_SERVER_KEY_HASH\": \"{other}\"}}"));
    assert_eq!(shown(&node), [other]);
    node.rudder_json("{}");
    assert!(node.agent(&["trust", "reset"]).status.success());
    assert_eq!(shown(&node), Vec::<String>::new());
    assert_eq!(node.agent(&["trust", "pin", "sha256//x"]).status.code(), Some(2));
}

#[test]
fn policy_keys_are_pinned_shown_replaced_and_forgotten() {
    let node = Node::new();
    let (one, two) = (key().0, key().0);
    let file = node.root().join("given.pem");
    let pinned = |node: &Node| -> Vec<String> {
        let value: Value = serde_json::from_slice(&node.agent(&["trust", "show", "--json"]).stdout).unwrap();
        let keys = value["policy_keys"].as_array().unwrap();
        keys.iter().map(|key| key["key_hash"].as_str().unwrap().to_owned()).collect()
    };
    let give = |content: &[u8]| {
        fs::write(&file, content).unwrap();
        node.agent(&["trust", "policy-key", file.to_str().unwrap()])
    };
    assert!(pinned(&node).is_empty());
    assert!(text(&node.agent(&["trust", "show"]).stdout).contains("no policy key is pinned"));
    let secret = b"-----BEGIN PRIVATE KEY-----\nnot for here\n-----END PRIVATE KEY-----\n";
    let output = give(&[&secret[..], &one.to_pem(), &two.to_pem()].concat());
    assert!(output.status.success(), "{output:?}");
    assert_eq!(pinned(&node), texts(&[&one.key_hash(), &two.key_hash()]));
    assert!(!fs::read_to_string(&node.paths.policy_key).unwrap().contains("PRIVATE"));
    // What cannot be used changes nothing.
    for content in ["", "no certificate"] {
        let output = give(content.as_bytes());
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains("given.pem"), "{output:?}");
    }
    fs::remove_file(&file).unwrap();
    let output = node.agent(&["trust", "policy-key", file.to_str().unwrap()]);
    assert!(text(&output.stderr).contains("no such file"), "{output:?}");
    assert_eq!(pinned(&node).len(), 2);
    assert!(give(&two.to_pem()).status.success());
    assert_eq!(pinned(&node), texts(&[&two.key_hash()]));
    assert!(node.agent(&["trust", "policy-key", "--forget"]).status.success());
    assert!(pinned(&node).is_empty() && !node.paths.policy_key.exists());
}
