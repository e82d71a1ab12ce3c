// SPDX-License-Identifier: Apache-2.0
//! Runs a policy command in its own process group and captures what it says until it ends.
//!
//! ```text
//! running ─time limit, stop─▶ asked to end (TERM to the group) ─grace─▶ killed (KILL to the group)
//!    └─ exit ─▶ draining: what is in the pipes is still read; a service left behind is not waited for
//! ```

use std::{
    ffi::OsString,
    io,
    os::unix::process::ExitStatusExt,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use chrono::Utc;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::Command,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    capture::{Capture, LineSplitter, Stream},
    order::Listener,
};

/// How a command ended.
#[derive(Debug)]
pub enum Ending {
    /// By itself, with this status.
    Exited(i32),
    /// By this signal, which was not ours.
    Signalled(i32),
    /// Ran longer than this and was ended.
    TimedOut(Duration),
    /// Was ended because the agent was told to stop.
    Stopped,
    /// Never ran.
    NotStarted(io::Error),
}

impl Ending {
    /// Whether the command ended as a successful one does.
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Exited(0))
    }
}

impl std::fmt::Display for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exited(status) => write!(f, "exit status {status}"),
            Self::Signalled(signal) => write!(f, "ended by signal {signal}"),
            Self::TimedOut(limit) => write!(
                f,
                "ran longer than {} and was ended with its process group",
                humantime::format_duration(*limit)
            ),
            Self::Stopped => f.write_str("was ended because the agent was told to stop"),
            Self::NotStarted(e) => write!(f, "cannot be started: {e}"),
        }
    }
}

/// What a command may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Longest run.
    pub time: Duration,
    /// Between SIGTERM and SIGKILL.
    pub grace: Duration,
    /// Bytes of output kept.
    pub output: usize,
}

/// How long the pipes are still read after the command has ended: processes that it started and left
/// behind may keep them open for ever.
const DRAIN: Duration = Duration::from_secs(1);

/// How long a killed command may take to vanish before the run goes on without it.
const AFTER_KILL: Duration = Duration::from_secs(5);

/// Runs `command` (program, arguments) to its end, or to that of its time. `started` is told its
/// process id at once, `listener` each line.
pub async fn execute(
    command: &[OsString],
    environment: &[(&str, String)],
    limits: Limits,
    listener: Option<Listener>,
    started: impl FnOnce(u32),
    stop: &CancellationToken,
) -> (Ending, Capture) {
    let mut capture = Capture::new(limits.output).told_to(listener);
    let ending = match start(command, environment) {
        Ok(child) => {
            child.id().map(started);
            follow(child, limits, stop, &mut capture).await
        }
        Err(e) => Ending::NotStarted(e),
    };
    (ending, capture)
}

fn start(command: &[OsString], environment: &[(&str, String)]) -> io::Result<tokio::process::Child> {
    let (program, arguments) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    Command::new(program)
        .args(arguments)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
}

async fn follow(
    mut child: tokio::process::Child,
    limits: Limits,
    stop: &CancellationToken,
    capture: &mut Capture,
) -> Ending {
    let group = child.id().and_then(|id| Pid::from_raw(id as i32));
    let signal = |signal| group.map(|group| kill_process_group(group, signal));
    let mut out = Pipe::new(child.stdout.take(), Stream::Out);
    let mut err = Pipe::new(child.stderr.take(), Stream::Err);
    let time_limit = Instant::now() + limits.time;
    let mut ended_by_us: Option<Ending> = None;
    let mut kill_at: Option<Instant> = None;
    let mut give_up_at: Option<Instant> = None;
    let mut status: Option<io::Result<ExitStatus>> = None;

    while status.is_none() || out.is_open() || err.is_open() {
        let time_limit = (status.is_none() && ended_by_us.is_none()).then_some(time_limit);
        let deadline = [time_limit, kill_at, give_up_at].into_iter().flatten().min();
        tokio::select! {
            biased;
            () = stop.cancelled(), if status.is_none() && ended_by_us.is_none() => {
                ended_by_us = Some(Ending::Stopped);
                signal(Signal::TERM);
                kill_at = Some(Instant::now() + limits.grace);
            }
            () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                let now = Instant::now();
                if give_up_at.is_some_and(|at| at <= now) {
                    break;
                }
                if kill_at.is_some_and(|at| at <= now) {
                    signal(Signal::KILL);
                    kill_at = None;
                    give_up_at = Some(now + AFTER_KILL);
                } else if ended_by_us.is_none() {
                    ended_by_us = Some(Ending::TimedOut(limits.time));
                    signal(Signal::TERM);
                    kill_at = Some(now + limits.grace);
                }
            }
            ended = child.wait(), if status.is_none() => {
                status = Some(ended);
                // The rest of a group that was told to end keeps its grace.
                if kill_at.is_none() {
                    give_up_at = Some(Instant::now() + DRAIN);
                }
            }
            count = out.read(), if out.is_open() => out.take(count, capture),
            count = err.read(), if err.is_open() => err.take(count, capture),
        }
    }
    if ended_by_us.is_some() {
        // Also those who closed their output and ignored the request.
        signal(Signal::KILL);
    }
    out.finish(capture);
    err.finish(capture);
    ended_by_us.unwrap_or(match status {
        Some(Ok(status)) => match status.code() {
            Some(code) => Ending::Exited(code),
            None => Ending::Signalled(status.signal().unwrap_or_default()),
        },
        Some(Err(e)) => Ending::NotStarted(e),
        None => Ending::Stopped,
    })
}

