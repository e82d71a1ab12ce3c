// SPDX-License-Identifier: Apache-2.0
//! Who is told what, and when.

use std::time::Duration;

use proptest::prelude::*;
use protocol::{hash::KeyHash, node_list::NodeEntry};
use tokio::sync::watch;

use super::*;

const SOON: Duration = Duration::from_secs(10);

fn id(id: &str) -> NodeId {
    id.parse().unwrap()
}

/// Nodes with their policy server and the byte that their key is made of.
fn table(nodes: &[(&str, &str, u8)]) -> Arc<NodeTable> {
    let entry = |server: &str, key: u8| NodeEntry {
        hostname: "h".into(),
        key_hash: Some(KeyHash::Sha256([key; 32])),
        other_key_hashes: Vec::new(),
        policy_server: id(server),
        is_relay: false,
    };
    let list = nodes.iter().map(|(node, server, key)| (id(node), entry(server, *key))).collect();
    Arc::new(NodeTable::new(list, Vec::new()))
}

/// `root` with the relays `a` and `b`, each with a node.
fn tree() -> Vec<(&'static str, &'static str, u8)> {
    vec![("root", "root", 0), ("a", "root", 1), ("a1", "a", 2), ("b", "root", 3), ("b1", "b", 4)]
}

fn patient(since: Option<&str>) -> Ask {
    let since = since.map(|version| Version::parse(version).unwrap());
    Ask { since, wait: SOON, changes: true, gzip: false }
}

fn document(answer: TreeAnswer) -> TreeDocument {
    match answer {
        TreeAnswer::Document { body, gzip: false, version } => {
            let document = TreeDocument::from_json(&body).unwrap();
            assert_eq!(document.version, version);
            document
        }
        other => panic!("{other:?}"),
    }
}

fn names(document: &TreeDocument) -> Vec<&str> {
    document.nodes.keys().map(NodeId::as_str).collect()
}

#[tokio::test]
async fn a_client_hears_of_its_part_of_the_tree_only() {
    let (sender, nodes) = watch::channel(table(&tree()));
    let (server, stop) = (Server::new(nodes), CancellationToken::new());
    let first = document(server.answer(&id("a"), &patient(None), &stop).await);
    assert!(first.full);
    assert_eq!(names(&first), ["a", "a1", "root"]);
    assert_eq!(names(&document(server.answer(&id("a1"), &patient(None), &stop).await)), ["a1", "root"]);

    // What happens elsewhere does not wake it, what happens below it does, at once.
    let (a, since) = (id("a"), patient(Some(&first.version)));
    let mut waiting = Box::pin(server.answer(&a, &since, &stop));
    let mut now = tree();
    now[4].2 = 40;
    sender.send_replace(table(&now));
    assert!(tokio::time::timeout(Duration::from_millis(200), &mut waiting).await.is_err());
    now.push(("a2", "a", 5));
    sender.send_replace(table(&now));
    let second = document(tokio::time::timeout(SOON / 2, waiting).await.unwrap());
    assert!(!second.full);
    assert_eq!(names(&second), ["a2"]);

    // Gone, for whoever had it; an earlier version still gets all that changed since.
    now.retain(|(node, ..)| *node != "a1");
    sender.send_replace(table(&now));
    let third = document(server.answer(&id("a"), &since, &stop).await);
    assert_eq!((names(&third), third.nodes[&id("a1")].is_none()), (vec!["a1", "a2"], true));
    let full = Ask { changes: false, ..since };
    assert_eq!(names(&document(server.answer(&id("a"), &full, &stop).await)), ["a", "a2", "root"]);
}

#[tokio::test]
async fn a_node_or_relay_that_moves_is_news_for_both_sides() {
    let (sender, nodes) = watch::channel(table(&tree()));
    let (server, stop) = (Server::new(nodes), CancellationToken::new());
    let version = document(server.answer(&id("root"), &patient(None), &stop).await).version;
    let mut now = tree();
    now[1].1 = "b";
    sender.send_replace(table(&now));
    let mut heard = Vec::new();
    for client in ["a", "b", "a1"] {
        heard.push(document(server.answer(&id(client), &patient(Some(&version)), &stop).await));
    }
    assert_eq!(heard.iter().map(names).collect::<Vec<_>>(), [vec!["a", "a1"], vec!["a", "a1"], vec!["a1"]]);
    let version = &heard[0].version;
    sender.send_replace(table(&tree()));
    let left = document(server.answer(&id("b"), &patient(Some(version)), &stop).await);
    assert!(left.nodes.values().all(Option::is_none), "{left:?}");
    assert_eq!(names(&left), ["a", "a1"]);
}

#[tokio::test]
async fn patience_and_the_daemon_end_with_the_version_to_ask_with() {
    let (sender, nodes) = watch::channel(table(&tree()));
    let (server, stop) = (Server::new(nodes), CancellationToken::new());
    let version = document(server.answer(&id("a"), &patient(None), &stop).await).version;
    let mut elsewhere = tree();
    elsewhere.pop();
    sender.send_replace(table(&elsewhere));
    let impatient = Ask { wait: Duration::ZERO, ..patient(Some(&version)) };
    let TreeAnswer::Unchanged { version: newer } = server.answer(&id("a"), &impatient, &stop).await else {
        panic!("something changed")
    };
    assert_ne!(newer, version);
    let (a, since) = (id("a"), patient(Some(&newer)));
    let waiting = server.answer(&a, &since, &stop);
    let (answer, ()) = tokio::join!(waiting, async { stop.cancel() });
    assert_eq!(answer, TreeAnswer::Unchanged { version: newer });
    let foreign = patient(Some("0000000000000000-1"));
    assert!(document(server.answer(&id("a"), &foreign, &stop).await).full);
}

