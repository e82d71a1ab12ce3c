// SPDX-License-Identifier: Apache-2.0
//! A spool's `incoming` directory: opened once, fsynced once for many uploads.
//!
//! An upload renames its file, then waits for the next fsync of the directory that *starts* after
//! that. While one fsync runs, those who come wait together for the one after it.

use std::{
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use prometheus::Histogram;
use rustix::fs::{AtFlags, Mode, OFlags, fsync, open, unlinkat};
use tokio::{
    sync::{mpsc, oneshot},
    task::spawn_blocking,
};

use super::{
    GatewayError,
    disk::DiskPool,
    metrics::GatewayMetrics,
    part_file::{PART_PREFIX, PartFile},
};

/// Most uploads in one commit.
const MAX_BATCH: usize = 4096;

/// An open spool directory.
pub struct Directory {
    path: PathBuf,
    fd: Arc<OwnedFd>,
    pool: DiskPool,
    waiting: mpsc::Sender<oneshot::Sender<()>>,
    failure: Arc<Failure>,
}

/// The first fsync failure, after which nothing is acknowledged in any directory.
pub struct Failure {
    happened: AtomicBool,
    report: mpsc::Sender<GatewayError>,
}

/// The gateway no longer acknowledges uploads.
#[derive(Debug)]
pub struct Stopped;

/// The side of a directory that does the fsyncs.
pub struct CommitQueue {
    directory: PathBuf,
    fd: Arc<OwnedFd>,
    waiting: mpsc::Receiver<oneshot::Sender<()>>,
    failure: Arc<Failure>,
    batch_size: Histogram,
}

impl Directory {
    /// Opens the directory and removes what an earlier process left half-written there.
    pub fn open(
        path: &Path,
        pool: DiskPool,
        failure: Arc<Failure>,
        metrics: &GatewayMetrics,
    ) -> Result<(Arc<Self>, CommitQueue), GatewayError> {
        let refuse = |error: io::Error| GatewayError::Spool { directory: path.to_owned(), error };
        let fd = open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|e| refuse(e.into()))?;
        let removed = remove_parts(path, &fd).map_err(refuse)?;
        if removed > 0 {
            tracing::info!(
                directory = %path.display(),
                removed,
                "removed uploads that an earlier process left unfinished; their senders got no answer \
                 and will send them again"
            );
        }
        let fd = Arc::new(fd);
        let (sender, receiver) = mpsc::channel(MAX_BATCH);
        let queue = CommitQueue {
            directory: path.to_owned(),
            fd: fd.clone(),
            waiting: receiver,
            failure: failure.clone(),
            batch_size: metrics.commit_batch.clone(),
        };
        Ok((Arc::new(Self { path: path.to_owned(), fd, pool, waiting: sender, failure }), queue))
    }

    /// Where it is, for logs.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The open directory.
    pub fn fd(&self) -> &Arc<OwnedFd> {
        &self.fd
    }

    /// The threads that work on it.
    pub fn pool(&self) -> &DiskPool {
        &self.pool
    }

    /// A new part file; blocks.
    pub fn new_part(&self) -> io::Result<PartFile> {
        PartFile::create(self.fd.clone())
    }

    /// Whether an fsync has failed, here or elsewhere.
    pub fn is_stopped(&self) -> bool {
        self.failure.has_happened()
    }

    /// Waits until all names that are in the directory now are on stable storage.
    pub async fn commit(&self) -> Result<(), Stopped> {
        let (done, committed) = oneshot::channel();
        self.waiting.send(done).await.map_err(|_| Stopped)?;
        committed.await.map_err(|_| Stopped)
    }

    /// Tells that an fsync failed: from now on nothing is acknowledged.
    pub fn fail(&self, error: io::Error) {
        self.failure.tell(&self.path, error);
    }
}

impl Failure {
    /// None yet; and where the first will be reported.
    pub fn watch() -> (Arc<Self>, mpsc::Receiver<GatewayError>) {
        let (report, reported) = mpsc::channel(1);
        (Arc::new(Self { happened: AtomicBool::new(false), report }), reported)
    }

    fn has_happened(&self) -> bool {
        self.happened.load(Ordering::Acquire)
    }

