// SPDX-License-Identifier: Apache-2.0
//! Retention: partitions made and dropped, on a real PostgreSQL; rows deleted in SQLite.

use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use relayd::{
    config::{self, DatabaseUrl},
    db::{self, Connection},
    retention::{self, Pass, Setting},
};

use crate::common::{
    cluster::shared,
    fleet::{config_of, counts, number},
};

const DAY: i64 = 86_400;
const HOUR: i64 = 3600;
/// 2026-03-01 00:00 UTC.
const START: i64 = 1_772_323_200;

/// A database with our tables.
struct Place {
    url: DatabaseUrl,
    c: Connection,
}

impl Place {
    fn new(url: DatabaseUrl) -> Self {
        db::migrate(&config_of(url.clone())).unwrap();
        let c = Connection::open(&url).unwrap();
        Self { url, c }
    }

    fn postgres() -> Self {
        Self::new(DatabaseUrl::Postgres(shared().url("postgres", &shared().create_database())))
    }

    /// Stores a run of one result and one detail.
    fn run(&mut self, node: &str, start: i64) {
        let digest = match self.c {
            Connection::Postgres(_) => format!("sha256('{node} {start}')"),
            Connection::Sqlite(_) => "randomblob(32)".to_owned(),
        };
        let at = time(start);
        let row = |kind: &str| format!("({at}, '{node}', 'd', 'r', '0', 'c', 'k', {at}, '{kind}', 'p', 'm')");
        self.c
            .execute(&format!(
                "INSERT INTO ruddersysevents (executiondate, nodeid, directiveid, ruleid, reportid, component, \
                 keyvalue, executiontimestamp, eventtype, policy, msg) VALUES {}, {}; \
                 INSERT INTO reportsexecution (nodeid, date) VALUES ('{node}', {at}); \
                 INSERT INTO run_log (nodeid, digest, date, file, reports) VALUES ('{node}', {digest}, {at}, 'f', 2)",
                row("log_info"),
                row("result_success"),
            ))
            .unwrap();
    }

    fn pass(&mut self, keep: config::Retention, wall: i64) -> Pass {
        let setting = Setting { keep, own_id: "root".parse().unwrap() };
        retention::run(&mut self.c, &setting, wall, None).unwrap().expect("nobody else is at it")
    }

    /// Starts of the runs that are there with all their results, as seconds since [`START`]; fails when
    /// there is part of one.
    fn runs(&self) -> Vec<i64> {
        let (results, runs, ledger) = (
            number(&self.url, "SELECT count(*) FROM ruddersysevents WHERE eventtype = 'result_success'"),
            number(&self.url, "SELECT count(*) FROM reportsexecution"),
            number(&self.url, "SELECT count(*) FROM run_log"),
        );
        assert_eq!((results, ledger), (runs, runs), "whole runs only");
        let date = match self.url {
            DatabaseUrl::Postgres(_) => "extract(epoch FROM date)::bigint",
            DatabaseUrl::Sqlite(_) => "CAST(strftime('%s', date) AS integer)",
        };
        let nth = |n| format!("SELECT {date} FROM reportsexecution ORDER BY date LIMIT 1 OFFSET {n}");
        (0..runs).map(|n| number(&self.url, &nth(n)) - START).collect()
    }

    fn details(&self) -> i64 {
        number(&self.url, "SELECT count(*) FROM ruddersysevents WHERE eventtype = 'log_info'")
    }
}

/// As SQL.
fn time(seconds: i64) -> String {
    format!("'{}'", chrono::DateTime::from_timestamp(seconds, 0).unwrap().format("%Y-%m-%d %H:%M:%S+00:00"))
}

fn days(results: u64, details: u64) -> config::Retention {
    let days = |days: u64| Some(Duration::from_secs(days * 86_400));
    config::Retention { results: days(results), details: days(details), ..Default::default() }
}

