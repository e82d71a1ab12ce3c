// SPDX-License-Identifier: Apache-2.0
//! relayd, run as its own user, with the configuration that it finds.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use tests::{Result, http, process::Process, programs, wait};

use crate::place::Place;

const PATIENCE: Duration = Duration::from_secs(30);

/// relayd on a policy server. Killed when dropped.
pub struct Daemon {
    process: Process,
    api: std::net::SocketAddr,
    incoming: PathBuf,
}

impl Daemon {
    /// Starts it, and waits until its API answers.
    pub fn start(place: &Place) -> Result<Self> {
        let mut command = as_daemon(place, &program(place)?);
        command.arg("--config").arg(place.path("opt/rudder/etc/relayd"));
        let log = place.root().with_extension("relayd.log");
        let process = Process::start("relayd", &mut command, &log)?;
        let mut daemon =
            Self { process, api: place.api, incoming: place.path("var/rudder/reports/incoming") };
        wait::until_true("relayd to answer", PATIENCE, || {
            daemon.process.check()?;
            Ok(http::get(daemon.api, "/rudder/relay-api/1/system/info")?.status == 200)
        })
        .map_err(|e| format!("{e}\n{}", daemon.process.log_end()))?;
        Ok(daemon)
    }

    pub fn stop(mut self) -> Result<()> {
        let status = self.process.terminate(PATIENCE)?;
        assert_eq!(status.code(), Some(0), "{}", self.process.log_end());
        Ok(())
    }

    /// What `rudder relay reload` does (protocol 5.3).
    pub fn reload(&self) -> Result<()> {
        let answer = http::request(self.api, "POST", "/rudder/relay-api/1/system/reload")?;
        assert_eq!(answer.body, r#"{"result":"success","action":"reloadConfiguration"}"#);
        Ok(())
    }

    /// Waits until the spool of run logs is empty.
    pub fn wait_drained(&mut self) -> Result<()> {
        wait::until_true("the spool to be empty", PATIENCE, || {
            self.process.check()?;
            Ok(tests::site::waiting(&self.incoming)? == 0)
        })
        .map_err(|e| format!("{e}\n{}", self.process.log_end()).into())
    }

    pub fn log(&self) -> String {
        self.process.log()
    }
}

/// The daemon's user need not be able to reach the directory where programs are built.
fn program(place: &Place) -> Result<PathBuf> {
    let built = programs::find("relayd")?;
    if place.accounts.daemon.is_none() {
        return Ok(built);
    }
    let program = place.root().with_extension("relayd");
    if !program.exists() && fs::hard_link(&built, &program).is_err() {
        fs::copy(&built, &program)?;
        fs::set_permissions(&program, PermissionsExt::from_mode(0o755))?;
    }
    Ok(program)
}

fn as_daemon(place: &Place, program: &Path) -> Command {
    let Some(account) = place.accounts.daemon else { return Command::new(program) };
    let mut command = Command::new("setpriv");
    command.args([format!("--reuid={}", account.user), format!("--regid={}", account.group)]);
    match place.accounts.front {
        // A member of the group that may read policies, which its own gateway needs.
        Some(front) => command.arg(format!("--groups={}", front.group)),
        None => command.arg("--clear-groups"),
    };
    command
        .args(["--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", "--"])
        .arg(program)
        .current_dir("/");
    command
}
