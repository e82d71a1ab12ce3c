// SPDX-License-Identifier: Apache-2.0
//! Looking through what is stored. No link is followed; names that cannot be those of shared files are
//! passed over. Blocks.

use std::io;

use protocol::shared_file::{Address, FileId, Listed, Name, address::METADATA};
use rustix::{
    fs::{Dir, Mode, OFlags, openat},
    io::Errno,
};

use super::store::{FILES, Store};

/// Most files of one list.
const MOST_LISTED: usize = 10_000;

/// What one node sent to another, by name: with metadata, and without.
#[derive(Default)]
pub(super) struct Sent {
    /// Ids that have metadata.
    pub(super) described: Vec<FileId>,
    /// Ids that have none.
    pub(super) bare: Vec<FileId>,
}

impl Store {
    /// The nodes for which there are files.
    pub(super) fn targets(&self) -> io::Result<Vec<Name>> {
        names(self.directory_at(&[]))
    }

    /// The nodes from which there are files for a target.
    pub(super) fn sources(&self, target: &Name) -> io::Result<Vec<Name>> {
        names(self.directory_at(&[target.as_str(), FILES]))
    }

    /// What one of them sent.
    pub(super) fn sent(&self, target: &Name, source: &Name) -> io::Result<Sent> {
        let mut sent = Sent::default();
        let found: Vec<String> = entries(self.directory_at(&[target.as_str(), FILES, source.as_str()]))?;
        for name in &found {
            match name.strip_suffix(METADATA) {
                Some(id) => sent.described.extend(id.parse::<FileId>()),
                None => sent.bare.extend(name.parse::<FileId>()),
            }
        }
        let described: std::collections::HashSet<_> = sent.described.iter().collect();
        sent.bare.retain(|id| !described.contains(id));
        Ok(sent)
    }

    /// What waits for a node at `now`, and whether that is all.
    pub(super) fn list(&self, target: &Name, now: i64) -> io::Result<(Vec<Listed>, bool)> {
        let mut listed = Vec::new();
        for source in self.sources(target)? {
            for file in self.sent(target, &source)?.described {
                let address = Address { target: target.clone(), source: source.clone(), file };
                // What cannot be read is the sweeper's to report.
                let Ok(Some(metadata)) = self.metadata(&address) else { continue };
                if metadata.has_expired(now) {
                    continue;
                }
                let Some(size) = self.size(&address, &metadata.hash_value)? else { continue };
                if listed.len() == MOST_LISTED {
                    return Ok((listed, false));
                }
                listed.push(Listed {
                    source: address.source,
                    file_id: address.file,
                    size,
                    hash: metadata.hash_value.to_string(),
                    hash_type: metadata.algorithm.name().to_owned(),
                    expires: metadata.expires,
                });
            }
        }
        Ok((listed, true))
    }

    /// Hashes of which there is content.
    pub(super) fn contents(&self) -> io::Result<Vec<String>> {
        let Some(content) = self.content()? else { return Ok(Vec::new()) };
        entries(Ok(content))
    }

    fn directory_at(&self, names: &[&str]) -> rustix::io::Result<std::os::fd::OwnedFd> {
        let how = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut at = rustix::fs::open(self.root(), how, Mode::empty())?;
        for name in names {
            at = openat(&at, *name, how | OFlags::NOFOLLOW, Mode::empty())?;
        }
        Ok(at)
    }
}

fn names(directory: rustix::io::Result<std::os::fd::OwnedFd>) -> io::Result<Vec<Name>> {
    Ok(entries(directory)?.iter().filter_map(|name| name.parse().ok()).collect())
}

/// Names in a directory; none when it is not there or is none.
fn entries(directory: rustix::io::Result<std::os::fd::OwnedFd>) -> io::Result<Vec<String>> {
    let directory = match directory {
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(Vec::new()),
        found => found?,
    };
    let mut names = Vec::new();
    for entry in Dir::read_from(&directory)? {
        if let Ok(name) = entry?.file_name().to_str()
            && !matches!(name, "." | "..")
        {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}
