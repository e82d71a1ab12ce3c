// SPDX-License-Identifier: Apache-2.0
//! Trees of nodes, archives, manifests.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Cursor, Read},
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use protocol::{
    compression::{self, Compression},
    hash::ContentDigest,
    policy_manifest::{FileList, Manifest, ManifestFile},
    private_key::{self, KeyKind},
};
use relayd::{
    config,
    files::Files,
    http::{ServiceKind, Services},
    policies::{
        serve::PolicyServer,
        store::{Signed, Store, StoredLines, Writer},
    },
    shared_folder::SharedFolder,
};
use tokio::sync::watch;

use crate::{
    harness::{BELOW, DIRECT, Fleet, RELAY, id},
    rig::{Client, Rig, write},
};

/// The root, with a directory of trees and a store.
pub struct Served {
    pub rig: Rig,
    pub trees: PathBuf,
    pub temp: tempfile::TempDir,
}

impl Served {
    pub async fn start() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let (trees, fleet) = (temp.path().join("share"), Fleet::new());
        fs::create_dir(&trees).unwrap();
        let settings = config::Policies {
            directory: trees.clone(),
            published: temp.path().join("published"),
            key_directory: temp.path().join("key"),
            lifetime: Duration::from_secs(3600),
            keep_versions: 3,
            groups: temp.path().join("groups"),
            archives: temp.path().join("archives"),
            max_archives: 1 << 20,
        };
        // The receiver keeps its value when the sender is gone.
        let (_, nodes) = watch::channel(Arc::new(fleet.table()));
        let files = Arc::new(Files::new());
        let server = PolicyServer::new(&settings, &id("root"), nodes, files.clone(), None);
        let mut services = Services::default();
        services.add(ServiceKind::Policies, Arc::new(server));
        let folder = SharedFolder::new(temp.path().join("folder"), files, None);
        services.add(ServiceKind::SharedFolder, Arc::new(folder));
        Self { rig: Rig::start_as("root", fleet, services).await, trees, temp }
    }

    pub fn fleet(&self) -> &Fleet {
        &self.rig.gateway.fleet
    }

    /// Publishes a tree for a node.
    fn publish(&self, node: &str, version: u64, tree: &[(&str, &str)]) {
        let store = Store::new(&self.temp.path().join("published"));
        let writer = Writer::lock(&store, || ()).unwrap();
        let file = |(path, content): &(&str, &str)| ManifestFile {
            path: path.parse().unwrap(),
            size: content.len() as u64,
            sha256: ContentDigest::of(content.as_bytes()),
            executable: path.ends_with(".sh"),
        };
        let files = FileList::new(tree.iter().map(file).collect()).unwrap();
        let open = |digest| {
            let (_, content) = tree.iter().find(|(_, c)| ContentDigest::of(c.as_bytes()) == digest).unwrap();
            let path = self.temp.path().join("content");
            fs::write(&path, content)?;
            File::open(path)
        };
        let lines = StoredLines::of(&files);
        writer.put_tree(&files, &lines, open).unwrap();
        let created = "2026-01-02T03:04:05Z".parse().unwrap();
        let manifest = Manifest::new(id(node), version, created, None, Arc::new(files)).unwrap();
        let key = private_key::generate(KeyKind::P256).unwrap();
        let certificate = private_key::self_signed(&key, &id("signer")).unwrap();
        let message = manifest.sign(&certificate, &key).unwrap();
        let signed = Signed::new(id(node), version, &message, &lines);
        let edition = signed.edition;
        writer.put_manifests(&[signed]).unwrap();
        writer.activate(&[(id(node), edition)], relayd::policies::store::Before::Noted).unwrap();
    }
}

/// A file with a time, so that it is the same on two servers.
fn write_old(directory: &Path, path: &str, content: &str) {
    write(directory, path, content);
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    File::options().append(true).open(directory.join(path)).unwrap().set_modified(time).unwrap();
}

fn unix_tree(tree: &Path) {
    write_old(tree, "rules/cfengine-community/promises.cf", "promises");
    write_old(tree, "rules/cfengine-community/bin/run", "run");
    write_old(tree, "rules/cfengine-community/rudder.json", "{}");
    let executable = fs::Permissions::from_mode(0o755);
    fs::set_permissions(tree.join("rules/cfengine-community/bin/run"), executable).unwrap();
}

