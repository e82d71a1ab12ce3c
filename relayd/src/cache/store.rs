// SPDX-License-Identifier: Apache-2.0
//! The disk: `entries/` says what paths lead to, `objects/` has the contents, `parts/` what is on its way.
//!
//! Nothing here is `fsync`ed. A file gets its name when all of it was written, which is enough for a process
//! that is killed; and what a power cut tore does not have the digest that it should have, which is checked
//! before a content is used for the first time after a start, and again when its file is not the one that it was
//! (docs/adr/0011).

use std::{
    fs::{self, File, FileTimes},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use openssl::sha::Sha256;
use prometheus::IntCounter;
use protocol::node_id::NodeId;

use super::{
    entry::{self, Entry},
    index::{Index, Pin, Pinned, Removed},
    key::{Digest, Key, node_of, place},
    part::Part,
};
use crate::{durable, files::OpenFile};

/// What is kept, bounded in size. All that takes a `&self` and touches the disk blocks.
pub struct Store {
    directory: PathBuf,
    max_size: u64,
    index: Arc<Mutex<Index>>,
    /// Held by who gives files their names and takes them away.
    disk: Mutex<()>,
    parts: AtomicU64,
    damaged: IntCounter,
}

/// A file that can be served.
#[derive(Debug, Clone)]
pub struct Copy {
    /// What it is.
    pub entry: Entry,
    /// Its content.
    pub file: OpenFile,
    /// When the upstream confirmed it last.
    pub checked: SystemTime,
    /// Keeps the content on the disk.
    pub pin: Pin,
}

/// Why something is not kept.
#[derive(Debug, thiserror::Error)]
pub enum NotKept {
    /// Larger than all that may be kept, or everything else is in use.
    #[error("no room for {0} bytes within policies.cache.max_size")]
    NoRoom(u64),
    /// The disk.
    #[error("cannot write to the cache: {0}")]
    Disk(#[from] io::Error),
}

/// Room for a file that comes.
pub struct Room {
    index: Arc<Mutex<Index>>,
    bytes: u64,
}

/// How old the time on an entry may be. It tells, after a start, what was used last.
const TOUCHED_EVERY: Duration = Duration::from_secs(600);

impl Store {
    /// Opens the cache, makes its directories, reads what there is, and removes what is not whole.
    pub fn open(directory: &Path, max_size: u64, damaged: IntCounter) -> io::Result<Self> {
        let store = Self {
            directory: directory.to_owned(),
            max_size,
            index: Arc::default(),
            disk: Mutex::default(),
            parts: AtomicU64::new(0),
            damaged,
        };
        super::read_back::read_back(directory, &mut lock(&store.index))?;
        // The limit may be smaller than it was.
        store.room(0).ok();
        Ok(store)
    }

    /// What there is.
    pub fn index(&self) -> Arc<Mutex<Index>> {
        self.index.clone()
    }

    /// Whether a path has an entry. Does not block.
    pub fn contains(&self, key: &Key) -> bool {
        lock(&self.index).contains(key)
    }

    /// Number of entries, and bytes on the disk. Does not block.
    pub fn size(&self) -> (usize, u64) {
        lock(&self.index).size()
    }

    /// The file of a path, which counts as used now. One that is damaged is removed.
    pub fn find(&self, key: &Key) -> io::Result<Option<Copy>> {
        // It may be replaced between two of the steps.
        for _ in 0..3 {
            let Some(pinned) = lock(&self.index).get(key) else { return Ok(None) };
            match self.open_entry(key, &pinned)? {
                Found::Replaced => {}
                Found::Whole(found) => {
                    let (entry, file) = *found;
                    return Ok(Some(Copy { entry, file, checked: pinned.checked, pin: pinned.pin }));
                }
                Found::Damaged => {
                    self.damaged.inc();
                    tracing::warn!(key = %key, "a file in the cache was damaged; it is fetched again");
                    self.remove_object(&pinned.digest)?;
                }
            }
        }
        Ok(None)
    }

    fn open_entry(&self, key: &Key, pinned: &Pinned) -> io::Result<Found> {
        let Some(bytes) = read_whole(&self.entry(key))? else { return Ok(Found::Replaced) };
        let Some(entry) = Entry::from_bytes(&bytes) else { return Ok(Found::Damaged) };
        if entry.digest != pinned.digest {
            return Ok(Found::Replaced);
        }
        let file = match File::open(self.object(&pinned.digest)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Damaged),
            file => OpenFile::new(file?.into()).map_err(io::Error::other)?,
        };
        if file.size() != pinned.size {
            return Ok(Found::Damaged);
        }
        if pinned.verified != Some(*file.stamp()) {
            if digest_of(file.file())? != pinned.digest {
                return Ok(Found::Damaged);
            }
            lock(&self.index).verified(&pinned.digest, *file.stamp());
        }
        Ok(Found::Whole(Box::new((entry, file))))
    }

    /// Makes room, at the cost of what was not used for the longest and is not in use.
    pub fn room(&self, size: u64) -> Result<Room, NotKept> {
        let _disk = lock(&self.disk);
        let reserved = lock(&self.index).reserve(size, self.max_size);
        let (bytes, removed) = reserved.ok_or(NotKept::NoRoom(size))?;
        let room = Room { index: self.index.clone(), bytes };
        for removed in removed {
            self.unlink(removed)?;
        }
        Ok(room)
    }

    /// A file to write to.
    pub fn part(&self, size: Option<u64>) -> io::Result<Part> {
        let number = self.parts.fetch_add(1, Ordering::Relaxed);
        Part::create(self.directory.join("parts").join(format!("{number}")), size)
    }

    /// Keeps a content that was fetched.
    pub fn keep(&self, key: &Key, entry: Entry, part: Part, room: Room) -> Result<Copy, NotKept> {
        let _disk = lock(&self.disk);
        if self.whole_object(&entry.digest).is_none() {
            part.take(&self.object(&entry.digest))?;
        }
        // What was promised is now counted.
        drop(room);
        Ok(self.add(key, entry)?)
    }

    /// Keeps a path whose content is there already; `None` when it is not.
    pub fn link(&self, key: &Key, entry: Entry) -> Result<Option<Copy>, NotKept> {
        let pinned = self.whole_object(&entry.digest);
        // Pinned until it has one entry more.
        let Some((_, _pin)) = pinned.filter(|(size, _)| *size == entry.size) else { return Ok(None) };
        let room = self.room(0)?;
        let _disk = lock(&self.disk);
        drop(room);
        Ok(Some(self.add(key, entry)?))
    }

    /// Size of an object whose file is the one in which its content was seen to be right.
    fn whole_object(&self, digest: &Digest) -> Option<(u64, Pin)> {
        let (size, stamp, pin) = lock(&self.index).verified_object(digest)?;
        let file = OpenFile::new(File::open(self.object(digest)).ok()?.into()).ok()?;
        (*file.stamp() == stamp).then_some((size, pin))
    }

    /// With the object in place: the entry. Whoever calls this has the lock of the disk.
    fn add(&self, key: &Key, entry: Entry) -> io::Result<Copy> {
        let now = SystemTime::now();
        let written = self.write_entry(key, &entry);
        let mut index = lock(&self.index);
        let freed = match &written {
            Ok(()) => index.insert(*key, node_of(&entry.path), (entry.digest, entry.size), now),
            // An object that nobody has would stay for ever.
            Err(_) => (!index.contains_object(&entry.digest)).then_some(entry.digest),
        };
        let pinned = index.get(key);
        drop(index);
        if let Some(digest) = freed {
            remove(&self.object(&digest))?;
        }
        written?;
        let file = File::open(self.object(&entry.digest))?;
        let file = OpenFile::new(file.into()).map_err(io::Error::other)?;
        lock(&self.index).verified(&entry.digest, *file.stamp());
        Ok(Copy { entry, file, checked: now, pin: pinned.map(|pinned| pinned.pin).unwrap_or_default() })
    }

    fn write_entry(&self, key: &Key, entry: &Entry) -> io::Result<()> {
        let mut part = self.part(None)?;
        part.write(&[entry.to_bytes()?.into()])?;
        part.take(&self.entry(key))
    }

    /// The upstream says that the copy is what it has.
    pub fn checked(&self, key: &Key) -> io::Result<()> {
        let now = SystemTime::now();
        let before = lock(&self.index).checked(key, now);
        match before.map(|before| now.duration_since(before).unwrap_or_default()) {
            Some(age) if age >= TOUCHED_EVERY => match File::options().write(true).open(self.entry(key)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                file => file?.set_times(FileTimes::new().set_modified(now)),
            },
            _ => Ok(()),
        }
    }

    /// Removes what a path led to; says whether there was anything.
    pub fn remove(&self, key: &Key) -> io::Result<bool> {
        let _disk = lock(&self.disk);
        let removed = lock(&self.index).remove(key);
        removed.map(|removed| self.unlink(removed)).transpose().map(|removed| removed.is_some())
    }

    /// Removes what belongs to nodes of which `stays` is not true; says how many paths.
    pub fn remove_nodes(&self, stays: impl Fn(&NodeId) -> bool) -> io::Result<usize> {
        let keys = lock(&self.index).of_nodes(stays);
        keys.iter().try_fold(0, |count, key| Ok(count + usize::from(self.remove(key)?)))
    }

    fn remove_object(&self, digest: &Digest) -> io::Result<()> {
        let keys = lock(&self.index).of_object(digest);
        keys.iter().try_for_each(|key| self.remove(key).map(drop))
    }

    /// The entry first: one without its object is worse than the reverse.
    fn unlink(&self, removed: Removed) -> io::Result<()> {
        remove(&self.entry(&removed.key))?;
        removed.object.map_or(Ok(()), |digest| remove(&self.object(&digest)))
    }

    fn entry(&self, key: &Key) -> PathBuf {
        place(&self.directory.join("entries"), &key.to_string())
    }

    fn object(&self, digest: &Digest) -> PathBuf {
        place(&self.directory.join("objects"), &hex::encode(digest))
    }
}

enum Found {
    Whole(Box<(Entry, OpenFile)>),
    Damaged,
    Replaced,
}

impl Room {
    /// Both together.
    pub fn and(&mut self, mut more: Self) {
        self.bytes += std::mem::take(&mut more.bytes);
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        lock(&self.index).release(self.bytes);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes a file that may be gone already.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// The content of an entry's file; `None` when there is none.
pub fn read_whole(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        file => file?.take(entry::MOST).read_to_end(&mut bytes).map(|_| Some(bytes)),
    }
}

fn digest_of(mut file: &File) -> io::Result<Digest> {
    let (mut digest, mut buffer) = (Sha256::new(), vec![0; 256 * 1024]);
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(digest.finish()),
            Ok(read) => digest.update(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Makes the directories, for their owner only.
pub fn make_directories(directory: &Path) -> io::Result<()> {
    durable::create_private_directory(directory)?;
    for name in ["entries", "objects", "parts"] {
        durable::create_private_directory(&directory.join(name))?;
    }
    for name in ["entries", "objects"] {
        for byte in 0..=u8::MAX {
            let path = directory.join(name).join(hex::encode([byte]));
            if !path.is_dir() {
                // Empty ones may get lost in a power cut: they are made again.
                fs::DirBuilder::new().recursive(true).create(&path)?;
            }
        }
    }
    Ok(())
}
