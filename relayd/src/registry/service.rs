// SPDX-License-Identifier: Apache-2.0
//! The thread that owns the registry's connection: it decides about requests, many in one transaction,
//! looks every half second for what others have changed, and publishes the node table.

use std::{
    net::IpAddr,
    path::PathBuf,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use diesel::QueryResult;
use protocol::{
    enrolment::{Answer, Request, State},
    node_id::NodeId,
};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::{
    Registry, RegistryError,
    admin::now,
    change::{Change, change},
    enrol::{self, Claim, Decision, Rules},
    files::Files,
    inventory::{self, Introduced, Introduction},
    keys,
    metrics::{Metrics, PUT_OFF},
    mirror::Mirror,
    own,
    program::Program,
    record::{NodeState, Role},
    row, statistics,
};
use crate::{
    ca,
    config::{self, Config},
    db::{Connection, Database, DbError},
    metrics::CompatibleMetrics,
    nodes::{NodeTable, Nodes},
};

/// The registry's part of the configuration.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Own id, and the files for others.
    pub general: config::General,
    /// Who is taken in; `None`: nobody.
    pub enrolment: Option<config::Enrolment>,
    /// The authority, if there is one.
    pub ca: config::Ca,
    /// How long a replaced key stays valid.
    pub key_overlap: Duration,
    /// Where certificates of this server may be: those that name it count.
    pub own_certificates: Vec<PathBuf>,
}

impl Settings {
    /// The parts that matter.
    pub fn of(config: &Config) -> Self {
        let gateway = config.gateway.as_ref().map(|gateway| gateway.identity.certificate.clone());
        Self {
            general: config.general.clone(),
            enrolment: config.enrolment.clone(),
            ca: config.ca.clone(),
            key_overlap: config.nodes.key_overlap,
            own_certificates: [config::AGENT_CERTIFICATE.into()].into_iter().chain(gateway).collect(),
        }
    }
}

/// Why the registry cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database.
    #[error(transparent)]
    Database(#[from] DbError),
    /// No thread.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
    /// Metrics of the same name are registered already.
    #[error("metrics of the registry: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The list that was there before.
    #[error("the nodes that were known before cannot be taken over: {0}")]
    Import(String),
}

/// A registry that runs.
pub struct Running {
    /// For who asks it something.
    pub registry: Registry,
    /// What it publishes.
    pub nodes: Nodes,
    files: Files,
    ended: oneshot::Receiver<()>,
    /// For `system/status`.
    status: watch::Receiver<Result<(), String>>,
}

impl Running {
    /// Writes the files, and watches the thread, until stopped.
    pub async fn run(self, stop: CancellationToken) -> Result<(), String> {
        let Self { registry, nodes, files, ended, .. } = self;
        // The thread ends when nobody can ask any more, and when it panics.
        drop(registry);
        tokio::select! {
            result = files.run(nodes, stop.clone()) => result,
            _ = ended => {
                if stop.is_cancelled() { Ok(()) } else { Err("the thread of the registry panicked".into()) }
            }
        }
    }

    /// For `system/status`: whether its database works.
    pub fn status(&self) -> impl Fn() -> serde_json::Value + Send + Sync + use<> {
        let (status, nodes) = (self.status.clone(), self.nodes.clone());
        move || {
            let count = nodes.borrow().list().len();
            match &*status.borrow() {
                Ok(()) => serde_json::json!({"status": "success", "accepted": count}),
                Err(e) => serde_json::json!({"status": "error", "details": e, "accepted": count}),
            }
        }
    }
}

/// Something to do for somebody who waits.
pub(super) enum Job {
    Enrol {
        request: Request,
        place: NodeId,
        address: IpAddr,
        reply: Reply<Replied>,
    },
    /// What the policy program says about a node that was answered so.
    Decide {
        answer: Answer,
        accept: bool,
        by: String,
        reply: Reply<Answer>,
    },
    RollOver {
        node: NodeId,
        message: Vec<u8>,
        reply: Reply<Answer>,
    },
    Certify {
        node: NodeId,
        request: Request,
        reply: Reply<Option<Vec<u8>>>,
    },
    Introduce {
        introduction: Box<Introduction>,
        reply: Reply<Introduced>,
    },
    /// The certificates of the root may be other ones now.
    Reload {
        reply: Reply<()>,
    },
}

