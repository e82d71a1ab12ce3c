// SPDX-License-Identifier: Apache-2.0
//! Agents that keep a connection: what they cost the server, how soon a trigger has reached all of them, and
//! how they come back after the server was away.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use clap::Args;
use hyper::Method;
use openssl::ssl::SslConnector;
use protocol::{
    remote_run::Event,
    triggers::{News, Pace, ReportFrom, Taker, line, news_path, report_path},
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tests::{
    Result,
    client::{Connection, anonymous_connector},
    identity::{Identity, Keys},
    server::Server,
    site::Site,
    wait,
};
use tokio::{
    sync::Semaphore,
    time::{sleep, timeout},
};
use uuid::Uuid;

use crate::{
    progress,
    report::{Report, Target},
};

/// Connected agents.
#[derive(Debug, Args)]
pub struct Options {
    /// Agents, each with a key and a connection of its own
    #[arg(long, default_value_t = 10_000)]
    nodes: usize,
    /// Kind of their keys
    #[arg(long, value_enum, default_value = "p256")]
    keys: Keys,
    /// Agents that connect at a time, at first
    #[arg(long, default_value_t = 32)]
    connecting: usize,
    /// Triggers of all agents, one after the other; the slowest counts
    #[arg(long, default_value_t = 3)]
    triggers: usize,
}

/// How long anything may take that depends on the number of agents.
const PATIENCE: Duration = Duration::from_secs(600);

/// The default of `triggers.reconnects_per_second`.
const RECONNECTS_PER_SECOND: f64 = 200.0;

pub fn run(options: &Options) -> Result<Report> {
    allow_files(options.nodes)?;
    progress(&format!("making {} machines with {:?} keys", options.nodes, options.keys));
    let machines = Identity::many(options.nodes, options.keys)?;
    let mut site = Site::new()?;
    let root_id = site.root_id().clone();
    for machine in &machines {
        site.fleet().add(machine, &root_id);
    }
    let mut server = site.prepare_root(site.sqlite())?;
    server.log_level("warn");
    server.start()?;
    let before = resident(&server)?;

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let played = Arc::new(Played {
        address: server.gateway(),
        connector: anonymous_connector(server.key_hash())?,
        turns: Semaphore::new(options.connecting.max(1)),
        born: Instant::now(),
        told: AtomicUsize::new(0),
        last_told: AtomicU64::new(0),
        arrivals: (0..4096).map(|_| AtomicUsize::new(0)).collect(),
    });
    progress("connecting");
    let begun = Instant::now();
    for machine in machines {
        runtime.spawn(live(played.clone(), machine));
    }
    wait_connected(&server, options.nodes)?;
    let connecting = begun.elapsed();

    let mut report = Report::default();
    let nodes = options.nodes as f64;
    report.add("agents", nodes, "", Target::None);
    report.add("first connections", nodes / connecting.as_secs_f64(), "agents/s", Target::None);
    // More than a beat: each has asked again.
    let cpu = server.usage()?.cpu;
    let begun = Instant::now();
    std::thread::sleep(Duration::from_secs(20));
    let busy = (server.usage()?.cpu - cpu).as_secs_f64() / begun.elapsed().as_secs_f64();
    let memory = resident(&server)?;
    report.add("relayd, memory without agents", mib(before), "MiB", Target::None);
    report.add("relayd, memory with all connected", mib(memory), "MiB", Target::AtMost(600.0));
    let each = memory.saturating_sub(before) as f64 / 1024.0 / nodes;
    report.add("memory for each agent", each, "KiB", Target::None);
    report.add("relayd, CPU while nothing happens", busy * 100.0, "% of 1", Target::None);

    let (mut slowest, mut slowest_end) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..options.triggers.max(1) {
        let (told, ended) = trigger(&server, &played, options.nodes)?;
        slowest = slowest.max(told);
        slowest_end = slowest_end.max(ended);
    }
    report.add("trigger, until it has reached all", slowest.as_secs_f64(), "s", Target::AtMost(2.0));
    report.add("trigger, until all have ended", slowest_end.as_secs_f64(), "s", Target::None);
    report.add("relayd, memory after triggers", mib(resident(&server)?), "MiB", Target::AtMost(600.0));

    progress("restarting the server");
    played.arrivals.iter().for_each(|count| count.store(0, Ordering::Relaxed));
    server.stop()?;
    let begun = Instant::now();
    server.start()?;
    wait_connected(&server, options.nodes)?;
    report.add("after a restart, until all are back", begun.elapsed().as_secs_f64(), "s", Target::None);
    let counts = played.arrivals.iter().map(|count| count.load(Ordering::Relaxed));
    let most = counts.max().unwrap_or_default() as f64;
    // What is drawn by lot goes over the mean at times.
    let limit = (RECONNECTS_PER_SECOND * 2.0).max(nodes.min(50.0));
    report.add("most connections in a second", most, "agents", Target::AtMost(limit));
    report.add(
        "relayd, peak resident memory",
        mib(server.usage()?.peak_memory),
        "MiB",
        Target::AtMost(600.0),
    );
    drop(runtime);
    server.stop()?;
    Ok(report)
}

/// What the played agents share.
struct Played {
    address: SocketAddr,
    connector: SslConnector,
    turns: Semaphore,
    born: Instant,
    told: AtomicUsize,
    /// Microseconds since `born`.
    last_told: AtomicU64,
    /// Connections by second.
    arrivals: Vec<AtomicUsize>,
}

/// An agent, for ever.
async fn live(played: Arc<Played>, machine: Identity) {
    let mut pace = Pace { heartbeat: 15, reconnect_within: 1 };
    let mut is_new = true;
    loop {
        // As agents do: a place of its own within the time that was announced; after a failure, one in its
        // second half.
        let ended = talk(&played, &machine, &mut pace, is_new).await;
        is_new = false;
        let within = Duration::from_secs(pace.reconnect_within.max(1));
        sleep(match ended {
            Ok(()) => within.mul_f64(random()),
            Err(_) => within.mul_f64(0.5 + random() / 2.0),
        })
        .await;
    }
}

/// One connection to its end. **Errors**: there was none.
async fn talk(played: &Played, machine: &Identity, pace: &mut Pace, is_new: bool) -> Result<()> {
    let turn = if is_new { Some(played.turns.acquire().await?) } else { None };
    let opening = Connection::open_as(played.address, &played.connector, Some(machine));
    let mut connection = timeout(Duration::from_secs(10), opening).await??;
    let first = connection.get(&news_path(&[])).await?;
    *pace = serde_json::from_slice::<News>(&first.body)?.pace;
    drop(turn);
    let second = played.born.elapsed().as_secs() as usize % played.arrivals.len();
    played.arrivals[second].fetch_add(1, Ordering::Relaxed);
    let patience = format!("wait={}", pace.heartbeat);
    loop {
        let (path, headers) = (news_path(&[]), [("Prefer", &*patience)]);
        let asked = connection.send(Method::GET, &path, &headers, Bytes::new());
        let Ok(Ok(answer)) = timeout(pace.longest_silence(), asked).await else { return Ok(()) };
        let Ok(news) = serde_json::from_slice::<News>(&answer.body) else { return Ok(()) };
        *pace = news.pace;
        for offer in &news.runs {
            let now = played.born.elapsed().as_micros() as u64;
            played.last_told.fetch_max(now, Ordering::Relaxed);
            played.told.fetch_add(1, Ordering::Relaxed);
            let place = ReportFrom { by: Taker::new([1; 8]), from: 0 };
            let body = [Event::Started, Event::Finished { exit_status: Some(0) }].iter().map(line);
            let body = Bytes::from(body.collect::<String>());
            if connection.send(Method::POST, &report_path(&offer.id, place), &[], body).await.is_err() {
                return Ok(());
            }
        }
    }
}

/// Triggers all, and gives how long it took until it had reached the last one, and until all had ended.
fn trigger(server: &Server, played: &Played, nodes: usize) -> Result<(Duration, Duration)> {
    played.told.store(0, Ordering::Relaxed);
    let mut stream = TcpStream::connect(server.api())?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let body = "{\"nodes\":\"all\",\"output\":false,\"expires_in\":120}";
    let (begun, since) = (Instant::now(), played.born.elapsed().as_micros() as u64);
    write!(
        stream,
        "POST /rudder/relay-api/2/remote-run HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let ended = begun.elapsed();
    let finished = answer.lines().filter(|line| line.contains("\"event\":\"finished\"")).count();
    let told = played.told.load(Ordering::Relaxed);
    if told != nodes || finished != nodes {
        let end = answer.lines().rfind(|line| !line.contains("\"event\":\"finished\""));
        return Err(format!("{nodes} agents, {told} were told, {finished} finished: {end:?}").into());
    }
    let last = played.last_told.load(Ordering::Relaxed);
    Ok((Duration::from_micros(last.saturating_sub(since)), ended))
}

fn wait_connected(server: &Server, nodes: usize) -> Result<()> {
    wait::until_true("all agents to be connected", PATIENCE, || {
        Ok(server.metric("relayd_trigger_connections")? == Some(nodes as f64))
    })
}

/// Resident memory of the daemon now, in bytes.
fn resident(server: &Server) -> Result<u64> {
    let id = server.process_id().ok_or("not running")?;
    let status = fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS in /proc")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse::<u64>()? * 1024)
}

/// As many open files as this needs, for the server as well, which inherits it.
fn allow_files(nodes: usize) -> Result<()> {
    // A connection each, at either end; and some of those before, after a restart.
    let wanted = nodes as u64 * 5 / 4 + 1000;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_some_and(|current| current < wanted) {
        let maximum = maximum.map(|maximum| maximum.max(wanted));
        setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum })
            .map_err(|e| format!("{wanted} open files are needed: {e}"))?;
    }
    Ok(())
}

/// From 0 to 1.
fn random() -> f64 {
    (Uuid::new_v4().as_u128() % 1_000_000) as f64 / 1e6
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / 1_048_576.0
}
