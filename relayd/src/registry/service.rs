// SPDX-License-Identifier: Apache-2.0
//! The thread that owns the registry's connection: it decides about requests, many in one transaction,
//! looks every half second for what others have changed, and publishes the node table.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use diesel::QueryResult;
use tokio::sync::watch;

use super::{
    RegistryError,
    admin::now,
    change::change,
    job::{Context, Job},
    journal::Journal,
    lapse,
    metrics::{Metrics, PUT_OFF},
    mirror::Mirror,
    statistics,
};
use crate::{
    ca,
    db::{Connection, Database},
    metrics::CompatibleMetrics,
    nodes::{NodeTable, Nodes},
};

/// Jobs in one transaction.
const AT_A_TIME: usize = 256;
/// A transaction that failed within this time was refused; one that took longer waited for something.
const AT_ONCE: Duration = Duration::from_secs(1);
/// How often to look for what others have changed.
const POLL: Duration = Duration::from_millis(500);
/// How often to count.
const COUNT: Duration = Duration::from_secs(15);
/// How long to leave a database alone that does not work.
const DOWN: Duration = Duration::from_secs(1);
/// A table is made again only after as long as making it took, but not later than after this.
const TABLE_SPACING: Duration = Duration::from_secs(1);

/// What the thread has.
pub(super) struct Service {
    context: Context,
    database: Database,
    connection: Option<Connection>,
    mirror: Mirror,
    journal: Journal,
    sender: watch::Sender<Arc<NodeTable>>,
    status: watch::Sender<Result<(), String>>,
    metrics: Metrics,
    compatible: CompatibleMetrics,
    table: TableTimes,
    poll_at: Instant,
    count_at: Instant,
}

/// When the table has to be made again, and may be.
#[derive(Default)]
struct TableTimes {
    stale: bool,
    /// Not before.
    not_before: Option<Instant>,
    /// Unix time at which the next key ends.
    next_end: Option<i64>,
}

impl Service {
    /// Makes it, and what tells of its tables and of its database.
    pub(super) fn new(
        context: Context,
        database: Database,
        connection: Connection,
        metrics: Metrics,
        compatible: CompatibleMetrics,
    ) -> (Self, Nodes, watch::Receiver<Result<(), String>>) {
        let (sender, nodes) = watch::channel(Arc::<NodeTable>::default());
        let (status, told) = watch::channel(Ok(()));
        let service = Self {
            context,
            database,
            connection: Some(connection),
            mirror: Mirror::default(),
            journal: Journal::default(),
            sender,
            status,
            metrics,
            compatible,
            table: TableTimes::default(),
            poll_at: Instant::now(),
            count_at: Instant::now(),
        };
        (service, nodes, told)
    }

    /// Works until nobody can ask any more.
    pub(super) fn run(mut self, jobs: &Receiver<Box<dyn Job>>) {
        loop {
            let batch = match jobs.recv_timeout(self.next_due()) {
                Ok(first) => std::iter::once(first).chain(jobs.try_iter().take(AT_A_TIME - 1)).collect(),
                Err(RecvTimeoutError::Timeout) => Vec::new(),
                Err(RecvTimeoutError::Disconnected) => return,
            };
            if !batch.is_empty() {
                self.answer(batch);
                // Its effects are to be seen at once.
                self.poll_at = Instant::now();
            }
            if self.next_due().is_zero() {
                self.poll_at = Instant::now() + POLL;
                if let Err(error) = self.look() {
                    self.lost(&error.to_string());
                }
            }
        }
    }

    fn next_due(&self) -> Duration {
        let table_at = self.table.not_before.filter(|_| self.table.stale).unwrap_or(self.poll_at);
        self.poll_at.min(table_at).saturating_duration_since(Instant::now())
    }

