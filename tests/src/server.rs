// SPDX-License-Identifier: Apache-2.0
//! A root or a relay: its directories, its configuration, its process.

mod configuration;

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::Duration,
};

use protocol::{hash::KeyHash, node_id::NodeId};
use rustix::process::Signal;

use crate::{
    Result,
    fleet::Fleet,
    http,
    identity::Identity,
    ports,
    process::{Process, Usage},
    programs, wait,
};

/// Where a root stores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// `postgres://…`, without password.
    Postgres(String),
    /// A file.
    Sqlite(PathBuf),
}

/// A certificate file and its key file.
#[derive(Debug, Clone)]
pub struct IdentityFiles {
    /// Certificate.
    pub certificate: PathBuf,
    /// Private key.
    pub key: PathBuf,
}

/// Where run logs go from a server.
#[derive(Debug, Clone)]
pub enum Output {
    /// Stored.
    Database(DatabaseUrl),
    /// Forwarded to the policy server on this port of 127.0.0.1, known by its key.
    Upstream(u16, KeyHash),
}

/// A policy server. Killed when dropped.
#[derive(Debug)]
pub struct Server {
    directory: PathBuf,
    node_id: NodeId,
    key_hash: KeyHash,
    output: Output,
    gateway: SocketAddr,
    api: SocketAddr,
    identity: IdentityFiles,
    settings: Vec<(&'static str, String)>,
    log_level: &'static str,
    wrapper: Vec<String>,
    process: Option<Process>,
}

/// How long a server may take to become ready, or to stop.
const PATIENCE: Duration = Duration::from_secs(60);

impl Server {
    /// Prepares a server below `directory`; does not start it.
    pub fn prepare(directory: &Path, identity: &Identity, fleet: &Fleet, output: Output) -> Result<Self> {
        fs::create_dir_all(directory)?;
        let files = identity.write(directory)?;
        let server = Self::with_files(directory, &identity.node_id, identity.key_hash(), files, output)?;
        server.publish(fleet)?;
        Ok(server)
    }

    /// As [`Server::prepare`], with an identity that is in files already, and without any node.
    pub fn with_files(
        directory: &Path,
        node_id: &NodeId,
        key_hash: KeyHash,
        identity: IdentityFiles,
        output: Output,
    ) -> Result<Self> {
        for part in ["etc", "reports", "inventories"] {
            fs::create_dir_all(directory.join(part))?;
        }
        Ok(Self {
            directory: directory.to_owned(),
            node_id: node_id.clone(),
            key_hash,
            output,
            gateway: SocketAddr::from(([127, 0, 0, 1], ports::free()?)),
            api: SocketAddr::from(([127, 0, 0, 1], ports::free()?)),
            identity,
            settings: Vec::new(),
            log_level: "info",
            wrapper: Vec::new(),
            process: None,
        })
    }

    /// Adds or replaces a setting, such as `("gateway.uploads_per_minute", "100000")`; the value is TOML.
    pub fn set(&mut self, key: &'static str, value: impl Into<String>) -> &mut Self {
        self.settings.retain(|(k, _)| *k != key);
        self.settings.push((key, value.into()));
        self
    }

