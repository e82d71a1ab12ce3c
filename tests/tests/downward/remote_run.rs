// SPDX-License-Identifier: Apache-2.0
//! Runs that operators ask for, over relays: root ─ relay ─ sub-relay, an agent at each.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use protocol::node_id::NodeId;
use serde_json::Value;
use tests::{Result, node::Node, process::Process, programs, server::Server, site::Site, wait};

const SOON: Duration = Duration::from_secs(30);

/// Three servers, and a node with a connection at each.
struct World {
    // Before the site, whose directory goes last.
    agents: Vec<Process>,
    sub: Server,
    relay: Server,
    root: Server,
    nodes: Vec<Node>,
    /// Attached to the sub-relay, and never there.
    absent: NodeId,
    site: Site,
}

impl World {
    fn new() -> Result<Self> {
        let mut site = Site::new()?;
        let root_id = site.root_id().clone();
        let relay_identity = site.add_relay(&root_id)?;
        let sub_identity = site.add_relay(&relay_identity.node_id)?;
        let mut nodes = Vec::new();
        for (number, server) in [&root_id, &relay_identity.node_id, &sub_identity.node_id].iter().enumerate()
        {
            let node = Node::init(&site.directory().join(format!("node{number}")), &[])?;
            site.fleet().add(node.identity(), server);
            nodes.push(node);
        }
        let absent = site.add_machines(&sub_identity.node_id, 1)?.remove(0).node_id;

        let mut root = site.prepare_root(site.sqlite())?;
        let mut relay = site.prepare_relay(&relay_identity, &root, root.gateway().port())?;
        let mut sub = site.prepare_relay(&sub_identity, &relay, relay.gateway().port())?;
        // Each server has one relay below it, on the port of that one.
        root.set("general.https_port", relay.gateway().port().to_string());
        relay.set("general.https_port", sub.gateway().port().to_string());
        for server in [&mut root, &mut relay, &mut sub] {
            server.set("triggers.wait", "\"1s\"").set("remote_run.command", "\"\"");
            server.start()?;
        }
        let mut agents = Vec::new();
        for (number, (node, server)) in nodes.iter().zip([&root, &relay, &sub]).enumerate() {
            node.configure(server.gateway().port(), server.key_hash(), "1")?;
            let script = format!("echo \"node{number} told $*\"; exit 0");
            policy(node, &script)?;
            let mut command = Command::new(programs::find("agent")?);
            command.arg("--root").arg(node.root()).arg("daemon");
            let log = site.directory().join(format!("agent{number}.log"));
            agents.push(Process::start("agent daemon", &mut command, &log)?);
        }
        for server in [&root, &relay, &sub] {
            wait::until_true("the agent to be connected", SOON, || {
                Ok(server.metric("relayd_trigger_connections")? == Some(1.0))
            })?;
        }
        Ok(Self { agents, sub, relay, root, nodes, absent, site })
    }

    fn ids(&self) -> Vec<&str> {
        self.nodes.iter().map(|node| node.node_id().as_str()).collect()
    }
}

fn policy(node: &Node, script: &str) -> Result<()> {
    let text = format!(
        "policy_command = [\"/bin/sh\", \"-c\", {script:?}, \"sh\"]\nrun_interval = \"7d\"\nupdate = false\n"
    );
    Ok(fs::write(node.root().join("opt/rudder/etc/relayd-agent.conf"), text)?)
}

