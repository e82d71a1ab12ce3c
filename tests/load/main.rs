// SPDX-License-Identifier: Apache-2.0
//! The load generator: simulated nodes with real keys and realistic signed run logs, against private
//! servers. It claims, it counts acknowledgements, and it judges what the database holds.

mod baseline;
mod connected;
mod door;
mod enrol;
mod feed;
mod files;
mod fleet;
mod forward;
mod ingest;
mod inventories;
mod nginx;
mod nodes;
mod report;
mod sql;
mod storage;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use tests::{
    Result,
    identity::{Identity, Keys},
    simulated::{self, Packed},
    wait,
};

/// Measures relayd with simulated nodes, real keys and signed run logs; everything it needs it starts itself.
///
/// Each scenario makes private servers (and a private PostgreSQL where it needs one) in a temporary
/// directory, prints its progress to standard error and its figures to standard output, and exits
/// with 0 only if nothing was lost, duplicated or forged and every target is met.
#[derive(Debug, Parser)]
#[command(
    after_help = "Examples:\n  load ingest                      root on PostgreSQL against a bare COPY of the same rows\n  load ingest --keys rsa4096       the same with the keys of current agents\n  load forward --delay 100         relay to an upstream 100 ms away, each way\n  load door --connections 200      uploads over mutually authenticated TLS\n  load door --store --rate 300     the whole way into PostgreSQL, 300 run logs/s\n  load enrol --nodes 10000         newcomers with tokens, each over a connection of its own\n  load connected --nodes 10000     agents that keep a connection, and are triggered\n  load nodes                       50,000 nodes on the list against 500\n  load files                       unchanged policies and 200 MB downloads, against nginx\n  load storage                     bytes of table, index and WAL for each run log\n  load fleet                       answers about a day of 10,000 nodes\n  load inventories                 10,000 inventories at once\n\nFrom a checkout: make load ARGS='ingest --json'"
)]
struct Cli {
    #[command(subcommand)]
    scenario: Scenario,
    /// Print the figures as JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Scenario {
    /// Root on PostgreSQL: rows per second from spooled files, as a ratio to a bare COPY
    Ingest(ingest::Options),
    /// Relay to a distant upstream: run logs per second
    Forward(forward::Options),
    /// Uploads through the gateway: acknowledged run logs per second
    Door(door::Options),
    /// New nodes with a token each through the door: none lost, none doubled
    Enrol(enrol::Options),
    /// Agents that keep a connection: memory, time to trigger all, return after a restart
    Connected(connected::Options),
    /// A list of many nodes: time to load, memory, cost of a handshake
    Nodes(nodes::Options),
    /// Unchanged policies and large files over mutually authenticated TLS, as ratios to nginx
    Files(files::Options),
    /// Bytes that a run log takes in PostgreSQL, against the tables of existing servers
    Storage(storage::Options),
    /// Questions to a root that has a day of 10,000 nodes in its database: time to answer
    Fleet(fleet::Options),
    /// Inventories of all nodes at once, into PostgreSQL: time, waits for locks, then the same unchanged
    Inventories(inventories::Options),
}

/// What is simulated.
#[derive(Debug, Clone, Args)]
struct Simulation {
    /// Machines, each with a key of its own
    #[arg(long, default_value_t = 200)]
    nodes: usize,
    /// Rows (reports and attached log lines) in a run log
    #[arg(long, default_value_t = simulated::USUAL_ROWS)]
    rows: usize,
    /// Kind of the machines' keys
    #[arg(long, value_enum, default_value = "rsa2048")]
    keys: Keys,
}

impl Simulation {
    /// Makes the machines.
    fn machines(&self) -> Result<Vec<Identity>> {
        progress(&format!("making {} machines with {:?} keys", self.nodes, self.keys));
        Identity::many(self.nodes, self.keys)
    }

    /// Makes and signs at least `count` run logs of these machines.
    fn logs(&self, machines: &[Identity], count: usize) -> Result<Vec<Packed>> {
        let runs = count.div_ceil(machines.len());
        progress(&format!("signing {} run logs of {} rows", runs * machines.len(), self.rows));
        simulated::many(machines, runs, self.rows, chrono::Utc::now())
    }
}

fn progress(text: &str) {
    eprintln!("load: {text}");
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let measured = wait::heed_interruption().and_then(|()| match &cli.scenario {
        Scenario::Ingest(options) => ingest::run(options),
        Scenario::Forward(options) => forward::run(options),
        Scenario::Door(options) => door::run(options),
        Scenario::Enrol(options) => enrol::run(options),
        Scenario::Connected(options) => connected::run(options),
        Scenario::Nodes(options) => nodes::run(options),
        Scenario::Files(options) => files::run(options),
        Scenario::Storage(options) => storage::run(options),
        Scenario::Fleet(options) => fleet::run(options),
        Scenario::Inventories(options) => inventories::run(options),
    });
    match measured {
        Ok(report) => {
            if cli.json {
                println!("{}", report.json());
            } else {
                print!("{report}");
            }
            if report.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::from(3)
        }
    }
}
