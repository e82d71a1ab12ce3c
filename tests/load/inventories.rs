// SPDX-License-Identifier: Apache-2.0
//! Inventories of a whole fleet at once: all nodes were installed or changed on one day, or a relay comes back after days.
//!
//! Most packages are those of all nodes, some are each node's own. All files are there before the daemon starts; then
//! the same inventories come once more, made later and unchanged.

use std::{
    fmt::Write as _,
    fs,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use clap::Args;
use diesel::PgConnection;
use tests::{
    Result,
    fleet::Fleet,
    identity::{Identity, Keys},
    inventory,
    postgres::{Durability, Postgres},
    server::{Output, Server},
    site::waiting,
    wait,
};

use crate::{
    progress,
    report::{Report, Target},
    sql::{WAL, number},
};

/// Inventories at once.
#[derive(Debug, Args)]
pub struct Options {
    /// Nodes, each with a key of its own
    #[arg(long, default_value_t = 10_000)]
    nodes: usize,
    /// Packages of each node
    #[arg(long, default_value_t = 2_000)]
    packages: usize,
    /// Packages of which each node has a version of its own
    #[arg(long, default_value_t = 20)]
    own: usize,
}

/// Kinds of nodes: those of one kind have the same packages but for their own.
const KINDS: usize = 12;
/// How long all may take.
const PATIENCE: Duration = Duration::from_secs(3600);
/// How often is looked who waits for a lock.
const LOOK: Duration = Duration::from_millis(50);

pub fn run(options: &Options) -> Result<Report> {
    progress(&format!("making {} machines", options.nodes));
    let machines = Identity::many(options.nodes, Keys::P256)?;
    progress("starting PostgreSQL");
    let postgres = Postgres::start_new(Durability::Default)?;
    let directory = tempfile::Builder::new().prefix("relayd-load-").tempdir()?;
    let root = Identity::new("root".parse()?, Keys::Rsa2048)?;
    let mut fleet = Fleet::new(&root);
    for machine in &machines {
        fleet.add(machine, &root.node_id);
    }
    let database = postgres.create_database("rudder")?;
    let mut server =
        Server::prepare(&directory.path().join("root"), &root, &fleet, Output::Database(database))?;
    server.set("processing.inventory.output", "\"database\"");
    server.command(&["database", "migrate"])?;

    let mut report = Report::default();
    for pass in ["first", "unchanged"] {
        let burst = burst(options, &machines, &mut server, &postgres, &directory.path().join(pass), pass)?;
        report.add(format!("{pass}, inventories"), burst.rate, "1/s", Target::None);
        report.add(format!("{pass}, relayd, CPU each"), burst.cpu, "us", Target::None);
        report.add(
            format!("{pass}, relayd, peak resident memory"),
            burst.memory,
            "MiB",
            Target::AtMost(256.0),
        );
        report.add(format!("{pass}, WAL each"), burst.wal, "B", Target::None);
        report.add(format!("{pass}, waits for locks"), burst.blocked, "% of time", Target::AtMost(5.0));
        report.add(format!("{pass}, failed"), burst.failed as f64, "files", Target::AtMost(0.0));
    }
    let mut connection = postgres.connect("postgres", "rudder")?;
    let nodes = options.nodes as f64;
    let mut count = |sql: &str| number(&mut connection, sql).map(|n| n as f64);
    report.add(
        "nodes with an inventory",
        count("SELECT count(*) AS number FROM inventory")?,
        "",
        Target::AtLeast(nodes),
    );
    report.add(
        "changes after the first",
        count("SELECT count(*) AS number FROM inventory_history")?,
        "",
        Target::AtMost(0.0),
    );
    report.add("deadlocks", count(DEADLOCKS)?, "", Target::AtMost(0.0));
    report.add(
        "database",
        count("SELECT pg_database_size(current_database()) AS number")? / 1e6,
        "MB",
        Target::None,
    );
    Ok(report)
}

const DEADLOCKS: &str = "SELECT deadlocks AS number FROM pg_stat_database WHERE datname = current_database()";
/// Sessions that wait for a lock of another transaction; that a table or a page is extended by others is none.
const BLOCKED: &str = "SELECT count(*) AS number FROM pg_stat_activity \
    WHERE wait_event_type = 'Lock' AND wait_event <> 'extend'";

/// What one burst took.
struct Burst {
    rate: f64,
    /// Microseconds each.
    cpu: f64,
    /// MiB.
    memory: f64,
    /// Bytes each.
    wal: f64,
    /// Per cent of the time of all sessions that was spent waiting for locks.
    blocked: f64,
    failed: usize,
}

fn burst(
    options: &Options,
    machines: &[Identity],
    server: &mut Server,
    postgres: &Postgres,
    aside: &Path,
    pass: &str,
) -> Result<Burst> {
    progress(&format!("{pass}: writing and signing {} inventories", machines.len()));
    fs::create_dir(aside)?;
    write(options, machines, aside)?;
    let inventories = server.directory().join("inventories");
    let incoming = inventories.join("incoming");
    fs::create_dir_all(&incoming)?;
    for entry in fs::read_dir(aside)? {
        let entry = entry?;
        fs::rename(entry.path(), incoming.join(entry.file_name()))?;
    }
    let mut connection = postgres.connect("postgres", "rudder")?;
    let wal = number(&mut connection, WAL)?;
    progress(&format!("{pass}: storing them"));
    let done = AtomicBool::new(false);
    let start = Instant::now();
    server.start()?;
    let blocked = std::thread::scope(|scope| {
        let watch = scope.spawn(|| blocked(&mut connection, &done));
        let emptied = wait_empty(server, &incoming);
        done.store(true, Ordering::Relaxed);
        let blocked = watch.join().map_err(|_| "the one who looks for locks panicked")?;
        emptied.and(blocked)
    })?;
    let time = start.elapsed().as_secs_f64();
    let usage = server.usage()?;
    server.stop()?;
    let mut connection = postgres.connect("postgres", "rudder")?;
    let count = machines.len() as f64;
    Ok(Burst {
        rate: count / time,
        cpu: usage.cpu.as_secs_f64() * 1e6 / count,
        memory: usage.peak_memory as f64 / 1_048_576.0,
        wal: (number(&mut connection, WAL)? - wal) as f64 / count,
        blocked,
        failed: waiting(&inventories.join("failed"))?,
    })
}

/// All inventories and signatures, on all cores.
fn write(options: &Options, machines: &[Identity], directory: &Path) -> Result<()> {
    let workers = std::thread::available_parallelism()?.get();
    let share = machines.len().div_ceil(workers).max(1);
    std::thread::scope(|scope| {
        let threads: Vec<_> = machines
            .chunks(share)
            .enumerate()
            .map(|(worker, machines)| {
                scope.spawn(move || -> Result<()> {
                    for (place, machine) in machines.iter().enumerate() {
                        let number = worker * share + place;
                        let software = software(options, number);
                        let hostname = format!("node{number}.example.com");
                        let made = inventory::with_software(machine, &hostname, "root", &software)?;
                        fs::write(directory.join(&made.name), &made.content)?;
                        fs::write(directory.join(&made.signature_name), &made.signature)?;
                    }
                    Ok(())
                })
            })
            .collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().map_err(|_| "a thread that makes inventories panicked")?)
    })
}

