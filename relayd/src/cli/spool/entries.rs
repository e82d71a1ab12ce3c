// SPDX-License-Identifier: Apache-2.0
//! What is in the spools' directories.

use std::{
    ffi::{OsStr, OsString},
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use chrono::{DateTime, Utc};
use protocol::{hash::QueueId, urls::UploadKind};

use super::{CommandError, Filter};
use crate::spool::{
    self,
    clock::age,
    name::{SpoolName, is_considered},
    reason_file::{self, ReasonFile},
    settle::{Directories, without_number},
};

/// The base directories.
pub struct Place {
    pub run_logs: PathBuf,
    pub inventories: PathBuf,
}

/// A file that waits or failed.
pub struct Entry {
    pub kind: UploadKind,
    /// The name in its directory.
    pub name: String,
    raw_name: OsString,
    pub path: PathBuf,
    pub failed: bool,
    pub is_directory: bool,
    pub size: u64,
    pub modified: Option<SystemTime>,
    pub age: Option<Duration>,
    pub reason: Option<ReasonFile>,
}

impl Entry {
    /// The name that the file came with.
    pub fn original_name(&self) -> OsString {
        // What the reason file says is checked: it becomes part of a path.
        let said = self.reason.as_ref().map(|reason| reason.name.as_str());
        match said.filter(|name| protocol::file_name::check(name).is_ok()) {
            Some(name) => name.into(),
            None => self
                .raw_name
                .to_str()
                .map_or_else(|| self.raw_name.clone(), |name| without_number(name).into()),
        }
    }

    /// The node that the name names.
    pub fn node_id(&self) -> Option<String> {
        SpoolName::parse(self.kind, &self.original_name()).ok()?.node_id().map(String::from)
    }

    /// The id in log lines.
    pub fn queue_id(&self) -> String {
        QueueId::of_file_name(&self.original_name().to_string_lossy()).to_string()
    }

    /// Modification time, RFC 3339.
    pub fn modified_text(&self) -> Option<String> {
        let time = DateTime::<Utc>::from(self.modified?);
        Some(time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true))
    }
}

impl Place {
    /// Where files of this kind wait.
    pub fn incoming(&self, kind: UploadKind) -> PathBuf {
        self.directories(kind).incoming
    }

    /// Calls back for each file that passes the filter.
    pub fn each(
        &self,
        filter: &Filter,
        mut f: impl FnMut(Entry) -> io::Result<()>,
    ) -> Result<(), CommandError> {
        for (kind, failed, directory) in self.parts(filter) {
            let names = match fs::read_dir(&directory) {
                Ok(names) => names,
                // A spool that is not used has no directories.
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => return Err(CommandError::Directory(directory, e)),
            };
            for name in names {
                let name = name.map_err(|e| CommandError::Directory(directory.clone(), e))?.file_name();
                match entry(kind, failed, &directory, &name) {
                    Some(entry) if passes(filter, &entry) => f(entry)?,
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// The files of this (already checked) name that pass the filter.
    pub fn named(&self, name: &str, filter: &Filter) -> Vec<Entry> {
        let found = self.parts(filter).filter_map(|(kind, failed, directory)| {
            entry(kind, failed, &directory, OsStr::new(name)).filter(|entry| passes(filter, entry))
        });
        found.collect()
    }

    fn directories(&self, kind: UploadKind) -> Directories {
        let base = if kind == UploadKind::RunLog { &self.run_logs } else { &self.inventories };
        spool::directories(kind, base)
    }

    /// The directories that can hold what the filter lets pass. `failed/` of the inventories, which
    /// both kinds share, comes once.
    fn parts(&self, filter: &Filter) -> impl Iterator<Item = (UploadKind, bool, PathBuf)> {
        let wanted = filter.place.spool.map(super::SpoolArg::kind);
        let mut parts = Vec::new();
        for kind in UploadKind::ALL {
            let directories = self.directories(kind);
            if !filter.failed && wanted.is_none_or(|wanted| wanted == kind) {
                parts.push((kind, false, directories.incoming));
            }
            let shares = matches!(wanted, Some(UploadKind::InventoryUpdate));
            let wants =
                wanted.is_none_or(|wanted| wanted == kind || (shares && kind == UploadKind::NewInventory));
            if !filter.queued && kind != UploadKind::InventoryUpdate && wants {
                parts.push((kind, true, directories.failed));
            }
        }
        parts.into_iter()
    }
}

fn entry(kind: UploadKind, failed: bool, directory: &Path, name: &OsStr) -> Option<Entry> {
    let is_theirs = match failed {
        // A reason's temporary file starts with a dot.
        true => !reason_file::is_one(name) && !name.as_encoded_bytes().starts_with(b"."),
        false => is_considered(kind, name),
    };
    if !is_theirs {
        return None;
    }
    let path = directory.join(name);
    // Gone meanwhile is as good as never there.
    let facts = path.symlink_metadata().ok()?;
    // An unreadable reason explains as little as none.
    let reason = if failed { ReasonFile::read(&path).ok().flatten() } else { None };
    let said =
        reason.as_ref().and_then(|r| UploadKind::ALL.into_iter().find(|kind| kind.segment() == r.spool));
    let same_base = |said: &UploadKind| (*said == UploadKind::RunLog) == (kind == UploadKind::RunLog);
    let modified = facts.modified().ok();
    Some(Entry {
        kind: said.filter(same_base).unwrap_or(kind),
        name: name.to_string_lossy().into_owned(),
        raw_name: name.to_owned(),
        path,
        failed,
        is_directory: facts.is_dir(),
        size: facts.len(),
        modified,
        age: modified.and_then(|time| age(SystemTime::now(), time)),
        reason,
    })
}

fn passes(filter: &Filter, entry: &Entry) -> bool {
    filter.place.spool.is_none_or(|spool| spool.kind() == entry.kind)
        && filter.older_than.is_none_or(|limit| entry.age.is_some_and(|age| age >= limit))
        && filter.reason.as_ref().is_none_or(|r| entry.reason.as_ref().is_some_and(|e| e.reason == *r))
        && filter.node.as_ref().is_none_or(|node| entry.node_id().as_ref() == Some(node))
}
