// SPDX-License-Identifier: Apache-2.0
//! Roots with a registry, and nodes that ask them.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use openssl::pkey::{PKey, Private};
use protocol::{
    certificate::Certificate,
    enrolment::{Answer, Request},
    node_id::NodeId,
    private_key::{self, KeyKind},
};
use relayd::{
    config::{self, DatabaseUrl, LocalAddress},
    db::{Connection, Database},
    metrics::CompatibleMetrics,
    nodes::{NodeTable, Nodes},
    registry::{self, Registry, RegistryError, Settings},
};
use tokio_util::sync::CancellationToken;

use crate::common::{cluster::shared, fleet::config_of};

/// Longest wait for something that has to happen.
pub const SOON: Duration = Duration::from_secs(60);
pub const HOUR: Duration = Duration::from_secs(3600);
pub const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));

/// Runs tests on both kinds of database.
#[macro_export]
macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread")] async fn $name() { super::$name($crate::rig::sqlite()).await; })*
        }
        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread")] async fn $name() { super::$name($crate::rig::postgres()).await; })*
        }
    };
}

/// A database, empty, and a directory.
pub struct Place {
    pub url: DatabaseUrl,
    pub directory: tempfile::TempDir,
}

pub fn sqlite() -> Place {
    let directory = tempfile::tempdir().unwrap();
    Place { url: DatabaseUrl::Sqlite(directory.path().join("relayd.db")), directory }
}

pub fn postgres() -> Place {
    let cluster = shared();
    let url = DatabaseUrl::Postgres(cluster.url("postgres", &cluster.create_database()));
    Place { url, directory: tempfile::tempdir().unwrap() }
}

impl Place {
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A connection as the command line has one.
    pub fn connect(&self) -> Connection {
        Database::open(&config_of(self.url.clone())).unwrap().connect().unwrap()
    }

    pub fn settings(&self) -> Settings {
        Settings {
            general: general(self.directory.path()),
            enrolment: Some(config::Enrolment {
                requests_per_minute: 60,
                max_pending: 1000,
                program: Vec::new(),
                program_timeout: Duration::from_secs(5),
            }),
            ca: config::Ca {
                directory: self.path("ca"),
                node_certificate_lifetime: Duration::from_secs(86_400),
            },
            key_overlap: Duration::from_secs(86_400),
            own_certificates: Vec::new(),
        }
    }

    pub fn start(&self) -> Root {
        self.start_with(|_| {})
    }

    pub fn start_with(&self, adapt: impl FnOnce(&mut Settings)) -> Root {
        let mut settings = self.settings();
        adapt(&mut settings);
        let database = Database::open(&config_of(self.url.clone())).unwrap();
        let metrics = prometheus::Registry::new();
        let compatible = CompatibleMetrics::new(&metrics).unwrap();
        let running = registry::start(settings, database, &metrics, compatible).unwrap();
        let (registry, nodes) = (running.registry.clone(), running.nodes.clone());
        let stop = CancellationToken::new();
        let task = tokio::spawn(running.run(stop.clone()));
        Root { registry, nodes, metrics, stop, task }
    }
}

fn general(directory: &Path) -> config::General {
    config::General {
        node_id: NodeId::root(),
        nodes_list_file: directory.join("nodeslist.json"),
        nodes_certs_file: directory.join("allnodescerts.pem"),
        listen: LocalAddress::Unix("/none".into()),
        core_threads: 1,
        blocking_threads: 1,
        shutdown_grace: Duration::ZERO,
    }
}

/// A running registry.
pub struct Root {
    pub registry: Registry,
    pub nodes: Nodes,
    pub metrics: prometheus::Registry,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<Result<(), String>>,
}

impl Root {
    pub async fn enrol(&self, machine: &Machine, token: Option<&str>) -> Result<Answer, RegistryError> {
        self.registry.enrol(machine.request(token), NodeId::root(), ADDRESS).await
    }

    /// Waits until the published table is like that.
    pub async fn until(&self, what: &str, is_so: impl Fn(&NodeTable) -> bool) -> Arc<NodeTable> {
        let mut nodes = self.nodes.clone();
        let waited = tokio::time::timeout(SOON, nodes.wait_for(|table| is_so(table))).await;
        let table = waited.unwrap_or_else(|_| panic!("not in time: {what}")).unwrap();
        Arc::clone(&table)
    }

    pub async fn stop(self) {
        self.stop.cancel();
        drop(self.registry);
        self.task.await.unwrap().unwrap();
    }
}

/// A machine with a key.
pub struct Machine {
    pub id: NodeId,
    pub hostname: String,
    pub as_relay: bool,
    pub key: PKey<Private>,
    pub certificate: Certificate,
}

impl Machine {
    pub fn new(id: &str) -> Self {
        Self::with_key(id, private_key::generate(KeyKind::P256).unwrap())
    }

    pub fn with_key(id: &str, key: PKey<Private>) -> Self {
        let id: NodeId = id.parse().unwrap();
        let certificate = private_key::self_signed(&key, &id).unwrap();
        Self { hostname: format!("{id}.example.org"), id, as_relay: false, key, certificate }
    }

    pub fn relay(id: &str) -> Self {
        Self { as_relay: true, ..Self::new(id) }
    }

    pub fn request(&self, token: Option<&str>) -> Request {
        Request::parse(&self.request_pem(token)).unwrap()
    }

    pub fn request_pem(&self, token: Option<&str>) -> Vec<u8> {
        let with = Some(&self.certificate);
        Request::make_with(&self.key, &self.id, &self.hostname, self.as_relay, token, with).unwrap().to_vec()
    }
}

/// Waits until something is true.
pub async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !is_so() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
