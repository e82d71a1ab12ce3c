// SPDX-License-Identifier: Apache-2.0
//! An inventory and its signature come as two files, in any order, and end alike.
//!
//! Whichever is delivered when both are there is looked at together with the other; the other one's
//! delivery then only hears how that ended.

use std::{
    collections::HashMap,
    fs::{self, Metadata},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use crate::spool::{SpoolFile, disposition::Disposition};

/// Both files of an inventory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) inventory: PathBuf,
    pub(super) signature: PathBuf,
}

const SIGNATURE: &str = ".sign";
const PACKED: &str = ".gz";

impl Pair {
    /// The pair to which a file belongs, if the other file is there.
    pub(super) fn of(file: &SpoolFile) -> Option<Self> {
        let name = file.name.as_str();
        let inventory = match name.strip_suffix(SIGNATURE) {
            Some(plain) => {
                let candidates = [format!("{plain}{PACKED}"), plain.to_owned()];
                candidates
                    .into_iter()
                    .map(|name| file.path.with_file_name(name))
                    .find(|path| is_file(path))?
            }
            None => file.path.clone(),
        };
        let plain = inventory.to_str()?;
        let plain = plain.strip_suffix(PACKED).unwrap_or(plain);
        let signature = PathBuf::from(format!("{plain}{SIGNATURE}"));
        is_file(&signature).then_some(Self { inventory, signature })
    }

    /// The file of the two that is not this one.
    fn other(&self, file: &Path) -> &Path {
        if file == self.signature { &self.inventory } else { &self.signature }
    }
}

/// How pairs ended of which one file is still to hear it.
#[derive(Default)]
pub(super) struct Verdicts(Mutex<HashMap<PathBuf, State>>);

enum State {
    /// Its other file is being looked at.
    UnderWay,
    /// It ended so, for a file in this state.
    Ended(Facts, Disposition),
}

/// What tells a file from a later one of its name.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Facts {
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

/// What to do with a file.
pub(super) enum Task {
    /// Look at the pair.
    LookAt(Pair),
    /// It ended already.
    Ended(Disposition),
    /// The other one is being looked at.
    Wait,
    /// The other one is not there.
    Alone,
}

/// Verdicts that are kept; a file that vanished never asks for its own, and others may ask a minute later.
const MOST: usize = 50_000;

impl Verdicts {
    /// What to do with a file that is delivered now.
    pub(super) fn task(&self, file: &SpoolFile) -> Task {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match all.remove(&file.path) {
            Some(State::UnderWay) => {
                all.insert(file.path.clone(), State::UnderWay);
                return Task::Wait;
            }
            Some(State::Ended(facts, disposition)) if Facts::read(&file.path).ok() == Some(facts) => {
                return Task::Ended(disposition);
            }
            _ => {}
        }
        let Some(pair) = Pair::of(file) else { return Task::Alone };
        let other = pair.other(&file.path).to_owned();
        if matches!(all.get(&other), Some(State::Ended(..))) {
            // It was looked at with another file of this name.
            all.remove(&other);
        }
        if all.len() >= MOST {
            all.retain(|_, state| matches!(state, State::UnderWay));
        }
        // Whoever looks at the pair by the other file meanwhile waits.
        all.insert(other, State::UnderWay);
        Task::LookAt(pair)
    }

    /// Says how a pair ended that was looked at because of `file`.
    pub(super) fn end(&self, pair: &Pair, file: &SpoolFile, disposition: &Disposition) {
        let other = pair.other(&file.path);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(other);
        if let (false, Ok(facts)) = (matches!(disposition, Disposition::Released(_)), Facts::read(other)) {
            all.insert(other.to_owned(), State::Ended(facts, disposition.clone()));
        }
    }
}

impl Facts {
    fn read(path: &Path) -> io::Result<Self> {
        let of = |facts: Metadata| Self {
            inode: facts.ino(),
            size: facts.size(),
            modified: (facts.mtime(), facts.mtime_nsec()),
        };
        path.symlink_metadata().map(of)
    }
}

fn is_file(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|facts| facts.is_file())
}
