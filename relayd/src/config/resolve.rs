// SPDX-License-Identifier: Apache-2.0
//! From what is typed to what applies: the rules between settings (protocol 9.3), defaults that
//! depend on others, the files that settings name.

use std::{
    fs,
    net::{SocketAddr, ToSocketAddrs},
    path::{Path, PathBuf},
    time::Duration,
};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use protocol::node_id::NodeId;

use super::{
    BasicAuth, Config, Database, DatabaseUrl, Gateway, General, IdentityFiles, Inventories, LocalAddress,
    RunLogOutput, RunLogs, SpoolSettings, Upstream, UpstreamTrust,
    declare::Given,
    document::Document,
    load::Loaded,
    main_file::{InventoryOutput, MainFile, PeerAuthentication},
    problem::{Class, ConfigError},
};

const AGENT_CERTIFICATE: &str = "/opt/rudder/etc/ssl/agent.cert";
const AGENT_KEY: &str = "/var/rudder/cfengine-community/ppkeys/localhost.priv";
const EMBEDDED_DATABASE: &str = "/var/rudder/relayd/relayd.db";
const DEFAULT_POSTGRES: &str = "postgres://rudder@127.0.0.1/rudder";

/// Reads the text of `main.conf`, found in `file`.
pub fn read(file: &Path, text: &str) -> Result<Loaded, ConfigError> {
    let mut document = Document::parse(file, text, MainFile::KEYS);
    let typed = MainFile::read(&mut document);
    if !document.syntax_ok() {
        return Err(ConfigError::Problems(document.finish()));
    }
    let mut resolver = Resolver { typed: &typed, document, warnings: Vec::new() };
    let config = resolver.config();
    let Resolver { document, warnings, .. } = resolver;
    let problems = document.finish();
    match config {
        Some(config) if problems.is_empty() => Ok(Loaded { typed, config, warnings }),
        _ => Err(ConfigError::Problems(problems)),
    }
}

/// Each method notes what is wrong and then returns `None` or a stand-in, so that all is found.
struct Resolver<'a> {
    typed: &'a MainFile,
    document: Document<'a>,
    warnings: Vec<String>,
}

