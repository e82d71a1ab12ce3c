// SPDX-License-Identifier: Apache-2.0
//! A machine with the agent, below a directory of its own (`agent --root DIRECTORY`).

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use protocol::{certificate::Certificate, hash::KeyHash, node_id::NodeId, private_key, run_id::RunLogName};

use crate::{Result, identity::Identity, programs, server::IdentityFiles};

/// A machine with the agent.
#[derive(Debug, Clone)]
pub struct Node {
    root: PathBuf,
    identity: Identity,
}

impl Node {
    /// Installs the agent: `agent init` makes the key and the certificate.
    pub fn init(root: &Path, options: &[&str]) -> Result<Self> {
        fs::create_dir_all(root)?;
        let output = agent(root, &[&["init"], options].concat())?;
        if !output.status.success() {
            return Err(format!("agent init: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        Self::load(root)
    }

    /// A machine whose agent has made its identity already.
    pub fn load(root: &Path) -> Result<Self> {
        let read =
            |path: &str| fs::read(root.join(path)).map_err(|e| format!("{path} after agent init: {e}"));
        let node_id: NodeId = String::from_utf8(read("opt/rudder/etc/uuid.hive")?)?.trim().parse()?;
        let certificate = Certificate::from_pem(&read("opt/rudder/etc/ssl/agent.cert")?)?;
        let key = private_key::from_pem(&read("var/rudder/cfengine-community/ppkeys/localhost.priv")?)?;
        Ok(Self { root: root.to_owned(), identity: Identity { node_id, key, certificate } })
    }

    /// Who it is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Its node id.
    pub fn node_id(&self) -> &NodeId {
        &self.identity.node_id
    }

    /// Tells the agent its policy server, the server's key, and the version of its policies.
    pub fn configure(&self, port: u16, pin: &KeyHash, config_id: &str) -> Result<()> {
        let server = format!("127.0.0.1:{port}");
        let output = self.agent(&["init", "--server", &server, "--pin", &pin.to_string()])?;
        if !output.status.success() {
            return Err(format!("agent init --server: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        let file = self.root.join("var/rudder/cfengine-community/inputs/rudder.json");
        fs::create_dir_all(file.parent().ok_or("no directory")?)?;
        // As policies bring it: one key a line, ` : ` between (protocol 1.7).
        Ok(fs::write(file, format!("{{\n  \"RUDDER_NODE_CONFIG_ID\" : \"{config_id}\"\n}}\n"))?)
    }

    /// One run of this policy command; the run log stays in the outbox.
    pub fn run(&self, command: &[&str]) -> Result<Output> {
        self.agent(&[&["run", "--"], command].concat())
    }

    /// `agent send`.
    pub fn send(&self) -> Result<Output> {
        self.agent(&["send"])
    }

    /// Asks the policy server on this port of 127.0.0.1, known by its key, to take this node in.
    pub fn enroll(&self, port: u16, pin: &KeyHash, options: &[&str]) -> Result<Output> {
        let (server, pin) = (format!("127.0.0.1:{port}"), pin.to_string());
        self.agent(&[&["enroll", "--server", &server, "--pin", &pin], options].concat())
    }

    /// The same machine, as a copy of all its files below another directory.
    pub fn copy(&self, root: &Path) -> Result<Self> {
        let copied = Command::new("cp").arg("--archive").arg(&self.root).arg(root).status()?;
        if copied.success() { Self::load(root) } else { Err("cp failed".into()) }
    }

    /// Reads the key files again, as after a change of keys.
    pub fn reload(&mut self) -> Result<()> {
        *self = Self::load(&self.root)?;
        Ok(())
    }

    /// The directory all its files are below.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Its certificate and key files.
    pub fn identity_files(&self) -> IdentityFiles {
        IdentityFiles {
            certificate: self.root.join("opt/rudder/etc/ssl/agent.cert"),
            key: self.root.join("var/rudder/cfengine-community/ppkeys/localhost.priv"),
        }
    }

    /// Any command of the agent.
    pub fn agent(&self, arguments: &[&str]) -> Result<Output> {
        agent(&self.root, arguments)
    }

    /// Run logs that wait in the outbox.
    pub fn outbox(&self) -> Result<Vec<RunLogName>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.root.join("var/rudder/reports/ready"))? {
            if let Ok(name) = entry?.file_name().to_string_lossy().parse() {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// The content of a run log in the outbox.
    pub fn outbox_file(&self, name: &RunLogName) -> Result<Vec<u8>> {
        Ok(fs::read(self.root.join("var/rudder/reports/ready").join(name.as_str()))?)
    }
}

fn agent(root: &Path, arguments: &[&str]) -> Result<Output> {
    Ok(Command::new(programs::find("agent")?).arg("--root").arg(root).args(arguments).output()?)
}
