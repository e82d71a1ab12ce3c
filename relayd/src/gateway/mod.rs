// SPDX-License-Identifier: Apache-2.0
//! The HTTPS listener for nodes and relays.
//!
//! ```text
//! listener ─▶ connection ─▶ service ─▶ route, rules, access ─┬▶ uploads ─▶ part file ─▶ directory commit
//!  accept      TLS, peer,    one        who may what         │   body       write,       one fsync of the
//!  drain       time-outs     request                         │   in         fsync,       directory for many
//!              strict heads                                  │   pieces     rename       uploads, then 2xx
//!                 ▲                                          ├▶ enrolment ─▶ registry, or upstream
//!               open: closed when its node is revoked        └▶ tree: the nodes below a relay
//! ```
//!
//! What may be asked, and by whom, is in `rules` and nowhere else.
//!
//! Invariant: a `2xx` to an upload means that file and directory entry are on stable storage. An
//! fsync that fails is never tried again: nothing is acknowledged any more and [`Gateway::run`]
//! returns the error.

pub mod access;
mod answer;
pub mod authorities;
mod basic_auth;
mod body;
mod client;
mod connection;
pub(crate) mod described;
mod directory;
pub(crate) mod disk;
mod enrolment;
mod guard;
mod guarded_io;
mod lanes;
mod listener;
mod metrics;
mod open;
mod part_file;
mod rate;
mod route;
mod rules;
mod seen;
mod service;
pub(crate) mod throttle;
mod tls;
mod upload;
mod uploads;

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc};

