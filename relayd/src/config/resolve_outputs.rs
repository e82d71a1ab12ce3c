// SPDX-License-Identifier: Apache-2.0
//! From what is typed to what applies: `[output.database]` and `[output.upstream]`.

use std::{path::PathBuf, time::Duration};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use protocol::node_id::NodeId;

use super::{
    Database, DatabaseUrl, IdentityFiles, NodesSource, Retention, RunLogOutput, Upstream, UpstreamTrust,
    choice::{InventoryOutput, PeerAuthentication},
    problem::Class,
    resolve::Resolver,
};

/// Where the agent on this machine has its certificate (protocol 1.3).
pub const AGENT_CERTIFICATE: &str = "/opt/rudder/etc/ssl/agent.cert";
/// Where the agent on this machine has its key (protocol 1.2).
pub const AGENT_KEY: &str = "/var/rudder/cfengine-community/ppkeys/localhost.priv";
const EMBEDDED_DATABASE: &str = "/var/rudder/relayd/relayd.db";
/// What is removed at a time.
const DAY: Duration = Duration::from_secs(86_400);
const DEFAULT_POSTGRES: &str = "postgres://rudder@127.0.0.1/rudder";

impl Resolver<'_> {
    pub(super) fn database(&mut self) -> Option<Database> {
        let typed = &self.typed.database;
        let password = typed.password.value.as_ref().map(|secret| secret.text.as_str());
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
            absent: typed.password.value.as_ref().and_then(|secret| secret.absent.clone()),
            max_pool_size: typed.max_pool_size.value.get(),
            migrate_at_start: typed.migrate_at_start.value,
        })
    }

    pub(super) fn retention(&mut self) -> Retention {
        let typed = &self.typed.retention;
        let keeps = [
            (&typed.results, "retention.results"),
            (&typed.details, "retention.details"),
            (&typed.compliance, "retention.compliance"),
            (&typed.inventories, "retention.inventories"),
        ];
        let [results, details, compliance, inventories] = keeps.map(|(given, key)| {
            if !given.value.is_zero() && given.value < DAY {
                let text = "less than a day, and whole days are removed; write \"1day\" or more, or \"0s\" to keep all";
                self.broken(given, key, text);
            }
            (!given.value.is_zero()).then_some(given.value)
        });
        if let Some(results) = results
            && details.is_none_or(|details| details > results)
        {
            let text =
                "longer than retention.results, and a result takes its details along; write as much or less";
            self.broken(&typed.details, "retention.details", text);
        }
        Retention { results, details, compliance, inventories }
    }

    fn password_needed(&mut self, url: &str) {
        let unix_socket = ["host=/", "host=%2F", "host=%2f"].iter().any(|host| url.contains(host))
            || url.contains("@%2F")
            || url.contains("://%2F");
        let (output, source) = (&self.typed.reporting.output, &self.typed.nodes.source);
        let inventories = &self.typed.inventory.output;
        let (line, user) = if output.value == RunLogOutput::Database {
            (output.line, "processing.reporting.output")
        } else if source.value == NodesSource::Database {
            (source.line, "nodes.source")
        } else if inventories.value == InventoryOutput::Database {
            (inventories.line, "processing.inventory.output")
        } else {
            return;
        };
        if !unix_socket {
            let text = format!(
                "missing, but {user} is \"database\"; write the password of the database user, or use a \
                 Unix socket (\"…?host=/run/postgresql\") or SQLite"
            );
            self.document.note(Class::Rule, line, "output.database.password", text);
        }
    }

    pub(super) fn upstream(
        &mut self,
        node_id: Option<&NodeId>,
        client_identity: Option<IdentityFiles>,
        trust: UpstreamTrust,
    ) -> Option<Upstream> {
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
        // Stricter only where it must be (protocol 9.3): a client certificate authenticates as well.
        if let (Some((user, _, line)), None, None) = (user_of, &section.password.value, &client_identity) {
            let text = format!(
                "missing, but {user} is \"upstream\" and there is no client certificate; write the password \
                 for uploads to the upstream server, or name client_certificate and client_key"
            );
            self.document.note(Class::Rule, line, "output.upstream.password", text);
        }
        (!host.is_empty()).then(|| Upstream {
            host,
            port,
            user: section.user.value.clone(),
            password: section.password.value.as_ref().map(|secret| secret.text.clone()),
            default_password: section.default_password.value.text.clone(),
            trust,
            client_identity,
            idle_timeout: typed.general.https_idle_timeout.value,
            oldest_tls: section.min_tls_version.value,
            proxy: self.proxy(&section.proxy),
        })
    }

    /// Host and port. An IPv6 address may be in brackets, as in URLs.
    fn upstream_address(&mut self) -> (String, u16) {
        let (host, port) = self.upstream_as_typed();
        (host.trim_start_matches('[').trim_end_matches(']').to_owned(), port)
    }

    /// Host and port, also from the older `url`.
    fn upstream_as_typed(&mut self) -> (String, u16) {
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

    pub(super) fn upstream_trust(&mut self) -> UpstreamTrust {
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

    pub(super) fn client_identity(&mut self) -> Option<IdentityFiles> {
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
}

/// The password goes into the options of the URL, percent-encoded (protocol 9.3).
fn with_password(url: &str, password: &str) -> String {
    let separator = if url.contains('?') { '&' } else { '?' };
    format!("{url}{separator}password={}", utf8_percent_encode(password, NON_ALPHANUMERIC))
}
