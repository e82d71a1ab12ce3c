// SPDX-License-Identifier: Apache-2.0
//! What the programs tell the service manager, whose part the test plays.

use std::{
    os::unix::net::UnixDatagram,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use chrono::Utc;
use rustix::process::Signal;
use tests::{
    Result,
    node::Node,
    process::Process,
    programs, simulated,
    site::{Site, spool},
    wait,
};

const SOON: Duration = Duration::from_secs(30);

/// The socket of a service manager.
struct Manager(UnixDatagram);

impl Manager {
    fn listen(directory: &Path) -> Result<Self> {
        let socket = UnixDatagram::bind(directory.join("notify"))?;
        Ok(Self(socket))
    }

    /// The next message that has a line that `is_it`, and what came before.
    fn wait(&self, what: &str, is_it: impl Fn(&str) -> bool) -> Result<Vec<String>> {
        let (deadline, mut seen) = (Instant::now() + SOON, Vec::new());
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(format!("not told: {what}; but {seen:?}").into());
            }
            self.0.set_read_timeout(Some(left))?;
            let mut buffer = [0; 4096];
            let Ok(length) = self.0.recv(&mut buffer) else { continue };
            let message = String::from_utf8(buffer[..length].to_vec())?;
            let found = message.lines().any(&is_it);
            seen.push(message);
            if found {
                return Ok(seen);
            }
        }
    }

    fn wait_line(&self, line: &str) -> Result<Vec<String>> {
        self.wait(line, |one| one == line)
    }

    /// Nothing like this for some time.
    fn is_silent(&self, line: &str, time: Duration) -> Result<bool> {
        let deadline = Instant::now() + time;
        while let Some(left) = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
        {
            self.0.set_read_timeout(Some(left))?;
            let mut buffer = [0; 4096];
            if let Ok(length) = self.0.recv(&mut buffer)
                && String::from_utf8_lossy(&buffer[..length]).lines().any(|one| one == line)
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Has a program talk to it.
    fn manage(&self, command: &mut Command, directory: &Path, watchdog: Duration) {
        command.env("NOTIFY_SOCKET", directory.join("notify"));
        command.env("WATCHDOG_USEC", watchdog.as_micros().to_string());
    }
}

#[test]
fn a_relay_tells_of_its_start_its_queue_its_uplink_reloads_and_its_end() -> Result<()> {
    let mut site = Site::new()?;
    let root_id = site.root_id().clone();
    let identity = site.add_relay(&root_id)?;
    let root = site.prepare_root(site.sqlite())?;
    let relay = site.prepare_relay(&identity, &root, root.gateway().port())?;
    relay.write_configuration()?;
    let directory = site.directory().to_owned();
    let manager = Manager::listen(&directory)?;
    let mut command = Command::new(programs::find("relayd")?);
    command.arg("--config").arg(relay.directory().join("etc"));
    manager.manage(&mut command, &directory, Duration::from_secs(3));
    let log = directory.join("relay.log");
    let process = Process::start("relayd", &mut command, &log)?;

    let before = manager.wait_line("READY=1").map_err(|e| format!("{e}\n{}", process.log()))?;
    std::net::TcpStream::connect(relay.gateway()).map_err(|e| format!("ready, but {e}"))?;
    assert!(!before.iter().any(|message| message.contains("STOPPING")), "{before:?}");
    let state = |text: &'static str| move |line: &str| line.starts_with("STATUS=") && line.contains(text);
    // Said once, before it is ready or after.
    let empty = state("0 run logs and 0 inventories waiting; uplink up");
    if !before.iter().flat_map(|message| message.lines()).any(&empty) {
        manager.wait("an empty queue", empty)?;
    }
    manager.wait_line("WATCHDOG=1")?;
    manager.wait_line("WATCHDOG=1")?;

    // The root is not there.
    let machine = site.add_machines(&root_id, 1)?.remove(0);
    let run_log = simulated::Run::new(machine.node_id.clone(), Utc::now(), 1).pack(&machine)?;
    spool(&relay.incoming(), &run_log.name, &run_log.content)?;
    manager
        .wait("a queue that does not move", state("1 run logs and 0 inventories waiting; uplink down: "))
        .map_err(|e| format!("{e}\n{}", process.log()))?;

    process.signal(Signal::HUP)?;
    let reload = manager.wait_line("RELOADING=1")?;
    let reload = reload.last().ok_or("nothing")?;
    assert!(reload.lines().any(|line| line.starts_with("MONOTONIC_USEC=")), "{reload}");
    manager.wait_line("READY=1")?;

    // One that does nothing gives no sign of life.
    process.signal(Signal::STOP)?;
    // What it said before may still wait.
    while !manager.is_silent("WATCHDOG=1", Duration::from_secs(2))? {}
    process.signal(Signal::CONT)?;
    manager.wait_line("WATCHDOG=1")?;

    process.signal(Signal::TERM)?;
    let end = manager.wait_line("STOPPING=1")?;
    assert!(end.last().is_some_and(|message| message.contains("EXTEND_TIMEOUT_USEC=")), "{end:?}");
    let mut process = process;
    assert!(process.wait(SOON)?.success());
    Ok(())
}

#[test]
fn who_cannot_start_says_why() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let manager = Manager::listen(directory.path())?;
    std::fs::write(directory.path().join("main.conf"), "[general]\nnode_id = \"relay1\"\n")?;
    let mut command = Command::new(programs::find("relayd")?);
    command.arg("--config").arg(directory.path());
    manager.manage(&mut command, directory.path(), SOON);
    assert_eq!(command.output()?.status.code(), Some(3));
    manager
        .wait("the reason", |line| line.starts_with("STATUS=") && line.contains("output.upstream.host"))?;
    Ok(())
}

#[test]
fn an_agent_tells_of_its_next_run_and_its_end() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let manager = Manager::listen(directory.path())?;
    let node = Node::init(&directory.path().join("node"), &["--key", "p256"])?;
    let told = directory.path().join("told");
    // A policy must not speak for the agent.
    let script = format!("echo \"socket: $NOTIFY_SOCKET\" > {}; sleep 60", told.display());
    let settings = format!(
        "policy_command = [\"/bin/sh\", \"-c\", {script:?}]\nrun_interval = \"1s\"\nsplay = \"0s\"\nupdate = false\n"
    );
    std::fs::write(node.root().join("opt/rudder/etc/relayd-agent.conf"), settings)?;
    let mut command = Command::new(programs::find("agent")?);
    command.arg("--root").arg(node.root()).arg("daemon");
    manager.manage(&mut command, directory.path(), Duration::from_secs(3));
    let mut process = Process::start("agent", &mut command, &directory.path().join("log"))?;
    manager.wait_line("READY=1").map_err(|e| format!("{e}\n{}", process.log()))?;
    manager.wait("the next run", |line| {
        line.starts_with("STATUS=next run at ") && line.ends_with("; 0 run logs waiting; nothing sent yet")
    })?;
    wait::until_true("the policy to run", SOON, || Ok(told.exists() && std::fs::metadata(&told)?.len() > 0))?;
    assert_eq!(std::fs::read_to_string(&told)?, "socket: \n");
    manager.wait_line("WATCHDOG=1")?;
    process.signal(Signal::TERM)?;
    manager.wait_line("STOPPING=1")?;
    assert!(process.wait(SOON)?.success());
    Ok(())
}
