// SPDX-License-Identifier: Apache-2.0
//! Where the agent's files are: the places of existing agents (protocol 1, 2.1), and a few of our own.

use std::path::{Path, PathBuf};

/// Every path the agent uses. Made by [`Paths::below`], then moved by the `[paths]` settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// Node id (protocol 1.1).
    pub node_id: PathBuf,
    /// Settings shared with existing agents (protocol 1.7).
    pub agent_conf: PathBuf,
    /// Our own settings.
    pub own_conf: PathBuf,
    /// Certificate that signs run logs and identifies the client (protocol 1.3).
    pub certificate: PathBuf,
    /// Certificate of the root's authority for the same key, followed by that of the authority.
    pub issued_certificate: PathBuf,
    /// Private key (protocol 1.2).
    pub key: PathBuf,
    /// Public key.
    pub public_key: PathBuf,
    /// Other client certificate in certificate validation mode.
    pub http_certificate: PathBuf,
    /// Its key.
    pub http_key: PathBuf,
    /// What the policies say about themselves (protocol 1.7).
    pub rudder_json: PathBuf,
    /// The policies.
    pub policies: PathBuf,
    /// The library that policies of other programs need (protocol 8.1).
    pub library: PathBuf,
    /// Certificates of the keys that may sign policies; when there is no such file, they need no signature.
    pub policy_key: PathBuf,
    /// Address of the policy server when `agent.conf` has none.
    pub policy_server: PathBuf,
    /// Pins of the policy server (protocol 1.5).
    pub server_pins: PathBuf,
    /// Authority of the policy server in certificate validation mode.
    pub server_authority: PathBuf,
    /// Directory with `ready` (the outbox) and `failed`.
    pub reports: PathBuf,
    /// Files that are being written.
    pub temporary: PathBuf,
    /// What is remembered between invocations, and the lock files.
    pub state: PathBuf,
    /// Asks for an inventory (protocol 6.2); removed when one was sent.
    pub force_inventory: PathBuf,
    /// No inventories are made while it is there.
    pub disable_inventory: PathBuf,
    /// Directories of programs that tell custom properties (protocol 6.6).
    pub hooks: [PathBuf; 2],
    /// On a root server, the spool of its own daemon (protocol 6.1).
    pub inventories: PathBuf,
    /// What makes inventories where another agent is installed as well.
    pub other_collector: PathBuf,
}

impl Paths {
    /// The default places, below `root` (`/` on a real machine).
    pub fn below(root: &Path) -> Self {
        let at = |path: &str| root.join(path);
        Self {
            node_id: at("opt/rudder/etc/uuid.hive"),
            agent_conf: at("opt/rudder/etc/agent.conf"),
            own_conf: at("opt/rudder/etc/relayd-agent.conf"),
            certificate: at("opt/rudder/etc/ssl/agent.cert"),
            issued_certificate: at("opt/rudder/etc/ssl/agent-issued.cert"),
            key: at("var/rudder/cfengine-community/ppkeys/localhost.priv"),
            public_key: at("var/rudder/cfengine-community/ppkeys/localhost.pub"),
            http_certificate: at("opt/rudder/etc/ssl/agent-http.cert"),
            http_key: at("opt/rudder/etc/ssl/agent-http.key"),
            rudder_json: at("var/rudder/cfengine-community/inputs/rudder.json"),
            policies: at("var/rudder/cfengine-community/inputs"),
            library: at("var/rudder/ncf"),
            policy_key: at("var/rudder/lib/ssl/policy_key.pem"),
            policy_server: at("var/rudder/cfengine-community/policy_server.dat"),
            server_pins: at("var/rudder/lib/ssl/policy_server_hash"),
            server_authority: at("var/rudder/lib/ssl/policy_server_ca.pem"),
            reports: at("var/rudder/reports"),
            temporary: at("var/rudder/tmp/reports"),
            state: at("var/rudder/lib/relayd-agent"),
            force_inventory: at("opt/rudder/etc/force_inventory"),
            disable_inventory: at("opt/rudder/etc/disable-inventory"),
            hooks: [at("opt/rudder/var/hooks.d"), at("var/rudder/hooks.d")],
            inventories: at("var/rudder/inventories"),
            other_collector: at("opt/rudder/bin/run-inventory"),
        }
    }

    /// Run logs that wait for their upload.
    pub fn ready(&self) -> PathBuf {
        self.reports.join("ready")
    }

    /// Copies of run logs that the policy server has.
    pub fn sent(&self) -> PathBuf {
        self.reports.join("sent")
    }

    /// Run logs that the policy server refused for good.
    pub fn failed(&self) -> PathBuf {
        self.reports.join("failed")
    }
}
