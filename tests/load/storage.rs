// SPDX-License-Identifier: Apache-2.0
//! What a run log takes in PostgreSQL: tables, indexes, write-ahead log. The same run logs go through the same
//! daemon into the tables that relayd makes, and into those of existing servers.

use clap::Args;
use diesel::connection::SimpleConnection;
use tests::{
    Result,
    existing_database::TABLES,
    fleet::Fleet,
    identity::{Identity, Keys},
    judge::Judge,
    postgres::{Durability, Postgres},
    server::{Output, Server},
    simulated::Packed,
};

use crate::{
    Simulation, feed, progress,
    report::{Report, Target},
    sql::{WAL, number},
};

/// Bytes in PostgreSQL.
#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    simulation: Simulation,
    /// Run logs
    #[arg(long, default_value_t = 10_000)]
    count: usize,
}

/// Most files waiting.
const DEPTH: usize = 2_000;

/// Bytes of one database.
#[derive(Debug, Clone, Copy)]
struct Bytes {
    /// Heaps and what is stored beside them.
    tables: f64,
    indexes: f64,
    /// Written ahead, the pages that a checkpoint adds left out.
    wal: f64,
}

pub fn run(options: &Options) -> Result<Report> {
    let machines = options.simulation.machines()?;
    let logs = options.simulation.logs(&machines, options.count)?;
    progress("starting PostgreSQL");
    let postgres = Postgres::start_new(Durability::Default)?;
    // Nothing else is to write while this is measured, and a page is to be written once only.
    postgres.connect("postgres", "postgres")?.batch_execute("ALTER SYSTEM SET autovacuum = off")?;
    let mut admin = postgres.connect("postgres", "postgres")?;
    admin.batch_execute("ALTER SYSTEM SET full_page_writes = off")?;
    admin.batch_execute("SELECT pg_reload_conf()")?;

    let mut report = Report::default();
    let plain = measure(&postgres, "existing", Some(TABLES), &machines, &logs, &mut report)?;
    let ours = measure(&postgres, "relayd", None, &machines, &logs, &mut report)?;
    let count = logs.len() as f64;
    report.add("existing tables", plain.tables / count, "B/run log", Target::None);
    report.add("existing indexes", plain.indexes / count, "B/run log", Target::None);
    report.add("existing WAL", plain.wal / count, "B/run log", Target::None);
    report.add("relayd tables", ours.tables / count, "B/run log", Target::None);
    report.add("relayd indexes", ours.indexes / count, "B/run log", Target::None);
    report.add("relayd WAL", ours.wal / count, "B/run log", Target::None);
    let stored = |bytes: Bytes| bytes.tables + bytes.indexes;
    report.add("stored, ratio to existing", stored(ours) / stored(plain), "", Target::AtMost(0.95));
    report.add("indexes, ratio to existing", ours.indexes / plain.indexes, "", Target::AtMost(0.6));
    report.add("WAL, ratio to existing", ours.wal / plain.wal, "", Target::AtMost(0.9));
    Ok(report)
}

fn measure(
    postgres: &Postgres,
    name: &str,
    tables: Option<&str>,
    machines: &[Identity],
    logs: &[Packed],
    report: &mut Report,
) -> Result<Bytes> {
    let directory = tempfile::Builder::new().prefix("relayd-load-").tempdir()?;
    let root = Identity::new("root".parse()?, Keys::Rsa2048)?;
    let mut fleet = Fleet::new(&root);
    for machine in machines {
        fleet.add(machine, &root.node_id);
    }
    let database = postgres.create_database(name)?;
    if let Some(tables) = tables {
        postgres.connect("rudder", name)?.batch_execute(tables)?;
    }
    let mut server =
        Server::prepare(&directory.path().join(name), &root, &fleet, Output::Database(database))?;
    server.start()?;
    let mut connection = postgres.connect("postgres", name)?;
    connection.batch_execute("CHECKPOINT")?;
    let before = number(&mut connection, WAL)?;
    progress(&format!("{name}: {} run logs", logs.len()));
    feed::drain_live(&mut server, logs, DEPTH)?;
    server.stop()?;
    let wal = number(&mut connection, WAL)? - before;
    let mut judge = Judge::default();
    for log in logs {
        judge.claim(log);
        judge.acknowledge(&log.id);
    }
    let verdict = judge.verdict(server.database()?)?;
    if !verdict.is_complete() {
        report.judge(&verdict);
    }
    let tables = number(&mut connection, TABLE_BYTES)?;
    let indexes = number(&mut connection, INDEX_BYTES)?;
    Ok(Bytes { tables: tables as f64, indexes: indexes as f64, wal: wal as f64 })
}

/// Of all that this database has for run logs; the tables of the registry do not grow with them.
const TABLE_BYTES: &str = "SELECT coalesce(sum(pg_table_size(oid)), 0)::bigint AS number FROM pg_class \
    WHERE relkind = 'r' AND relname ~ '^(ruddersysevents|reportsexecution|run_log|compliance_)'";
const INDEX_BYTES: &str = "SELECT coalesce(sum(pg_indexes_size(oid)), 0)::bigint AS number FROM pg_class \
    WHERE relkind = 'r' AND relname ~ '^(ruddersysevents|reportsexecution|run_log|compliance_)'";
