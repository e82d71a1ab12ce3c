// SPDX-License-Identifier: Apache-2.0
//! What is remembered from one invocation to the next: small JSON files and the locks beside them.
//!
//! Each file has one writer: `run.json`, `running.json`, `update.json` and `counter` whoever holds the run lock, `send.json`,
//! `resend.json` and `dropped.json` whoever holds the send lock, `inventory.json` and `policy-server` whoever holds the inventory lock (`inventory-updates.json` whoever asked the
//! package manager: what it says is the same for all), `enrolment.json` whoever holds the enrolment lock, `exports.json`
//! whoever holds the identity lock. A file that cannot be read counts as empty: nothing here is needed
//! to keep a promise about run logs.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    net::IpAddr,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use chrono::{DateTime, Utc};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    durable::{self, PRIVATE},
    run::orphan::Running,
};

/// The last run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RunState {
    /// Start of the last run.
    pub start: Option<DateTime<Utc>>,
    /// How it ended, for people.
    pub ending: String,
    /// Components by state, for people.
    pub summary: String,
    /// How many dropped run logs were already reported in a run log.
    pub dropped_reported: u64,
}

/// The last attempt to send.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SendState {
    /// When it ended.
    pub at: Option<DateTime<Utc>>,
    /// Run logs the server took.
    pub sent: u64,
    /// Run logs the server refused for good.
    pub rejected: u64,
    /// Why the rest was left.
    pub problem: Option<String>,
    /// Attempts in a row that left something.
    pub failures: u32,
    /// The server asked not to be called before.
    pub retry_after: Option<DateTime<Utc>>,
    /// When a daemon tries next.
    pub next_attempt: Option<DateTime<Utc>>,
    /// When the server last said that it takes nothing from this node, unless it has taken something since.
    pub denied: Option<Denied>,
    /// When the server last took something.
    pub taken: Option<DateTime<Utc>>,
}

/// An answer of 401 or 403.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denied {
    /// When.
    pub at: DateTime<Utc>,
    /// In the words of the server.
    pub answer: String,
}

/// What retention has dropped since the agent was installed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Dropped {
    /// Run logs.
    pub logs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When last.
    pub last: Option<DateTime<Utc>>,
}

/// The directory of these files.
#[derive(Debug, Clone)]
pub struct State {
    directory: PathBuf,
}

impl State {
    /// Opens the directory, which is made when missing.
    pub fn open(directory: &Path) -> io::Result<Self> {
        durable::create_private_directory(directory)?;
        Ok(Self { directory: directory.to_owned() })
    }

    /// The last run.
    pub fn run(&self) -> RunState {
        self.read("run.json")
    }

    /// The last attempt to send.
    pub fn send(&self) -> SendState {
        self.read("send.json")
    }

    /// What retention has dropped.
    pub fn dropped(&self) -> Dropped {
        self.read("dropped.json")
    }

    /// Remembers the last run; needs the run lock.
    pub fn save_run(&self, state: &RunState) -> io::Result<()> {
        self.write("run.json", state)
    }

    /// Remembers the last attempt to send; needs the send lock.
    pub fn save_send(&self, state: &SendState) -> io::Result<()> {
        self.write("send.json", state)
    }

    /// Address of this node on its last connection.
    pub fn address(&self) -> Option<IpAddr> {
        self.read("address.json")
    }

    /// Remembers this node's address. Whoever is connected may, without a lock: that two write at once, and
    /// one of them in vain, is harmless.
    pub fn note_address(&self, address: IpAddr) {
        if self.address() != Some(address) {
            let _ = self.write("address.json", &address);
        }
    }

    /// Remembers what retention has dropped; needs the send lock.
    pub fn save_dropped(&self, state: &Dropped) -> io::Result<()> {
        self.write("dropped.json", state)
    }

    /// The policy command that is under way, or was when its agent was killed.
    pub fn running(&self) -> Option<Running> {
        self.read("running.json")
    }

    /// Remembers the policy command under way; needs the run lock. Not made to survive a power loss,
    /// which no process survives either.
    pub fn save_running(&self, running: &Running) -> io::Result<()> {
        fs::write(self.directory.join("running.json"), serde_json::to_vec(running).map_err(io::Error::other)?)
    }

    /// Forgets the policy command, which has ended; needs the run lock.
    pub fn clear_running(&self) {
        let _ = fs::remove_file(self.directory.join("running.json"));
    }

    /// The number of a run, more than that of any run before; needs the run lock. It is on stable
    /// storage before it is used, so that it never goes back, whatever stops the machine.
    ///
    /// When the last number is lost, the Unix time goes on: runs are a second apart or more, so no count
    /// from an earlier time has got that far.
    pub fn next_counter(&self, now: DateTime<Utc>) -> io::Result<u64> {
        let file = self.directory.join("counter");
        let last = fs::read_to_string(&file).ok().and_then(|text| text.trim().parse::<u64>().ok());
        let last = last.unwrap_or_else(|| now.timestamp().max(0).unsigned_abs());
        let next = last.checked_add(1).ok_or_else(|| io::Error::other("the counter of runs is exhausted"))?;
        durable::replace(&file, format!("{next}\n").as_bytes(), PRIVATE)?;
        Ok(next)
    }

