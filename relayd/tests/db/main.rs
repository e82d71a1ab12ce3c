// SPDX-License-Identifier: Apache-2.0
//! Migrations, rights and start-up checks, on real databases.

#[path = "../common/mod.rs"]
mod common;
mod retention;

use std::os::unix::fs::PermissionsExt;

use common::{
    cluster::{Cluster, shared},
    fleet::{config_of, number},
};
use diesel::connection::SimpleConnection;
use relayd::{
    config::DatabaseUrl,
    db::{self, Connection, Database, DbError, migrations},
};

/// The tables as a server of version 8.0 makes them (protocol 4), with a row, and another table.
const MADE_BY_AN_EXISTING_SERVER: &str = "
    CREATE SEQUENCE serial START 101;
    CREATE TABLE ruddersysevents (
        id bigint PRIMARY KEY DEFAULT nextval('serial'),
        executiondate timestamptz NOT NULL,
        nodeid text NOT NULL CHECK (nodeid <> ''), directiveid text NOT NULL CHECK (directiveid <> ''),
        ruleid text NOT NULL CHECK (ruleid <> ''), reportid text NOT NULL CHECK (reportid <> ''),
        component text NOT NULL CHECK (component <> ''), keyvalue text,
        executiontimestamp timestamptz NOT NULL, eventtype text, policy text, msg text);
    CREATE INDEX composite_node_execution_idx ON ruddersysevents (nodeid, executiontimestamp);
    CREATE TABLE reportsexecution (
        nodeid text NOT NULL, date timestamptz NOT NULL, nodeconfigid text, insertionid bigint,
        insertiondate timestamp DEFAULT now(), compliancecomputationdate timestamp,
        PRIMARY KEY (nodeid, date));
    CREATE TABLE archivedruddersysevents (id bigint);
    INSERT INTO reportsexecution (nodeid, date) VALUES ('old', now());
";

fn postgres(cluster: &Cluster, role: &str, database: &str) -> DatabaseUrl {
    DatabaseUrl::Postgres(cluster.url(role, database))
}

#[test]
fn an_empty_database_gets_everything_once() {
    let cluster = shared();
    let url = postgres(cluster, "postgres", &cluster.create_database());
    let config = config_of(url.clone());
    Database::open(&config).unwrap().check().unwrap();
    let partitioned = number(
        &url,
        "SELECT count(*) FROM pg_class WHERE relkind = 'p' AND relname IN ('ruddersysevents', \
         'ruddersysevents_detail', 'ruddersysevents_result', 'reportsexecution', 'run_log')",
    );
    assert_eq!(partitioned, 5, "protocol 4.6");
    assert_eq!(number(&url, "SELECT nextval('serial')"), 101);
    assert_eq!(db::migrate(&config).unwrap().names, Vec::<String>::new());
    Database::open(&config).unwrap();
}

#[test]
fn a_database_of_an_existing_server_gets_our_tables_only() {
    let cluster = shared();
    let name = cluster.create_database();
    cluster.connect(&name).batch_execute(MADE_BY_AN_EXISTING_SERVER).unwrap();
    let url = postgres(cluster, "postgres", &name);
    let shape = "SELECT hashtext(string_agg(table_name || column_name || data_type, ',' ORDER BY 1))::bigint \
                 FROM information_schema.columns WHERE table_name LIKE '%ruddersys%' OR table_name = 'reportsexecution'";
    let indexes = "SELECT count(*) FROM pg_indexes WHERE tablename LIKE '%ruddersys%' OR tablename = 'reportsexecution'";
    let before = (number(&url, &shape.replace("ORDER BY 1", "")), number(&url, indexes));
    let empty = config_of(postgres(cluster, "postgres", &cluster.create_database()));
    let all = db::migrate(&empty).unwrap().names;
    assert_eq!(db::migrate(&config_of(url.clone())).unwrap().names, all);
    assert_eq!((number(&url, &shape.replace("ORDER BY 1", "")), number(&url, indexes)), before);
    assert_eq!(number(&url, "SELECT count(*) FROM reportsexecution"), 1);
    assert_eq!(number(&url, "SELECT count(*) FROM run_log"), 0);
    // Its run is not part of the state of nodes yet; an empty database has nothing to take in.
    let due = "SELECT count(*) FROM compliance_generation WHERE built IS NULL";
    assert_eq!((number(&url, due), number(&empty.url, due)), (1, 0));
    Database::open(&config_of(url)).unwrap();
}