#[test]
fn across_midnight_a_day_goes_when_the_next_one_is_old_enough() {
    let mut place = Place::postgres();
    let first = place.pass(days(1, 1), START + DAY - 10);
    // The day before, which is kept; a week ahead; two months.
    assert_eq!(first.made.len(), 4 * (1 + 8) + 2, "{first:?}");
    for start in [DAY - 2, DAY - 1, DAY, DAY + 1] {
        place.run("n0", START + start);
    }
    let second = place.pass(days(1, 1), START + DAY + 10);
    // With the day before the first, which was made for what nodes had kept.
    assert_eq!((second.made.len(), second.dropped.len(), second.without_partition), (4, 4, 0), "{second:?}");
    let still = place.pass(days(1, 1), START + 2 * DAY - 1);
    assert_eq!(still.dropped, [], "a run of a second before midnight is not a day old yet");
    let third = place.pass(days(1, 1), START + 2 * DAY);
    let dropped: Vec<_> = third.dropped.iter().map(|dropped| dropped.name.as_str()).collect();
    let wanted = ["run_log", "ruddersysevents_result", "ruddersysevents_detail", "reportsexecution"];
    assert_eq!(dropped, wanted.map(|table| format!("public.{table}_20260301")));
    assert!(third.dropped.iter().all(|dropped| dropped.bytes > 0));
    assert_eq!((place.runs(), place.details()), (vec![DAY, DAY + 1], 2));
}

#[test]
fn after_days_of_downtime_waiting_rows_get_their_partitions() {
    let mut place = Place::postgres();
    place.pass(days(30, 4), START);
    place.run("n0", START + HOUR);
    // Nobody made partitions for three weeks; agents sent what they had kept.
    let now = START + 20 * DAY + HOUR;
    let starts = [HOUR, 17 * DAY, 19 * DAY + DAY - 1, 20 * DAY];
    starts[1..].iter().for_each(|start| place.run("n0", START + start));
    let moved = |pass: &Pass| pass.made.iter().map(|made| made.moved).sum::<u64>();
    // A start waits for what is needed now alone.
    let prepared = retention::prepare(&mut place.c, &days(30, 4), now).unwrap().unwrap();
    assert_eq!((prepared.problems.len(), moved(&prepared)), (0, 4));
    let pass = place.pass(days(30, 4), now);
    assert_eq!(pass.problems, []);
    assert_eq!(pass.doubt, None, "a node has sent a run of today");
    assert_eq!(moved(&pass), 4 * 2);
    assert_eq!(pass.without_partition, 0);
    assert_eq!(place.runs(), starts);
    // The first run's has gone.
    assert_eq!(place.details(), 3);
    let missing = "SELECT count(*) FROM run_log_20260321";
    assert_eq!(number(&place.url, missing), 1);
}

#[test]
fn after_days_of_downtime_partitions_are_there_before_rows_come() {
    let mut place = Place::postgres();
    place.pass(days(30, 4), START);
    let mut prepare = |keep: config::Retention, day: i64| {
        let pass = retention::prepare(&mut place.c, &keep, START + day * DAY + HOUR).unwrap().unwrap();
        assert_eq!(pass.problems, []);
        pass.made.len()
    };
    // There are those of days 0 to 7; of details nothing before day 16 is kept.
    assert_eq!(prepare(days(30, 4), 20), 3 * 20 + 12);
    assert_eq!(prepare(days(30, 4), 20), 0);
    place.run("n0", START + 17 * DAY);
    place.run("n0", START + 20 * DAY);
    let pass = place.pass(days(30, 4), START + 20 * DAY + HOUR);
    assert_eq!((pass.made.len(), pass.without_partition, pass.doubt), (0, 0, None));
    // Not years of them: 31 days, today and a week; of months those in which these are, June to August.
    let mut prepare = |day: i64| {
        let keep = config::Retention::default();
        retention::prepare(&mut place.c, &keep, START + day * DAY).unwrap().unwrap().made.len()
    };
    assert_eq!(prepare(150), 4 * (31 + 1 + 7) + 3);
}

