// SPDX-License-Identifier: Apache-2.0
//! Run logs that wait for their upload: a directory that is the queue, oldest first (protocol 2.1).
//!
//! ```text
//! temporary/<name>.tmp ─fsync, rename─▶ ready/<name> ─2xx─▶ sent/<name> ─▶ gone
//!                                            ├─ refused for good ─▶ failed/<name> + .reason
//!                                            └─ too old, too much ─▶ dropped and counted
//! ```
//!
//! Invariant: a file in `ready` is whole and on stable storage. One file is in memory at a time.

mod kept;

use std::{
    fs::{self, File},
    io::{self, Read},
    ops::Range,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use chrono::Utc;
use protocol::{compression::Compression, limits, node_id::NodeId, run_id::RunLogName};
use rustix::io::Errno;

use self::kept::Kept;
use crate::{
    durable::{self, PRIVATE},
    paths::Paths,
    settings::Retention,
};

/// The outbox of this node.
#[derive(Debug, Clone)]
pub struct Outbox {
    node_id: NodeId,
    ready: PathBuf,
    failed: PathBuf,
    temporary: PathBuf,
    kept: Kept,
}

/// A run log that waits.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// Its name.
    pub name: RunLogName,
    /// Bytes.
    pub size: u64,
    /// When it was written.
    pub written: SystemTime,
}

impl Outbox {
    /// Opens the outbox of this node; missing directories are made.
    ///
    /// Not `failed`, which on a policy server is the relay daemon's as well, with rights of its own:
    /// it is made when it is needed, and only run logs of this node are looked at in it.
    pub fn open(paths: &Paths, node_id: &NodeId) -> io::Result<Self> {
        let (ready, temporary) = (paths.ready(), paths.temporary.clone());
        for directory in [&ready, &temporary] {
            durable::create_private_directory(directory)?;
        }
        let kept = Kept(paths.sent());
        Ok(Self { node_id: node_id.clone(), ready, failed: paths.failed(), temporary, kept })
    }

    /// Whether a run log with this name waits.
    pub fn contains(&self, name: &RunLogName) -> bool {
        self.ready.join(name.as_str()).exists()
    }

    /// Puts a run log in; it is on stable storage when this returns. Copies of what was sent make room for it.
    pub fn put(&self, name: &RunLogName, content: &[u8]) -> io::Result<PathBuf> {
        match self.write(name, content) {
            Err(e) if e.kind() == io::ErrorKind::StorageFull && !self.kept.all()?.is_empty() => {
                self.kept.expire(Duration::ZERO, Some(0), SystemTime::now())?;
                self.write(name, content)
            }
            done => done,
        }
    }

    fn write(&self, name: &RunLogName, content: &[u8]) -> io::Result<PathBuf> {
        let path = self.ready.join(name.as_str());
        match durable::publish(&self.temporary.join(temporary_name(name)), &path, content, PRIVATE) {
            // Configured on another file system: a hidden file in the outbox does as well.
            Err(e) if e.raw_os_error() == Some(Errno::XDEV.raw_os_error()) => {
                let hidden = self.ready.join(format!(".{}", temporary_name(name)));
                durable::publish(&hidden, &path, content, PRIVATE)?;
            }
            done => done?,
        }
        Ok(path)
    }

    /// Removes what a killed run left half written. Needs the run lock.
    pub fn clean(&self) -> io::Result<()> {
        for directory in [&self.temporary, &self.ready] {
            for entry in fs::read_dir(directory)? {
                let entry = entry?;
                if is_temporary(&entry.file_name().to_string_lossy()) {
                    let _ = fs::remove_file(entry.path());
                }
            }
        }
        Ok(())
    }

    /// All that waits, oldest run first. Other files are left alone.
    pub fn waiting(&self) -> io::Result<Vec<Waiting>> {
        let mut waiting = list(&self.ready)?;
        waiting.sort_by(|a, b| {
            let key = |w: &Waiting| (w.name.run_id().start, w.name.as_str().to_owned());
            key(a).cmp(&key(b))
        });
        Ok(waiting)
    }

    /// The content of one that waits; `None` when it is gone.
    pub fn read(&self, name: &RunLogName) -> io::Result<Option<Vec<u8>>> {
        let file = match File::open(self.ready.join(name.as_str())) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        let mut content = Vec::new();
        file.take(limits::RUN_LOG_COMPRESSED).read_to_end(&mut content)?;
        Ok(Some(content))
    }

    /// Takes out one that the server has; a copy is kept where `retention` says so.
    pub fn sent(&self, name: &RunLogName, retention: Retention) -> io::Result<()> {
        let file = self.ready.join(name.as_str());
        match retention.sent.is_zero() {
            true => gone_is_fine(fs::remove_file(file)),
            // That no copy can be kept must not hold up what waits.
            false => self.kept.take(&file, name).or_else(|_| gone_is_fine(fs::remove_file(file))),
        }
    }

