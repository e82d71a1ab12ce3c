// SPDX-License-Identifier: Apache-2.0
//! Root on PostgreSQL, everything on this machine: spooled files to committed rows.
//!
//! In one run: bare COPY, live traffic, a backlog present at start, bare COPY again.

use std::time::Instant;

use clap::Args;
use tests::{
    Result,
    fleet::Fleet,
    identity::{Identity, Keys},
    judge::Judge,
    postgres::{Durability, Postgres},
    server::{Output, Server},
    simulated::{Packed, Run},
};

use crate::{
    Simulation,
    baseline::Baseline,
    feed, progress,
    report::{Report, Target},
};

/// Root on PostgreSQL.
#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    simulation: Simulation,
    /// Run logs of live traffic
    #[arg(long, default_value_t = 10_000)]
    live: usize,
    /// Run logs that are there before the daemon starts
    #[arg(long, default_value_t = 20_000)]
    backlog: usize,
    /// Run logs in one transaction of the bare COPY
    #[arg(long, default_value_t = 64)]
    batch: usize,
}

/// Most files waiting under live traffic.
const LIVE_DEPTH: usize = 2_000;

pub fn run(options: &Options) -> Result<Report> {
    let simulation = &options.simulation;
    let machines = simulation.machines()?;
    let logs = simulation.logs(&machines, options.live + options.backlog)?;
    let (live, backlog) = logs.split_at(options.live);

    progress("starting PostgreSQL");
    let postgres = Postgres::start_new(Durability::Default)?;
    let directory = tempfile::Builder::new().prefix("relayd-load-").tempdir()?;
    let root = Identity::new("root".parse()?, Keys::Rsa2048)?;
    let mut fleet = Fleet::new(&root);
    for machine in &machines {
        fleet.add(machine, &root.node_id);
    }
    let prepare = |name: &str| {
        let output = Output::Database(postgres.create_database(name)?);
        let mut server = Server::prepare(&directory.path().join(name), &root, &fleet, output)?;
        // With few nodes the oldest run logs are of a day whose details would go.
        server.set("retention.details", "\"30days\"");
        server.command(&["database", "migrate"])?;
        Ok::<_, tests::Error>(server)
    };
    let before = prepare("copied_before")?;
    let after = prepare("copied_after")?;
    let mut server = prepare("rudder")?;

    let yardstick = yardstick(live, simulation.rows, options.batch)?;
    progress(&format!("bare COPY of {} rows", yardstick.rows()));
    let copied_before = yardstick.copy(before.database()?)?;

    let mut judge = Judge::default();
    logs.iter().for_each(|log| judge.claim(log));

    server.start()?;
    progress(&format!("live traffic: {} run logs", live.len()));
    let live_time = feed::drain_live(&mut server, live, LIVE_DEPTH)?;
    let live_usage = server.usage()?;
    server.stop()?;

    progress(&format!("backlog: {} run logs", backlog.len()));
    backlog.iter().try_for_each(|log| feed::put(&server.incoming(), log))?;
    let start = Instant::now();
    server.start()?;
    feed::wait_empty(&mut server)?;
    let backlog_time = start.elapsed();
    let backlog_usage = server.usage()?;
    server.stop()?;

    progress("bare COPY again");
    let copied_after = yardstick.copy(after.database()?)?;

    progress("judging");
    logs.iter().for_each(|log| judge.acknowledge(&log.id));
    let verdict = judge.verdict(server.database()?)?;

    let rows = |logs: &[Packed]| logs.iter().map(|log| log.rows).sum::<usize>() as f64;
    let copy = 2.0 * yardstick.rows() as f64 / (copied_before + copied_after).as_secs_f64();
    let live_rate = rows(live) / live_time.as_secs_f64();
    let backlog_rate = rows(backlog) / backlog_time.as_secs_f64();
    let cpu = (live_usage.cpu + backlog_usage.cpu).as_secs_f64() * 1e6 / logs.len() as f64;
    let memory = live_usage.peak_memory.max(backlog_usage.peak_memory) as f64 / 1_048_576.0;
    let mut report = Report::default();
    report.add("bare COPY", copy, "rows/s", Target::None);
    report.add("live", live_rate, "rows/s", Target::None);
    report.add("live run logs", live.len() as f64 / live_time.as_secs_f64(), "logs/s", Target::None);
    report.add("live, ratio to bare COPY", live_rate / copy, "", Target::AtLeast(0.5));
    report.add("backlog", backlog_rate, "rows/s", Target::None);
    report.add("backlog run logs", backlog.len() as f64 / backlog_time.as_secs_f64(), "logs/s", Target::None);
    report.add("backlog, ratio to bare COPY", backlog_rate / copy, "", Target::AtLeast(0.5));
    report.add("backlog, ratio to live", backlog_rate / live_rate, "", Target::AtLeast(0.9));
    report.add("relayd, CPU per run log", cpu, "us", Target::None);
    report.add("relayd, peak resident memory", memory, "MiB", Target::AtMost(128.0));
    report.judge(&verdict);
    Ok(report)
}

/// The rows of these run logs, in batches.
fn yardstick(logs: &[Packed], rows: usize, batch: usize) -> Result<Baseline> {
    let mut baseline = Baseline::default();
    for logs in logs.chunks(batch.max(1)) {
        let runs: Vec<_> =
            logs.iter().map(|log| Run::new(log.id.node_id.clone(), log.id.start.to_utc(), rows)).collect();
        baseline.add_batch(&runs);
    }
    Ok(baseline)
}