#[test]
fn a_role_without_the_right_is_told_what_to_do() {
    let cluster = shared();
    let name = cluster.create_database();
    let mut admin = cluster.connect(&name);
    admin
        .batch_execute(&format!(
            "CREATE ROLE limited_{name} LOGIN; REVOKE CREATE ON SCHEMA public FROM PUBLIC"
        ))
        .unwrap();
    let role = format!("limited_{name}");
    let limited = config_of(postgres(cluster, &role, &name));

    let error = Database::open(&limited).err().unwrap();
    assert!(matches!(error, DbError::NotMigrated { .. }));
    let text = error.to_string();
    assert!(text.contains("CREATE on schema") && text.contains("relayd database migrate"), "{text}");

    let owner = postgres(cluster, "postgres", &name);
    db::migrate(&config_of(owner.clone())).unwrap();
    // Nothing was granted yet: not even the state can be read.
    let text = Database::open(&limited).err().unwrap().to_string();
    assert!(text.contains("SELECT on __diesel_schema_migrations") && text.contains("--grant-to"), "{text}");
    admin.batch_execute(&format!("GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")).unwrap();
    let text = Database::open(&limited).err().unwrap().to_string();
    assert!(text.contains("INSERT on run_log") && text.contains("USAGE on sequence serial"), "{text}");

    migrations::grant_to(&mut Connection::open(&owner).unwrap(), &role).unwrap();
    Database::open(&limited).unwrap().check().unwrap();
}

#[test]
fn start_up_migrates_only_where_that_is_wanted() {
    let cluster = shared();
    let mut config = config_of(postgres(cluster, "postgres", &cluster.create_database()));
    config.migrate_at_start = false;
    assert!(matches!(Database::open(&config), Err(DbError::NotMigrated { .. })));
    db::migrate(&config).unwrap();
    Database::open(&config).unwrap();
}

#[test]
fn roots_that_start_at_the_same_time_do_not_disturb_each_other() {
    let cluster = shared();
    let config = config_of(postgres(cluster, "postgres", &cluster.create_database()));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| Database::open(&config).unwrap());
        }
    });
}

#[test]
fn a_database_of_a_newer_program_is_refused() {
    let cluster = shared();
    let name = cluster.create_database();
    let config = config_of(postgres(cluster, "postgres", &name));
    Database::open(&config).unwrap();
    cluster
        .connect(&name)
        .batch_execute("INSERT INTO __diesel_schema_migrations (version) VALUES ('9999')")
        .unwrap();
    assert!(matches!(Database::open(&config), Err(DbError::Newer(version)) if version == "9999"));
    assert!(matches!(db::migrate(&config), Err(DbError::Newer(_))));
}

#[test]
fn an_unreachable_server_is_an_error_that_says_so() {
    let url = DatabaseUrl::Postgres("postgres://relayd:hush@127.0.0.1:1/rudder".into());
    let text = Database::open(&config_of(url)).err().unwrap().to_string();
    assert!(text.contains("cannot connect") && !text.contains("hush"), "{text}");
}

#[test]
fn an_sqlite_file_is_made_for_its_owner_only() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("deep/down/relayd.db");
    let url = DatabaseUrl::Sqlite(path.clone());
    let database = Database::open(&config_of(url.clone())).unwrap();
    database.check().unwrap();
    for entry in std::fs::read_dir(path.parent().unwrap()).unwrap() {
        let mode = entry.unwrap().metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
    }
    assert_eq!(number(&url, "SELECT count(*) FROM run_log"), 0);
    assert_eq!(db::migrate(&config_of(url)).unwrap().names, Vec::<String>::new());
}
