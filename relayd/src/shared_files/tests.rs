// SPDX-License-Identifier: Apache-2.0
//! What is on the disk: after writers that meet, after crashes at each step, and after sweeps.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, LazyLock},
    thread,
    time::{Duration, SystemTime},
};

use openssl::pkey::{PKey, Private};
use prometheus::Registry;
use protocol::{
    private_key::{self, KeyKind},
    shared_file::{Address, Algorithm, Metadata},
};

use super::{
    metrics::Metrics,
    store::{Found, Store},
    sweep::Sweeper,
};
use crate::{
    gateway::disk::Room,
    spool::clock::{Clock, tests::TestClock},
};

static KEY: LazyLock<PKey<Private>> = LazyLock::new(|| private_key::generate(KeyKind::P256).unwrap());
const NEVER: i64 = i64::MAX;

fn address(file: &str) -> Address {
    Address::from_url(&format!("target/source/{file}")).unwrap()
}

fn metadata(content: &[u8], expires: i64) -> Metadata {
    let mut hasher = Algorithm::Sha512.hasher().unwrap();
    hasher.update(content).unwrap();
    let signed = Metadata::sign(hasher.finish().unwrap(), &KEY, "host", "today").unwrap();
    Metadata { expires: Some(expires), ..signed }
}

fn put(store: &Store, address: &Address, content: &[u8], expires: i64) {
    let (mut part, _) = store.new_part(0, 100).unwrap();
    part.write(content).unwrap();
    part.sync().unwrap();
    store.place(&part, &metadata(content, expires), address).unwrap();
}

/// The content of what is found, which must be what its metadata say.
fn get(store: &Store, address: &Address) -> Option<Vec<u8>> {
    let Found { metadata, content } = store.find(address, 0).unwrap()?;
    let mut bytes = vec![0; content.size() as usize];
    std::os::unix::fs::FileExt::read_exact_at(&**content.file(), &mut bytes, 0).unwrap();
    let mut hasher = metadata.algorithm.hasher().unwrap();
    hasher.update(&bytes).unwrap();
    assert!(metadata.is_of(&hasher.finish().unwrap()), "content of another file");
    Some(bytes)
}

fn sweeper(store: &Arc<Store>, clock: &Arc<TestClock>) -> Sweeper {
    let metrics = Metrics::new(&Registry::new()).unwrap();
    Sweeper::new(store.clone(), metrics, Duration::from_secs(600), clock.clone())
}

fn now(clock: &TestClock) -> i64 {
    clock.wall().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() as i64
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        match entry.file_type().unwrap().is_dir() {
            true => files.extend(files_below(&entry.path())),
            false => files.push(entry.path()),
        }
    }
    files.sort();
    files
}

#[test]
fn files_are_where_other_programs_look_for_them_and_nothing_is_left_over() {
    let temp = tempfile::tempdir().unwrap();
    let store = Store::open(temp.path());
    for content in [&b"one"[..], b"another", b"another", b""] {
        put(&store, &address("file"), content, NEVER);
        assert_eq!(get(&store, &address("file")).unwrap(), content);
        assert_eq!(fs::read(temp.path().join("target/files/source/file")).unwrap(), content);
        let stored = fs::read_to_string(temp.path().join("target/files/source/file.metadata")).unwrap();
        assert_eq!(stored, metadata_like(&stored).to_string());
        assert_eq!(files_below(temp.path()).len(), 3, "{:?}", files_below(temp.path()));
    }
    // The same content under two ids is there once, and stays until the last is gone.
    put(&store, &address("a"), b"same", NEVER);
    put(&store, &address("b"), b"same", NEVER);
    put(&store, &address("a"), b"other", NEVER);
    assert_eq!(get(&store, &address("b")).unwrap(), b"same");
    assert_eq!(get(&store, &address("a")).unwrap(), b"other");
}

fn metadata_like(text: &str) -> Metadata {
    Metadata::parse(text.as_bytes()).unwrap()
}