impl Resolver<'_> {
    fn config(&mut self) -> Option<Config> {
        let general = self.general();
        let upstream = self.upstream(general.as_ref().map(|general| &general.node_id));
        let database = self.database();
        let gateway = self.gateway();
        let run_logs = self.run_logs();
        let inventories = self.inventories();
        Some(Config {
            general: general?,
            run_logs,
            inventories,
            database: database?,
            upstream,
            gateway: gateway?,
        })
    }

    /// Notes a rule that is broken at a setting.
    fn broken<T>(&mut self, setting: &Given<T>, key: &str, text: impl Into<String>) {
        self.document.note(Class::Rule, setting.line, key, text.into());
    }

    fn general(&mut self) -> Option<General> {
        let typed = &self.typed.general;
        let node_id = self.node_id();
        let listen = self.local_address(&typed.listen);
        let cpus = || std::thread::available_parallelism().map_or(1, usize::from);
        let node_id_text = fs::read_to_string(&typed.node_id_file.value).ok();
        let node_id = node_id?;
        Some(General {
            // The file is what existing servers publish; the id alone when it is absent or differs.
            node_id_text: node_id_text
                .filter(|text| text.trim() == node_id.as_str())
                .unwrap_or_else(|| format!("{node_id}\n")),
            node_id,
            nodes_list_file: typed.nodes_list_file.value.clone(),
            nodes_certs_file: typed.nodes_certs_file.value.clone(),
            listen: listen?,
            core_threads: typed.core_threads.value.map_or_else(cpus, usize::from),
            blocking_threads: typed.blocking_threads.value.get(),
            shutdown_grace: typed.shutdown_grace.value,
        })
    }

    fn node_id(&mut self) -> Option<NodeId> {
        let general = &self.typed.general;
        if let Some(id) = &general.node_id.value {
            return Some(id.clone());
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
        }
    }

    fn inventories(&mut self) -> Inventories {
        let typed = self.typed;
        let (section, catchup, cleanup) =
            (&typed.inventory, &typed.inventory_catchup, &typed.inventory_cleanup);
        self.not_zero(&catchup.frequency, "processing.inventory.catchup.frequency");
        self.not_zero(&cleanup.frequency, "processing.inventory.cleanup.frequency");
        Inventories {
            forward: section.output.value == InventoryOutput::Upstream,
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

    fn not_zero(&mut self, setting: &Given<Duration>, key: &str) {
        if setting.value.is_zero() {
            self.broken(setting, key, "0 would never rest; write a duration such as \"10s\"");
        }
    }

    fn database(&mut self) -> Option<Database> {
        let typed = &self.typed.database;
        let password = typed.password.value.as_ref().map(|secret| secret.0.as_str());
        let key = "output.database.url";
        let url = match (&typed.url.value, password) {
            (None, None) => DatabaseUrl::Sqlite(EMBEDDED_DATABASE.into()),
            (None, Some(password)) => DatabaseUrl::Postgres(with_password(DEFAULT_POSTGRES, password)),
            (Some(url), password) => {
                let url = url.0.as_str();
                if let Some(path) = url.strip_prefix("sqlite:") {
                    let path = path.strip_prefix("//").unwrap_or(path);
                    if !path.starts_with('/') {
                        self.broken(
                            &typed.url,
                            key,
                            "no absolute path after sqlite:; write \"sqlite:/path/file.db\"",
                        );
                        return None;
                    }
                    DatabaseUrl::Sqlite(path.into())
                } else if url.starts_with("postgres://") || url.starts_with("postgresql://") {
                    match password {
                        Some(password) => DatabaseUrl::Postgres(with_password(url, password)),
                        None => {
                            self.password_needed(url);
                            DatabaseUrl::Postgres(url.to_owned())
                        }
                    }
                } else {
                    let text =
                        "unknown kind of database; write a URL that starts with postgres:// or sqlite:/";
                    self.broken(&typed.url, key, text);
                    return None;
                }
            }
        };
        Some(Database {
            url,
            max_pool_size: typed.max_pool_size.value.get(),
            migrate_at_start: typed.migrate_at_start.value,
        })
    }

    fn password_needed(&mut self, url: &str) {
        let unix_socket = ["host=/", "host=%2F", "host=%2f"].iter().any(|host| url.contains(host))
            || url.contains("@%2F")
            || url.contains("://%2F");
        let reporting = &self.typed.reporting;
        if reporting.output.value == RunLogOutput::Database && !unix_socket {
            let text = "missing, but processing.reporting.output is \"database\"; write the password of the \
                        database user, or use a Unix socket (\"…?host=/run/postgresql\") or SQLite";
            self.broken(&reporting.output, "output.database.password", text);
        }
    }

    fn upstream(&mut self, node_id: Option<&NodeId>) -> Option<Upstream> {
        let typed = self.typed;
        let section = &typed.upstream;
        let (host, port) = self.upstream_address();
        let user_of = [
            (
                "processing.reporting.output",
                typed.reporting.output.value == RunLogOutput::Upstream,
                typed.reporting.output.line,
            ),
            (
                "processing.inventory.output",
                typed.inventory.output.value == InventoryOutput::Upstream,
                typed.inventory.output.line,
            ),
        ]
        .into_iter()
        .find(|(_, upstream, _)| *upstream);

        if host.is_empty() {
            let cause = match (node_id, user_of) {
                (Some(id), _) if !id.is_root() => Some((
                    section
                        .host
                        .line
                        .or(typed.general.node_id.line)
                        .or(self.document.section_line("output.upstream")),
                    format!("missing, but the node id {id} is not that of a root server"),
                )),
                (_, Some((user, _, line))) => Some((line, format!("missing, but {user} is \"upstream\""))),
                _ => None,
            };
            if let Some((line, cause)) = cause {
                let text =
                    format!("{cause}; write the host name or address of the policy server above this one");
                self.document.note(Class::Rule, line, "output.upstream.host", text);
            }
        }
        if let (Some((user, _, line)), None) = (user_of, &section.password.value) {
            let text = format!(
                "missing, but {user} is \"upstream\"; write the password for uploads to the upstream server"
            );
            self.document.note(Class::Rule, line, "output.upstream.password", text);
        }
        let trust = self.upstream_trust();
        let client_identity = self.client_identity();
        (!host.is_empty()).then(|| Upstream {
            host,
            port,
            user: section.user.value.clone(),
            password: section.password.value.as_ref().map(|secret| secret.0.clone()),
            default_password: section.default_password.value.0.clone(),
            trust,
            client_identity,
            idle_timeout: typed.general.https_idle_timeout.value,
            oldest_tls: section.min_tls_version.value,
        })
    }

    /// Host and port, also from the older `url`.
    fn upstream_address(&mut self) -> (String, u16) {
        let section = &self.typed.upstream;
        let default_port = section.port.value.unwrap_or(self.typed.general.https_port.value);
        let host = section.host.value.trim();
        let Some(url) = &section.url.value else { return (host.to_owned(), default_port) };
        self.warnings
            .push("output.upstream.url is deprecated; write output.upstream.host and port".to_owned());
        if !host.is_empty() {
            return (host.to_owned(), default_port);
        }
        let authority = url.0.split_once("://").map_or(url.0.as_str(), |(_, rest)| rest);
        let authority = authority.split(['/', '?', '#']).next().unwrap_or_default();
        let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => match port.parse() {
                Ok(port) => (host.to_owned(), section.port.value.unwrap_or(port)),
                Err(_) => {
                    self.broken(
                        &section.url,
                        "output.upstream.url",
                        "the port is not a number; use host and port instead",
                    );
                    (host.to_owned(), default_port)
                }
            },
            _ => (authority.to_owned(), default_port),
        }
    }

    fn upstream_trust(&mut self) -> UpstreamTrust {
        let (general, section) = (&self.typed.general, &self.typed.upstream);
        let mut mode = general.peer_authentication.value;
        if let Some(verify) = section.verify_certificates.value {
            self.warnings.push(
                "output.upstream.verify_certificates is deprecated; write general.peer_authentication"
                    .to_owned(),
            );
            if !verify && general.peer_authentication.line.is_none() {
                mode = PeerAuthentication::DangerousNone;
            }
        }
        match mode {
            PeerAuthentication::CertPinning if section.server_key_hashes.value.is_empty() => {
                UpstreamTrust::Anchors(section.server_certificate_file.value.clone())
            }
            PeerAuthentication::CertPinning => UpstreamTrust::Pins(section.server_key_hashes.value.clone()),
            PeerAuthentication::CertValidation => UpstreamTrust::Authorities(general.ca_path.value.clone()),
            PeerAuthentication::DangerousNone => {
                self.warnings.push("Certificate verification is disabled".to_owned());
                UpstreamTrust::DangerousNone
            }
        }
    }

    fn client_identity(&mut self) -> Option<IdentityFiles> {
        let section = &self.typed.upstream;
        match (&section.client_certificate.value, &section.client_key.value) {
            (Some(certificate), Some(key)) => {
                Some(IdentityFiles { certificate: certificate.clone(), key: key.clone() })
            }
            (None, None) => {
                let files = IdentityFiles { certificate: AGENT_CERTIFICATE.into(), key: AGENT_KEY.into() };
                let exists = |path: &PathBuf| path.try_exists().unwrap_or(false);
                (exists(&files.certificate) && exists(&files.key)).then_some(files)
            }
            (Some(_), None) => {
                let text = "missing, but client_certificate is given; name the file of its key";
                self.broken(&section.client_certificate, "output.upstream.client_key", text);
                None
            }
            (None, Some(_)) => {
                let text = "missing, but client_key is given; name the file of its certificate";
                self.broken(&section.client_key, "output.upstream.client_certificate", text);
                None
            }
        }
    }

    /// The outer `None` is a mistake, the inner one says that there is no gateway.
    fn gateway(&mut self) -> Option<Option<Gateway>> {
        let typed = self.typed;
        let section = &typed.gateway;
        self.not_zero(&section.header_timeout, "gateway.header_timeout");
        self.not_zero(&section.idle_timeout, "gateway.idle_timeout");
        if !(1..=100).contains(&section.high_water_percent.value) {
            self.broken(
                &section.high_water_percent,
                "gateway.high_water_percent",
                "not a percentage; write 1 to 100",
            );
        }
        let basic_auth = self.basic_auth();
        let Some(listen) = &section.listen.value else { return Some(None) };
        let listen = self.socket_address(section.listen.line, "gateway.listen", listen)?;
        Some(Some(Gateway {
            listen,
            identity: IdentityFiles {
                certificate: section.certificate.value.clone(),
                key: section.key.value.clone(),
            },
            oldest_tls: section.min_tls_version.value,
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
        let mut password = |given: &Given<Option<super::value::Secret>>, key: &str| {
            if given.value.is_none() {
                let text =
                    "missing, but basic_auth_user is given; write a password, or remove basic_auth_user";
                self.document.note(Class::Rule, section.basic_auth_user.line, key, text.to_owned());
            }
            given.value.as_ref().map(|secret| secret.0.clone())
        };
        let own = password(&section.basic_auth_password, "gateway.basic_auth_password");
        let initial = password(&section.basic_auth_initial_password, "gateway.basic_auth_initial_password");
        Some(BasicAuth { user, password: own?, initial_password: initial? })
    }
}

/// The password goes into the options of the URL, percent-encoded (protocol 9.3).
fn with_password(url: &str, password: &str) -> String {
    let separator = if url.contains('?') { '&' } else { '?' };
    format!("{url}{separator}password={}", utf8_percent_encode(password, NON_ALPHANUMERIC))
}
