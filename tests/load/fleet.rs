// SPDX-License-Identifier: Apache-2.0
//! The API of a root whose database holds a day of a fleet: how long its answers take. The tables are filled by
//! SQL, because a day of run logs takes hours to come in; what they hold is what the daemon would have written.

use std::time::Instant;

use chrono::{DateTime, TimeDelta, Utc};
use clap::Args;
use diesel::{
    PgConnection, QueryableByName, RunQueryDsl,
    connection::SimpleConnection,
    sql_query,
    sql_types::{BigInt, Text},
};
use tests::{
    Result, http,
    identity::{Identity, Keys},
    postgres::{Durability, Postgres},
    server::{Output, Server},
    simulated,
};

use crate::{
    progress,
    report::{Report, Target},
};

/// Questions to a root about many nodes.
#[derive(Debug, Args)]
pub struct Options {
    /// Nodes
    #[arg(long, default_value_t = 10_000)]
    nodes: u32,
    /// Runs of each node, five minutes apart
    #[arg(long, default_value_t = 288)]
    runs: u32,
    /// Rows of each run but the last, 46 at most; the last has 72. With 72 in all, a day would be 50 GB
    #[arg(long, default_value_t = 4)]
    rows: u32,
    /// How often each question is asked
    #[arg(long, default_value_t = 50)]
    times: usize,
}

/// A question, and the longest that its answer may take, in milliseconds.
struct Question {
    name: &'static str,
    /// Path and query; NODE and START stand for those of a node and its last run.
    path: &'static str,
    most: Option<f64>,
}

const fn question(name: &'static str, path: &'static str, most: Option<f64>) -> Question {
    Question { name, path, most }
}

const QUESTIONS: &[Question] = &[
    question("fleet summary", "compliance", Some(50.0)),
    question("latest run of a node", "runs/NODE/START", Some(20.0)),
    question("fleet summary 12 h ago", "compliance?at=12h", Some(200.0)),
    question("nodes with a package", "packages?name=package-77&version%3C=1.0.2", Some(200.0)),
    question("versions of a package", "packages?name=package-77&by=version", Some(200.0)),
    question("compliance by rule", "compliance?by=rule", None),
    question("compliance by node", "compliance?by=node&limit=100", None),
    question("what fails", "compliance/failing?limit=100", None),
    question("what changed in 12 h", "changes?from=12h&limit=100", None),
    question("a node", "nodes/NODE", None),
    question("its timeline", "compliance/nodes/NODE/timeline", None),
    question("its runs", "runs?node=NODE&limit=100", None),
    question("newest runs", "runs?limit=100", None),
    question("nodes", "nodes?limit=100", None),
];

#[derive(QueryableByName)]
struct Last {
    #[diesel(sql_type = Text)]
    nodeid: String,
    #[diesel(sql_type = BigInt)]
    last: i64,
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    number: i64,
}

pub fn run(options: &Options) -> Result<Report> {
    progress("starting PostgreSQL");
    let postgres = Postgres::start_new(Durability::Default)?;
    let directory = tempfile::Builder::new().prefix("relayd-load-").tempdir()?;
    let root = Identity::new("root".parse()?, Keys::Rsa2048)?;
    let output = Output::Database(postgres.create_database("fleet")?);
    let mut server = Server::with_files(
        directory.path(),
        &root.node_id,
        root.key_hash(),
        root.write(directory.path())?,
        output,
    )?;
    server.know_nodes_from("database")?;
    // The fleet stands still from here on, and is asked for a while.
    server.set("compliance.run_interval", "\"1day\"");
    server.command(&["database", "migrate"])?;
    let mut connection = postgres.connect("rudder", "fleet")?;

    let end = Utc::now() - TimeDelta::minutes(1);
    let begun = Instant::now();
    make_days(&mut connection, &server, end - TimeDelta::seconds(300 * i64::from(options.runs)), end)?;
    progress(&format!("filling: {} runs of {} nodes", options.runs, options.nodes));
    fill(&mut connection, options, end)?;
    let filled = begun.elapsed();

    server.start()?;
    let mut report = Report::default();
    let lasts: Vec<Last> =
        sql_query("SELECT nodeid, last FROM compliance_current ORDER BY nodeid LIMIT 1000")
            .load(&mut connection)?;
    for question in QUESTIONS {
        progress(question.name);
        ask(&server, question, &lasts, options.times, &mut report)?;
    }
    report.add("filled in", filled.as_secs_f64(), "s", Target::None);
    let mebibytes = |bytes: i64| bytes as f64 / 1_048_576.0;
    for (name, pattern) in [
        ("reports", "ruddersysevents"),
        ("runs and ledger", "(reportsexecution|run_log)"),
        ("state and history of compliance", "compliance_"),
        ("inventories", "(inventory|package)"),
    ] {
        let sql = format!(
            "SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint AS number FROM pg_class \
             WHERE relkind = 'r' AND relname ~ '^{pattern}'"
        );
        let bytes = sql_query(sql).get_result::<Number>(&mut connection)?.number;
        report.add(name, mebibytes(bytes), "MiB", Target::None);
    }
    report.add(
        "relayd, peak resident memory",
        mebibytes(server.usage()?.peak_memory as i64),
        "MiB",
        Target::None,
    );
    Ok(report)
}

