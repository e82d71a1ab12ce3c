// SPDX-License-Identifier: Apache-2.0
//! Files for all nodes and from node to node, over relays.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Output,
    time::Duration,
};

use bytes::Bytes;
use hyper::Method;
use protocol::shared_file::{List, PATH};
use tests::{
    Result,
    client::{self, Reply},
    identity::Identity,
    node::Node,
    proxy::{Faults, Proxy},
    realm::{Realm, wait_known},
    server::Server,
    wait,
};

/// How long anything that is waited for may take.
const PATIENCE: Duration = Duration::from_secs(25);
/// By how much a server may grow, however large a file is.
const GROWTH: u64 = 32 << 20;

/// Bytes of the large file; `RELAYD_LARGE_FILE` says other MiB, such as 1024.
fn large_file() -> u64 {
    std::env::var("RELAYD_LARGE_FILE").map_or(96, |mib| mib.parse().unwrap()) << 20
}

/// `sender ─ left ─ road ─ root ─ right ─ receiver`. Relays go before the root's directory.
struct World {
    sender: Node,
    receiver: Node,
    left: Server,
    right: Server,
    /// Between the left relay and the root.
    road: Proxy,
    realm: Realm,
}

impl World {
    /// The sender has a key of this kind.
    fn start(key: &str) -> Result<Self> {
        let mut realm = Realm::prepare()?;
        realm.root.set("shared_files.max_body_size", "\"2GiB\"");
        realm.root.set("shared_files.cleanup.frequency", "1");
        realm.root.start()?;
        let relay = |realm: &Realm, port: u16| {
            let identity = Identity::random(tests::identity::Keys::P256)?;
            let mut relay = realm.relay_of(&identity, &realm.root, port)?;
            relay.set("shared_files.max_body_size", "\"2GiB\"");
            relay.start()?;
            Ok::<_, tests::Error>(relay)
        };
        let road = Proxy::start(realm.root.gateway())?;
        let left = relay(&realm, road.address().port())?;
        let right = relay(&realm, realm.root.gateway().port())?;
        let sender = enrolled(&realm, &left, "sender", key)?;
        let receiver = enrolled(&realm, &right, "receiver", "p256")?;
        wait_known(&realm.root, receiver.identity())?;
        Ok(Self { sender, receiver, left, right, road, realm })
    }

    fn put(&self, file: &Path, options: &[&str]) -> Result<Output> {
        let (target, file) = (self.receiver.node_id().as_str(), file.display().to_string());
        self.sender.agent(&[&["share", "put", target, &file], options].concat())
    }

    fn get(&self, id: &str, to: &Path) -> Result<Output> {
        let (file, to) = (format!("{}/{id}", self.sender.node_id()), to.display().to_string());
        self.receiver.agent(&["share", "get", &file, "-o", &to, "--json"])
    }

    fn list(&self) -> Result<List> {
        let said = done(&self.receiver.agent(&["share", "list", "--json"])?);
        Ok(serde_json::from_str(&said)?)
    }

    /// A file of this machine.
    fn file(&self, name: &str, content: &[u8]) -> Result<PathBuf> {
        let path = self.realm.directory().join(name);
        fs::write(&path, content)?;
        Ok(path)
    }

    /// Where the root keeps what the sender sent.
    fn kept(&self) -> PathBuf {
        let (target, source) = (self.receiver.node_id().as_str(), self.sender.node_id().as_str());
        self.realm.root.directory().join("shared-files").join(target).join("files").join(source)
    }
}

/// A node with the agent that a token let in at `at`.
fn enrolled(realm: &Realm, at: &Server, name: &str, key: &str) -> Result<Node> {
    let host = format!("{name}.example.com");
    let file = realm.directory().join(format!("{name}.token"));
    fs::write(&file, realm.tokens(&host, 1)?.remove(0))?;
    let node = Node::init(&realm.directory().join(name), &["--key", key])?;
    let (port, file) = (at.gateway().port(), file.display().to_string());
    done(&node.enroll(port, at.key_hash(), &["--token-file", &file, "--hostname", &host])?);
    wait_known(at, node.identity())?;
    node.configure(port, at.key_hash(), "20260102-030405-5f3a9c1e")?;
    Ok(node)
}

