// SPDX-License-Identifier: Apache-2.0
//! An inventory and its signature come as two files, in any order, and end alike.
//!
//! Whichever is delivered when both are there is looked at together with the other. Where that was taken, the other
//! one is removed at once instead of when its turn comes: left alone by a restart, it could not be told from one whose
//! inventory never came. Where it was refused, the other one's delivery hears of that.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use crate::spool::{
    Identity, SpoolFile,
    disposition::{Disposition, Outcome},
    settle::remove,
};

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
    Ended(Identity, Disposition),
}

/// What to do with a file.
pub(super) enum Task {
    /// Look at the pair; `other` is the other file as it is before anybody reads it.
    LookAt { pair: Pair, other: Option<Identity> },
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
            Some(State::Ended(identity, disposition)) if identity_of(&file.path).ok() == Some(identity) => {
                return Task::Ended(disposition);
            }
            _ => {}
        }
        if identity_of(&file.path).is_err_and(|e| e.kind() == io::ErrorKind::NotFound) {
            return Task::Ended(Disposition::Accepted(Outcome::Vanished));
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
        let identity = identity_of(&other).ok();
        all.insert(other, State::UnderWay);
        Task::LookAt { pair, other: identity }
    }

    /// Says how a pair ended that was looked at because of `file`, with the other one as it was before.
    pub(super) fn end(
        &self,
        pair: &Pair,
        file: &SpoolFile,
        before: Option<Identity>,
        disposition: &Disposition,
    ) {
        let other = pair.other(&file.path);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(other);
        // Another file of its name, which came meanwhile, was not looked at.
        let Some(identity) = before.filter(|before| identity_of(other).ok() == Some(*before)) else { return };
        match disposition {
            Disposition::Released(_) => {}
            Disposition::Accepted(_) if remove(other, identity).is_ok() => {}
            ended => {
                all.insert(other.to_owned(), State::Ended(identity, ended.clone()));
            }
        }
    }
}

fn identity_of(path: &Path) -> io::Result<Identity> {
    Ok(Identity::of(&path.symlink_metadata()?))
}

fn is_file(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|facts| facts.is_file())
}

#[cfg(test)]
mod tests {
    use protocol::urls::UploadKind;

    use super::*;
    use crate::spool::{
        SpoolName,
        disposition::{Reason, Rejection},
    };

    struct Place(tempfile::TempDir);

    impl Place {
        fn put(&self, name: &str, content: &str) -> SpoolFile {
            let path = self.0.path().join(name);
            fs::write(&path, content).unwrap();
            SpoolFile { path, name: SpoolName::parse(UploadKind::NewInventory, name.as_ref()).unwrap() }
        }
    }

    /// A pair of which the signature was looked at, and ended so; what its inventory is to do then.
    fn ended(disposition: &Disposition, meanwhile: impl FnOnce(&SpoolFile)) -> (Place, Task) {
        let (place, verdicts) = (Place(tempfile::tempdir().unwrap()), Verdicts::default());
        let [inventory, signature] = ["a.ocs", "a.ocs.sign"].map(|name| place.put(name, "old"));
        let Task::LookAt { pair, other } = verdicts.task(&signature) else { panic!("not a pair") };
        assert!(matches!(verdicts.task(&inventory), Task::Wait));
        meanwhile(&inventory);
        verdicts.end(&pair, &signature, other, disposition);
        let task = verdicts.task(&inventory);
        (place, task)
    }

    const TAKEN: Disposition = Disposition::Accepted(Outcome::Stored);

    #[test]
    fn what_was_taken_goes_with_its_other_file() {
        let (place, task) = ended(&TAKEN, |_| ());
        assert!(matches!(task, Task::Ended(Disposition::Accepted(Outcome::Vanished))));
        assert!(!place.0.path().join("a.ocs").exists());
    }

    #[test]
    fn what_came_meanwhile_is_another_file() {
        let (place, task) = ended(&TAKEN, |inventory| fs::write(&inventory.path, "another").unwrap());
        assert!(matches!(task, Task::LookAt { .. }));
        assert_eq!(fs::read_to_string(place.0.path().join("a.ocs")).unwrap(), "another");
    }

    #[test]
    fn what_was_refused_is_told_to_its_other_file() {
        let refused = Disposition::Rejected(Rejection {
            reason: Reason::BadSignature,
            detail: "another key".into(),
            maybe_incomplete: false,
        });
        let (place, task) = ended(&refused, |_| ());
        assert!(matches!(task, Task::Ended(told) if told == refused));
        assert!(place.0.path().join("a.ocs").exists());
    }
}
