// SPDX-License-Identifier: Apache-2.0
//! Nodes come in, change their keys and are revoked, through a relay and a root with its registry.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use protocol::{
    enrolment::{Answer, Request, State},
    node_id::NodeId,
    smime,
    tls::{ClientIdentity, TlsVersion},
};
use relayd::{
    config::{self, DatabaseUrl, IdentityFiles, LocalAddress, Upstream, UpstreamTrust},
    db::{Connection, Database},
    gateway::{Behind, Enrolment, Gateway, GatewayError},
    metrics::CompatibleMetrics,
    nodes::Nodes,
    registry::{
        self, Contacts, Registry,
        admin::{self, Accept, Outcome},
    },
    upstream::UpstreamClient,
};
use tokio::{task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::harness::*;

/// A root with a registry, and a relay below it that knows the same nodes.
struct World {
    directory: tempfile::TempDir,
    database: Database,
    nodes: Nodes,
    relay_identity: ClientIdentity,
    root: Door,
    relay: Door,
    stop: CancellationToken,
    handle: Registry,
    registry: JoinHandle<Result<(), String>>,
}

struct Door {
    address: SocketAddr,
    task: JoinHandle<Result<(), GatewayError>>,
}

impl World {
    async fn start() -> Self {
        Self::start_with(1000).await
    }

    async fn start_with(newcomers_per_minute: u32) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let database = config::Database {
            url: DatabaseUrl::Sqlite(directory.path().join("relayd.db")),
            max_pool_size: 4,
            absent: None,
            migrate_at_start: true,
        };
        let database = Database::open(&database).unwrap();
        let metrics = prometheus::Registry::new();
        let compatible = CompatibleMetrics::new(&metrics).unwrap();
        let settings = registry_settings(directory.path());
        let running = registry::start(settings, database.clone(), &metrics, compatible).unwrap();
        let (handle, nodes) = (running.registry.clone(), running.nodes.clone());
        let stop = CancellationToken::new();
        let registry = tokio::spawn(running.run(stop.clone()));

        let root_identity = new_identity("root");
        let (contacts, recorder) = Contacts::new(database.clone(), &metrics).unwrap();
        tokio::spawn(recorder.run(stop.clone()));
        let newcomers_per_minute = Some(newcomers_per_minute);
        let behind = |enrolment| Behind { enrolment, newcomers_per_minute, ..Behind::default() };
        let here = Behind { contacts: Some(contacts), ..behind(Enrolment::Here(handle.clone())) };
        let root = open(directory.path(), "root", &root_identity, here, nodes.clone(), &stop);
        let relay_identity = new_identity(RELAY);
        write_identity(directory.path(), &relay_identity);
        let upstream = Upstream {
            host: root.address.ip().to_string(),
            port: root.address.port(),
            user: "rudder".into(),
            password: None,
            default_password: String::new().into(),
            trust: UpstreamTrust::Pins(vec![root_identity.0.key_hash()]),
            client_identity: Some(IdentityFiles {
                certificate: directory.path().join("cert"),
                key: directory.path().join("key"),
            }),
            idle_timeout: PATIENCE,
            oldest_tls: TlsVersion::V1_3,
            proxy: protocol::proxy::ProxyRule::None,
        };
        let client = UpstreamClient::new(&upstream, &prometheus::Registry::new()).unwrap();
        let above = behind(Enrolment::Upstream(Arc::new(client)));
        let relay = open(directory.path(), RELAY, &relay_identity, above, nodes.clone(), &stop);
        Self { directory, database, nodes, relay_identity, root, relay, stop, handle, registry }
    }

    fn admin(&self) -> Connection {
        self.database.connect().unwrap()
    }

    /// Waits until this node is known, or not.
    async fn until_known(&self, node: &str, known: bool) {
        let (mut nodes, node) = (self.nodes.clone(), id(node));
        let waited = timeout(PATIENCE, nodes.wait_for(|table| table.knows(&node) == known)).await;
        waited.expect("in time").unwrap();
    }

    async fn accept(&self, node: &str, as_relay: bool) {
        let how = Accept { fingerprint: None, as_relay };
        let outcomes = admin::accept(&mut self.admin(), &[id(node)], "test", &how).unwrap();
        assert_eq!(outcomes[0].1, Outcome::Done);
        self.until_known(node, true).await;
    }

    async fn stop(self) {
        self.stop.cancel();
        for door in [self.root, self.relay] {
            timeout(PATIENCE, door.task).await.unwrap().unwrap().unwrap();
        }
        drop(self.handle);
        timeout(PATIENCE, self.registry).await.unwrap().unwrap().unwrap();
    }
}