/// What a command printed that succeeded.
#[track_caller]
fn done(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

fn as_node(server: &Server, identity: &Identity, method: Method, path: &str) -> Result<Reply> {
    let connector = client::connector(identity, server.key_hash())?;
    client::once(server.gateway(), &connector, method, path, &[], Bytes::new())
}

#[test]
fn a_file_goes_from_node_to_node_over_the_tree_until_its_time_is_over() -> Result<()> {
    let mut world = World::start("rsa4096")?;
    assert_eq!(world.list()?, List::default());
    let file = world.file("data.bin", &[7; 100_000])?;
    let to = world.realm.directory().join("received.bin");
    let said: serde_json::Value = serde_json::from_str(&done(&world.put(&file, &["--json"])?))?;
    assert_eq!((&said["sent"], &said["size"]), (&true.into(), &100_000.into()));
    assert!(done(&world.put(&file, &[])?).contains("already"), "HEAD goes up as well");
    let list = world.list()?;
    assert_eq!((list.files.len(), list.files[0].size, list.incomplete), (1, 100_000, None));
    let got: serde_json::Value = serde_json::from_str(&done(&world.get("data.bin", &to)?))?;
    assert_eq!(fs::read(&to)?, [7; 100_000]);
    assert_eq!(fs::metadata(&to)?.permissions().mode() & 0o777, 0o600);
    assert_eq!(got["signed_by"], world.sender.identity().key_hash().to_string());
    assert_eq!(got["sender_key_known"], false);
    // Where other programs look for it: at the first server that has the target below it.
    assert_eq!(fs::read(world.kept().join("data.bin"))?, [7; 100_000]);

    // Nobody else gets it, whoever asks whom.
    let path = format!("{PATH}/{}/{}/data.bin", world.receiver.node_id(), world.sender.node_id());
    for (server, identity, status) in [
        (&world.left, world.sender.identity(), 404),
        (&world.realm.root, world.sender.identity(), 404),
        (&world.right, world.receiver.identity(), 200),
        (&world.realm.root, world.receiver.identity(), 200),
    ] {
        for path in [&path, &format!("{path}.metadata"), &format!("{PATH}/{}/", world.receiver.node_id())] {
            let reply = as_node(server, identity, Method::GET, path)?;
            assert_eq!(reply.status, status, "{} at {} for {path}", identity.node_id, server.node_id());
        }
    }
    // The path that older relays use.
    let hash = &list.files[0].hash;
    for path in [path.replacen("/rudder/", "//", 1), path.replacen("/rudder/", "/", 1)] {
        let path = format!("{path}?hash={hash}");
        let asked = as_node(&world.left, world.sender.identity(), Method::HEAD, &path)?;
        assert_eq!(asked.status, 200, "{path}");
    }

    // What is for the relay itself waits where its own agent asks: at the server above.
    let relay = world.left.node_id().clone();
    let to_relay = ["share", "put", relay.as_str(), &file.display().to_string()];
    done(&world.sender.agent(&to_relay)?);
    let place = Path::new("shared-files").join(relay.as_str()).join("files");
    let place = place.join(world.sender.node_id().as_str()).join("data.bin");
    assert!(
        world.realm.root.directory().join(&place).exists() && !world.left.directory().join(&place).exists()
    );

    let short = world.file("short", b"short-lived")?;
    done(&world.put(&short, &["--ttl", "1"])?);
    wait::until_true("the sweeper to remove what has expired", PATIENCE, || {
        Ok(!world.kept().join("short").exists() && !world.kept().join("short.metadata").exists())
    })?;
    assert_eq!(world.list()?.files.len(), 1);
    assert_eq!(world.get("short", &to)?.status.code(), Some(1));
    assert_eq!(fs::read(&to)?, [7; 100_000], "left alone");

    // The uplink of the relay is gone: what it fetched it still has.
    world.realm.root.kill();
    done(&world.get("data.bin", &to)?);
    let list = world.list()?;
    assert_eq!(list.files.len(), 1);
    assert!(list.incomplete.is_some_and(|why| why.contains("does not answer")));
    Ok(())
}

#[test]
fn writers_that_meet_a_killed_server_and_large_files_leave_whole_files() -> Result<()> {
    let mut world = World::start("p256")?;
    let to = world.realm.directory().join("received.bin");
    let contents = [vec![1; 3_000_000], vec![2; 2_000_000]];
    let files = [world.file("one", &contents[0])?, world.file("two", &contents[1])?];
    done(&world.put(&files[0], &["--id", "file"])?);
    std::thread::scope(|scope| -> Result<()> {
        let world = &world;
        let writers = files.each_ref().map(|file| {
            scope.spawn(move || {
                for _ in 0..3 {
                    done(&world.put(file, &["--id", "file"]).expect("the agent runs"));
                }
            })
        });
        while !writers.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            done(&world.get("file", &to)?);
            assert!(contents.contains(&fs::read(&to)?), "whole, and of one of them");
        }
        Ok(())
    })?;

    // Through a relay to the root and back through another; killed on the way in, and sent again.
    let size = large_file();
    let large = world.file("large", b"")?;
    fs::File::options().write(true).open(&large)?.set_len(size)?;
    let parts = world.realm.root.directory().join("shared-files/@parts");
    // The road ends in the middle of it, a fifth of which may be what went before over the same connection: however
    // fast the machine is, the root is killed before it has all.
    world.road.set(Faults { hold_request_after: Some(size / 2), ..Faults::default() });
    let killed = std::thread::scope(|scope| -> Result<Output> {
        let (sender, target) = (world.sender.clone(), world.receiver.node_id().to_string());
        let file = large.display().to_string();
        let putting =
            scope.spawn(move || sender.agent(&["share", "put", &target, &file]).expect("the agent runs"));
        // It is read whole once before it is sent.
        let patience = PATIENCE + Duration::from_secs(size >> 24);
        wait::until_true("the file to be on its way in", patience, || {
            let parts = fs::read_dir(&parts)?;
            Ok(parts.flatten().any(|part| part.metadata().is_ok_and(|facts| facts.len() > 10_000_000)))
        })?;
        world.realm.root.kill();
        Ok(putting.join().expect("no panic"))
    })?;
    assert_eq!(killed.status.code(), Some(1), "{killed:?}");
    world.road.heal();
    world.realm.root.start()?;
    assert_eq!(fs::read_dir(&parts)?.count(), 0, "what was not finished is gone");
    assert_eq!(world.list()?.files.len(), 1, "only what was there before");
    let servers = |world: &World| -> Result<Vec<u64>> {
        let servers = [&world.left, &world.realm.root, &world.right];
        servers.into_iter().map(|server| Ok(server.usage()?.peak_memory)).collect()
    };
    let before = servers(&world)?;
    done(&world.put(&large, &[])?);
    done(&world.get("large", &to)?);
    assert_eq!(fs::metadata(&to)?.len(), size);
    // The kernel's figure is exact to some pages only: a peak can seem lower later.
    let grown: Vec<_> =
        servers(&world)?.iter().zip(&before).map(|(after, before)| after.saturating_sub(*before)).collect();
    println!("{size} bytes; the servers grew by {grown:?}");
    assert!(grown.iter().all(|grown| *grown < GROWTH), "grown by {grown:?} bytes");
    Ok(())
}