type Entries = BTreeMap<String, (String, u32)>;

fn untar(archive: impl Read) -> Entries {
    let mut archive = tar::Archive::new(archive);
    let entry = |entry: io::Result<tar::Entry<'_, _>>| {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().to_str().unwrap().to_owned();
        let mut content = String::new();
        entry.read_to_string(&mut content).unwrap();
        (path, (content, entry.header().mode().unwrap()))
    };
    archive.entries().unwrap().map(entry).collect()
}

fn unzip(archive: &Bytes) -> Entries {
    let mut archive = zip::ZipArchive::new(Cursor::new(archive.to_vec())).unwrap();
    let mut entries = Entries::new();
    for at in 0..archive.len() {
        let mut entry = archive.by_index(at).unwrap();
        let mut content = String::new();
        entry.read_to_string(&mut content).unwrap();
        let name = entry.name().unwrap().into_owned();
        entries.insert(name, (content, entry.unix_mode().unwrap() & 0o777));
    }
    entries
}

fn entries(expected: &[(&str, &str, u32)]) -> Entries {
    expected.iter().map(|(path, text, mode)| (path.to_string(), (text.to_string(), *mode))).collect()
}

async fn status(client: &mut Client, path: &str) -> u16 {
    client.get(path).await.status
}

#[tokio::test]
async fn a_node_gets_its_policies_and_nobody_elses() {
    let served = Served::start().await;
    write(&served.trees, &format!("{DIRECT}/rules/a.cf"), "of direct");
    write(&served.trees, &format!("{RELAY}/rules/a.cf"), "of the relay");
    write(&served.trees, &format!("{RELAY}/share/{BELOW}/rules/a.cf"), "of below");
    write(&served.trees, "common/library.txt", "for all");
    let mut direct = served.rig.node(&served.fleet().direct).await;
    let mut below = served.rig.node(&served.fleet().below).await;
    let mut relay = served.rig.node(&served.fleet().relay).await;
    let mut operator = served.rig.operator().await;
    for (node, text) in [(DIRECT, "of direct"), (RELAY, "of the relay"), (BELOW, "of below")] {
        let path = format!("/policies/{node}/rules/a.cf");
        let allowed = match node {
            DIRECT => [200, 404, 404],
            BELOW => [404, 200, 200],
            _ => [404, 404, 200],
        };
        for (client, expected) in [&mut direct, &mut below, &mut relay].into_iter().zip(allowed) {
            let answer = client.get(&path).await;
            assert_eq!(answer.status, expected, "{path}");
            // As for something that is not there.
            assert_eq!(answer.text(), if expected == 200 { text } else { "NOT FOUND" });
        }
        for prefix in ["/rudder/relay-api/1", "/rudder/relay-api"] {
            assert_eq!(operator.get(&format!("{prefix}{path}")).await.text(), text);
        }
    }
    for client in [&mut direct, &mut below, &mut relay] {
        assert_eq!(client.get("/common/library.txt").await.text(), "for all");
    }
    let path = format!("/policies/{DIRECT}/rules/a.cf");
    let first = direct.get(&path).await;
    let tag = first.header("etag").unwrap();
    assert_eq!(tag, format!("\"{}\"", ContentDigest::of(b"of direct")));
    for (method, fields, expected) in [
        ("GET", &[("if-none-match", tag)][..], (304, "")),
        ("HEAD", &[("if-none-match", tag)], (304, "")),
        ("HEAD", &[], (200, "")),
        ("GET", &[("range", "bytes=3-")], (206, "direct")),
        ("PUT", &[], (404, "NOT FOUND")),
        ("POST", &[], (404, "NOT FOUND")),
        ("DELETE", &[], (404, "NOT FOUND")),
    ] {
        let answer = direct.ask(method, &path, fields).await;
        assert_eq!((answer.status, answer.text()), expected, "{method} {fields:?}");
    }
    assert_eq!(served.rig.gateway.connect(None).await.ask("GET", &path, "").await.status, 401);
    assert_eq!(status(&mut operator, "/rudder/relay-api/1/policies/unknown/rules/a.cf").await, 404);
}

