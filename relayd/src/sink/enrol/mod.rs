// SPDX-License-Identifier: Apache-2.0
//! Inventories at the root (`processing.inventory.output = "registry"` or `"database"`, protocol 6.5).
//!
//! ```text
//! X.ocs.gz ─┐ both there   read: unpack, parse, check    judge: whose key signed it
//!           ├────────────▶ complete, of this time ──────▶ taken: kept in received/, or in the database
//! X.ocs.sign┘                                         └─▶ refused: both go to failed/ with the reason
//! ```

mod judge;
mod keep;
mod pairs;
mod read;
mod signature;

use std::{
    num::NonZero,
    path::Path,
    thread,
    time::{Duration, SystemTime},
};

use protocol::limits;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    task::spawn_blocking,
};

pub use self::{judge::Authority, keep::Keeping};
use self::{
    pairs::{Pair, Task, Verdicts},
    read::{Read, Unread},
};
use crate::spool::{
    Sink, SpoolFile,
    disposition::{Disposition, Reason, Rejection, Release},
};

/// Takes inventories.
pub struct Enrol {
    authority: Authority,
    keeping: Keeping,
    max_size: u64,
    verdicts: Verdicts,
    /// Inventories of the usual size between file and commit.
    usual: Semaphore,
    /// A large one may take much memory once unpacked: one at a time.
    large: Semaphore,
    /// What is read at the same time.
    cpu: Semaphore,
}

/// A document of the usual size, in bytes: real ones have some 500 KB.
const USUAL: u64 = 4 * 1024 * 1024;
/// How many of these there may be.
const MANY: usize = 64;
/// How soon to look again for the other file of a pair.
const OTHER_FILE: Duration = Duration::from_secs(2);
/// A file whose other one has not come by then is refused.
const ALONE: Duration = Duration::from_secs(600);
/// How soon to try again when too many nodes wait.
const TOO_MANY: Duration = Duration::from_secs(300);

impl Enrol {
    /// Files larger than `max_size` are refused.
    pub fn new(authority: Authority, keeping: Keeping, max_size: u64) -> Self {
        let cpus = thread::available_parallelism().map_or(1, NonZero::get);
        Self {
            authority,
            keeping,
            max_size,
            verdicts: Verdicts::default(),
            usual: Semaphore::new(MANY),
            large: Semaphore::new(1),
            cpu: Semaphore::new(cpus),
        }
    }

    async fn look_at(&self, pair: &Pair) -> Disposition {
        // Kept until the end: it stands for the memory that the inventory takes.
        let (read, _memory) = match self.read(pair).await {
            Ok(read) => read,
            Err(disposition) => return disposition,
        };
        match self.authority.judge(&read).await {
            Ok(()) => self.keeping.keep(read).await,
            Err(disposition) => disposition,
        }
    }

    async fn read(&self, pair: &Pair) -> Result<(Read, SemaphorePermit<'_>), Disposition> {
        for (memory, max_inflated) in [(&self.usual, USUAL), (&self.large, limits::INVENTORY_INFLATED)] {
            let stopping = |_| later(false, "stopping", None);
            let permit = memory.acquire().await.map_err(stopping)?;
            let _cpu = self.cpu.acquire().await.map_err(stopping)?;
            let (files, max_size) = (pair.clone(), self.max_size);
            match spawn_blocking(move || read::read(&files, max_size, max_inflated)).await {
                Ok(Ok(read)) => return Ok((read, permit)),
                Ok(Err(Unread::Larger)) => {}
                Ok(Err(Unread::Ended(disposition))) => return Err(disposition),
                Err(e) if e.is_panic() => {
                    let detail = "relayd has a fault that this file triggers; please report it";
                    return Err(rejected(Reason::BadContent, detail));
                }
                Err(_) => return Err(later(false, "stopping", None)),
            }
        }
        let detail = format!("inflates to more than {} bytes", limits::INVENTORY_INFLATED);
        Err(rejected(Reason::TooLarge, detail))
    }
}

impl Sink for Enrol {
    async fn deliver(&self, file: &SpoolFile) -> Disposition {
        match self.verdicts.task(file) {
            Task::Ended(disposition) => disposition,
            Task::Wait => later(false, "its other file is being looked at", Some(Duration::from_secs(1))),
            Task::Alone if age(&file.path).is_some_and(|age| age < ALONE) => later(
                false,
                "waits for its signature, or for the inventory of this signature",
                Some(OTHER_FILE),
            ),
            Task::Alone => rejected(Reason::BadSignature, "its signature, or its inventory, has not come"),
            Task::LookAt(pair) => {
                let disposition = self.look_at(&pair).await;
                self.verdicts.end(&pair, file, &disposition);
                disposition
            }
        }
    }
}

fn age(path: &Path) -> Option<Duration> {
    SystemTime::now().duration_since(path.symlink_metadata().ok()?.modified().ok()?).ok()
}

fn rejected(reason: Reason, detail: impl Into<String>) -> Disposition {
    Disposition::Rejected(Rejection { reason, detail: detail.into(), maybe_incomplete: false })
}

fn later(outlet_down: bool, detail: impl Into<String>, retry_after: Option<Duration>) -> Disposition {
    Disposition::Released(Release { outlet_down, detail: detail.into(), retry_after })
}
