// SPDX-License-Identifier: Apache-2.0
//! The configuration as resolved: checked, defaults filled in, ready to be handed out by section.
//!
//! Every duration is a [`Duration`]; every size is in bytes.
//!
//! | file | what |
//! |---|---|
//! | [`declare`], [`value`], `secret` | how settings are declared; types of settings |
//! | [`main_file`], [`logging_file`], [`choice`], [`proxy`] | the settings: as typed |
//! | [`document`], [`problem`] | taking a file apart; what is wrong with it |
//! | [`resolve`], [`load`] | rules between settings: from typed to [`Config`] |
//! | [`processing`] | run logs, inventories, and what is kept of them, as resolved |
//! | [`print`] | the default files, the reference |

pub mod choice;
pub mod declare;
pub mod document;
pub mod load;
pub mod logging_file;
pub mod main_file;
pub mod print;
pub mod problem;
mod processing;
pub mod proxy;
pub mod remote_run;
pub mod resolve;
mod resolve_downward;
mod resolve_nodes;
mod resolve_outputs;
mod secret;
mod uses;
pub mod value;

pub use choice::InventoryOutput;
pub use load::{Loaded, listen, load, load_logging, look};
pub use logging_file::Logging;
pub use problem::ConfigError;
pub use processing::{Compliance, Inventories, RunLogOutput, RunLogs, SpoolSettings};
pub use remote_run::{RelayAccess, RelayTrust, RemoteRun};
pub use resolve_outputs::{AGENT_CERTIFICATE, AGENT_KEY};
pub use secret::{Absent, name_of as name_of_credential, passed as passed_credentials};

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use protocol::{hash::KeyHash, node_id::NodeId, node_id_rule::NodeIdRule, proxy::ProxyRule, tls::TlsVersion};
use zeroize::Zeroizing;

/// Everything, resolved.
#[derive(Debug, Clone)]
pub struct Config {
    /// `[general]`.
    pub general: General,
    /// `[nodes]`.
    pub nodes: Nodes,
    /// `[enrolment]`; `None` when off.
    pub enrolment: Option<Enrolment>,
    /// `[ca]`.
    pub ca: Ca,
    /// `[processing.reporting]` and what it needs.
    pub run_logs: RunLogs,
    /// `[processing.inventory]`.
    pub inventories: Inventories,
    /// `[compliance]`.
    pub compliance: Compliance,
    /// `[output.database]`.
    pub database: Database,
    /// `[retention]`.
    pub retention: Retention,
    /// `[output.upstream]`; `None` when there is no upstream (root).
    pub upstream: Option<Upstream>,
    /// `[gateway]`; `None` when off (an httpd in front writes to the spools).
    pub gateway: Option<Gateway>,
    /// `[policies]`.
    pub policies: Policies,
    /// `[policies.cache]`; `None` when off or where there is no upstream to fetch from.
    pub cache: Option<Cache>,
    /// `[triggers]`.
    pub triggers: Triggers,
    /// `[remote_run]`; `None` when off.
    pub remote_run: Option<RemoteRun>,
    /// `[shared_files]`.
    pub shared_files: SharedFiles,
    /// `[shared_folder]`: its path.
    pub shared_folder: PathBuf,
}

/// `[general]`.
#[derive(Debug, Clone)]
pub struct General {
    /// This server's own node id.
    pub node_id: NodeId,
    /// `nodeslist.json`.
    pub nodes_list_file: PathBuf,
    /// Certificate bundle.
    pub nodes_certs_file: PathBuf,
    /// Where the local API listens.
    pub listen: LocalAddress,
    /// Worker threads of the async runtime.
    pub core_threads: usize,
    /// Most threads for blocking work.
    pub blocking_threads: usize,
    /// How long draining may take.
    pub shutdown_grace: Duration,
}

/// Where the local API listens: loopback or a Unix socket, never elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocalAddress {
    /// A loopback address.
    Tcp(SocketAddr),
    /// A Unix socket (`unix:/path`), made with mode 0660.
    Unix(PathBuf),
}

/// Who says which nodes there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodesSource {
    /// Another program, in files.
    Files,
    /// The registry in the database (root).
    Database,
    /// The server above (relay).
    Upstream,
}

/// `[nodes]`.
#[derive(Debug, Clone)]
pub struct Nodes {
    /// Who says so.
    pub source: NodesSource,
    /// How long a replaced key stays valid.
    pub key_overlap: Duration,
}

/// `[enrolment]`.
#[derive(Debug, Clone)]
pub struct Enrolment {
    /// Requests per minute and address or relay.
    pub requests_per_minute: u32,
    /// Most undecided nodes.
    pub max_pending: usize,
    /// Decides instead of an operator; empty when there is none.
    pub program: Vec<String>,
    /// Its time limit.
    pub program_timeout: Duration,
}

/// `[ca]`.
#[derive(Debug, Clone)]
pub struct Ca {
    /// Where key and certificate are, if there are any.
    pub directory: PathBuf,
    /// Validity of node certificates.
    pub node_certificate_lifetime: Duration,
}

/// `[output.database]`.
#[derive(Clone)]
pub struct Database {
    /// Which database, password included.
    pub url: DatabaseUrl,
    /// Its password, where that is a credential which this process cannot read: then `url` is without it, and of no use.
    pub absent: Option<Absent>,
    /// Most connections.
    pub max_pool_size: usize,
    /// Whether start-up applies missing migrations itself where it may.
    pub migrate_at_start: bool,
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database").finish_non_exhaustive()
    }
}

