// SPDX-License-Identifier: Apache-2.0
//! Nodes with real keys that make signed run logs, and a store to deliver them to.

use std::{
    collections::HashMap,
    fmt::Write as _,
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use diesel::{
    Connection as _, PgConnection, QueryableByName, RunQueryDsl, SqliteConnection, sql_query,
    sql_types::BigInt,
};
use openssl::pkey::{PKey, Private};
use protocol::{
    certificate::Certificate,
    compression,
    node_list::NodeList,
    private_key::{self, KeyKind},
    smime,
};
use relayd::{
    config::{self, DatabaseUrl},
    db::Database,
    metrics::CompatibleMetrics,
    nodes::NodeTable,
    sink::store::{Store, StoreSettings},
    spool::{Sink, SpoolFile, SpoolName, disposition::Disposition},
};

/// Nodes `n0`, `n1`… which all have the same key: making keys takes time.
pub struct Fleet {
    key: PKey<Private>,
    certificates: HashMap<String, Certificate>,
}

impl Fleet {
    pub fn new(size: usize) -> Self {
        Self::of((0..size).map(|i| format!("n{i}")))
    }

    pub fn of(nodes: impl IntoIterator<Item = String>) -> Self {
        let key = private_key::generate(KeyKind::P256).unwrap();
        let certificate = |node: &str| private_key::self_signed(&key, &node.parse().unwrap()).unwrap();
        let certificates = nodes.into_iter().map(|node| (node.clone(), certificate(&node))).collect();
        Self { key, certificates }
    }

    pub fn table(&self) -> NodeTable {
        let entry = serde_json::json!({"hostname": "h", "policy-server": "root", "key-hash": ""});
        let list: serde_json::Map<_, _> =
            self.certificates.keys().map(|node| (node.clone(), entry.clone())).collect();
        let list = NodeList::from_json(serde_json::Value::Object(list).to_string().as_bytes()).unwrap();
        NodeTable::new(list, self.certificates.values().cloned().collect())
    }

    /// A signed, gzipped run log.
    pub fn pack(&self, node: &str, text: &str) -> Vec<u8> {
        compression::gzip(&self.sign(node, text.as_bytes()))
    }

    pub fn sign(&self, node: &str, text: &[u8]) -> Vec<u8> {
        smime::sign(text, &self.certificates[node], &self.key).unwrap()
    }
}

/// Start of run number `run`.
pub fn start_of(run: usize) -> String {
    format!("2024-05-11 {:02}:{:02}:00+00:00", run / 60, run % 60)
}

/// One report line.
pub fn line(node: &str, run: usize, event: &str, component: &str, message: &str) -> String {
    let start = start_of(run);
    let time = start.replace(' ', "T");
    format!(
        "{time} R: @@Common@@{event}@@rudder@@run@@0@@{component}@@20240511-0@@{start}##{node}@#{message}\n"
    )
}

/// A complete run log of `reports` reports.
pub fn run_log(node: &str, run: usize, reports: usize) -> String {
    let mut text = line(node, run, "control", "start", "Start execution");
    for i in 2..reports {
        let _ = write!(text, "{}", line(node, run, "result_success", "File", &format!("was right {i}")));
    }
    text.push_str(&line(node, run, "control", "end", "End execution"));
    text
}

/// A store with a spool directory in front.
pub struct Rig {
    pub fleet: Fleet,
    pub store: Arc<Store>,
    pub registry: prometheus::Registry,
    pub spool: tempfile::TempDir,
}

impl Rig {
    pub fn new(url: DatabaseUrl, fleet: Fleet) -> Self {
        Self::with(url, fleet, &[])
    }

    pub fn with(url: DatabaseUrl, fleet: Fleet, skip_event_types: &[&str]) -> Self {
        let table = fleet.table();
        Self::over(url, fleet, table, skip_event_types)
    }

    /// With another node table than the fleet's.
    pub fn over(url: DatabaseUrl, fleet: Fleet, table: NodeTable, skip_event_types: &[&str]) -> Self {
        let database = Database::open(&config_of(url)).unwrap();
        let registry = prometheus::Registry::new();
        let compatible = CompatibleMetrics::new(&registry).unwrap();
        let settings = StoreSettings {
            skip_event_types: skip_event_types.iter().map(ToString::to_string).collect(),
            max_file_size: 10 << 20,
            max_inflated: 100 << 20,
            run_interval: std::time::Duration::from_secs(300),
        };
        // The receiver keeps its value when the sender is gone.
        let (_, nodes) = tokio::sync::watch::channel(Arc::new(table));
        let store = Store::start(settings, nodes, database, &registry, compatible).unwrap();
        Self { fleet, store: Arc::new(store), registry, spool: tempfile::tempdir().unwrap() }
    }

    /// Puts a file into the spool.
    pub fn put(&self, name: &str, content: &[u8]) -> SpoolFile {
        let path = self.spool.path().join(name);
        fs::write(&path, content).unwrap();
        SpoolFile { path, name: SpoolName::RunLog(name.parse().unwrap()) }
    }

    /// Puts a run log of a node there, named by its run.
    pub fn put_run(&self, node: &str, run: usize, text: &str) -> SpoolFile {
        self.put(&name_of(node, run), &self.fleet.pack(node, text))
    }

    /// Delivers a run log of a node.
    pub async fn deliver(&self, node: &str, run: usize, text: &str) -> Disposition {
        self.store.deliver(&self.put_run(node, run, text)).await
    }

    /// Delivers files, all at the same time.
    pub async fn deliver_all(&self, files: Vec<SpoolFile>) -> Vec<Disposition> {
        let tasks: Vec<_> = files
            .into_iter()
            .map(|file| {
                let store = Arc::clone(&self.store);
                tokio::spawn(async move { store.deliver(&file).await })
            })
            .collect();
        let mut dispositions = Vec::new();
        for task in tasks {
            dispositions.push(task.await.unwrap());
        }
        dispositions
    }

    /// Delivers a file again and again until it is not released any more.
    pub async fn deliver_until_settled(&self, file: &SpoolFile) -> Disposition {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            match self.store.deliver(file).await {
                Disposition::Released(release) => {
                    assert!(Instant::now() < deadline, "still released: {release:?}");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                settled => return settled,
            }
        }
    }

    /// Value of a counter or gauge, by name and label value.
    pub fn metric(&self, name: &str, label: Option<&str>) -> f64 {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == name).expect(name);
        family
            .get_metric()
            .iter()
            .filter(|metric| label.is_none_or(|label| metric.get_label().iter().any(|l| l.value() == label)))
            .map(|metric| metric.get_counter().get_value() + metric.get_gauge().get_value())
            .sum()
    }
}

/// File name of a run.
pub fn name_of(node: &str, run: usize) -> String {
    format!("{}@{node}.log.gz", start_of(run).replace(' ', "T"))
}

/// Configuration for a database.
pub fn config_of(url: DatabaseUrl) -> config::Database {
    config::Database { url, absent: None, max_pool_size: 4, migrate_at_start: true }
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    number: i64,
}

/// A number out of the database; `query` is the part behind SELECT.
pub fn number(url: &DatabaseUrl, query: &str) -> i64 {
    let query = sql_query(format!("SELECT ({query}) AS number"));
    let row: Number = match url {
        DatabaseUrl::Postgres(url) => query.get_result(&mut PgConnection::establish(url).unwrap()).unwrap(),
        DatabaseUrl::Sqlite(path) => {
            query.get_result(&mut SqliteConnection::establish(path.to_str().unwrap()).unwrap()).unwrap()
        }
    };
    row.number
}

/// Rows in the three tables: reports, runs, ledger.
pub fn counts(url: &DatabaseUrl) -> (i64, i64, i64) {
    (
        number(url, "SELECT count(*) FROM ruddersysevents"),
        number(url, "SELECT count(*) FROM reportsexecution"),
        number(url, "SELECT count(*) FROM run_log"),
    )
}
