// SPDX-License-Identifier: Apache-2.0
//! A relay: the journey there and back, below a root where relayd is behind httpd already.

use std::{fs, path::Path, time::Duration};

use diesel::{Connection, PgConnection, connection::SimpleConnection};
use tests::{
    Result,
    existing_database::TABLES,
    postgres::{Durability, Postgres},
    site::waiting,
    wait,
};

use crate::{
    application::{Application, take_inventories},
    can_run,
    daemon::Daemon,
    front::Front,
    log::Run,
    machine::{Machine, PASSWORD},
    place::Place,
    previous,
};

const RELAY: &str = "b5d3a5ab-0a6d-4f7c-9c07-8a5b9a8d5b2c";
const NEAR: &str = "37817c4d-fbf7-4850-a985-50021f4e8f41";
const FAR: &str = "e745a140-40bc-4b86-b6dc-084488fc906b";
const NEW: &str = "0f4b5a1e-9e3c-4d2a-8b1f-6c7d8e9f0a1b";

const UPDATES: &str = "var/rudder/inventories/accepted-nodes-updates";
/// How long anything that is waited for may take: the relay pauses for ten seconds where nobody answers.
const PATIENCE: Duration = Duration::from_secs(60);

const NEWCOMERS: &str = "var/rudder/inventories/incoming";

/// `far`, `new` ─ relay ─ root ─ `near`
struct World {
    root: Place,
    relay: Place,
    near: Machine,
    far: Machine,
    new: Machine,
    application: Application,
    runs: Vec<Run>,
}

impl World {
    fn new(directory: &Path, database: &str) -> Result<Self> {
        let (root, relay) = (Place::new(directory, "root", 2048)?, Place::new(directory, RELAY, 2048)?);
        let node = |name: &str, id| Machine::new(&directory.join(name), id, 2048);
        let (near, far, new) = (node("near", NEAR)?, node("far", FAR)?, node("new", NEW)?);
        near.attach(root.port, &root.machine.key_hash()?, false)?;
        far.attach(relay.port, &relay.machine.key_hash()?, false)?;
        new.attach(relay.port, &relay.machine.key_hash()?, true)?;
        let nodes = [(&root.machine, "root"), (&relay.machine, "root"), (&near, "root"), (&far, RELAY)];
        root.generate(&nodes, &root.machine)?;
        relay.generate(&[(&root.machine, "root"), (&relay.machine, "root"), (&far, RELAY)], &root.machine)?;
        root.configure(&configuration_of_root(&root, database))?;
        let application = Application::new(PgConnection::establish(database)?);
        Ok(Self { root, relay, near, far, new, application, runs: Vec::new() })
    }

    fn fetch(&self, node: &Machine) -> Result<()> {
        let promises = node.path("var/rudder/cfengine-community/inputs/promises.cf").display().to_string();
        let path = format!("policies/{}/rules/cfengine-community/promises.cf", node.id);
        let status = node.agent(&["fetch", &path, &promises])?;
        assert!(["200", "304"].contains(&status.as_str()), "{status}");
        Ok(())
    }

    /// What the node behind the relay, and a new one, do.
    fn uploads(&mut self) -> Result<Vec<(&'static str, String)>> {
        self.fetch(&self.far)?;
        self.runs.push(self.far.report()?);
        Ok(vec![(UPDATES, self.far.agent(&["inventory"])?), (NEWCOMERS, self.new.agent(&["inventory"])?)])
    }

    /// All of it arrives at the root.
    fn arrives(&mut self, at_root: &mut Daemon, inventories: &[(&str, String)]) -> Result<()> {
        for (directory, name) in inventories {
            wait::until_true(&format!("{name} at the root"), PATIENCE, || {
                Ok(take_inventories(&self.root, directory)?.contains(name))
            })?;
            wait::until_true("the relay to let it go", PATIENCE, || {
                Ok(waiting(&self.relay.path(directory))? == 0)
            })?;
        }
        wait::until_true("run logs at the root", PATIENCE, || {
            Ok(waiting(&self.relay.path("var/rudder/reports/incoming"))? == 0)
        })?;
        at_root.wait_drained()?;
        self.application.sees(&self.runs.iter().collect::<Vec<_>>())
    }

    /// A file for a node that this relay does not know goes up (protocol 7.4).
    fn shared_file_climbs(&self, round: &str) -> Result<()> {
        let file = self.far.path(&format!("var/rudder/tmp/{round}.bin"));
        fs::write(&file, round)?;
        assert_eq!(self.far.agent(&["share", NEAR, &file.display().to_string(), "1d"])?, "200");
        let kept = self.root.path(&format!("var/rudder/shared-files/{NEAR}/files/{FAR}/{round}.bin"));
        assert_eq!(fs::read_to_string(kept)?, round);
        Ok(())
    }
}

