// SPDX-License-Identifier: Apache-2.0
//! The documents of the API against running daemons: each described answer is given, each given one is
//! described, bodies are of their schemas, and the curl commands run as they stand.
//!
//! | file | what |
//! |---|---|
//! | `document` | a document, and whether it describes an answer |
//! | `ask` | requests to operations |
//! | `walk` | requests whose answers are checked and remembered |
//! | `world` | the servers |
//! | `system`, `identity`, `uploads` | the answers of these operations |

mod ask;
mod document;
mod identity;
mod system;
mod uploads;
mod walk;
mod world;

use tests::{Result, identity::Keys, site::Site};

use self::{
    walk::Walk,
    world::{TinyDisk, World},
};

#[test]
fn every_described_answer_is_given_and_every_given_one_is_described() -> Result<()> {
    let walk = Walk::new()?;
    let mut world = World::start()?;
    let direct = world.realm.machine(&world.realm.root, Keys::P256)?;
    let behind = world.realm.machine(&world.relay, Keys::P256)?;
    std::thread::scope(|scope| -> Result<()> {
        let slow = [
            scope.spawn(|| identity::slow(&walk, &world, &direct)),
            scope.spawn(|| uploads::slow(&walk, &world, &behind)),
        ];
        system::walk(&walk, &world.realm.root)?;
        identity::walk(&walk, &world)?;
        uploads::often(&walk, &world)?;
        identity::often(&walk, &world)?;
        identity::closed(&walk, &world)?;
        uploads::closed(&walk, &world)?;
        identity::by_authority(&walk, &world)?;
        slow.into_iter().try_for_each(|one| one.join().map_err(|_| "a thread panicked")?)
    })?;
    let forgiven = no_room(&walk)?;
    world.realm.root.kill();
    identity::cut_off(&walk, &world, &behind)?;
    uploads::walk(&walk, &world, &behind)?;
    uploads::moved_away(&walk, &world, &behind)?;

    for (name, document) in [("local", &walk.local), ("gateway", &walk.gateway)] {
        let mut unseen = document.unseen();
        unseen.retain(|(_, status)| Some(*status) != forgiven);
        assert!(unseen.is_empty(), "{name}: described, but no request was answered so: {unseen:#?}");
    }
    Ok(())
}

/// On a full disk. Gives the status that nobody can produce here.
fn no_room(walk: &Walk) -> Result<Option<u16>> {
    let Some(disk) = TinyDisk::mount()? else {
        eprintln!("not shown: 507, because mounting a tmpfs is not permitted here");
        return Ok(Some(507));
    };
    let mut site = Site::new()?;
    let machine = site.add_machines(&site.root_id().clone(), 1)?.remove(0);
    let mut server = site.prepare_root(site.sqlite())?;
    server.set("processing.reporting.directory", disk.directory("reports"));
    server.set("processing.inventory.directory", disk.directory("inventories"));
    server.set("gateway.high_water_percent", "100");
    server.start()?;
    uploads::no_room(walk, &server, &machine, &disk)?;
    Ok(None)
}
