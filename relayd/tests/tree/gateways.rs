// SPDX-License-Identifier: Apache-2.0
//! Two levels of relays behind real gateways.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use prometheus::Registry;
use protocol::{
    hash::KeyHash,
    node_list::{NodeEntry, NodeList},
    tls::TlsVersion,
};
use relayd::{
    config,
    gateway::{Behind, Gateway},
    nodes::{NodeTable, Nodes},
};
use tokio::{sync::watch, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    following::Following,
    upstream::{Relay, SOON, id, names},
};

/// A gateway that serves a table; relays use one key as clients and as servers.
struct Serving {
    address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Serving {
    fn start(server: &Relay, nodes: Nodes) -> Self {
        let settings = config::Gateway {
            listen: vec!["127.0.0.1:0".parse().unwrap()],
            identity: server.files(),
            oldest_tls: TlsVersion::V1_3,
            clients: config::ClientTrust::Key,
            basic_auth: None,
            threads: 1,
            blocking_threads: 64,
            max_connections: 100,
            header_timeout: Duration::from_secs(1),
            // Much less than a relay waits for news.
            idle_timeout: Duration::from_secs(1),
            slowest_body: 1024,
            uploads_per_minute: 1000,
            max_run_log: 1000,
            max_inventory: 1000,
            high_water_percent: 100,
            max_bytes_in_flight: 1_000_000,
        };
        let bound = Gateway::bind(&settings, &server.id, nodes, Behind::default(), &Registry::new());
        let (gateway, stop) = (bound.unwrap(), CancellationToken::new());
        let (address, run) = (gateway.local_addrs()[0], gateway.run(stop.clone()));
        Self { address, stop, task: tokio::spawn(async move { run.await.unwrap() }) }
    }

    fn follow(&self, server: &Relay, relay: &Relay) -> Following {
        let upstream = relay.upstream_at(self.address, server.key_hash());
        Following::start(relay, Relay::client_of(&upstream))
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

fn list(nodes: &[(&str, &str, KeyHash)]) -> NodeList {
    let entry = |server: &str, key: &KeyHash| NodeEntry {
        hostname: "h".into(),
        key_hash: Some(key.clone()),
        other_key_hashes: Vec::new(),
        policy_server: id(server),
        is_relay: false,
    };
    nodes.iter().map(|(node, server, key)| (id(node), entry(server, key))).collect()
}

fn table(list: &NodeList) -> Arc<NodeTable> {
    Arc::new(NodeTable::new(list.clone(), Vec::new()))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tree_comes_down_two_levels_and_a_revoked_relay_keeps_what_it_knew() {
    let (root, a, aa) = (Relay::new("root"), Relay::new("a"), Relay::new("aa"));
    let some_key = KeyHash::Sha256([7; 32]);
    let all = list(&[
        ("root", "root", root.key_hash()),
        ("a", "root", a.key_hash()),
        ("aa", "a", aa.key_hash()),
        ("aa1", "aa", some_key.clone()),
        ("b", "root", some_key),
    ]);
    let (sender, nodes) = watch::channel(table(&all));
    let at_root = Serving::start(&root, nodes);
    let mut a_follows = at_root.follow(&root, &a);
    a_follows.until("a learns", &["a", "aa", "aa1", "root"]).await;
    let at_a = Serving::start(&a, a_follows.nodes.clone());
    let mut aa_follows = at_a.follow(&a, &aa);
    aa_follows.until("aa learns", &["aa", "aa1", "root"]).await;

    // Longer than connections may be idle; and then at once.
    let silence = timeout(Duration::from_secs(3), aa_follows.nodes.changed()).await;
    assert!(silence.is_err());
    let mut without = all.clone();
    without.remove(&id("aa1"));
    let begun = Instant::now();
    sender.send_replace(table(&without));
    aa_follows.until("revoked", &["aa", "root"]).await;
    // Who is not told hears of it when its question has waited for a minute.
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());

    // A relay that is revoked hears no more, and says so.
    let mut revoked = without.clone();
    revoked.remove(&id("a"));
    sender.send_replace(table(&revoked));
    let status = a_follows.until_status("error").await;
    let known = names(&mut a_follows.nodes);
    assert!(known.contains(&"aa".to_owned()) && known.contains(&"a".to_owned()), "{known:?}");
    assert!(!status["since"].is_null());
    sender.send_replace(table(&all));
    aa_follows.until("all is as before", &["aa", "aa1", "root"]).await;
    a_follows.until_status("success").await;

    // Relays that wait for news do not hold up the end.
    let begun = Instant::now();
    timeout(SOON, async { tokio::join!(at_a.stop(), at_root.stop()) }).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}
