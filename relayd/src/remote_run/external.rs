// SPDX-License-Identifier: Apache-2.0
//! The external command, which triggers nodes that keep no connection (protocol 7.6):
//!
//! ```text
//! [sudo] /opt/rudder/bin/rudder remote run [-D <condition>,<condition>…] -- <host name>,<host name>…
//! ```
//!
//! Never through a shell. It has a process group of its own, which is killed with whoever waits for it.

use std::{
    collections::VecDeque,
    io,
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use protocol::remote_run::Conditions;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::{Child, ChildStderr, ChildStdout, Command},
    time::{Instant, sleep_until},
};

use super::{host::HostName, lines::Lines};

/// For what is still in the pipes when the command has ended, but something it started holds them open.
const DRAIN: Duration = Duration::from_secs(2);
/// Most host names in one argument, in bytes: the kernel takes 128 KiB.
const LONGEST_ARGUMENT: usize = 100_000;
/// Read at once.
const PIECE: usize = 16 * 1024;

/// How the command is run.
#[derive(Debug, Clone)]
pub struct External {
    /// The program.
    pub program: PathBuf,
    /// Whether with sudo.
    pub use_sudo: bool,
}

/// What a command does.
#[derive(Debug, PartialEq, Eq)]
pub enum Told {
    /// A line of its standard output, without its end.
    Output(Vec<u8>),
    /// A line of its standard error.
    Error(Vec<u8>),
    /// It ended, with this exit status as a shell has it.
    Exit(i32),
}

/// A command that runs. Killed with all it started when dropped.
pub struct Running {
    child: Child,
    group: Group,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    output: Lines,
    errors: Lines,
    ready: VecDeque<Told>,
    /// How it ended, and until when its pipes are read.
    ended: Option<(ExitStatus, Instant)>,
}

impl External {
    /// Whether the program is there.
    pub fn is_there(&self) -> bool {
        self.program.is_file()
    }

    /// Starts it for these hosts. It says nothing of which line is of which.
    pub fn start(&self, hosts: &[HostName], conditions: &Conditions) -> io::Result<Running> {
        let mut command = if self.use_sudo {
            let mut command = Command::new("sudo");
            command.arg(&self.program);
            command
        } else {
            Command::new(&self.program)
        };
        command.args(["remote", "run"]);
        if !conditions.is_empty() {
            command.arg("-D").arg(conditions.to_string());
        }
        let hosts: Vec<&str> = hosts.iter().map(HostName::as_str).collect();
        command.arg("--").arg(hosts.join(","));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0).kill_on_drop(true);
        let mut child = command.spawn()?;
        Ok(Running {
            group: Group(child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?))),
            stdout: child.stdout.take(),
            stderr: child.stderr.take(),
            child,
            output: Lines::default(),
            errors: Lines::default(),
            ready: VecDeque::new(),
            ended: None,
        })
    }

    /// Hosts in parts that fit into one argument each.
    pub fn parts(hosts: Vec<HostName>) -> Vec<Vec<HostName>> {
        let (mut parts, mut length) = (Vec::new(), LONGEST_ARGUMENT);
        for host in hosts {
            length += host.as_str().len() + 1;
            if length > LONGEST_ARGUMENT {
                parts.push(Vec::new());
                length = host.as_str().len() + 1;
            }
            parts.last_mut().expect("the first host begins a part").push(host);
        }
        parts
    }
}

impl Running {
    /// The next thing it does; `None` after [`Told::Exit`].
    pub async fn next(&mut self) -> Option<Told> {
        let (mut out, mut err) = ([0; PIECE], [0; PIECE]);
        loop {
            if let Some(told) = self.ready.pop_front() {
                return Some(told);
            }
            let drained = self.stdout.is_none() && self.stderr.is_none();
            if let (Some((status, _)), true) = (self.ended, drained) {
                return self.exit(status);
            }
            let until = self.ended.map(|(_, until)| until);
            tokio::select! {
                read = read(&mut self.stdout, &mut out), if self.stdout.is_some() => {
                    let ready = &mut self.ready;
                    match read {
                        0 => {
                            self.stdout = None;
                            ready.extend(self.output.rest().map(Told::Output));
                        }
                        count => self.output.push(&out[..count], |line| ready.push_back(Told::Output(line.to_vec()))),
                    }
                }
                read = read(&mut self.stderr, &mut err), if self.stderr.is_some() => {
                    let ready = &mut self.ready;
                    match read {
                        0 => {
                            self.stderr = None;
                            ready.extend(self.errors.rest().map(Told::Error));
                        }
                        count => self.errors.push(&err[..count], |line| ready.push_back(Told::Error(line.to_vec()))),
                    }
                }
                status = self.child.wait(), if self.ended.is_none() => {
                    // It was started here and is waited for here: there is nothing that could go wrong.
                    let status = status.unwrap_or_else(|_| ExitStatus::from_raw(0xff00));
                    self.ended = Some((status, Instant::now() + DRAIN));
                }
                () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => {
                    (self.stdout, self.stderr) = (None, None);
                }
            }
        }
    }

    fn exit(&mut self, status: ExitStatus) -> Option<Told> {
        self.group.0.take()?;
        let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
        Some(Told::Exit(code.unwrap_or(255)))
    }
}

async fn read(pipe: &mut Option<impl AsyncRead + Unpin>, buffer: &mut [u8]) -> usize {
    match pipe {
        // An error is an end.
        Some(pipe) => pipe.read(buffer).await.unwrap_or(0),
        None => 0,
    }
}

/// The process group of a command that was not waited for to the end.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // With sudo they are another user's, who may not be killed; they end by their own time limit.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}