    /// Puts back what was sent in this time, as far as copies are there; a server that has one of them already
    /// does not mind. Gives what waits now because of it. Needs the send lock.
    pub fn resend(&self, sent: Range<SystemTime>) -> io::Result<Vec<Waiting>> {
        let mut again = self.kept.sent(sent)?;
        again.retain(|one| one.name.run_id().node_id == self.node_id);
        for one in &again {
            fs::rename(self.kept.path(&one.name), self.ready.join(one.name.as_str()))?;
        }
        Ok(again)
    }

    /// How many copies there are of what was sent.
    pub fn copies(&self) -> io::Result<usize> {
        Ok(self.kept.all()?.len())
    }

    fn remove(&self, name: &RunLogName) -> io::Result<()> {
        gone_is_fine(fs::remove_file(self.ready.join(name.as_str())))
    }

    /// Puts one aside that the server refused for good, with the reason beside it.
    pub fn reject(&self, name: &RunLogName, reason: &str, detail: &str) -> io::Result<()> {
        let text = serde_json::json!({
            "reason": reason,
            "detail": detail,
            "time": Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
            "queue_id": name.queue_id().to_string(),
        });
        let text = format!("{text:#}\n");
        durable::create_private_directory(&self.failed)?;
        durable::replace(&self.failed.join(format!("{name}.reason")), text.as_bytes(), PRIVATE)?;
        let failed = self.failed.join(name.as_str());
        gone_is_fine(fs::rename(self.ready.join(name.as_str()), &failed))?;
        durable::sync_parent(&failed)
    }

    /// How many were refused for good and are still kept.
    pub fn failed(&self) -> io::Result<usize> {
        Ok(self.refused()?.len())
    }

    fn refused(&self) -> io::Result<Vec<Waiting>> {
        let mut found = match list(&self.failed) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => vec![],
            found => found?,
        };
        found.retain(|one| one.name.run_id().node_id == self.node_id);
        Ok(found)
    }

    /// Drops what is older or more than the outbox keeps, oldest first. Gives what was dropped.
    /// What was refused is kept as long, and was counted when it was refused. Needs the send lock.
    pub fn expire(&self, retention: Retention, now: SystemTime) -> io::Result<(u64, u64)> {
        let too_old = |written: SystemTime| now.duration_since(written).is_ok_and(|age| age > retention.age);
        let waiting = self.waiting()?;
        let mut size: u64 = waiting.iter().map(|w| w.size).sum();
        self.kept.expire(retention.sent, retention.size.map(|limit| limit.saturating_sub(size)), now)?;
        let mut dropped = (0, 0);
        for one in &waiting {
            let too_much = retention.size.is_some_and(|limit| size > limit);
            if too_much || too_old(one.written) {
                self.remove(&one.name)?;
                size -= one.size;
                dropped = (dropped.0 + 1, dropped.1 + one.size);
            }
        }
        for one in self.refused()?.iter().filter(|one| too_old(one.written)) {
            for name in [one.name.to_string(), format!("{}.reason", one.name)] {
                gone_is_fine(fs::remove_file(self.failed.join(name)))?;
            }
        }
        Ok(dropped)
    }
}

fn temporary_name(name: &RunLogName) -> String {
    format!("{name}.tmp")
}

fn is_temporary(file_name: &str) -> bool {
    let name = file_name.strip_prefix('.').unwrap_or(file_name);
    name.strip_suffix(".tmp").is_some_and(|name| name.parse::<RunLogName>().is_ok())
}

fn list(directory: &Path) -> io::Result<Vec<Waiting>> {
    let mut found = vec![];
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let Some(Ok(name)) = entry.file_name().to_str().map(str::parse::<RunLogName>) else { continue };
        // A file may go between the listing and this.
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_file() && name.compression() == Compression::Gzip {
            let written = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            found.push(Waiting { name, size: metadata.len(), written });
        }
    }
    Ok(found)
}

