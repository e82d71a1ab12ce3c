// SPDX-License-Identifier: Apache-2.0
//! What a request asks for (protocol 8.1, 14.1).

use protocol::{node_id::NodeId, policy_manifest, relative_path::RelativePath};

use super::plan::Format;
use crate::http::{Call, Problem};

/// A file, by whose it is and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// Of the policies of a node.
    OfNode(NodeId, RelativePath),
    /// Of what is common to all nodes.
    Common(RelativePath),
}

/// What is made when it is not there as a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Made {
    /// The manifest of a tree.
    Manifest,
    /// An archive.
    Archive(Recipe),
}

/// What an archive has in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recipe {
    /// Its format.
    pub format: Format,
    /// The directory of the tree that it has in it; all of the tree where that is for one kind of agent
    /// only. `None` for all of any tree.
    pub directory: Option<&'static str>,
    /// The directory in the archive, with a slash.
    pub top: &'static str,
}

/// The directories for kinds of agents in a tree (protocol 8.4).
pub const KINDS: [&str; 2] = [UNIX, WINDOWS];
const UNIX: &str = "cfengine-community";
const WINDOWS: &str = "dsc";
/// The directory of the common library.
pub const LIBRARY: &str = "ncf";

/// Archives of nodes, by their paths, and what is in them.
const OF_NODES: [(&str, Recipe); 4] = [
    ("rules.zip", Recipe { format: Format::Zip, directory: None, top: "" }),
    ("rules.tar.gz", Recipe { format: Format::TarGz, directory: None, top: "" }),
    ("rules/rudder.tar.bz2", Recipe { format: Format::TarBz2, directory: Some(UNIX), top: "policies_next/" }),
    ("rules/dsc/rudder.zip", Recipe { format: Format::Zip, directory: Some(WINDOWS), top: "" }),
];
const OF_ALL: (&str, Recipe) =
    ("policies-library-linux.tar.bz2", Recipe { format: Format::TarBz2, directory: None, top: "ncf/" });

impl Asked {
    /// Reads the path.
    pub fn read(call: &Call) -> Result<Self, Problem> {
        let checked =
            |path: &str| RelativePath::from_url(path).map_err(|error| Problem::BadRequest(error.to_string()));
        if call.path.starts_with("/common/") {
            return Ok(Self::Common(checked(&call.rest)?));
        }
        let (node, path) = call.rest.split_once('/').ok_or(Problem::NotFound)?;
        let node = node.parse().map_err(|_| Problem::NotFound)?;
        Ok(Self::OfNode(node, checked(path)?))
    }

    /// Where it is.
    pub fn path(&self) -> &RelativePath {
        match self {
            Self::OfNode(_, path) | Self::Common(path) => path,
        }
    }

    /// Under which path other servers have it.
    pub fn url_path(&self) -> String {
        match self {
            Self::OfNode(node, path) => format!("/policies/{node}/{}", path.to_url()),
            Self::Common(path) => format!("/common/{}", path.to_url()),
        }
    }

    /// What to make when it is not there.
    pub fn made(&self) -> Option<Made> {
        let found = |(name, recipe): (&str, Recipe), path: &RelativePath| {
            (path.as_str() == name).then_some(Made::Archive(recipe))
        };
        match self {
            Self::OfNode(_, path) if path.as_str() == policy_manifest::FILE_NAME => Some(Made::Manifest),
            Self::OfNode(_, path) => OF_NODES.into_iter().find_map(|archive| found(archive, path)),
            Self::Common(path) => found(OF_ALL, path),
        }
    }
}

/// Whether a file of a tree is an archive of the rest of it, and so no part of it.
pub fn is_archive_in_tree(path: &RelativePath) -> bool {
    let in_rules = |(name, _): &(&'static str, Recipe)| name.strip_prefix("rules/");
    OF_NODES.iter().filter_map(in_rules).any(|name| path.as_str() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_and_manifest_have_their_names() {
        let made = |path: &str| Asked::OfNode(NodeId::root(), path.parse().unwrap()).made();
        for path in ["rules.zip", "rules.tar.gz", "rules/rudder.tar.bz2", "rules/dsc/rudder.zip"] {
            assert!(matches!(made(path), Some(Made::Archive(_))), "{path}");
        }
        assert_eq!(made("rules.manifest"), Some(Made::Manifest));
        for path in ["rules/rules.zip", "rudder.tar.bz2", "rules", "policies-library-linux.tar.bz2"] {
            assert_eq!(made(path), None, "{path}");
        }
        let common = Asked::Common("policies-library-linux.tar.bz2".parse().unwrap());
        assert!(matches!(common.made(), Some(Made::Archive(Recipe { top: "ncf/", .. }))));
        assert_eq!(Asked::Common("rules.zip".parse().unwrap()).made(), None);
        assert_eq!(common.url_path(), "/common/policies-library-linux.tar.bz2");
        assert!(is_archive_in_tree(&"dsc/rudder.zip".parse().unwrap()));
        assert!(!is_archive_in_tree(&"rudder.zip".parse().unwrap()));
    }
}
