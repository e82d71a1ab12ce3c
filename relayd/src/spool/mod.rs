// SPDX-License-Identifier: Apache-2.0
//! Spools: directories that are durable queues.
//!
//! The directory is the queue. Notifications, listings and notices from the gateway are *hints*
//! that a file may be there; correctness never depends on them.

pub mod disposition;

use std::path::PathBuf;

use protocol::{hash::QueueId, inventory_name::InventoryName, run_id::RunLogName, urls::UploadKind};

/// A file in `incoming/` whose name was checked.
#[derive(Debug, Clone)]
pub struct SpoolFile {
    /// Where it is.
    pub path: PathBuf,
    /// What it is.
    pub name: SpoolName,
}

/// The checked name of a spooled file.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SpoolName {
    /// A run log.
    RunLog(RunLogName),
    /// An inventory or its signature.
    Inventory(UploadKind, InventoryName),
}

impl SpoolName {
    /// The id in every log line about the file.
    pub fn queue_id(&self) -> QueueId {
        todo!()
    }
}

/// A hint, from the gateway to a spool, that a file with this name may be there.
pub type Hint = String;

/// Where a spool's files go. One delivery of one file at a time per file name; many files at once.
pub trait Sink: Send + Sync + 'static {
    /// Delivers a file and says how that ended. Never touches the file but to read it.
    fn deliver(&self, file: &SpoolFile) -> impl Future<Output = disposition::Disposition> + Send;
}
