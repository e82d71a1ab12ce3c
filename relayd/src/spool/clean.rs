// SPDX-License-Identifier: Apache-2.0
//! Housekeeping: counts what waits, and removes what is too old.
//!
//! Which files are too old is decided so that no jump of the clock deletes anything:
//!
//! * `incoming/`: a file goes when it was neither modified nor moved for the retention time, *and* this
//!   process has run for that long with a wall clock that agreed with the steady one. Then the file
//!   was there all that time, was offered to the outlet again and again, and its age is real. A
//!   restart or a jump of the clock starts the wait anew.
//! * `failed/`: a file goes when it was rejected longer ago than that (by its reason file; without
//!   one, by its own time). After a jump of the clock nothing goes for one retention time.
//!
//! Times in the future never make anything old.

use std::{
    fs::{self, DirEntry},
    io,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use protocol::urls::UploadKind;
use tokio::{
    task::{JoinError, spawn_blocking},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{
    clock::{Agreement, Clock, age},
    disposition::printable,
    inspect::changed,
    metrics::Metrics,
    name::is_considered,
    reason_file,
    settle::Directories,
};

/// See the module.
#[derive(Clone)]
pub struct Housekeeping {
    /// Where.
    pub directories: Directories,
    /// Time between removals.
    pub clean_every: Duration,
    /// What is too old.
    pub retention: Duration,
    /// Where to count.
    pub metrics: Metrics,
    /// Whose time.
    pub clock: Arc<dyn Clock>,
}

/// Time between counts; longer when a count takes long.
const COUNT_EVERY: Duration = Duration::from_secs(5);
/// Counting takes at most one part in this many of the time.
const COUNT_SHARE: u32 = 20;
/// Removals between the two clocks' checks are few; between removals time passes.
const SHORTEST_CLEAN: Duration = Duration::from_millis(100);

impl Housekeeping {
    /// Works until `stop`.
    pub async fn run(self, stop: CancellationToken) -> Result<(), JoinError> {
        let agreement = Arc::new(Agreement::new(&*self.clock));
        let clean_every = self.clean_every.max(SHORTEST_CLEAN);
        let (mut count_at, mut clean_at) = (Instant::now(), Instant::now() + clean_every);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = sleep_until(count_at) => {
                    let (this, begun) = (self.clone(), Instant::now());
                    let agreement = agreement.clone();
                    spawn_blocking(move || {
                        // Jumps are seen soon, however seldom files are removed.
                        agreement.check(&*this.clock);
                        this.count();
                    }).await?;
                    count_at = Instant::now() + COUNT_EVERY.max(begun.elapsed() * COUNT_SHARE);
                }
                () = sleep_until(clean_at) => {
                    let (this, agreement) = (self.clone(), agreement.clone());
                    spawn_blocking(move || this.clean(&agreement)).await?;
                    clean_at = Instant::now() + clean_every;
                }
            }
        }
    }

    /// Counts what waits and what failed.
    pub fn count(&self) {
        let (now, kind) = (self.clock.wall(), self.directories.kind);
        let (mut depth, mut oldest, mut failed) = (0, Duration::ZERO, 0);
        let waiting = each_entry(&self.directories.incoming, |entry| {
            if is_considered(kind, &entry.file_name()) {
                depth += 1;
                let modified = entry.metadata().and_then(|facts| facts.modified()).ok();
                oldest = oldest.max(modified.and_then(|time| age(now, time)).unwrap_or_default());
            }
        });
        let rejected = each_entry(&self.directories.failed, |entry| {
            failed += i64::from(!reason_file::is_one(&entry.file_name()));
        });
        // A directory that cannot be read is the sweeper's to report; the last count stays.
        if waiting.is_ok() {
            self.metrics.depth.set(depth);
            self.metrics.oldest_age.set(i64::try_from(oldest.as_secs()).unwrap_or(i64::MAX));
        }
        if rejected.is_ok() {
            self.metrics.failed.set(failed);
        }
    }

    /// Removes what is too old, by the rules of the module.
    pub fn clean(&self, agreement: &Agreement) {
        let (agreed_for, after_jump) = agreement.check(&*self.clock);
        if agreed_for >= self.retention {
            self.clean_directory(&self.directories.incoming, "incoming", |entry| {
                let facts = entry.metadata().ok()?;
                changed(&facts).zip(facts.modified().ok()).map(|(changed, modified)| changed.max(modified))
            });
        }
        // Both inventory spools share a `failed/`.
        let is_ours = self.directories.kind != UploadKind::InventoryUpdate;
        if is_ours && (!after_jump || agreed_for >= self.retention) {
            self.clean_directory(&self.directories.failed, "failed", |entry| {
                let facts = match reason_file::path_of(&entry.path()).symlink_metadata() {
                    Ok(facts) => facts,
                    Err(_) => entry.metadata().ok()?,
                };
                facts.modified().ok()
            });
        }
    }

    fn clean_directory(&self, directory: &Path, label: &str, time: impl Fn(&DirEntry) -> Option<SystemTime>) {
        let now = self.clock.wall();
        let spool = self.directories.kind.segment();
        let (mut removed, mut example) = (0_u64, None);
        let read = each_entry(directory, |entry| {
            let is_old = time(entry).and_then(|time| age(now, time)).is_some_and(|age| age >= self.retention);
            if !is_old {
                return;
            }
            let path = entry.path();
            let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
            // Of directories, only empty ones: nothing in them is ours.
            let result = if is_directory { fs::remove_dir(&path) } else { fs::remove_file(&path) };
            match result {
                Ok(()) => {
                    let name = entry.file_name();
                    if !reason_file::is_one(&name) {
                        // The reason goes with what it explains; if not now, then by its own age.
                        let _ = fs::remove_file(reason_file::path_of(&path));
                        removed += 1;
                        example.get_or_insert(name);
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::NotFound || is_directory => {}
                Err(e) => {
                    warn!(spool, "cannot remove the too old {}: {e}", printable(&path.to_string_lossy()))
                }
            }
        });
        if let Err(e) = read {
            warn!(spool, "cannot read {} for cleaning: {e}", directory.display());
        }
        if let Some(example) = example {
            self.metrics.removed.inc_by(removed);
            let (example, days) =
                (printable(&example.to_string_lossy()), self.retention.as_secs_f64() / 86_400.0);
            warn!(spool, removed, example, "removed files older than {days:.1} days from {label}/");
        }
    }
}

fn each_entry(directory: &Path, mut f: impl FnMut(&DirEntry)) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        f(&entry?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use prometheus::Registry;

    use super::*;
    use crate::spool::clock::tests::TestClock;

    const DAY: Duration = Duration::from_secs(86_400);
    const NAME: &str = "2018-08-24T15:55:01+00:00@root.log";

    struct Place {
        _root: tempfile::TempDir,
        clock: Arc<TestClock>,
        agreement: Agreement,
        keeping: Housekeeping,
    }

    impl Place {
        fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            let directories = crate::spool::directories(UploadKind::RunLog, root.path());
            crate::spool::make_directories(&directories).unwrap();
            let clock = Arc::new(TestClock::new());
            let keeping = Housekeeping {
                directories,
                clean_every: DAY,
                retention: 7 * DAY,
                metrics: Metrics::new(UploadKind::RunLog, &Registry::new()).unwrap(),
                clock: clock.clone(),
            };
            Self { _root: root, agreement: Agreement::new(&*clock), clock, keeping }
        }

        fn put(&self) {
            let Directories { incoming, failed, .. } = &self.keeping.directories;
            for path in [incoming.join(NAME), failed.join(NAME), reason_file::path_of(&failed.join(NAME))] {
                fs::write(path, "{}").unwrap();
            }
        }

        /// What is left in `incoming/` and `failed/` after a cleaning.
        fn left(&self) -> (usize, usize) {
            self.keeping.clean(&self.agreement);
            let Directories { incoming, failed, .. } = &self.keeping.directories;
            let count = |path: &Path| fs::read_dir(path).unwrap().count();
            (count(incoming), count(failed))
        }
    }

    #[test]
    fn removes_what_was_there_for_the_retention_time() {
        let place = Place::new();
        place.put();
        place.keeping.count();
        assert_eq!((place.keeping.metrics.depth.get(), place.keeping.metrics.failed.get()), (1, 1));
        place.clock.pass(6 * DAY);
        assert_eq!(place.left(), (1, 2));
        place.clock.pass(2 * DAY);
        assert_eq!(place.left(), (0, 0));
        assert_eq!(place.keeping.metrics.removed.get(), 2);
    }

    #[test]
    fn no_jump_of_the_clock_removes_anything() {
        let place = Place::new();
        place.put();
        for days in [8, 365, -365, -8, -365, 365] {
            place.clock.jump(days);
            assert_eq!(place.left(), (1, 2), "{days}");
            place.clock.pass(DAY);
            assert_eq!(place.left(), (1, 2), "{days}");
        }
        // Sound for long enough: now the age is real.
        place.clock.pass(8 * DAY);
        assert_eq!(place.left(), (0, 0));
    }

    #[test]
    fn a_fresh_process_trusts_no_clock_with_what_waits() {
        let place = Place::new();
        place.put();
        // Set forward while the process was down: to the process the clock never jumped.
        place.clock.jump(365);
        let place = Place { agreement: Agreement::new(&*place.clock), ..place };
        assert_eq!(place.left().0, 1);
    }
}
