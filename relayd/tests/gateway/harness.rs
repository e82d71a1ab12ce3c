// SPDX-License-Identifier: Apache-2.0
//! A gateway on a free port, a small fleet with keys, and a client that sends raw bytes.

use std::{
    fs,
    io::{self, ErrorKind},
    net::SocketAddr,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use openssl::{
    error::ErrorStack,
    pkey::{PKey, Private},
    ssl::{Ssl, SslContext, SslContextRef, SslMethod, SslVerifyMode, SslVersion},
};
use prometheus::Registry;
use protocol::{
    node_id::NodeId,
    node_list::NodeList,
    private_key::{self, KeyKind},
    tls::{ClientIdentity, TlsVersion},
};
use relayd::{
    config::{self, BasicAuth, IdentityFiles},
    gateway::{Behind, Door, Doors, Gateway, GatewayError, Reload},
    nodes::NodeTable,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{mpsc, watch},
    task::JoinHandle,
    time::timeout,
};
use tokio_openssl::SslStream;
use tokio_util::sync::CancellationToken;

/// Nothing here takes that long; what does has hung.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The root, a relay below it, a node below that relay, and a node at the root.
pub struct Fleet {
    pub root: ClientIdentity,
    pub relay: ClientIdentity,
    pub below: ClientIdentity,
    pub direct: ClientIdentity,
    pub stranger: ClientIdentity,
}

pub const BELOW: &str = "e745a140-40bc-4b86-b6dc-084488fc906b";
pub const DIRECT: &str = "0b2f4b3e-7a39-4d0f-9f6e-f1c4b9a6d201";
pub const RELAY: &str = "relay-1";

pub fn id(text: &str) -> NodeId {
    text.parse().unwrap()
}

pub fn new_key() -> PKey<Private> {
    private_key::generate(KeyKind::P256).unwrap()
}

pub fn new_identity(node: &str) -> ClientIdentity {
    let key = new_key();
    (private_key::self_signed(&key, &id(node)).unwrap(), key)
}

impl Fleet {
    pub fn new() -> Self {
        Self {
            root: new_identity("root"),
            relay: new_identity(RELAY),
            below: new_identity(BELOW),
            direct: new_identity(DIRECT),
            stranger: new_identity("stranger"),
        }
    }

    pub fn table(&self) -> NodeTable {
        self.table_without("")
    }

    pub fn table_without(&self, removed: &str) -> NodeTable {
        let mut nodes = serde_json::Map::new();
        for (node, identity, server) in [
            ("root", &self.root, "root"),
            (RELAY, &self.relay, "root"),
            (BELOW, &self.below, RELAY),
            (DIRECT, &self.direct, "root"),
        ] {
            let entry = serde_json::json!({
                "hostname": node,
                "key-hash": identity.0.key_hash().to_string(),
                "policy-server": server,
            });
            if node != removed {
                nodes.insert(node.to_owned(), entry);
            }
        }
        let list = NodeList::from_json(&serde_json::to_vec(&nodes).unwrap()).unwrap();
        NodeTable::new(list, Vec::new())
    }
}

pub struct Running {
    pub address: SocketAddr,
    pub fleet: Fleet,
    pub registry: Registry,
    pub nodes: watch::Sender<Arc<NodeTable>>,
    pub notices: mpsc::Receiver<String>,
    pub reload: Reload,
    pub stop: CancellationToken,
    pub task: JoinHandle<Result<(), GatewayError>>,
    pub spool: PathBuf,
    pub directory: tempfile::TempDir,
}

pub const MAX_RUN_LOG: u64 = 1024 * 1024;

pub fn settings(directory: &Path) -> config::Gateway {
    config::Gateway {
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        identity: IdentityFiles { certificate: directory.join("cert"), key: directory.join("key") },
        oldest_tls: TlsVersion::V1_3,
        clients: config::ClientTrust::Key,
        basic_auth: None,
        threads: 2,
        blocking_threads: 64,
        max_connections: 1000,
        header_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(60),
        slowest_body: 1024,
        uploads_per_minute: 1_000_000,
        max_run_log: MAX_RUN_LOG,
        max_inventory: MAX_RUN_LOG,
        high_water_percent: 100,
        max_bytes_in_flight: 64 * 1024 * 1024,
    }
}

pub fn passwords() -> BasicAuth {
    let secret = |text: &str| text.to_owned().into();
    BasicAuth { user: "rudder".into(), password: secret("secret"), initial_password: secret("rudder") }
}

pub const REGULAR: &str = "Authorization: Basic cnVkZGVyOnNlY3JldA==\r\n";
pub const INITIAL: &str = "Authorization: Basic cnVkZGVyOnJ1ZGRlcg==\r\n";

pub fn write_identity(directory: &Path, identity: &ClientIdentity) {
    fs::write(directory.join("cert"), identity.0.x509().to_pem().unwrap()).unwrap();
    fs::write(directory.join("key"), private_key::to_pem(&identity.1).unwrap()).unwrap();
}

pub async fn start() -> Running {
    start_with(|_| ()).await
}

pub async fn start_with(change: impl FnOnce(&mut config::Gateway)) -> Running {
    let directory = tempfile::tempdir().unwrap();
    let spool = directory.path().join("spool");
    start_in(directory, spool, change).await
}

pub async fn start_in(
    directory: tempfile::TempDir,
    spool: PathBuf,
    change: impl FnOnce(&mut config::Gateway),
) -> Running {
    start_as("root", Fleet::new(), Behind::default(), directory, spool, change).await
}

/// A gateway of this node, with doors in front of what is behind it.
pub async fn start_as(
    own_id: &str,
    fleet: Fleet,
    behind: Behind,
    directory: tempfile::TempDir,
    spool: PathBuf,
    change: impl FnOnce(&mut config::Gateway),
) -> Running {
    write_identity(directory.path(), &fleet.root);
    let (sender, notices) = mpsc::channel(1000);
    let door = |name: &str| {
        let incoming = spool.join(name);
        fs::create_dir_all(&incoming).unwrap();
        Some(Door { incoming, notices: sender.clone(), max_size: MAX_RUN_LOG })
    };
    let doors = Doors {
        run_logs: door("reports"),
        new_inventories: door("inventories"),
        inventory_updates: door("updates"),
    };
    let mut settings = settings(directory.path());
    change(&mut settings);
    let (nodes, table) = watch::channel(Arc::new(fleet.table()));
    let registry = Registry::new();
    let behind = Behind { doors, ..behind };
    let gateway = Gateway::bind(&settings, &id(own_id), table, behind, &registry).unwrap();
    let stop = CancellationToken::new();
    Running {
        address: gateway.local_addrs()[0],
        fleet,
        registry,
        nodes,
        notices,
        reload: gateway.reload_handle(),
        stop: stop.clone(),
        task: tokio::spawn(gateway.run(stop)),
        spool,
        directory,
    }
}

impl Running {
    pub fn reports(&self) -> PathBuf {
        self.spool.join("reports")
    }

    /// All names in all directories of the spool, hidden ones included.
    pub fn files(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(&self.spool)
            .unwrap()
            .flat_map(|kind| fs::read_dir(kind.unwrap().path()).unwrap())
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    pub async fn connect(&self, identity: Option<&ClientIdentity>) -> Client {
        Client::try_connect(self.address, identity, TlsVersion::V1_3).await.unwrap()
    }

    /// One PUT on a connection of its own.
    pub async fn put(&self, who: Option<&ClientIdentity>, path: &str, body: &[u8]) -> Reply {
        self.connect(who).await.put(path, "", body).await
    }

    /// The value of a metric, over all its labels.
    pub fn metric(&self, name: &str) -> f64 {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == name).unwrap();
        family.get_metric().iter().map(|m| m.get_counter().get_value() + m.get_gauge().get_value()).sum()
    }

    pub async fn stop(self) {
        self.stop.cancel();
        timeout(PATIENCE, self.task).await.unwrap().unwrap().unwrap();
    }
}

/// A client that says what it is told to.
pub struct Client {
    pub stream: SslStream<TcpStream>,
    received: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

/// What a client connects with. Not made like those of real clients, because reading the system's
/// authorities each time would take longer than the tests.
pub fn client_context(
    identity: Option<&ClientIdentity>,
    oldest: TlsVersion,
) -> Result<SslContext, ErrorStack> {
    let mut builder = SslContext::builder(SslMethod::tls_client())?;
    builder.set_verify(SslVerifyMode::NONE);
    builder.set_min_proto_version(Some(match oldest {
        TlsVersion::V1_2 => SslVersion::TLS1_2,
        TlsVersion::V1_3 => SslVersion::TLS1_3,
    }))?;
    if let Some((certificate, key)) = identity {
        builder.set_certificate(certificate.x509())?;
        builder.set_private_key(key)?;
    }
    Ok(builder.build())
}

impl Client {
    pub async fn try_connect(
        address: SocketAddr,
        identity: Option<&ClientIdentity>,
        oldest: TlsVersion,
    ) -> io::Result<Self> {
        Self::connect_with(address, &client_context(identity, oldest).unwrap()).await
    }

    pub async fn connect_with(address: SocketAddr, context: &SslContextRef) -> io::Result<Self> {
        let ssl = Ssl::new(context)?;
        let tcp = TcpStream::connect(address).await?;
        tcp.set_nodelay(true)?;
        let mut stream = SslStream::new(ssl, tcp)?;
        Pin::new(&mut stream).connect().await.map_err(io::Error::other)?;
        Ok(Self { stream, received: Vec::new() })
    }

    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    pub async fn put(&mut self, path: &str, headers: &str, body: &[u8]) -> Reply {
        self.send(&put_request(path, headers, body)).await.unwrap();
        self.reply().await.expect("an answer")
    }

    pub async fn ask(&mut self, method: &str, path: &str, headers: &str) -> Reply {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
        self.send(request.as_bytes()).await.unwrap();
        self.reply().await.expect("an answer")
    }

    /// The next answer; `None` when the connection was closed before one came.
    pub async fn reply(&mut self) -> Option<Reply> {
        timeout(PATIENCE, self.read_reply()).await.expect("an answer in time")
    }

    async fn read_reply(&mut self) -> Option<Reply> {
        let end = loop {
            if let Some(at) = self.received.windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
            if self.read_more().await == 0 {
                assert!(self.received.is_empty(), "cut off within an answer");
                return None;
            }
        };
        let head = String::from_utf8(self.received.drain(..end).collect()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut reply = Reply { status, head, body: String::new() };
        let length: usize = reply.header("content-length").map_or(0, |value| value.parse().unwrap());
        while self.received.len() < length {
            assert_ne!(self.read_more().await, 0, "cut off within a body");
        }
        reply.body = String::from_utf8(self.received.drain(..length).collect()).unwrap();
        Some(reply)
    }

    async fn read_more(&mut self) -> usize {
        match self.stream.read_buf(&mut self.received).await {
            Ok(read) => read,
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::Other) => 0,
            Err(error) => panic!("{error:?}"),
        }
    }
}

pub fn put_request(path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut request =
        format!("PUT {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n{headers}\r\n", body.len())
            .into_bytes();
    request.extend_from_slice(body);
    request
}

/// The name of a run log of this node; each `n` another one.
pub fn run_log(node: &str, n: u32) -> String {
    format!("2026-01-02T{:02}:{:02}:{:02}+00:00@{node}.log.gz", n / 3600, n / 60 % 60, n % 60)
}

/// What passes for gzip at the door.
pub fn gzip(rest: &[u8]) -> Vec<u8> {
    [b"\x1f\x8b\x08", rest].concat()
}

/// Waits for a condition.
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !condition() {
        assert!(tokio::time::Instant::now() < deadline, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
