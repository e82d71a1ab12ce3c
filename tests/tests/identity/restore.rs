// SPDX-License-Identifier: Apache-2.0
//! A root that comes back from an older backup gets what nodes and relays still hold (docs/backup.md).

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use chrono::{DateTime, SecondsFormat, Utc};
use protocol::{
    compression::{self, Compression},
    run_log, smime,
};
use tests::{
    Result,
    judge::Judge,
    node::Node,
    postgres::{Durability, Postgres},
    programs,
    realm::{Realm, wait_known, wait_unknown},
    server::{DatabaseUrl, Server},
    site::{Site, wait_drained, waiting},
    wait,
};

use crate::PATIENCE;

const DATABASE: &str = "restored";

/// A node with our agent, let in by a token.
fn enrolled(realm: &Realm, at: &Server, name: &str) -> Result<Node> {
    let node = Node::init(&realm.directory().join(name), &["--key", "p256"])?;
    enroll(realm, at, name, &node)?;
    node.configure(at.gateway().port(), at.key_hash(), "20260102-030405-5f3a9c1e")?;
    Ok(node)
}

fn enroll(realm: &Realm, at: &Server, name: &str, node: &Node) -> Result<()> {
    let host = format!("{name}.example.com");
    let file = realm.directory().join(format!("{name}.token"));
    fs::write(&file, realm.tokens(&host, 1)?.remove(0))?;
    let file = file.display().to_string();
    let options = ["--token-file", &file, "--hostname", &host];
    succeeded(&node.enroll(at.gateway().port(), at.key_hash(), &options)?);
    wait_known(at, node.identity())
}

#[track_caller]
fn succeeded(output: &Output) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
}

/// A run whose log waits in the outbox, claimed and acknowledged: from here on the node holds it.
fn run(node: &Node, judge: &mut Judge) -> Result<()> {
    // The first run makes the directory.
    let before = node.outbox().unwrap_or_default();
    succeeded(&node.run(&["sh", "-c", "echo done"])?);
    let name = node.outbox()?.into_iter().find(|name| !before.contains(name)).ok_or("no run log")?;
    let packed = node.outbox_file(&name)?;
    let signed = compression::unpack(&packed, Compression::Gzip, 1 << 20)?;
    let verified = smime::verify(&signed, std::slice::from_ref(&node.identity().certificate))?;
    judge.claim_run(name.run_id(), run_log::parse(&verified.text, node.node_id())?.reports.len());
    judge.acknowledge(name.run_id());
    Ok(())
}

/// Sends what waits; how many of them the node sent because the server asked for them again.
fn send(node: &Node) -> Result<u64> {
    let output = node.agent(&["send", "--now", "--json"])?;
    succeeded(&output);
    let said: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    Ok(said["again"].as_u64().ok_or("no number")?)
}

fn postgresql(postgres: &Postgres, program: &str, arguments: &[&str]) -> Result<()> {
    let mut command = Command::new(programs::of_system(program)?);
    command.args(["--host=127.0.0.1", "--username=rudder", &format!("--port={}", postgres.port())]);
    let output = command.args(arguments).output()?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr)).into()),
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let copied = Command::new("cp").arg("--archive").arg(from).arg(to).status()?;
    if copied.success() { Ok(()) } else { Err("cp failed".into()) }
}

/// The database and the files of a running root, as they were at `made`.
struct Backup {
    made: DateTime<Utc>,
    database: PathBuf,
    files: PathBuf,
}

impl Backup {
    fn of(realm: &Realm, postgres: &Postgres) -> Result<Self> {
        let made = Utc::now();
        let (database, files) = (realm.directory().join("rudder.dump"), realm.directory().join("backup"));
        // The files first: what leaves the spool between is in the database.
        copy(realm.root.directory(), &files)?;
        let file = format!("--file={}", database.display());
        postgresql(postgres, "pg_dump", &["--format=custom", &file, DATABASE])?;
        Ok(Self { made, database, files })
    }