    /// Brings mirror, table and numbers up to date.
    pub(super) fn look(&mut self) -> QueryResult<()> {
        let read = self.read();
        // Keys end on time, also while the database is away.
        let now = now();
        self.table.stale |= self.table.next_end.is_some_and(|end| end <= now);
        if self.table.stale && self.table.not_before.is_none_or(|time| time <= Instant::now()) {
            self.publish(now);
        }
        read
    }

    /// What the database says.
    fn read(&mut self) -> QueryResult<()> {
        let Some(mut connection) = self.connected() else { return Ok(()) };
        let read = self.read_with(&mut connection);
        self.keep(connection, read.is_ok());
        read
    }

    fn read_with(&mut self, c: &mut Connection) -> QueryResult<()> {
        self.table.stale |= self.mirror.refresh(c)?;
        self.journal.tell(c, now())?;
        if Instant::now() >= self.count_at {
            self.count_at = Instant::now() + COUNT;
            self.context.rules.has_ca =
                ca::certificate(&self.context.settings.ca).is_ok_and(|one| one.is_some());
            lapse::forget(c, now(), &self.metrics)?;
            statistics::read(c, now(), &self.metrics)?;
        }
        Ok(())
    }

    fn publish(&mut self, now: i64) {
        let started = Instant::now();
        let table = self.mirror.table(now);
        let count = |nodes: usize| i64::try_from(nodes).unwrap_or(i64::MAX);
        self.compatible.sub_nodes.set(count(table.list().len()));
        self.compatible.managed_nodes.set(count(table.list().direct(&self.context.rules.own_id).count()));
        self.sender.send_replace(Arc::new(table));
        self.table = TableTimes {
            stale: false,
            not_before: Some(Instant::now() + started.elapsed().min(TABLE_SPACING)),
            next_end: self.mirror.next_end(now),
        };
    }

    /// Does jobs and says how they ended, after the commit.
    fn answer(&mut self, mut batch: Vec<Box<dyn Job>>) {
        let started = Instant::now();
        let done = match self.work(&mut batch) {
            // Over a new connection, when the old one turned out to be lost.
            Err(_) if self.connection.is_none() => self.work(&mut batch),
            done => done,
        };
        match done {
            Ok(()) => {
                for label in batch.into_iter().filter_map(Job::settle) {
                    self.metrics.requests.with_label_values(&[label]).inc();
                }
            }
            // One that the database does not take must not keep the others out. A lock that is held
            // by others keeps them out one by one as well.
            Err(_) if batch.len() > 1 && self.connection.is_some() && started.elapsed() < AT_ONCE => {
                batch.into_iter().for_each(|job| self.answer(vec![job]));
            }
            Err(error) => {
                tracing::error!("requests to the registry are put off: {error}");
                for job in batch {
                    self.metrics.requests.with_label_values(&[PUT_OFF]).inc();
                    job.put_off(RegistryError::Down("its database does not work".into()));
                }
            }
        }
    }

    /// One attempt; the connection is gone afterwards if it was lost.
    fn work(&mut self, batch: &mut [Box<dyn Job>]) -> Result<(), String> {
        let mut connection = self.connected().ok_or("no connection to the database")?;
        let context = &self.context;
        let done = change(&mut connection, now(), |change| {
            batch.iter_mut().try_for_each(|job| job.work(change, context))
        });
        let is_usable = done.is_ok() || connection.is_usable();
        self.keep(connection, is_usable);
        done.map_err(|error: diesel::result::Error| error.to_string())
    }

    /// The connection, for as long as the caller works with it; a new one when there is none.
    fn connected(&mut self) -> Option<Connection> {
        if let Some(connection) = self.connection.take() {
            return Some(connection);
        }
        match self.database.connect() {
            Ok(connection) => {
                if self.status.borrow().is_err() {
                    tracing::info!("the database of the registry works again");
                }
                Some(connection)
            }
            Err(error) => {
                self.lost(&error.to_string());
                None
            }
        }
    }

