// SPDX-License-Identifier: Apache-2.0
//! A root whose agents and relays are played.

use std::{
    collections::HashMap,
    net::Ipv4Addr,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use http_body_util::BodyExt;
use prometheus::Registry;
use protocol::{
    node_id::NodeId,
    node_list::NodeList,
    remote_run::{Event, Line, LineReader, NodeEvent, RunRequest},
    tls::TlsVersion,
};
use relayd::{
    config::{self, RelayAccess, RelayTrust},
    http::{ServiceKind, Services},
    nodes::NodeTable,
    remote_run::{Agents, Pace, RemoteRuns},
};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    time::timeout,
};

use super::relay::PlayedRelay;
use crate::{
    harness::{PATIENCE, id, new_identity},
    rig::{Answer, Client, Rig},
};

/// What an agent does.
#[derive(Debug, Clone)]
pub enum Play {
    /// Is connected and does this.
    Does(Vec<Event>),
    /// Is connected, starts, and runs until it is told to end.
    Runs,
    /// Is not connected.
    Absent,
}

/// What agents were asked, and what became of it.
#[derive(Default)]
pub struct Agency {
    plays: Mutex<HashMap<NodeId, Play>>,
    pub asked: Mutex<Vec<(NodeId, RunRequest)>>,
    running: Mutex<HashMap<NodeId, mpsc::Sender<Event>>>,
    pub cancelled: Mutex<Vec<NodeId>>,
}

impl Agency {
    pub fn play(&self, node: &str, play: Play) {
        self.plays.lock().unwrap().insert(id(node), play);
    }

    /// Nodes that run.
    pub fn running(&self) -> Vec<NodeId> {
        self.running.lock().unwrap().keys().cloned().collect()
    }

    /// Ends a run that goes on.
    pub async fn end(&self, node: &NodeId) {
        let events = self.running.lock().unwrap().remove(node).unwrap();
        events.send(finished(0)).await.unwrap();
    }
}

/// As [`Triggers`](relayd::triggers::Triggers), without nodes.
pub struct PlayedAgents(pub Arc<Agency>);

impl Agents for PlayedAgents {
    fn is_connected(&self, node: &NodeId) -> bool {
        !matches!(self.0.plays.lock().unwrap().get(node), None | Some(Play::Absent))
    }

    fn ask(&self, node: &NodeId, request: RunRequest) -> mpsc::Receiver<Event> {
        let (events, receiver) = mpsc::channel(4);
        let (agency, node) = (self.0.clone(), node.clone());
        agency.asked.lock().unwrap().push((node.clone(), request.clone()));
        let play = agency.plays.lock().unwrap().get(&node).cloned().unwrap_or(Play::Absent);
        tokio::spawn(async move {
            match play {
                Play::Does(all) => {
                    for event in all {
                        let _ = events.send(event).await;
                    }
                }
                Play::Runs => {
                    events.send(Event::Started).await.unwrap();
                    agency.running.lock().unwrap().insert(node.clone(), events.clone());
                    events.closed().await;
                    if agency.running.lock().unwrap().remove(&node).is_some() {
                        agency.cancelled.lock().unwrap().push(node);
                    }
                }
                Play::Absent => {
                    let left = (request.expires - chrono::Utc::now()).to_std().unwrap_or_default();
                    tokio::select! {
                        () = tokio::time::sleep(left) => { let _ = events.send(Event::Expired).await; }
                        () = events.closed() => agency.cancelled.lock().unwrap().push(node),
                    }
                }
            }
        });
        receiver
    }
}

pub fn finished(exit_status: i32) -> Event {
    Event::Finished { exit_status: Some(exit_status) }
}

pub fn output(line: &str) -> Event {
    Event::Output { line: line.to_owned(), truncated: false }
}

/// The server, and what it stands on.
pub struct World {
    pub rig: Rig,
    pub agency: Arc<Agency>,
    pub relays: HashMap<&'static str, PlayedRelay>,
}

/// How a world is made.
pub struct Make {
    pub settings: config::RemoteRun,
    pub pace: Pace,
    /// Node, host name, policy server. Relays get theirs by themselves.
    pub nodes: Vec<(String, String, String)>,
    pub relays: Vec<&'static str>,
}

impl Make {
    pub fn new() -> Self {
        let settings = config::RemoteRun {
            command: None,
            use_sudo: false,
            max_concurrent: 100,
            max_agents: 20_000,
            max_output: 1 << 20,
            expiry: Duration::from_secs(20),
            relays: RelayAccess {
                port: 0,
                trust: RelayTrust::Keys,
                client_identity: None,
                oldest_tls: TlsVersion::V1_3,
                proxy: protocol::proxy::ProxyRule::None,
            },
        };
        let pace = Pace { heartbeat: Duration::from_millis(300), silence: Duration::from_secs(20) };
        Self { settings, pace, nodes: Vec::new(), relays: Vec::new() }
    }

    pub fn node(mut self, node: &str, host: &str, server: &str) -> Self {
        self.nodes.push((node.to_owned(), host.to_owned(), server.to_owned()));
        self
    }

    pub fn relay(mut self, relay: &'static str) -> Self {
        self.relays.push(relay);
        self
    }

    pub fn command(mut self, program: &Path) -> Self {
        self.settings.command = Some(program.to_owned());
        self
    }

