// SPDX-License-Identifier: Apache-2.0
//! A root: the journey there and back.

use std::{fs, path::Path};

use diesel::{Connection, PgConnection, connection::SimpleConnection};
use tests::{
    Result,
    existing_database::{TABLES, definitions},
    postgres::{Durability, Postgres},
    server::DatabaseUrl,
};

use crate::{
    application::{Application, forget_inventories, take_inventories},
    can_run,
    daemon::Daemon,
    front::Front,
    log::Run,
    machine::Machine,
    place::Place,
    previous::{self, Look},
};

const ONE: &str = "37817c4d-fbf7-4850-a985-50021f4e8f41";
const TWO: &str = "e745a140-40bc-4b86-b6dc-084488fc906b";
const THREE: &str = "b5d3a5ab-0a6d-4f7c-9c07-8a5b9a8d5b2c";

/// `docs/migration.md` has the same statements.
const FORGET_RELAYD: &str = include_str!("../../../packaging/sql/remove-relayd-tables.sql");

/// A root with its nodes, seen by its server application.
struct World {
    place: Place,
    one: Machine,
    two: Machine,
    three: Machine,
    application: Application,
    runs: Vec<Run>,
}

impl World {
    fn new(directory: &Path, database: &str) -> Result<Self> {
        let place = Place::new(directory, "root", 2048)?;
        let node = |name: &str, id, bits| Machine::new(&directory.join(name), id, bits);
        let (one, two, three) =
            (node("one", ONE, 4096)?, node("two", TWO, 2048)?, node("three", THREE, 2048)?);
        let pin = place.machine.key_hash()?;
        for (machine, initial) in [(&one, false), (&two, false), (&three, true)] {
            machine.attach(place.port, &pin, initial)?;
        }
        place.generate(&[(&place.machine, "root"), (&one, "root"), (&two, "root")], &place.machine)?;
        let application = Application::new(PgConnection::establish(database)?);
        Ok(Self { place, one, two, three, application, runs: Vec::new() })
    }

    /// The list that has the third node too.
    fn accept_three(&mut self) -> Result<()> {
        self.three.attach(self.place.port, &self.place.machine.key_hash()?, false)?;
        let nodes =
            [(&self.place.machine, "root"), (&self.one, "root"), (&self.two, "root"), (&self.three, "root")];
        self.place.generate(&nodes, &self.place.machine)
    }

    #[track_caller]
    fn all_is_stored(&mut self) -> Result<()> {
        self.application.sees(&self.runs.iter().collect::<Vec<_>>())
    }

    /// Policies of a node, and those that all have; unchanged ones are not sent again.
    fn fetch(&self, node: &Machine) -> Result<()> {
        let promises = node.path("var/rudder/cfengine-community/inputs/promises.cf").display().to_string();
        let archive = node.path("var/rudder/tmp/rudder.tar.bz2").display().to_string();
        let common = node.path("var/rudder/tmp/common").display().to_string();
        let rules = format!("policies/{}/rules", node.id);
        for (path, file) in [
            (format!("{rules}/cfengine-community/promises.cf"), &promises),
            (format!("{rules}/rudder.tar.bz2"), &archive),
            ("common/policies-library-linux.tar.bz2".to_owned(), &common),
        ] {
            let status = node.agent(&["fetch", &path, file])?;
            assert!(["200", "304"].contains(&status.as_str()), "{path}: {status}");
            assert_eq!(node.agent(&["fetch", &path, file])?, "304", "{path}");
        }
        assert_eq!(fs::read_to_string(&promises)?, include_str!("promises.cf"));
        assert_eq!(fs::read_to_string(&archive)?, format!("policies of {}", node.id));
        Ok(())
    }

