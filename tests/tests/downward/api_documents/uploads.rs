// SPDX-License-Identifier: Apache-2.0
//! Uploads, on gateways.

use std::{fs, thread};

use chrono::Utc;
use tests::{
    Result,
    identity::{Identity, Keys},
    inventory,
    server::Server,
    simulated::{Run, USUAL_ROWS, gzip},
};

use super::{
    ask::{Ask, To, ask},
    walk::Walk,
    world::{TinyDisk, World},
};

/// Each with a good name for this machine, and a good body.
fn all(machine: &Identity) -> Result<[(&'static str, Ask); 3]> {
    let run_log = Run::new(machine.node_id.clone(), Utc::now(), USUAL_ROWS).pack(machine)?;
    let inventory = inventory::of(machine, "machine.example.com", "root")?;
    let named = |name: &str, content: &[u8]| ask().path("file_name", name).body(content.to_vec());
    Ok([
        ("putRunLog", named(&run_log.name, &run_log.content)),
        ("putInventory", named(&inventory.name, &inventory.content)),
        ("putInventoryUpdate", named(&inventory.name, &inventory.content)),
    ])
}

/// At a relay that cannot pass anything on now: what it took stays where it is.
pub fn walk(walk: &Walk, world: &World, machine: &Identity) -> Result<()> {
    let (gateway, relay) = (&walk.gateway, &world.relay);
    let to = To::gateway(relay, machine)?;
    let (nobody, stranger) = (To::anonymous(relay)?, To::gateway(relay, &Identity::random(Keys::P256)?)?);
    for (id, good) in all(machine)? {
        gateway.expect(201, id, &to, &good)?;
        gateway.expect(204, id, &to, &good)?;
        gateway.expect(409, id, &to, &good.clone().body(gzip(b"something else")?))?;
        gateway.expect(400, id, &to, &good.clone().body("not gzip"))?;
        gateway.expect(400, id, &to, &ask().path("file_name", "x.txt").body("x"))?;
        gateway.expect(401, id, &nobody, &good)?;
        gateway.expect(403, id, &stranger, &good)?;
        gateway.expect(411, id, &to, &good.clone().chunked())?;
        gateway.expect(413, id, &to, &good.clone().announced(1 << 40))?;
    }
    Ok(())
}

/// Bodies that do not come, all at a time.
pub fn slow(walk: &Walk, world: &World, machine: &Identity) -> Result<()> {
    let to = To::gateway(&world.relay, machine)?;
    thread::scope(|scope| {
        let all = all(machine)?.map(|(id, good)| {
            let (to, hanging) = (&to, good.body("").announced(1000));
            scope.spawn(move || walk.gateway.expect(408, id, to, &hanging).map(drop))
        });
        all.into_iter().try_for_each(|one| one.join().map_err(|_| "an upload panicked")?)
    })
}

/// At a server that lets each node send once a minute.
pub fn often(walk: &Walk, world: &World) -> Result<()> {
    let machine = world.strict.machine(&world.strict.root, Keys::P256)?;
    let to = To::gateway(&world.strict.root, &machine)?;
    let uploads = all(&machine)?;
    walk.gateway.expect(201, uploads[0].0, &to, &uploads[0].1)?;
    for (id, good) in &uploads {
        walk.gateway.expect(429, id, &to, good)?;
    }
    Ok(())
}

/// At a server that stores none.
pub fn closed(walk: &Walk, world: &World) -> Result<()> {
    let machine = &world.closed_machine;
    let [(id, good), ..] = all(machine)?;
    walk.gateway.expect(404, id, &To::gateway(&world.closed, machine)?, &good)?;
    Ok(())
}

/// Where the spool directories were moved away.
pub fn moved_away(walk: &Walk, world: &World, machine: &Identity) -> Result<()> {
    let to = To::gateway(&world.relay, machine)?;
    for directory in ["reports/incoming", "inventories/incoming", "inventories/accepted-nodes-updates"] {
        let directory = world.relay.directory().join(directory);
        fs::rename(&directory, directory.with_extension("away"))?;
    }
    for (id, good) in all(machine)? {
        let is_seen = || Ok(good.send(walk.gateway.operation(id)?, &to)?.status == 503);
        // A look at the disk is kept for a moment.
        tests::wait::until_true("the directory to be missed", std::time::Duration::from_secs(30), is_seen)?;
        walk.gateway.expect(503, id, &to, &good)?;
    }
    Ok(())
}

/// On a disk without room.
pub fn no_room(walk: &Walk, server: &Server, machine: &Identity, disk: &TinyDisk) -> Result<()> {
    disk.fill()?;
    let to = To::gateway(server, machine)?;
    for (id, good) in all(machine)? {
        walk.gateway.expect(507, id, &to, &good)?;
    }
    Ok(())
}
