// SPDX-License-Identifier: Apache-2.0
//! From what is typed to what applies: the rules between settings (protocol 9.3), defaults that
//! depend on others, the files that settings name. The `[output.…]` sections are in
//! `resolve_outputs`, those about nodes and their identity in `resolve_nodes`.

use std::{
    fs,
    net::{SocketAddr, ToSocketAddrs},
    path::Path,
    time::Duration,
};

use protocol::node_id::NodeId;

use super::{
    BasicAuth, Compliance, Config, Gateway, General, IdentityFiles, Inventories, LocalAddress, RunLogs,
    SpoolSettings,
    declare::Given,
    document::Document,
    load::Loaded,
    main_file::MainFile,
    problem::{Class, ConfigError},
    resolve_downward,
    value::{Secret, Size, Texts},
};

/// Reads the text of `main.conf`, found in `file`.
pub fn read(file: &Path, text: &str) -> Result<Loaded, ConfigError> {
    let mut document = Document::parse(file, text, MainFile::KEYS);
    let typed = MainFile::read(&mut document);
    if !document.syntax_ok() {
        return Err(ConfigError::Problems(document.finish()));
    }
    let mut resolver = Resolver { typed: &typed, document, warnings: Vec::new() };
    let config = resolver.config();
    let Resolver { mut document, warnings, .. } = resolver;
    let absent = document.absent();
    let problems = document.finish();
    match config {
        Some(config) if problems.is_empty() => Ok(Loaded { typed, config, warnings, absent }),
        _ => Err(ConfigError::Problems(problems)),
    }
}

/// Where the local API listens, whatever else is wrong with the text; by default when that is wrong, too.
pub fn listen(file: &Path, text: &str) -> LocalAddress {
    let mut document = Document::parse(file, text, MainFile::KEYS);
    let typed = MainFile::read(&mut document);
    let mut resolver = Resolver { typed: &typed, document, warnings: Vec::new() };
    resolver.local_address(&typed.general.listen).unwrap_or_else(|| listen(file, ""))
}

/// Each method notes what is wrong and then returns `None` or a stand-in, so that all is found.
pub(super) struct Resolver<'a> {
    pub(super) typed: &'a MainFile,
    pub(super) document: Document<'a>,
    pub(super) warnings: Vec<String>,
}

