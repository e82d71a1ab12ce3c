// SPDX-License-Identifier: Apache-2.0
//! A relay learns which nodes are below it, whatever happens to the line and to its disk.

use std::{
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use protocol::{
    hash::KeyHash,
    node_list::{NodeEntry, NodeList},
};
use relayd::{nodes::NodeTable, tree};
use tokio::sync::watch;

use crate::{
    following::Following,
    upstream::{Act, Relay, Server, id, names},
};

/// Nodes with their policy server; all with one key.
fn table(nodes: &[(&str, &str)]) -> Arc<NodeTable> {
    let entry = |server: &str| NodeEntry {
        hostname: "h".into(),
        key_hash: Some(KeyHash::Sha256([7; 32])),
        other_key_hashes: Vec::new(),
        policy_server: id(server),
        is_relay: false,
    };
    let list = nodes.iter().map(|(node, server)| (id(node), entry(server))).collect();
    Arc::new(NodeTable::new(list, Vec::new()))
}

const TREE: [(&str, &str); 7] =
    [("root", "root"), ("a", "root"), ("a1", "a"), ("aa", "a"), ("aa1", "aa"), ("b", "root"), ("b1", "b")];

fn tells(tree: &Arc<tree::Server>) -> impl Fn(&crate::upstream::Seen) -> Act + Send + 'static {
    let tree = tree.clone();
    move |_| Act::Tell(tree.clone())
}

