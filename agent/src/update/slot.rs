// SPDX-License-Identifier: Apache-2.0
//! A directory that is replaced as a whole, and the names beside it.
//!
//! | name | what |
//! |---|---|
//! | `inputs` | in use |
//! | `inputs.next` | being made, not checked; for a moment after the swap: what was in use |
//! | `inputs.previous` | what was in use before |
//! | `inputs.aside` | for a moment, where two names cannot be exchanged at once |
//!
//! Invariant: under each name there is a whole directory or none, but for `.next`.

use std::{
    ffi::OsString,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use rustix::{
    fs::{CWD, RenameFlags, renameat_with},
    io::Errno,
};

use crate::durable;

/// Names a directory as long as it exists: made of its inode, which a later one may have again, and of the moment
/// when it was made.
pub type DirectoryId = u64;

/// A directory that is replaced as a whole.
#[derive(Debug, Clone)]
pub struct Slot {
    active: PathBuf,
}

impl Slot {
    /// The directory with this name, which need not be there yet.
    pub fn new(active: PathBuf) -> Self {
        Self { active }
    }

    /// The directory in use.
    pub fn active(&self) -> &Path {
        &self.active
    }

    /// The one being made.
    pub fn next(&self) -> PathBuf {
        self.beside(".next")
    }

    /// The one that was in use before.
    pub fn previous(&self) -> PathBuf {
        self.beside(".previous")
    }

    /// A name beside it.
    pub fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = OsString::from(self.active.as_os_str());
        name.push(suffix);
        name.into()
    }

    /// Puts the next directory in the place of the active one, which then is where the next one was.
    pub fn exchange(&self) -> io::Result<()> {
        let next = self.next();
        if id_of(&self.active)?.is_none() {
            fs::rename(&next, &self.active)?;
        } else {
            match renameat_with(CWD, &next, CWD, &self.active, RenameFlags::EXCHANGE) {
                Ok(()) => {}
                // A file system, or a kernel, that cannot.
                Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => self.exchange_in_steps()?,
                Err(e) => return Err(e.into()),
            }
        }
        durable::sync_parent(&self.active)
    }

    fn exchange_in_steps(&self) -> io::Result<()> {
        let aside = self.beside(".aside");
        remove(&aside)?;
        fs::rename(&self.active, &aside)?;
        if let Err(e) = fs::rename(self.next(), &self.active) {
            fs::rename(&aside, &self.active)?;
            return Err(e);
        }
        fs::rename(&aside, self.next())
    }

    /// Ends an exchange in steps that was interrupted: with the old directory in use if there was none, else with
    /// the new one.
    pub fn mend(&self) -> io::Result<()> {
        let aside = self.beside(".aside");
        if id_of(&aside)?.is_none() {
            return Ok(());
        }
        match (id_of(&self.active)?, id_of(&self.next())?) {
            (None, _) => fs::rename(&aside, &self.active)?,
            (Some(_), None) => fs::rename(&aside, self.next())?,
            (Some(_), Some(_)) => remove(&aside)?,
        }
        durable::sync_parent(&self.active)
    }

    /// Takes the directory `new` out of use, if it is in use, and gives back the one before it; then removes it.
    pub fn revert(&self, new: DirectoryId) -> io::Result<()> {
        self.mend()?;
        if id_of(&self.active)? == Some(new) {
            match id_of(&self.next())? {
                Some(_) => self.exchange()?,
                None => {
                    fs::rename(&self.active, self.next())?;
                    durable::sync_parent(&self.active)?;
                }
            }
        }
        remove(&self.next())
    }

    /// Keeps what was in use, after an exchange, as the previous directory.
    pub fn keep_replaced(&self) -> io::Result<()> {
        let next = self.next();
        if id_of(&next)?.is_some() {
            remove(&self.previous())?;
            fs::rename(&next, self.previous())?;
            durable::sync_parent(&self.active)?;
        }
        Ok(())
    }
}

