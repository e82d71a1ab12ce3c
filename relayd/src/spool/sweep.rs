// SPDX-License-Identifier: Apache-2.0
//! Sweeps: reading the whole directory in parts, and the watch on it.
//!
//! The watch starts before the first sweep, so that nothing falls between them. When the directory
//! cannot be read (it was removed), it is made anew if it is missing, and watched anew; also when a
//! sweep finds another directory in its place (it was moved away, or mounted over).

use std::{
    collections::VecDeque,
    fs, io,
    os::unix::fs::MetadataExt,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use prometheus::IntCounter;
use tokio::{
    sync::{Notify, mpsc},
    task::{JoinError, JoinHandle},
};
use tracing::{info, warn};

use super::{
    later::FileName,
    listing::{Listing, PART},
    make_directories,
    settle::Directories,
    watch::{Noticed, Watch},
};

/// See the module.
pub struct Sweeper {
    directories: Directories,
    every: Option<Duration>,
    sweeps: IntCounter,
    noticed: mpsc::Sender<Noticed>,
    sweep_now: Arc<Notify>,
    /// Names in a part.
    most: usize,

    watch: Option<(Watch, DirectoryId)>,
    /// When the next sweep begins; `None`: not before it is asked for.
    due: Option<Instant>,
    begun: Option<Instant>,
    ended: Option<Instant>,
    /// Whether to make a pause before the next one.
    pause: bool,
    listing: Option<Listing>,
    reading: Option<JoinHandle<io::Result<Part>>>,
    names: VecDeque<FileName>,
    failing: bool,
}

/// Device and inode. A watch stays with these, whatever becomes of the path.
type DirectoryId = (u64, u64);

/// Names, and where to go on.
type Part = (Listing, Vec<FileName>);

/// Between sweeps when there is no watch and none are configured.
const WITHOUT_WATCH: Duration = Duration::from_secs(10);
/// From the beginning of a sweep to that of the next, at least.
const AT_LEAST: Duration = Duration::from_millis(200);
/// From the end of a sweep to the beginning of the next, at least, when a pause is to be made.
const PAUSE: Duration = Duration::from_secs(60);

impl Sweeper {
    /// A sweep is due at once.
    pub fn new(
        directories: Directories,
        every: Option<Duration>,
        sweeps: IntCounter,
        noticed: mpsc::Sender<Noticed>,
        sweep_now: Arc<Notify>,
    ) -> Self {
        Self {
            directories,
            every,
            sweeps,
            noticed,
            sweep_now,
            most: PART,
            watch: None,
            due: Some(Instant::now()),
            begun: None,
            ended: None,
            pause: false,
            listing: None,
            reading: None,
            names: VecDeque::new(),
            failing: false,
        }
    }

    /// Sweep as soon as can be; again, if one is under way.
    pub fn now(&mut self) {
        self.not_after(Instant::now());
    }

    /// Sweep at that time or before.
    pub fn not_after(&mut self, at: Instant) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// Make a pause before the next sweep, long enough for it to be no burden: it will find files
    /// that are to be left alone.
    pub fn make_a_pause(&mut self) {
        self.pause = true;
    }

    /// When a sweep wants to begin. `None` while one is under way, and when none is planned.
    pub fn due(&self) -> Option<Instant> {
        if self.is_reading() {
            return None;
        }
        let earliest = match (self.begun, self.ended) {
            (Some(begun), Some(ended)) if self.pause => Some(ended + (ended - begun).max(PAUSE)),
            (begun, _) => begun.map(|begun| begun + AT_LEAST),
        };
        self.due.map(|due| earliest.map_or(due, |earliest| due.max(earliest)))
    }

    /// The next name found.
    pub fn next(&mut self) -> Option<FileName> {
        let name = self.names.pop_front();
        if self.names.is_empty() && self.reading.is_none() {
            self.read_on();
        }
        name
    }

    /// Waits for the next part of a sweep. Only pending when there is none under way.
    pub async fn part(&mut self) -> Result<(), JoinError> {
        let Some(reading) = &mut self.reading else { return std::future::pending().await };
        let read = reading.await;
        self.reading = None;
        match read? {
            Ok((listing, names)) => {
                if std::mem::take(&mut self.failing) {
                    info!(spool = self.directories.kind.segment(), "the spool directory can be read again");
                }
                match names.is_empty() {
                    true => self.ended = Some(Instant::now()),
                    false => self.listing = Some(listing),
                }
                self.names.extend(names);
            }
            Err(e) => self.failed(&e),
        }
        Ok(())
    }

    /// Whether one is under way, so that names may come.
    pub fn is_reading(&self) -> bool {
        self.listing.is_some() || self.reading.is_some() || !self.names.is_empty()
    }

    fn read_on(&mut self) {
        let listing = self.listing.take();
        if listing.is_none() {
            let now = Instant::now();
            if self.due().is_none_or(|due| due > now) {
                return;
            }
            self.watch();
            self.begun = Some(now);
            self.pause = false;
            let every = self.every.or_else(|| self.watch.is_none().then_some(WITHOUT_WATCH));
            self.due = every.map(|every| now + every);
            self.sweeps.inc();
        }
        let (Directories { kind, incoming, .. }, most) = (self.directories.clone(), self.most);
        self.reading = Some(tokio::task::spawn_blocking(move || {
            let mut listing = listing.map_or_else(|| Listing::open(&incoming, kind, most), Ok)?;
            let names = listing.next_part()?;
            Ok((listing, names))
        }));
    }

    fn watch(&mut self) {
        let Directories { kind, incoming, .. } = &self.directories;
        // Before the watch: a directory exchanged in between is noticed the next time.
        let Ok(id) = directory_id(incoming) else {
            // Reading it fails as well, and says so.
            self.watch = None;
            return;
        };
        if self.watch.as_ref().is_some_and(|(_, watched)| *watched == id) {
            return;
        }
        if self.watch.take().is_some() {
            info!(spool = kind.segment(), "another directory has the place of {}", incoming.display());
        }
        match Watch::start(incoming, *kind, self.noticed.clone(), self.sweep_now.clone()) {
            Ok(watch) => self.watch = Some((watch, id)),
            Err(e) if !self.failing => {
                let directory = incoming.display();
                warn!(
                    spool = kind.segment(),
                    "cannot watch {directory}: {e}; it is read every few seconds instead (see fs.inotify.*)"
                );
            }
            Err(_) => {}
        }
    }

    fn failed(&mut self, e: &io::Error) {
        self.listing = None;
        self.watch = None;
        if !std::mem::replace(&mut self.failing, true) {
            let Directories { kind, incoming, .. } = &self.directories;
            warn!(spool = kind.segment(), "cannot read {}: {e}; will retry", incoming.display());
        }
        // A failure to make it shows as the next failure to read it.
        let _ = make_directories(&self.directories);
        self.not_after(Instant::now() + self.every.unwrap_or(WITHOUT_WATCH).min(WITHOUT_WATCH));
    }
}

fn directory_id(path: &Path) -> io::Result<DirectoryId> {
    fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use protocol::urls::UploadKind;
    use tokio::time::timeout;

    use super::*;
    use crate::spool::{directories, inspect::Origin};

    async fn sweep(sweeper: &mut Sweeper) {
        sweeper.now();
        while sweeper.due().is_none_or(|due| due <= Instant::now() + AT_LEAST) {
            match sweeper.next() {
                None if sweeper.is_reading() => sweeper.part().await.unwrap(),
                None => tokio::time::sleep(Duration::from_millis(10)).await,
                Some(_) => {}
            }
        }
    }

    #[tokio::test]
    async fn names_come_once_and_in_order_in_however_many_parts() {
        let root = tempfile::tempdir().unwrap();
        let directories = directories(UploadKind::RunLog, root.path());
        make_directories(&directories).unwrap();
        let expected: Vec<FileName> = (0..250).map(|i| OsStr::new(&format!("{i:03}.log")).into()).collect();
        expected.iter().for_each(|name| fs::write(directories.incoming.join(&**name), "x").unwrap());
        let sweeps = IntCounter::new("sweeps", "-").unwrap();
        let mut sweeper = Sweeper {
            most: 100,
            ..Sweeper::new(directories, None, sweeps, mpsc::channel(999).0, Arc::default())
        };
        for _ in 0..2 {
            let mut names = Vec::new();
            sweeper.now();
            while sweeper.due.is_some() || sweeper.is_reading() {
                match sweeper.next() {
                    Some(name) => names.push(name),
                    None if sweeper.is_reading() => sweeper.part().await.unwrap(),
                    None => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            }
            assert_eq!(names, expected);
        }
        assert_eq!(sweeper.sweeps.get(), 2);
    }

    #[tokio::test]
    async fn a_directory_in_the_place_of_the_old_one_is_watched() {
        let root = tempfile::tempdir().unwrap();
        let directories = directories(UploadKind::RunLog, root.path());
        make_directories(&directories).unwrap();
        let (sender, mut noticed) = mpsc::channel(16);
        let (every, sweeps) = (Some(Duration::from_secs(3600)), IntCounter::new("sweeps", "-").unwrap());
        let mut sweeper = Sweeper::new(directories.clone(), every, sweeps, sender, Arc::default());
        for number in 0..3 {
            sweep(&mut sweeper).await;
            let name = format!("2018-08-24T15:55:01+00:00@n{number}.log");
            fs::write(directories.incoming.join(&name), "x").unwrap();
            for origin in [Origin::Seen, Origin::Finished] {
                let hint = timeout(Duration::from_secs(30), noticed.recv()).await.unwrap();
                assert_eq!(hint, Some((OsStr::new(&name).to_owned(), origin)));
            }
            fs::rename(&directories.incoming, root.path().join(number.to_string())).unwrap();
            fs::create_dir(&directories.incoming).unwrap();
        }
    }
}