#[test]
fn writers_of_one_file_that_meet_leave_one_of_both_whole() {
    let temp = tempfile::tempdir().unwrap();
    let (store, address) = (Arc::new(Store::open(temp.path())), address("file"));
    put(&store, &address, b"first", NEVER);
    let clock = Arc::new(TestClock::new());
    let sweeper = sweeper(&store, &clock);
    thread::scope(|scope| {
        for writer in 0..3_u8 {
            let (store, address) = (&store, &address);
            scope.spawn(move || {
                for round in 0..20_u8 {
                    put(
                        store,
                        address,
                        &[&[writer, round][..], &vec![writer; 1000 * usize::from(round)]].concat(),
                        NEVER,
                    );
                }
            });
        }
        for _ in 0..60 {
            assert!(get(&store, &address).is_some());
            sweeper.sweep();
        }
    });
    // What was overtaken on its way in goes with the next sweep.
    sweeper.sweep();
    let last = get(&store, &address).unwrap();
    assert_eq!(fs::read(temp.path().join("target/files/source/file")).unwrap(), last);
    assert_eq!(files_below(temp.path()).len(), 3, "{:?}", files_below(temp.path()));
}

#[test]
fn whatever_a_crash_leaves_is_never_mixed_and_is_set_right() {
    let temp = tempfile::tempdir().unwrap();
    let place = temp.path().join("target/files/source");
    let content_of =
        |content: &[u8]| temp.path().join("@content").join(metadata(content, 0).hash_value.to_string());
    let store = Arc::new(Store::open(temp.path()));
    put(&store, &address("file"), b"old", NEVER);
    // The new content has its name, its metadata do not have theirs; and a part is left.
    fs::write(temp.path().join("@parts/left"), "half").unwrap();
    fs::write(content_of(b"new"), "new").unwrap();
    fs::remove_file(place.join("file")).unwrap();
    fs::hard_link(content_of(b"new"), place.join("file")).unwrap();
    // The first time for this id: content without metadata, of this program and of another.
    fs::hard_link(content_of(b"new"), place.join("never")).unwrap();
    fs::write(place.join("foreign"), "by hand").unwrap();
    let store = Arc::new(Store::open(store.root()));
    assert_eq!(files_below(&temp.path().join("@parts")), [] as [PathBuf; 0]);
    assert_eq!(get(&store, &address("file")).unwrap(), b"old");
    assert_eq!(get(&store, &address("never")), None);
    sweeper(&store, &Arc::new(TestClock::new())).sweep();
    assert_eq!(get(&store, &address("file")).unwrap(), b"old");
    assert_eq!(fs::read(place.join("file")).unwrap(), b"old");
    assert!(!place.join("never").exists() && !content_of(b"new").exists() && place.join("foreign").exists());
    // Metadata whose content is nowhere are as if there were nothing.
    fs::remove_file(content_of(b"old")).unwrap();
    fs::write(place.join("file"), "torn").unwrap();
    assert_eq!(get(&store, &address("file")), None);
    put(&store, &address("file"), b"again", NEVER);
    assert_eq!(get(&store, &address("file")).unwrap(), b"again");
}

#[test]
fn what_another_program_stored_is_served_once_it_was_found_to_be_whole() {
    let temp = tempfile::tempdir().unwrap();
    let place = temp.path().join("target/files/source");
    fs::create_dir_all(&place).unwrap();
    fs::write(place.join("file"), "content").unwrap();
    fs::write(place.join("file.metadata"), metadata(b"content", NEVER).to_string()).unwrap();
    let store = Store::open(temp.path());
    assert_eq!(get(&store, &address("file")).unwrap(), b"content");
    assert_eq!(fs::metadata(place.join("file")).unwrap().nlink(), 2, "known from now on");
    assert_eq!(get(&store, &address("file")).unwrap(), b"content");
}

