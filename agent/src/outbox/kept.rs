// SPDX-License-Identifier: Apache-2.0
//! Copies of run logs that the policy server has, kept for a while: a server that comes back from a backup lacks
//! what was stored after it, and asks for that again (protocol 12.9).
//!
//! ```text
//! ready/<name> ─2xx─▶ sent/<name> ─asked again─▶ ready/<name>
//!                          └─ too old, no room ─▶ gone
//! ```
//!
//! The time of modification of a copy is when it was sent. Losing a copy breaks no promise, so nothing is synced.

use std::{
    fs::{self, File},
    io,
    ops::Range,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use protocol::run_id::RunLogName;

use super::{Waiting, gone_is_fine, list};
use crate::durable;

/// How far clocks of nodes and servers may be apart, and how long a run log may be on its way through relays.
const MARGIN: Duration = Duration::from_secs(3600);

/// The directory of copies.
#[derive(Debug, Clone)]
pub(super) struct Kept(pub(super) PathBuf);

impl Kept {
    /// Takes over a file that was sent now.
    pub fn take(&self, file: &Path, name: &RunLogName) -> io::Result<()> {
        durable::create_private_directory(&self.0)?;
        File::options().append(true).open(file)?.set_modified(SystemTime::now())?;
        fs::rename(file, self.path(name))
    }

    /// All copies; `written` is when each was sent.
    pub fn all(&self) -> io::Result<Vec<Waiting>> {
        match list(&self.0) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(vec![]),
            mut found => {
                if let Ok(found) = &mut found {
                    found.sort_by_key(|one| one.written);
                }
                found
            }
        }
    }

    /// Those that were sent in this time, or so little before that it may have come to nothing.
    pub fn sent(&self, time: Range<SystemTime>) -> io::Result<Vec<Waiting>> {
        let since = time.start.checked_sub(MARGIN).unwrap_or(SystemTime::UNIX_EPOCH);
        let mut found = self.all()?;
        found.retain(|one| (since..time.end).contains(&one.written));
        Ok(found)
    }

    /// Drops what is older than `age`, and the oldest of what does not fit into `room` bytes.
    pub fn expire(&self, age: Duration, room: Option<u64>, now: SystemTime) -> io::Result<()> {
        let all = self.all()?;
        let mut size: u64 = all.iter().map(|one| one.size).sum();
        for one in all {
            let too_old = now.duration_since(one.written).is_ok_and(|since| since > age);
            if too_old || room.is_some_and(|room| size > room) {
                gone_is_fine(fs::remove_file(self.path(&one.name)))?;
                size -= one.size;
            }
        }
        Ok(())
    }

    pub fn path(&self, name: &RunLogName) -> PathBuf {
        self.0.join(name.as_str())
    }
}
