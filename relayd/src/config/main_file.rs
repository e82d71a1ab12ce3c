// SPDX-License-Identifier: Apache-2.0
//! `main.conf` as typed: every setting, once. Comments of settings are what people read in the
//! default file and the reference.

use std::{num::NonZeroUsize, path::PathBuf, time::Duration};

use chrono::{DateTime, Utc};
use protocol::{hash::KeyHash, limits, node_id::NodeId, node_id_rule::NodeIdRule, tls::TlsVersion};

use super::{
    NodesSource, RunLogOutput,
    choice::{ClientAuthentication, InventoryOutput, PeerAuthentication},
    declare::settings,
    proxy::ProxySetting,
    value::{Secret, Size, Texts, Url},
};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

settings! {
    /// `main.conf` as typed.
    MainFile {
        /// This server, and what it knows of its nodes.
        ["general"] general: GeneralSection {
            /// The list of nodes below this server, written by the server application.
            nodes_list_file: PathBuf = "/var/rudder/lib/relay/nodeslist.json".into();
            /// The certificates of these nodes, a PEM bundle. Relays without relays below them may
            /// use /var/rudder/lib/ssl/nodescerts.pem.
            nodes_certs_file: PathBuf = "/var/rudder/lib/ssl/shared/allnodescerts.pem".into();
            /// The node id of this server, `root` on a root server. Wins over node_id_file.
            node_id: Option<NodeId> = None, "\"root\"";
            /// The file that holds the node id of this server. White space around it is ignored.
            node_id_file: PathBuf = "/opt/rudder/etc/uuid.hive".into();
            /// Where the local API listens: a loopback address with port, or `unix:/path`. Other
            /// addresses are refused, because the API has no authentication of its own.
            listen: String = "127.0.0.1:3030".into();
            /// Worker threads. By default as many as the machine has CPUs.
            core_threads: Option<NonZeroUsize> = None, "4";
            /// Most threads for work that blocks (files, database). They are made on demand.
            blocking_threads: NonZeroUsize = NonZeroUsize::MIN.saturating_add(511);
            /// The HTTPS port of all policy servers of this instance.
            https_port: u16 = 443;
            /// Connections to other servers are closed when nothing was sent for this long.
            https_idle_timeout: Duration = Duration::from_secs(2);
            /// How servers that this one connects to are known: by their key (`cert_pinning`), by an
            /// authority and their name (`cert_validation`; `system_root_certs` is its older name), or
            /// not at all (`dangerous_none`, for tests only).
            peer_authentication: PeerAuthentication = PeerAuthentication::CertPinning;
            /// Authorities trusted beside those of the system with `cert_validation`, a PEM file.
            ca_path: Option<PathBuf> = None, "\"/path/to/ca.pem\"";
            /// How long what is under way may take to finish when the daemon is stopped. What is not
            /// finished then stays in the spool and is done after the next start.
            shutdown_grace: Duration = Duration::from_secs(30);
        }

        /// Which nodes there are.
        ["nodes"] nodes: NodesSection {
            /// Who says so. `files`: another program, in nodes_list_file and nodes_certs_file. `database`:
            /// the registry in the database of this root, which `relayd node` manages and from which
            /// this daemon writes these files. `upstream`: the server above this relay, which knows this
            /// one by its client certificate; the list is kept in nodes_list_file for when it is not
            /// reachable.
            source: NodesSource = NodesSource::Files;
            /// How long the old key of a node stays valid after the node has changed to a new one: what
            /// it signed with the old one may still be on its way.
            key_overlap: Duration = 7 * DAY;
        }

        /// Taking in new nodes. Only with nodes.source = "database" or "upstream".
        ["enrolment"] enrolment: EnrolmentSection {
            /// Whether nodes may ask to be taken in through this server.
            enabled: bool = true;
            /// Requests to be taken in, per minute, from one network address or from one relay.
            requests_per_minute: u32 = 60;
            /// Most nodes that wait for a decision. When there are as many, newcomers without a token
            /// are put off.
            max_pending: NonZeroUsize = NonZeroUsize::MIN.saturating_add(9_999);
            /// A program, and its first arguments, that decides about nodes that come without a token.
            /// It gets the request (PKCS#10, PEM) on its standard input, and node id and host name as
            /// last arguments. Exit status 0 accepts, 1 rejects, any other leaves it to an operator.
            program: Vec<String> = Vec::new();
            /// How long the program may take.
            program_timeout: Duration = Duration::from_secs(10);
        }

        /// The built-in certification authority of a root; there is none until `relayd ca init`.
        ["ca"] ca: CaSection {
            /// Its key and certificate.
            directory: PathBuf = "/var/rudder/relayd/ca".into();
            /// How long the certificates of nodes are valid. They are renewed after half of it.
            node_certificate_lifetime: Duration = 365 * DAY;
        }

        /// Inventories of nodes.
        ["processing.inventory"] inventory: InventorySection {
            /// The spool: holds `incoming`, `accepted-nodes-updates` and `failed`.
            directory: PathBuf = "/var/rudder/inventories/".into();
            /// What becomes of them: sent `upstream` (relay), used to enrol nodes and stored in the
            /// database of [output.database], for questions (`database`; root), used to enrol nodes and
            /// kept in `received` (`registry`; root with nodes.source = "database"), or left to the
            /// server application (`disabled`).
            output: InventoryOutput = InventoryOutput::Disabled;
            /// Inventories on their way at the same time.
            max_in_flight: NonZeroUsize = NonZeroUsize::MIN.saturating_add(191);
            /// Larger files are refused.
            max_file_size: Size = Size(limits::INVENTORY_COMPRESSED);
            /// Advisories for the report of vulnerable and outdated packages: a file, or a directory of files,
            /// in the format of OSV (`.json`, `.jsonl`, `.zip`) or CSV (`.csv`). They are read again when they
            /// change. Without it there is no such report.
            advisories: Option<PathBuf> = None, "\"/opt/rudder/etc/relayd/advisories\"";
        }

        /// Looking through the spool for files that no notification announced.
        ["processing.inventory.catchup"] inventory_catchup: CatchupSection {
            /// Time between two looks.
            frequency: Duration = Duration::from_secs(10);
            /// 0 turns the periodic look off: the spool is then read at start and after lost
            /// notifications only. Any other number turns it on; it no longer limits how many files
            /// one look finds, as existing daemons do.
            limit: u64 = 50;
        }

        /// Removal of inventories that stayed undelivered for too long.
        ["processing.inventory.cleanup"] inventory_cleanup: CleanupSection {
            /// Time between two removals.
            frequency: Duration = HOUR;
            /// Age from which files are removed. Each removal is counted and logged.
            retention: Duration = 7 * DAY;
        }

        /// Run logs of nodes.
        ["processing.reporting"] reporting: ReportingSection {
            /// The spool: holds `incoming` and `failed`.
            directory: PathBuf = "/var/rudder/reports/".into();
            /// What becomes of them: stored in the `database` (root), sent `upstream` (relay), or left
            /// alone (`disabled`).
            output: RunLogOutput = RunLogOutput::Disabled;
            /// Event types that are not stored, such as "log_debug". Only with output = "database".
            skip_event_types: Vec<String> = Vec::new();
            /// Run logs being worked on at the same time.
            max_in_flight: NonZeroUsize = NonZeroUsize::MIN.saturating_add(191);
            /// Larger files are refused.
            max_file_size: Size = Size(limits::RUN_LOG_COMPRESSED);
            /// Files that inflate to more are refused.
            max_inflated_size: Size = Size(limits::RUN_LOG_INFLATED);
            /// After this server came back from a backup: when that was made. Agents that send a run log through
            /// the gateway, or that of a relay below, then send again what they had sent since. Remove it
            /// after a day or two.
            resend_since: Option<DateTime<Utc>> = None, "\"2026-11-22T03:00:00Z\"";
        }

        /// Looking through the spool for files that no notification announced.
        ["processing.reporting.catchup"] reporting_catchup: ReportingCatchupSection {
            /// Time between two looks.
            frequency: Duration = Duration::from_secs(10);
            /// 0 turns the periodic look off: the spool is then read at start and after lost
            /// notifications only. Any other number turns it on; it no longer limits how many files
            /// one look finds, as existing daemons do.
            limit: u64 = 50;
        }

        /// Removal of run logs that stayed undelivered for too long.
        ["processing.reporting.cleanup"] reporting_cleanup: ReportingCleanupSection {
            /// Time between two removals.
            frequency: Duration = HOUR;
            /// Age from which files are removed. Each removal is counted and logged.
            retention: Duration = 7 * DAY;
        }

        /// The state of the nodes, kept from the run logs that are stored.
        ["compliance"] compliance: ComplianceSection {
            /// Time between two runs of an agent. A node whose last run is older than this and five minutes
            /// gives no answer: it is not compliant. After a change `relayd compliance rebuild` applies it
            /// to the past.
            run_interval: Duration = 5 * MINUTE;
        }

        /// Where run logs are stored on a root server.
        ["output.database"] database: DatabaseSection {
            /// `postgres://user@host/database`, options after `?`, or `sqlite:/path/file.db`. When
            /// neither url nor password is given: SQLite in /var/rudder/relayd/relayd.db; when only
            /// the password is given: postgres://rudder@127.0.0.1/rudder.
            url: Option<Url> = None, "\"postgres://rudder@127.0.0.1/rudder\"";
            /// Password of the database user; written apart from the URL. Not needed for SQLite nor when
            /// the host of the URL is the directory of a Unix socket (`?host=/run/postgresql`).
            password: Option<Secret> = None, "\"PASSWORD\"";
            /// Most connections to the database.
            max_pool_size: NonZeroUsize = NonZeroUsize::MIN.saturating_add(9);
            /// Whether start-up makes the tables that are missing, where the database user may. By
            /// hand: `relayd database migrate`.
            migrate_at_start: bool = true;
        }

        /// How long what is kept in the database; `0s` keeps it for ever. What is older is removed by whole days
        /// (UTC) and whole runs. In tables that an existing server made, removing is left to that server.
        ["retention"] retention: RetentionSection {
            /// Results of runs.
            results: Duration = 30 * DAY;
            /// Information and warnings that came with them (the event types `log_…`), most of all rows.
            details: Duration = 4 * DAY;
            /// History of compliance.
            compliance: Duration = 365 * DAY;
            /// Inventories that were replaced by others.
            inventories: Duration = 365 * DAY;
        }

        /// The policy server above this one; needed on relays.
        ["output.upstream"] upstream: UpstreamSection {
            /// Its host name or address.
            host: String = String::new();
            /// Its HTTPS port. By default general.https_port.
            port: Option<u16> = None, "443";
            /// User of basic authentication.
            user: String = "rudder".into();
            /// Password for run logs and for inventories of accepted nodes.
            password: Option<Secret> = None, "\"PASSWORD\"";
            /// Password for inventories of new nodes.
            default_password: Secret = "rudder".into();
            /// Keys of the upstream server, when peers are known by their key. Wins over
            /// server_certificate_file.
            server_key_hashes: Vec<KeyHash> = Vec::new();
            /// Certificates of the upstream server, a PEM file, when peers are known by their key.
            server_certificate_file: PathBuf = "/var/rudder/lib/ssl/policy_server.pem".into();
            /// The certificate shown to the upstream server, a PEM file. By default that of the agent,
            /// /opt/rudder/etc/ssl/agent.cert, when it and its key exist.
            client_certificate: Option<PathBuf> = None, "\"/opt/rudder/etc/ssl/agent.cert\"";
            /// The key of client_certificate, a PEM file. By default that of the agent.
            client_key: Option<PathBuf> = None, "\"/var/rudder/cfengine-community/ppkeys/localhost.priv\"";
            /// Oldest TLS version spoken.
            min_tls_version: TlsVersion = TlsVersion::V1_3;
            /// The HTTP proxy on the way to it: `http://[user:password@]host[:port]`; `system` for what
            /// https_proxy and no_proxy in the daemon's environment say; or `none`. It carries TLS and cannot
            /// look into it.
            proxy: ProxySetting = ProxySetting::System;
            /// Deprecated: use host and port.
            url: Option<Url> = None, "\"https://rudder.example.com\"";
            /// Deprecated: use general.peer_authentication. `false` means `dangerous_none`.
            verify_certificates: Option<bool> = None, "true";
        }

        /// The HTTPS listener for nodes and relays. Off unless listen is set: then an HTTP server in
        /// front of this daemon writes uploads into the spools.
        ["gateway"] gateway: GatewaySection {
            /// Address and port, or a list of them. `[::]:443` is for IPv4 as well, unless an IPv4 address is
            /// listed beside it. Where systemd listens already (relayd-gateway.socket), its socket is used:
            /// then the daemon needs no privileges for port 443.
            listen: Option<Texts> = None, "[\"0.0.0.0:443\", \"[::]:443\"]";
            /// The server's certificate, a PEM file.
            certificate: PathBuf = "/opt/rudder/etc/ssl/agent.cert".into();
            /// The key of the certificate, a PEM file.
            key: PathBuf = "/var/rudder/cfengine-community/ppkeys/localhost.priv".into();
            /// Oldest TLS version spoken.
            min_tls_version: TlsVersion = TlsVersion::V1_3;
            /// How clients are known: by their `key`, which the node list holds, whatever their certificate
            /// says; or by an `authority` of yours: then the certificate must be valid and name a node of
            /// the list.
            client_authentication: ClientAuthentication = ClientAuthentication::Key;
            /// The authorities that client_authentication = "authority" trusts, a PEM file.
            client_ca_path: Option<PathBuf> = None, "\"/etc/pki/nodes-ca.pem\"";
            /// Where certificates of these authorities name their node: `uid` (of the subject), or a
            /// subject alternative name, such as `dns:{id}.nodes.example.org` or `uri:urn:uuid:{id}`.
            client_node_id: NodeIdRule = NodeIdRule::Uid;
            /// User of basic authentication, for agents that show no certificate. Off when not set.
            basic_auth_user: Option<String> = None, "\"rudder\"";
            /// Password for run logs and for inventories of accepted nodes.
            basic_auth_password: Option<Secret> = None, "\"PASSWORD\"";
            /// Password for inventories of new nodes. Agents that have no policies yet use `rudder`.
            basic_auth_initial_password: Option<Secret> = None, "\"rudder\"";
            /// Most connections at a time.
            max_connections: NonZeroUsize = NonZeroUsize::MIN.saturating_add(59_999);
            /// Time for the TLS handshake, and for the header of each request.
            header_timeout: Duration = Duration::from_secs(10);
            /// Connections are closed when nothing was sent for this long.
            idle_timeout: Duration = Duration::from_secs(60);
            /// Slowest upload that is accepted, in bytes per second, after 10 seconds; the same for answers.
            min_body_rate: Size = Size(1024);
            /// Uploads of one node per minute; relays may send as many for each node below them.
            uploads_per_minute: u32 = 600;
            /// How full the disk of the spools may be, in percent, before uploads are put off.
            high_water_percent: u8 = 90;
            /// Bytes of all uploads under way at a time, which bounds memory.
            max_bytes_in_flight: Size = Size(64 << 20);
        }

        /// Policies, served to the node that they are for.
        ["policies"] policies: PoliciesSection {
            /// Policies that another program writes: a directory for each node.
            directory: PathBuf = "/var/rudder/share".into();
            /// Policies published with `relayd policy publish`; they go before those of the same node in
            /// directory.
            published: PathBuf = "/var/rudder/relayd/policies".into();
            /// The key that signs published policies, and its certificate (`relayd policy key init`). On
            /// the root only: relays must not have it.
            key_directory: PathBuf = "/var/rudder/relayd/policy-key".into();
            /// How long published policies are valid.
            lifetime: Duration = 90 * DAY;
            /// How many versions of a node's policies are kept for going back, beside the active one.
            keep_versions: NonZeroUsize = NonZeroUsize::MIN.saturating_add(9);
            /// Groups of nodes, a file each: its name is that of the group, each line a node id or a pattern
            /// of host names such as `web*.example.org`.
            groups: PathBuf = "/opt/rudder/etc/relayd/policy-groups".into();
            /// Archives of policies, made when nodes ask for them.
            archives: PathBuf = "/var/rudder/relayd/archives".into();
            /// What was not asked for the longest goes when archives take more than this.
            max_archives: Size = Size(1 << 30);
        }

        /// What a relay keeps of the files that it fetches from its upstream for the nodes below it. Used
        /// with nodes.source = "upstream", or when output.upstream has a client certificate.
        ["policies.cache"] policies_cache: PoliciesCacheSection {
            /// Whether this relay fetches what it does not have itself.
            enabled: bool = true;
            /// Where it is kept.
            directory: PathBuf = "/var/rudder/relayd/cache".into();
            /// What was not asked for the longest goes when there is more than this.
            max_size: Size = Size(1 << 30);
        }

        /// The connection that agents keep open to be told of remote runs.
        ["triggers"] triggers: TriggersSection {
            /// How long a request of an agent waits for news; the beat of the connection. At most 20 s.
            wait: Duration = Duration::from_secs(15);
            /// Agents that may connect again per second after this server was away; they are told to
            /// spread accordingly.
            reconnects_per_second: NonZeroUsize = NonZeroUsize::MIN.saturating_add(199);
        }

        /// Remote runs.
        ["remote_run"] remote_run: RemoteRunSection {
            /// Whether agents may be triggered through this server.
            enabled: bool = true;
            /// The command that triggers nodes which have no connection to this server. Where there is
            /// none, or with "", they are asked at their next contact.
            command: String = "/opt/rudder/bin/rudder".into();
            /// Whether the command is run with sudo.
            use_sudo: bool = true;
            /// External commands that run at the same time.
            max_concurrent: NonZeroUsize = NonZeroUsize::MIN.saturating_add(99);
            /// Connected agents of this server that run at the same time. Asking one costs little here; a
            /// smaller number spreads what the runs themselves cost elsewhere.
            max_agents: NonZeroUsize = NonZeroUsize::MIN.saturating_add(19_999);
            /// Output of one node that is passed on; what comes after is dropped, which is said.
            max_output: Size = Size(1 << 20);
            /// How long a request waits for nodes that are not there, unless it says so itself.
            expiry: Duration = Duration::from_secs(300);
            /// The HTTP proxy on the way to the relays below this server, written as output.upstream.proxy.
            proxy: ProxySetting = ProxySetting::System;
        }

        /// Files sent from node to node.
        ["shared_files"] shared_files: SharedFilesSection {
            /// Where they are kept.
            path: PathBuf = "/var/rudder/shared-files/".into();
            /// Larger files are refused.
            max_body_size: Size = Size(50 << 20);
        }

        /// Removal of expired shared files.
        ["shared_files.cleanup"] shared_files_cleanup: SharedFilesCleanupSection {
            /// Time between two removals.
            frequency: Duration = Duration::from_secs(600);
        }

        /// Files of this server that all nodes may fetch.
        ["shared_folder"] shared_folder: SharedFolderSection {
            /// Where they are.
            path: PathBuf = "/var/rudder/configuration-repository/shared-files/".into();
        }

        /// Deprecated: known to one older version only; checked, but not used.
        ["rsync"] rsync: RsyncSection {
            /// Address and port.
            listen: String = "localhost:5310".into();
        }
    }
}
