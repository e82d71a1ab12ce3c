// SPDX-License-Identifier: Apache-2.0
//! Every route of the rule table, walked by every kind of identity. A route that is new has to say
//! here what is expected of it.

use std::{collections::BTreeSet, sync::Arc};

use protocol::{node_list::NodeList, tls::ClientIdentity};
use relayd::{
    config::{Upstream, UpstreamTrust},
    gateway::{
        Behind, Enrolment,
        access::{Listener, Row, Who, table},
    },
    nodes::NodeTable,
    upstream::UpstreamClient,
};

use crate::harness::*;

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Let in, whatever comes of it.
    In,
    /// 401: nobody in particular asks.
    Who,
    /// 403: somebody who may not.
    No,
}
use Verdict::{In, No, Who as Unknown};

/// Each identity with which a route is walked, and its place in the expectations.
const WALKERS: [&str; 11] = [
    "anonymous",
    "a stranger's certificate",
    "the node itself",
    "another node",
    "a relay above the node",
    "a relay elsewhere",
    "the upstream",
    "a revoked node",
    "the password",
    "the initial password",
    "a wrong password",
];

/// The one for whom it is, and those above: with certificates only.
const OWN: [Verdict; 11] = [Unknown, No, In, No, In, No, In, No, Unknown, Unknown, Unknown];
const ANY_NODE: [Verdict; 11] = [Unknown, No, In, In, In, In, In, No, Unknown, Unknown, Unknown];
const ANYONE: [Verdict; 11] = [In; 11];

/// What is expected of each route of the gateway.
const EXPECTED: [(&str, [Verdict; 11]); 9] = [
    ("/uuid", ANYONE),
    ("/reports/<file name>", [Unknown, No, In, No, In, No, In, No, In, Unknown, Unknown]),
    ("/inventories/<file name>", [Unknown, No, In, No, In, No, In, No, Unknown, In, Unknown]),
    ("/inventory-updates/<file name>", [Unknown, No, In, No, In, No, In, No, In, Unknown, Unknown]),
    ("/enrolments/<node id>", ANYONE),
    ("/keys/<node id>", OWN),
    ("/certificates/<node id>", OWN),
    ("/nodes", ANY_NODE),
    ("/identity", ANY_NODE),
];

const WRONG: &str = "Authorization: Basic cnVkZGVyOndyb25n\r\n";

/// A relay in the middle of a tree, and who may knock at its door.
struct World {
    gateway: Running,
    upstream: ClientIdentity,
    node: ClientIdentity,
    other: ClientIdentity,
    above: ClientIdentity,
    elsewhere: ClientIdentity,
    revoked: ClientIdentity,
    stranger: ClientIdentity,
    files: u32,
}

impl World {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let spool = directory.path().join("spool");
        // Nothing listens there: what is let in fails, and not for want of rights.
        let upstream = Upstream {
            host: "127.0.0.1".into(),
            port: 1,
            user: "rudder".into(),
            password: None,
            default_password: String::new().into(),
            trust: UpstreamTrust::DangerousNone,
            client_identity: None,
            idle_timeout: PATIENCE,
            oldest_tls: protocol::tls::TlsVersion::V1_3,
        };
        let upstream = UpstreamClient::new(&upstream, &prometheus::Registry::new()).unwrap();
        let behind = Behind {
            enrolment: Enrolment::Upstream(Arc::new(upstream)),
            newcomers_per_minute: Some(1_000_000),
            ..Behind::default()
        };
        let passwords = |settings: &mut relayd::config::Gateway| settings.basic_auth = Some(passwords());
        let gateway = start_as("hub", Fleet::new(), behind, directory, spool, passwords).await;
        let world = Self {
            upstream: new_identity("top"),
            node: new_identity("node"),
            other: new_identity("other"),
            above: new_identity("above"),
            elsewhere: new_identity("elsewhere"),
            revoked: new_identity("revoked"),
            stranger: new_identity("stranger"),
            gateway,
            files: 0,
        };
        // First with the node that is revoked, then without: what it was once must not count.
        for with_revoked in [true, false] {
            world.gateway.nodes.send_replace(world.table(with_revoked));
        }
        world
    }

    fn table(&self, with_revoked: bool) -> Arc<NodeTable> {
        let mut nodes = serde_json::Map::new();
        for (id, identity, server) in [
            ("top", &self.upstream, "root"),
            ("hub", &self.gateway.fleet.root, "top"),
            ("above", &self.above, "hub"),
            ("node", &self.node, "above"),
            ("other", &self.other, "above"),
            ("elsewhere", &self.elsewhere, "hub"),
            ("stray", &self.gateway.fleet.direct, "elsewhere"),
            ("revoked", &self.revoked, "hub"),
        ] {
            let hash = identity.0.key_hash().to_string();
            let entry = serde_json::json!({"hostname": id, "key-hash": hash, "policy-server": server});
            if with_revoked || id != "revoked" {
                nodes.insert(id.to_owned(), entry);
            }
        }
        let list = NodeList::from_json(&serde_json::to_vec(&nodes).unwrap()).unwrap();
        Arc::new(NodeTable::new(list, Vec::new()))
    }

    fn walker(&self, name: &str) -> (Option<&ClientIdentity>, &'static str) {
        match name {
            "anonymous" => (None, ""),
            "a stranger's certificate" => (Some(&self.stranger), ""),
            "the node itself" => (Some(&self.node), ""),
            "another node" => (Some(&self.other), ""),
            "a relay above the node" => (Some(&self.above), ""),
            "a relay elsewhere" => (Some(&self.elsewhere), ""),
            "the upstream" => (Some(&self.upstream), ""),
            "a revoked node" => (Some(&self.revoked), ""),
            "the password" => (None, REGULAR),
            "the initial password" => (None, INITIAL),
            "a wrong password" => (None, WRONG),
            other => panic!("{other}"),
        }
    }

    /// A path that this rule is for, about the node; each time another file.
    fn path(&mut self, rule: &str) -> String {
        self.files += 1;
        let inventory = format!("node_2026-01-02T03:04:05+00:00-{}.ocs.gz", self.files);
        match rule.split_once('<') {
            None => rule.to_owned(),
            Some((directory, "node id>")) => format!("{directory}node"),
            Some(("/reports/", _)) => format!("/reports/{}", run_log("node", self.files)),
            Some((directory, "file name>")) => format!("{directory}{inventory}"),
            Some(_) => panic!("no path is known for {rule}"),
        }
    }

    async fn request(&self, walker: &str, method: &str, path: &str) -> Reply {
        let (identity, headers) = self.walker(walker);
        let mut client = self.gateway.connect(identity).await;
        match method {
            "PUT" => client.put(path, headers, &gzip(b"x")).await,
            _ => client.ask(method, path, headers).await,
        }
    }
}

