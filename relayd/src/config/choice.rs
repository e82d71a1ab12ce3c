// SPDX-License-Identifier: Apache-2.0
//! Settings that are one of a few words.

use super::{NodesSource, RunLogOutput, value::words};

/// How servers that this one connects to are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerAuthentication {
    /// By their key.
    CertPinning,
    /// By an authority, and by name.
    CertValidation,
    /// Not at all.
    DangerousNone,
}
words!(PeerAuthentication:
    "cert_pinning" => PeerAuthentication::CertPinning,
    "cert_validation" => PeerAuthentication::CertValidation,
    "dangerous_none" => PeerAuthentication::DangerousNone,
    "system_root_certs" => PeerAuthentication::CertValidation,
);

/// What becomes of inventories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InventoryOutput {
    /// Sent upstream unchanged.
    Upstream,
    /// The first inventory of a node enrols it; then the file is kept in `received`.
    Registry,
    /// The same, and what they say is stored in the database.
    Database,
    /// Left alone.
    Disabled,
}
words!(InventoryOutput:
    "upstream" => InventoryOutput::Upstream,
    "registry" => InventoryOutput::Registry,
    "database" => InventoryOutput::Database,
    "disabled" => InventoryOutput::Disabled,
);

/// How clients of the gateway are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuthentication {
    /// By their key.
    Key,
    /// By an authority, and by the node id in their certificate.
    Authority,
}
words!(ClientAuthentication:
    "key" => ClientAuthentication::Key,
    "authority" => ClientAuthentication::Authority,
);

words!(NodesSource:
    "files" => NodesSource::Files,
    "database" => NodesSource::Database,
    "upstream" => NodesSource::Upstream,
);

words!(RunLogOutput:
    "database" => RunLogOutput::Database,
    "upstream" => RunLogOutput::Upstream,
    "disabled" => RunLogOutput::Disabled,
);
