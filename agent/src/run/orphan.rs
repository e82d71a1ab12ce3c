// SPDX-License-Identifier: Apache-2.0
//! A policy command that outlived its agent (killed by force) is ended before the next run starts.
//!
//! The run lock goes with the agent, its command does not. So the command is written down while it
//! runs. It is named by what a recycled process id does not repeat: the boot and the start time.
//! What the command left behind on purpose (a service) is not touched: only a group whose leader, the
//! command itself, still lives.

use std::{fs, io, time::Duration};

use rustix::process::{Pid, Signal, kill_process_group};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use crate::state::State;

/// A policy command under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// Its process, leader of its group.
    pub pid: i32,
    /// When it started, in clock ticks since the boot.
    pub started: u64,
    /// The boot.
    pub boot: String,
}

impl Running {
    /// Names the process `pid`; `None` when it is gone, or not Linux.
    pub fn of(pid: u32) -> Option<Self> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().to_owned();
        Some(Self { pid: i32::try_from(pid).ok()?, started: start_time(pid)?, boot })
    }

    fn lives(&self) -> bool {
        u32::try_from(self.pid).ok().and_then(Self::of).as_ref() == Some(self)
    }
}

/// How long a process that was killed may take to vanish.
const AFTER_KILL: Duration = Duration::from_secs(5);

/// Ends the group of a command that an agent left running: SIGTERM, and SIGKILL after `grace`.
/// Needs the run lock. Returns whether there was one.
///
/// **Errors**: it could not be ended; a run beside it must not start.
pub async fn end(state: &State, grace: Duration) -> io::Result<bool> {
    let Some(running) = state.running().filter(Running::lives) else { return Ok(false) };
    let Some(group) = Pid::from_raw(running.pid) else { return Ok(false) };
    for (signal, patience) in [(Signal::TERM, grace), (Signal::KILL, AFTER_KILL)] {
        let _ = kill_process_group(group, signal);
        let deadline = Instant::now() + patience;
        while running.lives() && Instant::now() < deadline {
            sleep(Duration::from_millis(20)).await;
        }
        if !running.lives() && signal == Signal::TERM {
            // Also those of its group that ignore the request; they may be gone already.
            let _ = kill_process_group(group, Signal::KILL);
        }
        if !running.lives() {
            return Ok(true);
        }
    }
    Err(io::Error::other(format!(
        "the policy command of a killed agent still runs and cannot be ended; end process {} by hand",
        running.pid
    )))
}

/// Field 22 of `/proc/PID/stat` (proc(5)); `None` for a process that is gone or a zombie.
fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything, spaces and parentheses included.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    (!matches!(state, "Z" | "X")).then(|| fields.nth(18)?.parse().ok())?
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::process::CommandExt,
        process::{Child, Command},
    };

    use super::*;

    fn state() -> (tempfile::TempDir, State) {
        let directory = tempfile::tempdir().unwrap();
        let state = State::open(directory.path()).unwrap();
        (directory, state)
    }

    fn sleeper() -> Child {
        Command::new("sleep").arg("300").process_group(0).spawn().unwrap()
    }

    #[tokio::test]
    async fn a_command_that_lives_on_is_ended() {
        let (_directory, state) = state();
        let mut child = sleeper();
        state.save_running(&Running::of(child.id()).unwrap()).unwrap();
        assert!(end(&state, Duration::from_secs(30)).await.unwrap());
        assert!(!child.wait().unwrap().success());
        assert!(!end(&state, Duration::from_secs(30)).await.unwrap(), "once");
    }

    #[tokio::test]
    async fn another_process_with_its_number_is_left_alone() {
        let (_directory, state) = state();
        let mut child = sleeper();
        let running = Running::of(child.id()).unwrap();
        for other in [
            Running { started: running.started + 1, ..running.clone() },
            Running { boot: "another".into(), ..running.clone() },
        ] {
            state.save_running(&other).unwrap();
            assert!(!end(&state, Duration::ZERO).await.unwrap());
        }
        assert!(running.lives());
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
