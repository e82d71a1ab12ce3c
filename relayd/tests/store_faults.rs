// SPDX-License-Identifier: Apache-2.0
//! What happens to run logs when the database fails: they wait, and nothing is stored twice.

mod common;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use common::{
    cluster::{Cluster, shared},
    fleet::{Fleet, Rig, counts, number, run_log},
};
use diesel::{Connection, connection::SimpleConnection};
use relayd::{
    config::DatabaseUrl,
    spool::{
        Sink, SpoolFile,
        disposition::{Disposition, Outcome, Reason, Release},
    },
};

const STORED: Disposition = Disposition::Accepted(Outcome::Stored);

fn is_outlet_down(disposition: &Disposition) -> bool {
    matches!(disposition, Disposition::Released(Release { outlet_down: true, .. }))
}

/// A rig on its own database of the shared cluster.
fn rig(nodes: usize) -> (String, DatabaseUrl, Rig) {
    let name = shared().create_database();
    let url = DatabaseUrl::Postgres(shared().url("postgres", &name));
    let rig = Rig::new(url.clone(), Fleet::new(nodes));
    (name, url, rig)
}

fn files(rig: &Rig, nodes: usize, run: usize) -> Vec<SpoolFile> {
    (0..nodes).map(|i| rig.put_run(&format!("n{i}"), run, &run_log(&format!("n{i}"), run, 10))).collect()
}

