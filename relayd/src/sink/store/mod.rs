// SPDX-License-Identifier: Apache-2.0
//! Storing run logs: verify, parse, batch, commit.
//!
//! ```text
//! deliver ─▶ CPU workers (a few at a time): read, unpack, verify, parse
//!               │ memory budget: reserved before unpacking, kept until the verdict
//!               ▼
//!            queue ─▶ writer threads: one transaction per batch ─▶ verdicts after COMMIT
//! ```
//!
//! | file | what |
//! |---|---|
//! | [`intake`] | from file to parsed run log, and what is wrong with it |
//! | [`batch`] | which run logs go into one transaction |
//! | [`writer`] | what a failure means: the outlet is down, or one run log is to blame |
//! | [`write`], [`write_postgres`], [`write_sqlite`] | one transaction |
//! | [`refusal`] | what the database has against a batch |
//! | [`rehearsal`] | telling bad data from a bad database |
//! | [`slow`] | run logs that ran into time limits |
//!
//! Invariant: a run log is accepted only after the commit of the transaction in which the ledger
//! says that it is stored; its rows are all in that transaction.

mod batch;
mod intake;
mod metrics;
mod parsed;
mod refusal;
mod rehearsal;
mod slow;
mod write;
mod write_postgres;
mod write_sqlite;
mod writer;

use std::{
    collections::VecDeque,
    num::NonZero,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::Duration,
};

use chrono::Utc;
use protocol::{
    run_id::RunLogName,
    run_log::{RunLog, instance},
};
use tokio::{
    runtime::Handle,
    sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot},
    task::spawn_blocking,
};

use self::{
    batch::Job,
    intake::{Intake, rejected},
    metrics::Metrics,
    refusal::TimeLimits,
    slow::SlowOnes,
    writer::Writer,
};
use crate::{
    compliance::Compliance,
    db::Database,
    metrics::CompatibleMetrics,
    nodes::Nodes,
    registry::{Contact, Contacts},
    spool::{
        Sink, SpoolFile, SpoolName,
        disposition::{Disposition, Outcome, Reason, Release},
    },
};

/// Settings of the store.
#[derive(Debug, Clone)]
pub struct StoreSettings {
    /// Event types whose reports are not stored.
    pub skip_event_types: Vec<String>,
    /// Largest run log file, in bytes.
    pub max_file_size: u64,
    /// Largest run log once unpacked, in bytes.
    pub max_inflated: u64,
    /// Time between two runs of an agent.
    pub run_interval: Duration,
}

