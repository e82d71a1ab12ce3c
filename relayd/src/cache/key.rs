// SPDX-License-Identifier: Apache-2.0
//! Names of what is kept: nothing of a path that somebody asks for reaches the file system.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use openssl::sha::sha256;
use protocol::node_id::NodeId;

/// SHA-256 of content.
pub type Digest = [u8; 32];

/// Stands for a path on the upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key(Digest);

impl Key {
    /// The key of a path, as it stands in a request line.
    pub fn of(path: &str) -> Self {
        Self(sha256(path.as_bytes()))
    }

    /// From the name of a file.
    pub fn from_name(name: &str) -> Option<Self> {
        from_hex(name).map(Self)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// 64 lower-case hexadecimal digits.
pub fn from_hex(text: &str) -> Option<Digest> {
    let mut digest = Digest::default();
    hex::decode_to_slice(text, &mut digest).ok()?;
    (hex::encode(digest) == text).then_some(digest)
}

/// Where a file of this name is, in one of 256 directories.
pub fn place(directory: &Path, name: &str) -> PathBuf {
    directory.join(&name[..2]).join(name)
}

/// The node to which a path on the upstream belongs, if it is one node's.
pub fn node_of(path: &str) -> Option<NodeId> {
    let path = path.split('?').next().unwrap_or(path);
    let of_node = ["/policies/", "/rudder/relay-api/shared-files/", "/rudder/relay-api/1/shared-files/"];
    let rest = of_node.into_iter().find_map(|prefix| path.strip_prefix(prefix))?;
    rest.split('/').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_hexadecimal_and_read_back() {
        for path in ["/policies/n/rules/x", "/../../etc/passwd", "", "/\0"] {
            let name = Key::of(path).to_string();
            assert!(name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit()), "{name}");
            assert_eq!(Key::from_name(&name), Some(Key::of(path)));
        }
        for name in ["", "..", "ab", &"A".repeat(64), &"g".repeat(64), &"a".repeat(66)] {
            assert_eq!(Key::from_name(name), None, "{name}");
        }
    }

    #[test]
    fn paths_of_nodes_are_told_from_others() {
        for (path, node) in [
            ("/policies/n1/rules/rudder.tar.bz2", Some("n1")),
            ("/rudder/relay-api/shared-files/n2/n1/file?x=/policies/n3/", Some("n2")),
            ("/common/policies/n1/x", None),
            ("/rudder/relay-api/shared-folder/policies/n1", None),
            ("/policies/", None),
        ] {
            assert_eq!(node_of(path).map(|node| node.to_string()).as_deref(), node, "{path}");
        }
    }
}