fn gone_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(second: u32) -> RunLogName {
        format!("2026-01-02T03:04:{second:02}+00:00@root.log.gz").parse().unwrap()
    }

    fn outbox() -> (tempfile::TempDir, Outbox) {
        let root = tempfile::tempdir().unwrap();
        let outbox = Outbox::open(&Paths::below(root.path()), &NodeId::root()).unwrap();
        (root, outbox)
    }

    fn names(outbox: &Outbox) -> Vec<RunLogName> {
        outbox.waiting().unwrap().into_iter().map(|w| w.name).collect()
    }

    #[test]
    fn waits_oldest_first_and_ignores_the_rest() {
        let (_root, outbox) = outbox();
        for second in [3, 1, 2] {
            outbox.put(&name(second), b"x").unwrap();
        }
        fs::create_dir(outbox.ready.join(name(4).as_str())).unwrap();
        fs::write(outbox.ready.join("notes.txt"), "").unwrap();
        assert_eq!(names(&outbox), [name(1), name(2), name(3)]);
    }

    #[test]
    fn left_overs_of_a_killed_run_are_removed_and_nothing_else() {
        let (_root, outbox) = outbox();
        let half = outbox.temporary.join(temporary_name(&name(1)));
        let other = outbox.temporary.join("other.tmp");
        fs::write(&half, "half").unwrap();
        fs::write(&other, "not ours").unwrap();
        outbox.put(&name(2), b"whole").unwrap();
        outbox.clean().unwrap();
        assert!(!half.exists() && other.exists());
        assert_eq!(names(&outbox), [name(2)]);
    }

    #[test]
    fn retention_goes_by_age_and_by_size() {
        let (_root, outbox) = outbox();
        for second in 1..=4 {
            outbox.put(&name(second), b"12345").unwrap();
        }
        let week = Duration::from_secs(7 * 24 * 3600);
        let keep = |size| Retention { age: week, size, sent: Duration::ZERO };
        let now = SystemTime::now();
        assert_eq!(outbox.expire(keep(Some(12)), now).unwrap(), (2, 10));
        assert_eq!(names(&outbox), [name(3), name(4)]);
        assert_eq!(outbox.expire(keep(None), now + week / 2).unwrap(), (0, 0));
        assert_eq!(outbox.expire(keep(None), now + week * 2).unwrap(), (2, 10));
        assert_eq!(outbox.expire(keep(None), now - week).unwrap(), (0, 0));
    }

    #[test]
    fn a_refused_one_is_put_aside_with_its_reason() {
        let (_root, outbox) = outbox();
        outbox.put(&name(1), b"x").unwrap();
        outbox.reject(&name(1), "status 400", "bad name").unwrap();
        assert_eq!(names(&outbox), []);
        assert_eq!(outbox.failed().unwrap(), 1);
        let reason = fs::read_to_string(outbox.failed.join(format!("{}.reason", name(1)))).unwrap();
        let reason: serde_json::Value = serde_json::from_str(&reason).unwrap();
        assert_eq!(reason["reason"], "status 400");
        assert_eq!(reason["queue_id"], name(1).queue_id().to_string());
    }

    #[test]
    fn what_was_sent_is_kept_for_a_while_and_can_go_again() {
        let (_root, outbox) = outbox();
        let day = Duration::from_secs(24 * 3600);
        let keep = |size| Retention { age: day * 7, size, sent: day };
        for second in 1..=3 {
            outbox.put(&name(second), b"12345").unwrap();
            outbox.sent(&name(second), keep(None)).unwrap();
        }
        assert_eq!((names(&outbox), outbox.copies().unwrap()), (vec![], 3));
        let now = SystemTime::now();
        // Nothing of that is counted as dropped: the server has it.
        assert_eq!(outbox.expire(keep(None), now + day / 2).unwrap(), (0, 0));
        assert_eq!(outbox.copies().unwrap(), 3);
        assert_eq!(outbox.resend(now + day..now + day * 2).unwrap().len(), 0, "sent before");
        let mut again: Vec<_> =
            outbox.resend(now..now + day).unwrap().into_iter().map(|one| one.name).collect();
        again.sort_by_key(RunLogName::to_string);
        assert_eq!(again, [name(1), name(2), name(3)]);
        assert_eq!((names(&outbox).len(), outbox.copies().unwrap()), (3, 0));
        for second in 1..=3 {
            outbox.sent(&name(second), keep(None)).unwrap();
        }
        // What waits goes before copies when there is little room.
        outbox.put(&name(4), b"12345").unwrap();
        assert_eq!(outbox.expire(keep(Some(11)), now).unwrap(), (0, 0));
        assert_eq!((names(&outbox), outbox.copies().unwrap()), (vec![name(4)], 1));
        assert_eq!(outbox.expire(keep(None), now + day * 2).unwrap(), (0, 0));
        assert_eq!(outbox.copies().unwrap(), 0);
        outbox.sent(&name(4), Retention { sent: Duration::ZERO, ..keep(None) }).unwrap();
        assert_eq!((names(&outbox), outbox.copies().unwrap()), (vec![], 0));
    }

    #[test]
    fn what_was_sent_leaves_also_when_no_copy_can_be_kept() {
        let (_root, outbox) = outbox();
        outbox.put(&name(1), b"x").unwrap();
        fs::write(&outbox.kept.0, "in the way").unwrap();
        let week = Duration::from_secs(7 * 24 * 3600);
        outbox.sent(&name(1), Retention { age: week, size: None, sent: week }).unwrap();
        assert_eq!(names(&outbox), []);
    }
}
