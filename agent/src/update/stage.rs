// SPDX-License-Identifier: Apache-2.0
//! The directory that is being made: files of this user only, on stable storage before it is used.
//!
//! Files are made anew and never linked to those in use: the policy command may write to its files, and what it
//! writes must not show in another version of them.

use std::{
    collections::BTreeSet,
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    thread,
};

use protocol::relative_path::RelativePath;

use super::slot::{self, DirectoryId};
use crate::durable;

/// Threads that sync: the file system writes several files with one commit of its journal.
const SYNCING: usize = 4;

/// A directory that is being made.
#[derive(Debug)]
pub struct Stage {
    root: PathBuf,
    directories: BTreeSet<PathBuf>,
    files: Vec<PathBuf>,
}

impl Stage {
    /// Starts from nothing.
    pub fn begin(root: PathBuf) -> io::Result<Self> {
        slot::remove(&root)?;
        durable::create_parent(&root)?;
        DirBuilder::new().mode(0o700).create(&root).map_err(|e| slot::named(&root, e))?;
        Ok(Self { directories: BTreeSet::from([root.clone()]), root, files: vec![] })
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Makes a directory with those above it.
    pub fn directory(&mut self, path: &RelativePath) -> io::Result<()> {
        self.make(&self.root.join(path.as_path()))
    }

    /// Makes a new file, with the directories above it. **Errors**: there is one with this name.
    pub fn create(&mut self, path: &RelativePath, executable: bool) -> io::Result<File> {
        let path = self.root.join(path.as_path());
        self.make(path.parent().unwrap_or(&self.root.clone()))?;
        let mode = if executable { 0o700 } else { 0o600 };
        let opened = OpenOptions::new().read(true).write(true).create_new(true).mode(mode).open(&path);
        let file = opened.map_err(|e| slot::named(&path, e))?;
        self.files.push(path);
        Ok(file)
    }

    /// Takes back a file that was made last and is not what it should be.
    pub fn discard_last(&mut self) -> io::Result<()> {
        self.files.pop().map_or(Ok(()), fs::remove_file)
    }

    /// Brings everything to stable storage. Gives the directory's identity.
    pub fn seal(&self) -> io::Result<DirectoryId> {
        let share = self.files.len().div_ceil(SYNCING).max(1);
        thread::scope(|scope| {
            let shares: Vec<_> =
                self.files.chunks(share).map(|files| scope.spawn(move || sync_all(files))).collect();
            shares
                .into_iter()
                .try_for_each(|one| one.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into())))
        })?;
        sync_all(&self.directories)?;
        durable::sync_parent(&self.root)?;
        slot::id_of(&self.root)?.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn make(&mut self, directory: &Path) -> io::Result<()> {
        if self.directories.contains(directory) {
            return Ok(());
        }
        if let Some(above) = directory.parent() {
            self.make(above)?;
        }
        DirBuilder::new().mode(0o700).create(directory).map_err(|e| slot::named(directory, e))?;
        self.directories.insert(directory.to_owned());
        Ok(())
    }
}

fn sync_all<'a>(paths: impl IntoIterator<Item = &'a PathBuf>) -> io::Result<()> {
    paths.into_iter().try_for_each(|path| {
        File::open(path).and_then(|file| file.sync_all()).map_err(|e| slot::named(path, e))
    })
}

#[cfg(test)]
mod tests {
    use std::{io::Write, os::unix::fs::PermissionsExt};

    use super::*;

    fn path(text: &str) -> RelativePath {
        text.parse().unwrap()
    }

    #[test]
    fn files_are_for_this_user_and_made_once() {
        let root = tempfile::tempdir().unwrap();
        let place = root.path().join("a/inputs.next");
        for _ in 0..2 {
            let mut stage = Stage::begin(place.clone()).unwrap();
            stage.create(&path("x/y/plain"), false).unwrap().write_all(b"1").unwrap();
            stage.create(&path("x/program"), true).unwrap();
            stage.directory(&path("x/empty")).unwrap();
            assert!(stage.create(&path("x/program"), true).is_err(), "twice");
            assert!(stage.create(&path("x/y"), true).is_err(), "a directory");
            assert!(stage.create(&path("x/program/below"), true).is_err(), "below a file");
            stage.seal().unwrap();
        }
        let mode = |name: &str| fs::metadata(place.join(name)).unwrap().permissions().mode() & 0o7777;
        assert_eq!(
            (mode(""), mode("x/y"), mode("x/y/plain"), mode("x/program")),
            (0o700, 0o700, 0o600, 0o700)
        );
    }
}