/// The packages of a node, the same each time.
fn software(options: &Options, node: usize) -> String {
    let (kind, mut xml) = (node % KINDS, String::new());
    let every = (options.packages / options.own.max(1)).max(1);
    for number in 0..options.packages {
        let is_own = options.own > 0 && (number + node).is_multiple_of(every);
        let version = if is_own {
            format!("2.{}-1", (node * 7 + number) % 5)
        } else {
            format!("1.{}-1", (number + kind / 4) % 3)
        };
        writeln!(
            xml,
            "    <SOFTWARES><ARCH>amd64</ARCH><COMMENTS>package {number} of the distribution</COMMENTS>\
             <FROM>deb</FROM><NAME>package{number}</NAME><PUBLISHER>Maintainers</PUBLISHER>\
             <VERSION>{version}</VERSION></SOFTWARES>"
        )
        .expect("a String takes everything");
    }
    xml
}

/// How much of the time of one session was spent waiting for locks, in per cent, until it is `done`.
fn blocked(connection: &mut PgConnection, done: &AtomicBool) -> Result<f64> {
    let (mut looks, mut found) = (0_u32, 0);
    while !done.load(Ordering::Relaxed) {
        found += number(connection, BLOCKED)?;
        looks += 1;
        std::thread::sleep(LOOK);
    }
    Ok(100.0 * found as f64 / f64::from(looks.max(1)))
}

fn wait_empty(server: &mut Server, incoming: &Path) -> Result<()> {
    let mut told = Instant::now();
    wait::until_true("the spool to drain", PATIENCE, || {
        server.check()?;
        let left = waiting(incoming)?;
        if told.elapsed() > Duration::from_secs(10) {
            told = Instant::now();
            progress(&format!("{left} files left"));
        }
        Ok(left == 0)
    })
}
