// SPDX-License-Identifier: Apache-2.0
//! The rules by which a node takes policies or refuses them (protocol 14.2). They are all here.

use chrono::{DateTime, Utc};

use super::{Manifest, ManifestError, check_size, is_signed};
use crate::{
    certificate::Certificate,
    node_id::NodeId,
    smime::{self, SmimeError},
};

/// What a node knows when it is offered policies.
#[derive(Debug, Clone, Copy)]
pub struct Expectation<'a> {
    /// Whose policies they must be.
    pub node_id: &'a NodeId,
    /// Certificates of policy keys. With none, signature, version and expiry do not count: whoever the
    /// node takes for its policy server decides (protocol 8).
    pub pinned: &'a [Certificate],
    /// The version that the node has, if it got it under a pinned key.
    pub held: Option<u64>,
    /// The node's clock.
    pub now: DateTime<Utc>,
}

impl Expectation<'_> {
    /// Reads a manifest in either form and judges it.
    ///
    /// The signature is checked before anything else is read; the rest in the order of [`Refusal`].
    pub fn accept(&self, message: &[u8]) -> Result<Manifest, Refusal> {
        check_size(message)?;
        if self.pinned.is_empty() {
            let manifest = Manifest::read_unverified(message)?;
            self.check_node(&manifest)?;
            return Ok(manifest);
        }
        if !is_signed(message) {
            return Err(Refusal::NotSigned);
        }
        let manifest = Manifest::from_json(smime::verify(message, self.pinned)?.text.as_bytes())?;
        self.judge(&manifest)?;
        Ok(manifest)
    }

    /// Judges what a manifest says whose signature was checked.
    pub fn judge(&self, manifest: &Manifest) -> Result<(), Refusal> {
        self.check_node(manifest)?;
        match (self.held, manifest.expires()) {
            (Some(held), _) if manifest.version() < held => {
                Err(Refusal::Older { offered: manifest.version(), held })
            }
            (_, Some(expires)) if expires <= self.now => Err(Refusal::Expired { expires }),
            _ => Ok(()),
        }
    }

    fn check_node(&self, manifest: &Manifest) -> Result<(), Refusal> {
        if manifest.node_id() == self.node_id {
            return Ok(());
        }
        Err(Refusal::OtherNode { named: manifest.node_id().clone(), own: self.node_id.clone() })
    }
}

/// Why a node refuses policies.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A policy key is pinned, and nobody signed.
    #[error("the manifest of the policies is not signed, but a policy key is pinned")]
    NotSigned,
    /// Not signed by a pinned key, or altered.
    #[error("the signature of the policies is not good: {0}")]
    Signature(#[from] SmimeError),
    /// Not a manifest.
    #[error("the manifest of the policies cannot be used: {0}")]
    Malformed(#[from] ManifestError),
    /// Meant for another node.
    #[error("the policies are for the node {named}, this one is {own}")]
    OtherNode {
        /// The node that they are for.
        named: NodeId,
        /// The node that was offered them.
        own: NodeId,
    },
    /// The node has newer ones.
    #[error("the policies offered are of version {offered}, older than {held}, which this node has")]
    Older {
        /// Their version.
        offered: u64,
        /// The version that the node has.
        held: u64,
    },
    /// Too old to be taken.
    #[error("the policies offered have expired at {expires}")]
    Expired {
        /// When.
        expires: DateTime<Utc>,
    },
}

impl Refusal {
    /// A word for it, for counters and programs.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::NotSigned => "not_signed",
            Self::Signature(_) => "bad_signature",
            Self::Malformed(_) => "malformed",
            Self::OtherNode { .. } => "other_node",
            Self::Older { .. } => "older",
            Self::Expired { .. } => "expired",
        }
    }
}
