// SPDX-License-Identifier: Apache-2.0
//! Paths of enrolment, keys and certificates: `/<kind>/<node id>`; and those of tree and identity.

use percent_encoding::percent_decode_str;

use crate::node_id::NodeId;

/// Path of the tree of nodes below the asking relay.
pub const NODES: &str = "/nodes";

/// Path at which a server says who the client is.
pub const IDENTITY: &str = "/identity";

/// What a node wants for its identity, by the directory in the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IdentityKind {
    /// `/enrolments/`: to become known, or to hear how that stands.
    Enrolment,
    /// `/keys/`: to replace its key.
    Keys,
    /// `/certificates/`: a certificate from the built-in authority.
    Certificates,
}

impl IdentityKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Enrolment, Self::Keys, Self::Certificates];

    /// First segment of the path.
    pub const fn segment(self) -> &'static str {
        match self {
            Self::Enrolment => "enrolments",
            Self::Keys => "keys",
            Self::Certificates => "certificates",
        }
    }

    /// Path for this node. No character of a node id needs escaping.
    pub fn path(self, node_id: &NodeId) -> String {
        format!("/{}/{node_id}", self.segment())
    }
}

/// Why a request path is none of [`IdentityKind`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdentityPathError {
    /// Another path.
    #[error("not a path of an enrolment, key or certificate")]
    Other,
    /// What follows is not one node id.
    #[error("not the path of one node")]
    NodeId,
}

/// Reads a path as it stands in the request line, without query. Percent-encoding in the node id is
/// decoded once.
pub fn parse_identity_path(raw_path: &str) -> Result<(IdentityKind, NodeId), IdentityPathError> {
    let path = raw_path.strip_prefix('/').ok_or(IdentityPathError::Other)?;
    let (directory, id) = path.split_once('/').ok_or(IdentityPathError::Other)?;
    let kind = IdentityKind::ALL.into_iter().find(|kind| kind.segment() == directory);
    let kind = kind.ok_or(IdentityPathError::Other)?;
    let id = percent_decode_str(id).decode_utf8().map_err(|_| IdentityPathError::NodeId)?;
    Ok((kind, id.parse().map_err(|_| IdentityPathError::NodeId)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_back() {
        for kind in IdentityKind::ALL {
            for id in ["root", "e745a140-40bc-4b86-b6dc-084488fc906b", "a.b_c"] {
                let node: NodeId = id.parse().unwrap();
                assert_eq!(parse_identity_path(&kind.path(&node)), Ok((kind, node)));
            }
        }
        let encoded = parse_identity_path("/keys/%72oot");
        assert_eq!(encoded, Ok((IdentityKind::Keys, NodeId::root())));
    }

    #[test]
    fn what_names_no_node_is_refused() {
        for path in [
            "",
            "/",
            "keys/x",
            "/keys",
            "/keys/",
            "//keys/x",
            "/keys//x",
            "/keys/x/",
            "/keys/x/y",
            "/Keys/x",
            "/keys/x%2fy",
            "/keys/x%252fy",
            "/keys/..",
            "/keys/%2e%2e",
            "/keys/x%",
            "/keys/x%00",
            "/keys/%ff",
            "/keys/x?y",
            "/keys/x#y",
            "/keys/x y",
            "/%6beys/x",
            "/other/x",
            "/keys/.x",
            "/keys/é",
        ] {
            assert!(parse_identity_path(path).is_err(), "{path:?}");
        }
        assert!(parse_identity_path(&format!("/keys/{}", "x".repeat(129))).is_err());
    }
}
