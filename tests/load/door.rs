// SPDX-License-Identifier: Apache-2.0
//! Uploads through the gateway: mutually authenticated TLS, fsynced before each acknowledgement.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use clap::Args;
use tests::{
    Result,
    client::{Connection, connector},
    fleet::Fleet,
    identity::{Identity, Keys},
    judge::Judge,
    ports,
    postgres::{Durability, Postgres},
    server::{Output, Server},
    simulated::Packed,
    site,
};
use tokio::time::{Instant as Moment, sleep_until};

use crate::{
    Simulation, feed, progress,
    report::{Report, Target},
};

/// Uploads through the gateway.
#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    simulation: Simulation,
    /// Run logs to upload
    #[arg(long, default_value_t = 20_000)]
    logs: usize,
    /// Connections at a time; each machine has one, so at most as many as machines
    #[arg(long, default_value_t = 100)]
    connections: usize,
    /// Run logs per second, over all connections; as fast as possible without it
    #[arg(long)]
    rate: Option<f64>,
    /// Store at a root on PostgreSQL, and judge by the database; else a relay without upstream just keeps them
    #[arg(long)]
    store: bool,
}

pub fn run(options: &Options) -> Result<Report> {
    let machines = options.simulation.machines()?;
    let logs = options.simulation.logs(&machines, options.logs)?;
    let root = Identity::new("root".parse()?, Keys::P256)?;
    let own = if options.store { root.clone() } else { Identity::random(Keys::P256)? };
    let mut fleet = Fleet::new(&root);
    if !options.store {
        fleet.add(&own, &root.node_id);
    }
    for machine in &machines {
        fleet.add(machine, &own.node_id);
    }
    let postgres = if options.store { Some(Postgres::start_new(Durability::Default)?) } else { None };
    let output = match &postgres {
        Some(postgres) => Output::Database(postgres.create_database("rudder")?),
        None => Output::Upstream(ports::free()?, root.key_hash()),
    };
    let directory = tempfile::Builder::new().prefix("relayd-load-").tempdir()?;
    let mut server = Server::prepare(&directory.path().join("server"), &own, &fleet, output)?;
    server.set("gateway.uploads_per_minute", "1000000");
    server.start()?;

    let mut judge = Judge::default();
    logs.iter().for_each(|log| judge.claim(log));
    progress(&format!("uploading {} run logs over {} connections", logs.len(), options.connections));
    let logs = Arc::new(logs);
    let start = Instant::now();
    let uploads = upload(options, &server, Arc::new(machines), logs.clone())?;
    let time = start.elapsed();
    let usage = server.usage()?;

    let mut report = Report::default();
    let acknowledged: Vec<_> = uploads.iter().filter(|u| u.acknowledged).collect();
    report.add("uploads", acknowledged.len() as f64 / time.as_secs_f64(), "logs/s", Target::None);
    let mut latencies: Vec<_> = uploads.iter().map(|u| u.latency.as_secs_f64() * 1e3).collect();
    latencies.sort_by(f64::total_cmp);
    for (name, percent) in [("latency, median", 50), ("latency, 99th percentile", 99)] {
        let at = (latencies.len() * percent / 100).min(latencies.len().saturating_sub(1));
        report.add(name, latencies.get(at).copied().unwrap_or_default(), "ms", Target::None);
    }
    report.add("not acknowledged", (logs.len() - acknowledged.len()) as f64, "", Target::AtMost(0.0));
    acknowledged.iter().for_each(|upload| judge.acknowledge(&logs[upload.log].id));
    if options.store {
        feed::wait_empty(&mut server)?;
        report.add("stored", logs.len() as f64 / start.elapsed().as_secs_f64(), "logs/s", Target::None);
        report.judge(&judge.verdict(server.database()?)?);
    } else {
        let kept = site::waiting(&server.incoming())? as f64;
        report.add("kept on disk", kept, "", Target::AtLeast(acknowledged.len() as f64));
    }
    let cpu = usage.cpu.as_secs_f64() * 1e6 / logs.len() as f64;
    report.add("relayd, CPU per run log", cpu, "us", Target::None);
    let most = if options.store { 128.0 } else { 40.0 };
    let memory = server.usage()?.peak_memory.max(usage.peak_memory) as f64 / 1_048_576.0;
    report.add("relayd, peak resident memory", memory, "MiB", Target::AtMost(most));
    server.stop()?;
    Ok(report)
}

/// How one upload went.
struct Upload {
    log: usize,
    acknowledged: bool,
    latency: Duration,
}

fn upload(
    options: &Options,
    server: &Server,
    machines: Arc<Vec<Identity>>,
    logs: Arc<Vec<Packed>>,
) -> Result<Vec<Upload>> {
    let connections = options.connections.clamp(1, machines.len());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let (address, pin) = (server.gateway(), server.key_hash().clone());
    let sent = Arc::new(AtomicUsize::new(0));
    let pace = options.rate.map(|rate| Duration::from_secs_f64(1.0 / rate));
    let start = Moment::now();
    runtime.block_on(async {
        let workers: Vec<_> = (0..connections)
            .map(|worker| {
                let (machines, logs, pin, sent) = (machines.clone(), logs.clone(), pin.clone(), sent.clone());
                tokio::spawn(async move {
                    let mut uploads = Vec::new();
                    // Each worker has its share of the machines, one connection for each in turn.
                    for machine in (worker..machines.len()).step_by(connections) {
                        let connector = connector(&machines[machine], &pin)?;
                        let mut connection = Connection::open(address, &connector).await?;
                        for log in (machine..logs.len()).step_by(machines.len()) {
                            let number = sent.fetch_add(1, Ordering::Relaxed);
                            if let Some(pace) = pace {
                                sleep_until(start + pace * u32::try_from(number)?).await;
                            }
                            if number > 0 && number.is_multiple_of(5000) {
                                progress(&format!("{number} uploaded"));
                            }
                            let begun = Instant::now();
                            let status = connection.upload(&logs[log]).await?;
                            let acknowledged = status.is_success();
                            uploads.push(Upload { log, acknowledged, latency: begun.elapsed() });
                        }
                    }
                    Ok::<_, tests::Error>(uploads)
                })
            })
            .collect();
        let mut all = Vec::with_capacity(logs.len());
        for worker in workers {
            all.extend(worker.await??);
        }
        Ok(all)
    })
}