fn rows(listener: Listener) -> Vec<Row> {
    table().into_iter().filter(|row| row.listener == listener && row.who != [Who::Nobody]).collect()
}

fn verdict(status: u16) -> Verdict {
    match status {
        401 => Unknown,
        403 => No,
        404 => panic!("not found"),
        _ => In,
    }
}

#[tokio::test]
async fn each_route_lets_in_whom_it_should_and_nobody_else() {
    let mut world = World::new().await;
    let rows = rows(Listener::Gateway);
    let listed: BTreeSet<_> = rows.iter().map(|row| row.path).collect();
    let expected: BTreeSet<_> = EXPECTED.iter().map(|(path, _)| *path).collect();
    assert_eq!(listed, expected, "say in EXPECTED who may use the new route");
    for row in rows {
        let (_, expected) = EXPECTED.iter().find(|(path, _)| *path == row.path).unwrap();
        for method in row.methods.iter().filter(|method| **method != "HEAD") {
            for (walker, expected) in WALKERS.iter().zip(expected) {
                let path = world.path(row.path);
                let reply = world.request(walker, method, &path).await;
                assert_eq!(verdict(reply.status), *expected, "{walker}: {method} {path}: {reply:?}");
            }
        }
    }
    world.gateway.stop().await;
}

#[tokio::test]
async fn what_has_no_rule_is_found_by_nobody() {
    let mut world = World::new().await;
    let mut requests =
        vec![("GET", "/".to_owned()), ("GET", "/nodes/".into()), ("PUT", "/policies/x".into())];
    for row in rows(Listener::Gateway) {
        for method in ["GET", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "TRACE"] {
            if !row.methods.contains(&method) {
                requests.push((method, world.path(row.path)));
            }
        }
    }
    // The routes of the local API are not here, whoever asks.
    for row in rows(Listener::Local) {
        assert_eq!(row.who, [Who::Loopback], "{}", row.path);
        requests.extend(row.methods.iter().map(|method| (*method, row.path.to_owned())));
    }
    for walker in WALKERS {
        let (identity, headers) = world.walker(walker);
        let mut client = world.gateway.connect(identity).await;
        for (method, path) in &requests {
            let headers = format!("{headers}Content-Length: 0\r\n");
            let reply = client.ask(method, path, &headers).await;
            assert_eq!(reply.status, 404, "{walker}: {method} {path}");
        }
    }
    world.gateway.stop().await;
}

#[tokio::test]
async fn foreign_and_missing_look_the_same() {
    let world = World::new().await;
    for walker in ["another node", "a relay elsewhere", "anonymous", "a revoked node"] {
        for kind in ["keys", "certificates"] {
            let ask = async |node: &str| {
                let reply = world.request(walker, "PUT", &format!("/{kind}/{node}")).await;
                (reply.status, reply.body.replace(&format!("for {node}:"), "for it:"))
            };
            assert_eq!(ask("node").await, ask("missing").await, "{walker}");
        }
    }
    world.gateway.stop().await;
}

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
    let mut client = world.gateway.connect(Some(&world.above)).await;
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
