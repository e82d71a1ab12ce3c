// SPDX-License-Identifier: Apache-2.0
//! Digests of files, remembered while a file stays the same.

use std::{
    collections::HashMap,
    io,
    os::unix::fs::FileExt,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use openssl::hash::{Hasher, MessageDigest};
use tokio::{sync::Semaphore, task::spawn_blocking};

use super::open::{OpenFile, Stamp, time};

/// Digests remembered in one generation; there are two. About 170 bytes each.
const GENERATION: usize = 32 * 1024;
/// Files whose digest may be worked out at a time: no more than may be useful to read at a time.
const LANES: usize = 4;
/// A file that was changed so recently may be changed again without its time stamps showing it.
const SETTLED: Duration = Duration::from_secs(2);
const PIECE: usize = 128 * 1024;

/// Digests of `N` bytes of files, bounded in number.
pub struct Digests<const N: usize> {
    algorithm: MessageDigest,
    remembered: Mutex<Generations<N>>,
    /// A file is always in the same lane: what many ask for at a time is worked out once.
    lanes: [Arc<Semaphore>; LANES],
}

/// When the newer is full it becomes the older, and what was not asked for since then is forgotten.
#[derive(Default)]
struct Generations<const N: usize> {
    newer: HashMap<(u64, u64), Remembered<N>>,
    older: HashMap<(u64, u64), Remembered<N>>,
    /// The files of the newer one, by the way they were opened last.
    ways: HashMap<Way, (u64, u64)>,
}

#[derive(Clone, Copy)]
struct Remembered<const N: usize> {
    stamp: Stamp,
    digest: [u8; N],
    way: Option<Way>,
}

/// The path by which a file was opened, as a number that nobody outside can foresee.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Way(pub u64);

impl Digests<32> {
    /// Those of SHA-256.
    pub fn sha256() -> Self {
        Self::by(MessageDigest::sha256())
    }
}

impl Digests<64> {
    /// Those of SHA-512.
    pub fn sha512() -> Self {
        Self::by(MessageDigest::sha512())
    }
}

impl<const N: usize> Digests<N> {
    fn by(algorithm: MessageDigest) -> Self {
        let lanes = std::array::from_fn(|_| Arc::new(Semaphore::new(1)));
        Self { algorithm, remembered: Mutex::default(), lanes }
    }

    /// The digest, if it is known already.
    pub fn known(&self, file: &OpenFile) -> Option<[u8; N]> {
        self.lock().get(file.stamp()).map(|known| known.digest)
    }

    /// What the file was that was opened this way last, and its digest, if that is known.
    pub fn known_by(&self, way: Way) -> Option<(Stamp, [u8; N])> {
        self.lock().by_way(way).map(|known| (known.stamp, known.digest))
    }

    /// Remembers by which way a file was opened, where its digest is known.
    pub fn opened(&self, file: &OpenFile, way: Way) {
        self.lock().opened(file.stamp(), way);
    }

    /// The digest.
    ///
    /// **Errors**: as the system says, and [`io::ErrorKind::ResourceBusy`] when the file changes while
    /// it is read.
    pub async fn of(&self, file: &OpenFile) -> io::Result<[u8; N]> {
        if let Some(known) = self.known(file) {
            return Ok(known);
        }
        let lane = self.lanes[file.stamp().identity.1 as usize % LANES].clone();
        let lane = lane.acquire_owned().await.map_err(io::Error::other)?;
        // Somebody else may have worked it out meanwhile.
        if let Some(known) = self.known(file) {
            return Ok(known);
        }
        let (read, algorithm) = (file.clone(), self.algorithm);
        let reading = spawn_blocking(move || {
            // Until it is read, whether or not somebody still waits: who comes and goes must not make
            // this server read many times at once.
            let _lane = lane;
            digest(&read, algorithm)
        });
        let digest = reading.await.map_err(io::Error::other)??;
        self.remember(file, digest);
        Ok(digest)
    }

    /// The same for who may block, and sees to it that not too many do at a time.
    pub fn of_blocking(&self, file: &OpenFile) -> io::Result<[u8; N]> {
        if let Some(known) = self.known(file) {
            return Ok(known);
        }
        let digest = digest(file, self.algorithm)?;
        self.remember(file, digest);
        Ok(digest)
    }

    fn remember(&self, file: &OpenFile, digest: [u8; N]) {
        if is_settled(file.stamp()) {
            self.lock().put(Remembered { stamp: *file.stamp(), digest, way: None });
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Generations<N>> {
        self.remembered.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl<const N: usize> Generations<N> {
    fn get(&mut self, stamp: &Stamp) -> Option<Remembered<N>> {
        let current = |known: &Remembered<N>| (known.stamp == *stamp).then_some(*known);
        if let Some(found) = self.newer.get(&stamp.identity) {
            return current(found);
        }
        let known = self.older.get(&stamp.identity).and_then(current)?;
        self.put(known);
        Some(known)
    }

    fn put(&mut self, known: Remembered<N>) {
        if self.newer.len() >= GENERATION {
            self.older = std::mem::take(&mut self.newer);
            self.ways.clear();
        }
        self.newer.insert(known.stamp.identity, known);
    }

    fn opened(&mut self, stamp: &Stamp, way: Way) {
        let Some(known) = self.newer.get_mut(&stamp.identity).filter(|known| known.stamp == *stamp) else {
            return;
        };
        known.way = Some(way);
        if self.ways.len() >= GENERATION {
            // Those in use come back with the next request.
            self.ways.clear();
        }
        self.ways.insert(way, stamp.identity);
    }

    fn by_way(&self, way: Way) -> Option<&Remembered<N>> {
        self.newer.get(self.ways.get(&way)?).filter(|known| known.way == Some(way))
    }
}

/// Whether any later change would show. A time in the future tells as well: a change sets it back.
fn is_settled(stamp: &Stamp) -> bool {
    let (now, changed) = (SystemTime::now(), time(stamp.changed));
    let apart = now.duration_since(changed).unwrap_or_else(|early| early.duration());
    apart >= SETTLED
}

/// Reads the file from its start to the size that it had; blocks.
fn digest<const N: usize>(file: &OpenFile, algorithm: MessageDigest) -> io::Result<[u8; N]> {
    let mut hasher = Hasher::new(algorithm)?;
    let mut piece = vec![0; PIECE.min(usize::try_from(file.size()).unwrap_or(PIECE)).max(1)];
    let mut at = 0;
    loop {
        match file.file().read_at(&mut piece, at) {
            Ok(0) => break,
            Ok(read) => {
                hasher.update(&piece[..read])?;
                at += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if at > file.size() {
            break;
        }
    }
    if at != file.size() || !file.stamp_now()?.same_content(file.stamp()) {
        return Err(io::ErrorKind::ResourceBusy.into());
    }
    hasher.finish()?.as_ref().try_into().map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use openssl::sha::sha256;

    use super::{super::open::open_blocking, *};

    fn open(directory: &Path) -> OpenFile {
        open_blocking(directory, &"file".parse().unwrap()).unwrap()
    }

    #[tokio::test]
    async fn a_digest_is_that_of_the_content_and_of_the_content_of_now() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("file");
        let digests = Digests::sha256();
        for content in [&b"one"[..], b"two", b"", &[7; 3 * PIECE + 1]] {
            // In place, at once, with the same size: no time stamp need tell.
            fs::write(&path, content).unwrap();
            assert_eq!(digests.of(&open(temp.path())).await.unwrap(), sha256(content));
        }
    }

    #[test]
    fn who_goes_away_does_not_make_room_for_another_reader_before_its_own_is_done() {
        // One thread reads, and has something else to do at first.
        let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
        runtime.block_on(async {
            let (release, held) = std::sync::mpsc::channel::<()>();
            let held = spawn_blocking(move || held.recv());
            let temp = tempfile::tempdir().unwrap();
            fs::write(temp.path().join("file"), "one").unwrap();
            let (digests, file) = (Digests::sha256(), open(temp.path()));
            let lane = &digests.lanes[file.stamp().identity.1 as usize % LANES];
            // Polled once, so that its reading is under way; then given up.
            let mut given_up = Box::pin(digests.of(&file));
            assert!(futures_util::poll!(given_up.as_mut()).is_pending());
            drop(given_up);
            assert_eq!(lane.available_permits(), 0);
            drop(release);
            assert!(held.await.unwrap().is_err());
            assert_eq!(digests.of(&file).await.unwrap(), sha256(b"one"));
        });
    }

    #[tokio::test]
    async fn a_file_that_changes_while_it_is_read_has_no_digest() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("file");
        fs::write(&path, "one").unwrap();
        let file = open(temp.path());
        fs::write(&path, "one and more").unwrap();
        let error = Digests::sha256().of(&file).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ResourceBusy);
    }

    #[test]
    fn what_is_not_asked_for_is_forgotten_in_the_end() {
        let stamp = |inode: u64| Stamp { identity: (1, inode), size: 0, modified: (0, 0), changed: (0, 0) };
        let known = |inode, digest| Remembered { stamp: stamp(inode), digest, way: None };
        let mut generations = Generations::<32>::default();
        generations.put(known(0, [1; 32]));
        for inode in 1..=3 * GENERATION as u64 {
            generations.put(known(inode, [2; 32]));
            if inode % 1000 == 0 {
                let found = generations.get(&stamp(0)).map(|known| known.digest);
                assert_eq!(found, Some([1; 32]), "asked for all the time");
            }
        }
        assert!(generations.get(&stamp(1)).is_none());
        assert!(generations.newer.len() + generations.older.len() <= 2 * GENERATION);
        let changed = Stamp { size: 1, ..stamp(0) };
        assert!(generations.get(&changed).is_none(), "another content");
    }

    #[test]
    fn what_was_changed_just_now_is_not_remembered() {
        let seconds = |ago: i64| {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
            let changed = (i64::try_from(now).unwrap() - ago, 0);
            is_settled(&Stamp { identity: (1, 1), size: 0, modified: (0, 0), changed })
        };
        assert_eq!([-60, 0, 60].map(seconds), [true, false, true]);
    }
}
