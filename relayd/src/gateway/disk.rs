// SPDX-License-Identifier: Apache-2.0
//! Threads for writing files, and how full the disk is.
//!
//! The gateway has threads of its own: when an fsync takes long, hundreds of uploads wait at the
//! same time, and other work that blocks must not queue behind them.

use std::{
    io,
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::fs::{StatVfs, StatVfsMountFlags, fstatvfs};
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
}

/// Looks at a file system at most once a second, and not on the async threads.
pub struct DiskWatch {
    directory: Arc<OwnedFd>,
    high_water_percent: u8,
    start: Instant,
    next_check_ms: AtomicU64,
    room: AtomicU8,
}

impl DiskWatch {
    /// Watches the file system of an open directory.
    pub fn new(directory: Arc<OwnedFd>, high_water_percent: u8) -> Self {
        Self {
            directory,
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
            let directory = self.directory.clone();
            // When it cannot be known, the write will tell.
            if let Ok(Ok(stat)) = spawn_blocking(move || fstatvfs(&*directory)).await {
                self.room.store(room_of(&stat, self.high_water_percent) as u8, Ordering::Relaxed);
            }
        }
        match self.room.load(Ordering::Relaxed) {
            n if n == Room::Low as u8 => Room::Low,
            n if n == Room::Full as u8 => Room::Full,
            n if n == Room::ReadOnly as u8 => Room::ReadOnly,
            _ => Room::Enough,
        }
    }
}

/// As `df` counts: what is reserved for the superuser does not count.
fn room_of(stat: &StatVfs, high_water_percent: u8) -> Room {
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

    fn stat(blocks: u64, free: u64, available: u64, files: u64, files_available: u64) -> StatVfs {
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
        for (stat, expected) in [
            (stat(100, 50, 45, 10, 5), Room::Enough),
            (stat(100, 15, 9, 10, 5), Room::Low),
            (stat(100, 10, 10, 10, 5), Room::Enough),
            (stat(100, 5, 0, 10, 5), Room::Full),
            (stat(100, 50, 45, 10, 0), Room::Full),
            // Some file systems count neither blocks nor inodes.
            (stat(0, 0, 0, 0, 0), Room::Enough),
        ] {
            assert_eq!(room_of(&stat, 90), expected);
        }
    }
}