#[test]
fn files_of_the_shared_folder_are_fetched_once() -> Result<()> {
    let realm = Realm::start()?;
    let node = enrolled(&realm, &realm.root, "node", "p256")?;
    let folder = realm.root.directory().join("shared-folder/tools");
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("a file"), "one")?;
    let to = realm.directory().join("fetched");
    let fetch =
        |path: &str| node.agent(&["share", "folder-get", path, "-o", &to.display().to_string(), "--json"]);
    for (content, changed) in [("one", true), ("one", false), ("another", true)] {
        fs::write(folder.join("a file"), content)?;
        let said: serde_json::Value = serde_json::from_str(&done(&fetch("tools/a file")?))?;
        assert_eq!((fs::read_to_string(&to)?.as_str(), &said["changed"]), (content, &changed.into()));
    }
    assert_eq!(fetch("tools/other")?.status.code(), Some(1));

    // Packages make the folder of a relay: with nothing in it, it is as good as none.
    let identity = Identity::random(tests::identity::Keys::P256)?;
    let mut relay = realm.relay_of(&identity, &realm.root, realm.root.gateway().port())?;
    relay.start()?;
    let below = enrolled(&realm, &relay, "below", "p256")?;
    let through = realm.directory().join("through");
    let to_through = ["share", "folder-get", "tools/a file", "-o", &through.display().to_string()];
    let own = relay.directory().join("shared-folder");
    fs::create_dir_all(&own)?;
    done(&below.agent(&to_through)?);
    assert_eq!(fs::read_to_string(&through)?, "another");
    fs::write(own.join("own"), "")?;
    assert_eq!(
        below.agent(&to_through)?.status.code(),
        Some(1),
        "a relay with a folder of its own serves that alone"
    );
    assert_eq!(fetch("tools/../x")?.status.code(), Some(2));
    assert_eq!(fs::read_to_string(&to)?, "another");
    Ok(())
}