    fn tell(&self, directory: &Path, error: io::Error) {
        self.happened.store(true, Ordering::Release);
        // Full means that another failure is on its way to the same end.
        let _ = self.report.try_send(GatewayError::Sync { directory: directory.to_owned(), error });
    }
}

impl CommitQueue {
    /// Commits until the directory is no longer used, or an fsync fails.
    pub async fn run(mut self) {
        let mut batch = Vec::new();
        while self.waiting.recv_many(&mut batch, MAX_BATCH).await > 0 {
            let fd = self.fd.clone();
            // Not on the pool: there it would queue behind the uploads that then wait for it.
            let synced = match spawn_blocking(move || fsync(&*fd)).await {
                Ok(result) => result.map_err(io::Error::from),
                Err(error) => Err(io::Error::other(error)),
            };
            if let Err(error) = synced {
                self.failure.tell(&self.directory, error);
                return;
            }
            if self.failure.has_happened() {
                return;
            }
            self.batch_size.observe(batch.len() as f64);
            for done in batch.drain(..) {
                // The client may have gone away meanwhile.
                let _ = done.send(());
            }
        }
    }
}

/// What cannot be removed stays: it is in nobody's way.
fn remove_parts(path: &Path, fd: &OwnedFd) -> io::Result<usize> {
    let mut removed = 0;
    for entry in std::fs::read_dir(path)? {
        let name = entry?.file_name();
        if name.as_encoded_bytes().starts_with(PART_PREFIX.as_bytes()) {
            match unlinkat(fd, &name, AtFlags::empty()) {
                Ok(()) => removed += 1,
                Err(rustix::io::Errno::NOENT) => {}
                Err(error) => {
                    tracing::warn!(directory = %path.display(), ?name, "cannot remove, left there: {error}");
                }
            }
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use prometheus::Registry;

    use super::*;

    fn open(path: &Path) -> (Arc<Directory>, CommitQueue, GatewayMetrics, mpsc::Receiver<GatewayError>) {
        let metrics = GatewayMetrics::new(&Registry::new()).unwrap();
        let (failure, failures) = Failure::watch();
        let (directory, queue) = Directory::open(path, DiskPool::new().unwrap(), failure, &metrics).unwrap();
        (directory, queue, metrics, failures)
    }

    #[tokio::test]
    async fn uploads_share_an_fsync() {
        let temp = tempfile::tempdir().unwrap();
        let (directory, queue, metrics, _failures) = open(temp.path());
        // The queue ends when the directory, moved in here, is dropped.
        let committing = async move { join_all((0..100).map(|_| directory.commit())).await };
        let (results, ()) = tokio::join!(committing, async {
            // They all wait before the first fsync begins.
            tokio::task::yield_now().await;
            queue.run().await;
        });
        assert!(results.iter().all(Result::is_ok));
        assert_eq!(metrics.commit_batch.get_sample_sum(), 100.0);
        assert!(metrics.commit_batch.get_sample_count() < 10);
    }

    #[tokio::test]
    async fn half_written_uploads_go_at_start_and_what_only_looks_like_one_stays() {
        let temp = tempfile::tempdir().unwrap();
        for directory in ["a", "z"] {
            std::fs::create_dir(temp.path().join(format!("{PART_PREFIX}{directory}"))).unwrap();
        }
        let file = temp.path().join(format!("{PART_PREFIX}m"));
        std::fs::write(&file, "half").unwrap();
        let _opened = open(temp.path());
        assert!(!file.exists());
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 2);
    }

    #[tokio::test]
    async fn after_a_failed_fsync_nothing_is_acknowledged() {
        // Where fsync is not supported.
        let (directory, queue, metrics, mut failures) = open(Path::new("/proc/self"));
        let queue = tokio::spawn(queue.run());
        assert!(directory.commit().await.is_err());
        queue.await.unwrap();
        assert!(directory.is_stopped());
        assert!(directory.commit().await.is_err());
        let error = failures.recv().await.unwrap();
        assert!(
            matches!(&error, GatewayError::Sync { directory, .. } if directory == Path::new("/proc/self"))
        );
        assert_eq!(metrics.commit_batch.get_sample_count(), 0);
    }
}