#[tokio::test]
async fn archives_are_made_and_are_the_same_on_every_server() {
    let mut tags = Vec::new();
    for _ in 0..2 {
        let served = Served::start().await;
        let tree = served.trees.join(DIRECT);
        unix_tree(&tree);
        write_old(&served.trees, "common/ncf/lib.cf", "library");
        symlink("/etc/passwd", tree.join("rules/cfengine-community/link")).unwrap();
        let mut direct = served.rig.node(&served.fleet().direct).await;
        let rules = format!("/policies/{DIRECT}/rules");

        let archive = direct.get(&format!("{rules}/rudder.tar.bz2")).await;
        assert_eq!(archive.header("content-type"), Some("application/x-bzip2"));
        let policies = [
            ("policies_next/bin/run", "run", 0o755),
            ("policies_next/promises.cf", "promises", 0o644),
            ("policies_next/rudder.json", "{}", 0o644),
        ];
        assert_eq!(untar(bzip2::read::BzDecoder::new(&*archive.body)), entries(&policies));
        let whole = policies
            .map(|(path, text, mode)| (path.replace("policies_next", "cfengine-community"), text, mode));
        let whole: Vec<_> = whole.iter().map(|(path, text, mode)| (path.as_str(), *text, *mode)).collect();
        let gzip = direct.get(&format!("{rules}.tar.gz")).await;
        let tar = compression::unpack(&gzip.body, Compression::Gzip, 1 << 20).unwrap();
        assert_eq!(untar(&*tar), entries(&whole));
        let zip = direct.get(&format!("{rules}.zip")).await;
        assert_eq!(unzip(&zip.body), entries(&whole));
        let library = direct.get("/common/policies-library-linux.tar.bz2").await;
        let decoded = untar(bzip2::read::BzDecoder::new(&*library.body));
        assert_eq!(decoded, entries(&[("ncf/lib.cf", "library", 0o644)]));
        // This node has no policies for Windows.
        assert_eq!(status(&mut direct, &format!("{rules}/dsc/rudder.zip")).await, 404);

        for answer in [&archive, &gzip, &zip, &library] {
            assert_eq!(answer.status, 200);
            let tag = answer.header("etag").unwrap().to_owned();
            assert_eq!(tag, format!("\"{}\"", ContentDigest::of(&answer.body)));
            tags.push(tag);
        }
        let tag = archive.header("etag").unwrap();
        let again = direct.ask("GET", &format!("{rules}/rudder.tar.bz2"), &[("if-none-match", tag)]).await;
        assert_eq!(again.status, 304);
        let part = direct.ask("GET", &format!("{rules}/rudder.tar.bz2"), &[("range", "bytes=0-2")]).await;
        assert_eq!((part.status, part.text()), (206, "BZh"));

        write(&tree, "rules/cfengine-community/promises.cf", "changed");
        let changed = direct.ask("GET", &format!("{rules}/rudder.tar.bz2"), &[("if-none-match", tag)]).await;
        assert_eq!(changed.status, 200);
        let decoded = untar(bzip2::read::BzDecoder::new(&*changed.body));
        assert_eq!(decoded["policies_next/promises.cf"].0, "changed");

        // What another program made goes before.
        write(&tree, "rules/rudder.tar.bz2", "ready");
        assert_eq!(direct.get(&format!("{rules}/rudder.tar.bz2")).await.text(), "ready");
    }
    assert_eq!(tags[..4], tags[4..]);
}

#[tokio::test]
async fn windows_has_its_own_archive() {
    let served = Served::start().await;
    write(&served.trees, &format!("{DIRECT}/rules/dsc/rudder.ps1"), "policy");
    write(&served.trees, &format!("{DIRECT}/rules/dsc/lib/x.ps1"), "library");
    let mut direct = served.rig.node(&served.fleet().direct).await;
    let zip = direct.get(&format!("/policies/{DIRECT}/rules/dsc/rudder.zip")).await;
    assert_eq!(
        unzip(&zip.body),
        entries(&[("rudder.ps1", "policy", 0o644), ("lib/x.ps1", "library", 0o644)])
    );
    assert_eq!(zip.header("content-type"), Some("application/zip"));
    assert_eq!(status(&mut direct, &format!("/policies/{DIRECT}/rules/rudder.tar.bz2")).await, 404);
}

