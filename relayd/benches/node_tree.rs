// SPDX-License-Identifier: Apache-2.0
//! What the node tree costs with many nodes, by processor time: telling a relay all nodes below it,
//! telling it of one change, finding that a change is none of its business, and what the relay does with
//! what it hears. The measure is writing the same nodes as a node list.
//!
//! ```text
//! cargo bench -p relayd --bench node_tree
//! ```

use std::{hint::black_box, sync::Arc, time::Duration};

use hyper::header::{HeaderMap, HeaderValue, IF_NONE_MATCH};
use protocol::{
    compression::{Compression, unpack},
    hash::KeyHash,
    node_id::NodeId,
    node_list::{NodeEntry, NodeList},
    node_tree::TreeDocument,
};
use relayd::{
    nodes::NodeTable,
    tree::{Ask, Server, TreeAnswer},
};
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const NODES: usize = 50_000;
const RELAYS: usize = 50;
const ROUNDS: u32 = 5;
/// The patience of a client that does not wait.
const NONE: Duration = Duration::ZERO;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_time()
        .build()
        .expect("a runtime");
    runtime.block_on(run());
}

async fn run() {
    let mut list = realistic();
    let (sender, nodes) = watch::channel(table(&list));
    let (server, stop) = (Server::new(nodes), CancellationToken::new());
    let (root, relay, other) = (NodeId::root(), relay(1), relay(2));
    let whole = Ask { wait: NONE, ..Ask::default() };

    let written = best(async || list.to_json().len()).await;
    println!("{NODES} nodes below {RELAYS} relays, {} bytes as a node list", list.to_json().len());
    println!("{:<54} {:>9} {:>7}", "", "ms", "ratio");
    let say = |what: &str, seconds: f64| {
        println!("{what:<54} {:>9.3} {:>7.3}", seconds * 1e3, seconds / written);
    };
    say("writing the node list (the measure)", written);
    for (what, client, gzip) in [
        ("all nodes, for the top", &root, false),
        ("all nodes, for the top, packed", &root, true),
        ("all nodes of one relay, packed", &relay, true),
    ] {
        say(what, best(async || size(&server.answer(client, &Ask { gzip, ..whole }, &stop).await)).await);
    }

    let tag = format!("\"{}\"", version(&server.answer(&relay, &whole, &stop).await));
    let tag = HeaderValue::try_from(tag).expect("a version");
    let changes = Ask::read(Some("changes"), &HeaderMap::from_iter([(IF_NONE_MATCH, tag)]));
    let mut telling = f64::INFINITY;
    let mut ignoring = f64::INFINITY;
    for round in 0..ROUNDS {
        change(&mut list, round as u8);
        sender.send_replace(table(&list));
        // Whoever asks first compares the tables, for all.
        let ((), compared) = timed(async || drop(server.answer(&relay, &whole, &stop).await)).await;
        let ((), told) = timed(async || drop(server.answer(&relay, &changes, &stop).await)).await;
        let ((), ignored) = timed(async || drop(server.answer(&other, &changes, &stop).await)).await;
        if round == 0 {
            say("comparing with the table before, once for all relays", compared);
        }
        (telling, ignoring) = (telling.min(told), ignoring.min(ignored));
    }
    say("one change, for the relay above it", telling);
    say("that change, for a relay that it does not concern", ignoring);

    let TreeAnswer::Document { body, .. } = server.answer(&root, &Ask { gzip: true, ..whole }, &stop).await
    else {
        unreachable!("without a version there is a document")
    };
    println!("the document of all nodes has {} bytes, packed", body.len());
    let heard = async || {
        let json = unpack(&body, Compression::Gzip, 1 << 30).expect("gzip");
        TreeDocument::from_json(&json).expect("a document").apply(NodeList::default())
    };
    say("reading it", best(async || heard().await.len()).await);
    let list = heard().await;
    say("making a node table of it", best(async || table(&list).list().len()).await);
}

fn table(list: &NodeList) -> Arc<NodeTable> {
    Arc::new(NodeTable::new(list.clone(), Vec::new()))
}

fn size(answer: &TreeAnswer) -> usize {
    match answer {
        TreeAnswer::Document { body, .. } => body.len(),
        TreeAnswer::Unchanged { .. } | TreeAnswer::TooMany => 0,
    }
}

fn version(answer: &TreeAnswer) -> String {
    match answer {
        TreeAnswer::Document { version, .. } | TreeAnswer::Unchanged { version } => version.clone(),
        TreeAnswer::TooMany => String::new(),
    }
}

fn id(kind: &str, number: usize) -> NodeId {
    format!("{kind}-0000-4000-8000-{number:012}").parse().expect("a node id")
}

fn relay(number: usize) -> NodeId {
    id("0a000000", number)
}

fn entry(kind: &str, number: usize, policy_server: NodeId, is_relay: bool) -> NodeEntry {
    let key = openssl::sha::sha256(format!("{kind}{number}").as_bytes());
    NodeEntry {
        hostname: format!("{kind}{number}.example.com"),
        key_hash: Some(KeyHash::Sha256(key)),
        other_key_hashes: Vec::new(),
        policy_server,
        is_relay,
    }
}

fn realistic() -> NodeList {
    let root = (NodeId::root(), entry("root", 0, NodeId::root(), false));
    let relays = (0..RELAYS).map(|n| (relay(n), entry("relay", n, NodeId::root(), true)));
    let nodes = (0..NODES).map(|n| (id("0b000000", n), entry("node", n, relay(n % RELAYS), false)));
    std::iter::once(root).chain(relays).chain(nodes).collect()
}

/// Another key for one node below the first relay.
fn change(list: &mut NodeList, round: u8) {
    let mut changed = entry("node", 1, relay(1), false);
    changed.key_hash = Some(KeyHash::Sha256([round; 32]));
    list.insert(id("0b000000", 1), changed);
}

/// Processor time of all threads.
async fn timed<T>(work: impl AsyncFnOnce() -> T) -> (T, f64) {
    let now = || Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).expect("it is positive");
    let start = now();
    let done = black_box(work().await);
    (done, (now() - start).as_secs_f64())
}

/// Seconds for one call, in the best of some rounds.
async fn best(work: impl AsyncFn() -> usize) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        best = best.min(timed(&work).await.1);
    }
    best
}
