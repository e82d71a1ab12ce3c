// SPDX-License-Identifier: Apache-2.0
//! The files of one node in the spool of run logs. Names are read up to a bound, facts and reasons only of the
//! newest files of the node.

use std::{
    cmp::Reverse,
    ffi::OsString,
    fs, io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    time::Duration,
};

use chrono::{DateTime, Utc};
use memchr::memmem;
use protocol::{hash::QueueId, node_id::NodeId, run_id::RunLogName, urls::UploadKind};

use crate::{
    config::Config,
    spool::{
        self,
        clock::age,
        name::is_considered,
        reason_file::{self, ReasonFile},
        settle::without_number,
    },
};

/// Files of a node whose facts are read, in each directory.
const MOST_FILES: usize = 16;

/// What was found.
#[derive(Debug, Default)]
pub struct Files {
    /// In `incoming/`, to be delivered; the newest run first.
    pub waiting: Vec<Seen>,
    /// In `incoming/`, but nothing that the spool looks at.
    pub left_alone: Vec<Seen>,
    /// In `failed/`; the newest run first.
    pub failed: Vec<Failed>,
    /// Names that were read, in both directories.
    pub names_read: usize,
    /// Whether there were more.
    pub has_more: bool,
    /// Directories that could not be read.
    pub unreadable: Vec<(PathBuf, io::ErrorKind, String)>,
}

/// A file.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Where it is.
    pub path: PathBuf,
    /// Start of the run, by the name, which has it from the node's clock.
    pub start: Option<DateTime<Utc>>,
    /// When it was last written, by this server's clock.
    pub modified: Option<DateTime<Utc>>,
    /// For how long it has been there; `None` when it is from the future.
    pub age: Option<Duration>,
    /// The id in log lines.
    pub queue_id: QueueId,
}

/// A file that was refused for good.
#[derive(Debug, Clone)]
pub struct Failed {
    /// The file.
    pub file: Seen,
    /// Why.
    pub reason: Option<ReasonFile>,
}

/// Looks into both directories.
pub fn look(config: &Config, node: &NodeId, most_names: usize, now: DateTime<Utc>) -> Files {
    let directories = spool::directories(UploadKind::RunLog, &config.run_logs.spool.directory);
    let mut files = Files::default();
    let (waiting, left_alone): (Vec<_>, Vec<_>) = files
        .names(&directories.incoming, node, most_names)
        .into_iter()
        .partition(|name| is_considered(UploadKind::RunLog, name));
    files.waiting = newest(&directories.incoming, waiting, now);
    files.left_alone = newest(&directories.incoming, left_alone, now);
    let mut failed = files.names(&directories.failed, node, most_names);
    failed.retain(|name| !reason_file::is_one(name) && !name.as_bytes().starts_with(b"."));
    let failed = newest(&directories.failed, failed, now).into_iter().map(|file| {
        let reason = ReasonFile::read(&file.path).ok().flatten();
        Failed { file, reason }
    });
    files.failed = failed.collect();
    files
}

impl Files {
    /// The names in a directory that name the node.
    fn names(&mut self, directory: &Path, node: &NodeId, most: usize) -> Vec<OsString> {
        let entries = match fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) => {
                self.unreadable.push((directory.to_owned(), error.kind(), error.to_string()));
                return Vec::new();
            }
        };
        let finder = memmem::Finder::new(node.as_str().as_bytes());
        let mut names = Vec::new();
        for entry in entries.flatten() {
            if self.names_read >= 2 * most || names.len() >= most {
                self.has_more = true;
                break;
            }
            self.names_read += 1;
            let name = entry.file_name();
            if finder.find(name.as_bytes()).is_some() && is_of(&name, node) {
                names.push(name);
            }
        }
        names
    }
}

/// Whether a name that holds the id is about this node, and not one whose id it is only a part of.
fn is_of(name: &OsString, node: &NodeId) -> bool {
    let Some(text) = name.to_str() else { return false };
    match parsed(text) {
        Some(name) => name.run_id().node_id == *node,
        None => true,
    }
}

fn parsed(name: &str) -> Option<RunLogName> {
    without_number(name).parse().ok()
}

fn newest(directory: &Path, names: Vec<OsString>, now: DateTime<Utc>) -> Vec<Seen> {
    let start = |name: &OsString| {
        let name = parsed(name.to_str()?)?;
        Some(name.run_id().start.to_utc())
    };
    let mut names: Vec<_> = names.into_iter().map(|name| (start(&name), name)).collect();
    names.sort_by_key(|(start, _)| Reverse(*start));
    names.truncate(MOST_FILES);
    let seen = names.into_iter().filter_map(|(start, name)| {
        let path = directory.join(&name);
        // Gone meanwhile is as good as never there.
        let modified = path.symlink_metadata().ok()?.modified().ok();
        let age = modified.and_then(|modified| age(now.into(), modified));
        let queue_id = QueueId::of_file_name(without_number(&name.to_string_lossy()));
        Some(Seen { path, start, modified: modified.map(DateTime::from), age, queue_id })
    });
    seen.collect()
}
