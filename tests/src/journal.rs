// SPDX-License-Identifier: Apache-2.0
//! A systemd-journald of one's own, in a mount namespace with its own `/run`: the journal of this machine, if it
//! has one, stays as it is.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::Value;

use crate::{Result, process::Process, programs, wait};

/// A running journal. Ends when dropped.
#[derive(Debug)]
pub struct Journal {
    process: Process,
}

const JOURNALD: &str = "/lib/systemd/systemd-journald";
const PATIENCE: Duration = Duration::from_secs(20);

/// Without `ReadKMsg` and `Audit` it leaves those of the machine alone.
const START: &str = r#"
set -e
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/journal /run/systemd/journald.conf.d /run/log/journal
printf '[Journal]\nStorage=volatile\nRuntimeMaxUse=32M\nReadKMsg=no\nAudit=no\nRateLimitIntervalSec=0\n' \
    >/run/systemd/journald.conf.d/test.conf
exec "$0"
"#;

/// What the service manager tells a service about its standard error, which `systemd-cat` of Debian 12 does not.
const CONNECT: &str = r#"export JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2); exec "$0" "$@""#;

impl Journal {
    /// Starts one; `None` where that is not possible, after saying why. In CI that is an error.
    pub fn start(directory: &Path) -> Result<Option<Self>> {
        let missing = if !Path::new(JOURNALD).exists() {
            Some("systemd-journald is not installed")
        } else if !rustix::process::geteuid().is_root() {
            Some("only root can make a mount namespace with another /run")
        } else {
            None
        };
        match missing {
            Some(why) if std::env::var_os("CI").is_some() => return Err(why.into()),
            Some(why) => {
                eprintln!("skipped: {why}");
                return Ok(None);
            }
            None => {}
        }
        let mut command = Command::new(programs::of_system("unshare")?);
        command.args(["--mount", "sh", "-c", START, JOURNALD]);
        let process = Process::start("journald", &mut command, &directory.join("journald.log"))?;
        let mut journal = Self { process };
        wait::until_true("the socket of the journal", PATIENCE, || {
            journal.process.check()?;
            Ok(["socket", "stdout"].iter().all(|name| journal.place(name).exists()))
        })?;
        Ok(Some(journal))
    }

    fn place(&self, name: &str) -> PathBuf {
        format!("/proc/{}/root/run/systemd/journal/{name}", self.process.id()).into()
    }

    /// The words that go before a command that is to be connected to this journal as a service is.
    pub fn wrapper(&self) -> Vec<String> {
        let namespace = format!("--mount=/proc/{}/ns/mnt", self.process.id());
        ["nsenter", &namespace, "systemd-cat", "sh", "-c", CONNECT].map(str::to_owned).to_vec()
    }

    /// What `journalctl` says for these matches, such as `NODE_ID=root`, oldest first.
    pub fn entries(&self, matches: &[&str]) -> Result<Vec<Value>> {
        let output = Command::new(programs::of_system("nsenter")?)
            .arg(format!("--mount=/proc/{}/ns/mnt", self.process.id()))
            .args(["journalctl", "--directory=/run/log/journal", "--output=json", "--all", "--quiet"])
            .args(matches)
            .output()?;
        // No entry is no success for journalctl.
        String::from_utf8(output.stdout)?.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }

    /// The first entry for these matches for which `wanted` holds, once it is there.
    pub fn wait_for(&self, matches: &[&str], wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let what = format!("an entry of the journal with {}", matches.join(" "));
        wait::until(&what, PATIENCE, || Ok(self.entries(matches)?.into_iter().find(&wanted)))
            .map_err(|e| format!("{e}; there is: {:#?}", self.entries(&[]).unwrap_or_default()).into())
    }
}