type Reply<T> = oneshot::Sender<Result<T, RegistryError>>;

/// The answer to a request.
pub(super) struct Replied {
    pub(super) answer: Answer,
    /// Whether a policy program may decide now.
    pub(super) undecided: bool,
}

/// Where jobs wait.
#[derive(Clone)]
pub(super) struct Queue(SyncSender<Job>);

impl Queue {
    pub(super) fn put(&self, job: Job) -> Result<(), RegistryError> {
        self.0.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => RegistryError::Down("too many requests wait".into()),
            TrySendError::Disconnected(_) => RegistryError::Down("it is stopping".into()),
        })
    }
}

/// Jobs that may wait.
const WAITING: usize = 4096;
/// Jobs in one transaction.
const AT_A_TIME: usize = 256;
/// How often to look for what others have changed.
const POLL: Duration = Duration::from_millis(500);
/// How often to count.
const COUNT: Duration = Duration::from_secs(15);
/// How long to leave a database alone that does not work.
const DOWN: Duration = Duration::from_secs(1);
/// A table is made again only after as long as making it took, but not later than after this.
const TABLE_SPACING: Duration = Duration::from_secs(1);

/// Starts the registry: its first table is there when this returns. Blocks.
pub fn start(
    settings: Settings,
    database: Database,
    registry: &prometheus::Registry,
    compatible: CompatibleMetrics,
) -> Result<Running, StartError> {
    let metrics = Metrics::new(registry)?;
    let mut connection = database.connect()?;
    own::import(&mut connection, &settings.general).map_err(StartError::Import)?;
    change(&mut connection, now(), |change| enter_root(change, &settings)).map_err(DbError::from)?;
    let (sender, nodes) = watch::channel(Arc::<NodeTable>::default());
    let (status_sender, status) = watch::channel(Ok(()));
    let (queue, jobs) = sync_channel(WAITING);
    let (tell_end, ended) = oneshot::channel();
    let program = settings.enrolment.as_ref().and_then(Program::of).map(Arc::new);
    let files = Files::new(&settings.general);
    let mut service = Service {
        rules: Rules {
            own_id: settings.general.node_id.clone(),
            max_pending: settings.enrolment.as_ref().map_or(0, |enrolment| enrolment.max_pending),
            has_ca: false,
        },
        settings,
        database,
        connection: Some(connection),
        mirror: Mirror::default(),
        sender,
        status: status_sender,
        metrics,
        compatible,
        table: TableTimes::default(),
        poll_at: Instant::now(),
        count_at: Instant::now(),
    };
    service.look().map_err(DbError::from)?;
    thread::Builder::new().name("registry".into()).spawn(move || {
        // Dropped when the thread ends, however it does.
        let _tell_end = tell_end;
        service.run(&jobs);
    })?;
    Ok(Running { registry: Registry { queue: Queue(queue), program }, nodes, files, ended, status })
}

fn enter_root(change: &mut Change<'_>, settings: &Settings) -> QueryResult<()> {
    let id = &settings.general.node_id;
    own::enter(change, id, &own::certificates(id, &settings.own_certificates), settings.key_overlap)
}

