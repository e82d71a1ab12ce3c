// SPDX-License-Identifier: Apache-2.0
//! The registry and its neighbours: files for other readers, files of other writers, other roots, other deciders.

use std::{fs, os::unix::fs::PermissionsExt};

use protocol::node_list::NodeList;
use tests::{
    Result,
    client::upload_all,
    enrolment::Newcomer,
    identity::{Identity, Keys},
    postgres::{Durability, Postgres},
    realm::{Realm, expect_state, wait_known, wait_unknown},
    server::Output,
    simulated::{self, USUAL_ROWS},
    site::Site,
    wait,
};

use crate::PATIENCE;

/// Another program that reads node list and bundle works: here a second daemon in the mode that only reads files.
#[test]
fn the_files_it_writes_are_enough_for_others() -> Result<()> {
    let realm = Realm::start()?;
    let relay = realm.relay(&realm.root)?;
    let machine = realm.machine(&relay, Keys::P256)?;
    let (list, bundle) =
        (realm.root.directory().join("nodeslist.json"), realm.root.directory().join("allnodescerts.pem"));
    let has = |wanted: bool| -> Result<bool> {
        let nodes = NodeList::from_json(&fs::read(&list)?)?;
        let certificates = String::from_utf8(fs::read(&bundle)?)?;
        let pem = String::from_utf8(machine.certificate.x509().to_pem()?)?;
        Ok(nodes.get(&machine.node_id).is_some() == wanted && certificates.contains(pem.trim()) == wanted)
    };
    wait::until_true("both files to have the machine", PATIENCE, || has(true))?;
    for file in [&list, &bundle] {
        assert_eq!(fs::metadata(file)?.permissions().mode() & 0o777, 0o640, "{}", file.display());
    }
    let reader = Site::new()?;
    let mut other = reader.prepare_root(reader.sqlite())?;
    fs::copy(&list, other.directory().join("nodeslist.json"))?;
    fs::copy(&bundle, other.directory().join("allnodescerts.pem"))?;
    other.start()?;
    let logs = simulated::many(std::slice::from_ref(&machine), 1, USUAL_ROWS, chrono::Utc::now())?;
    assert_eq!(upload_all(other.gateway(), &machine, other.key_hash(), &logs)?, [201]);
    tests::site::wait_drained(&mut other, PATIENCE)?;
    assert_eq!(tests::judge::count_rows(other.database()?)?, USUAL_ROWS);
    realm.operator(&["node", "revoke", machine.node_id.as_str()])?;
    wait::until_true("both files to forget the machine", PATIENCE, || has(false))
}

/// Files that another program writes are the source, and the registry follows them.
#[test]
fn in_compatible_mode_the_registry_follows_the_files() -> Result<()> {
    let mut site = Site::new()?;
    let machines = site.add_machines(&site.root_id().clone(), 2)?;
    let mut root = site.prepare_root(site.sqlite())?;
    root.start()?;
    let state = |id: &str| -> Result<String> {
        let shown: serde_json::Value = serde_json::from_str(&root.command(&["node", "show", id, "--json"])?)?;
        Ok(shown["state"].as_str().unwrap_or_default().to_owned())
    };
    for machine in &machines {
        wait::until_true("the registry to follow", PATIENCE, || {
            Ok(state(machine.node_id.as_str())? == "accepted")
        })?;
    }
    let refused = root.command(&["node", "revoke", machines[0].node_id.as_str()]);
    assert!(refused.as_ref().is_err_and(|e| e.to_string().contains("nodes.source")), "{refused:?}");
    // Nobody enrols where somebody else decides.
    let newcomer = Identity::random(Keys::P256)?;
    let reply = Newcomer::new(&newcomer, "x.example.com").ask(root.gateway(), root.key_hash())?;
    assert_eq!(reply.status, 404, "{reply:?}");
    site.fleet().remove(&machines[0].node_id);
    root.publish(site.fleet())?;
    root.reload()?;
    wait_unknown(&root, &machines[0])?;
    wait::until_true("the registry to follow", PATIENCE, || {
        Ok(state(machines[0].node_id.as_str())? == "revoked")
    })
}

/// Two roots on one database: what one decides the other knows.
#[test]
fn roots_that_share_a_database_share_the_registry() -> Result<()> {
    let postgres = Postgres::start_new(Durability::Fast)?;
    let site = Site::new()?;
    let database = postgres.create_database("rudder")?;
    let mut realm = Realm::on(site, database.clone())?;
    realm.root.start()?;
    let directory = realm.directory().join("second-root");
    let root = realm.root_identity();
    fs::create_dir_all(&directory)?;
    let files = root.write(&directory)?;
    let output = Output::Database(database);
    let mut second =
        tests::server::Server::with_files(&directory, &root.node_id, root.key_hash(), files, output)?;
    second.know_nodes_from("database")?;
    second.start()?;
    let machine = realm.machine(&realm.root, Keys::P256)?;
    wait_known(&second, &machine)?;
    // Asked at the other one: the same answer, and the same first key.
    let again = Newcomer::new(&machine, "machine.example.com").ask(second.gateway(), second.key_hash())?;
    expect_state(&again, "accepted")?;
    let impostor = Identity::new(machine.node_id.clone(), Keys::P256)?;
    let refused = Newcomer::new(&impostor, "x.example.com").ask(second.gateway(), second.key_hash())?;
    assert_eq!(refused.status, 409, "{refused:?}");
    second.command(&["node", "revoke", machine.node_id.as_str()])?;
    wait_unknown(&realm.root, &machine)?;
    wait_unknown(&second, &machine).map(drop)
}

/// A program of the operator decides, by host name here; when it does not, the operator does.
#[test]
fn a_program_may_decide() -> Result<()> {
    let mut realm = Realm::prepare()?;
    let program = realm.directory().join("decide");
    let seen = realm.directory().join("seen");
    let script = format!(
        "#!/bin/sh\ncat > {}\ncase $2 in good*) exit 0;; bad*) exit 1;; slow*) exec sleep 60;; *) exit 7;; esac\n",
        seen.display()
    );
    fs::write(&program, script)?;
    fs::set_permissions(&program, PermissionsExt::from_mode(0o755))?;
    realm.root.set("enrolment.program", format!("[{:?}]", program.display().to_string()));
    realm.root.set("enrolment.program_timeout", "\"1s\"");
    realm.root.start()?;
    let machine = || Identity::random(Keys::P256);
    for (hostname, wanted) in [
        ("good.example.com", "accepted"),
        ("bad.example.com", "rejected"),
        ("unsure.example.com", "pending"),
        ("slow.example.com", "pending"),
    ] {
        let (machine, started) = (machine()?, std::time::Instant::now());
        // Whether the verdict comes with the first answer or a later one.
        wait::until_true(&format!("{hostname} to be {wanted}"), PATIENCE, || {
            let reply = Newcomer::new(&machine, hostname).ask(realm.root.gateway(), realm.root.key_hash())?;
            // A program that was ended before it read anything is asked again.
            let was_told = fs::read_to_string(&seen)?.contains("BEGIN CERTIFICATE REQUEST");
            Ok(was_told && reply.json()?["state"] == wanted)
        })?;
        assert!(started.elapsed().as_secs() < 15, "{hostname} took {:?}", started.elapsed());
    }
    Ok(())
}
