// SPDX-License-Identifier: Apache-2.0
//! A server in a directory of its own, and its daemon.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, SystemTime},
};

use protocol::private_key::{self, KeyKind};
use relayd::{config::DatabaseUrl, db::Connection};
use serde_json::{Value, json};

use crate::support::wait_until;

/// What a command said.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Said {
    /// What this command says.
    pub fn by(command: &mut Command) -> Self {
        let output = command.output().unwrap();
        Self {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Standard output as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// A server: a root with SQLite, unless settings say otherwise.
pub struct Site {
    directory: tempfile::TempDir,
    daemon: Option<Child>,
    nodes: serde_json::Map<String, Value>,
    bundle: Vec<u8>,
}

impl Site {
    /// Writes the configuration: that of a root, and then `more`.
    pub fn root(more: &str) -> Self {
        Self::with(&format!(
            "[processing.reporting]\noutput = \"database\"\ndirectory = \"DIR/reports\"\n{more}"
        ))
    }

    /// Another one; `DIR` stands for its directory.
    pub fn with(more: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().display().to_string();
        let main = "[general]\nlisten = \"unix:DIR/api.sock\"\n\
             nodes_list_file = \"DIR/nodeslist.json\"\nnodes_certs_file = \"DIR/nodescerts.pem\"\n";
        // Sections may come in any order, but each once.
        let node_id = if more.contains("node_id") { "" } else { "node_id = \"root\"\n" };
        let text = format!("{main}{node_id}{more}");
        let places = "[shared_files]\npath = \"DIR/shared-files\"\n";
        fs::create_dir(directory.path().join("etc")).unwrap();
        let text = format!("{text}{places}").replace("DIR", &path);
        fs::write(directory.path().join("etc/main.conf"), text).unwrap();
        for made in ["reports/incoming", "reports/failed", "inventories/incoming", "shared-files"] {
            fs::create_dir_all(directory.path().join(made)).unwrap();
        }
        let site = Self { directory, daemon: None, nodes: serde_json::Map::new(), bundle: Vec::new() };
        site.write_nodes();
        site
    }

    pub fn at(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    /// Adds nodes that are known well, to list and bundle.
    pub fn know(&mut self, nodes: &[&str]) {
        for node in nodes {
            let certificate = certificate_of(node);
            self.list(
                node,
                &protocol::certificate::Certificate::from_pem(&certificate).unwrap().key_hash().to_string(),
            );
            self.certify(&certificate);
        }
    }

    /// Adds one to the node list.
    pub fn list(&mut self, node: &str, key_hash: &str) {
        self.list_below(node, key_hash, "root");
    }

    /// The same, below a server.
    pub fn list_below(&mut self, node: &str, key_hash: &str, server: &str) {
        let entry =
            json!({"hostname": format!("{node}.example.org"), "policy-server": server, "key-hash": key_hash});
        self.nodes.insert(node.to_owned(), entry);
        self.write_nodes();
    }

    /// Adds a certificate to the bundle.
    pub fn certify(&mut self, pem: &[u8]) {
        self.bundle.extend_from_slice(pem);
        self.write_nodes();
    }

    fn write_nodes(&self) {
        let mut nodes = self.nodes.clone();
        nodes.insert("root".into(), json!({"hostname": "root.example.org", "policy-server": "root"}));
        fs::write(self.at("nodeslist.json"), Value::Object(nodes).to_string()).unwrap();
        fs::write(self.at("nodescerts.pem"), &self.bundle).unwrap();
    }

    /// Starts the daemon, and waits until it answers.
    pub fn start(&mut self) {
        let log = File::create(self.at("log")).unwrap();
        let daemon = self.command(&[]).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        self.daemon = Some(daemon);
        let socket = self.at("api.sock");
        wait_until("the daemon listens", || {
            let ended = self.daemon.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "{}", fs::read_to_string(self.at("log")).unwrap());
            std::os::unix::net::UnixStream::connect(&socket).is_ok()
        });
    }

    /// Ends the daemon.
    pub fn stop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill().unwrap();
            daemon.wait().unwrap();
        }
    }

    /// The program, with the configuration of this server.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_relayd"));
        command.arg("-c").arg(self.at("etc")).args(args).stdin(Stdio::null());
        command
    }

    pub fn run(&self, args: &[&str]) -> Said {
        Said::by(&mut self.command(args))
    }

    /// SQL on its SQLite file.
    pub fn sql(&self, sql: &str) {
        let database = DatabaseUrl::Sqlite(self.at("relayd.db"));
        Connection::open(&database).unwrap().execute(sql).unwrap();
    }

    /// Puts a file somewhere, finished this long ago.
    pub fn put(&self, path: &str, content: &str, ago: Duration) -> PathBuf {
        let (path, aside) = (self.at(path), self.at("put"));
        fs::write(&aside, content).unwrap();
        File::options().write(true).open(&aside).unwrap().set_modified(SystemTime::now() - ago).unwrap();
        fs::rename(&aside, &path).unwrap();
        path
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A certificate of a node, with a new key.
pub fn certificate_of(node: &str) -> Vec<u8> {
    let key = private_key::generate(KeyKind::P256).unwrap();
    private_key::self_signed(&key, &node.parse().unwrap()).unwrap().to_pem()
}