/// Ends the sessions of the store and waits until they are gone: one that is only told to end may still write.
fn end_sessions(url: &DatabaseUrl) {
    let of_store = "FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'relayd'";
    number(url, &format!("SELECT count(pg_terminate_backend(pid)) {of_store}"));
    let deadline = Instant::now() + Duration::from_secs(30);
    while number(url, &format!("SELECT count(*) {of_store}")) > 0 {
        assert!(Instant::now() < deadline, "sessions do not end");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn run_logs_wait_while_the_server_is_down() {
    let cluster = Cluster::start("on");
    let name = cluster.create_database();
    let url = DatabaseUrl::Postgres(cluster.url("postgres", &name));
    let rig = Rig::new(url.clone(), Fleet::new(20));
    assert!(rig.deliver_all(files(&rig, 20, 1)).await.iter().all(|d| *d == STORED));

    cluster.down();
    let asked = Instant::now();
    let waiting = files(&rig, 20, 2);
    assert!(rig.deliver_all(waiting.clone()).await.iter().all(is_outlet_down));
    assert!(asked.elapsed() < Duration::from_secs(20), "the gate must learn soon that the outlet is down");
    assert_eq!(rig.metric("relayd_database_up", None), 0.0);

    cluster.up();
    // The first delivery after the return works: no back-off in here on top of the gate's.
    assert_eq!(rig.store.deliver(&waiting[0]).await, STORED);
    assert!(rig.deliver_all(waiting[1..].to_vec()).await.iter().all(|d| *d == STORED));
    assert_eq!(counts(&url), (400, 40, 40));
    assert_eq!(rig.metric("relayd_database_up", None), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn terminated_sessions_are_replaced_without_anybody_noticing() {
    let (_, url, rig) = rig(4);
    for run in 0..5 {
        assert!(rig.deliver_all(files(&rig, 4, run)).await.iter().all(|d| *d == STORED));
        end_sessions(&url);
    }
    assert_eq!(counts(&url), (200, 20, 20));
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_killed_at_random_under_load_cost_nothing_and_double_nothing() {
    let (name, url, rig) = rig(50);
    let rig = Arc::new(rig);
    let killer = std::thread::spawn(move || {
        let mut admin = shared().connect("postgres");
        for _ in 0..30 {
            let kill = format!(
                "SELECT pg_terminate_backend(pid), pg_sleep(0.01) FROM pg_stat_activity WHERE datname = '{name}' AND application_name = 'relayd'"
            );
            admin.batch_execute(&kill).unwrap();
        }
    });
    let tasks: Vec<_> = (0..8)
        .flat_map(|run| files(&rig, 50, run))
        .map(|file| {
            let rig = Arc::clone(&rig);
            tokio::spawn(async move { rig.deliver_until_settled(&file).await })
        })
        .collect();
    for task in tasks {
        assert!(matches!(task.await.unwrap(), Disposition::Accepted(_)));
    }
    tokio::task::spawn_blocking(|| killer.join().unwrap()).await.unwrap();
    assert_eq!(counts(&url), (4000, 400, 400));
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_rights_and_tables_pause_and_reject_nothing() {
    let name = shared().create_database();
    let owner = DatabaseUrl::Postgres(shared().url("postgres", &name));
    let mut admin = shared().connect(&name);
    relayd::db::migrate(&common::fleet::config_of(owner.clone())).unwrap();
    let role = format!("worker_{name}");
    admin.batch_execute(&format!("CREATE ROLE {role} LOGIN")).unwrap();
    relayd::db::migrations::grant_to(&mut relayd::db::Connection::open(&owner).unwrap(), &role).unwrap();
    let rig = Rig::new(DatabaseUrl::Postgres(shared().url(&role, &name)), Fleet::new(5));

    let faults = [
        // First, while there are no results yet.
        (
            format!("REVOKE INSERT ON compliance_result FROM {role}"),
            format!("GRANT INSERT ON compliance_result TO {role}"),
        ),
        (
            format!("REVOKE INSERT ON ruddersysevents FROM {role}"),
            format!("GRANT INSERT ON ruddersysevents TO {role}"),
        ),
        (
            format!("REVOKE INSERT ON reportsexecution FROM {role}"),
            format!("GRANT INSERT ON reportsexecution TO {role}"),
        ),
        (
            format!("REVOKE USAGE ON SEQUENCE serial FROM {role}"),
            format!("GRANT USAGE ON SEQUENCE serial TO {role}"),
        ),
        ("ALTER TABLE run_log RENAME TO gone".into(), "ALTER TABLE gone RENAME TO run_log".into()),
        (
            format!("ALTER DATABASE {name} SET default_transaction_read_only = on"),
            format!(
                "SET default_transaction_read_only = off; ALTER DATABASE {name} RESET default_transaction_read_only"
            ),
        ),
    ];
    for (run, (break_it, mend_it)) in faults.iter().enumerate() {
        // What is set for a database is so in sessions that begin after that.
        let is_for_new_sessions = break_it.starts_with("ALTER DATABASE");
        admin.batch_execute(break_it).unwrap();
        if is_for_new_sessions {
            end_sessions(&owner);
        }
        let waiting = files(&rig, 5, run);
        let dispositions = rig.deliver_all(waiting.clone()).await;
        assert!(dispositions.iter().all(is_outlet_down), "{break_it}: {dispositions:?}");
        assert_eq!(rig.metric("relayd_database_up", None), 0.0, "{break_it}");
        admin.batch_execute(mend_it).unwrap();
        if is_for_new_sessions {
            end_sessions(&owner);
        }
        let dispositions = rig.deliver_all(waiting).await;
        assert!(dispositions.iter().all(|d| *d == STORED), "{mend_it}: {dispositions:?}");
    }
    assert_eq!(counts(&owner), (300, 30, 30));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_table_is_an_outlet_that_is_down() {
    let (name, url, rig) = rig(5);
    let mut admin = shared().connect(&name);
    admin.batch_execute("BEGIN; LOCK TABLE ruddersysevents IN ACCESS EXCLUSIVE MODE").unwrap();
    let waiting = files(&rig, 5, 1);
    let asked = Instant::now();
    let dispositions = rig.deliver_all(waiting.clone()).await;
    assert!(dispositions.iter().all(is_outlet_down), "{dispositions:?}");
    assert!(asked.elapsed() < Duration::from_secs(25));
    admin.batch_execute("ROLLBACK").unwrap();
    let dispositions = rig.deliver_all(waiting).await;
    assert!(dispositions.iter().all(|d| *d == STORED), "{dispositions:?}");
    assert_eq!(counts(&url), (50, 5, 5));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_on_one_run_log_rejects_nothing() {
    let (name, url, rig) = rig(5);
    let mut admin = shared().connect(&name);
    // Another root is in the middle of storing this run.
    admin
        .batch_execute(
            "BEGIN; INSERT INTO reportsexecution (nodeid, date) VALUES ('n3', '2024-05-11 00:01:00+00')",
        )
        .unwrap();
    let dispositions = rig.deliver_all(files(&rig, 5, 1)).await;
    admin.batch_execute("ROLLBACK").unwrap();
    assert!(dispositions.iter().all(|d| !matches!(d, Disposition::Rejected(_))), "{dispositions:?}");
    assert!(rig.deliver_all(files(&rig, 5, 1)).await.iter().all(|d| matches!(d, Disposition::Accepted(_))));
    assert_eq!(counts(&url), (50, 5, 5));
}

/// Retention makes partitions while run logs of these days, which were to go into the default ones, are stored.
#[tokio::test(flavor = "multi_thread")]
async fn partitions_made_meanwhile_reject_nothing() {
    let (name, url, rig) = rig(1);
    let tables = ["run_log", "reportsexecution", "ruddersysevents_result"];
    let mut makers = HashMap::from(tables.map(|table| {
        let mut maker = shared().connect(&name);
        let sql = format!(
            "BEGIN; LOCK TABLE {table}_default IN ACCESS EXCLUSIVE MODE; \
             CREATE TABLE made_{table} (LIKE {table} INCLUDING DEFAULTS INCLUDING CONSTRAINTS); \
             ALTER TABLE {table} ATTACH PARTITION made_{table} FOR VALUES FROM ('2024-05-11') TO ('2024-05-12')"
        );
        maker.batch_execute(&sql).unwrap();
        (table, maker)
    }));
    let url_of_makers = url.clone();
    let making = tokio::task::spawn_blocking(move || {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !makers.is_empty() {
            assert!(Instant::now() < deadline, "nothing waits for {:?}", makers.keys());
            for table in tables {
                let waits = format!(
                    "SELECT count(*) FROM pg_locks WHERE relation = '{table}_default'::regclass AND NOT granted"
                );
                if number(&url_of_makers, &waits) > 0
                    && let Some(mut maker) = makers.remove(table)
                {
                    maker.batch_execute("COMMIT").unwrap();
                }
            }
        }
    });
    let dispositions = rig.deliver_all(files(&rig, 1, 1)).await;
    making.await.unwrap();
    assert!(dispositions.iter().all(|d| *d == STORED), "{dispositions:?}");
    assert_eq!(counts(&url), (10, 1, 1));
    assert!(rig.metric("relayd_store_transactions_total", None) > 1.0, "nothing was routed anew");
    assert_eq!(rig.metric("relayd_store_batches_split_total", None), 0.0, "the run log was suspected");
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_is_isolated_in_few_transactions() {
    let (name, url, rig) = rig(64);
    // Warm up, so that all of the 64 wait while one batch is under way.
    assert!(rig.deliver_all(files(&rig, 64, 0)).await.iter().all(|d| *d == STORED));
    let mut admin = shared().connect(&name);
    admin.batch_execute("CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no such luck'; END $$; \
        CREATE TRIGGER poison BEFORE INSERT ON ruddersysevents FOR EACH ROW WHEN (NEW.nodeid = 'n17') EXECUTE FUNCTION refuse()").unwrap();
    // Both writers wait here until the whole batch is queued.
    admin.batch_execute("BEGIN; LOCK TABLE run_log IN ACCESS EXCLUSIVE MODE").unwrap();
    let before = rig.metric("relayd_store_transactions_total", None);
    let batch = files(&rig, 64, 1);
    let unlock = tokio::task::spawn_blocking(move || {
        // Nothing tells that all are queued. The writers wait for a lock for five seconds.
        std::thread::sleep(Duration::from_secs(2));
        admin.batch_execute("ROLLBACK").unwrap();
        drop(admin);
    });
    let dispositions = rig.deliver_all(batch).await;
    unlock.await.unwrap();
    assert_eq!(dispositions.iter().filter(|d| **d == STORED).count(), 63, "{dispositions:?}");
    let Disposition::Rejected(rejection) = &dispositions[17] else { panic!("{:?}", dispositions[17]) };
    assert_eq!(rejection.reason, Reason::DatabaseRefused);
    assert!(rejection.detail.contains("no such luck"), "{rejection:?}");
    assert_eq!(counts(&url), (1270, 127, 127));
    let transactions = rig.metric("relayd_store_transactions_total", None) - before;
    // The poison's batch takes at most 12; each writer may have had a batch of the first few before.
    assert!(transactions <= 14.0, "{transactions}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rehearsal_elsewhere_does_not_make_the_outlet_look_down() {
    let (name, _, rig) = rig(1);
    let mut admin = shared().connect(&name);
    admin.batch_execute("CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no such luck'; END $$; \
        CREATE TRIGGER poison BEFORE INSERT ON ruddersysevents FOR EACH ROW WHEN (NEW.nodeid = 'n0') EXECUTE FUNCTION refuse()").unwrap();
    // What a rehearsal under way elsewhere would hold, if all had the same keys.
    admin.batch_execute("BEGIN; INSERT INTO reportsexecution (nodeid, date) VALUES ('root', 'epoch'), ('relayd.rehearsal', 'epoch'); \
        INSERT INTO run_log (nodeid, digest, date, file, reports) \
        SELECT node, decode(repeat('00', 32), 'hex'), 'epoch', 'rehearsal', 1 FROM unnest(ARRAY['root', 'relayd.rehearsal']) node").unwrap();
    let dispositions = rig.deliver_all(files(&rig, 1, 1)).await;
    admin.batch_execute("ROLLBACK").unwrap();
    assert!(matches!(dispositions[..], [Disposition::Rejected(_)]), "{dispositions:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn finishing_does_not_wait_for_a_database_that_hangs() {
    let (name, url, rig) = rig(1);
    let mut admin = shared().connect(&name);
    admin.batch_execute("BEGIN; LOCK TABLE ruddersysevents IN ACCESS EXCLUSIVE MODE").unwrap();
    let file = rig.put_run("n0", 1, &run_log("n0", 1, 5));
    let store = Arc::clone(&rig.store);
    let delivery = tokio::spawn(async move { store.deliver(&file).await });
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
    let deadline = Instant::now() + Duration::from_secs(30);
    while number(&url, waits) == 0 {
        assert!(Instant::now() < deadline, "nothing waits for the lock");
    }
    delivery.abort();
    let _ = delivery.await;
    let asked = Instant::now();
    let store = Arc::into_inner(rig.store).expect("no other owner is left");
    tokio::task::spawn_blocking(|| store.finish()).await.unwrap();
    assert!(asked.elapsed() < Duration::from_secs(15));
}

#[test]
fn the_cluster_of_a_test_goes_down_and_comes_back() {
    let cluster = Cluster::start("off");
    let url = cluster.url("postgres", "postgres");
    cluster.down();
    assert!(diesel::PgConnection::establish(&url).is_err());
    cluster.up();
    assert!(diesel::PgConnection::establish(&url).is_ok());
}
