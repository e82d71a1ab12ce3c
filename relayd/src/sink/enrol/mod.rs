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
    sync::Arc,
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
    memory: Arc<Memory>,
    /// What is read at the same time.
    cpu: Semaphore,
}

/// What inventories may take up between file and commit, in all spools together.
pub struct Memory {
    /// Those of the usual size.
    usual: Semaphore,
    /// A large one may take much memory once unpacked: one at a time.
    large: Semaphore,
}

impl Default for Memory {
    fn default() -> Self {
        Self { usual: Semaphore::new(MANY), large: Semaphore::new(1) }
    }
}

/// A document of the usual size, in bytes: real ones have some 500 KB.
const USUAL: u64 = 4 * 1024 * 1024;
/// How many of these there may be: a hostile one takes twenty times its size once it is read.
const MANY: usize = 12;
/// How soon to look again for the other file of a pair.
const OTHER_FILE: Duration = Duration::from_secs(2);
/// How soon at the latest: it has already come when its other one is looked at, and then only hears of that.
const OTHER_FILE_AT_LAST: Duration = Duration::from_secs(60);
/// A file whose other one has not come by then is refused. Relays pass the two on by themselves, and hours may
/// lie between them; an inventory that is older than this is refused in any case.
const ALONE: Duration = Duration::from_secs(2 * 86_400);
/// How soon to try again when too many nodes wait.
const TOO_MANY: Duration = Duration::from_secs(300);

impl Enrol {
    /// Files larger than `max_size` are refused.
    pub fn new(authority: Authority, keeping: Keeping, max_size: u64, memory: Arc<Memory>) -> Self {
        let cpus = thread::available_parallelism().map_or(1, NonZero::get);
        Self {
            authority,
            keeping,
            max_size,
            verdicts: Verdicts::default(),
            memory,
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
        for (memory, max_inflated) in
            [(&self.memory.usual, USUAL), (&self.memory.large, limits::INVENTORY_INFLATED)]
        {
            let stopping = |_| later(false, "stopping", None);
            let permit = memory.acquire().await.map_err(stopping)?;
            let _cpu = self.cpu.acquire().await.map_err(stopping)?;
            let (files, max_size) = (pair.clone(), self.max_size);
            match blocking(move || read::read(&files, max_size, max_inflated)).await? {
                Ok(read) => return Ok((read, permit)),
                Err(Unread::Larger) => {}
                Err(Unread::Ended(disposition)) => return Err(disposition),
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
            Task::Wait => Disposition::Released(Release {
                outlet_down: false,
                detail: "its other file is being looked at".into(),
                retry_after: Some(Duration::from_secs(1)),
                is_usual: true,
            }),
            Task::Alone => alone(age(&file.path)),
            Task::LookAt { pair, other } => {
                let disposition = self.look_at(&pair).await;
                self.verdicts.end(&pair, file, other, &disposition);
                disposition
            }
        }
    }
}

/// Work for the processor, off the async threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Disposition> {
    spawn_blocking(work).await.map_err(|error| {
        if error.is_panic() {
            let detail = "relayd has a fault that this file triggers; please report it";
            rejected(Reason::BadContent, detail)
        } else {
            later(false, "stopping", None)
        }
    })
}

/// What becomes of a file whose other one is not there. A file without age, because the clock was set back, is
/// not old.
fn alone(age: Option<Duration>) -> Disposition {
    if age.is_some_and(|age| age >= ALONE) {
        return rejected(
            Reason::BadSignature,
            "its signature, or its inventory, has not come within two days",
        );
    }
    let again = age.map_or(OTHER_FILE_AT_LAST, |age| age.clamp(OTHER_FILE, OTHER_FILE_AT_LAST));
    later(false, "waits for its signature, or for the inventory of this signature", Some(again))
}

fn age(path: &Path) -> Option<Duration> {
    SystemTime::now().duration_since(path.symlink_metadata().ok()?.modified().ok()?).ok()
}

fn rejected(reason: Reason, detail: impl Into<String>) -> Disposition {
    Disposition::Rejected(Rejection { reason, detail: detail.into(), maybe_incomplete: false })
}

fn later(outlet_down: bool, detail: impl Into<String>, retry_after: Option<Duration>) -> Disposition {
    Disposition::Released(Release { outlet_down, detail: detail.into(), retry_after, is_usual: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_file_may_come_hours_later() {
        let again = |age| match alone(age) {
            Disposition::Released(Release { outlet_down: false, retry_after: Some(after), .. }) => after,
            other => panic!("{age:?}: {other:?}"),
        };
        assert_eq!(again(Some(Duration::ZERO)), OTHER_FILE);
        assert_eq!(again(Some(Duration::from_secs(30))), Duration::from_secs(30));
        assert_eq!(again(Some(Duration::from_secs(40 * 3600))), OTHER_FILE_AT_LAST);
        // Modified in the future.
        assert_eq!(again(None), OTHER_FILE_AT_LAST);
        assert!(matches!(alone(Some(ALONE)), Disposition::Rejected(_)));
    }
}
