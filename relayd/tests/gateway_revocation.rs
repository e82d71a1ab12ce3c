// SPDX-License-Identifier: Apache-2.0
//! Many nodes stay connected while some of them are revoked. A process of its own, because so many
//! connections need more files than a process usually may have.
#![allow(missing_docs, dead_code, reason = "tests")]

#[path = "gateway/harness.rs"]
mod harness;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};
use harness::*;
use protocol::{
    node_list::NodeList,
    tls::{ClientIdentity, TlsVersion},
};
use relayd::nodes::NodeTable;
use rustix::process::{Resource, getrlimit, setrlimit};

const NODES: usize = 2000;
/// One in so many is revoked.
const EACH: usize = 10;

fn table<'a>(nodes: impl Iterator<Item = &'a (String, ClientIdentity)>) -> Arc<NodeTable> {
    let nodes: serde_json::Map<_, _> = nodes
        .map(|(id, identity)| {
            let hash = identity.0.key_hash().to_string();
            (id.clone(), serde_json::json!({"hostname": id, "policy-server": "root", "key-hash": hash}))
        })
        .collect();
    let list = NodeList::from_json(&serde_json::to_vec(&nodes).unwrap()).unwrap();
    Arc::new(NodeTable::new(list, Vec::new()))
}

/// The status of an upload on this connection; 0 when it was closed.
async fn upload(client: &mut Client, node: &str, n: u32) -> u16 {
    let request = put_request(&format!("/reports/{}", run_log(node, n)), "", &gzip(b"x"));
    match client.send(&request).await {
        Ok(()) => client.reply().await.map_or(0, |reply| reply.status),
        Err(_) => 0,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn revoking_some_closes_their_connections_and_costs_the_others_nothing() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();

    // On a busy machine it takes a while until each of them had its turn.
    let patient = Duration::from_secs(300);
    let gateway = start_with(|settings| {
        settings.max_connections = NODES + 100;
        (settings.header_timeout, settings.idle_timeout) = (patient, patient);
    })
    .await;
    let fleet: Vec<_> = (0..NODES)
        .map(|n| {
            let id = format!("node-{n}");
            let identity = new_identity(&id);
            (id, identity)
        })
        .collect();
    gateway.nodes.send_replace(table(fleet.iter()));
    let mut clients: Vec<Client> = stream::iter(&fleet)
        .map(|(_, identity)| gateway.connect(Some(identity)))
        .buffered(50)
        .collect()
        .await;
    for (client, (id, _)) in clients.iter_mut().zip(&fleet) {
        assert_eq!(upload(client, id, 1).await, 201, "{id}");
    }
    // In the middle of an upload when its node is revoked.
    let mut busy = gateway.connect(Some(&fleet[0].1)).await;
    let half = put_request(&format!("/reports/{}", run_log(&fleet[0].0, 7)), "", &gzip(&[7; 100_000]));
    busy.send(&half[..50_000]).await.unwrap();
    eventually("the upload is under way", || gateway.metric("relayd_gateway_uploads_in_flight") == 1.0).await;
    let handshakes = gateway.metric("relayd_gateway_tls_handshakes_total");
    assert_eq!(handshakes, (NODES + 1) as f64);

    let start = Instant::now();
    gateway.nodes.send_replace(table(
        fleet.iter().enumerate().filter(|(n, _)| n % EACH != 0).map(|(_, machine)| machine),
    ));
    let revoked = (NODES / EACH + 1) as f64;
    eventually("those of revoked nodes are closed", || {
        gateway.metric("relayd_gateway_connections") == (NODES + 1) as f64 - revoked
    })
    .await;
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!(gateway.metric("relayd_gateway_revoked_connections_total"), revoked);
    assert_eq!(busy.reply().await, None);
    assert_eq!(gateway.metric("relayd_gateway_uploads_in_flight"), 0.0);

    for (n, (client, (id, _))) in clients.iter_mut().zip(&fleet).enumerate() {
        let expected = if n % EACH == 0 { 0 } else { 201 };
        assert_eq!(upload(client, id, 2).await, expected, "{id}");
    }
    assert_eq!(gateway.metric("relayd_gateway_tls_handshakes_total"), handshakes, "nobody had to come again");
    assert_eq!(gateway.metric("relayd_gateway_revoked_connections_total"), revoked);
    // Who comes again is a stranger now.
    let mut again = Client::try_connect(gateway.address, Some(&fleet[0].1), TlsVersion::V1_3).await.unwrap();
    assert_eq!(upload(&mut again, &fleet[0].0, 3).await, 403);
    drop((clients, again));
    gateway.stop().await;
}
