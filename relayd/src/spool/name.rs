// SPDX-License-Identifier: Apache-2.0
//! The names of spooled files: which files a spool looks at, and what their names must be.

use std::{ffi::OsStr, fmt};

use protocol::{
    hash::QueueId, inventory_name, inventory_name::InventoryName, node_id::NodeId, run_id,
    run_id::RunLogName, urls::UploadKind,
};

use tracing::{Instrument, Span, error_span, span::Entered};

/// The checked name of a spooled file.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SpoolName {
    /// A run log.
    RunLog(RunLogName),
    /// An inventory or its signature.
    Inventory(UploadKind, InventoryName),
}

impl SpoolName {
    /// Reads the name of a file in a spool of this kind. The error is for people.
    pub fn parse(kind: UploadKind, name: &OsStr) -> Result<Self, String> {
        let text = name.to_str().ok_or("the file name is not UTF-8")?;
        match kind {
            UploadKind::RunLog => text.parse().map(Self::RunLog).map_err(|e| format!("{e}")),
            UploadKind::NewInventory | UploadKind::InventoryUpdate => {
                text.parse().map(|name| Self::Inventory(kind, name)).map_err(|e| format!("{e}"))
            }
        }
    }

    /// The file name.
    pub fn as_str(&self) -> &str {
        match self {
            Self::RunLog(name) => name.as_str(),
            Self::Inventory(_, name) => name.as_str(),
        }
    }

    /// The id in every log line about the file.
    pub fn queue_id(&self) -> QueueId {
        QueueId::of_file_name(self.as_str())
    }

    /// The node the name names; inventories need not name one.
    pub fn node_id(&self) -> Option<NodeId> {
        match self {
            Self::RunLog(name) => Some(name.run_id().node_id.clone()),
            Self::Inventory(_, name) => name.node_id(),
        }
    }
}

impl fmt::Display for SpoolName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What log lines say about a file.
pub struct Ids {
    kind: UploadKind,
    /// The id of the file on every hop.
    pub queue_id: QueueId,
    /// The node that the name names.
    pub node_id: Option<String>,
    /// When the run began, by the node's clock.
    run: Option<String>,
}

impl Ids {
    /// Those of a file, whatever its name.
    pub fn of(kind: UploadKind, name: &OsStr) -> Self {
        let parsed = SpoolName::parse(kind, name).ok();
        let run = match &parsed {
            Some(SpoolName::RunLog(name)) => Some(name.run_id().start.to_rfc3339()),
            _ => None,
        };
        Self {
            kind,
            queue_id: QueueId::of_file_name(&name.to_string_lossy()),
            node_id: parsed.and_then(|name| name.node_id()).map(String::from),
            run,
        }
    }

    /// Where all lines about the file are logged; the names are those of protocol 9.5. Of the level that is
    /// logged longest: a span that is left out takes its fields with it.
    pub fn about(&self) -> About {
        let Self { kind, queue_id, node_id, run } = self;
        let node = node_id.as_deref().map_or(Span::none(), |node_id| error_span!("node", node_id));
        let file = match kind {
            UploadKind::RunLog => error_span!(parent: node.id(), "report", %queue_id, run),
            UploadKind::NewInventory | UploadKind::InventoryUpdate => {
                error_span!(parent: node.id(), "inventory", %queue_id)
            }
        };
        About { node, file }
    }
}

/// The node and the file that log lines are about. Both are entered: filters by the one or the other go by what is
/// entered, not by what is around it.
#[derive(Debug, Clone)]
pub struct About {
    node: Span,
    file: Span,
}

impl About {
    /// About nothing.
    #[cfg(test)]
    pub fn nothing() -> Self {
        Self { node: Span::none(), file: Span::none() }
    }

    /// Until both are dropped.
    pub fn enter(&self) -> (Entered<'_>, Entered<'_>) {
        let node = self.node.enter();
        (self.file.enter(), node)
    }

    /// While `work` is worked on.
    pub async fn within<F: Future>(&self, work: F) -> F::Output {
        work.instrument(self.file.clone()).instrument(self.node.clone()).await
    }
}

/// Whether a spool of this kind looks at a file at all (protocol 2.4, 6.4). Hidden files and
/// others, such as the temporary ones of a DAV server, are left alone.
pub fn is_considered(kind: UploadKind, name: &OsStr) -> bool {
    // The rule looks at the first and the last characters only: bad UTF-8 between them is
    // a bad name, not a reason to leave the file for ever.
    let text = name.to_string_lossy();
    match kind {
        UploadKind::RunLog => run_id::is_considered(&text),
        UploadKind::NewInventory | UploadKind::InventoryUpdate => inventory_name::is_considered(&text),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn a_considered_name_that_is_not_utf8_is_a_bad_name() {
        let name = OsStr::from_bytes(b"a\xff@root.log");
        assert!(is_considered(UploadKind::RunLog, name));
        assert!(SpoolName::parse(UploadKind::RunLog, name).unwrap_err().contains("UTF-8"));
    }

    #[test]
    fn names_give_node_and_queue_id() {
        let name =
            SpoolName::parse(UploadKind::RunLog, OsStr::new("2018-08-24T15:55:01+00:00@root.log")).unwrap();
        assert_eq!(name.node_id(), Some(NodeId::root()));
        assert_eq!(name.queue_id(), QueueId::of_file_name("2018-08-24T15:55:01+00:00@root.log"));
    }
}
