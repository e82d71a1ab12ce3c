// SPDX-License-Identifier: Apache-2.0
//! A machine with the agent, below a directory of its own (`agent --root DIRECTORY`).

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use protocol::{certificate::Certificate, hash::KeyHash, node_id::NodeId, private_key, run_id::RunLogName};

use crate::{Result, identity::Identity, programs};

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
        let write = |path: &str, text: String| -> Result<()> {
            let path = self.root.join(path);
            fs::create_dir_all(path.parent().ok_or("no directory")?)?;
            Ok(fs::write(path, text)?)
        };
        write("opt/rudder/etc/agent.conf", format!("server = 127.0.0.1\nhttps_port = {port}\n"))?;
        write("var/rudder/lib/ssl/policy_server_hash", format!("{pin}\n"))?;
        write(
            "var/rudder/cfengine-community/inputs/rudder.json",
            format!("{{\n  \"RUDDER_NODE_CONFIG_ID\" : \"{config_id}\"\n}}\n"),
        )
    }

    /// `agent run -- COMMAND…`.
    pub fn run(&self, command: &[&str]) -> Result<Output> {
        self.agent(&[&["run", "--"], command].concat())
    }

    /// `agent send`.
    pub fn send(&self) -> Result<Output> {
        self.agent(&["send"])
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
