// SPDX-License-Identifier: Apache-2.0
//! Where inventories go that were taken: into the database, or into a directory.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    time::Duration,
};

use protocol::node_id::NodeId;
use tokio::task::spawn_blocking;

use super::{
    later,
    read::{Files, Read},
};
use crate::{
    durable::{self, Access},
    inventories::{
        record::Record,
        store::{Store, StoreError},
    },
    spool::disposition::{Disposition, Outcome},
};

/// Where inventories go that were taken.
pub enum Keeping {
    /// The newest one of each node, as it came, into this directory.
    Directory(PathBuf),
    /// What they say, into the database.
    Database(Store),
}

/// Mode of what is kept in files: for the group as well, as in the spool.
const MODE: u32 = 0o640;
/// How soon to try one again that the database did not take.
const NOT_TAKEN: Duration = Duration::from_secs(300);

impl Keeping {
    /// Makes `received/` beside the spool, for the newest inventory of each node.
    pub fn received(inventories: &Path) -> io::Result<Self> {
        let received = inventories.join("received");
        let made = DirBuilder::new().recursive(true).mode(0o770).create(&received);
        made.map_err(|e| {
            let place = received.display();
            io::Error::new(e.kind(), format!("cannot make {place}: {e}; check the owner of its parent"))
        })?;
        Ok(Self::Directory(received))
    }

    /// Keeps an inventory.
    pub(super) async fn keep(&self, read: Read) -> Disposition {
        match self {
            Self::Directory(received) => {
                let (place, node) = (received.clone(), read.checked.node_id);
                let work = move || keep(&read.files, &place, &node);
                match spawn_blocking(work).await.unwrap_or_else(|e| Err(io::Error::other(e))) {
                    Ok(()) => Disposition::Accepted(Outcome::Stored),
                    Err(e) => later(false, format!("cannot keep it in {}: {e}", received.display()), None),
                }
            }
            Self::Database(store) => {
                let make = move || Box::new(Record::new(read.checked, read.made, read.digest));
                let Ok(record) = spawn_blocking(make).await else { return later(false, "stopping", None) };
                match store.store(record).await {
                    Ok(()) => Disposition::Accepted(Outcome::Stored),
                    Err(error @ StoreError::Down(_)) => later(true, error.to_string(), None),
                    Err(error @ StoreError::This(_)) => later(false, error.to_string(), Some(NOT_TAKEN)),
                }
            }
        }
    }
}

/// Writes both under the name of their node, in place of the former ones: as they were verified, whatever
/// their names may stand for by now. The inventory may have come packed or not: one of the other kind would
/// not go with the signature.
fn keep(files: &Files, received: &Path, node_id: &NodeId) -> io::Result<()> {
    let path = |kind: &str| received.join(format!("{node_id}{kind}"));
    let (kind, other) = if files.is_packed { (".ocs.gz", ".ocs") } else { (".ocs", ".ocs.gz") };
    durable::replace(&path(kind), &files.inventory, Access::own(MODE))?;
    durable::replace(&path(".ocs.sign"), &files.signature, Access::own(MODE))?;
    match fs::remove_file(path(other)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_what_was_read_and_one_pair_per_node() {
        let received = tempfile::tempdir().unwrap();
        let node = "n1".parse().unwrap();
        let files = |inventory: &[u8], is_packed| Files {
            inventory: inventory.into(),
            is_packed,
            signature: b"sign".into(),
        };
        keep(&files(b"packed", true), received.path(), &node).unwrap();
        keep(&files(b"plain", false), received.path(), &node).unwrap();
        let mut names: Vec<_> = fs::read_dir(received.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["n1.ocs", "n1.ocs.sign"]);
        assert_eq!(fs::read(received.path().join("n1.ocs")).unwrap(), b"plain");
    }
}
