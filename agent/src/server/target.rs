// SPDX-License-Identifier: Apache-2.0
//! Where and how to connect, resolved from the settings for one attempt.

use openssl::ssl::SslConnector;
use protocol::{
    proxy::{Proxy, RuleError},
    tls::{self, ClientIdentity, ServerTrust},
};

use super::trust::{self, TrustError};
use crate::settings::{Credentials, Server, Settings};

/// Where and how to connect.
pub struct Target {
    /// The policy server.
    pub server: Server,
    /// The way there.
    pub proxy: Option<Proxy>,
    /// How it is known.
    pub trust: ServerTrust,
    /// TLS with that trust and the node's identity.
    pub connector: SslConnector,
    /// Basic authentication.
    pub credentials: Option<Credentials>,
}

impl Target {
    /// Resolves the settings, for a client that shows this certificate or none.
    pub fn of(settings: &Settings, client: Option<&ClientIdentity>) -> Result<Self, TargetError> {
        let server = settings.server.clone().ok_or(TargetError::NoServer)?;
        let proxy = settings.proxy.towards(&server.host, server.port)?.cloned();
        let trust = trust::server_trust(settings)?;
        let connector = tls::connector(&trust, settings.min_tls_version, client)
            .map_err(|e| TargetError::Tls(e.to_string()))?;
        Ok(Self { server, proxy, trust, connector, credentials: settings.credentials.clone() })
    }
}

/// Why the policy server cannot even be called.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// No policy server is configured.
    #[error(
        "no policy server is configured\n    set `server` in agent.conf, or run `agent enroll --server HOST` (or `agent init --server HOST`)"
    )]
    NoServer,
    /// The proxy cannot be used.
    #[error(
        "{0}\n    correct that variable, or write `https_proxy` in agent.conf, which points to the environment"
    )]
    Proxy(#[from] RuleError),
    /// How the server is known cannot be decided.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
}

impl TargetError {
    /// Whether the configuration is at fault.
    pub fn is_configuration(&self) -> bool {
        !matches!(self, Self::Tls(_))
    }
}
