// SPDX-License-Identifier: Apache-2.0
//! A copy of Debian with systemd running in it.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use super::{Debian, cgroup::Group, succeed};
use crate::{Result, wait};

/// Several machines may boot at a time, on few cores.
const PATIENCE: Duration = Duration::from_secs(180);

/// What a machine sees of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// Loopback interfaces of its own, and nothing else: ports are all free.
    Private,
    /// The interfaces of this machine: servers of the test are reached, ports must be free ones.
    Host,
}

/// A booted copy. Stopped when dropped, hard.
#[derive(Debug)]
pub struct Machine {
    nspawn: Child,
    /// Its process 1, as this machine numbers it.
    leader: u32,
    console: PathBuf,
    /// Goes after its processes.
    _group: Group,
}

impl Machine {
    pub(super) fn boot(debian: &Debian, network: Network) -> Result<Self> {
        let console = debian.mount_point.path().with_extension("console");
        let output = File::create(&console)?;
        let mut command = debian.nspawn();
        if network == Network::Private {
            command.arg("--private-network");
        }
        command.args(["--boot", "--console=pipe"]);
        let group = Group::create(&debian.name)?;
        let nspawn = group
            .command(&command)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()?;
        let mut machine = Self { nspawn, leader: 0, console, _group: group };
        machine.leader = wait::until("the first process", PATIENCE, || {
            machine.check()?;
            machine.first_process()
        })?;
        wait::until("systemd to be up", PATIENCE, || {
            machine.check()?;
            let state = machine.command("systemctl").arg("is-system-running").output()?;
            match String::from_utf8_lossy(&state.stdout).trim() {
                "running" | "degraded" => Ok(Some(())),
                other => Err(other.to_owned().into()),
            }
        })?;
        Ok(machine)
    }

    /// A command in the running machine, as root, in all its namespaces. It is a process of this machine: its
    /// standard input and outputs are the caller's to choose, and killing it ends it.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg("--target").arg(self.leader.to_string()).args(["--all", "--wd", "--", program]);
        command.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("LANG", "C.UTF-8").env("HOME", "/root").env("DEBIAN_FRONTEND", "noninteractive");
        command
    }

    /// Runs a command as [`Self::command`] says, to its end.
    ///
    /// # Errors
    /// A status other than 0; the message has all that the command printed.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        succeed(self.command(program).args(arguments))
    }

    /// What a unit logged until now, oldest first.
    pub fn journal(&self, unit: &str) -> Result<String> {
        // What was said is in the journal a moment later; this waits for all of it. Where that does not work, what is
        // there is better than nothing.
        let _ = self.run("journalctl", &["--sync"]);
        self.run("journalctl", &["--no-pager", "--output=short-precise", "--unit", unit])
    }

    /// Shuts it down as a power button does: units are stopped, file systems stay as they are left.
    pub fn power_off(mut self) -> Result<()> {
        kill_process(Pid::from_child(&self.nspawn), Signal::TERM)?;
        let status = wait::until("the machine to be off", PATIENCE, || Ok(self.nspawn.try_wait()?))?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("systemd-nspawn: {status}\n{}", self.console()).into())
        }
    }

    /// The child of nspawn that is process 1 of a namespace: another one comes before it and goes.
    fn first_process(&self) -> Result<Option<u32>> {
        // The shell has become nsenter, and nsenter nspawn.
        let id = self.nspawn.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"))?;
        let is_first = |child: &u32| {
            let status = fs::read_to_string(format!("/proc/{child}/status")).unwrap_or_default();
            let ids = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
            ids.is_some_and(|ids| ids.split_whitespace().nth(1) == Some("1"))
        };
        Ok(children.split_whitespace().filter_map(|child| child.parse().ok()).find(is_first))
    }

    fn check(&mut self) -> Result<()> {
        match self.nspawn.try_wait()? {
            None => Ok(()),
            Some(status) => Err(format!("systemd-nspawn ended ({status}):\n{}", self.console()).into()),
        }
    }

    fn console(&self) -> String {
        fs::read(&self.console).map(|c| String::from_utf8_lossy(&c).into_owned()).unwrap_or_default()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Process 1 of a namespace takes all others with it.
        if let Some(leader) = Pid::from_raw(self.leader.cast_signed()) {
            let _ = kill_process(leader, Signal::KILL);
        }
        let _ = self.nspawn.kill();
        let _ = self.nspawn.wait();
        let _ = fs::remove_file(&self.console);
    }
}