#[test]
fn what_has_expired_goes_and_nothing_else() {
    let temp = tempfile::tempdir().unwrap();
    let (store, clock) = (Arc::new(Store::open(temp.path())), Arc::new(TestClock::new()));
    let place = temp.path().join("target/files/source");
    put(&store, &address("short"), b"short", now(&clock) + 60);
    put(&store, &address("long"), b"long", now(&clock) + 86_400);
    put(&store, &address("twin"), b"short", now(&clock) + 86_400);
    let no_date = Metadata { expires: None, ..metadata(b"x", 0) };
    fs::write(place.join("no-date.metadata"), no_date.to_string()).unwrap();
    fs::write(place.join("no-date"), "x").unwrap();
    fs::write(place.join("garbage.metadata"), "garbage").unwrap();
    fs::write(place.join("garbage"), "x").unwrap();
    sweeper(&store, &clock).sweep();
    assert!(get(&store, &address("short")).is_some());
    clock.pass(Duration::from_secs(61));
    assert!(store.find(&address("short"), now(&clock)).unwrap().is_none(), "before any sweep");
    // Another process, after a restart.
    let store = Arc::new(Store::open(temp.path()));
    sweeper(&store, &clock).sweep();
    let left: Vec<_> = files_below(&place)
        .iter()
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        left,
        [
            "garbage",
            "garbage.metadata",
            "long",
            "long.metadata",
            "no-date",
            "no-date.metadata",
            "twin",
            "twin.metadata"
        ]
    );
    assert_eq!(get(&store, &address("twin")).unwrap(), b"short");
}

#[test]
fn a_clock_that_jumps_removes_nothing_until_it_is_believed() {
    let temp = tempfile::tempdir().unwrap();
    let (store, clock) = (Arc::new(Store::open(temp.path())), Arc::new(TestClock::new()));
    let sweeper = sweeper(&store, &clock);
    put(&store, &address("file"), b"file", now(&clock) + 86_400);
    for days in [8, 365, -365, -8] {
        clock.jump(days);
        sweeper.sweep();
        clock.pass(Duration::from_secs(600));
        sweeper.sweep();
        assert!(get(&store, &address("file")).is_some(), "{days}");
    }
    clock.jump(365);
    sweeper.sweep();
    clock.pass(Duration::from_secs(3601));
    sweeper.sweep();
    assert!(get(&store, &address("file")).is_none(), "an hour later");
}

#[test]
fn links_lead_nowhere() {
    let temp = tempfile::tempdir().unwrap();
    let (tree, outside) = (temp.path().join("tree"), temp.path().join("outside"));
    let store = Store::open(&tree);
    put(&store, &address("file"), b"file", NEVER);
    fs::create_dir_all(outside.join("files/source")).unwrap();
    fs::rename(tree.join("target/files/source/file.metadata"), outside.join("files/source/file.metadata"))
        .unwrap();
    fs::write(outside.join("files/source/file"), "file").unwrap();
    fs::remove_dir_all(tree.join("target")).unwrap();
    std::os::unix::fs::symlink(&outside, tree.join("target")).unwrap();
    assert_eq!(get(&store, &address("file")), None);
    assert!(store.list(&"target".parse().unwrap(), 0).unwrap().0.is_empty());
    let (mut part, _) = store.new_part(0, 100).unwrap();
    part.write(b"new").unwrap();
    part.sync().unwrap();
    assert!(store.place(&part, &metadata(b"new", NEVER), &address("file")).is_err());
    assert_eq!(fs::read(outside.join("files/source/file")).unwrap(), b"file");
}

#[test]
fn what_would_fill_the_disk_is_not_begun() {
    let temp = tempfile::tempdir().unwrap();
    let store = Store::open(&temp.path().join("shared"));
    let room = |length| store.new_part(length, 100).unwrap().1;
    assert_eq!(room(1), Room::Enough);
    assert_eq!(room(u64::MAX), Room::Full);
}
