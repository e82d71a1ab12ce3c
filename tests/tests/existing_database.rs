// SPDX-License-Identifier: Apache-2.0
//! A database that an existing server made (protocol 4): its tables stay as they are, ours come beside them.

use std::time::Duration;

use chrono::Utc;
use diesel::{
    Connection, PgConnection, QueryableByName, RunQueryDsl, connection::SimpleConnection, sql_query,
    sql_types::Text,
};
use tests::{
    Result,
    existing_database::{RIGHTS, TABLES, definitions},
    judge::Judge,
    postgres::{Durability, Postgres},
    server::{DatabaseUrl, Server},
    simulated,
    site::{Site, spool, wait_drained},
};

const PATIENCE: Duration = Duration::from_secs(25);

#[derive(QueryableByName)]
struct Said {
    #[diesel(sql_type = Text)]
    said: String,
}

fn stores(
    root: &mut Server,
    site: &Site,
    machines: &[tests::identity::Identity],
    judge: &mut Judge,
) -> Result<()> {
    let logs = simulated::many(machines, 5, simulated::USUAL_ROWS, Utc::now())?;
    for log in &logs {
        judge.claim(log);
        spool(&root.incoming(), &log.name, &log.content)?;
        judge.acknowledge(&log.id);
    }
    wait_drained(root, PATIENCE)?;
    let verdict = judge.verdict(root.database()?)?;
    assert!(verdict.is_complete(), "{verdict} in {}\n{}", site.directory().display(), root.log_end());
    Ok(())
}

#[test]
fn the_owner_of_an_existing_database_gets_our_tables_at_start() -> Result<()> {
    let postgres = Postgres::start_new(Durability::Fast)?;
    let database = postgres.create_database("existing")?;
    let mut connection = postgres.connect("rudder", "existing")?;
    connection.batch_execute(TABLES)?;
    let before = definitions(&mut connection)?;
    assert!(before.len() > 25, "{}", before.len());

    let mut site = Site::new()?;
    let machines = site.add_machines(&site.root_id().clone(), 2)?;
    let mut root = site.prepare_root(database)?;
    root.start()?;
    stores(&mut root, &site, &machines, &mut Judge::default())?;
    assert_eq!(definitions(&mut connection)?, before);
    Ok(())
}

#[test]
fn without_the_right_to_make_tables_the_start_names_the_command_that_does() -> Result<()> {
    let postgres = Postgres::start_new(Durability::Fast)?;
    postgres.create_database("existing")?;
    let mut owner = postgres.connect("postgres", "existing")?;
    owner.batch_execute(TABLES)?;
    owner.batch_execute(RIGHTS)?;
    owner.batch_execute(
        "ALTER DATABASE existing OWNER TO postgres; REVOKE CREATE ON SCHEMA public FROM public, rudder;",
    )?;
    let before = definitions(&mut owner)?;

    let mut site = Site::new()?;
    let machines = site.add_machines(&site.root_id().clone(), 2)?;
    let mut root = site.prepare_root(postgres.url("existing"))?;
    root.spawn()?;
    let status = root.wait_end(PATIENCE)?;
    assert_eq!(status.code(), Some(3), "{}", root.log_end());
    assert!(root.log().contains("relayd database migrate"), "{}", root.log_end());

    let admin = format!("postgres://postgres@127.0.0.1:{}/existing", postgres.port());
    root.command(&["database", "migrate", "--url", &admin, "--grant-to", "rudder"])?;
    root.start()?;
    stores(&mut root, &site, &machines, &mut Judge::default())?;
    assert_eq!(definitions(&mut owner)?, before);
    Ok(())
}

/// A run that the existing daemon stored is known when its file comes again.
#[test]
fn rows_that_were_there_stay_readable() -> Result<()> {
    let postgres = Postgres::start_new(Durability::Fast)?;
    let database = postgres.create_database("existing")?;
    let DatabaseUrl::Postgres(url) = &database else { unreachable!("made by PostgreSQL") };
    let mut connection = PgConnection::establish(url)?;
    connection.batch_execute(TABLES)?;
    connection.batch_execute(
        "INSERT INTO ruddersysevents (executiondate, nodeid, directiveid, ruleid, reportid, component, executiontimestamp, eventtype, msg)
         VALUES (now(), 'earlier', 'd', 'r', '0', 'c', now(), 'result_success', 'kept')",
    )?;
    let mut site = Site::new()?;
    let machines = site.add_machines(&site.root_id().clone(), 1)?;
    let mut root = site.prepare_root(database.clone())?;
    root.start()?;
    let log = simulated::many(&machines, 1, simulated::USUAL_ROWS, Utc::now())?.remove(0);
    spool(&root.incoming(), &log.name, &log.content)?;
    wait_drained(&mut root, PATIENCE)?;
    let kept: Vec<Said> = sql_query(
        "SELECT msg || ' ' || id AS said FROM ruddersysevents WHERE nodeid = 'earlier'
         UNION ALL SELECT 'first of ours ' || min(id) FROM ruddersysevents WHERE nodeid <> 'earlier'
         UNION ALL SELECT 'run points to ' || insertionid FROM reportsexecution",
    )
    .load(&mut connection)?;
    let said: Vec<_> = kept.iter().map(|row| row.said.as_str()).collect();
    assert_eq!(said, ["kept 101", "first of ours 102", "run points to 102"]);
    Ok(())
}