#[tokio::test]
async fn trees_of_other_programs_have_manifests() {
    let served = Served::start().await;
    unix_tree(&served.trees.join(DIRECT));
    let mut direct = served.rig.node(&served.fleet().direct).await;
    let path = format!("/policies/{DIRECT}/rules.manifest");
    let answer = direct.get(&path).await;
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let manifest = Manifest::from_json(&answer.body).unwrap();
    assert_eq!((manifest.node_id().as_str(), manifest.version(), manifest.expires()), (DIRECT, 0, None));
    for file in manifest.files().iter() {
        let content = direct.get(&format!("/policies/{DIRECT}/rules/{}", file.path.to_url())).await;
        assert_eq!((content.status, ContentDigest::of(&content.body)), (200, file.sha256), "{}", file.path);
        assert_eq!(file.executable, file.path.file_name() == "run");
    }
    assert_eq!(manifest.files().len(), 3);
    let tag = answer.header("etag").unwrap();
    assert_eq!(direct.ask("GET", &path, &[("if-none-match", tag)]).await.status, 304);
    // A node without policies has no manifest, and not one that says that there is nothing.
    let mut relay = served.rig.node(&served.fleet().relay).await;
    fs::create_dir_all(served.trees.join(RELAY).join("rules")).unwrap();
    assert_eq!(status(&mut relay, &format!("/policies/{RELAY}/rules.manifest")).await, 404);
}

#[tokio::test]
async fn what_is_published_goes_before_the_directory() {
    let served = Served::start().await;
    unix_tree(&served.trees.join(DIRECT));
    served.publish(DIRECT, 7, &[("main.txt", "published"), ("bin/run.sh", "#!/bin/sh")]);
    let mut direct = served.rig.node(&served.fleet().direct).await;
    let rules = format!("/policies/{DIRECT}/rules");
    let file = direct.get(&format!("{rules}/main.txt")).await;
    assert_eq!((file.text(), file.header("content-type")), ("published", Some("text/plain")));
    assert_eq!(file.header("etag"), Some(&*format!("\"{}\"", ContentDigest::of(b"published"))));
    assert_eq!(status(&mut direct, &format!("{rules}/cfengine-community/promises.cf")).await, 404);

    let manifest = direct.get(&format!("{rules}.manifest")).await;
    assert!(manifest.header("content-type").unwrap().starts_with("multipart/signed"));
    assert_eq!(Manifest::read_unverified(&manifest.body).unwrap().version(), 7);
    let tag = manifest.header("etag").unwrap();
    assert_eq!(direct.ask("GET", &format!("{rules}.manifest"), &[("if-none-match", tag)]).await.status, 304);

    let expected = [("bin/run.sh", "#!/bin/sh", 0o755), ("main.txt", "published", 0o644)];
    let zip = direct.get(&format!("{rules}.zip")).await;
    assert_eq!(unzip(&zip.body), entries(&expected));
    let unix = direct.get(&format!("{rules}/rudder.tar.bz2")).await;
    let expected =
        [("policies_next/bin/run.sh", "#!/bin/sh", 0o755), ("policies_next/main.txt", "published", 0o644)];
    assert_eq!(untar(bzip2::read::BzDecoder::new(&*unix.body)), entries(&expected));

    served.publish(DIRECT, 8, &[("main.txt", "newer")]);
    assert_eq!(direct.get(&format!("{rules}/main.txt")).await.text(), "newer");
    let newer = direct.ask("GET", &format!("{rules}.manifest"), &[("if-none-match", tag)]).await;
    assert_eq!((newer.status, Manifest::read_unverified(&newer.body).unwrap().version()), (200, 8));
}

#[tokio::test]
async fn archives_that_nobody_asks_for_make_room() {
    let served = Served::start().await;
    let mut direct = served.rig.node(&served.fleet().direct).await;
    // Incompressible, so that two archives take more than the limit.
    let noise = |seed: u32| -> String {
        let mut state = seed;
        let next = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            char::from(b'!' + (state >> 24) as u8 % 90)
        };
        (0..700_000).map(next).collect()
    };
    let kept = || fs::read_dir(served.temp.path().join("archives")).unwrap().count();
    for seed in 1..4 {
        served.publish(DIRECT, u64::from(seed), &[("noise", &noise(seed))]);
        assert_eq!(status(&mut direct, &format!("/policies/{DIRECT}/rules.zip")).await, 200);
        assert_eq!(kept(), 1);
    }
}