/// Which directory has this name now; `None` when there is none.
pub fn id_of(path: &Path) -> io::Result<Option<DirectoryId>> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => {
            let made = metadata.created().ok().and_then(|made| made.duration_since(UNIX_EPOCH).ok());
            let made = made.map_or(0, |made| made.as_nanos() as u64);
            // An odd factor keeps different moments apart; file systems without them have the inode alone.
            Ok(Some(metadata.ino() ^ made.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(named(path, e)),
    }
}

/// Removes what has this name, if it is there: a directory with all that is in it, a link itself.
pub fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::remove_dir_all(path) {
        Err(e) if e.kind() == io::ErrorKind::NotADirectory => fs::remove_file(path),
        removed => removed,
    };
    match removed {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(named(path, e)),
        _ => Ok(()),
    }
}

/// An error that says which file it is about.
pub fn named(path: &Path, e: io::Error) -> io::Error {
    io::Error::new(e.kind(), format!("{}: {e}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(path: &Path, content: &str) -> DirectoryId {
        fs::create_dir(path).unwrap();
        fs::write(path.join("file"), content).unwrap();
        id_of(path).unwrap().unwrap()
    }

    fn slot(root: &tempfile::TempDir) -> Slot {
        Slot::new(root.path().join("inputs"))
    }

    fn content(path: &Path) -> Option<String> {
        fs::read_to_string(path.join("file")).ok()
    }

    type Exchange = fn(&Slot) -> io::Result<()>;

    #[test]
    fn an_exchange_can_be_taken_back() {
        for exchange in [Slot::exchange as Exchange, Slot::exchange_in_steps] {
            let root = tempfile::tempdir().unwrap();
            let slot = slot(&root);
            directory(slot.active(), "old");
            let new = directory(&slot.next(), "new");
            exchange(&slot).unwrap();
            assert_eq!(content(slot.active()).unwrap(), "new");
            assert_eq!(content(&slot.next()).unwrap(), "old");
            slot.revert(new).unwrap();
            assert_eq!(content(slot.active()).unwrap(), "old");
            assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
            // Once more: nothing is left to take back.
            slot.revert(new).unwrap();
            assert_eq!(content(slot.active()).unwrap(), "old");
        }
    }

    #[test]
    fn the_first_directory_has_none_before_it() {
        let root = tempfile::tempdir().unwrap();
        let slot = slot(&root);
        let new = directory(&slot.next(), "new");
        slot.exchange().unwrap();
        assert_eq!(content(slot.active()).unwrap(), "new");
        slot.revert(new).unwrap();
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_directory_that_was_made_anew_is_another_one() {
        let root = tempfile::tempdir().unwrap();
        let slot = slot(&root);
        let mut seen = vec![];
        for _ in 0..3 {
            seen.push(directory(slot.active(), "same"));
            remove(slot.active()).unwrap();
        }
        seen.dedup();
        assert_eq!(seen.len(), 3, "an inode is used again");
        for _ in 0..2 {
            fs::write(slot.next(), "no directory").unwrap();
            remove(&slot.next()).unwrap();
            assert!(!slot.next().exists());
        }
        remove(&slot.next()).unwrap();
    }

    #[test]
    fn an_exchange_in_steps_that_stopped_anywhere_is_mended() {
        for steps in 0..=3 {
            let root = tempfile::tempdir().unwrap();
            let slot = slot(&root);
            directory(slot.active(), "old");
            let new = directory(&slot.next(), "new");
            let aside = slot.beside(".aside");
            let renames = [
                (slot.active().to_owned(), aside.clone()),
                (slot.next(), slot.active().to_owned()),
                (aside, slot.next()),
            ];
            for (from, to) in &renames[..steps] {
                fs::rename(from, to).unwrap();
            }
            slot.mend().unwrap();
            assert!(content(slot.active()).is_some(), "{steps}");
            slot.revert(new).unwrap();
            assert_eq!(content(slot.active()).unwrap(), "old", "{steps}");
            assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1, "{steps}");
        }
    }

    #[test]
    fn what_was_replaced_is_the_previous_one() {
        let root = tempfile::tempdir().unwrap();
        let slot = slot(&root);
        for round in 0..3 {
            directory(&slot.next(), &round.to_string());
            slot.exchange().unwrap();
            slot.keep_replaced().unwrap();
        }
        assert_eq!(content(slot.active()).unwrap(), "2");
        assert_eq!(content(&slot.previous()).unwrap(), "1");
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 2);
    }
}
