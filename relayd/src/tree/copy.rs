// SPDX-License-Identifier: Apache-2.0
//! The copy of the node list on disk, from which a relay starts while its upstream is down.
//!
//! It lags behind the published table by a few seconds at most: the table is published first, because a
//! revocation must not wait for a disk.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    time::Duration,
};

use protocol::node_list::{NodeList, NodeListError};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{
    durable::{self, Access},
    nodes::Nodes,
    worker::Worker,
};

/// A node list file that belongs to this program.
#[derive(Debug, Clone)]
pub struct ListCopy(PathBuf);

/// Why a copy cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// There, but not readable.
    #[error("{0}")]
    Read(#[from] io::Error),
    /// Not a node list.
    #[error("{0}")]
    List(#[from] NodeListError),
}

/// Between two writes: while many nodes are enrolled, each second brings another list.
const BETWEEN_WRITES: Duration = Duration::from_secs(2);
/// Until the next attempt when writing fails.
const AFTER_FAILURE: Duration = Duration::from_secs(30);
/// Readable by the group, as other programs write node lists (protocol 5.2).
const MODE: u32 = 0o640;
/// Largest copy read, in bytes.
const MOST: u64 = 1 << 30;

impl ListCopy {
    /// The copy in this file, which need not be there yet.
    pub fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Reads it, if it is there.
    pub fn read(&self) -> Result<Option<NodeList>, CopyError> {
        let file = match File::open(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let mut json = Vec::new();
        file.take(MOST).read_to_end(&mut json)?;
        Ok(Some(NodeList::from_json(&json)?))
    }

    /// Replaces it: whoever reads sees the old one or the new one, also after a power cut.
    pub fn write(&self, list: &NodeList) -> io::Result<()> {
        if let Some(directory) = self.0.parent() {
            fs::create_dir_all(directory)?;
        }
        durable::replace(&self.0, &list.to_json(), Access::own(MODE))
    }

    /// Writes each list that is published, the last one also when stopped.
    pub async fn keep(self, mut nodes: Nodes, worker: Worker, stop: CancellationToken) {
        let mut warned = false;
        while let Some(Ok(())) = stop.run_until_cancelled(nodes.changed()).await {
            let mut pause = BETWEEN_WRITES;
            match self.write_newest(&mut nodes, &worker).await {
                Ok(()) => warned = false,
                Err(error) => {
                    if !warned {
                        let path = self.0.display();
                        warn!(
                            "cannot write {path}: {error}; a restart without uplink would use an older list"
                        );
                    }
                    warned = true;
                    nodes.mark_changed();
                    pause = AFTER_FAILURE;
                }
            }
            // Ends early with the daemon.
            let _ = timeout(pause, stop.cancelled()).await;
        }
        if nodes.has_changed().unwrap_or(true)
            && let Err(error) = self.write_newest(&mut nodes, &worker).await
        {
            warn!("cannot write {}: {error}", self.0.display());
        }
    }

    async fn write_newest(&self, nodes: &mut Nodes, worker: &Worker) -> io::Result<()> {
        let (copy, table) = (self.clone(), nodes.borrow_and_update().clone());
        worker.run(move || copy.write(table.list())).await
    }
}
