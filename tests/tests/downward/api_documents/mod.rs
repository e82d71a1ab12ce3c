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
//! | `system`, `identity`, `uploads`, `shared`, `policies`, `runs`, `fleet`, `inventories` | the answers of these operations |
//! | `examples` | the curl commands |
//! | `versions` | versions side by side |
//! | `hostile` | what no operation has |

mod ask;
mod document;
mod examples;
mod fleet;
mod hostile;
mod identity;
mod inventories;
mod policies;
mod runs;
mod shared;
mod system;
mod uploads;
mod versions;
mod walk;
pub mod world;

use tests::{Result, identity::Keys, site::Site};

use crate::schemathesis;

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
            scope.spawn(|| shared::slow(&walk, &world, &behind)),
            scope.spawn(|| runs::slow(&walk, &world.strict.root)),
            scope.spawn(|| runs::slow_report(&walk, &world, &direct)),
        ];
        system::walk(&walk, &world.realm.root)?;
        identity::walk(&walk, &world)?;
        shared::walk(&walk, &world)?;
        policies::walk(&walk, &world)?;
        fleet::walk(&walk, &world)?;
        inventories::walk(&walk, &world)?;
        runs::walk(&walk, &world)?;
        runs::triggers(&walk, &world)?;
        uploads::often(&walk, &world)?;
        identity::often(&walk, &world)?;
        identity::closed(&walk, &world)?;
        uploads::closed(&walk, &world)?;
        identity::by_authority(&walk, &world)?;
        slow.into_iter().try_for_each(|one| one.join().map_err(|_| "a thread panicked")?)
    })?;
    examples::run(&walk, &world.realm)?;
    runs::too_many(&walk, &world.realm)?;
    let has_address = runs::from_elsewhere(&walk, &world)?;
    let forgiven = no_room(&walk)?;
    inventories::failed(&walk, &world.realm.root)?;
    fleet::failed(&walk, &world.realm.root)?;
    world.realm.root.kill();
    identity::cut_off(&walk, &world, &behind)?;
    policies::cut_off(&walk, &world, &behind)?;
    uploads::walk(&walk, &world, &behind)?;
    uploads::moved_away(&walk, &world, &behind)?;

    let python = schemathesis::python()?;
    for (name, document) in [("local", &walk.local), ("gateway", &walk.gateway)] {
        match &python {
            Some(python) => document.check_schemas(python)?,
            None => eprintln!("not checked: bodies of {name} against their schemas"),
        }
        let mut unseen = document.unseen();
        unseen.retain(|(id, status)| {
            Some(*status) != forgiven && (has_address || !(id.starts_with("run") && *status == 401))
        });
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
    world::with_directories(&mut server);
    server.set("shared_files.path", disk.directory("shared-files"));
    server.set("gateway.high_water_percent", "100");
    server.start()?;
    uploads::no_room(walk, &server, &machine, &disk)?;
    shared::no_room(walk, &server, &machine)?;
    Ok(None)
}