#[tokio::test]
async fn one_client_cannot_wait_many_times() {
    let (_sender, nodes) = watch::channel(table(&tree()));
    let (server, stop) = (Server::new(nodes), CancellationToken::new());
    let version = document(server.answer(&id("a"), &patient(None), &stop).await).version;
    let (client, since) = (id("a"), patient(Some(&version)));
    let mut waiting: Vec<_> = (0..ASKING).map(|_| Box::pin(server.answer(&client, &since, &stop))).collect();
    for waiting in &mut waiting {
        assert!(futures_util::poll!(waiting).is_pending());
    }
    assert_eq!(server.answer(&client, &since, &stop).await, TreeAnswer::TooMany);
    assert!(document(server.answer(&id("b"), &patient(None), &stop).await).full);
    waiting.pop();
    assert!(futures_util::poll!(Box::pin(server.answer(&client, &since, &stop))).is_pending());
}

/// Thousands who wait must not each take a thread at every publication.
#[test]
fn one_comparison_serves_all_who_wait() {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build().unwrap();
    runtime.block_on(async {
        let (sender, nodes) = watch::channel(table(&tree()));
        let (server, stop) = (Server::new(nodes), CancellationToken::new());
        let since = document(server.answer(&id("b"), &patient(None), &stop).await).version;
        let mut now = tree();
        now[2].2 = 20;
        sender.send_replace(table(&now));
        assert_eq!(names(&document(server.answer(&id("a"), &patient(Some(&since)), &stop).await)), ["a1"]);
        // Nobody gets a thread any more.
        let (release, held) = std::sync::mpsc::channel::<()>();
        let held = spawn_blocking(move || held.recv());
        let impatient = Ask { wait: Duration::ZERO, ..patient(Some(&since)) };
        let b = id("b");
        let answer = tokio::time::timeout(SOON, server.answer(&b, &impatient, &stop)).await;
        drop(release);
        assert!(matches!(answer, Ok(TreeAnswer::Unchanged { version }) if version != since));
        assert!(held.await.unwrap().is_err());
    });
}

#[tokio::test]
async fn the_tree_is_as_deep_as_relays_may_be() {
    let ids: Vec<String> = (0..24).map(|level| format!("l{level}")).collect();
    let mut deep: Vec<(&str, &str, u8)> = vec![("root", "root", 0), ("l0", "root", 0)];
    deep.extend(ids.windows(2).map(|pair| (pair[1].as_str(), pair[0].as_str(), 0)));
    let before = table(&deep);
    deep.iter_mut().for_each(|node| node.2 = 1);
    let (sender, nodes) = watch::channel(before.clone());
    let (server, stop) = (Server::new(nodes), CancellationToken::new());
    let mut versions = Vec::new();
    for (node, below) in [("root", 20 + 1), ("l0", 20 + 2), ("l22", 1 + 2)] {
        let first = document(server.answer(&id(node), &patient(None), &stop).await);
        assert_eq!(first.nodes.len(), below, "{node}");
        versions.push((node, below, first.version));
    }
    sender.send_replace(table(&deep));
    for (node, below, version) in versions {
        let changes = document(server.answer(&id(node), &patient(Some(&version)), &stop).await);
        assert_eq!((changes.full, changes.nodes.len()), (false, below), "{node}");
    }
}

const IDS: [&str; 8] = ["root", "a", "b", "c", "d", "e", "f", "g"];

/// Any graph of policy servers, also those that are none: a list is what another program wrote.
fn tables() -> impl Strategy<Value = Vec<Arc<NodeTable>>> {
    let node = proptest::option::weighted(0.8, (0..IDS.len() + 1, 0..2_u8));
    let nodes = proptest::collection::vec(node, IDS.len());
    let table = nodes.prop_map(|nodes| {
        let nodes = nodes.into_iter().enumerate();
        let nodes = nodes.filter_map(|(node, entry)| {
            let (server, key) = entry?;
            Some((IDS[node], *IDS.get(server).unwrap_or(&"nobody"), key))
        });
        table(&nodes.collect::<Vec<_>>())
    });
    proptest::collection::vec(table, 2..8)
}

proptest! {
    #[test]
    fn documents_applied_one_after_the_other_are_the_part_below(
        tables in tables(),
        client in 0..IDS.len(),
        skip in proptest::collection::vec(any::<bool>(), 8),
    ) {
        let client = id(IDS[client]);
        let mut history = History::new(1, tables[0].clone());
        let mut since = None;
        let mut list = NodeList::default();
        for (now, skip) in tables.iter().zip(skip) {
            history.advance(now.clone());
            if skip {
                continue;
            }
            let version = history.version().to_string();
            let document = match history.news(&client, since) {
                News::None => TreeDocument { version, full: false, nodes: Default::default() },
                News::Nodes(nodes) => changed(&client, nodes, now, version),
                News::All => all(&client, now, version),
            };
            let document = TreeDocument::from_json(&document.to_json()).unwrap();
            list = document.apply(list);
            since = Some(history.version());
            prop_assert_eq!(&list, &now.list().below(&client));
        }
    }
}