/// `[retention]`: how long what is kept; `None`: for ever.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retention {
    /// Results of runs, the runs, and the ledger of run logs.
    pub results: Option<Duration>,
    /// Information attached to results (the `log_*` types of protocol 3.5).
    pub details: Option<Duration>,
    /// History of compliance.
    pub compliance: Option<Duration>,
    /// Former inventories.
    pub inventories: Option<Duration>,
}

/// Which database; the text holds the password, so it is never printed.
#[derive(Clone)]
pub enum DatabaseUrl {
    /// `postgres://…`
    Postgres(String),
    /// `sqlite:/path` or `sqlite://path`: a file.
    Sqlite(PathBuf),
}

/// `[output.upstream]`.
#[derive(Clone)]
pub struct Upstream {
    /// Host name or address.
    pub host: String,
    /// HTTPS port (`general.https_port`).
    pub port: u16,
    /// User of basic authentication.
    pub user: String,
    /// Password for run logs and inventory updates.
    pub password: Option<Zeroizing<String>>,
    /// Password for new inventories.
    pub default_password: Zeroizing<String>,
    /// How the upstream server is known.
    pub trust: UpstreamTrust,
    /// Own certificate and key to present, if any.
    pub client_identity: Option<IdentityFiles>,
    /// Idle connections are closed after this.
    pub idle_timeout: Duration,
    /// Oldest TLS version spoken.
    pub oldest_tls: TlsVersion,
    /// The proxy on the way there.
    pub proxy: ProxyRule,
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upstream").field("host", &self.host).field("port", &self.port).finish_non_exhaustive()
    }
}

/// How the upstream server is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpstreamTrust {
    /// `cert_pinning` with key hashes given in the configuration.
    Pins(Vec<KeyHash>),
    /// `cert_pinning`: the certificates in this file are the only anchors.
    Anchors(PathBuf),
    /// `cert_validation`: system store and this file.
    Authorities(Option<PathBuf>),
    /// `dangerous_none`.
    DangerousNone,
}

/// A certificate file and its key file, both PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityFiles {
    /// Certificate.
    pub certificate: PathBuf,
    /// Private key.
    pub key: PathBuf,
}

/// `[gateway]`: the HTTPS listener for nodes and relays.
#[derive(Debug, Clone)]
pub struct Gateway {
    /// Addresses and ports, at least one.
    pub listen: Vec<SocketAddr>,
    /// The server's certificate and key.
    pub identity: IdentityFiles,
    /// Oldest TLS version spoken.
    pub oldest_tls: TlsVersion,
    /// How clients are known.
    pub clients: ClientTrust,
    /// Basic authentication for agents without client certificate, by upload kind; `None` is off.
    pub basic_auth: Option<BasicAuth>,
    /// Threads that serve connections.
    pub threads: usize,
    /// Most threads for work that blocks, for each of them.
    pub blocking_threads: usize,
    /// Most connections.
    pub max_connections: usize,
    /// Time for TLS handshake and a request's header, each.
    pub header_timeout: Duration,
    /// Idle connections are closed after this.
    pub idle_timeout: Duration,
    /// Slowest accepted body, bytes per second after the first ten seconds.
    pub slowest_body: u64,
    /// Uploads per node and minute before 429.
    pub uploads_per_minute: u32,
    /// Largest run log as uploaded.
    pub max_run_log: u64,
    /// Largest inventory as uploaded.
    pub max_inventory: u64,
    /// Disk use of the spool's file system (percent) from which uploads get 503.
    pub high_water_percent: u8,
    /// Body bytes of all uploads under way at a time.
    pub max_bytes_in_flight: u64,
}

/// How clients of the gateway are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientTrust {
    /// By their key.
    Key,
    /// By an authority.
    Authority {
        /// Trusted certificates, PEM.
        authorities: PathBuf,
        /// Where certificates name their node.
        node_id: NodeIdRule,
    },
}

/// Users for basic authentication (protocol 2.3, 6.2).
#[derive(Clone)]
pub struct BasicAuth {
    /// User name.
    pub user: String,
    /// Password for run logs and inventory updates.
    pub password: Zeroizing<String>,
    /// Password for new inventories.
    pub initial_password: Zeroizing<String>,
}

impl std::fmt::Debug for BasicAuth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BasicAuth").field("user", &self.user).finish_non_exhaustive()
    }
}

/// `[policies]`.
#[derive(Debug, Clone)]
pub struct Policies {
    /// Trees that another program writes, by node (protocol 8.4).
    pub directory: PathBuf,
    /// Published policies.
    pub published: PathBuf,
    /// The signing key and its certificate.
    pub key_directory: PathBuf,
    /// Validity of what is published.
    pub lifetime: Duration,
    /// Versions kept beside the active one.
    pub keep_versions: usize,
    /// Groups of nodes.
    pub groups: PathBuf,
    /// Archives that were made.
    pub archives: PathBuf,
    /// Most bytes of archives.
    pub max_archives: u64,
}

/// `[policies.cache]`.
#[derive(Debug, Clone)]
pub struct Cache {
    /// Where it is.
    pub directory: PathBuf,
    /// Most bytes of content.
    pub max_size: u64,
}

/// `[triggers]`.
#[derive(Debug, Clone)]
pub struct Triggers {
    /// Longest wait of one request.
    pub wait: Duration,
    /// Pace at which agents may come back.
    pub reconnects_per_second: usize,
}

/// `[shared_files]`.
#[derive(Debug, Clone)]
pub struct SharedFiles {
    /// Where they are.
    pub path: PathBuf,
    /// Largest body of a PUT, in bytes.
    pub max_body_size: u64,
    /// Time between removals of what has expired.
    pub clean_every: Duration,
}