    /// Takes the connection back, if it is still of use.
    fn keep(&mut self, connection: Connection, works: bool) {
        if works {
            self.metrics.up.set(1);
            self.status.send_if_modified(|status| std::mem::replace(status, Ok(())).is_err());
            self.connection = Some(connection);
        }
    }

    fn lost(&mut self, error: &str) {
        self.metrics.up.set(0);
        self.poll_at = Instant::now() + DOWN;
        if self.status.borrow().is_ok() {
            tracing::error!("the database of the registry does not work, nodes stay as they are: {error}");
        }
        self.status.send_modify(|status| *status = Err(error.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use protocol::{
        hash::KeyHash,
        node_id::NodeId,
        private_key::{self, KeyKind},
    };

    use super::{
        super::{
            change::NewNode,
            enrol::Rules,
            record::{NodeState, Role},
            start::Settings,
        },
        *,
    };
    use crate::config::{self, DatabaseUrl};

    fn settings(directory: &std::path::Path) -> Settings {
        Settings {
            general: config::General {
                node_id: NodeId::root(),
                nodes_list_file: directory.join("nodeslist.json"),
                nodes_certs_file: directory.join("certs.pem"),
                listen: config::LocalAddress::Unix("/none".into()),
                core_threads: 1,
                blocking_threads: 1,
                shutdown_grace: Duration::ZERO,
            },
            enrolment: None,
            ca: config::Ca { directory: directory.join("ca"), node_certificate_lifetime: Duration::MAX },
            key_overlap: Duration::MAX,
            own_certificates: Vec::new(),
        }
    }

    #[test]
    fn keys_end_on_time_while_the_database_is_away() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("database");
        std::fs::create_dir(&place).unwrap();
        let url = DatabaseUrl::Sqlite(place.join("relayd.db"));
        let database =
            Database::open(&config::Database { url, absent: None, max_pool_size: 1, migrate_at_start: true })
                .unwrap();
        let mut connection = database.connect().unwrap();
        let node: NodeId = "a".parse().unwrap();
        let [old, new] = [(); 2].map(|()| {
            let key = private_key::generate(KeyKind::P256).unwrap();
            private_key::self_signed(&key, &node).unwrap()
        });
        let hashes: [KeyHash; 2] = [old.key_hash(), new.key_hash()];
        // Later than all that comes before it is looked at for the first time.
        let end = now() + 6;
        change::<_, diesel::result::Error>(&mut connection, now(), |change| {
            change.add_node(&NewNode {
                node_id: &node,
                hostname: "a",
                state: NodeState::Accepted,
                role: Role::Node,
                policy_server: &NodeId::root(),
                decided_by: Some("op"),
                address: None,
            })?;
            hashes.iter().try_for_each(|hash| change.add_key(&node, hash, None))?;
            change.end_key(&node, &hashes[0].to_string(), Some(end))
        })
        .unwrap();

        let numbers = prometheus::Registry::new();
        let rules = Rules { own_id: NodeId::root(), max_pending: Some(1), has_ca: false };
        let context = Context { settings: settings(directory.path()), rules };
        let metrics = Metrics::new(&numbers).unwrap();
        let compatible = CompatibleMetrics::new(&numbers).unwrap();
        let (mut service, nodes, status) = Service::new(context, database, connection, metrics, compatible);
        service.look().unwrap();
        assert!(nodes.borrow().identify(&old).is_some() && nodes.borrow().identify(&new).is_some());

        service.connection = None;
        std::fs::remove_dir_all(&place).unwrap();
        std::fs::write(&place, "in the way").unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        while nodes.borrow().identify(&old).is_some() {
            assert!(Instant::now() < deadline, "the old key does not end");
            std::thread::sleep(Duration::from_millis(50));
            service.look().unwrap();
        }
        assert!(now() >= end && status.borrow().is_err());
        assert!(nodes.borrow().identify(&new).is_some(), "nothing else is lost");
    }
}