/// `relayd run` with the configuration of a server.
fn run(server: &Server, arguments: &[&str]) -> Result<Output> {
    let output = Command::new(programs::find("relayd")?)
        .arg("--config")
        .arg(server.directory().join("etc"))
        .arg("run")
        .args(arguments)
        .output()?;
    Ok(output)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn runs_reach_nodes_over_two_relays_and_each_ends_once() {
    let mut world = World::new().unwrap();
    let ids: Vec<String> = world.ids().into_iter().map(str::to_owned).collect();
    let named: Vec<String> = ids.iter().map(|id| format!("id:{id}")).collect();
    let mut arguments: Vec<&str> = named.iter().map(String::as_str).collect();
    arguments.extend(["--condition", "one,Two_2"]);

    let done = run(&world.root, &arguments).unwrap();
    let (out, err) = (text(&done.stdout), text(&done.stderr));
    let logs = || [&world.root, &world.relay, &world.sub].map(|server| server.log_end()).join("\n");
    assert_eq!(done.status.code(), Some(0), "{out}{err}{}", logs());
    for number in 0..3 {
        let said = format!(": node{number} told -D one -D Two_2");
        assert!(out.lines().any(|line| line.ends_with(&said)), "{said:?} in {out}");
    }
    assert!(out.contains("3 nodes: 3 succeeded"), "{out}");

    // One that fails, and one that is not there: no success, and each has its own end. The time is for those that
    // are there, which have to begin within it.
    policy(&world.nodes[2], "echo bad; exit 4").unwrap();
    let absent = world.absent.to_string();
    let done = run(&world.root, &[&ids[0], &ids[2], &absent, "--expires", "15s", "--json"]).unwrap();
    assert_eq!(done.status.code(), Some(1), "{}", text(&done.stderr));
    let lines: Vec<Value> =
        text(&done.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let end = |id: &str| {
        let of_node = lines.iter().filter(|line| line["node_id"] == id);
        let finals = ["finished", "refused", "unreachable", "expired"];
        let finals: Vec<&Value> =
            of_node.filter(|line| finals.contains(&line["event"].as_str().unwrap())).collect();
        assert_eq!(finals.len(), 1, "{id}: {lines:?}");
        finals[0].clone()
    };
    assert_eq!(end(&ids[0])["exit_status"], 0);
    assert_eq!(end(&ids[2])["exit_status"], 4);
    assert_eq!(end(&absent)["event"], "expired");
    assert_eq!(lines.last().unwrap()["event"], "end");
    let log = world.root.log();
    assert!(log.contains("remote run asked for"), "the audit line: {log}");

    // A relay that goes away takes its nodes with it, and nobody else.
    world.sub.kill();
    let done = run(&world.root, &[&ids[1], &ids[2], "--no-output"]).unwrap();
    let out = text(&done.stdout);
    assert_eq!(done.status.code(), Some(1), "{out}");
    assert!(out.contains("2 nodes: 1 succeeded, 1 unreachable"), "{out}");

    let unknown = run(&world.root, &["no-such-node"]).unwrap();
    assert_eq!(unknown.status.code(), Some(4), "{}", text(&unknown.stderr));
    world.root.stop().unwrap();
    let away = run(&world.root, &[&ids[0]]).unwrap();
    assert_eq!(away.status.code(), Some(3), "{}", text(&away.stderr));
    assert!(text(&away.stderr).contains("is it running"), "{}", text(&away.stderr));
    assert_eq!(world.agents.len(), 3);
    assert!(world.site.directory().exists());
}

/// `sudo` and the command of other programs, which record how they are called.
fn fake_command(directory: &Path) -> Result<()> {
    let record = directory.join("record");
    for name in ["sudo", "rudder"] {
        let then = if name == "sudo" { "exec \"$@\"" } else { "echo output of $5" };
        let script = format!("#!/bin/sh\necho {name} \"$@\" >> {}\n{then}\n", record.display());
        let program = directory.join(name);
        fs::write(&program, script)?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

#[test]
fn nodes_without_a_connection_are_reached_by_the_external_command_with_sudo() {
    let mut site = Site::new().unwrap();
    let root_id = site.root_id().clone();
    let node = site.add_machines(&root_id, 1).unwrap().remove(0).node_id;
    let directory = site.directory().join("bin");
    fs::create_dir(&directory).unwrap();
    fake_command(&directory).unwrap();
    let mut root = site.prepare_root(site.sqlite()).unwrap();
    root.set("remote_run.command", format!("{:?}", directory.join("rudder").display().to_string()));
    let path = format!("PATH={}:/usr/bin:/bin", directory.display());
    root.run_under(&["env", &path]).start().unwrap();

    let done = run(&root, &[node.as_str(), "-D", "a", "-D", "b"]).unwrap();
    let out = text(&done.stdout);
    assert_eq!(done.status.code(), Some(0), "{out}{}\n{}", text(&done.stderr), root.log_end());
    assert!(out.contains("succeeded"), "{out}");
    let record = fs::read_to_string(directory.join("record")).unwrap();
    let calls: Vec<&str> = record.lines().collect();
    let program = directory.join("rudder");
    assert_eq!(calls.len(), 2, "{record}");
    assert!(calls[0].starts_with(&format!("sudo {} remote run -D a,b -- ", program.display())), "{record}");
    assert!(calls[1].starts_with("rudder remote run -D a,b -- "), "{record}");
}