fn registry_settings(directory: &std::path::Path) -> registry::Settings {
    registry::Settings {
        general: config::General {
            node_id: NodeId::root(),
            nodes_list_file: directory.join("nodeslist.json"),
            nodes_certs_file: directory.join("allnodescerts.pem"),
            listen: LocalAddress::Unix("/none".into()),
            core_threads: 1,
            blocking_threads: 1,
            shutdown_grace: Duration::ZERO,
        },
        enrolment: Some(config::Enrolment {
            requests_per_minute: 1000,
            max_pending: 1000,
            program: Vec::new(),
            program_timeout: Duration::from_secs(5),
        }),
        ca: config::Ca { directory: directory.join("ca"), node_certificate_lifetime: PATIENCE },
        key_overlap: Duration::from_secs(3600),
        own_certificates: Vec::new(),
    }
}

fn open(
    directory: &std::path::Path,
    own_id: &str,
    identity: &ClientIdentity,
    behind: Behind,
    nodes: Nodes,
    stop: &CancellationToken,
) -> Door {
    write_identity(directory, identity);
    let metrics = prometheus::Registry::new();
    let gateway = Gateway::bind(&settings(directory), &id(own_id), nodes, behind, &metrics).unwrap();
    Door { address: gateway.local_addrs()[0], task: tokio::spawn(gateway.run(stop.clone())) }
}

impl Door {
    async fn connect(&self, who: Option<&ClientIdentity>) -> Client {
        Client::try_connect(self.address, who, TlsVersion::V1_3).await.unwrap()
    }

    /// Asks to be taken in, without a certificate.
    async fn enrol(&self, identity: &ClientIdentity, as_relay: bool, token: Option<&str>) -> (u16, Answer) {
        let node = identity.0.node_id().unwrap();
        let request =
            Request::make_with(&identity.1, node, "host.example.org", as_relay, token, Some(&identity.0));
        let path = format!("/enrolments/{node}");
        answer(self.connect(None).await.put(&path, CSR, &request.unwrap()).await)
    }

    /// What it says who this is; 0 when it does not let it in at all.
    async fn identity(&self, who: &ClientIdentity) -> (u16, String) {
        let Ok(mut client) = Client::try_connect(self.address, Some(who), TlsVersion::V1_3).await else {
            return (0, String::new());
        };
        if client.send(b"GET /identity HTTP/1.1\r\nHost: x\r\n\r\n").await.is_err() {
            return (0, String::new());
        }
        client.reply().await.map_or((0, String::new()), |reply| (reply.status, reply.body))
    }
}

const CSR: &str = "Content-Type: application/pkcs10\r\n";

