// SPDX-License-Identifier: Apache-2.0
//! A relay whose upstream is far away: spooled files to the upstream's acknowledgements.

use std::time::{Duration, Instant};

use clap::Args;
use tests::{
    Result,
    fleet::Fleet,
    identity::{Identity, Keys},
    proxy::{Faults, Proxy},
    server::{Output, Server},
    sink::Sink,
    wait,
};

use crate::{
    Simulation, feed, progress,
    report::{Report, Target},
};

/// Relay to a distant upstream.
#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    simulation: Simulation,
    /// Run logs to forward
    #[arg(long, default_value_t = 20_000)]
    logs: usize,
    /// Delay each way between relay and upstream, in milliseconds
    #[arg(long, default_value_t = 50)]
    delay: u64,
}

pub fn run(options: &Options) -> Result<Report> {
    let machines = options.simulation.machines()?;
    let logs = options.simulation.logs(&machines, options.logs)?;
    let root = Identity::new("root".parse()?, Keys::P256)?;
    let relay = Identity::random(Keys::P256)?;
    let mut fleet = Fleet::new(&root);
    fleet.add(&relay, &root.node_id);
    for machine in &machines {
        fleet.add(machine, &relay.node_id);
    }
    let sink = Sink::start(&root)?;
    let proxy = Proxy::start(sink.address())?;
    proxy.set(Faults { delay: Duration::from_millis(options.delay), ..Faults::default() });

    let directory = tempfile::Builder::new().prefix("relayd-load-").tempdir()?;
    let output = Output::Upstream(proxy.address().port(), root.key_hash());
    let mut server = Server::prepare(&directory.path().join("relay"), &relay, &fleet, output)?;
    std::fs::create_dir_all(server.incoming())?;
    progress(&format!("{} run logs wait in the relay's spool", logs.len()));
    logs.iter().try_for_each(|log| feed::put(&server.incoming(), log))?;
    server.start()?;
    let start = Instant::now();
    wait::until_true("the upstream to have all run logs", Duration::from_secs(600), || {
        server.check()?;
        Ok(sink.files() >= logs.len())
    })?;
    let time = start.elapsed();
    feed::wait_empty(&mut server)?;
    let usage = server.usage()?;
    server.stop()?;

    let mut report = Report::default();
    report.add("delay each way", options.delay as f64, "ms", Target::None);
    report.add("forwarded", logs.len() as f64 / time.as_secs_f64(), "logs/s", Target::AtLeast(1000.0));
    report.add("connections", proxy.connections() as f64, "", Target::None);
    report.add(
        "relayd, CPU per run log",
        usage.cpu.as_secs_f64() * 1e6 / logs.len() as f64,
        "us",
        Target::None,
    );
    let memory = usage.peak_memory as f64 / 1_048_576.0;
    report.add("relayd, peak resident memory", memory, "MiB", Target::AtMost(40.0));
    report.add("claimed", logs.len() as f64, "", Target::None);
    report.add("received upstream", sink.files() as f64, "", Target::AtLeast(logs.len() as f64));
    report.add("sent more than once", (sink.uploads() - sink.files()) as f64, "", Target::AtMost(0.0));
    Ok(report)
}