impl Resolver<'_> {
    fn config(&mut self) -> Option<Config> {
        let general = self.general();
        let (identity, trust) = (self.client_identity(), self.upstream_trust());
        let node_id = general.as_ref().map(|general| &general.node_id);
        let upstream = self.upstream(node_id, identity.clone(), trust.clone());
        let database = self.database();
        let retention = self.retention();
        let gateway = self.gateway();
        let run_logs = self.run_logs();
        let inventories = self.inventories();
        let compliance = self.compliance();
        let nodes = self.nodes(general.as_ref(), upstream.as_ref());
        let enrolment = self.enrolment();
        let ca = self.ca();
        let (policies, cache) = (self.policies(), self.cache(upstream.as_ref()));
        let triggers = self.triggers();
        let remote_run = self.remote_run(identity, trust, gateway.as_ref().and_then(Option::as_ref));
        Some(Config {
            general: general?,
            nodes,
            enrolment,
            ca,
            run_logs,
            inventories,
            compliance,
            database: database?,
            retention,
            upstream,
            gateway: gateway?,
            policies,
            cache,
            triggers,
            remote_run,
            shared_files: resolve_downward::shared_files(self.typed),
            shared_folder: self.typed.shared_folder.path.value.clone(),
        })
    }

    /// Notes a rule that is broken at a setting.
    pub(super) fn broken<T>(&mut self, setting: &Given<T>, key: &str, text: impl Into<String>) {
        self.document.note(Class::Rule, setting.line, key, text.into());
    }

    fn general(&mut self) -> Option<General> {
        let typed = &self.typed.general;
        let node_id = self.node_id();
        let listen = self.local_address(&typed.listen);
        Some(General {
            node_id: node_id?,
            nodes_list_file: typed.nodes_list_file.value.clone(),
            nodes_certs_file: typed.nodes_certs_file.value.clone(),
            listen: listen?,
            core_threads: self.threads(),
            blocking_threads: typed.blocking_threads.value.get(),
            shutdown_grace: typed.shutdown_grace.value,
        })
    }

    fn node_id(&mut self) -> Option<NodeId> {
        let general = &self.typed.general;
        if let Some(id) = &general.node_id.value {
            return Some(id.clone());
        }
        if general.node_id.line.is_some() {
            return None; // given, but wrong, which is noted already
        }
        let file = &general.node_id_file;
        let path = file.value.display();
        let remedy = "write the id of this server into it, or set general.node_id";
        let id = fs::read_to_string(&file.value)
            .map_err(|error| format!("cannot read {path}: {error}; {remedy}"))
            .and_then(|text| text.trim().parse().map_err(|error| format!("{path}: {error}; {remedy}")));
        id.map_err(|text| self.broken(file, "general.node_id_file", text)).ok()
    }

    fn local_address(&mut self, listen: &Given<String>) -> Option<LocalAddress> {
        let key = "general.listen";
        if let Some(path) = listen.value.strip_prefix("unix:") {
            if path.starts_with('/') {
                return Some(LocalAddress::Unix(path.into()));
            }
            let text = "the path of the socket is not absolute; write \"unix:/run/relayd/api.sock\"";
            self.document.note(Class::Form, listen.line, key, text.to_owned());
            return None;
        }
        let address = self.socket_address(listen.line, key, &listen.value)?;
        if !address.ip().is_loopback() {
            let text = format!(
                "{address} is not a loopback address; the local API has no authentication: write \
                 127.0.0.1:{port}, [::1]:{port} or \"unix:/path\"",
                port = address.port()
            );
            self.document.note(Class::Form, listen.line, key, text);
            return None;
        }
        Some(LocalAddress::Tcp(address))
    }

    /// Host names are resolved; the first address counts.
    fn socket_address(&mut self, line: Option<usize>, key: &str, text: &str) -> Option<SocketAddr> {
        match text.to_socket_addrs().map(|mut addresses| addresses.next()) {
            Ok(Some(address)) => return Some(address),
            Ok(None) => self.document.note(
                Class::Form,
                line,
                key,
                format!("{text:?} has no address; write an IP address and a port"),
            ),
            Err(error) => self.document.note(
                Class::Form,
                line,
                key,
                format!("{text:?} is not an address: {error}; write host:port, such as \"127.0.0.1:3030\""),
            ),
        }
        None
    }

    fn run_logs(&mut self) -> RunLogs {
        let typed = self.typed;
        let (section, catchup, cleanup) =
            (&typed.reporting, &typed.reporting_catchup, &typed.reporting_cleanup);
        self.not_zero(&catchup.frequency, "processing.reporting.catchup.frequency");
        self.not_zero(&cleanup.frequency, "processing.reporting.cleanup.frequency");
        self.keeps_files(&cleanup.retention, "processing.reporting.cleanup.retention");
        self.not_empty(&section.max_file_size, "processing.reporting.max_file_size");
        self.not_empty(&section.max_inflated_size, "processing.reporting.max_inflated_size");
        RunLogs {
            output: section.output.value,
            spool: SpoolSettings {
                directory: section.directory.value.clone(),
                sweep_every: (catchup.limit.value > 0).then_some(catchup.frequency.value),
                max_file_size: section.max_file_size.value.0,
                max_in_flight: section.max_in_flight.value.get(),
                clean_every: cleanup.frequency.value,
                retention: cleanup.retention.value,
            },
            skip_event_types: section.skip_event_types.value.clone(),
            max_inflated: section.max_inflated_size.value.0,
            resend_since: section.resend_since.value,
        }
    }

    fn compliance(&mut self) -> Compliance {
        let run_interval = &self.typed.compliance.run_interval;
        self.not_zero(run_interval, "compliance.run_interval");
        Compliance { run_interval: run_interval.value }
    }

    fn inventories(&mut self) -> Inventories {
        let typed = self.typed;
        let (section, catchup, cleanup) =
            (&typed.inventory, &typed.inventory_catchup, &typed.inventory_cleanup);
        self.not_zero(&catchup.frequency, "processing.inventory.catchup.frequency");
        self.not_zero(&cleanup.frequency, "processing.inventory.cleanup.frequency");
        self.keeps_files(&cleanup.retention, "processing.inventory.cleanup.retention");
        self.not_empty(&section.max_file_size, "processing.inventory.max_file_size");
        Inventories {
            output: section.output.value,
            advisories: section.advisories.value.clone(),
            spool: SpoolSettings {
                directory: section.directory.value.clone(),
                sweep_every: (catchup.limit.value > 0).then_some(catchup.frequency.value),
                max_file_size: section.max_file_size.value.0,
                max_in_flight: section.max_in_flight.value.get(),
                clean_every: cleanup.frequency.value,
                retention: cleanup.retention.value,
            },
        }
    }

    pub(super) fn not_zero(&mut self, setting: &Given<Duration>, key: &str) {
        if setting.value.is_zero() {
            self.broken(setting, key, "0 would never rest; write a duration such as \"10s\"");
        }
    }

    fn keeps_files(&mut self, setting: &Given<Duration>, key: &str) {
        if setting.value.is_zero() {
            self.broken(
                setting,
                key,
                "0 would remove files before they are delivered; write a duration such as \"7d\"",
            );
        }
    }

    fn not_empty(&mut self, setting: &Given<Size>, key: &str) {
        if setting.value.0 == 0 {
            self.broken(setting, key, "0 would refuse every file; write a size such as \"10MiB\"");
        }
    }

    fn threads(&self) -> usize {
        let processors = || std::thread::available_parallelism().map_or(1, usize::from);
        self.typed.general.core_threads.value.map_or_else(processors, usize::from)
    }

    /// The outer `None` is a mistake, the inner one says that there is no gateway.
    fn gateway(&mut self) -> Option<Option<Gateway>> {
        let typed = self.typed;
        let section = &typed.gateway;
        self.not_zero(&section.header_timeout, "gateway.header_timeout");
        self.not_zero(&section.idle_timeout, "gateway.idle_timeout");
        self.not_empty(&section.max_bytes_in_flight, "gateway.max_bytes_in_flight");
        if section.uploads_per_minute.value == 0 {
            let text = "0 would refuse every upload; write how many a node may send per minute";
            self.broken(&section.uploads_per_minute, "gateway.uploads_per_minute", text);
        }
        if !(1..=100).contains(&section.high_water_percent.value) {
            self.broken(
                &section.high_water_percent,
                "gateway.high_water_percent",
                "not a percentage; write 1 to 100",
            );
        }
        let basic_auth = self.basic_auth();
        let clients = self.client_trust();
        let Some(Texts(listen)) = &section.listen.value else { return Some(None) };
        if listen.is_empty() {
            let text = "the list is empty; write at least one address, or remove the line to have no gateway";
            self.broken(&section.listen, "gateway.listen", text);
        }
        let mut addresses = Vec::new();
        for text in listen {
            addresses.extend(self.socket_address(section.listen.line, "gateway.listen", text));
        }
        addresses.sort_unstable();
        addresses.dedup();
        let threads = self.threads();
        Some(Some(Gateway {
            listen: addresses,
            threads,
            blocking_threads: typed.general.blocking_threads.value.get().div_ceil(threads),
            identity: IdentityFiles {
                certificate: section.certificate.value.clone(),
                key: section.key.value.clone(),
            },
            oldest_tls: section.min_tls_version.value,
            clients: clients?,
            basic_auth,
            max_connections: section.max_connections.value.get(),
            header_timeout: section.header_timeout.value,
            idle_timeout: section.idle_timeout.value,
            slowest_body: section.min_body_rate.value.0,
            uploads_per_minute: section.uploads_per_minute.value,
            max_run_log: typed.reporting.max_file_size.value.0,
            max_inventory: typed.inventory.max_file_size.value.0,
            high_water_percent: section.high_water_percent.value,
            max_bytes_in_flight: section.max_bytes_in_flight.value.0,
        }))
    }

    fn basic_auth(&mut self) -> Option<BasicAuth> {
        let section = &self.typed.gateway;
        let user = section.basic_auth_user.value.clone()?;
        let mut password = |given: &Given<Option<Secret>>, key: &str| {
            if given.value.is_none() {
                let text =
                    "missing, but basic_auth_user is given; write a password, or remove basic_auth_user";
                self.document.note(Class::Rule, section.basic_auth_user.line, key, text.to_owned());
            }
            given.value.as_ref().map(|secret| secret.text.clone())
        };
        let own = password(&section.basic_auth_password, "gateway.basic_auth_password");
        let initial = password(&section.basic_auth_initial_password, "gateway.basic_auth_initial_password");
        Some(BasicAuth { user, password: own?, initial_password: initial? })
    }
}