    /// Where a file is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Only one change of keys and certificates at a time.
    pub fn lock_identity(&self) -> Result<Lock, LockError> {
        Lock::take(self.directory.join("identity.lock"))
    }

    /// Only one process asks to be taken in.
    pub fn lock_enrolment(&self) -> Result<Lock, LockError> {
        Lock::take(self.directory.join("enrolment.lock"))
    }

    /// Only one change of what is trusted at a time. Whoever has it holds it for no longer than it takes to write
    /// two files, so it is waited for.
    pub fn lock_trust(&self) -> Result<Lock, LockError> {
        self.wait_for("trust.lock")
    }

    fn wait_for(&self, name: &str) -> Result<Lock, LockError> {
        let path = self.directory.join(name);
        let locked = open_lock(&path).and_then(|file| {
            flock(&file, FlockOperation::LockExclusive)?;
            Ok(Lock(file))
        });
        locked.map_err(|e| LockError::Io(path, e))
    }

    /// Only one change of the list of runs that were asked for at a time. It is short, so it is waited for.
    pub fn lock_triggers(&self) -> Result<Lock, LockError> {
        self.wait_for("triggers.lock")
    }

    /// Only one process makes runs that were asked for.
    pub fn lock_performing(&self) -> Result<Lock, LockError> {
        Lock::take(self.directory.join("performing.lock"))
    }

    /// Only one inventory at a time.
    pub fn lock_inventory(&self) -> Result<Lock, LockError> {
        Lock::take(self.directory.join("inventory.lock"))
    }

    /// Held by the daemon while it keeps a connection to the policy server.
    pub fn lock_connected(&self) -> Result<Lock, LockError> {
        Lock::take(self.directory.join("connected.lock"))
    }

    /// Only one run at a time.
    pub fn lock_run(&self) -> Result<Lock, LockError> {
        Lock::take(self.directory.join("run.lock"))
    }

    /// Only one sender at a time.
    pub fn lock_send(&self) -> Result<Lock, LockError> {
        Lock::take(self.directory.join("send.lock"))
    }

    /// A value; its default when it was never written or cannot be read.
    pub fn read<T: DeserializeOwned + Default>(&self, name: &str) -> T {
        let text = fs::read(self.directory.join(name)).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// Writes a value, whole or not at all; needs the lock of its writers.
    pub fn write<T: Serialize>(&self, name: &str, value: &T) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(value).map_err(io::Error::other)?;
        durable::replace(&self.directory.join(name), &text, PRIVATE)
    }
}

/// A lock that the system takes back when its holder ends, however that is.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "held, never used")] File);

impl Lock {
    fn take(path: PathBuf) -> Result<Self, LockError> {
        let io = |e: io::Error| LockError::Io(path.clone(), e);
        let mut file = open_lock(&path).map_err(io)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                let _ = file.take(200).read_to_string(&mut holder);
                return Err(LockError::Held(holder.trim().to_owned()));
            }
            Err(e) => return Err(io(e.into())),
        }
        let holder = format!("process {} since {}\n", std::process::id(), Utc::now().format("%F %T UTC"));
        file.set_len(0).and_then(|()| file.write_all(holder.as_bytes())).map_err(io)?;
        Ok(Self(file))
    }
}

fn open_lock(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(PRIVATE).open(path)
}

/// Why a lock cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody has it; says who.
    #[error("{0}")]
    Held(String),
    /// The file cannot be used.
    #[error("{0}: {1}")]
    Io(PathBuf, io::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_held_once_and_says_by_whom() {
        let directory = tempfile::tempdir().unwrap();
        let state = State::open(directory.path()).unwrap();
        let lock = state.lock_run().unwrap();
        let Err(LockError::Held(holder)) = state.lock_run() else { panic!("taken twice") };
        assert!(holder.contains(&std::process::id().to_string()), "{holder}");
        drop(lock);
        state.lock_run().unwrap();
    }

    #[test]
    fn the_counter_only_goes_up() {
        let directory = tempfile::tempdir().unwrap();
        let state = State::open(directory.path()).unwrap();
        let now: DateTime<Utc> = "2026-11-22T06:00:00Z".parse().unwrap();
        let first = state.next_counter(now).unwrap();
        assert_eq!(state.next_counter(now).unwrap(), first + 1);
        assert_eq!(state.next_counter(now - chrono::TimeDelta::days(1)).unwrap(), first + 2);
        for damage in ["", "12x", "-3"] {
            fs::write(directory.path().join("counter"), damage).unwrap();
            assert!(state.next_counter(now + chrono::TimeDelta::minutes(1)).unwrap() > first + 2);
        }
        fs::write(directory.path().join("counter"), u64::MAX.to_string()).unwrap();
        assert!(state.next_counter(now).is_err());
    }

    #[test]
    fn damaged_files_count_as_empty() {
        let directory = tempfile::tempdir().unwrap();
        let state = State::open(directory.path()).unwrap();
        fs::write(directory.path().join("dropped.json"), "{\"logs\": 3, \"by").unwrap();
        assert_eq!(state.dropped(), Dropped::default());
        state.save_dropped(&Dropped { logs: 3, bytes: 9, last: None }).unwrap();
        assert_eq!(state.dropped().logs, 3);
    }
}
