// SPDX-License-Identifier: Apache-2.0

use std::{
    collections::HashMap,
    fs::{self, File},
    io,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::{
        LazyLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use chrono::DateTime;
use openssl::pkey::{PKey, Private};
use protocol::{
    certificate::Certificate,
    hash::ContentDigest,
    node_id::NodeId,
    policy_manifest::{Expectation, FileList, Manifest, ManifestFile},
    private_key::{self, KeyKind},
};

use super::{Before, Edition, Removed, Signed, Store, StoredLines, Writer};

static SIGNER: LazyLock<(PKey<Private>, Certificate)> = LazyLock::new(|| {
    let key = private_key::generate(KeyKind::P256).unwrap();
    let certificate = private_key::self_signed(&key, &"signer".parse().unwrap()).unwrap();
    (key, certificate)
});

/// A tree: paths and contents.
type Tree<'a> = [(&'a str, &'a str)];

fn id(text: &str) -> NodeId {
    text.parse().unwrap()
}

fn files(tree: &Tree<'_>) -> FileList {
    let file = |(path, content): &(&str, &str)| ManifestFile {
        path: path.parse().unwrap(),
        size: content.len() as u64,
        sha256: ContentDigest::of(content.as_bytes()),
        executable: false,
    };
    FileList::new(tree.iter().map(file).collect()).unwrap()
}

fn open_in(tree: &Tree<'_>) -> impl FnMut(ContentDigest) -> io::Result<File> {
    let contents: HashMap<_, _> = tree
        .iter()
        .map(|(_, content)| (ContentDigest::of(content.as_bytes()), content.to_string()))
        .collect();
    move |digest| {
        let file = tempfile::NamedTempFile::new()?;
        fs::write(file.path(), &contents[&digest])?;
        file.reopen()
    }
}

/// Puts a version of a tree into the store for a node and activates it.
fn publish(writer: &Writer, node: &str, version: u64, tree: &Tree<'_>) -> Edition {
    let (edition, node) = (stage(writer, node, version, tree), id(node));
    writer.activate(&[(node, edition)], Before::Noted).unwrap();
    edition
}

fn stage(writer: &Writer, node: &str, version: u64, tree: &Tree<'_>) -> Edition {
    let files = files(tree);
    let lines = StoredLines::of(&files);
    writer.put_tree(&files, &lines, open_in(tree)).unwrap();
    let (node, created) = (id(node), DateTime::UNIX_EPOCH);
    let manifest = Manifest::new(node.clone(), version, created, None, files.into()).unwrap();
    let (key, certificate) = &*SIGNER;
    let message = manifest.sign(certificate, key).unwrap();
    let signed = Signed::new(node, version, &message, &lines);
    let edition = signed.edition;
    writer.put_manifests(&[signed]).unwrap();
    edition
}

fn writer(store: &Store) -> Writer {
    Writer::lock(store, || panic!("nobody else has it")).unwrap()
}

/// A version, and paths with contents.
type Taken = (u64, Vec<(String, String)>);

/// What a node would take, all checked.
fn taken(store: &Store, node: &str) -> io::Result<Option<Taken>> {
    let node = id(node);
    store.read(&node, |published| {
        let pinned = std::slice::from_ref(&SIGNER.1);
        let expectation = Expectation { node_id: &node, pinned, held: None, now: DateTime::UNIX_EPOCH };
        let manifest = expectation.accept(&published.manifest()?).map_err(io::Error::other)?;
        assert_eq!(manifest.version(), published.edition().version);
        assert_eq!(*manifest.files(), published.files()?);
        let contents = manifest.files().iter().map(|file| {
            let content = io::read_to_string(published.open(file.sha256)?)?;
            assert_eq!(ContentDigest::of(content.as_bytes()), file.sha256);
            Ok((file.path.to_string(), content))
        });
        Ok((manifest.version(), contents.collect::<io::Result<_>>()?))
    })
}

fn objects(store: &Store) -> usize {
    let parts = fs::read_dir(store.directory().join("objects")).unwrap();
    parts.map(|part| fs::read_dir(part.unwrap().path()).unwrap().count()).sum()
}

#[test]
fn what_is_activated_is_served_at_once_and_what_is_staged_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::new(&directory.path().join("store"));
    assert_eq!(taken(&store, "a").unwrap(), None);
    let writer = writer(&store);
    publish(&writer, "a", 1, &[("x", "1"), ("d/y", "2")]);
    assert_eq!(taken(&store, "a").unwrap().unwrap().0, 1);
    let second = stage(&writer, "a", 2, &[("x", "3")]);
    assert_eq!(taken(&store, "a").unwrap().unwrap().0, 1);
    writer.activate(&[(id("a"), second)], Before::Noted).unwrap();
    assert_eq!(store.previous_edition(&id("a")).unwrap().unwrap().version, 1);
    writer.activate(&[(id("a"), second)], Before::Kept).unwrap();
    assert_eq!(store.previous_edition(&id("a")).unwrap().unwrap().version, 1);
    assert_eq!(taken(&store, "a").unwrap(), Some((2, vec![("x".into(), "3".into())])));
    assert_eq!(taken(&store, "b").unwrap(), None);
    assert_eq!((store.nodes().unwrap(), store.editions(&id("a")).unwrap().len()), (vec![id("a")], 2));
    let head = store.active(&id("a")).unwrap().unwrap().head().unwrap();
    assert_eq!((head.version(), head.files().len()), (2, 0));
}

#[test]
fn the_same_content_is_there_once_and_nobody_else_may_read_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::new(&directory.path().join("store"));
    let writer = writer(&store);
    for (version, node) in ["a", "b", "c"].into_iter().enumerate() {
        publish(&writer, node, version as u64, &[("x", "same"), ("y", "same"), ("z", "other")]);
    }
    assert_eq!(
        (objects(&store), fs::read_dir(directory.path().join("store/lists")).unwrap().count()),
        (2, 1)
    );
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&store.object(ContentDigest::of(b"same"))), 0o600);
    assert_eq!((mode(store.directory()), mode(&store.node_directory(&id("a")))), (0o700, 0o700));
}