use protocol::node_id::NodeId;
use tokio::{
    net::TcpListener,
    runtime::Handle,
    sync::{mpsc, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use self::{
    directory::{CommitQueue, Directory, Failure},
    disk::DiskPool,
    enrolment::IdentityRequests,
    lanes::Lanes,
    metrics::GatewayMetrics,
    service::Service,
    tls::Acceptor,
    uploads::{OpenDoor, OpenDoors, Uploads},
};
pub use self::{enrolment::Enrolment, listener::listen};
use crate::{
    config, http::Services, nodes::Nodes, registry::Contacts, resend::ResendSince,
    service_manager::PassedSockets, spool::Hint,
};

/// Where the files of one kind of upload go.
#[derive(Debug, Clone)]
pub struct Door {
    /// The spool's `incoming` directory; must exist.
    pub incoming: PathBuf,
    /// Takes the names of new files; a full channel is harmless.
    pub notices: mpsc::Sender<Hint>,
    /// Largest accepted file, in bytes.
    pub max_size: u64,
}

/// The doors that are open; an upload of another kind gets 404.
#[derive(Debug, Clone, Default)]
pub struct Doors {
    /// `/reports/`.
    pub run_logs: Option<Door>,
    /// `/inventories/`.
    pub new_inventories: Option<Door>,
    /// `/inventory-updates/`.
    pub inventory_updates: Option<Door>,
}

/// What the gateway hands requests to.
#[derive(Clone, Default)]
pub struct Behind {
    /// Takes uploads.
    pub doors: Doors,
    /// Decides about nodes and keys.
    pub enrolment: Enrolment,
    /// Requests of new nodes per minute and address; `None` to take none in.
    pub newcomers_per_minute: Option<u32>,
    /// Notes which nodes were heard of, at a root with a database.
    pub contacts: Option<Contacts>,
    /// Answer the other requests.
    pub services: Services,
    /// Knows the server above by its key, which is not on the list of a relay that is behind another one.
    pub upstream: Option<KnowsUpstream>,
    /// What clients are told whose run log was taken.
    pub resend: ResendSince,
}

/// Whether a certificate has a key by which this server knows the one above it.
pub type KnowsUpstream = Arc<dyn Fn(&protocol::certificate::Certificate) -> bool + Send + Sync>;

/// Why the gateway cannot start, reload or go on.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The address cannot be listened on.
    #[error("gateway: cannot listen on {address}: {error}; {}", remedy(.error))]
    Listen {
        /// `gateway.listen`.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// A socket does not say where it listens.
    #[error("gateway: {0}")]
    Listener(io::Error),
    /// The server's certificate or key cannot be used.
    #[error(transparent)]
    Identity(#[from] tls::IdentityError),
    /// A spool directory cannot be used.
    #[error("gateway: cannot use the spool directory {}: {error}", .directory.display())]
    Spool {
        /// The directory.
        directory: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Data may not have reached the disk: only a restart may accept uploads again.
    #[error("gateway: fsync in {} failed: {error}; check the disk, then start again", .directory.display())]
    Sync {
        /// The directory.
        directory: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A background task panicked: a bug.
    #[error("gateway: {0}; this is a bug")]
    Task(tokio::task::JoinError),
    /// No thread can be started.
    #[error("gateway: cannot start threads: {0}")]
    Threads(io::Error),
    /// Metrics are registered twice.
    #[error("gateway: {0}")]
    Metrics(#[from] prometheus::Error),
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "let systemd listen there (relayd-gateway.socket), or use a port from 1024 on"
        }
        io::ErrorKind::AddrNotAvailable => {
            "no interface of this machine has that address; correct gateway.listen"
        }
        _ => "is another server running there?",
    }
}

/// A gateway that listens, but does not accept yet.
pub struct Gateway {
    listeners: Vec<TcpListener>,
    addresses: Vec<SocketAddr>,
    shared: listener::Shared,
    nodes: Nodes,
    weights: watch::Sender<Arc<rate::Weights>>,
    commits: Vec<CommitQueue>,
    failures: mpsc::Receiver<GatewayError>,
}

/// Lets a running gateway read its certificate and key again, and the authorities of its clients.
#[derive(Clone)]
pub struct Reload {
    acceptor: Arc<Acceptor>,
    service: Arc<Service>,
}

impl Reload {
    /// Reads them; new connections get them. On error the old ones stay in use. When the authorities
    /// are others, nodes have to connect anew.
    pub fn reload(&self) -> Result<(), GatewayError> {
        if self.acceptor.reload()? {
            self.service.connections().close_all();
        }
        Ok(())
    }
}

impl Gateway {
    /// Listens where the settings say, and opens a gateway there.
    ///
    /// Needs a tokio runtime with I/O and time.
    pub fn bind(
        settings: &config::Gateway,
        own_id: &NodeId,
        nodes: Nodes,
        behind: Behind,
        registry: &prometheus::Registry,
    ) -> Result<Self, GatewayError> {
        let listeners = listen(&settings.listen, &mut PassedSockets::default())?;
        Self::open(listeners, settings, own_id, nodes, behind, registry)
    }

    /// Reads the identity, and clears the spool directories of what an earlier process left half-written.
    /// Listening came first: it fails while such a process is still alive.
    pub fn open(
        listeners: Vec<TcpListener>,
        settings: &config::Gateway,
        own_id: &NodeId,
        nodes: Nodes,
        behind: Behind,
        registry: &prometheus::Registry,
    ) -> Result<Self, GatewayError> {
        let metrics = GatewayMetrics::new(registry)?;
        let acceptor = Arc::new(Acceptor::new(
            settings.identity.clone(),
            settings.oldest_tls,
            settings.clients.clone(),
            nodes.clone(),
        )?);
        let addresses: io::Result<Vec<_>> = listeners.iter().map(TcpListener::local_addr).collect();
        let addresses = addresses.map_err(GatewayError::Listener)?;
        let lanes =
            Lanes::start(settings.threads, settings.blocking_threads).map_err(GatewayError::Threads)?;
        let pool = DiskPool::new().map_err(GatewayError::Threads)?;
        let (failure, failures) = Failure::watch();
        let mut commits = Vec::new();
        let mut open = |door: Option<Door>| -> Result<_, GatewayError> {
            let Some(door) = door else { return Ok(None) };
            let (directory, queue) =
                Directory::open(&door.incoming, pool.clone(), failure.clone(), &metrics)?;
            commits.push(queue);
            Ok(Some(OpenDoor::new(directory, door, settings.high_water_percent)))
        };
        let Behind { doors, enrolment, newcomers_per_minute, contacts, services, upstream, resend } = behind;
        let doors = OpenDoors {
            run_logs: open(doors.run_logs)?,
            new_inventories: open(doors.new_inventories)?,
            inventory_updates: open(doors.inventory_updates)?,
        };
        // Of the table of now: whoever uploads first is counted as what it is.
        let weights = rate::Weights::of(nodes.borrow().list());
        let (weights, known_weights) = watch::channel(Arc::new(weights));
        let identity_requests = IdentityRequests::new(
            enrolment,
            newcomers_per_minute,
            known_weights.clone(),
            settings.slowest_body,
        );
        let uploads = Uploads::new(settings, known_weights, doors, resend, metrics.clone());
        let service = Service::new(
            own_id,
            nodes.clone(),
            settings.clients.clone(),
            acceptor.clone(),
            uploads,
            identity_requests,
            metrics,
        )
        .telling(contacts)
        .calling(services)
        .below(upstream);
        Ok(Self {
            listeners,
            addresses,
            shared: listener::Shared {
                acceptor,
                service: Arc::new(service),
                limits: connection::Limits {
                    header_timeout: settings.header_timeout,
                    idle_timeout: settings.idle_timeout,
                    slowest: settings.slowest_body,
                },
                max_connections: settings.max_connections,
                lanes,
            },
            nodes,
            weights,
            commits,
            failures,
        })
    }

    /// The addresses listened on, with the ports that the system chose for port 0.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The runtimes that serve connections.
    pub fn runtimes(&self) -> impl Iterator<Item = &Handle> {
        self.shared.lanes.runtimes()
    }

    /// A handle to reload certificate and key while the gateway runs.
    pub fn reload_handle(&self) -> Reload {
        Reload { acceptor: self.shared.acceptor.clone(), service: self.shared.service.clone() }
    }

    /// Serves until `stop`, then takes no new connections, lets requests under way finish and
    /// closes. The caller bounds how long that may take.
    ///
    /// **Errors**: [`GatewayError::Sync`] at once when data may not have reached the disk; then
    /// the process must end.
    pub async fn run(self, stop: CancellationToken) -> Result<(), GatewayError> {
        let mut failures = self.failures;
        // Dropped, and so aborted, when this function returns.
        let mut background = JoinSet::new();
        for queue in self.commits {
            background.spawn(queue.run());
        }
        background.spawn(rate::keep_weights(self.nodes, self.weights));
        background.spawn(self.shared.service.connections().clone().watch());
        let serving = listener::run(self.listeners, self.shared, stop);
        tokio::pin!(serving);
        loop {
            tokio::select! {
                biased;
                Some(error) = failures.recv() => return Err(error),
                Some(ended) = background.join_next() => ended.map_err(GatewayError::Task)?,
                () = &mut serving => return failures.try_recv().map_or(Ok(()), Err),
            }
        }
    }
}