/// As a node does whose clock jumps about.
#[test]
fn days_to_come_do_not_hide_those_that_wait() {
    let mut place = Place::postgres();
    place.pass(days(30, 30), START);
    place
        .c
        .execute(
            "INSERT INTO reportsexecution (nodeid, date) SELECT 'wild', '2030-01-01 12:00:00+00'::timestamptz \
             + n * interval '1 day' FROM generate_series(1, 450) n",
        )
        .unwrap();
    place.run("n0", START - 5 * DAY);
    let pass = place.pass(days(30, 30), START + HOUR);
    let made: Vec<_> = pass.made.iter().map(|made| (made.name.contains("20260224"), made.moved)).collect();
    assert_eq!(made, [(true, 1); 4]);
    assert_eq!((pass.problems, pass.without_partition), (vec![], 450));
}

#[test]
fn what_cannot_be_deleted_does_not_keep_the_rest() {
    let mut place = Place::postgres();
    place.pass(days(7, 7), START);
    place.run("n0", START - 400 * DAY);
    place
        .c
        .execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''not now''; END'; \
             CREATE TRIGGER refuse BEFORE DELETE ON reportsexecution FOR EACH ROW EXECUTE FUNCTION refuse()",
        )
        .unwrap();
    let pass = place.pass(days(7, 7), START + HOUR);
    let [problem] = pass.problems.as_slice() else { panic!("{pass:?}") };
    assert!(problem.text.contains("not now"), "{problem:?}");
    assert_eq!((place.runs(), place.details(), pass.rows), (vec![-400 * DAY], 0, 1));
}

/// The first one counts, as there is nothing to compare it with.
#[test]
fn a_first_clock_that_was_far_ahead_is_forgotten_once_others_say_so() {
    let directory = tempfile::tempdir().unwrap();
    let mut place = Place::new(DatabaseUrl::Sqlite(directory.path().join("x.db")));
    place.pass(days(7, 7), START + 3650 * DAY);
    let reached = "SELECT reached FROM retention";
    let mut pass_at = |wall: i64| place.pass(days(7, 7), wall).doubt.is_some();
    // Nobody says anything yet.
    assert!(!pass_at(START));
    assert_eq!(number(&place.url, reached), START + 3650 * DAY);
    place.run("n0", START - HOUR);
    assert_eq!(place.pass(days(7, 7), START).doubt, None);
    assert_eq!(number(&place.url, reached), START);
    assert!(place.pass(days(7, 7), START + 3650 * DAY).doubt.is_some(), "it jumps again");
    assert_eq!(place.runs(), [-HOUR]);
}

#[test]
fn a_clock_that_is_set_back_does_not_count_as_right_because_of_older_runs() {
    let directory = tempfile::tempdir().unwrap();
    let mut place = Place::new(DatabaseUrl::Sqlite(directory.path().join("x.db")));
    (0..10).for_each(|day| place.run("n0", START + day * DAY));
    let now = START + 9 * DAY + HOUR;
    for wall in [now, now - 5 * DAY] {
        place.pass(days(30, 30), wall);
        assert_eq!(number(&place.url, "SELECT reached FROM retention"), now);
    }
}

