// SPDX-License-Identifier: Apache-2.0
//! One machine of a document: Debian as on this machine, with systemd, over a layer that goes with it.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tests::{Result, process::Process, programs, wait};

/// How long a machine may take to boot, busy as this one may be.
const BOOT: Duration = Duration::from_secs(180);

/// A booted machine. Everything on it ends with it.
#[derive(Debug)]
pub struct Machine {
    name: String,
    nspawn: Process,
    leader: u32,
    groups: Vec<PathBuf>,
}

/// Boots machines and connects the others to the first; by name.
pub fn boot(directory: &Path, names: &[String]) -> Result<HashMap<String, Machine>> {
    let starting: Vec<_> = names.iter().map(|name| start(directory, name, names)).collect::<Result<_>>()?;
    let mut machines = HashMap::new();
    for (name, nspawn) in names.iter().zip(starting) {
        let machine = Machine::booted(name, nspawn)?;
        machines.insert(name.clone(), machine);
    }
    let first = &machines[&names[0]];
    first.network(&["ip", "link", "add", "wire", "type", "bridge"])?;
    first.address("wire", 1)?;
    for (name, number) in names.iter().zip(1..).skip(1) {
        let machine = &machines[name];
        let leader = machine.leader.to_string();
        first.network(&[
            "ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", &leader,
        ])?;
        first.network(&["ip", "link", "set", name, "master", "wire", "up"])?;
        machine.address("eth0", number)?;
    }
    Ok(machines)
}

fn start(directory: &Path, name: &str, names: &[String]) -> Result<Process> {
    let own = directory.join(name);
    fs::create_dir(&own)?;
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("no workspace")?;
    let program = programs::find("relayd")?;
    programs::find("agent")?;
    // Unique on this machine: names control groups and nspawn's own directory.
    let unique = format!("relayd-docs-{}-{name}", directory.file_name().unwrap_or_default().display());
    Process::start(
        &format!("the machine {name}"),
        Command::new("unshare")
            .args(["--mount", "--propagation", "private", "--"])
            .arg(workspace.join("tests/tests/docs/machine.sh"))
            .args([&own, Path::new(&unique), Path::new(name)])
            .arg(program.parent().ok_or("no directory")?)
            .arg(workspace)
            .args(names),
        &directory.join(format!("{name}.log")),
    )
}

impl Machine {
    fn booted(name: &str, mut nspawn: Process) -> Result<Self> {
        let id = nspawn.id();
        let leader = wait::until(&format!("{name} to boot"), BOOT, || {
            nspawn.check()?;
            let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"))?;
            let Some(leader) = children.split_whitespace().next() else { return Ok(None) };
            let comm = fs::read_to_string(format!("/proc/{leader}/comm"))?;
            let up = comm.trim() == "systemd"
                && inside(leader.parse()?, &["systemctl", "is-active", "document.target"])
                    .output()?
                    .status
                    .success();
            Ok(if up { Some(leader.parse()?) } else { None })
        })?;
        let groups = fs::read_to_string(format!("/proc/{id}/cgroup"))?;
        Ok(Self { name: name.to_owned(), nspawn, leader, groups: control_groups(&groups) })
    }

    /// A command on this machine, with nothing of this process's environment.
    pub fn command(&self, arguments: &[&str]) -> Command {
        inside(self.leader, arguments)
    }

    /// A file of the machine as seen from here.
    pub fn file(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.leader))
    }

    fn address(&self, device: &str, number: u8) -> Result<()> {
        self.network(&["ip", "link", "set", device, "up"])?;
        self.network(&["ip", "address", "add", &format!("192.0.2.{number}/24"), "dev", device])?;
        self.network(&["ip", "address", "add", &format!("2001:db8::{number}/64"), "dev", device, "nodad"])
    }

    /// A command of this machine in the network of that one.
    fn network(&self, arguments: &[&str]) -> Result<()> {
        let output = Command::new("nsenter")
            .args(["--net", "--target", &self.leader.to_string()])
            .args(arguments)
            .output()?;
        match output.status.success() {
            true => Ok(()),
            false => {
                Err(format!("{}: {arguments:?}: {}", self.name, String::from_utf8_lossy(&output.stderr))
                    .into())
            }
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // The end of its first process is the end of all that runs there; nspawn ends after it.
        if let Some(leader) = i32::try_from(self.leader).ok().and_then(Pid::from_raw) {
            let _ = kill_process(leader, Signal::KILL);
            let _ = self.nspawn.wait(Duration::from_secs(10));
        }
        self.nspawn.kill();
        for group in &self.groups {
            remove_groups(group);
        }
    }
}

fn inside(leader: u32, arguments: &[&str]) -> Command {
    let mut command = Command::new("nsenter");
    command
        .env_clear()
        .args(["--all", "--wd", "--target", &leader.to_string(), "--"])
        .args(["env", "-i", "HOME=/root", "LANG=C.UTF-8", "TERM=dumb", "USER=root", "LOGNAME=root"])
        .arg("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .args(arguments);
    command
}

/// The control groups that `machine.sh` made for nspawn, from `/proc/<pid>/cgroup`.
fn control_groups(text: &str) -> Vec<PathBuf> {
    let mut groups = vec![];
    for line in text.lines() {
        let (tree, path) = match line.splitn(3, ':').collect::<Vec<_>>()[..] {
            ["0", "", path] if Path::new("/sys/fs/cgroup/unified").exists() => {
                ("/sys/fs/cgroup/unified", path)
            }
            ["0", "", path] => ("/sys/fs/cgroup", path),
            [_, "name=systemd", path] => ("/sys/fs/cgroup/systemd", path),
            _ => continue,
        };
        // nspawn moves itself into a group below.
        let path = path.strip_suffix("/supervisor").unwrap_or(path);
        if path.contains("relayd-docs-") {
            groups.push(PathBuf::from(format!("{tree}{path}")));
        }
    }
    groups
}

/// Removes empty control groups, deepest first.
fn remove_groups(group: &Path) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            remove_groups(&entry.path());
        }
    }
    let _ = fs::remove_dir(group);
}
