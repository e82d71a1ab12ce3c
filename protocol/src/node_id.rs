// SPDX-License-Identifier: Apache-2.0
//! Node ids: who a run log, a certificate or a connection belongs to (protocol 1.1).

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

/// The id of a machine: a UUID, or `root` for the root server.
///
/// **Shape**: 1 to 128 characters, a letter or digit first, then letters, digits, `-`, `_`, `.`.
/// That is a superset of what existing agents and servers produce, and safe as a part of a path.
/// Clones share the text: a large fleet has each id in many tables.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeId(Arc<str>);

/// Longest accepted node id, in characters.
pub const MAX_LENGTH: usize = 128;

impl NodeId {
    /// The id of the root server.
    pub fn root() -> Self {
        Self("root".into())
    }

    /// Whether this is the root server.
    pub fn is_root(&self) -> bool {
        &*self.0 == "root"
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a text is not a node id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NodeIdError {
    /// Nothing there.
    #[error("a node id must not be empty")]
    Empty,
    /// Longer than [`MAX_LENGTH`].
    #[error("a node id has at most {MAX_LENGTH} characters, this one has {0}")]
    TooLong(usize),
    /// A character that no node id has.
    #[error(
        "a node id starts with a letter or digit and holds only letters, digits, '-', '_' and '.'; found {0:?}"
    )]
    BadCharacter(char),
}

impl FromStr for NodeId {
    type Err = NodeIdError;

    fn from_str(text: &str) -> Result<Self, NodeIdError> {
        let first = text.chars().next().ok_or(NodeIdError::Empty)?;
        if text.len() > MAX_LENGTH {
            return Err(NodeIdError::TooLong(text.len()));
        }
        if !first.is_ascii_alphanumeric() {
            return Err(NodeIdError::BadCharacter(first));
        }
        match text.chars().find(|c| !(c.is_ascii_alphanumeric() || "-_.".contains(*c))) {
            Some(bad) => Err(NodeIdError::BadCharacter(bad)),
            None => Ok(Self(text.into())),
        }
    }
}

impl TryFrom<String> for NodeId {
    type Error = NodeIdError;

    fn try_from(text: String) -> Result<Self, NodeIdError> {
        text.parse()
    }
}

impl From<NodeId> for String {
    fn from(id: NodeId) -> String {
        id.as_str().to_owned()
    }
}

impl AsRef<str> for NodeId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for NodeId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_existing_parts_produce() {
        for id in ["root", "e745a140-40bc-4b86-b6dc-084488fc906b", "0", "a.b", "node_1"] {
            assert_eq!(id.parse::<NodeId>().unwrap().as_str(), id);
        }
    }

    #[test]
    fn refuses_what_could_leave_a_directory_or_confuse_a_log() {
        for id in ["", ".", "..", "-x", "a/b", "a\\b", "a\0", "a\nb", "é", "a b", "@{", &"a".repeat(129)] {
            assert!(id.parse::<NodeId>().is_err(), "{id:?}");
        }
    }
}