fn says(body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    Response::new(Full::from(body.into()))
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_cross_two_levels_at_once_and_nothing_else_does() {
    let (sender, nodes) = watch::channel(table(&TREE));
    let root = Server::start(tells(&Arc::new(tree::Server::new(nodes)))).await;
    let a = Relay::new("a");
    let mut at_a = Following::start(&a, a.client(&root));
    at_a.until("a learns", &["a", "a1", "aa", "aa1", "root"]).await;
    let relay = Server::start(tells(&Arc::new(tree::Server::new(at_a.nodes.clone())))).await;
    let aa = Relay::new("aa");
    let mut at_aa = Following::start(&aa, aa.client(&relay));
    at_aa.until("aa learns", &["aa", "aa1", "root"]).await;
    assert_eq!(at_a.compatible.managed_nodes.get(), 2);
    assert_eq!(at_a.compatible.sub_nodes.get(), 5);

    // Revoked at the root.
    let begun = Instant::now();
    let without: Vec<_> = TREE.into_iter().filter(|(node, _)| *node != "aa1").collect();
    sender.send_replace(table(&without));
    at_aa.until("revoked", &["aa", "root"]).await;
    // Who is not told hears of it when its question has waited for a minute.
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());

    // Elsewhere: neither relay is told, and the one below hears of nothing in the part of the other.
    let (before, published) = (relay.seen().len(), names(&mut at_a.nodes));
    let mut now: Vec<_> = without.iter().copied().filter(|(node, _)| *node != "b1").collect();
    sender.send_replace(table(&now));
    now.push(("a2", "a"));
    sender.send_replace(table(&now));
    at_a.until("a2 comes", &["a", "a1", "a2", "aa", "root"]).await;
    assert_ne!(names(&mut at_a.nodes), published);
    // One question may have been on its way.
    assert!(relay.seen().len() <= before + 1);
    assert_eq!(names(&mut at_aa.nodes), ["aa", "root"]);

    // What is on disk is the same, and so is what a relay starts with.
    at_a.stop().await;
    let copy = NodeList::from_json(&fs::read(&a.general().nodes_list_file).unwrap()).unwrap();
    assert_eq!(copy, table(&now).list().below(&id("a")));
    root.stop().await;
    let mut again = Following::start(&a, a.client(&root));
    assert_eq!(names(&mut again.nodes), ["a", "a1", "a2", "aa", "root"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_uplink_the_copy_serves_and_a_damaged_copy_is_replaced_later() {
    let (_sender, nodes) = watch::channel(table(&TREE));
    let tree = Arc::new(tree::Server::new(nodes));
    let (root, a) = (Server::start(tells(&tree)).await, Relay::new("a"));
    root.stop().await;
    let copy = a.general().nodes_list_file;
    fs::create_dir_all(copy.parent().unwrap()).unwrap();
    fs::write(&copy, table(&TREE[..3]).list().to_json()).unwrap();
    let mut with_copy = Following::start(&a, a.client(&root));
    assert_eq!(names(&mut with_copy.nodes), ["a", "a1", "root"]);
    let status = with_copy.until_status("error").await;
    assert!(status["details"].as_str().unwrap().contains("cannot connect"), "{status}");
    assert!(status["confirmed"].is_null());
    assert_eq!(with_copy.metric("relayd_tree_up "), "0");
    with_copy.stop().await;

    let whole = fs::read(&copy).unwrap();
    fs::write(&copy, &whole[..whole.len() / 2]).unwrap();
    let mut damaged = Following::start(&a, a.client(&root));
    assert!(names(&mut damaged.nodes).is_empty());
    damaged.until_status("error").await;
    let back = Server::start_at(root.address, root.identity.clone(), tells(&tree)).await;
    damaged.until("the upstream is back", &["a", "a1", "aa", "aa1", "root"]).await;
    let status = damaged.until_status("success").await;
    assert!(status.get("details").is_none());
    assert_eq!(damaged.metric("relayd_tree_up "), "1");
    damaged.stop().await;
    assert_eq!(NodeList::from_json(&fs::read(&copy).unwrap()).unwrap().len(), 5);
    back.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_changes_nothing() {
    let (sender, nodes) = watch::channel(table(&TREE));
    let tree = Arc::new(tree::Server::new(nodes));
    let (root, a) = (Server::start(tells(&tree)).await, Relay::new("a"));
    let mut following = Following::start(&a, a.client(&root));
    following.until("a learns", &["a", "a1", "aa", "aa1", "root"]).await;

    let own = r#""a":{"hostname":"h","policy-server":"root"}"#;
    let full = format!(r#"{{"version":"x-1","full":true,"nodes":{{{own}}}}}"#);
    let cut = full.clone();
    type Bad = Box<dyn Fn() -> Act + Send>;
    let packed = || {
        let mut response = says(&b"\x1f\x8bnot gzip at all"[..]);
        response.headers_mut().insert("content-encoding", "gzip".parse().unwrap());
        response
    };
    let refusal = || {
        let mut response = says("who \x1b[31mare you\n");
        *response.status_mut() = hyper::StatusCode::FORBIDDEN;
        response
    };
    let bad: [(&str, Bad); 7] = [
        ("not JSON", Box::new(|| Act::Say(says("<html>")))),
        ("no entries", Box::new(|| Act::Say(says(r#"{"version":"x-1","full":true}"#)))),
        ("itself is missing", Box::new(|| Act::Say(says(r#"{"version":"x-1","full":true,"nodes":{}}"#)))),
        (
            "itself is gone",
            Box::new(|| Act::Say(says(r#"{"version":"x-1","full":false,"nodes":{"a":null}}"#))),
        ),
        ("not packed", Box::new(move || Act::Say(packed()))),
        ("cut in the middle", Box::new(move || Act::Cut(says(cut.clone()), 40))),
        ("refused", Box::new(move || Act::Say(refusal()))),
    ];
    for (what, act) in bad {
        let asked = root.seen().len();
        root.act(move |_| act());
        // Whoever waits is told something, so that the next question meets the new behaviour.
        let mut grown: Vec<_> = TREE.to_vec();
        grown.push(("a9", "a"));
        sender.send_replace(table(&grown));
        let status = following.until_status("error").await;
        assert!(root.seen().len() > asked, "{what}");
        assert!(!status["details"].as_str().unwrap().contains('\x1b'), "{what}: {status}");
        let known = names(&mut following.nodes);
        assert!(
            ["a", "a1", "aa", "aa1", "root"].iter().all(|node| known.iter().any(|k| k == node)),
            "{what}"
        );

        sender.send_replace(table(&TREE));
        root.act(tells(&tree));
        following.until_status("success").await;
        following.until(what, &["a", "a1", "aa", "aa1", "root"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_upstream_that_says_the_same_is_no_news() {
    let (_sender, nodes) = watch::channel(table(&TREE));
    let (root, a) =
        (Server::start(tells(&Arc::new(tree::Server::new(nodes.clone())))).await, Relay::new("a"));
    let mut following = Following::start(&a, a.client(&root));
    following.until("a learns", &["a", "a1", "aa", "aa1", "root"]).await;
    let before = Arc::clone(&following.nodes.borrow());
    root.stop().await;
    following.until_status("error").await;
    let back =
        Server::start_at(root.address, root.identity.clone(), tells(&Arc::new(tree::Server::new(nodes))))
            .await;
    following.until_status("success").await;
    assert!(Arc::ptr_eq(&before, &following.nodes.borrow()));
    assert_eq!(following.metric("relayd_tree_answers_total{answer=\"full\"}"), "2");
    assert!(back.seen()[0].headers.contains_key("if-none-match"));
}
