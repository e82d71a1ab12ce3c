// SPDX-License-Identifier: Apache-2.0
//! The shared folder and shared files, on both listeners.

use std::{fs, thread, time::Duration};

use bytes::Bytes;
use protocol::shared_file::{Algorithm, Metadata};
use tests::{
    Result,
    identity::{Identity, Keys},
    server::Server,
};

use super::{
    ask::{Ask, To, ask},
    document::{Document, Seen},
    walk::Walk,
    world::World,
};

/// What lies in the shared folder.
pub const FILE: (&str, &str) = ("setup.sh", "#!/bin/sh\n");

/// Puts a file and a directory into the shared folder.
pub fn prepare(server: &Server) -> Result<()> {
    let folder = server.directory().join("shared-folder");
    fs::create_dir_all(folder.join("empty"))?;
    Ok(fs::write(folder.join(FILE.0), FILE.1)?)
}

/// A shared file, signed by its sender.
pub fn signed(content: &[u8], by: &Identity) -> Result<Bytes> {
    let mut hasher = Algorithm::Sha512.hasher()?;
    hasher.update(content)?;
    let metadata = Metadata::sign(hasher.finish()?, &by.key, "machine", "2026-01-02 03:04:05 +0000")?;
    Ok([metadata.to_string().as_bytes(), b"\n", content].concat().into())
}

/// The hash of a shared file, hexadecimal.
pub fn hash(content: &[u8]) -> Result<String> {
    let mut hasher = Algorithm::Sha512.hasher()?;
    hasher.update(content)?;
    Ok(hasher.finish()?.to_string())
}

/// The folder and the files of a root.
pub fn walk(walk: &Walk, world: &World) -> Result<()> {
    let root = &world.realm.root;
    let machine = world.realm.machine(root, Keys::P256)?;
    let as_machine = To::gateway(root, &machine)?;
    folder(&walk.local, &To::local(root))?;
    folder(&walk.gateway, &as_machine)?;
    files(&walk.local, &To::local(root), &machine)?;
    files(&walk.gateway, &as_machine, &machine)?;

    let (gateway, nobody) = (&walk.gateway, To::anonymous(root)?);
    let stranger = To::gateway(root, &Identity::random(Keys::P256)?)?;
    let of_root = ask().path("target", "root").path("source", "root").path("file_id", "x").path("path", "x");
    for id in ["getSharedFolder", "headSharedFolder", "getSharedFile", "listSharedFiles"] {
        gateway.expect_all(401, id, &nobody, &of_root)?;
        gateway.expect_all(403, id, &stranger, &of_root)?;
    }
    // What is another's is not there.
    gateway.expect_all(404, "listSharedFiles", &as_machine, &of_root)?;
    for (to, status) in
        [(To::anonymous(&world.certified)?, 401), (To::gateway(&world.certified, &machine)?, 403)]
    {
        for id in ["headSharedFile", "putSharedFile"] {
            gateway.expect_all(status, id, &to, &of_root)?;
        }
    }
    Ok(())
}

