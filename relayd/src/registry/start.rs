// SPDX-License-Identifier: Apache-2.0
//! Starting the registry, and what there is while it runs.

use std::{
    path::PathBuf,
    sync::{Arc, mpsc::sync_channel},
    thread,
    time::Duration,
};

use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::{
    Registry,
    admin::now,
    change::change,
    enrol::Rules,
    files::Files,
    job::{Context, Queue},
    metrics::Metrics,
    own::{self, ImportError},
    program::Program,
    service::Service,
};
use crate::{
    config::{self, Config},
    db::{Database, DbError},
    metrics::CompatibleMetrics,
    nodes::Nodes,
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
    Import(#[from] ImportError),
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
        // The thread ends when nobody can ask any more, and when it panics: where nobody asks, because
        // there is no gateway, this handle is the last.
        let Self { registry: _in_use, nodes, files, ended, .. } = self;
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

/// Jobs that may wait.
const WAITING: usize = 4096;

/// Starts the registry: its first table is there when this returns. Blocks.
pub fn start(
    settings: Settings,
    database: Database,
    registry: &prometheus::Registry,
    compatible: CompatibleMetrics,
) -> Result<Running, StartError> {
    let metrics = Metrics::new(registry)?;
    let mut connection = database.connect()?;
    own::import(&mut connection, &settings)?;
    change(&mut connection, now(), |change| own::enter(change, &settings)).map_err(DbError::from)?;
    let program = settings.enrolment.as_ref().and_then(Program::of).map(Arc::new);
    let files = Files::new(&settings.general);
    let rules = Rules {
        own_id: settings.general.node_id.clone(),
        max_pending: settings.enrolment.as_ref().map(|enrolment| enrolment.max_pending),
        has_ca: false,
    };
    let context = Context { settings, rules };
    let (mut service, nodes, status) = Service::new(context, database, connection, metrics, compatible);
    service.look().map_err(DbError::from)?;
    let (queue, jobs) = sync_channel(WAITING);
    let (tell_end, ended) = oneshot::channel();
    thread::Builder::new().name("registry".into()).spawn(move || {
        // Dropped when the thread ends, however it does.
        let _tell_end = tell_end;
        service.run(&jobs);
    })?;
    Ok(Running { registry: Registry { queue: Queue::new(queue), program }, nodes, files, ended, status })
}