    /// Each node gets its own policies and nobody else's.
    fn policies_flow(&self) -> Result<()> {
        self.fetch(&self.one)?;
        self.fetch(&self.two)?;
        let stolen = self.two.path("var/rudder/tmp/stolen").display().to_string();
        let status = self.two.agent(&["fetch", &format!("policies/{ONE}/rules/rudder.tar.bz2"), &stolen])?;
        assert!(["401", "403", "404"].contains(&status.as_str()), "{status}");
        Ok(())
    }

    /// Files of the shared folder, and from node to node.
    fn files_flow(&self, round: &str) -> Result<()> {
        let folder = self.place.path("var/rudder/configuration-repository/shared-files");
        fs::write(folder.join("motd"), format!("welcome, {round}"))?;
        let copy = self.one.path("var/rudder/tmp/motd").display().to_string();
        assert_eq!(self.one.agent(&["folder", "motd", &copy])?, "200");
        assert_eq!(self.one.agent(&["folder", "motd", &copy])?, "304");
        assert_eq!(fs::read_to_string(&copy)?, format!("welcome, {round}"));
        let file = self.one.path(&format!("var/rudder/tmp/{round}.bin"));
        fs::write(&file, round)?;
        let file = file.display().to_string();
        assert_eq!(self.one.agent(&["share", TWO, &file, "1d"])?, "200");
        // HEAD says that it is there.
        assert_eq!(self.one.agent(&["share", TWO, &file, "1d"])?, "200");
        self.shared_file_is_there(round)
    }

    /// Where the policy engine fetches it from, beside what the next cleanup needs (protocol 7.4).
    fn shared_file_is_there(&self, round: &str) -> Result<()> {
        let kept = self.place.path(&format!("var/rudder/shared-files/{TWO}/files/{ONE}/{round}.bin"));
        assert_eq!(fs::read_to_string(&kept)?, round);
        let metadata = fs::read_to_string(format!("{}.metadata", kept.display()))?;
        let keys: Vec<_> =
            metadata.lines().filter_map(|line| line.split_once('=')).map(|(key, _)| key).collect();
        let expected = [
            "header",
            "algorithm",
            "digest",
            "hash_value",
            "short_pubkey",
            "hostname",
            "keydate",
            "keyid",
            "expires",
        ];
        assert_eq!(keys, expected);
        Ok(())
    }

    /// An inventory of an accepted node and one of a new node, in their directories until the server application,
    /// which does not belong to relayd's user, takes them.
    fn inventories_flow(&self, newcomer: &Machine) -> Result<()> {
        for (machine, directory) in [
            (&self.one, "var/rudder/inventories/accepted-nodes-updates"),
            (newcomer, "var/rudder/inventories/incoming"),
        ] {
            let name = machine.agent(&["inventory"])?;
            assert_eq!(take_inventories(&self.place, directory)?, [name], "of {}", machine.id);
        }
        forget_inventories(&self.place)
    }

