// SPDX-License-Identifier: Apache-2.0
//! Agents that keep a connection, and those that do not.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    process::Command,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tests::{
    Result,
    node::Node,
    process::Process,
    programs,
    proxy::{Faults, Proxy},
    server::Server,
    site::Site,
    wait,
};

const SOON: Duration = Duration::from_secs(30);

/// A root with a quick pace, and a node whose policy command is this script.
struct World {
    // Before the site, whose directory goes last.
    root: Server,
    node: Node,
    site: Site,
}

impl World {
    fn new(script: &str) -> Result<Self> {
        let mut site = Site::new()?;
        let node = Node::init(&site.directory().join("node"), &[])?;
        let root_id = site.root_id().clone();
        site.fleet().add(node.identity(), &root_id);
        let mut root = site.prepare_root(site.sqlite())?;
        root.set("triggers.wait", "\"1s\"");
        root.start()?;
        node.configure(root.gateway().port(), root.key_hash(), "1")?;
        let settings = format!(
            "policy_command = [\"/bin/sh\", \"-c\", {script:?}, \"sh\"]\nrun_interval = \"7d\"\nupdate = false\n"
        );
        fs::write(node.root().join("opt/rudder/etc/relayd-agent.conf"), settings)?;
        Ok(Self { root, node, site })
    }

    /// The node's daemon, connected.
    fn daemon(&self) -> Result<Process> {
        let mut command = Command::new(programs::find("agent")?);
        command.arg("--root").arg(self.node.root()).arg("daemon");
        let daemon = Process::start("agent daemon", &mut command, &self.site.directory().join("agent.log"))?;
        self.wait_connected(true)?;
        Ok(daemon)
    }

    fn wait_connected(&self, connected: bool) -> Result<()> {
        let wanted = if connected { 1.0 } else { 0.0 };
        wait::until_true("the number of connected agents to be right", SOON, || {
            Ok(self.root.metric("relayd_trigger_connections")? == Some(wanted))
        })
        .map_err(|e| format!("{e}\n{}", self.agent_log()).into())
    }

    fn agent_log(&self) -> String {
        fs::read_to_string(self.site.directory().join("agent.log")).unwrap_or_default()
    }

    /// Has the node run, and gives in the end all that is said of it.
    fn ask(&self, expires_in: u64) -> JoinHandle<Result<Vec<Value>>> {
        let order = json!({
            "nodes": [self.node.node_id().as_str()],
            "conditions": ["one", "Two_2"],
            "expires_in": expires_in,
        });
        let api = self.root.api();
        std::thread::spawn(move || events(api, &order))
    }

    fn wait_stored(&self, logs: f64) -> Result<()> {
        wait::until_true("the run log to be stored", SOON, || {
            Ok(self.root.metric("rudder_relayd_reports_total{status=\"ok\"}")? >= Some(logs))
        })
        .map_err(|e| format!("{e}\n{}\n{}", self.root.log_end(), self.agent_log()).into())
    }
}

/// All lines of an answer of version 2 about nodes.
fn events(api: SocketAddr, order: &Value) -> Result<Vec<Value>> {
    let mut stream = TcpStream::connect(api)?;
    stream.set_read_timeout(Some(Duration::from_secs(90)))?;
    let body = order.to_string();
    write!(
        stream,
        "POST /rudder/relay-api/2/remote-run HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    // Whatever is no line of JSON is a head or the frame of a chunk.
    let lines = answer.lines().filter(|line| line.starts_with('{')).map(serde_json::from_str);
    let all = lines.collect::<std::result::Result<Vec<Value>, _>>().map_err(|e| format!("{e}: {answer}"))?;
    Ok(all.into_iter().filter(|event| event["event"].is_string() && event["node_id"].is_string()).collect())
}

fn join(asked: JoinHandle<Result<Vec<Value>>>) -> Vec<Value> {
    asked.join().unwrap().unwrap()
}

fn names(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["event"].as_str().unwrap()).collect()
}

fn lines(events: &[Value]) -> Vec<&str> {
    events.iter().filter_map(|event| event["line"].as_str()).collect()
}

/// The process below this one that makes runs.
fn performer(daemon: &Process) -> Result<i32> {
    let children = format!("/proc/{0}/task/{0}/children", daemon.id());
    wait::until("the run's process", SOON, || {
        for child in fs::read_to_string(&children)?.split_whitespace() {
            if fs::read_to_string(format!("/proc/{child}/cmdline"))?.contains("triggers") {
                return Ok(Some(child.parse()?));
            }
        }
        Ok(None)
    })
}