struct Service {
    settings: Settings,
    rules: Rules,
    database: Database,
    connection: Option<Connection>,
    mirror: Mirror,
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
    fn run(mut self, jobs: &Receiver<Job>) {
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
            if Instant::now() >= self.poll_at {
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
    fn look(&mut self) -> QueryResult<()> {
        let Some(connection) = self.connected() else { return Ok(()) };
        let mut connection = connection;
        let looked = self.look_with(&mut connection);
        self.keep(connection, looked.is_ok());
        looked
    }

    fn look_with(&mut self, c: &mut Connection) -> QueryResult<()> {
        self.table.stale |= self.mirror.refresh(c)?;
        let now = now();
        self.table.stale |= self.table.next_end.is_some_and(|end| end <= now);
        if self.table.stale && self.table.not_before.is_none_or(|time| time <= Instant::now()) {
            self.publish(now);
        }
        if Instant::now() >= self.count_at {
            self.count_at = Instant::now() + COUNT;
            self.rules.has_ca = ca::certificate(&self.settings.ca).is_ok_and(|one| one.is_some());
            statistics::read(c, now, &self.metrics)?;
        }
        Ok(())
    }

    fn publish(&mut self, now: i64) {
        let started = Instant::now();
        let table = self.mirror.table(now);
        let count = |nodes: usize| i64::try_from(nodes).unwrap_or(i64::MAX);
        self.compatible.sub_nodes.set(count(table.list().len()));
        self.compatible.managed_nodes.set(count(table.list().direct(&self.rules.own_id).count()));
        self.sender.send_replace(Arc::new(table));
        self.table = TableTimes {
            stale: false,
            not_before: Some(Instant::now() + started.elapsed().min(TABLE_SPACING)),
            next_end: self.mirror.next_end(now),
        };
    }

    /// Decides about jobs and says so after the commit.
    fn answer(&mut self, batch: Vec<Job>) {
        let mut tried = 0;
        let outcome = loop {
            let Some(mut connection) = self.connected() else {
                break Err("the database does not work".to_owned());
            };
            tried += 1;
            match self.decide(&mut connection, &batch) {
                Ok(outcomes) => {
                    self.keep(connection, true);
                    break Ok(outcomes);
                }
                Err(error) => {
                    let is_usable = connection.is_usable();
                    self.keep(connection, is_usable);
                    if is_usable || tried > 1 {
                        break Err(error.to_string());
                    }
                }
            }
        };
        match outcome {
            Ok(outcomes) => batch.into_iter().zip(outcomes).for_each(|(job, outcome)| {
                if let Some(label) = outcome.label() {
                    self.metrics.requests.with_label_values(&[label]).inc();
                }
                job.settle(outcome);
            }),
            // One that the database does not take must not keep the others out.
            Err(_) if batch.len() > 1 && self.connection.is_some() => {
                batch.into_iter().for_each(|job| self.answer(vec![job]));
            }
            Err(error) => {
                tracing::error!("a request to the registry failed: {error}");
                for job in batch {
                    self.metrics.requests.with_label_values(&[PUT_OFF]).inc();
                    job.settle(Outcome::Error(RegistryError::Down("its database does not work".into())));
                }
            }
        }
    }

    fn decide(&self, c: &mut Connection, batch: &[Job]) -> QueryResult<Vec<Outcome>> {
        change(c, now(), |change| batch.iter().map(|job| self.decide_one(change, job)).collect())
    }

    fn decide_one(&self, change: &mut Change<'_>, job: &Job) -> QueryResult<Outcome> {
        Ok(match job {
            Job::Enrol { request, place, address, .. } => {
                let claim = Claim {
                    node_id: &request.node_id,
                    hostname: &request.hostname,
                    as_relay: request.as_relay,
                    key_hash: &request.key_hash,
                    spki: request.spki_der(),
                    certificate: request.certificate(),
                    token: request.token(),
                    place,
                    address: Some(*address),
                };
                match enrol::enrol(change, &claim, &self.rules)? {
                    Decision::Answer { answer, undecided } => Outcome::Answer(answer, undecided),
                    Decision::TooManyPending => Outcome::Error(RegistryError::TooManyPending),
                }
            }
            Job::Decide { answer, accept, by, .. } => verdict(change, answer, *accept, by)?,
            Job::RollOver { node, message, .. } => {
                let overlap = self.settings.key_overlap;
                match keys::roll_over(change, node, message, overlap, &self.rules)? {
                    Ok(answer) => Outcome::Answer(answer, false),
                    Err(error) => Outcome::Error(error),
                }
            }
            Job::Certify { node, request, .. } => {
                match keys::certify(change, node, request, &self.settings.ca)? {
                    Ok(chain) => Outcome::Chain(chain),
                    Err(error) => Outcome::Error(error),
                }
            }
            Job::Reload { .. } => {
                enter_root(change, &self.settings)?;
                Outcome::Reloaded
            }
            Job::Introduce { introduction, .. } => {
                let overlap = self.settings.key_overlap;
                Outcome::Introduced(inventory::introduce(change, introduction, overlap, &self.rules)?)
            }
        })
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

/// What the policy program says counts if the node still waits, with the key that it was asked about.
fn verdict(change: &mut Change<'_>, asked: &Answer, accept: bool, by: &str) -> QueryResult<Outcome> {
    let id = &asked.node_id;
    let node = row::node(change.connection, id)?;
    let keys = row::keys(change.connection, id)?;
    let hash = asked.key_hash.to_string();
    let waits = node
        .is_some_and(|node| node.state == NodeState::Pending.as_str() && node.role == Role::Node.as_str());
    if !waits || !keys.iter().any(|key| key.key_hash == hash && key.valid_until.is_none()) {
        return Ok(Outcome::Answer(asked.clone(), false));
    }
    let (state, word) =
        if accept { (NodeState::Accepted, State::Accepted) } else { (NodeState::Rejected, State::Rejected) };
    change.decide(id, state, Role::Node, by)?;
    let detail = format!("{state} by the program of the root");
    let answer = Answer { state: word, detail, retry_after: None, ..asked.clone() };
    Ok(Outcome::Answer(answer, false))
}

/// How a job ended.
enum Outcome {
    Answer(Answer, bool),
    Chain(Option<Vec<u8>>),
    Introduced(Introduced),
    Reloaded,
    Error(RegistryError),
}

impl Outcome {
    /// The label under which it counts, if it is an answer to a node.
    fn label(&self) -> Option<&'static str> {
        Some(match self {
            Self::Answer(answer, _) => answer.state.as_str(),
            Self::Chain(_) | Self::Introduced(Introduced::Taken) => State::Accepted.as_str(),
            Self::Introduced(Introduced::Answered(answer)) => answer.state.as_str(),
            Self::Introduced(Introduced::TooManyPending)
            | Self::Error(RegistryError::Down(_) | RegistryError::TooManyPending) => PUT_OFF,
            Self::Introduced(Introduced::BadSignature) | Self::Error(_) => State::Refused.as_str(),
            Self::Reloaded => return None,
        })
    }

    fn answer(self) -> Result<(Answer, bool), RegistryError> {
        match self {
            Self::Answer(answer, undecided) => Ok((answer, undecided)),
            Self::Error(error) => Err(error),
            _ => Err(mismatch()),
        }
    }

    fn chain(self) -> Result<Option<Vec<u8>>, RegistryError> {
        match self {
            Self::Chain(chain) => Ok(chain),
            Self::Error(error) => Err(error),
            _ => Err(mismatch()),
        }
    }

    fn introduced(self) -> Result<Introduced, RegistryError> {
        match self {
            Self::Introduced(introduced) => Ok(introduced),
            Self::Error(error) => Err(error),
            _ => Err(mismatch()),
        }
    }
}

fn mismatch() -> RegistryError {
    RegistryError::Invalid("it was asked for something else".into())
}

impl Job {
    /// Tells who waits; who has gone meanwhile will ask again.
    fn settle(self, outcome: Outcome) {
        match self {
            Self::Enrol { reply, .. } => {
                let replied = outcome.answer().map(|(answer, undecided)| Replied { answer, undecided });
                drop(reply.send(replied));
            }
            Self::Decide { reply, .. } | Self::RollOver { reply, .. } => {
                drop(reply.send(outcome.answer().map(|(answer, _)| answer)));
            }
            Self::Certify { reply, .. } => drop(reply.send(outcome.chain())),
            Self::Introduce { reply, .. } => drop(reply.send(outcome.introduced())),
            Self::Reload { reply } => drop(reply.send(match outcome {
                Outcome::Reloaded => Ok(()),
                other => Err(other.answer().err().unwrap_or_else(mismatch)),
            })),
        }
    }
}