    /// Everything of the root is gone, but for this.
    fn restore(&self, realm: &mut Realm, postgres: &Postgres) -> Result<()> {
        fs::remove_dir_all(realm.root.directory())?;
        copy(&self.files, realm.root.directory())?;
        diesel::RunQueryDsl::execute(
            diesel::sql_query(format!("DROP DATABASE {DATABASE} WITH (FORCE)")),
            &mut postgres.connect("postgres", "postgres")?,
        )?;
        postgres.create_database(DATABASE)?;
        let into = format!("--dbname={DATABASE}");
        postgresql(postgres, "pg_restore", &["--no-owner", &into, &self.database.display().to_string()])?;
        let made = self.made.to_rfc3339_opts(SecondsFormat::Secs, true);
        realm.root.set("processing.reporting.resend_since", format!("{made:?}"));
        realm.root.start()
    }
}

#[test]
fn a_restored_root_loses_nothing_that_nodes_and_relays_still_hold() -> Result<()> {
    let postgres = Postgres::start_new(Durability::Fast)?;
    let database: DatabaseUrl = postgres.create_database(DATABASE)?;
    let mut realm = Realm::on(Site::new()?, database)?;
    realm.root.start()?;
    let mut relay = realm.relay(&realm.root)?;
    let near = enrolled(&realm, &realm.root, "near")?;
    let far = enrolled(&realm, &relay, "far")?;
    let gone = enrolled(&realm, &realm.root, "gone")?;
    let mut judge = Judge::default();
    let complete = |realm: &Realm, judge: &Judge| -> Result<()> {
        let verdict = || judge.verdict(realm.root.database()?);
        wait::until_true("all run logs to be stored", PATIENCE, || Ok(verdict()?.is_complete()))
            .map_err(|e| format!("{e}: {}\n{}", verdict().unwrap_or_default(), realm.root.log_end()).into())
    };
    for node in [&near, &far] {
        run(node, &mut judge)?;
        send(node)?;
    }
    complete(&realm, &judge)?;
    let backup = Backup::of(&realm, &postgres)?;

    // After it: more is stored, a node comes, one has to go.
    let late = enrolled(&realm, &relay, "late")?;
    for node in [&near, &far, &far, &late] {
        run(node, &mut judge)?;
        send(node)?;
    }
    complete(&realm, &judge)?;
    realm.operator(&["node", "revoke", gone.node_id().as_str()])?;
    wait_unknown(&realm.root, gone.identity())?;

    // The root is gone; run logs wait at the node, and at the relay.
    realm.root.kill();
    for node in [&near, &far, &late] {
        run(node, &mut judge)?;
    }
    assert_eq!(near.agent(&["send"])?.status.code(), Some(1));
    for node in [&far, &late] {
        assert_eq!(send(node)?, 0);
    }
    assert_eq!(waiting(&relay.incoming())?, 2);

    backup.restore(&mut realm, &postgres)?;
    let before = judge.verdict(realm.root.database()?)?;
    assert!(before.lost >= 4, "the backup is older: {before}");
    // What was accepted and revoked since is an operator's to repeat.
    assert_eq!(realm.listed(gone.node_id())?["state"], "accepted");
    realm.operator(&["node", "revoke", gone.node_id().as_str()])?;
    assert!(realm.listed(late.node_id()).is_err());
    // The relay brings up what waits there, of the node that is known.
    wait::until_true("the relay to bring up what the root takes", PATIENCE, || {
        relay.check()?;
        Ok(waiting(&relay.incoming())? == 1)
    })
    .map_err(|e| format!("{e}\n{}", relay.log_end()))?;
    wait_unknown(&relay, late.identity())?;
    assert_eq!(waiting(&relay.failed())?, 0, "{}", relay.log_end());

    // The nodes hear of it with their next run log, at the root and through the relay.
    run(&far, &mut judge)?;
    assert_eq!((send(&near)?, send(&far)?), (2, 4), "all within an hour of the backup");
    run(&near, &mut judge)?;
    assert_eq!(send(&near)?, 0, "it was asked for once");
    // The node that the backup does not know asks to be taken in again, with the key that it has.
    assert_eq!(late.agent(&["send"])?.status.code(), Some(0), "an empty outbox");
    enroll(&realm, &relay, "late", &late)?;
    run(&late, &mut judge)?;
    assert_eq!(send(&late)?, 2);
    // By hand, all that there is; nothing is stored twice.
    let output = far.agent(&["resend", "--since", "1h"])?;
    succeeded(&output);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "5 put back into the outbox\n5 sent, 0 left\n");
    wait_drained(&mut relay, PATIENCE)?;
    wait_drained(&mut realm.root, PATIENCE)?;
    complete(&realm, &judge)
}