/// Why the store cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No thread.
    #[error("cannot start a thread for writing to the database: {0}")]
    Thread(#[from] std::io::Error),
    /// Metrics of the same name are registered already.
    #[error("metrics of the store: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// Stores run logs in the database.
pub struct Store {
    settings: Arc<StoreSettings>,
    nodes: Nodes,
    queue: mpsc::Sender<Job>,
    /// Disconnects when the last writer ended.
    writers: Mutex<mpsc::Receiver<()>>,
    /// Notified when one panicked.
    panicked: Arc<Notify>,
    cpu: Arc<Semaphore>,
    memory: Arc<Semaphore>,
    metrics: Metrics,
    compatible: CompatibleMetrics,
    contacts: Option<Contacts>,
}

/// Memory for run logs between file and commit, in units of [`MEMORY_UNIT`]: 64 MiB.
const MEMORY_UNITS: u32 = 64 * 1024;
/// In bytes.
const MEMORY_UNIT: usize = 1024;
/// Connections that write at the same time, if the pool allows: one commits while the other sends.
const WRITERS: usize = 2;
/// How long [`Store::finish`] waits for a batch under way.
const FINISH: Duration = Duration::from_secs(10);

impl Store {
    /// Starts the writers.
    pub fn start(
        settings: StoreSettings,
        nodes: Nodes,
        database: Database,
        registry: &prometheus::Registry,
        compatible: CompatibleMetrics,
    ) -> Result<Self, StoreError> {
        let metrics = Metrics::new(registry)?;
        metrics.database_up.set(1);
        // Not bounded here: the spool bounds the deliveries in flight, `memory` their bytes.
        let (queue, receiver) = mpsc::channel();
        let receiver = Arc::new(Mutex::new(receiver));
        let (ended, writers) = mpsc::channel();
        let panicked = Arc::new(Notify::new());
        let slow = Arc::<SlowOnes>::default();
        let compliance = Arc::new(Compliance::new(settings.run_interval));
        for number in 1..=database.max_connections().min(WRITERS) {
            let writer = Writer {
                queue: Arc::clone(&receiver),
                deferred: VecDeque::new(),
                database: database.clone(),
                compliance: Arc::clone(&compliance),
                connection: None,
                metrics: metrics.clone(),
                slow: Arc::clone(&slow),
                limits: TimeLimits::default(),
            };
            let ended = ended.clone();
            let panicked = TellPanic(Arc::clone(&panicked));
            thread::Builder::new().name(format!("store-{number}")).spawn(move || {
                let _panicked = panicked;
                writer.run();
                drop(ended);
            })?;
        }
        Ok(Self {
            settings: Arc::new(settings),
            nodes,
            queue,
            writers: Mutex::new(writers),
            panicked,
            cpu: Arc::new(Semaphore::new(thread::available_parallelism().map_or(1, NonZero::get))),
            memory: Arc::new(Semaphore::new(MEMORY_UNITS as usize)),
            metrics,
            compatible,
            contacts: None,
        })
    }

    /// The same, telling `contacts` of which nodes it has stored something.
    pub fn telling(self, contacts: Option<Contacts>) -> Self {
        Self { contacts, ..self }
    }

    /// Waits until what is under way is written, but not for a database that hangs. Blocks.
    pub fn finish(self) {
        let Self { queue, writers, .. } = self;
        drop(queue);
        let writers = writers.into_inner().unwrap_or_else(PoisonError::into_inner);
        if writers.recv_timeout(FINISH) == Err(mpsc::RecvTimeoutError::Timeout) {
            tracing::warn!("a batch is still being written; its run logs stay in the spool");
        }
    }

    /// Ends when a writer panicked: the process must end too, others would wait for it in vain.
    pub async fn writer_panicked(&self) {
        self.panicked.notified().await;
    }

    async fn store(&self, file: &SpoolFile) -> Disposition {
        let SpoolName::RunLog(name) = &file.name else {
            return rejected(Reason::BadName, "not a run log");
        };
        let (intake, memory) = match self.take_in(file, name).await {
            Ok(taken) => taken,
            Err(disposition) => return disposition,
        };
        self.metrics.nuls.inc_by(intake.nuls as u64);
        let log = intake.parsed.log();
        if let Some(first) = log.skipped.first() {
            // Quoted, so that it is one line without control characters.
            tracing::warn!(
                node_id = %log.node_id, queue_id = %name.queue_id(),
                "{} parts of the run log could not be used; the first is at line {} ({:?}): {:?}",
                log.skipped.len(), first.line, first.reason, excerpt(first.text),
            );
        }
        if log.other_starts > 0 {
            tracing::warn!(
                node_id = %log.node_id, queue_id = %name.queue_id(),
                "{} reports say another start of the run than the first one", log.other_starts,
            );
        }
        if log.config_id.is_none() {
            // Protocol 3.6.
            tracing::warn!(
                node_id = %log.node_id, queue_id = %name.queue_id(),
                "no report of the run log names the version of the policies; its config id is unset",
            );
        }
        if log.reports.is_empty() {
            return Disposition::Accepted(Outcome::Stored);
        }
        let contact = self.contacts.as_ref().map(|contacts| (contacts, contact(log)));
        let (answer, verdict) = oneshot::channel();
        let job = Job {
            parsed: intake.parsed,
            results: intake.results,
            digest: intake.digest,
            file: name.as_str().into(),
            waiting: vec![answer],
            _memory: memory,
        };
        if self.queue.send(job).is_err() {
            return stopped();
        }
        let disposition = verdict.await.unwrap_or_else(|_| stopped());
        if let (Some((contacts, contact)), Disposition::Accepted(Outcome::Stored)) = (contact, &disposition) {
            contacts.note(contact);
        }
        disposition
    }

    /// The CPU work, on a worker.
    async fn take_in(
        &self,
        file: &SpoolFile,
        name: &RunLogName,
    ) -> Result<(Intake, OwnedSemaphorePermit), Disposition> {
        let worker = Arc::clone(&self.cpu).acquire_owned().await.map_err(|_| stopped())?;
        let memory = Arc::clone(&self.memory);
        let settings = Arc::clone(&self.settings);
        let nodes = Arc::clone(&self.nodes.borrow());
        let (path, name) = (file.path.clone(), name.clone());
        let work = spawn_blocking(move || {
            let _worker = worker;
            let packed = intake::read(&path, settings.max_file_size)?;
            let bound = intake::unpacked_bound(&packed, name.compression(), settings.max_inflated);
            // The message, its text, and the reports that point into it.
            let most = packed.len() + usize::try_from(bound.saturating_mul(3)).unwrap_or(usize::MAX);
            let mut reserved =
                Handle::current().block_on(memory.acquire_many_owned(units(most))).map_err(|_| stopped())?;
            let taken = intake::take_in(packed, bound, &name, &nodes, &settings)?;
            let unneeded = reserved.num_permits().saturating_sub(units(taken.parsed.weight()) as usize);
            drop(reserved.split(unneeded));
            Ok((taken, reserved))
        });
        match work.await {
            Ok(taken) => taken,
            // A fault of ours on this content; it must not stop the others, nor be tried for ever.
            Err(error) if error.is_panic() => Err(rejected(
                Reason::BadContent,
                "relayd has a fault that this file triggers; please report it",
            )),
            Err(_) => Err(stopped()),
        }
    }
}

impl Sink for Store {
    async fn deliver(&self, file: &SpoolFile) -> Disposition {
        let timer = self.compatible.processing_seconds.start_timer();
        let disposition = self.store(file).await;
        timer.observe_duration();
        disposition
    }

    fn settled(&self, disposition: &Disposition) {
        let status = match disposition {
            Disposition::Accepted(Outcome::Vanished) | Disposition::Released(_) => return,
            Disposition::Accepted(_) => "ok",
            Disposition::Rejected(rejection) if rejection.reason == Reason::UnknownNode => "invalid",
            Disposition::Rejected(_) => "error",
        };
        self.compatible.reports.with_label_values(&[status]).inc();
    }
}

/// Says so when it is dropped by a panic.
struct TellPanic(Arc<Notify>);

impl Drop for TellPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.notify_one();
        }
    }
}

/// Memory units for that many bytes; what is larger than the whole budget waits until it is alone.
fn units(bytes: usize) -> u32 {
    u32::try_from(bytes / MEMORY_UNIT + 1).unwrap_or(MEMORY_UNITS).min(MEMORY_UNITS)
}

/// What a run log says of its node.
fn contact(log: &RunLog<'_>) -> Contact {
    Contact {
        node: log.node_id.clone(),
        at: Utc::now(),
        start: log.start.with_timezone(&Utc),
        instance: instance::of(log),
    }
}

/// The start of a text, for log lines.
fn excerpt(text: &str) -> String {
    const LENGTH: usize = 200;
    text.chars().take(LENGTH).collect()
}

/// When a worker or writer is gone; the file stays for the next start.
fn stopped() -> Disposition {
    Disposition::Released(Release {
        outlet_down: true,
        detail: "the store is stopping".into(),
        retry_after: None,
        is_usual: false,
    })
}
