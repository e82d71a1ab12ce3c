// SPDX-License-Identifier: Apache-2.0
//! What knowing many nodes costs: loading the list, memory, and handshakes with client certificates when there are
//! few and many nodes on it.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use clap::Args;
use protocol::{hash::KeyHash, node_id::NodeId};
use serde_json::{Map, json};
use tests::{
    Result,
    client::{Connection, blocking, connector},
    fleet::Fleet,
    identity::{Identity, Keys},
    ports,
    server::{DatabaseUrl, Output, Server},
};
use uuid::Uuid;

use crate::{
    progress,
    report::{Report, Target},
};

/// Many nodes on the list.
#[derive(Debug, Args)]
pub struct Options {
    /// Nodes on the long list
    #[arg(long, default_value_t = 50_000)]
    nodes: usize,
    /// Nodes on the short list
    #[arg(long, default_value_t = 500)]
    few: usize,
    /// Handshakes in each of the rounds
    #[arg(long, default_value_t = 1_000)]
    handshakes: usize,
    /// A root with the registry in SQLite, which takes the list over at its first start; else a relay with a list
    #[arg(long)]
    registry: bool,
    /// With a certificate for each node, as a root has that verifies run logs
    #[arg(long)]
    certificates: bool,
}

/// Rounds, with few and many nodes in turn: the machine's mood falls on both.
const ROUNDS: usize = 3;

pub fn run(options: &Options) -> Result<Report> {
    let machine = Identity::random(Keys::P256)?;
    let directory = tempfile::Builder::new().prefix("relayd-load-").tempdir()?;
    let mut report = Report::default();
    report.add("nodes", options.nodes as f64, "", Target::None);
    let (mut few, first_few, start_few) =
        started(&directory.path().join("few"), options, options.few, &machine)?;
    let idle = few.usage()?.peak_memory;
    let (mut many, first_many, start_many) =
        started(&directory.path().join("many"), options, options.nodes, &machine)?;
    if options.registry {
        let takes = first_many.saturating_sub(first_few).as_secs_f64();
        report.add("taking the list over, once", takes, "s", Target::None);
    }
    let load = start_many.saturating_sub(start_few).as_secs_f64();
    report.add("start, more than with few nodes", load, "s", Target::AtMost(1.0));
    report.add("memory after start, few nodes", mib(idle), "MiB", Target::None);
    report.add("memory after start", mib(many.usage()?.peak_memory), "MiB", Target::AtMost(150.0));
    if !options.registry {
        let begun = Instant::now();
        many.reload()?;
        report.add("reload", begun.elapsed().as_secs_f64(), "s", Target::AtMost(1.0));
        report.add("memory after a reload", mib(many.usage()?.peak_memory), "MiB", Target::AtMost(150.0));
    }
    let (mut with_few, mut with_many) = (Duration::ZERO, Duration::ZERO);
    for round in 1..=ROUNDS {
        progress(&format!("handshakes, round {round} of {ROUNDS}"));
        with_few += handshakes(&few, &machine, options.handshakes)?;
        with_many += handshakes(&many, &machine, options.handshakes)?;
    }
    let rate = |time: Duration| (ROUNDS * options.handshakes) as f64 / time.as_secs_f64();
    report.add("handshakes, few nodes", rate(with_few), "/s", Target::None);
    report.add("handshakes, many nodes", rate(with_many), "/s", Target::None);
    report.add("ratio of the two", rate(with_many) / rate(with_few), "", Target::AtLeast(0.9));
    few.stop()?;
    many.stop()?;
    Ok(report)
}

/// A running server with so many nodes on its list, and the time of its first and of its second start.
fn started(
    directory: &Path,
    options: &Options,
    nodes: usize,
    machine: &Identity,
) -> Result<(Server, Duration, Duration)> {
    let root = Identity::new("root".parse()?, Keys::P256)?;
    let own = if options.registry { root.clone() } else { Identity::random(Keys::P256)? };
    let mut fleet = Fleet::new(&root);
    if !options.registry {
        fleet.add(&own, &root.node_id);
    }
    fleet.add(machine, &own.node_id);
    let output = match options.registry {
        true => Output::Database(DatabaseUrl::Sqlite(directory.join("relayd.db"))),
        false => Output::Upstream(ports::free()?, root.key_hash()),
    };
    let mut server = Server::prepare(directory, &own, &fleet, output)?;
    if options.registry {
        server.know_nodes_from("database")?;
    }
    if options.certificates {
        progress(&format!("making {nodes} nodes with certificates"));
        let others = Identity::many(nodes, Keys::P256)?;
        others.iter().for_each(|other| fleet.add(other, &own.node_id));
    }
    server.publish(&fleet)?;
    if !options.certificates {
        fs::write(directory.join("nodeslist.json"), node_list(&fleet, &own.node_id, nodes)?)?;
    }
    let first = timed_start(&mut server)?;
    server.stop()?;
    let second = timed_start(&mut server)?;
    Ok((server, first, second))
}

/// The fleet's list with as many others below the server `here`.
fn node_list(fleet: &Fleet, here: &NodeId, others: usize) -> Result<String> {
    let mut nodes: Map<String, serde_json::Value> = serde_json::from_str(&fleet.node_list(here))?;
    for number in 0..others {
        let entry = json!({
            "hostname": format!("node-{number}.example.com"),
            "key-hash": KeyHash::sha256_of(&number.to_be_bytes()).to_string(),
            "policy-server": here.as_str(),
        });
        nodes.insert(Uuid::new_v4().to_string(), entry);
    }
    Ok(serde_json::to_string(&nodes)?)
}

/// Time from the start of the process to its first answer.
fn timed_start(server: &mut Server) -> Result<Duration> {
    let begun = Instant::now();
    server.start()?;
    Ok(begun.elapsed())
}

/// Time for so many connections with a client certificate, one after the other, with one small request each.
fn handshakes(server: &Server, machine: &Identity, count: usize) -> Result<Duration> {
    let connector = connector(machine, server.key_hash())?;
    blocking(async {
        let begun = Instant::now();
        for _ in 0..count {
            let mut connection = Connection::open(server.gateway(), &connector).await?;
            let reply = connection.get("/identity").await?;
            if reply.status != 200 {
                return Err(format!("/identity answered {}", reply.status).into());
            }
        }
        Ok(begun.elapsed())
    })
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / 1_048_576.0
}