    pub async fn start(mut self) -> World {
        let (listeners, port) = listen(self.relays.len()).await;
        self.settings.relays.port = port;
        let mut relays = HashMap::new();
        let mut list = serde_json::json!({"root": {"hostname": "root", "policy-server": "root"}});
        for (relay, listener) in self.relays.iter().zip(listeners) {
            let (identity, host) = (new_identity(relay), listener.local_addr().unwrap().ip().to_string());
            list[*relay] = serde_json::json!({
                "hostname": host, "policy-server": "root", "key-hash": identity.0.key_hash().to_string(),
            });
            relays.insert(*relay, PlayedRelay::new(identity, listener));
        }
        for (node, host, server) in &self.nodes {
            list[node] = serde_json::json!({"hostname": host, "policy-server": server});
        }
        let list = NodeList::from_json(list.to_string().as_bytes()).unwrap();
        let (_, nodes) = watch::channel(Arc::new(NodeTable::new(list, Vec::new())));
        let agency = Arc::new(Agency::default());
        let agents = Arc::new(PlayedAgents(agency.clone()));
        let own = tempfile::tempdir().unwrap();
        let root = new_identity("root");
        crate::harness::write_identity(own.path(), &root);
        self.settings.relays.client_identity =
            Some(config::IdentityFiles { certificate: own.path().join("cert"), key: own.path().join("key") });
        // Read at each connection.
        let _ = own.keep();
        let service = RemoteRuns::new(&NodeId::root(), nodes, self.settings, agents, &Registry::new());
        let mut services = Services::default();
        services.add(ServiceKind::RemoteRun, Arc::new(service.unwrap().paced(self.pace)));
        World { rig: Rig::start(services).await, agency, relays }
    }
}

/// All on one port, as relays are, each on an address of its own.
async fn listen(count: usize) -> (Vec<TcpListener>, u16) {
    for _ in 0..100 {
        let first = TcpListener::bind((Ipv4Addr::new(127, 0, 0, 2), 0)).await.unwrap();
        let port = first.local_addr().unwrap().port();
        let mut listeners = vec![first];
        for number in 1..count {
            let address = Ipv4Addr::new(127, 0, 0, 2 + u8::try_from(number).unwrap());
            listeners.extend(TcpListener::bind((address, port)).await);
        }
        if listeners.len() >= count {
            listeners.truncate(count);
            return (listeners, port);
        }
    }
    panic!("no port is free on all addresses");
}

impl World {
    /// A request of version 2; the head of its answer must be good.
    pub async fn run(&self, order: serde_json::Value) -> Told {
        let mut client = self.rig.operator().await;
        let body = order.to_string();
        let length = body.len().to_string();
        let response =
            client.send("POST", "/rudder/relay-api/2/remote-run", &[("Content-Length", &length)], body).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "application/x-ndjson");
        Told { body: response.into_body(), reader: LineReader::default(), lines: Vec::new(), _client: client }
    }

    /// A request of version 1, whole.
    pub async fn form(&self, path: &str, body: &str) -> Answer {
        let length = body.len().to_string();
        let fields = [("Content-Type", "application/x-www-form-urlencoded"), ("Content-Length", &length)];
        self.post(&format!("/rudder/relay-api/1/remote-run/{path}"), &fields, body).await
    }

    pub async fn post(&self, path: &str, fields: &[(&str, &str)], body: &str) -> Answer {
        let mut client = self.rig.operator().await;
        let response = client.send("POST", path, fields, body.to_owned()).await;
        let (head, body) = response.into_parts();
        let body = timeout(PATIENCE, body.collect()).await.expect("in time").unwrap().to_bytes();
        Answer { status: head.status.as_u16(), headers: head.headers, body }
    }
}

/// An answer of version 2 as it comes.
pub struct Told {
    body: hyper::body::Incoming,
    reader: LineReader,
    lines: Vec<Line>,
    _client: Client,
}

impl Told {
    /// The next line.
    pub async fn next(&mut self) -> Option<Line> {
        while self.lines.is_empty() {
            let frame = timeout(PATIENCE, self.body.frame()).await.expect("a line in time")?;
            let data = frame.unwrap().into_data().unwrap();
            self.reader.push(&data, |line| self.lines.push(line.unwrap()));
        }
        Some(self.lines.remove(0))
    }

    /// The next event of a node, heartbeats passed over.
    pub async fn event(&mut self) -> NodeEvent {
        loop {
            match self.next().await.expect("more lines") {
                Line::Node(event) => return event,
                Line::Run(_) => {}
            }
        }
    }

    /// All lines to the end.
    pub async fn all(mut self) -> Vec<Line> {
        let mut all = Vec::new();
        while let Some(line) = self.next().await {
            all.push(line);
        }
        all
    }

    /// The events of each node, to the end. Each node must have one final event, the last.
    pub async fn by_node(self) -> HashMap<String, Vec<Event>> {
        let mut nodes: HashMap<String, Vec<Event>> = HashMap::new();
        for line in self.all().await {
            if let Line::Node(event) = line {
                nodes.entry(event.node_id.to_string()).or_default().push(event.event);
            }
        }
        for (node, events) in &nodes {
            let finals = events.iter().filter(|event| event.is_final()).count();
            assert!(finals == 1 && events.last().unwrap().is_final(), "{node}: {events:?}");
        }
        nodes
    }
}

/// Waits until that is so.
pub async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let wait = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("not in time: {what}"));
}