/// One output of the command.
struct Pipe<R> {
    reader: Option<R>,
    stream: Stream,
    splitter: LineSplitter,
    buffer: Box<[u8]>,
}

impl<R: AsyncRead + Unpin> Pipe<R> {
    fn new(reader: Option<R>, stream: Stream) -> Self {
        Self { reader, stream, splitter: LineSplitter::default(), buffer: vec![0; 16 * 1024].into() }
    }

    fn is_open(&self) -> bool {
        self.reader.is_some()
    }

    /// Reads into the buffer; 0 at the end. Safe to cancel: bytes are taken only when they are there.
    async fn read(&mut self) -> usize {
        match &mut self.reader {
            Some(reader) => reader.read(&mut self.buffer).await.unwrap_or(0),
            None => 0,
        }
    }

    /// Captures what was read.
    fn take(&mut self, count: usize, capture: &mut Capture) {
        if count == 0 {
            self.reader = None;
        }
        let now = Utc::now();
        self.splitter.feed(&self.buffer[..count], |line| capture.push(now, self.stream, line));
    }

    fn finish(&mut self, capture: &mut Capture) {
        self.splitter.finish(|line| capture.push(Utc::now(), self.stream, line));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn shell(script: &str, limits: Limits, stop: CancellationToken) -> (Ending, Capture) {
        let command: Vec<OsString> = ["/bin/sh", "-c", script].map(OsString::from).into();
        execute(&command, &[("NAME", "value".into())], limits, None, |_| (), &stop).await
    }

    const LIMITS: Limits =
        Limits { time: Duration::from_secs(60), grace: Duration::from_millis(200), output: 1 << 20 };

    fn texts(capture: &Capture) -> Vec<&str> {
        capture.lines().map(|line| line.text).collect()
    }

    #[tokio::test]
    async fn both_outputs_and_the_status_are_had() {
        let (ending, capture) = shell("echo $NAME; echo two >&2; exit 3", LIMITS, Default::default()).await;
        assert!(matches!(ending, Ending::Exited(3)));
        let mut lines = texts(&capture);
        lines.sort();
        assert_eq!(lines, ["two", "value"]);
    }

    #[tokio::test]
    async fn a_service_left_behind_is_neither_waited_for_nor_killed() {
        let (ending, capture) = shell("sleep 300 & echo $!", LIMITS, Default::default()).await;
        assert!(ending.is_success());
        let pid = Pid::from_raw(texts(&capture)[0].parse().unwrap()).unwrap();
        assert!(rustix::process::test_kill_process(pid).is_ok());
        rustix::process::kill_process(pid, Signal::KILL).unwrap();
    }

    #[tokio::test]
    async fn the_time_limit_ends_the_whole_group_by_force_if_need_be() {
        // Also a busy machine says both lines within that time.
        let limits = Limits { time: Duration::from_secs(3), ..LIMITS };
        let script = "trap '' TERM; echo said; (trap '' TERM; exec sleep 300) & echo $!; wait; sleep 300";
        let (ending, capture) = shell(script, limits, Default::default()).await;
        assert!(matches!(ending, Ending::TimedOut(_)));
        let lines = texts(&capture);
        assert_eq!(lines[0], "said");
        assert!(vanishes(lines[1].parse().unwrap()), "the grandchild lives");
    }

    #[tokio::test]
    async fn a_stop_ends_the_command_cleanly() {
        let stop = CancellationToken::new();
        stop.cancel();
        let (ending, _) = shell("sleep 300", LIMITS, stop).await;
        assert!(matches!(ending, Ending::Stopped));
    }

    #[tokio::test]
    async fn a_command_that_is_not_there_is_an_ending_too() {
        let (ending, _) = execute(&["/no/such".into()], &[], LIMITS, None, |_| (), &Default::default()).await;
        assert!(matches!(ending, Ending::NotStarted(_)));
    }

    /// Whether the process ends soon; a zombie that nobody reaps counts as ended.
    fn vanishes(pid: i32) -> bool {
        let ended = || match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
            Ok(stat) => stat.contains(") Z "),
            Err(_) => true,
        };
        (0..2000).any(|_| {
            std::thread::sleep(Duration::from_millis(10));
            ended()
        })
    }
}