fn answer(reply: Reply) -> (u16, Answer) {
    assert_eq!(reply.header("content-type"), Some("application/json"), "{reply:?}");
    let answer = Answer::from_json(reply.body.as_bytes()).unwrap();
    assert_eq!(reply.header("retry-after"), answer.retry_after.map(|s| s.to_string()).as_deref());
    (reply.status, answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_comes_in_through_a_relay_changes_its_key_and_is_revoked() {
    let world = World::start().await;
    // A relay that is not accepted passes nothing on.
    let node = new_identity(DIRECT);
    let request = Request::make(&node.1, &id(DIRECT), "host.example.org", false, None).unwrap();
    let path = format!("/enrolments/{DIRECT}");
    let reply = world.relay.connect(None).await.put(&path, CSR, &request).await;
    assert_eq!(reply.status, 503, "{reply:?}");

    let (status, asked) = world.root.enrol(&world.relay_identity, true, None).await;
    assert_eq!((status, asked.state), (202, State::Pending));
    world.accept(RELAY, true).await;
    let (status, asked) = world.root.enrol(&world.relay_identity, true, None).await;
    assert_eq!((status, asked.state), (200, State::Accepted));

    // By token, in one go; and where it came in is its place.
    let host = ["host.example.org".to_owned()];
    let hour = Duration::from_secs(3600);
    let token = admin::create_tokens(&mut world.admin(), &host, hour, "test").unwrap().remove(0);
    let (status, asked) = world.relay.enrol(&node, false, Some(&token.text)).await;
    assert_eq!((status, asked.state), (200, State::Accepted), "{asked:?}");
    assert_eq!(asked.key_hash, node.0.key_hash());
    world.until_known(DIRECT, true).await;
    for door in [&world.relay, &world.root] {
        let (status, who) = door.identity(&node).await;
        assert_eq!(status, 200);
        assert!(who.contains(r#""policy_server":"relay-1""#), "{who}");
    }

    // A second one with this id is a conflict, which the relay passes down, and gets no connection.
    let second = new_identity(DIRECT);
    let (status, asked) = world.relay.enrol(&second, false, None).await;
    assert_eq!((status, asked.state), (409, State::Conflict));
    assert_eq!(world.relay.identity(&second).await.0, 0);

    // A new key, signed by the old one.
    let new = new_identity(DIRECT);
    let request = Request::make_with(&new.1, &id(DIRECT), "", false, None, Some(&new.0)).unwrap();
    let keys = format!("/keys/{DIRECT}");
    let signed = "Content-Type: multipart/signed\r\n";
    let forged = smime::sign(&request, &second.0, &second.1).unwrap();
    let mut client = world.relay.connect(Some(&node)).await;
    let reply = client.put(&keys, signed, &forged).await;
    assert_eq!(reply.status, 400, "{reply:?}");
    let message = smime::sign(&request, &node.0, &node.1).unwrap();
    let (status, asked) = answer(client.put(&keys, signed, &message).await);
    assert_eq!((status, asked.state, asked.key_hash), (200, State::Accepted, new.0.key_hash()));
    let mut nodes = world.nodes.clone();
    let known = nodes.wait_for(|table| table.identify(&new.0).is_some());
    timeout(PATIENCE, known).await.expect("in time").unwrap();
    for identity in [&new, &node] {
        assert_eq!(world.relay.identity(identity).await.0, 200, "both are valid for a while");
    }

    // There is no authority, and everybody says so.
    let path = format!("/certificates/{DIRECT}");
    let request = Request::make(&new.1, &id(DIRECT), "", false, None).unwrap();
    for door in [&world.root, &world.relay] {
        assert_eq!(door.connect(Some(&new)).await.put(&path, CSR, &request).await.status, 404);
    }

    // Revoked: every connection of it ends, that of the relay does not.
    let mut relays = world.root.connect(Some(&world.relay_identity)).await;
    let mut open = [world.root.connect(Some(&new)).await, world.relay.connect(Some(&new)).await];
    for client in open.iter_mut().chain([&mut relays]) {
        assert_eq!(client.ask("GET", "/identity", "").await.status, 200);
    }
    admin::revoke(&mut world.admin(), &[id(DIRECT)], "test").unwrap();
    for client in &mut open {
        // Within its patience, which is shorter than the time after which idle connections are closed.
        assert_eq!(client.reply().await, None);
    }
    assert_eq!(relays.ask("GET", "/identity", "").await.status, 200);
    let (status, asked) = world.relay.enrol(&node, false, None).await;
    assert_eq!((status, asked.state), (403, State::Revoked), "{asked:?}");
    let list = world.directory.path().join("nodeslist.json");
    eventually("the list is written", || list.exists()).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_asks_for_its_identity_counts_as_a_contact() {
    let world = World::start().await;
    let node = new_identity(DIRECT);
    let seen =
        |name: &str| admin::get(&mut world.admin(), &id(name)).unwrap().and_then(|one| one.node.last_contact);
    let (status, _) = world.root.enrol(&node, false, None).await;
    assert_eq!(status, 202);
    eventually("the node that waits", || seen(DIRECT).is_some()).await;

    // Known to the registry by a way that is not the gateway's: nothing was heard of them here.
    let (below, reserved) = (new_identity(BELOW), new_identity("reserved"));
    for (identity, as_relay) in [(&world.relay_identity, true), (&below, false), (&reserved, false)] {
        let name = identity.0.node_id().unwrap();
        let request = Request::make(&identity.1, name, "host.example.org", as_relay, None).unwrap();
        let request = Request::parse(&request).unwrap();
        world.handle.enrol(request, id("root"), world.root.address.ip()).await.unwrap();
        world.accept(name.as_str(), as_relay).await;
        assert_eq!(seen(name.as_str()), None);
    }
    // Whoever has another key is not this node.
    let (status, _) = world.root.enrol(&new_identity("reserved"), false, None).await;
    assert_eq!(status, 409);
    let request = Request::make(&below.1, &id(BELOW), "", false, None).unwrap();
    let certificates = format!("/certificates/{BELOW}");
    let reply = world.root.connect(Some(&below)).await.put(&certificates, CSR, &request).await;
    assert_eq!(reply.status, 404, "there is no authority: {reply:?}");
    let mut relay = world.root.connect(Some(&world.relay_identity)).await;
    assert_eq!(relay.ask("GET", "/nodes", "").await.status, 200);
    eventually("a relay that reads its nodes", || seen(RELAY).is_some()).await;
    eventually("a node that wants a certificate", || seen(BELOW).is_some()).await;
    assert_eq!(seen("reserved"), None);
    drop(relay);
    world.stop().await;
}

/// The root believes it of the relay through which a node asks, and of nobody else.
#[tokio::test(flavor = "multi_thread")]
async fn the_address_of_a_node_is_that_which_its_relay_saw() {
    let world = World::start().await;
    world.root.enrol(&world.relay_identity, true, None).await;
    world.accept(RELAY, true).await;
    let claimed = |server: &str, address: &str| {
        format!("{CSR}Relayd-Policy-Server: {server}\r\nRelayd-Client-Address: {address}\r\n")
    };
    let relay = Some(&world.relay_identity);
    for (name, who, headers, expected) in [
        ("n1", relay, claimed(RELAY, "192.0.2.50") + "Relayd-Hops: 1\r\n", "192.0.2.50"),
        ("n2", relay, claimed(RELAY, "2001:db8::1") + "Relayd-Hops: 1\r\n", "2001:db8::1"),
        ("n3", relay, claimed(RELAY, "192.0.2.50:443") + "Relayd-Hops: 1\r\n", "127.0.0.1"),
        ("n4", relay, claimed("elsewhere", "192.0.2.50"), "127.0.0.1"),
        ("n5", relay, format!("{CSR}Relayd-Client-Address: 192.0.2.50\r\n"), "127.0.0.1"),
        ("n6", None, claimed(RELAY, "192.0.2.50"), "127.0.0.1"),
    ] {
        let node = new_identity(name);
        let request = Request::make(&node.1, &id(name), "host.example.org", false, None).unwrap();
        let reply =
            world.root.connect(who).await.put(&format!("/enrolments/{name}"), &headers, &request).await;
        assert_eq!(reply.status, 202, "{name}: {reply:?}");
        let details = admin::get(&mut world.admin(), &id(name)).unwrap().unwrap();
        assert_eq!(details.node.address.as_deref(), Some(expected), "{name}");
    }
    // And of a conflict, which is shown beside it.
    let second = new_identity("n1");
    let request = Request::make(&second.1, &id("n1"), "host.example.org", false, None).unwrap();
    let headers = claimed(RELAY, "192.0.2.66") + "Relayd-Hops: 1\r\n";
    let reply = world.root.connect(relay).await.put("/enrolments/n1", &headers, &request).await;
    assert_eq!(reply.status, 409);
    let details = admin::get(&mut world.admin(), &id("n1")).unwrap().unwrap();
    assert_eq!(details.conflicts[0].address.as_deref(), Some("192.0.2.66"));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_to_be_taken_in_do_not_use_up_those_about_keys_and_certificates() {
    let world = World::start_with(1).await;
    let node = new_identity(DIRECT);
    let (status, asked) = world.root.enrol(&node, false, None).await;
    assert_eq!((status, asked.state), (202, State::Pending));
    world.accept(DIRECT, false).await;
    let request = Request::make(&node.1, &id(DIRECT), "host.example.org", false, None).unwrap();
    let mut client = world.root.connect(Some(&node)).await;
    let enrolments = format!("/enrolments/{DIRECT}");
    assert_eq!(client.put(&enrolments, CSR, &request).await.status, 200);
    assert_eq!(client.put(&enrolments, CSR, &request).await.status, 429, "once a minute");
    let reply = client.put(&format!("/certificates/{DIRECT}"), CSR, &request).await;
    assert_eq!(reply.status, 404, "there is no authority: {reply:?}");
    world.stop().await;
}