    /// Takes the nodes from elsewhere than the files that [`Server::publish`] wrote, which go: `source`
    /// is `database` (root) or `upstream` (relay).
    pub fn know_nodes_from(&mut self, source: &str) -> Result<&mut Self> {
        for file in ["nodeslist.json", "allnodescerts.pem"] {
            match fs::remove_file(self.directory.join(file)) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e.into()),
                _ => {}
            }
        }
        let authority = format!("{:?}", self.directory.join("ca").display().to_string());
        self.set("nodes.source", format!("{source:?}"));
        self.set("ca.directory", authority);
        self.set("enrolment.requests_per_minute", "1000000");
        Ok(self)
    }

    /// How much it logs from the next start on; `info` without this.
    pub fn log_level(&mut self, level: &'static str) -> &mut Self {
        self.log_level = level;
        self
    }

    /// Runs the daemon under another program, such as `strace`. It must become the daemon's parent
    /// or the daemon itself, and end with it.
    pub fn run_under(&mut self, wrapper: &[&str]) -> &mut Self {
        self.wrapper = wrapper.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// Writes the node list and the certificates, as the server application does. A running server
    /// needs [`Server::reload`].
    pub fn publish(&self, fleet: &Fleet) -> Result<()> {
        fs::write(self.directory.join("nodeslist.json"), fleet.node_list(&self.node_id))?;
        fs::write(self.directory.join("allnodescerts.pem"), fleet.certificates()?)?;
        Ok(())
    }

    /// Starts the daemon and waits until its API answers.
    pub fn start(&mut self) -> Result<()> {
        self.spawn()?;
        self.wait_ready()
    }

    /// Starts the daemon without waiting.
    pub fn spawn(&mut self) -> Result<()> {
        self.write_configuration()?;
        let program = programs::find("relayd")?;
        let mut command = match self.wrapper.split_first() {
            None => Command::new(program),
            Some((wrapper, arguments)) => {
                let mut command = Command::new(programs::of_system(wrapper)?);
                command.args(arguments).arg(program);
                command
            }
        };
        command.arg("--config").arg(self.directory.join("etc"));
        self.process = Some(Process::start(&self.title(), &mut command, &self.log_file())?);
        Ok(())
    }

    /// Waits until the API answers.
    pub fn wait_ready(&mut self) -> Result<()> {
        let title = format!("{} to answer", self.title());
        wait::until_true(&title, PATIENCE, || {
            self.check()?;
            Ok(http::get(self.api, "/rudder/relay-api/1/system/info")?.status == 200)
        })
        .map_err(|e| format!("{e}\n{}", self.log_end()).into())
    }

    /// Runs the daemon's command line with this configuration, and gives standard output.
    pub fn command(&self, arguments: &[&str]) -> Result<String> {
        self.write_configuration()?;
        let output = Command::new(programs::find("relayd")?)
            .arg("--config")
            .arg(self.directory.join("etc"))
            .args(arguments)
            .output()?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said =
            String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        Err(format!("relayd {}: {}: {said}", arguments.join(" "), output.status).into())
    }

    /// SIGTERM, and waits for the end.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        let mut process = self.process.take().ok_or("not running")?;
        process.terminate(PATIENCE)
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.process.as_ref().ok_or("not running")?.signal(signal)
    }

    /// Lets the daemon run on for good, and gives its process id.
    pub fn leave(&mut self) -> Result<u32> {
        Ok(self.process.take().ok_or("not running")?.leave())
    }

    /// Waits until the daemon ended by itself.
    pub fn wait_end(&mut self, limit: Duration) -> Result<ExitStatus> {
        self.process.take().ok_or("not running")?.wait(limit)
    }

    /// Whether the daemon is running.
    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(|process| process.check().is_ok())
    }

    /// Reload through the API.
    pub fn reload(&self) -> Result<()> {
        let answer = http::request(self.api, "POST", "/rudder/relay-api/1/system/reload")?;
        if answer.status == 200 { Ok(()) } else { Err(format!("reload: {}", answer.body).into()) }
    }

    /// An error when the daemon is not running.
    pub fn check(&mut self) -> Result<()> {
        self.process.as_mut().ok_or("not started")?.check()
    }

    /// The value of a metric line, labels included in `name` as they stand; `None` when not there.
    pub fn metric(&self, name: &str) -> Result<Option<f64>> {
        let text = self.metrics()?;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        Ok(value)
    }

    /// All metrics, as text.
    pub fn metrics(&self) -> Result<String> {
        Ok(http::get(self.api, "/metrics")?.body)
    }

    /// Memory and CPU.
    pub fn usage(&self) -> Result<Usage> {
        self.process.as_ref().ok_or("not running")?.usage()
    }

    /// Process id of the daemon (of its wrapper, if there is one).
    pub fn process_id(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    /// Address of the gateway.
    pub fn gateway(&self) -> SocketAddr {
        self.gateway
    }

    /// Address of the local API.
    pub fn api(&self) -> SocketAddr {
        self.api
    }

    /// Its node id.
    pub fn node_id(&self) -> &NodeId {
        &self.node_id
    }

    /// The hash of its key, for pins.
    pub fn key_hash(&self) -> &KeyHash {
        &self.key_hash
    }

    /// Its certificate and key files.
    pub fn identity(&self) -> &IdentityFiles {
        &self.identity
    }

    /// The same server with another key in its files, as after a change of keys.
    pub fn trust_key(&mut self, key_hash: KeyHash) {
        self.key_hash = key_hash;
    }

    /// Its own directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The spool directory of waiting run logs.
    pub fn incoming(&self) -> PathBuf {
        self.reports().join("incoming")
    }

    /// The spool directory of refused run logs.
    pub fn failed(&self) -> PathBuf {
        self.reports().join("failed")
    }

    /// The database of a root.
    pub fn database(&self) -> Result<&DatabaseUrl> {
        match &self.output {
            Output::Database(url) => Ok(url),
            Output::Upstream(..) => Err("a relay has no database".into()),
        }
    }

    /// Everything the daemon printed, over all its lives.
    pub fn log(&self) -> String {
        fs::read(self.log_file()).map(|log| String::from_utf8_lossy(&log).into_owned()).unwrap_or_default()
    }

    /// The last lines the daemon printed.
    pub fn log_end(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// Where the daemon's output goes.
    pub fn log_file(&self) -> PathBuf {
        self.directory.join("relayd.log")
    }

    fn reports(&self) -> PathBuf {
        match self.settings.iter().find(|(key, _)| *key == "processing.reporting.directory") {
            Some((_, value)) => PathBuf::from(value.trim_matches('"')),
            None => self.directory.join("reports"),
        }
    }

    fn title(&self) -> String {
        format!("relayd ({})", self.node_id)
    }
}
