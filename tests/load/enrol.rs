// SPDX-License-Identifier: Apache-2.0
//! Enrolments by token through the door: a key, a TLS connection and a request for each machine.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use clap::Args;
use serde_json::Value;
use tests::{
    Result,
    client::{Connection, anonymous_connector},
    enrolment::Newcomer,
    identity::{Identity, Keys},
    postgres::{Durability, Postgres},
    realm::Realm,
    site::Site,
};

use crate::{
    progress,
    report::{Report, Target},
};

/// Enrolments by token.
#[derive(Debug, Args)]
pub struct Options {
    /// Machines, each with a key and a token of its own
    #[arg(long, default_value_t = 10_000)]
    nodes: usize,
    /// Machines that enrol at a time
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Kind of the machines' keys
    #[arg(long, value_enum, default_value = "p256")]
    keys: Keys,
    /// SQLite instead of PostgreSQL
    #[arg(long)]
    sqlite: bool,
}

pub fn run(options: &Options) -> Result<Report> {
    let site = Site::new()?;
    let postgres = if options.sqlite { None } else { Some(Postgres::start_new(Durability::Default)?) };
    let database = match &postgres {
        Some(postgres) => postgres.create_database("rudder")?,
        None => site.sqlite(),
    };
    let mut realm = Realm::on(site, database)?;
    realm.root.start()?;
    progress(&format!("making {} machines with {:?} keys", options.nodes, options.keys));
    let machines = Arc::new(Identity::many(options.nodes, options.keys)?);
    let start = Instant::now();
    let tokens = Arc::new(realm.tokens("load-{n}.example.com", options.nodes)?);
    let making = start.elapsed();
    if tokens.len() != machines.len() {
        return Err(format!("{} tokens for {} machines", tokens.len(), machines.len()).into());
    }
    progress(&format!("enrolling over {} connections at a time", options.connections));
    let start = Instant::now();
    let mut latencies = enrol(options, &realm, &machines, &tokens)?;
    let time = start.elapsed();
    let usage = realm.root.usage()?;

    let mut report = Report::default();
    let nodes = options.nodes as f64;
    report.add("tokens made", nodes / making.as_secs_f64(), "tokens/s", Target::None);
    let accepted = latencies.len() as f64;
    report.add("enrolments", accepted / time.as_secs_f64(), "nodes/s", Target::None);
    latencies.sort();
    for (name, percent) in [("latency, median", 50), ("latency, 99th percentile", 99)] {
        let at = (latencies.len() * percent / 100).min(latencies.len().saturating_sub(1));
        let latency = latencies.get(at).copied().unwrap_or_default();
        report.add(name, latency.as_secs_f64() * 1e3, "ms", Target::None);
    }
    report.add("accepted", accepted, "", Target::AtLeast(nodes));
    judge(&realm, &machines, &mut report)?;
    report.add("relayd, CPU per enrolment", usage.cpu.as_secs_f64() * 1e6 / nodes, "us", Target::None);
    let memory = realm.root.usage()?.peak_memory as f64 / 1_048_576.0;
    report.add("relayd, peak resident memory", memory, "MiB", Target::AtMost(150.0));
    realm.root.stop()?;
    Ok(report)
}

/// Enrols everybody and gives how long each took that was accepted.
fn enrol(
    options: &Options,
    realm: &Realm,
    machines: &Arc<Vec<Identity>>,
    tokens: &Arc<Vec<String>>,
) -> Result<Vec<Duration>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let (address, connector) = (realm.root.gateway(), anonymous_connector(realm.root.key_hash())?);
    let step = options.connections.max(1);
    runtime.block_on(async {
        let workers: Vec<_> = (0..step)
            .map(|worker| {
                let (machines, tokens, connector) = (machines.clone(), tokens.clone(), connector.clone());
                tokio::spawn(async move {
                    let mut latencies = Vec::new();
                    for number in (worker..machines.len()).step_by(step) {
                        let hostname = format!("load-{}.example.com", number + 1);
                        let newcomer =
                            Newcomer::new(&machines[number], &hostname).with_token(&tokens[number]);
                        let begun = Instant::now();
                        let mut connection = Connection::open(address, &connector).await?;
                        let reply = newcomer.ask_on(&mut connection).await?;
                        if reply.status == 200 && reply.json()?["state"] == "accepted" {
                            latencies.push(begun.elapsed());
                        } else {
                            progress(&format!("{hostname}: {} {:?}", reply.status, reply.body));
                        }
                        if number > 0 && number.is_multiple_of(1000) {
                            progress(&format!("{number} enrolled"));
                        }
                    }
                    Ok::<_, tests::Error>(latencies)
                })
            })
            .collect();
        let mut all = Vec::with_capacity(machines.len());
        for worker in workers {
            all.extend(worker.await??);
        }
        Ok(all)
    })
}

/// Compares the registry with who asked.
fn judge(realm: &Realm, machines: &[Identity], report: &mut Report) -> Result<()> {
    let text = realm.operator(&["node", "list", "--state", "accepted", "--name", "load-*", "--json"])?;
    let listed = objects(&text)?;
    let mut seen: HashMap<&str, usize> = HashMap::new();
    for node in &listed {
        *seen.entry(node["node_id"].as_str().ok_or("a node without id")?).or_default() += 1;
    }
    let lost = machines.iter().filter(|machine| !seen.contains_key(machine.node_id.as_str())).count();
    let doubled: usize = seen.values().map(|times| times - 1).sum();
    let names: HashSet<&str> = listed.iter().filter_map(|node| node["hostname"].as_str()).collect();
    report.add("in the registry", listed.len() as f64, "", Target::AtLeast(machines.len() as f64));
    report.add("lost", lost as f64, "", Target::AtMost(0.0));
    report.add("doubled", (doubled + listed.len() - names.len()) as f64, "", Target::AtMost(0.0));
    // Every token served once: none is left, and none is good any more.
    let unused = objects(&realm.operator(&["token", "list", "--state", "usable", "--json"])?)?.len();
    report.add("tokens left", unused as f64, "", Target::AtMost(0.0));
    Ok(())
}

/// One JSON object per line.
fn objects(lines: &str) -> Result<Vec<Value>> {
    Ok(lines.lines().map(serde_json::from_str).collect::<serde_json::Result<_>>()?)
}