#[test]
fn old_versions_go_and_with_them_what_only_they_had() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::new(directory.path());
    let writer = writer(&store);
    let contents: Vec<String> = (0..6).map(|n| n.to_string()).collect();
    for (version, content) in contents.iter().enumerate() {
        publish(&writer, "a", version as u64, &[("x", content), ("y", "always")]);
    }
    // One that was staged, never activated, stays as long as it is among the newest.
    let staged = stage(&writer, "a", 9, &[("x", "staged")]);
    let removed = writer.prune(&[id("a")], 2).unwrap();
    assert_eq!(removed, Removed { versions: 3, contents: 3 });
    let left: Vec<_> = store.editions(&id("a")).unwrap().iter().map(|edition| edition.version).collect();
    assert_eq!((left, objects(&store)), (vec![3, 4, 5, 9], 5));
    assert_eq!(taken(&store, "a").unwrap().unwrap().0, 5);
    writer.activate(&[(id("a"), staged)], Before::Noted).unwrap();
    writer.prune(&[id("a")], 0).unwrap();
    // The one that was served before is kept, too.
    let left: Vec<_> = store.editions(&id("a")).unwrap().iter().map(|edition| edition.version).collect();
    assert_eq!((left, objects(&store)), (vec![5, 9], 3));
    writer.activate(&[(id("a"), staged)], Before::Forgotten).unwrap();
    writer.prune(&[id("a")], 0).unwrap();
    assert_eq!((taken(&store, "a").unwrap().unwrap().0, objects(&store)), (9, 1));
    writer.remove(&[id("a")]).unwrap();
    assert_eq!((taken(&store, "a").unwrap(), objects(&store), store.nodes().unwrap()), (None, 0, vec![]));
}