/// Faults, U2.
#[test]
fn a_clock_that_jumped_makes_nothing_old() {
    let sqlite = tempfile::tempdir().unwrap();
    for mut place in [Place::postgres(), Place::new(DatabaseUrl::Sqlite(sqlite.path().join("x.db")))] {
        place.pass(days(7, 1), START);
        let starts = [0, HOUR, 2 * HOUR];
        starts.iter().for_each(|start| place.run("n0", START + start));
        let now = START + 3 * HOUR;
        for (n, jump) in [8, 365, -365, 0, 365 * 60, 0].into_iter().enumerate() {
            // The agent of this server has the same clock.
            place.run("root", now + jump * DAY + n as i64);
            let pass = place.pass(days(7, 1), now + jump * DAY);
            assert_eq!(pass.doubt.is_some(), jump > 0, "{jump}");
            assert!(starts.iter().all(|start| place.runs().contains(start)), "{jump}: {pass:?}");
        }
        assert!(place.details() >= 3);
        // The days do pass, as another node says: what is older than a week goes.
        place.run("n0", START + 8 * DAY);
        let pass = place.pass(days(7, 1), START + 8 * DAY + HOUR);
        assert_eq!(pass.doubt, None);
        assert!(starts.iter().all(|start| !place.runs().contains(start)), "{pass:?}");
    }
}

#[test]
fn a_reader_that_holds_locks_is_named_and_nobody_waits_for_long() {
    let mut place = Place::postgres();
    place.pass(days(7, 7), START);
    place.run("n0", START + HOUR);
    place.run("n0", START + 8 * DAY);

    let DatabaseUrl::Postgres(url) = &place.url else { unreachable!() };
    let mut reader = <diesel::PgConnection as diesel::Connection>::establish(&format!(
        "{url}&application_name=long-report"
    ))
    .unwrap();
    reader.batch_execute("BEGIN; SELECT count(*) FROM ruddersysevents").unwrap();
    let begun = Instant::now();
    let pass = place.pass(days(7, 7), START + 8 * DAY + HOUR);
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    assert_eq!(pass.dropped, []);
    let text = format!("{:?}", pass.problems);
    assert!(text.contains("long-report") && text.contains("lock timeout"), "{text}");
    // Nothing of the run has gone, and new ones are taken.
    place.run("n1", START + 8 * DAY);
    assert_eq!(place.runs(), [HOUR, 8 * DAY, 8 * DAY]);

    reader.batch_execute("COMMIT").unwrap();
    let pass = place.pass(days(7, 7), START + 8 * DAY + HOUR);
    assert_eq!((pass.problems.len(), pass.dropped.len(), pass.without_partition), (0, 4 * 4, 0), "{pass:?}");
    assert_eq!(place.runs(), [8 * DAY, 8 * DAY]);
}

#[test]
fn a_late_run_of_a_dropped_day_goes_as_a_whole() {
    let mut place = Place::postgres();
    place.pass(days(7, 7), START);
    place.run("n0", START);
    let now = START + 8 * DAY;
    place.run("n0", now);
    place.pass(days(7, 7), now);
    assert_eq!(place.runs(), [8 * DAY]);
    // It is stored where there is room for any day; not for long.
    place.run("n1", START + HOUR);
    place.run("n1", START - 400 * DAY);
    place.run("n1", START + 2 * DAY);
    assert_eq!(place.runs().len(), 4);
    let pass = place.pass(days(7, 7), now);
    assert_eq!((pass.rows, pass.without_partition), (2 * 4, 0), "{pass:?}");
    assert_eq!(place.runs(), [2 * DAY, 8 * DAY]);
}