    /// What the server application asks for reaches the command of the host.
    fn remote_run_flows(&self) -> Result<()> {
        let output = std::process::Command::new("curl")
            .args([
                "--silent",
                "--show-error",
                "--fail",
                "--insecure",
                "--data",
                "keep_output=true&asynchronous=false",
            ])
            .args(["--data", "classes=force_inventory"])
            .arg(format!("https://localhost:{}/rudder/relay-api/remote-run/nodes/{ONE}", self.place.port))
            .output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        let expected = format!("remote run -D force_inventory -- {ONE}.example.com\n");
        assert_eq!(said, expected, "{}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// All that nodes do with relayd in its place.
    fn everything_flows(&mut self, daemon: &mut Daemon, round: &str) -> Result<()> {
        self.policies_flow()?;
        for _ in 0..2 {
            self.runs.push(self.one.report()?);
            self.runs.push(self.two.report()?);
        }
        daemon.wait_drained()?;
        self.all_is_stored().map_err(|e| format!("{e}\n{}", daemon.log()))?;
        self.files_flow(round)?;
        self.remote_run_flows()
    }

    /// A run log of one node that another one signed: the door lets everybody with the password write any name.
    fn forge(&self) -> Result<String> {
        let run = self.two.run()?;
        let outbox = self.two.outbox();
        let own = fs::read_dir(&outbox)?.next().ok_or("an empty outbox")??.file_name();
        let forged = own.to_string_lossy().replace(TWO, ONE);
        fs::rename(outbox.join(&own), outbox.join(&forged))?;
        assert_eq!(run.node, TWO);
        self.two.send()?;
        Ok(forged)
    }
}

fn url(database: &DatabaseUrl) -> Result<String> {
    match database {
        DatabaseUrl::Postgres(url) => Ok(url.clone()),
        DatabaseUrl::Sqlite(_) => Err("not PostgreSQL".into()),
    }
}

#[test]
fn relayd_takes_the_place_of_the_daemon_of_a_root_and_gives_it_back() -> Result<()> {
    if !can_run()? {
        return Ok(());
    }
    let mut postgres = Postgres::start_new(Durability::Fast)?;
    let database = url(&postgres.create_database("rudder_existing")?)?;
    let mut connection = PgConnection::establish(&database)?;
    connection.batch_execute(TABLES)?;
    let schema = definitions(&mut connection)?;
    let directory = tempfile::Builder::new().prefix("relayd-drop-in-").tempdir()?;
    let mut world = World::new(directory.path(), &database)?;
    let root = world.place.root().display().to_string();
    let main = world.place.deployed_configuration(&format!(
        "\n[processing.inventory]\ndirectory = \"{root}/var/rudder/inventories\"\noutput = \"disabled\"\n\n\
         [processing.reporting]\ndirectory = \"{root}/var/rudder/reports\"\noutput = \"database\"\n\
         skip_event_types = []\n\n[output.upstream]\nhost = \"\"\nuser = \"rudder\"\npassword = \"\"\n\
         default_password = \"rudder\"\n\n[output.database]\nurl = \"{database}\"\npassword = \"not-checked\"\n\
         max_pool_size = 5\n"
    ));

    // As it was: httpd, and the daemon of before.
    let mut front = Front::of(&world.place, directory.path().join("httpd"))?;
    front.start()?;
    world.policies_flow().map_err(|e| format!("{e}\n{}", front.log()))?;
    world.runs.push(world.one.report()?);
    world.runs.push(world.two.report()?);
    assert_eq!(previous::store(&world.place, &mut connection, false)?, Look { stored: 2, ..Look::default() });
    world.inventories_flow(&world.three)?;
    world.all_is_stored()?;
    // It is killed between commit and removal, and what comes then waits.
    world.runs.push(world.one.report()?);
    assert_eq!(previous::store(&world.place, &mut connection, true)?.stored, 1);
    world.runs.push(world.two.report()?);

    // relayd in its place, with the configuration that is there.
    world.place.configure(&main)?;
    let mut daemon = Daemon::start(&world.place)?;
    daemon.wait_drained()?;
    world.all_is_stored().map_err(|e| format!("{e}\n{}", daemon.log()))?;
    world
        .everything_flows(&mut daemon, "behind-httpd")
        .map_err(|e| format!("{e}\n{}\n{}", front.log(), daemon.log()))?;
    world.inventories_flow(&world.three)?;
    let forged = world.forge()?;
    daemon.wait_drained()?;
    assert!(world.place.path("var/rudder/reports/failed").join(&forged).exists(), "{}", daemon.log());
    world.accept_three()?;
    front.restart()?;
    daemon.reload()?;
    world.fetch(&world.three)?;
    world.runs.push(world.three.report()?);
    daemon.wait_drained()?;
    world.all_is_stored()?;

    // Its own gateway on the port of the front; agents notice nothing.
    front.stop()?;
    daemon.stop()?;
    world.place.configure(&(main.clone() + &world.place.gateway_configuration()?))?;
    let mut daemon = Daemon::start(&world.place)?;
    let newcomer =
        Machine::new(&directory.path().join("four"), "0f4b5a1e-9e3c-4d2a-8b1f-6c7d8e9f0a1b", 2048)?;
    newcomer.attach(world.place.port, &world.place.machine.key_hash()?, true)?;
    world.everything_flows(&mut daemon, "gateway").map_err(|e| format!("{e}\n{}", daemon.log()))?;
    world.shared_file_is_there("behind-httpd")?;
    world.inventories_flow(&newcomer)?;
    // A relay that stayed as it was brings a run log up.
    let relay = Place::new(directory.path(), THREE, 2048)?;
    world.runs.push(world.three.run()?);
    for name in fs::read_dir(world.three.outbox())? {
        let name = name?;
        fs::rename(name.path(), relay.path("var/rudder/reports/incoming").join(name.file_name()))?;
    }
    assert_eq!(previous::forward(&relay, &world.place.machine, world.place.port)?, 1);
    daemon.wait_drained()?;
    world.all_is_stored()?;
    // The last run logs before the way back wait in the spool: the database is away.
    let sent = world.one.run()?;
    let again = directory.path().join("again");
    let waiting = fs::read_dir(world.one.outbox())?.next().ok_or("an empty outbox")??;
    fs::copy(waiting.path(), &again)?;
    let again_as = world.one.outbox().join(waiting.file_name());
    world.one.send()?;
    world.runs.push(sent);
    daemon.wait_drained()?;
    postgres.stop()?;
    world.runs.push(world.two.report()?);
    daemon.stop()?;
    postgres.start()?;
    assert_eq!(tests::site::waiting(&world.place.path("var/rudder/reports/incoming"))?, 1);

    // Back: httpd and the daemon of before, which find everything as they expect it.
    world.place.configure(&main)?;
    front.start()?;
    let mut connection = PgConnection::establish(&database)?;
    world.application.reconnect(PgConnection::establish(&database)?);
    assert_eq!(previous::store(&world.place, &mut connection, false)?, Look { stored: 1, ..Look::default() });
    world.all_is_stored()?;
    // The node did not hear that its last run log had been stored by relayd.
    fs::rename(&again, &again_as)?;
    world.one.send()?;
    assert_eq!(previous::store(&world.place, &mut connection, false)?, Look { known: 1, ..Look::default() });
    world.policies_flow()?;
    world.runs.push(world.one.report()?);
    world.runs.push(world.three.report()?);
    assert_eq!(previous::store(&world.place, &mut connection, false)?, Look { stored: 2, ..Look::default() });
    world.all_is_stored()?;
    world.inventories_flow(&newcomer)?;
    world.shared_file_is_there("gateway")?;
    for spool in ["reports/incoming", "inventories/incoming", "inventories/accepted-nodes-updates"] {
        let left = world.place.files(&format!("var/rudder/{spool}"))?;
        let left: Vec<_> = left.iter().filter(|name| !name.starts_with(".DAV")).collect();
        assert!(left.is_empty(), "{spool}: {left:?}");
    }
    assert_eq!(definitions(&mut connection)?, schema);

    // Without a trace in the database; and from there, once more there.
    connection.batch_execute(FORGET_RELAYD)?;
    assert_eq!(tables(&mut connection)?, ["reportsexecution", "ruddersysevents"]);
    world.runs.push(world.two.report()?);
    let mut daemon = Daemon::start(&world.place)?;
    daemon.wait_drained()?;
    world.all_is_stored()?;
    daemon.stop()
}

fn tables(connection: &mut PgConnection) -> Result<Vec<String>> {
    use diesel::{QueryableByName, RunQueryDsl, sql_query, sql_types::Text};
    #[derive(QueryableByName)]
    struct Table {
        #[diesel(sql_type = Text)]
        name: String,
    }
    let query = "SELECT table_name::text AS name FROM information_schema.tables WHERE table_schema = 'public' ORDER BY 1";
    Ok(sql_query(query).load::<Table>(connection)?.into_iter().map(|table| table.name).collect())
}