fn configuration_of_root(root: &Place, database: &str) -> String {
    root.deployed_configuration(&format!(
        "\n[processing.inventory]\ndirectory = \"{path}/inventories\"\noutput = \"disabled\"\n\n\
         [processing.reporting]\ndirectory = \"{path}/reports\"\noutput = \"database\"\n\n\
         [output.database]\nurl = \"{database}\"\npassword = \"not-checked\"\n",
        path = root.path("var/rudder").display()
    ))
}

fn configuration_of_relay(relay: &Place, port: u16) -> String {
    let main = relay.deployed_configuration(&format!(
        "\n[processing.inventory]\ndirectory = \"{path}/inventories\"\noutput = \"upstream\"\n\n\
         [processing.reporting]\ndirectory = \"{path}/reports\"\noutput = \"upstream\"\n\n\
         [output.upstream]\nhost = \"127.0.0.1\"\nuser = \"rudder\"\npassword = \"{PASSWORD}\"\n\
         default_password = \"rudder\"\nserver_certificate_file = \"{path}/lib/ssl/policy_server.pem\"\n",
        path = relay.path("var/rudder").display()
    ));
    let main = main.replace("lib/ssl/shared/allnodescerts.pem", "lib/ssl/nodescerts.pem");
    main.replace("core_threads = 2\n", &format!("core_threads = 2\nhttps_port = {port}\n"))
}

#[test]
fn relayd_takes_the_place_of_the_daemon_of_a_relay_and_gives_it_back() -> Result<()> {
    if !can_run()? {
        return Ok(());
    }
    let postgres = Postgres::start_new(Durability::Fast)?;
    postgres.create_database("rudder_existing")?;
    let database = format!("postgres://rudder@127.0.0.1:{}/rudder_existing", postgres.port());
    PgConnection::establish(&database)?.batch_execute(TABLES)?;
    let directory = tempfile::Builder::new().prefix("relayd-drop-in-").tempdir()?;
    let mut world = World::new(directory.path(), &database)?;
    let mut root_front = Front::of(&world.root, directory.path().join("httpd-root"))?;
    root_front.start()?;
    let mut at_root = Daemon::start(&world.root)?;
    let mut front = Front::of(&world.relay, directory.path().join("httpd-relay"))?;
    front.start()?;

    // As it was: what the relay's daemon of before brings up, the root takes.
    let inventories = world.uploads()?;
    assert_eq!(previous::forward(&world.relay, &world.root.machine, world.root.port)?, 5);
    world.arrives(&mut at_root, &inventories)?;
    let inventories = world.uploads()?;

    // relayd in its place: what waits first, then what comes, an outage between.
    let main = configuration_of_relay(&world.relay, world.root.port);
    world.relay.configure(&main)?;
    let daemon = Daemon::start(&world.relay)?;
    world
        .arrives(&mut at_root, &inventories)
        .map_err(|e| format!("{e}\n{}\n{}", daemon.log(), root_front.log()))?;
    world.shared_file_climbs("behind-httpd").map_err(|e| format!("{e}\n{}", daemon.log()))?;
    root_front.stop()?;
    let inventories = world.uploads()?;
    root_front.start()?;
    world.arrives(&mut at_root, &inventories).map_err(|e| format!("{e}\n{}", daemon.log()))?;

    // Its own gateway.
    front.stop()?;
    daemon.stop()?;
    world.relay.configure(&(main.clone() + &world.relay.gateway_configuration()?))?;
    let daemon = Daemon::start(&world.relay)?;
    let inventories = world.uploads()?;
    world.arrives(&mut at_root, &inventories).map_err(|e| format!("{e}\n{}", daemon.log()))?;
    world.shared_file_climbs("gateway")?;

    // Back, with files that relayd took and could not bring up.
    root_front.stop()?;
    let inventories = world.uploads()?;
    daemon.stop()?;
    root_front.start()?;
    front.start()?;
    assert_eq!(previous::forward(&world.relay, &world.root.machine, world.root.port)?, 5);
    world.arrives(&mut at_root, &inventories)?;
    world.fetch(&world.far)?;
    // A node of the root was not disturbed by any of it.
    world.fetch(&world.near)?;
    world.runs.push(world.near.report()?);
    at_root.wait_drained()?;
    world.application.sees(&world.runs.iter().collect::<Vec<_>>())?;
    at_root.stop()
}