/// Partitions of the days between, as retention makes them for run logs that come late.
fn make_days(c: &mut PgConnection, server: &Server, from: DateTime<Utc>, to: DateTime<Utc>) -> Result<()> {
    c.batch_execute(&format!(
        "CREATE TEMP TABLE day AS SELECT generate_series(to_timestamp({}), to_timestamp({}), '1 day') AS at; \
         INSERT INTO reportsexecution (nodeid, date) SELECT 'earlier', at FROM day; \
         INSERT INTO run_log (nodeid, digest, date, file, reports) SELECT 'earlier', sha256('x'), at, 'x', 0 FROM day; \
         INSERT INTO ruddersysevents (executiondate, nodeid, directiveid, ruleid, reportid, component, \
             executiontimestamp, eventtype) \
         SELECT at, 'earlier', 'd', 'r', '0', 'c', at, kind \
         FROM day, unnest(ARRAY['log_info', 'result_success']) AS kind",
        from.timestamp(),
        to.timestamp(),
    ))?;
    server.command(&["database", "maintain"])?;
    Ok(c.batch_execute(
        "DELETE FROM reportsexecution WHERE nodeid = 'earlier'; DELETE FROM run_log WHERE nodeid = 'earlier'; \
         DELETE FROM ruddersysevents WHERE nodeid = 'earlier'",
    )?)
}

fn fill(c: &mut PgConnection, options: &Options, end: DateTime<Utc>) -> Result<()> {
    let facts: String = simulated::gzip(b"{}")?.iter().map(|byte| format!("{byte:02x}")).collect();
    let sql = include_str!("fleet.sql")
        .replace("NODES", &options.nodes.to_string())
        .replace("RUNS", &options.runs.max(6).to_string())
        .replace("ROWS", &options.rows.clamp(1, 46).to_string())
        .replace("'FACTS'", &format!("'\\x{facts}'"))
        .replace("LATEST", &end.timestamp().to_string());
    Ok(c.batch_execute(&sql)?)
}

fn ask(
    server: &Server,
    question: &Question,
    lasts: &[Last],
    times: usize,
    report: &mut Report,
) -> Result<()> {
    let mut took = Vec::with_capacity(times);
    for number in 0..times.max(2) {
        let Some(last) = lasts.get(number * 7 % lasts.len().max(1)) else { return Err("no node".into()) };
        let path = question.path.replace("NODE", &last.nodeid).replace("START", &last.last.to_string());
        let begun = Instant::now();
        let answer = http::get(server.api(), &format!("/rudder/relay-api/1/{path}"))?;
        took.push(begun.elapsed().as_secs_f64() * 1e3);
        if answer.status != 200 {
            return Err(format!("{path}: status {}: {}", answer.status, answer.body).into());
        }
    }
    // The first one finds a database that has just been filled.
    took.remove(0);
    took.sort_by(f64::total_cmp);
    let at = |part: f64| took.get(((took.len() - 1) as f64 * part) as usize).copied().unwrap_or_default();
    let target = question.most.map_or(Target::None, Target::AtMost);
    report.add(question.name, at(0.5), "ms", target);
    report.add(format!("{}, 95th percentile", question.name), at(0.95), "ms", Target::None);
    Ok(())
}
