// SPDX-License-Identifier: Apache-2.0
//! A node in a temporary directory, driven through the program.

use std::{
    fs,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use agent::{
    identity::{self, Identity, InitOptions},
    paths::Paths,
};
use protocol::{compression, private_key::KeyKind, run_log, smime};

pub struct Node {
    root: tempfile::TempDir,
    pub identity: Identity,
    pub paths: Paths,
}

impl Node {
    pub fn new() -> Self {
        Self::with_id(None)
    }

    /// A machine on which nothing was done yet; `identity` is of no use.
    pub fn bare() -> Self {
        let node = Self::new();
        let fresh = tempfile::tempdir().unwrap();
        Self { paths: Paths::below(fresh.path()), root: fresh, identity: node.identity.clone() }
    }

    pub fn with_id(id: Option<&str>) -> Self {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::below(root.path());
        let options = InitOptions { key: KeyKind::P256, node_id: id.map(|id| id.parse().unwrap()) };
        let identity = identity::init(&paths, &options).unwrap().identity;
        Self { root, identity, paths }
    }

    pub fn root(&self) -> &Path {
        self.root.path()
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_agent"));
        command.arg("--root").arg(self.root()).args(arguments).env_remove("NO_COLOR").stdin(Stdio::null());
        command
    }

    pub fn agent(&self, arguments: &[&str]) -> Output {
        let output = self.command(arguments).output().unwrap();
        assert_eq!(output.status.signal(), None, "{output:?}");
        output
    }

    /// Runs a shell script as policies, without asking the server for others and without sending.
    pub fn policies(&self, script: &str) -> Output {
        self.agent(&["run", "--no-update", "--", "sh", "-c", script])
    }

    pub fn settings(&self, text: &str) {
        write(&self.paths.own_conf, text);
    }

    pub fn rudder_json(&self, text: &str) {
        write(&self.paths.rudder_json, text);
    }

    pub fn server(&self, port: u16) {
        write(&self.paths.agent_conf, &format!("server = 127.0.0.1\nhttps_port = {port}\n"));
    }

    /// Names in the outbox, oldest first.
    pub fn ready(&self) -> Vec<String> {
        names(&self.paths.ready())
    }

    pub fn failed(&self) -> Vec<String> {
        names(&self.paths.failed())
    }

    /// The text of the newest run log in the outbox, as a server gets it.
    pub fn newest_log(&self) -> String {
        let name = self.ready().pop().expect("nothing in the outbox");
        self.open(&fs::read(self.paths.ready().join(name)).unwrap())
    }

    /// What a server does with a run log: unpack, verify, parse. Gives the text.
    pub fn open(&self, packed: &[u8]) -> String {
        let signed = compression::unpack(packed, compression::Compression::Gzip, 100 << 20).unwrap();
        let verified = smime::verify(&signed, std::slice::from_ref(&self.identity.certificate)).unwrap();
        let log = run_log::parse(&verified.text, &self.identity.node_id).unwrap();
        assert!(log.complete, "{}", verified.text);
        verified.text.clone()
    }

    /// Event type, component and message of each report of a text, but for the one that says which
    /// machine it was.
    pub fn rows(&self, text: &str) -> Vec<(String, String, String)> {
        let log = run_log::parse(text, &self.identity.node_id).unwrap();
        log.reports
            .iter()
            .filter(|r| r.component != run_log::instance::COMPONENT)
            .map(|r| (r.event_type.to_owned(), r.component.to_string(), r.message.to_string()))
            .collect()
    }
}

fn names(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else { return vec![] };
    let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

pub fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// Waits until something is so; fails after a generous time.
pub fn eventually<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(value) = check() {
            return value;
        }
        assert!(Instant::now() < deadline, "not within 30 s: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The fixtures, if they are there.
pub fn fixtures() -> Option<PathBuf> {
    let path = std::env::var("RELAYD_FIXTURES")
        .map(PathBuf::from)
        .unwrap_or_else(|_| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/fixtures"));
    if path.is_dir() {
        return Some(path);
    }
    eprintln!("skipped: no fixtures at {}", path.display());
    None
}

/// Whether a process is gone; a zombie that nobody reaps counts.
pub fn is_gone(pid: &str) -> bool {
    match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat.contains(") Z "),
        Err(_) => true,
    }
}

pub fn signal(child: &std::process::Child, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, signal).unwrap();
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
