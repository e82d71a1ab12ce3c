// SPDX-License-Identifier: Apache-2.0
//! A booted machine on which relayd and the agent are installed as services, at the default paths.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Output},
    time::Duration,
};

use protocol::{node_id::NodeId, private_key};
use tests::{
    Result,
    debian::{Debian, Machine, Network, succeed},
    identity::{Identity, Keys},
    programs, wait,
};

/// How long anything that is waited for may take.
pub const PATIENCE: Duration = Duration::from_secs(40);

pub const DAEMON: &str = "/opt/rudder/bin/rudder-relayd";
pub const AGENT: &str = "/opt/rudder/bin/relayd-agent";
pub const UNIT: &str = "rudder-relayd.service";
/// Where a test can change units that nobody has started yet.
pub const UNITS: &str = "/etc/systemd/system";

/// The machine. It goes before its files.
pub struct Installed {
    pub machine: Machine,
    pub debian: Debian,
}

/// A file of `packaging/systemd`.
pub fn packaged(name: &str) -> Result<String> {
    let file = packaging("systemd").join(name);
    fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()).into())
}

fn packaging(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../packaging").join(name)
}

impl Installed {
    /// `None` when this machine cannot boot others. `prepare` adds files before it is booted.
    pub fn boot(prepare: impl FnOnce(&Debian) -> Result<()>) -> Result<Option<Self>> {
        let Some(debian) = Debian::start()? else { return Ok(None) };
        let relayd = programs::find("relayd")?;
        for package in ["relayd", "relayd-agent"] {
            let mut stage = Command::new(packaging("stage"));
            stage.arg(package).arg(relayd.parent().ok_or("no directory")?).arg(debian.path("/"));
            succeed(stage.env("UNITS", UNITS))?;
        }
        // As the packages do after unpacking.
        debian.run("systemd-sysusers", &[])?;
        let make_places =
            || debian.run("systemd-tmpfiles", &["--create", "relayd.conf", "relayd-agent.conf"]);
        make_places()?;
        prepare(&debian)?;
        make_places()?;
        let machine = debian.boot(Network::Private)?;
        Ok(Some(Self { machine, debian }))
    }

    /// Runs a command line of the shell, as root.
    pub fn sh(&self, line: &str) -> Result<String> {
        self.machine.run("sh", &["-c", line])
    }

    /// As [`Self::sh`], whatever comes of it.
    pub fn try_sh(&self, line: &str) -> Result<Output> {
        Ok(self.machine.command("sh").args(["-c", line]).stdin(std::process::Stdio::null()).output()?)
    }

    /// A property of the daemon's unit.
    pub fn property(&self, name: &str) -> Result<String> {
        let value = self.machine.run("systemctl", &["show", "--value", "--property", name, UNIT])?;
        Ok(value.trim().to_owned())
    }

    /// Waits until a property of the daemon's unit is as wanted.
    pub fn wait_property(&self, name: &str, wanted: impl Fn(&str) -> bool) -> Result<String> {
        let (mut last, title) = (String::new(), format!("{name} of {UNIT}"));
        wait::until(&title, PATIENCE, || {
            last = self.property(name)?;
            Ok(wanted(&last).then(|| last.clone()))
        })
        .map_err(|e| format!("{e}: it is {last:?}\n{}", self.log()).into())
    }

    /// `systemctl` with the daemon's unit; the message has what the daemon logged.
    pub fn systemctl(&self, verb: &str) -> Result<()> {
        match self.machine.run("systemctl", &[verb, UNIT]) {
            Ok(_) => Ok(()),
            Err(e) => Err(format!("{e}\n{}", self.log()).into()),
        }
    }

    /// What the daemon logged.
    pub fn log(&self) -> String {
        self.machine.journal(UNIT).unwrap_or_else(|e| e.to_string())
    }

    /// An operator's command.
    pub fn operator(&self, arguments: &str) -> Result<String> {
        self.sh(&format!("{DAEMON} {arguments}"))
    }
}

/// Makes the identity of this machine, as a root server, at the default paths.
pub fn identity_of_root(debian: &Debian) -> Result<Identity> {
    let root = Identity::new(NodeId::root(), Keys::P256)?;
    debian.write("/opt/rudder/etc/uuid.hive", "root\n")?;
    debian.write("/opt/rudder/etc/ssl/agent.cert", root.certificate.x509().to_pem()?)?;
    debian.write(KEY, private_key::to_pem(&root.key)?)?;
    debian.run("chmod", &["600", KEY])?;
    Ok(root)
}

/// The key of the machine, which the daemon has no right to: it is a credential.
pub const KEY: &str = "/var/rudder/cfengine-community/ppkeys/localhost.priv";
