// SPDX-License-Identifier: Apache-2.0
//! The nodes below a relay, as its upstream tells it: all of them, or what changed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    node_id::NodeId,
    node_list::{NodeEntry, NodeList},
};

/// The document of `GET /nodes`.
///
/// **Shape**: `{"version":"…","full":true,"nodes":{"<node id>":<entry as in the node list>|null}}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
pub struct TreeDocument {
    /// Which state this document leads to; opaque but to the server that made it.
    pub version: String,
    /// Whether these are all nodes. If not: what changed since the version that was asked for.
    pub full: bool,
    /// New entries; `None` for a node that is gone.
    pub nodes: BTreeMap<NodeId, Option<NodeEntry>>,
}

/// Longest version, in characters.
const MAX_VERSION: usize = 64;

/// Why a document cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TreeDocumentError {
    /// Not JSON, or not of this shape.
    #[error("node tree: {0}")]
    Json(#[from] serde_json::Error),
    /// A version that could not go into a header.
    #[error("node tree: the version is not of 1 to {MAX_VERSION} letters, digits and hyphens")]
    Version,
    /// A full document has only nodes that are there.
    #[error("node tree: node {0} is gone, in a document of all nodes")]
    Gone(NodeId),
}

impl TreeDocument {
    /// Reads a document.
    pub fn from_json(json: &[u8]) -> Result<Self, TreeDocumentError> {
        let document: Self = serde_json::from_slice(json)?;
        if !is_version(&document.version) {
            return Err(TreeDocumentError::Version);
        }
        let gone = document.nodes.iter().find(|(_, entry)| document.full && entry.is_none());
        match gone {
            Some((node, _)) => Err(TreeDocumentError::Gone(node.clone())),
            None => Ok(document),
        }
    }

    /// Writes the document, on one line.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a document consists of texts")
    }

    /// The list that `list` becomes.
    pub fn apply(self, mut list: NodeList) -> NodeList {
        if self.full {
            list = NodeList::default();
        }
        for (node, entry) in self.nodes {
            match entry {
                Some(entry) => list.insert(node, entry),
                None => list.remove(&node),
            }
        }
        list
    }
}

/// Whether a text can be a version: it goes into `ETag` and `If-None-Match`, in quotes.
pub fn is_version(text: &str) -> bool {
    (1..=MAX_VERSION).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}
