// SPDX-License-Identifier: Apache-2.0
//! Names of inventory files (protocol 6.1, 6.4).
//!
//! ```text
//! <node id>_<date>.ocs[.gz]      <node id>_<date>.ocs.sign
//! <host name>-<node id>.ocs…     older and Windows agents; `.xml` in place of `.ocs`
//! ```
//! Nothing but the last extension is required of a name: what the receiver needs is in the file.

use std::{fmt, str::FromStr};

use crate::{
    file_name::{self, UnsafeName},
    hash::QueueId,
    node_id::NodeId,
};

/// The checked name of an inventory file or its signature: safe as one part of a path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct InventoryName(Box<str>);

impl InventoryName {
    /// The file name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id under which every hop logs this file.
    pub fn queue_id(&self) -> QueueId {
        QueueId::of_file_name(&self.0)
    }

    /// The node that the name names, as far as it has a known form.
    pub fn node_id(&self) -> Option<NodeId> {
        let stem = self.stem();
        // Not at the first `_`: node ids may hold some, and dates have them where colons cannot be.
        let dated = stem.match_indices('_').find(|(at, _)| looks_like_date(&stem[at + 1..]));
        if let Some((at, _)) = dated {
            return stem[..at].parse().ok();
        }
        let uuid = stem.len().checked_sub(UUID_LENGTH).and_then(|at| stem.split_at_checked(at));
        match uuid {
            Some((host, id)) if looks_like_uuid(id) && (host.is_empty() || host.ends_with('-')) => {
                id.parse().ok()
            }
            _ if stem == "root" || stem.ends_with("-root") => Some(NodeId::root()),
            _ => None,
        }
    }

    /// Whether this is a name that `node` may use for its own inventory.
    pub fn names(&self, node: &NodeId) -> bool {
        self.stem() == node.as_str() || self.node_id().as_ref() == Some(node)
    }

    /// The name without its known extensions.
    fn stem(&self) -> &str {
        let mut stem = &*self.0;
        while let Some((shorter, "gz" | "xml" | "ocs" | "sign")) = stem.rsplit_once('.') {
            stem = shorter;
        }
        stem
    }
}

/// Whether a file in an inventory spool is meant to be one: decided by the last extension alone.
pub fn is_considered(file_name: &str) -> bool {
    !file_name.starts_with('.')
        && matches!(file_name.rsplit_once('.'), Some((stem, "gz" | "xml" | "ocs" | "sign")) if !stem.is_empty())
}

/// Why a file name is not that of an inventory.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InventoryNameError {
    /// Could not be one part of a path.
    #[error(transparent)]
    Unsafe(#[from] UnsafeName),
    /// Another last extension.
    #[error("the name of an inventory ends in .ocs, .xml, .gz or .sign")]
    Extension,
}

impl FromStr for InventoryName {
    type Err = InventoryNameError;

    fn from_str(text: &str) -> Result<Self, InventoryNameError> {
        file_name::check(text)?;
        if !is_considered(text) {
            return Err(InventoryNameError::Extension);
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for InventoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

const UUID_LENGTH: usize = 36;

fn looks_like_uuid(text: &str) -> bool {
    text.len() == UUID_LENGTH
        && text.bytes().enumerate().all(|(i, b)| match i {
            8 | 13 | 18 | 23 => b == b'-',
            _ => b.is_ascii_hexdigit(),
        })
}

/// `2024-05-01…`: enough to tell a date from the rest of a host name.
fn looks_like_date(text: &str) -> bool {
    text.len() >= 10
        && text.bytes().take(10).enumerate().all(|(i, b)| match i {
            4 | 7 => b == b'-',
            _ => b.is_ascii_digit(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "a79d82c6-4baf-4866-801c-6883d07559c3";

    fn name(text: &str) -> InventoryName {
        text.parse().unwrap()
    }

    #[test]
    fn finds_the_node_in_all_forms() {
        for (text, node) in [
            (format!("{UUID}_2024-05-01T02:03:04+00:00.ocs.gz"), Some(UUID)),
            (format!("{UUID}_2024-05-01T02:03:04+00:00.ocs.sign"), Some(UUID)),
            (format!("{UUID}.ocs"), Some(UUID)),
            (format!("my_host.example.com-{UUID}.ocs"), Some(UUID)),
            (format!("my_host.example.com-{UUID}.xml.gz"), Some(UUID)),
            ("root_2024-05-01T02:03:04+00:00.ocs".into(), Some("root")),
            ("my_host-root.ocs".into(), Some("root")),
            ("node_1_2024-05-01T02_03_04+00_00.ocs".into(), Some("node_1")),
            ("anything goes.ocs".into(), None),
            (format!("x{UUID}.ocs"), None),
            ("é-4baf-4866-801c-6883d07559c3xxxxxxxé.ocs".into(), None),
        ] {
            assert_eq!(name(&text).node_id().as_ref().map(NodeId::as_str), node, "{text}");
            if let Some(id) = node {
                assert!(name(&text).names(&id.parse().unwrap()), "{text}");
            }
        }
    }

    #[test]
    fn a_name_of_another_node_is_not_ones_own() {
        let node: NodeId = UUID.parse().unwrap();
        for text in [
            "e745a140-40bc-4b86-b6dc-084488fc906b_2024-05-01T02:03:04+00:00.ocs",
            "host-e745a140-40bc-4b86-b6dc-084488fc906b.ocs",
            &format!("x{UUID}.ocs"),
            &format!("{UUID}x.ocs"),
            &format!("{UUID}-e745a140-40bc-4b86-b6dc-084488fc906b.ocs"),
            &format!("{UUID}_2024.ocs"),
            &format!("{UUID}_x_2024-05-01T02:03:04+00:00.ocs"),
            "host.ocs",
        ] {
            assert!(!name(text).names(&node), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_part_of_a_path_or_no_inventory() {
        let long = format!("{}.ocs", "a".repeat(252));
        for text in [
            "",
            ".ocs",
            "..ocs",
            "../a.ocs",
            "a/b.ocs",
            "a\\b.ocs",
            "a\0.ocs",
            "a\n.ocs",
            "a\u{85}.ocs",
            "a",
            "a.log",
            "ocs",
            "a.ocs.tmp",
            &long,
        ] {
            assert!(text.parse::<InventoryName>().is_err(), "{text:?}");
        }
        assert_eq!(name("a b+c:é.ocs").to_string(), "a b+c:é.ocs");
    }
}
