// SPDX-License-Identifier: Apache-2.0
//! Threads for writing files, and how full the disk is.
//!
//! The gateway has threads of its own: when an fsync takes long, hundreds of uploads wait at the
//! same time, and other work that blocks must not queue behind them.

use std::{
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::fs::{StatVfs, StatVfsMountFlags, fstat, fstatvfs, stat};
use tokio::{
    runtime::{Builder, Handle, Runtime},
    task::spawn_blocking,
};

/// Most fsyncs at a time: with 700 ms for each, still some hundred uploads a second. There are so
/// many threads only while a disk is that slow.
const THREADS: usize = 512;
/// Disk work needs little stack.
const STACK: usize = 128 * 1024;
/// How long a look at the disk is good for.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// A handle to the threads; they end with the last handle.
#[derive(Clone)]
pub struct DiskPool(Arc<Threads>);

struct Threads {
    handle: Handle,
    runtime: Option<Runtime>,
}

impl DiskPool {
    /// Makes the pool; threads start when there is work and end when there is none.
    pub fn new() -> io::Result<Self> {
        // Only its blocking threads are used; nothing ever drives it.
        let runtime = Builder::new_current_thread()
            .max_blocking_threads(THREADS)
            .thread_stack_size(STACK)
            .thread_name("gateway-disk")
            .build()?;
        Ok(Self(Arc::new(Threads { handle: runtime.handle().clone(), runtime: Some(runtime) })))
    }

    /// Runs `job` on one of the threads. A job that was started ends even when the caller goes away.
    ///
    /// **Errors**: the pool is shutting down, or the job panicked.
    pub async fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
        self.0.handle.spawn_blocking(job).await.map_err(io::Error::other)
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // Dropping a runtime in async code panics, because it waits for its threads.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Whether a file system takes more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Room {
    /// Yes.
    Enough,
    /// Above the high-water mark.
    Low,
    /// No block or no inode is left.
    Full,
    /// Mounted read-only.
    ReadOnly,
    /// Another directory, or none, has the path now: what is written here would not be found.
    Elsewhere,
}

/// Looks at a directory and its file system at most once a second, and not on the async threads.
pub struct DiskWatch {
    directory: Arc<OwnedFd>,
    path: PathBuf,
    high_water_percent: u8,
    start: Instant,
    next_check_ms: AtomicU64,
    room: AtomicU8,
}

impl DiskWatch {
    /// Watches an open directory, which was opened by this path.
    pub fn new(directory: Arc<OwnedFd>, path: PathBuf, high_water_percent: u8) -> Self {
        Self {
            directory,
            path,
            high_water_percent,
            start: Instant::now(),
            next_check_ms: AtomicU64::new(0),
            room: AtomicU8::new(Room::Enough as u8),
        }
    }

    /// Whether there is room, as of a second ago at most (but for those who ask while another looks).
    pub async fn room(&self) -> Room {
        let now = self.start.elapsed().as_millis() as u64;
        let next = self.next_check_ms.load(Ordering::Relaxed);
        let after = now + CHECK_EVERY.as_millis() as u64;
        let claimed = now >= next
            && self.next_check_ms.compare_exchange(next, after, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if claimed {
            let (directory, path, percent) =
                (self.directory.clone(), self.path.clone(), self.high_water_percent);
            // When it cannot be known, the write will tell.
            if let Ok(Ok(room)) = spawn_blocking(move || look(&directory, &path, percent)).await {
                self.room.store(room as u8, Ordering::Relaxed);
            }
        }
        match self.room.load(Ordering::Relaxed) {
            n if n == Room::Low as u8 => Room::Low,
            n if n == Room::Full as u8 => Room::Full,
            n if n == Room::ReadOnly as u8 => Room::ReadOnly,
            n if n == Room::Elsewhere as u8 => Room::Elsewhere,
            _ => Room::Enough,
        }
    }
}

fn look(directory: &OwnedFd, path: &Path, high_water_percent: u8) -> rustix::io::Result<Room> {
    let ours = fstat(directory)?;
    let is_there = stat(path).is_ok_and(|found| (found.st_dev, found.st_ino) == (ours.st_dev, ours.st_ino));
    if is_there { Ok(room_of(&fstatvfs(directory)?, high_water_percent)) } else { Ok(Room::Elsewhere) }
}

/// As `df` counts: what is reserved for the superuser does not count.
pub fn room_of(stat: &StatVfs, high_water_percent: u8) -> Room {
    let used = stat.f_blocks.saturating_sub(stat.f_bfree);
    let usable = used.saturating_add(stat.f_bavail);
    if stat.f_flag.contains(StatVfsMountFlags::RDONLY) {
        Room::ReadOnly
    } else if usable > 0 && stat.f_bavail == 0 || stat.f_files > 0 && stat.f_favail == 0 {
        Room::Full
    } else if u128::from(used) * 100 > u128::from(usable) * u128::from(high_water_percent) {
        Room::Low
    } else {
        Room::Enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat_of(blocks: u64, free: u64, available: u64, files: u64, files_available: u64) -> StatVfs {
        StatVfs {
            f_bsize: 4096,
            f_frsize: 4096,
            f_blocks: blocks,
            f_bfree: free,
            f_bavail: available,
            f_files: files,
            f_ffree: files_available,
            f_favail: files_available,
            f_fsid: 0,
            f_flag: StatVfsMountFlags::empty(),
            f_namemax: 255,
        }
    }

    #[test]
    fn room_is_what_df_shows() {
        for (facts, expected) in [
            (stat_of(100, 50, 45, 10, 5), Room::Enough),
            (stat_of(100, 15, 9, 10, 5), Room::Low),
            (stat_of(100, 10, 10, 10, 5), Room::Enough),
            (stat_of(100, 5, 0, 10, 5), Room::Full),
            (stat_of(100, 50, 45, 10, 0), Room::Full),
            // Some file systems count neither blocks nor inodes.
            (stat_of(0, 0, 0, 0, 0), Room::Enough),
        ] {
            assert_eq!(room_of(&facts, 90), expected);
        }
    }
}