#[test]
fn what_another_role_owns_is_left_to_it() {
    let name = shared().create_database();
    let mut admin = shared().connect(&name);
    let (owner, limited) = (format!("owner_{name}"), format!("limited_{name}"));
    admin
        .batch_execute(&format!(
            "CREATE ROLE {owner} LOGIN; CREATE ROLE {limited} LOGIN; ALTER DATABASE {name} OWNER TO {owner}; \
             GRANT CREATE ON SCHEMA public TO {owner}"
        ))
        .unwrap();
    let url = |role: &str| DatabaseUrl::Postgres(shared().url(role, &name));
    let mut by_owner = Place::new(url(&owner));
    db::migrations::grant_to(&mut by_owner.c, &limited).unwrap();
    let open = |role: &str| Place { url: url(role), c: Connection::open(&url(role)).unwrap() };

    let mut by_limited = open(&limited);
    let pass = by_limited.pass(days(7, 7), START);
    assert_eq!((pass.made.len(), pass.problems.len()), (0, 0), "{pass:?}");
    assert!(pass.of_others.iter().any(|table| table == "run_log"), "{pass:?}");
    assert!(pass.without_today.iter().any(|table| table == "run_log"), "{pass:?}");
    // It stores all the same.
    by_limited.run("n0", START);
    // What a superuser made is the owner's: it may drop it later.
    let pass = open("postgres").pass(days(7, 7), START);
    assert_eq!((pass.problems.len(), pass.of_others.len()), (0, 0), "{pass:?}");
    assert_eq!(by_limited.pass(days(7, 7), START + DAY).without_today, [] as [&str; 0]);
    by_limited.run("n0", START + 8 * DAY);
    assert_eq!(by_limited.runs(), [0, 8 * DAY]);
    let pass = by_owner.pass(days(7, 7), START + 8 * DAY);
    assert_eq!((pass.problems.len(), pass.dropped.len()), (0, 4 * 4), "{pass:?}");
    assert_eq!(by_limited.runs(), [8 * DAY]);
}

#[test]
fn several_roots_do_not_disturb_each_other() {
    let place = Place::postgres();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let url = &place.url;
            scope.spawn(move || {
                let mut c = Connection::open(url).unwrap();
                let setting = Setting { keep: days(7, 7), own_id: "root".parse().unwrap() };
                for day in 0..4 {
                    let pass = retention::run(&mut c, &setting, START + day * DAY, None).unwrap();
                    assert!(pass.is_none_or(|pass| pass.problems.is_empty()));
                }
            });
        }
    });
    let mut place = place;
    let last = place.pass(days(7, 7), START + 3 * DAY);
    assert_eq!(last.problems, []);
    let days = "SELECT count(*) FROM pg_class WHERE relname ~ '^run_log_2026[0-9]+$'";
    assert_eq!(number(&place.url, days), 3 + 8 + 3);
}

#[test]
fn sqlite_loses_whole_runs_and_details_before_them() {
    let directory = tempfile::tempdir().unwrap();
    let mut place = Place::new(DatabaseUrl::Sqlite(directory.path().join("x.db")));
    place.pass(days(30, 4), START);
    place.c.execute("BEGIN").unwrap();
    for day in 0..40 {
        for minute in 0..30 {
            place.run("n0", START + day * DAY + minute * 60);
        }
    }
    place.c.execute("COMMIT").unwrap();
    let pass = place.pass(days(30, 4), START + 39 * DAY + HOUR);
    assert_eq!((pass.doubt, pass.problems), (None, vec![]));
    assert_eq!(place.runs().first(), Some(&(9 * DAY)));
    assert_eq!((place.runs().len(), place.details()), (31 * 30, 5 * 30));
    assert_eq!(pass.rows as i64, 9 * 30 * 3 + 35 * 30);
    assert_eq!(place.pass(config::Retention::default(), START + 39 * DAY + HOUR).rows, 0);
    // An id is never used again.
    place.run("n0", START + 40 * DAY);
    assert_eq!(number(&place.url, "SELECT max(id) FROM ruddersysevents"), 100 + 2 * (40 * 30 + 1));
}

/// Protocol 4.5: its server deletes from it.
#[test]
fn the_tables_of_an_existing_server_are_left_alone() {
    let name = shared().create_database();
    shared().connect(&name).batch_execute(super::MADE_BY_AN_EXISTING_SERVER).unwrap();
    let mut place = Place::new(DatabaseUrl::Postgres(shared().url("postgres", &name)));
    place.run("n0", START);
    place.run("n0", START + 40 * DAY);
    let pass = place.pass(days(30, 4), START + 40 * DAY);
    assert_eq!(pass.problems, []);
    // The ledger is ours.
    assert_eq!(counts(&place.url), (4, 3, 1));
}