#[test]
fn damage_is_found_and_mended_by_publishing_again() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::new(directory.path());
    let writer = writer(&store);
    let tree = [("x", "content"), ("y", "other")];
    let edition = publish(&writer, "a", 1, &tree);
    for damage in ["conteNt", "", "content and more"] {
        fs::write(store.object(ContentDigest::of(b"content")), damage).unwrap();
        let said = writer.check_tree(&files(&tree)).unwrap_err().to_string();
        assert!(said.contains("content of x is missing or damaged") && said.contains("publish"), "{said}");
        writer.put_tree(&files(&tree), &StoredLines::of(&files(&tree)), open_in(&tree)).unwrap();
        writer.check_tree(&files(&tree)).unwrap();
    }
    let envelope = store.node_directory(&id("a")).join(edition.to_string());
    for (path, damage) in [(envelope, "relayd-envelope-1 99\n"), (store.list(edition.list), "")] {
        fs::write(path, damage).unwrap();
        let error = taken(&Store::new(directory.path()), "a").unwrap_err();
        assert!(error.to_string().contains("publish these policies again"), "{error}");
    }
    // A list that cannot be read may refer to anything: nothing is removed.
    publish(&writer, "b", 1, &[("z", "old")]);
    let newest = publish(&writer, "b", 2, &[("z", "new")]);
    writer.activate(&[(id("b"), newest)], Before::Forgotten).unwrap();
    assert_eq!(writer.prune(&[id("b")], 0).unwrap_err().kind(), io::ErrorKind::InvalidData);
    assert_eq!(objects(&store), 4);
}

#[test]
fn contents_that_change_while_they_are_read_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::new(directory.path());
    let writer = writer(&store);
    let files = files(&[("x", "before")]);
    let changed = writer.put_tree(&files, &StoredLines::of(&files), |_| {
        let file = tempfile::NamedTempFile::new()?;
        fs::write(file.path(), "after")?;
        file.reopen()
    });
    assert_eq!(changed.err().unwrap().kind(), io::ErrorKind::ResourceBusy);
    assert_eq!(objects(&store), 0);
}

#[test]
fn one_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::new(directory.path());
    let first = writer(&store);
    let waits = AtomicBool::new(false);
    thread::scope(|scope| {
        let second = scope.spawn(|| Writer::lock(&store, || waits.store(true, Ordering::SeqCst)).map(drop));
        let deadline = Instant::now() + Duration::from_secs(30);
        while !waits.load(Ordering::SeqCst) && Instant::now() < deadline {
            thread::yield_now();
        }
        assert!(waits.load(Ordering::SeqCst) && !second.is_finished());
        drop(first);
        second.join().unwrap().unwrap();
    });
}

/// Readers without a lock beside a writer that replaces and prunes as fast as it can: whatever they get is whole.
#[test]
fn readers_never_meet_half_a_version() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::new(directory.path());
    let writer = writer(&store);
    publish(&writer, "a", 0, &[("x", "0"), ("y", "0")]);
    let done = AtomicBool::new(false);
    let met = [AtomicU64::new(0), AtomicU64::new(0)];
    thread::scope(|scope| {
        let (store, done) = (&store, &done);
        let readers: Vec<_> = met
            .iter()
            .map(|met| {
                scope.spawn(move || {
                    let mut last = 0;
                    while !done.load(Ordering::SeqCst) {
                        // Two versions may have come and gone while one was read.
                        let Ok(read) = taken(store, "a") else { continue };
                        let (version, contents) = read.expect("something is always active");
                        assert!(version >= last);
                        assert!(contents.iter().all(|(_, content)| *content == version.to_string()));
                        last = version;
                        met.fetch_add(1, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        // So many, and more until each reader has met one, however late it got its turn.
        let deadline = Instant::now() + Duration::from_secs(30);
        let all_met = || met.iter().all(|met| met.load(Ordering::SeqCst) > 0);
        let mut version = 0;
        while version < 40 || (!all_met() && Instant::now() < deadline) {
            version += 1;
            let content = version.to_string();
            publish(&writer, "a", version, &[("x", &content), ("y", &content)]);
            writer.prune(&[id("a")], 1).unwrap();
        }
        done.store(true, Ordering::SeqCst);
        readers.into_iter().for_each(|reader| reader.join().unwrap());
        assert!(all_met(), "{met:?}");
    });
    // The active one, the one before it, and one more.
    assert_eq!(objects(&store), 3);
}
