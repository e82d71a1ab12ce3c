// SPDX-License-Identifier: Apache-2.0
//! What knowing many nodes costs: loading the list, memory, and handshakes with client certificates when there are
//! few and many nodes on it.

use std::{
    fs,
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
    server::{Output, Server},
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
}

/// Rounds, with the short and the long list in turn: the machine's mood falls on both.
const ROUNDS: usize = 3;

pub fn run(options: &Options) -> Result<Report> {
    let root = Identity::new("root".parse()?, Keys::P256)?;
    let own = Identity::random(Keys::P256)?;
    let machine = Identity::random(Keys::P256)?;
    let mut fleet = Fleet::new(&root);
    fleet.add(&own, &root.node_id);
    fleet.add(&machine, &own.node_id);
    let directory = tempfile::Builder::new().prefix("relayd-load-").tempdir()?;
    let output = Output::Upstream(ports::free()?, root.key_hash());
    let mut server = Server::prepare(&directory.path().join("relay"), &own, &fleet, output)?;
    let list = server.directory().join("nodeslist.json");
    let (short, long) =
        (node_list(&fleet, &own.node_id, options.few)?, node_list(&fleet, &own.node_id, options.nodes)?);

    fs::write(&list, &short)?;
    let with_few = started(&mut server)?;
    let idle = server.usage()?.peak_memory;
    server.stop()?;
    fs::write(&list, &long)?;
    let with_many = started(&mut server)?;
    let memory = server.usage()?.peak_memory;
    let mut report = Report::default();
    report.add("nodes", options.nodes as f64, "", Target::None);
    let load = with_many.saturating_sub(with_few).as_secs_f64();
    report.add("start, more than with few nodes", load, "s", Target::AtMost(1.0));
    let begun = Instant::now();
    server.reload()?;
    report.add("reload", begun.elapsed().as_secs_f64(), "s", Target::AtMost(1.0));
    report.add("memory after start, few nodes", mib(idle), "MiB", Target::None);
    report.add("memory after start", mib(memory), "MiB", Target::AtMost(150.0));
    report.add("memory after a reload", mib(server.usage()?.peak_memory), "MiB", Target::AtMost(150.0));

    let (mut few, mut many) = (Duration::ZERO, Duration::ZERO);
    for round in 1..=ROUNDS {
        progress(&format!("handshakes, round {round} of {ROUNDS}"));
        for (content, time) in [(&short, &mut few), (&long, &mut many)] {
            fs::write(&list, content)?;
            server.reload()?;
            *time += handshakes(&server, &machine, options.handshakes)?;
        }
    }
    let rate = |time: Duration| (ROUNDS * options.handshakes) as f64 / time.as_secs_f64();
    report.add("handshakes, few nodes", rate(few), "/s", Target::None);
    report.add("handshakes, many nodes", rate(many), "/s", Target::None);
    report.add("ratio of the two", rate(many) / rate(few), "", Target::AtLeast(0.9));
    server.stop()?;
    Ok(report)
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
fn started(server: &mut Server) -> Result<Duration> {
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
