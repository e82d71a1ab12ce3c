// SPDX-License-Identifier: Apache-2.0
//! Storing run logs, on PostgreSQL and SQLite alike.

#[path = "store/asked.rs"]
mod asked;
#[path = "store/commands.rs"]
mod commands;
mod common;
#[path = "store/compliance.rs"]
mod compliance;
#[path = "store/hours.rs"]
mod hours;
#[path = "store/questions.rs"]
mod questions;
#[path = "store/since.rs"]
mod since;
#[path = "store/whole.rs"]
mod whole;

use common::{
    cluster::shared,
    fleet::{Fleet, Rig, counts, line, name_of, number, run_log, start_of},
};
use protocol::compression;
use relayd::{
    config::DatabaseUrl,
    spool::{
        Sink, SpoolFile, SpoolName,
        disposition::{Disposition, Outcome, Reason},
    },
};

const STORED: Disposition = Disposition::Accepted(Outcome::Stored);
const ALREADY_STORED: Disposition = Disposition::Accepted(Outcome::AlreadyStored);

fn reason(disposition: &Disposition) -> Option<Reason> {
    match disposition {
        Disposition::Rejected(rejection) => Some(rejection.reason),
        _ => None,
    }
}

/// Runs each case once per kind of database.
macro_rules! on_both {
    ($($(#[$attribute:meta])* async fn $name:ident($url:ident: DatabaseUrl) $body:block)*) => {
        mod postgres { $(#[tokio::test(flavor = "multi_thread")] async fn $name() {
            let cluster = super::shared();
            let url = cluster.url("postgres", &cluster.create_database());
            super::$name(super::DatabaseUrl::Postgres(url)).await;
        })* }
        mod sqlite { $(#[tokio::test(flavor = "multi_thread")] async fn $name() {
            let directory = tempfile::tempdir().unwrap();
            super::$name(super::DatabaseUrl::Sqlite(directory.path().join("relayd.db"))).await;
        })* }
        $($(#[$attribute])* async fn $name($url: DatabaseUrl) $body)*
    };
}

on_both! {
    async fn state_is_what_a_recomputation_gives(url: DatabaseUrl) {
        compliance::any_order_gives_the_recomputed_state(url).await;
    }

    async fn a_rebuild_gives_the_same_state(url: DatabaseUrl) {
        compliance::a_rebuild_gives_the_same_state(url).await;
    }

    async fn garbage_goes_and_nothing_else(url: DatabaseUrl) {
        compliance::garbage_goes_and_nothing_else(url).await;
    }

    async fn questions_about_the_fleet_are_answered(url: DatabaseUrl) {
        questions::questions_are_answered(url).await;
    }

    async fn a_change_is_dated_by_the_run_that_brought_it(url: DatabaseUrl) {
        since::a_change_is_dated_by_the_run_that_brought_it(url).await;
    }

    async fn what_programs_read_is_whole(url: DatabaseUrl) {
        whole::what_programs_read_is_whole(url).await;
    }

    async fn a_run_is_stored_once_and_dated_by_its_first_report(url: DatabaseUrl) {
        let rig = Rig::new(url.clone(), Fleet::new(1));
        // The name says another date, which does not count.
        let packed = rig.fleet.pack("n0", &run_log("n0", 7, 72));
        let file = rig.put("2020-01-01T00:00:00+00:00@n0.log.gz", &packed);
        assert_eq!(rig.store.deliver(&file).await, STORED);
        assert_eq!(counts(&url), (72, 1, 1));
        assert_eq!(rig.store.deliver(&file).await, ALREADY_STORED);
        assert_eq!(counts(&url), (72, 1, 1));

        let date = start_of(7).replace("+00:00", "");
        let found = match &url {
            DatabaseUrl::Postgres(_) => format!("SELECT count(*) FROM reportsexecution WHERE date = '{date}+00'"),
            DatabaseUrl::Sqlite(_) => format!("SELECT count(*) FROM reportsexecution WHERE datetime(date) = '{date}'"),
        };
        assert_eq!(number(&url, &format!("{found} AND insertionid = 101 AND nodeconfigid = '20240511-0'")), 1);
        assert_eq!(number(&url, "SELECT min(id) FROM ruddersysevents WHERE component = 'start'"), 101);
        assert_eq!(number(&url, "SELECT max(id) FROM ruddersysevents WHERE component = 'end'"), 172);
        assert_eq!(number(&url, "SELECT CAST(reports AS bigint) FROM run_log WHERE insertionid = 101"), 72);
    }

    async fn the_same_run_signed_again_is_the_same_run(url: DatabaseUrl) {
        let rig = Rig::new(url.clone(), Fleet::new(1));
        let text = run_log("n0", 1, 5);
        assert_eq!(rig.deliver("n0", 1, &text).await, STORED);
        // ECDSA signatures differ each time, and the packing as well.
        let plain = rig.put("2024-05-11T09:00:00+00:00@n0.log", &rig.fleet.sign("n0", text.as_bytes()));
        assert_eq!(rig.store.deliver(&plain).await, ALREADY_STORED);
        assert_eq!(counts(&url), (5, 1, 1));
    }

    async fn a_partial_run_log_gives_rows_but_no_run(url: DatabaseUrl) {
        let rig = Rig::new(url.clone(), Fleet::new(1));
        let text = line("n0", 1, "result_success", "File", "fine");
        assert_eq!(rig.deliver("n0", 1, &text).await, STORED);
        assert_eq!(counts(&url), (1, 0, 1));
    }

    async fn another_run_log_of_the_same_run_is_refused_alone(url: DatabaseUrl) {
        let rig = Rig::new(url.clone(), Fleet::new(3));
        assert_eq!(rig.deliver("n0", 1, &run_log("n0", 1, 5)).await, STORED);
        let files = vec![
            rig.put_run("n1", 1, &run_log("n1", 1, 5)),
            rig.put_run("n0", 2, &run_log("n0", 1, 9)),
            rig.put_run("n2", 1, &run_log("n2", 1, 5)),
        ];
        let dispositions = rig.deliver_all(files).await;
        assert_eq!(dispositions[0], STORED);
        assert_eq!(reason(&dispositions[1]), Some(Reason::Conflict));
        assert_eq!(dispositions[2], STORED);
        assert_eq!(counts(&url), (15, 3, 3));
        // Its content was not taken into the ledger: it is refused again, not taken for stored.
        assert_eq!(reason(&rig.deliver("n0", 3, &run_log("n0", 1, 9)).await), Some(Reason::Conflict));
        // Another first report as well.
        let other = line("n0", 1, "log_info", "x", "y") + &run_log("n0", 1, 4);
        assert_eq!(reason(&rig.deliver("n0", 4, &other).await), Some(Reason::Conflict));
        assert_eq!(counts(&url), (15, 3, 3));
    }

    async fn of_two_run_logs_of_a_run_at_the_same_time_one_is_stored(url: DatabaseUrl) {
        let rig = Rig::new(url.clone(), Fleet::new(1));
        let files = (0..20).map(|i| rig.put_run("n0", i, &run_log("n0", 1, 10 + i))).collect();
        let dispositions = rig.deliver_all(files).await;
        assert_eq!(dispositions.iter().filter(|d| **d == STORED).count(), 1);
        assert_eq!(dispositions.iter().filter(|d| reason(d) == Some(Reason::Conflict)).count(), 19);
        let (_, runs, ledger) = counts(&url);
        assert_eq!((runs, ledger), (1, 1));
    }

    async fn a_thousand_copies_are_stored_once(url: DatabaseUrl) {
        let rig = Rig::new(url.clone(), Fleet::new(1));
        let packed = rig.fleet.pack("n0", &run_log("n0", 1, 72));
        let files = (0..1000)
            .map(|i| rig.put(&format!("2024-05-11T{:02}:{:02}:{:02}+00:00@n0.log.gz", i / 3600, i / 60 % 60, i % 60), &packed))
            .collect();
        let dispositions = rig.deliver_all(files).await;
        assert_eq!(dispositions.iter().filter(|d| **d == STORED).count(), 1);
        assert_eq!(dispositions.iter().filter(|d| **d == ALREADY_STORED).count(), 999);
        assert_eq!(counts(&url), (72, 1, 1));
    }

    async fn many_nodes_at_once(url: DatabaseUrl) {
        let rig = Rig::new(url.clone(), Fleet::new(40));
        let files = (0..200).map(|i| {
            let node = format!("n{}", i % 40);
            rig.put_run(&node, i / 40, &run_log(&node, i / 40, 20))
        }).collect();
        assert!(rig.deliver_all(files).await.iter().all(|d| *d == STORED));
        assert_eq!(counts(&url), (4000, 200, 200));
        assert_eq!(number(&url, "SELECT count(*) FROM reportsexecution r JOIN ruddersysevents e ON e.id = r.insertionid \
            WHERE e.nodeid = r.nodeid AND e.component = 'start' AND e.executiontimestamp = r.date"), 200);
        assert_eq!(number(&url, "SELECT count(*) FROM reportsexecution a JOIN reportsexecution b ON a.nodeid = b.nodeid \
            WHERE a.date < b.date AND a.insertionid > b.insertionid AND a.insertiondate = b.insertiondate"), 0);
    }

    async fn one_that_the_database_refuses_does_not_keep_others_out(url: DatabaseUrl) {
        let rig = Rig::new(url.clone(), Fleet::new(65));
        if let DatabaseUrl::Postgres(url) = &url {
            use diesel::{Connection, PgConnection, connection::SimpleConnection};
            let index = "CREATE INDEX ruleid_idx ON ruddersysevents (ruleid)";
            PgConnection::establish(url).unwrap().batch_execute(index).unwrap();
        }
        let mut files = Vec::new();
        for i in 0..64 {
            files.push(rig.put_run(&format!("n{i}"), 1, &run_log(&format!("n{i}"), 1, 10)));
        }
        // Too long for that index of PostgreSQL; SQLite takes it.
        let long: String = (0..20_000).map(|i| char::from(b'a' + (i * i % 7919 % 26) as u8)).collect();
        let poison = run_log("n64", 1, 10).replace("@@rudder@@run@@0@@File", &format!("@@{long}@@run@@0@@File"));
        files.insert(33, rig.put_run("n64", 1, &poison));
        let dispositions = rig.deliver_all(files).await;
        let (good, bad) = match &url {
            DatabaseUrl::Postgres(_) => (64, 1),
            DatabaseUrl::Sqlite(_) => (65, 0),
        };
        assert_eq!(dispositions.iter().filter(|d| **d == STORED).count(), good, "{dispositions:?}");
        assert_eq!(dispositions.iter().filter(|d| reason(d) == Some(Reason::DatabaseRefused)).count(), bad);
        assert_eq!(counts(&url), (good as i64 * 10, good as i64, good as i64));
        assert_eq!(number(&url, "SELECT count(*) FROM compliance_current"), good as i64);
        assert_eq!(rig.metric("relayd_database_up", None), 1.0);
    }

    async fn a_violated_check_is_refused_with_what_the_database_says(url: DatabaseUrl) {
        let rig = Rig::new(url.clone(), Fleet::new(2));
        let empty = line("n1", 1, "result_success", "File", "").replace("@@rudder@@run@@", "@@rudder@@@@");
        let files = vec![rig.put_run("n0", 1, &run_log("n0", 1, 10)), rig.put_run("n1", 1, &empty)];
        let dispositions = rig.deliver_all(files).await;
        assert_eq!(dispositions[0], STORED);
        // The parser may refuse it as well, before the database does.
        assert!(matches!(reason(&dispositions[1]), Some(Reason::DatabaseRefused | Reason::BadContent)), "{dispositions:?}");
        assert_eq!(counts(&url), (10, 1, 1));
    }

    async fn nul_becomes_the_replacement_character(url: DatabaseUrl) {
        let rig = Rig::new(url.clone(), Fleet::new(1));
        let text = run_log("n0", 1, 4).replace("was right", "was\0right");
        assert_eq!(rig.deliver("n0", 1, &text).await, STORED);
        assert_eq!(number(&url, "SELECT count(*) FROM ruddersysevents WHERE msg LIKE '%was\u{FFFD}right%'"), 2);
    }

    async fn any_text_is_stored_as_it_is(url: DatabaseUrl) {
        let rig = Rig::new(url.clone(), Fleet::new(1));
        let text = line("n0", 1, "control", "start", "'; DROP TABLE run_log; -- \\x \u{1F980}\u{202E}\t\"%s\" \\N");
        assert_eq!(rig.deliver("n0", 1, &text).await, STORED);
        let wanted = "'; DROP TABLE run_log; -- \\x \u{1F980}\u{202E}\t\"%s\" \\N".replace('\'', "''");
        assert_eq!(number(&url, &format!("SELECT count(*) FROM ruddersysevents WHERE msg = '{wanted}'")), 1);
    }

    async fn skipped_event_types_are_not_stored(url: DatabaseUrl) {
        let rig = Rig::with(url.clone(), Fleet::new(1), &["result_success"]);
        assert_eq!(rig.deliver("n0", 1, &run_log("n0", 1, 72)).await, STORED);
        assert_eq!(counts(&url), (2, 1, 1));
        assert_eq!(rig.deliver("n0", 2, &line("n0", 2, "result_success", "File", "all")).await, STORED);
        assert_eq!(counts(&url), (2, 1, 1));
    }

    async fn a_huge_run_log_is_one_transaction(url: DatabaseUrl) {
        let rig = Rig::new(url.clone(), Fleet::new(1));
        assert_eq!(rig.deliver("n0", 1, &run_log("n0", 1, 30_000)).await, STORED);
        assert_eq!(counts(&url), (30_000, 1, 1));
    }

    async fn what_an_existing_daemon_stored_is_not_stored_again(url: DatabaseUrl) {
        let rig = Rig::new(url.clone(), Fleet::new(2));
        assert_eq!(rig.deliver("n0", 1, &run_log("n0", 1, 10)).await, STORED);
        // As if it had been stored without the ledger.
        forget(&url);
        let files = vec![
            rig.put_run("n1", 1, &run_log("n1", 1, 10)),
            rig.put_run("n0", 2, &run_log("n0", 1, 10)),
        ];
        assert_eq!(rig.deliver_all(files).await, [STORED, ALREADY_STORED]);
        assert_eq!(counts(&url), (20, 2, 2));
        assert_eq!(number(&url, "SELECT count(*) FROM run_log WHERE insertionid IS NULL AND reports = 0"), 1);
    }
}

/// Empties the ledger.
fn forget(url: &DatabaseUrl) {
    use diesel::{Connection, PgConnection, SqliteConnection, connection::SimpleConnection};
    match url {
        DatabaseUrl::Postgres(url) => {
            PgConnection::establish(url).unwrap().batch_execute("DELETE FROM run_log")
        }
        DatabaseUrl::Sqlite(path) => {
            SqliteConnection::establish(path.to_str().unwrap()).unwrap().batch_execute("DELETE FROM run_log")
        }
    }
    .unwrap();
}

/// What is refused before the database is asked.
#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_no_good_run_logs_are_refused_with_a_reason() {
    let directory = tempfile::tempdir().unwrap();
    let url = DatabaseUrl::Sqlite(directory.path().join("relayd.db"));
    let rig = Rig::new(url.clone(), Fleet::new(2));
    let name = name_of("n0", 1);
    let good = rig.fleet.sign("n0", run_log("n0", 1, 9).as_bytes());
    let forged = rig.fleet.sign("n1", run_log("n0", 1, 9).as_bytes());
    let cases: Vec<(&str, Vec<u8>, Reason, bool)> = vec![
        ("empty", vec![], Reason::BadCompression, true),
        ("not gzip", b"hello, this is no gzip".to_vec(), Reason::BadCompression, false),
        ("forged", compression::gzip(&forged), Reason::BadSignature, false),
        ("no report", rig.fleet.pack("n0", "nothing\n"), Reason::BadContent, false),
        ("other node", rig.fleet.pack("n0", &run_log("n1", 1, 4)), Reason::BadContent, false),
        (
            "altered",
            compression::gzip(&String::from_utf8_lossy(&good).replace("was right", "was wrong").into_bytes()),
            Reason::BadSignature,
            false,
        ),
        ("bomb", compression::gzip(&vec![b'x'; 101 << 20]), Reason::TooLarge, false),
    ];
    for (case, content, wanted, maybe_incomplete) in cases {
        let disposition = rig.store.deliver(&rig.put(&name, &content)).await;
        rig.store.settled(&disposition);
        let Disposition::Rejected(rejection) = disposition else { panic!("{case}: {disposition:?}") };
        assert_eq!(rejection.reason, wanted, "{case}: {}", rejection.detail);
        if maybe_incomplete {
            assert!(rejection.maybe_incomplete, "{case}");
        }
    }
    let packed = compression::gzip(&good);
    for length in 0..packed.len() {
        let disposition = rig.store.deliver(&rig.put(&name, &packed[..length])).await;
        rig.store.settled(&disposition);
        let Disposition::Rejected(rejection) = disposition else { panic!("{length}: {disposition:?}") };
        assert_eq!(rejection.reason, Reason::BadCompression, "{length}");
        assert!(rejection.maybe_incomplete, "{length}: {rejection:?}");
    }
    assert_eq!(counts(&url), (0, 0, 0));
    let errors = rig.metric("rudder_relayd_reports_total", Some("error"));
    assert_eq!(errors, (7 + packed.len()) as f64);

    let stranger = rig.put(&name_of("stranger", 1), &packed);
    let refused = rig.store.deliver(&stranger).await;
    assert_eq!(reason(&refused), Some(Reason::UnknownNode));
    rig.store.settled(&refused);
    rig.store.settled(&STORED);
    rig.store.settled(&Disposition::Accepted(Outcome::Vanished));
    assert_eq!(rig.metric("rudder_relayd_reports_total", Some("invalid")), 1.0);
    assert_eq!(rig.metric("rudder_relayd_reports_total", Some("ok")), 1.0);
}

#[tokio::test]
async fn a_run_log_without_config_id_is_stored_with_a_warning() {
    let directory = tempfile::tempdir().unwrap();
    let log_file = std::fs::File::create(directory.path().join("log")).unwrap();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(log_file).finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    let rig = Rig::new(DatabaseUrl::Sqlite(directory.path().join("relayd.db")), Fleet::new(2));
    assert_eq!(rig.deliver("n0", 1, &run_log("n0", 1, 5)).await, STORED);
    assert_eq!(rig.deliver("n1", 1, &line("n1", 1, "result_success", "File", "was right")).await, STORED);
    let log = std::fs::read_to_string(directory.path().join("log")).unwrap();
    let warnings: Vec<_> = log.lines().filter(|line| line.contains("config id")).collect();
    assert!(matches!(warnings[..], [one] if one.contains("WARN") && one.contains("node_id=n1")), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_but_regular_files_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let rig = Rig::new(DatabaseUrl::Sqlite(directory.path().join("relayd.db")), Fleet::new(1));
    let target = rig.put_run("n0", 1, &run_log("n0", 1, 5));
    let path = rig.spool.path().join(name_of("n0", 2));
    let file = SpoolFile { path: path.clone(), name: SpoolName::RunLog(name_of("n0", 2).parse().unwrap()) };
    assert_eq!(rig.store.deliver(&file).await, Disposition::Accepted(Outcome::Vanished));

    for case in ["link", "hard link", "directory", "fifo"] {
        match case {
            "link" => std::os::unix::fs::symlink(&target.path, &path).unwrap(),
            "hard link" => std::fs::hard_link(&target.path, &path).unwrap(),
            "directory" => std::fs::create_dir(&path).unwrap(),
            _ => make_fifo(&path),
        }
        assert_eq!(reason(&rig.store.deliver(&file).await), Some(Reason::NotAFile), "{case}");
        std::fs::remove_file(&path).or_else(|_| std::fs::remove_dir(&path)).unwrap();
    }
}

fn make_fifo(path: &std::path::Path) {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR, 0).unwrap();
}
