// SPDX-License-Identifier: Apache-2.0
//! Changing the store: one at a time, and so that a crash at any moment leaves it whole.
//!
//! Order: list and contents, then manifests, then `active`. Each step lasts before the next one begins.

use std::{
    collections::HashSet,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use openssl::sha::Sha256;
use protocol::{hash::ContentDigest, node_id::NodeId, policy_manifest::FileList};
use rustix::fs::{FlockOperation, flock};

use super::{Edition, Store, batch::Batch, broken, envelope::Envelope, prune::remove_if_there};
use crate::durable::{self, Access, PRIVATE};

/// The right to change a store, until it is dropped.
pub struct Writer {
    pub(super) store: Store,
    incoming: PathBuf,
    access: Access,
    _lock: File,
}

/// A signed manifest to be put into the store.
pub struct Signed {
    /// Whose policies.
    pub node: NodeId,
    /// Which version.
    pub edition: Edition,
    envelope: Envelope,
}

impl Signed {
    /// Takes a signed message apart, of which `lines` are those about the files.
    ///
    /// **Panics** when the lines are not in it.
    pub fn new(node: NodeId, version: u64, message: &[u8], lines: &StoredLines) -> Self {
        let envelope = Envelope::of(message, &lines.0).expect("a manifest holds the lines about its files");
        Self { node, edition: Edition { version, list: lines.digest() }, envelope }
    }
}

/// What becomes of the note which version was served before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    /// It is the one that was served until now.
    Noted,
    /// It stays: the files are the same.
    Kept,
    /// There is none: who went back must say how to go back further.
    Forgotten,
}

/// The lines about files as they are in signed manifests: with CRLF.
pub struct StoredLines(Vec<u8>);

impl StoredLines {
    /// The lines of a list.
    pub fn of(files: &FileList) -> Self {
        Self(files.lines().replace('\n', "\r\n").into_bytes())
    }

    /// Their length, in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether they are about no file.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// By this they are found.
    pub fn digest(&self) -> ContentDigest {
        ContentDigest::of(&self.0)
    }
}

impl Writer {
    /// Takes the lock; makes the store when there is none. When somebody else has the lock, says so
    /// with `waiting` and waits.
    pub fn lock(store: &Store, waiting: impl FnOnce()) -> io::Result<Self> {
        let directory = store.directory();
        durable::create_private_directory(directory)?;
        let access = Access::like(directory)?.with_mode(PRIVATE);
        let lock = lock_file(&directory.join("lock"), access)?;
        if let Err(error) = flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            if error != rustix::io::Errno::WOULDBLOCK {
                return Err(error.into());
            }
            waiting();
            flock(&lock, FlockOperation::LockExclusive)?;
        }
        for name in ["objects", "lists", "nodes"] {
            durable::create_private_directory(&directory.join(name))?;
        }
        let incoming = directory.join("incoming");
        // What a publication left that did not come to its end.
        match fs::remove_dir_all(&incoming) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        durable::make_directory(&incoming, 0o700)?;
        Ok(Self { store: store.clone(), incoming, access, _lock: lock })
    }

    /// Puts a tree into the store: what it does not have yet, and what it has damaged. `open` opens the
    /// content with that digest.
    ///
    /// **Errors**: as the system says; [`io::ErrorKind::ResourceBusy`] when a content changed since its
    /// digest was taken.
    pub fn put_tree(
        &self,
        files: &FileList,
        lines: &StoredLines,
        mut open: impl FnMut(ContentDigest) -> io::Result<File>,
    ) -> io::Result<()> {
        let mut batch = self.batch(files.len() + 1);
        // First: while a list is there, what belongs to it is cleared away when nothing refers to it.
        batch.add(self.store.list(lines.digest()), |file| file.write_all(&lines.0))?;
        let mut seen = HashSet::new();
        for file in files {
            if seen.insert(file.sha256) && !self.has(file.sha256, file.size)? {
                let mut content = open(file.sha256)?;
                batch.add(self.store.object(file.sha256), |to| copy(&mut content, to, file.sha256))?;
            }
        }
        batch.commit()
    }

    /// Puts signed manifests into the store. Their trees must be there.
    pub fn put_manifests(&self, signed: &[Signed]) -> io::Result<()> {
        let mut batch = self.batch(signed.len());
        for Signed { node, edition, envelope } in signed {
            let path = self.store.node_directory(node).join(edition.to_string());
            batch.add(path, |file| file.write_all(&envelope.write()))?;
        }
        batch.commit()
    }

    /// Makes versions the ones that are served, each node at once, and notes what was served before.
    pub fn activate(&self, editions: &[(NodeId, Edition)], before: Before) -> io::Result<()> {
        let mut batch = self.batch(editions.len());
        for (node, edition) in editions {
            if before == Before::Noted
                && let Some(active) = self.store.active_edition(node)?
                && active != *edition
            {
                batch.add_link(self.store.previous_link(node), &active.to_string())?;
            }
            batch.add_link(self.store.active_link(node), &edition.to_string())?;
        }
        batch.commit()?;
        if before == Before::Forgotten {
            for (node, _) in editions {
                remove_if_there(&self.store.previous_link(node))?;
            }
        }
        Ok(())
    }

    /// Checks that all contents of a tree are there and are what they should be.
    ///
    /// **Errors**: [`io::ErrorKind::InvalidData`] names what is not; or as the system says.
    pub fn check_tree(&self, files: &FileList) -> io::Result<()> {
        for file in files {
            if !self.has(file.sha256, file.size)? {
                return Err(broken(
                    &self.store.object(file.sha256),
                    &format!("the content of {} is missing or damaged", file.path),
                ));
            }
        }
        Ok(())
    }

    /// Whether a content is there, and undamaged.
    fn has(&self, digest: ContentDigest, size: u64) -> io::Result<bool> {
        let mut file = match File::open(self.store.object(digest)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            file => file?,
        };
        Ok(file.metadata()?.len() == size && digest_of(&mut file)? == digest)
    }

    fn batch(&self, expected: usize) -> Batch<'_> {
        Batch::new(&self.incoming, self.access, expected)
    }
}

fn lock_file(path: &Path, access: Access) -> io::Result<File> {
    match durable::create(path, b"", access) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    OpenOptions::new().write(true).open(path)
}

/// SHA-256 of what is read up to the end.
pub fn digest_of(from: &mut impl Read) -> io::Result<ContentDigest> {
    copy_digest(from, &mut io::sink())
}

fn copy(from: &mut impl Read, to: &mut dyn Write, digest: ContentDigest) -> io::Result<()> {
    match copy_digest(from, to)? == digest {
        true => Ok(()),
        false => Err(io::ErrorKind::ResourceBusy.into()),
    }
}

fn copy_digest(from: &mut impl Read, to: &mut (impl Write + ?Sized)) -> io::Result<ContentDigest> {
    let (mut hasher, mut piece) = (Sha256::new(), vec![0; 64 * 1024]);
    loop {
        match from.read(&mut piece) {
            Ok(0) => return Ok(ContentDigest(hasher.finish())),
            Ok(length) => {
                hasher.update(&piece[..length]);
                to.write_all(&piece[..length])?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