fn folder(document: &Document, to: &To) -> Result<()> {
    let at = |path: &str| ask().path("path", path);
    let get = |status, ask: &Ask| document.expect_all(status, "getSharedFolder", to, ask);
    let head = |status, ask: &Ask| document.expect_all(status, "headSharedFolder", to, ask);
    let file = get(200, &at(FILE.0))?;
    assert_eq!(file.body, FILE.1);
    for id in ["getSharedFolder", "getSharedFolderUnversioned"] {
        document.expect(206, id, to, &at(FILE.0).header("Range", "bytes=0-1"))?;
    }
    get(304, &at(FILE.0).header("If-None-Match", file.header("ETag")))?;
    get(404, &at("nothing"))?;
    get(412, &at(FILE.0).header("If-Match", "\"other\""))?;
    get(416, &at(FILE.0).header("Range", "bytes=1000-"))?;

    head(200, &at(FILE.0))?;
    head(304, &at(FILE.0).query(format!("hash={}", hex(&openssl::sha::sha256(FILE.1.as_bytes())))))?;
    head(400, &at(FILE.0).query("hash=none"))?;
    head(404, &at("nothing"))?;
    head(412, &at(FILE.0).header("If-Match", "\"other\""))?;
    head(500, &at("empty"))?;
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn named(target: &Identity, source: &Identity, id: &str) -> Ask {
    ask().path("target", &target.node_id).path("source", &source.node_id).path("file_id", id)
}

fn files(document: &Document, to: &To, machine: &Identity) -> Result<()> {
    let content = b"content";
    let (here, hashed) = (named(machine, machine, "a"), format!("hash={}", hash(content)?));
    let put = |status, ask: &Ask| document.expect_all(status, "putSharedFile", to, ask);
    let head = |status, ask: &Ask| document.expect_all(status, "headSharedFile", to, ask);
    let get = |status, ask: &Ask| document.expect_all(status, "getSharedFile", to, ask);
    let good = here.clone().query("ttl=1d").body(signed(content, machine)?);
    put(200, &good)?;
    put(400, &good.clone().query("ttl=soon"))?;
    put(
        404,
        &named(machine, &Identity::random(Keys::P256)?, "a").query("ttl=1d").body(signed(content, machine)?),
    )?;
    put(411, &good.clone().chunked())?;
    put(413, &good.clone().body("").announced(1 << 40))?;
    put(500, &good.clone().body("no metadata\n\n"))?;

    head(200, &here.clone().query(&hashed))?;
    head(400, &named(machine, machine, "a.metadata").query(&hashed))?;
    head(404, &named(machine, machine, "b").query(&hashed))?;
    head(500, &here)?;

    let file = get(200, &here)?;
    assert_eq!(&*file.body, content);
    get(200, &named(machine, machine, "a.metadata"))?;
    get(206, &here.clone().header("Range", "bytes=0-1"))?;
    get(304, &here.clone().header("If-None-Match", file.header("ETag")))?;
    get(400, &named(machine, machine, "%2e%2e"))?;
    get(404, &named(machine, machine, "b"))?;
    get(412, &here.clone().header("If-Match", "\"other\""))?;
    get(416, &here.clone().header("Range", "bytes=1000-"))?;

    let list = document.expect_all(200, "listSharedFiles", to, &here)?;
    let list = list.json()?;
    assert_eq!(list["files"][0]["file_id"], "a", "{list}");
    // A name that is no name.
    document.expect_all(404, "listSharedFiles", to, &ask().path("target", "%2e"))?;
    Ok(())
}

/// Bodies that do not come; while they are waited for, there is no turn for others.
pub fn slow(walk: &Walk, world: &World, machine: &Identity) -> Result<()> {
    let relay = &world.relay;
    for (document, to) in [(&walk.local, To::local(relay)), (&walk.gateway, To::gateway(relay, machine)?)] {
        // On a busy machine the first ones may be over before the last ones come.
        for _ in 0..5 {
            if hang(document, &to, machine)? {
                break;
            }
        }
        if !unseen(document).is_empty() {
            return Err(format!("not seen of shared files: {:?}", unseen(document)).into());
        }
    }
    Ok(())
}

/// Half as many hanging uploads again as there are turns, and what others are told meanwhile. Gives whether all
/// of it was seen.
fn hang(document: &Document, to: &To, machine: &Identity) -> Result<bool> {
    let ids = document.siblings("putSharedFile");
    let hanging = named(machine, machine, "slow").query("ttl=1d").announced(1000);
    // What is for somebody unknown is passed on, which takes a turn as well.
    let elsewhere =
        named(&Identity::random(Keys::P256)?, machine, "x").query(format!("hash={}", hash(b"x")?));
    thread::scope(|scope| {
        let (hanging, ids) = (&hanging, &ids);
        let all: Vec<_> = (0..3 * MOST_AT_A_TIME / 2)
            .map(|n| {
                scope.spawn(move || -> Result<()> {
                    let id = &ids[n % ids.len()];
                    document.check(id, &hanging.send(document.operation(id)?, to)?)
                })
            })
            .collect();
        while all.iter().filter(|one| one.is_finished()).count() <= MOST_AT_A_TIME / 2 {
            for id in document.siblings("headSharedFile") {
                document.check(&id, &elsewhere.send(document.operation(&id)?, to)?)?;
            }
            thread::sleep(Duration::from_millis(100));
        }
        all.into_iter().try_for_each(|one| one.join().map_err(|_| "an upload panicked")?)
    })?;
    Ok(unseen(document).is_empty())
}

fn unseen(document: &Document) -> Vec<Seen> {
    let mut unseen = document.unseen();
    unseen.retain(|(id, status)| id.contains("SharedFile") && [408, 503].contains(status));
    unseen
}

/// As the service has it.
const MOST_AT_A_TIME: usize = 32;

/// On a disk without room.
pub fn no_room(walk: &Walk, server: &Server, machine: &Identity) -> Result<()> {
    let good = named(machine, machine, "a").query("ttl=1d").body(signed(b"x", machine)?);
    for (document, to) in [(&walk.local, To::local(server)), (&walk.gateway, To::gateway(server, machine)?)] {
        document.expect_all(507, "putSharedFile", &to, &good)?;
    }
    Ok(())
}