#[test]
fn a_connected_agent_runs_at_once_and_a_silent_link_is_mended() {
    let script = "echo \"told $* $AGENT_CONDITIONS\"; echo more >&2; sleep 2.5; exit 3";
    let mut world = World::new(script).unwrap();
    let proxy = Proxy::start(world.root.gateway()).unwrap();
    world.node.configure(proxy.address().port(), world.root.key_hash(), "1").unwrap();
    let mut daemon = world.daemon().unwrap();

    let start = Instant::now();
    let events = join(world.ask(60));
    let took = start.elapsed();
    assert_eq!(names(&events), ["asked", "started", "output", "output", "finished"], "{events:?}");
    let mut said = lines(&events);
    said.sort_unstable();
    assert_eq!(said, ["more", "told -D one -D Two_2 one,Two_2"]);
    assert_eq!(events[4]["exit_status"], 3, "{events:?}");
    // Else it would have expired.
    assert!(took < Duration::from_secs(30), "{took:?}");
    world.wait_stored(1.0).unwrap();

    // Nothing passes any more, and nobody is told. Both sides notice.
    proxy.set(Faults { hold: true, ..Faults::default() });
    // The agent may notice before the server does.
    let connections = proxy.connections();
    let start = Instant::now();
    world.wait_connected(false).unwrap();
    wait::until_true("the agent to connect again", SOON, || Ok(proxy.connections() > connections)).unwrap();
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
    let asked = world.ask(60);
    proxy.heal();
    let events = join(asked);
    assert_eq!(names(&events).last(), Some(&"finished"), "{events:?}\n{}", world.agent_log());
    assert_eq!(lines(&events).len(), 2, "{events:?}");
    world.wait_stored(2.0).unwrap();
    daemon.check().unwrap();
    world.root.check().unwrap();
}

#[test]
fn a_server_that_is_killed_is_found_again_and_the_run_goes_on() {
    let mut world =
        World::new("echo begun; while [ ! -e \"$AGENT_GO\" ]; do sleep 0.1; done; echo ended").unwrap();
    let go = world.site.directory().join("go");
    let settings = world.node.root().join("opt/rudder/etc/relayd-agent.conf");
    let text = fs::read_to_string(&settings).unwrap().replace("$AGENT_GO", go.to_str().unwrap());
    fs::write(&settings, text).unwrap();
    let mut daemon = world.daemon().unwrap();

    let asked = world.ask(60);
    wait::until_true("the run to begin", SOON, || {
        Ok(world.node.root().join("var/rudder/lib/relayd-agent/running.json").exists())
    })
    .unwrap();
    world.root.kill();
    // Whoever asked sees the answer break off, without an end: no answer is no success.
    let events = asked.join().unwrap().unwrap_or_default();
    assert!(!names(&events).contains(&"finished"), "{events:?}");
    world.root.start().unwrap();
    world.wait_connected(true).unwrap();
    // One run at a time: the next one waits for this one.
    let asked = world.ask(60);
    fs::write(&go, "").unwrap();
    let events = join(asked);
    assert_eq!(names(&events), ["asked", "started", "output", "output", "finished"], "{events:?}");
    world.wait_stored(2.0).unwrap();
    daemon.check().unwrap();
}

#[test]
fn an_agent_that_is_killed_while_it_runs_says_so_afterwards() {
    let world = World::new("echo begun; exec sleep 60").unwrap();
    let daemon = world.daemon().unwrap();
    let asked = world.ask(60);
    let run = performer(&daemon).unwrap();
    wait::until_true("the run to begin", SOON, || {
        Ok(world.node.root().join("var/rudder/lib/relayd-agent/running.json").exists())
    })
    .unwrap();
    let run = rustix::process::Pid::from_raw(run).unwrap();
    rustix::process::kill_process(run, rustix::process::Signal::KILL).unwrap();
    let events = join(asked);
    assert_eq!(names(&events).last(), Some(&"unreachable"), "{events:?}");
    assert!(names(&events).contains(&"started"), "{events:?}");
    let book = world.node.root().join("var/rudder/lib/relayd-agent/triggers.json");
    wait::until_true("the run to be over for the node, too", SOON, || {
        Ok(fs::read_to_string(&book)?.contains("\"over\""))
    })
    .unwrap();
}

#[test]
fn without_a_connection_a_run_waits_for_the_next_upload_or_expires() {
    let world = World::new("echo run; exit 0").unwrap();
    let events = join(world.ask(1));
    assert_eq!(names(&events), ["asked", "expired"], "{events:?}");

    let asked = world.ask(60);
    wait::until_true("the run to wait", SOON, || Ok(world.root.metric("relayd_trigger_runs")? == Some(1.0)))
        .unwrap();
    let sent = world.node.agent(&["run", "--send", "--quiet"]).unwrap();
    let said = String::from_utf8_lossy(&sent.stderr).into_owned();
    assert!(
        sent.status.success() && said.contains("asked for by the policy server: exit status 0"),
        "{said}"
    );
    let events = join(asked);
    assert_eq!(names(&events), ["asked", "started", "output", "finished"], "{events:?}");
    assert_eq!(events[3]["exit_status"], 0);
    // Its own run, and the one that was asked for.
    world.wait_stored(2.0).unwrap();
    // The same by `agent update`, which finds no policies here.
    let asked = world.ask(60);
    wait::until_true("the run to wait", SOON, || Ok(world.root.metric("relayd_trigger_runs")? == Some(1.0)))
        .unwrap();
    let updated = world.node.agent(&["update"]).unwrap();
    let said = String::from_utf8_lossy(&updated.stderr).into_owned();
    assert!(said.contains("asked for by the policy server: exit status 0"), "{updated:?}");
    assert_eq!(names(&join(asked)), ["asked", "started", "output", "finished"]);
    let none = world.node.agent(&["triggers"]).unwrap();
    assert_eq!(String::from_utf8_lossy(&none.stdout), "no run is asked for\n");
}
