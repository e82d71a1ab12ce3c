// SPDX-License-Identifier: Apache-2.0
//! Resolved settings of remote runs.

use std::{path::PathBuf, time::Duration};

use protocol::{proxy::ProxyRule, tls::TlsVersion};

use super::IdentityFiles;

/// `[remote_run]`.
#[derive(Debug, Clone)]
pub struct RemoteRun {
    /// Triggers nodes without a connection, if there is one.
    pub command: Option<PathBuf>,
    /// Whether with sudo.
    pub use_sudo: bool,
    /// Most external commands that run at a time.
    pub max_concurrent: usize,
    /// Most connected agents that run at a time.
    pub max_agents: usize,
    /// Most bytes of output passed on for a node.
    pub max_output: u64,
    /// How long nodes that are not there are waited for by default.
    pub expiry: Duration,
    /// How relays below this server are reached.
    pub relays: RelayAccess,
}

/// How relays below this server are reached (protocol 7.6).
#[derive(Debug, Clone)]
pub struct RelayAccess {
    /// Their HTTPS port.
    pub port: u16,
    /// How they are known.
    pub trust: RelayTrust,
    /// Own certificate and key to present, if any.
    pub client_identity: Option<IdentityFiles>,
    /// Oldest TLS version spoken.
    pub oldest_tls: TlsVersion,
    /// The proxy on the way to them.
    pub proxy: ProxyRule,
}

/// How relays below this server are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RelayTrust {
    /// By the keys and certificates in the node table.
    Keys,
    /// System store and this file.
    Authorities(Option<PathBuf>),
    /// Not at all.
    DangerousNone,
}
