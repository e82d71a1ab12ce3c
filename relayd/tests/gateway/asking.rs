// SPDX-License-Identifier: Apache-2.0
//! What clients hear about themselves and the nodes below them.

use std::sync::Arc;

use protocol::node_list::NodeList;
use relayd::nodes::NodeTable;

use crate::{harness::eventually, world::World};

#[tokio::test]
async fn a_client_hears_who_it_is() {
    let world = World::new().await;
    for (walker, node, server) in [
        ("the node itself", "node", "above"),
        ("the upstream", "top", "root"),
        ("another node", "other", "above"),
    ] {
        let reply = world.request(walker, "GET", "/identity").await;
        assert_eq!(reply.header("content-type"), Some("application/json"));
        let hash = world.walker(walker).0.unwrap().0.key_hash();
        let expected =
            serde_json::json!({"node_id": node, "key_hash": hash.to_string(), "policy_server": server});
        assert_eq!(serde_json::from_str::<serde_json::Value>(&reply.body).unwrap(), expected, "{walker}");
    }
    world.gateway.stop().await;
}

#[tokio::test]
async fn a_client_hears_of_the_nodes_below_it_and_waits_for_changes() {
    let world = World::new().await;
    let mut client = world.gateway.connect(world.walker("a relay above the node").0).await;
    let reply = client.ask("GET", "/nodes", "").await;
    let (tag, known) = (reply.header("etag").unwrap().to_owned(), reply.body);
    assert!(known.contains("\"other\"") && !known.contains("\"stray\""), "{known}");
    let unchanged = client.ask("GET", "/nodes", &format!("If-None-Match: {tag}\r\n")).await;
    assert_eq!(unchanged.status, 304);

    let patient = format!("If-None-Match: {tag}\r\nPrefer: wait=300\r\n");
    let request = format!("GET /nodes?changes HTTP/1.1\r\nHost: x\r\n{patient}\r\n");
    client.send(request.as_bytes()).await.unwrap();
    let waiting = || world.gateway.metric("relayd_gateway_tree_requests_in_flight") == 1.0;
    eventually("the request waits", waiting).await;
    // Not of its concern: it goes on waiting, and does not keep the table that was there before.
    let before = Arc::downgrade(&*world.gateway.nodes.borrow());
    world.gateway.nodes.send_replace(world.table(true));
    eventually("the table before is gone", || before.upgrade().is_none()).await;
    assert!(waiting());
    let mut nodes = serde_json::to_value(()).unwrap();
    for (id, entry) in world.table(true).list().iter().filter(|(id, _)| id.as_str() != "other") {
        let hash = entry.key_hash.as_ref().unwrap().to_string();
        nodes[id.as_str()] = serde_json::json!({"hostname": "h", "key-hash": hash, "policy-server": entry.policy_server.as_str()});
    }
    let list = NodeList::from_json(nodes.to_string().as_bytes()).unwrap();
    world.gateway.nodes.send_replace(Arc::new(NodeTable::new(list, Vec::new())));
    let changed = client.reply().await.unwrap();
    assert_eq!(changed.status, 200);
    assert!(changed.body.contains("\"other\":null"), "{}", changed.body);

    // Who waits does not hold up the end.
    let tag = changed.header("etag").unwrap();
    let patient = format!("If-None-Match: {tag}\r\nPrefer: wait=300\r\n");
    client.send(format!("GET /nodes HTTP/1.1\r\nHost: x\r\n{patient}\r\n").as_bytes()).await.unwrap();
    eventually("the request waits", waiting).await;
    world.gateway.stop().await;
    assert_eq!(client.reply().await.unwrap().status, 304);
}
