// SPDX-License-Identifier: Apache-2.0
//! The HTTP server in front of an existing policy server.

use std::{fs, net::TcpStream, path::PathBuf, process::Command, time::Duration};

use tests::{Result, process::Process, programs, wait};

use crate::place::Place;

const CONFIGURATION: &str = include_str!("httpd.conf");
const MODULES: [&str; 14] = [
    "mpm_event",
    "authn_core",
    "authn_file",
    "authz_core",
    "authz_host",
    "authz_user",
    "auth_basic",
    "alias",
    "dav",
    "dav_fs",
    "proxy",
    "proxy_http",
    "socache_shmcb",
    "ssl",
];

/// Debian's httpd. Killed when dropped.
pub struct Front {
    run: PathBuf,
    port: u16,
    process: Option<Process>,
}

impl Front {
    /// Writes the configuration for this policy server.
    pub fn of(place: &Place, run: PathBuf) -> Result<Self> {
        fs::create_dir_all(&run)?;
        let modules: String = MODULES
            .map(|name| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"))
            .concat();
        fs::write(run.join("modules.conf"), modules)?;
        let text = CONFIGURATION
            .replace("@ROOT@", &place.root().display().to_string())
            .replace("@MODULES@", &run.join("modules.conf").display().to_string())
            .replace("@RUN@", &run.display().to_string())
            .replace("@PORT@", &place.port.to_string())
            .replace("@API@", &place.api.port().to_string());
        fs::write(run.join("httpd.conf"), text)?;
        if let Some(front) = place.accounts.front {
            std::os::unix::fs::chown(&run, Some(front.user), Some(front.group))?;
        }
        Ok(Self { run, port: place.port, process: None })
    }

    /// Starts it, and waits until it listens.
    pub fn start(&mut self) -> Result<()> {
        let mut command = Command::new(programs::of_system("apache2")?);
        command.arg("-f").arg(self.run.join("httpd.conf")).args(["-D", "FOREGROUND"]);
        if rustix::process::geteuid().is_root() {
            command.args(["-D", "AsRoot"]);
        }
        let mut process = Process::start("httpd", &mut command, &self.run.join("output"))?;
        wait::until_true("httpd to listen", Duration::from_secs(20), || {
            process.check()?;
            Ok(TcpStream::connect(("127.0.0.1", self.port)).is_ok())
        })
        .map_err(|e| format!("{e}\n{}", self.log()))?;
        self.process = Some(process);
        Ok(())
    }

    pub fn stop(&mut self) -> Result<()> {
        let mut process = self.process.take().ok_or("httpd is not running")?;
        process.terminate(Duration::from_secs(20))?;
        Ok(())
    }

    /// Reads its certificate files again.
    pub fn restart(&mut self) -> Result<()> {
        self.stop()?;
        self.start()
    }

    pub fn log(&self) -> String {
        ["output", "error.log", "access.log"]
            .map(|name| fs::read_to_string(self.run.join(name)).unwrap_or_default())
            .concat()
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        // Killed, its children would stay.
        let _ = self.stop();
    }
}
