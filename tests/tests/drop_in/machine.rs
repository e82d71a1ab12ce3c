// SPDX-License-Identifier: Apache-2.0
//! A machine with the shell agent.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use openssl::{base64::encode_block, sha::sha256, x509::X509};
use tests::Result;

use crate::log::{self, Run};

/// The password of uploads of accepted nodes.
pub const PASSWORD: &str = "one for all";

/// A machine; all its files are below its directory.
pub struct Machine {
    pub root: PathBuf,
    pub id: String,
}

impl Machine {
    /// Makes key and certificate.
    pub fn new(root: &Path, id: &str, bits: u32) -> Result<Self> {
        fs::create_dir_all(root)?;
        let machine = Self { root: root.to_owned(), id: id.to_owned() };
        machine.agent(&["init", id, &bits.to_string()])?;
        Ok(machine)
    }

    /// `rudder.json` and the address, as policies bring them (protocol 1.7).
    pub fn attach(&self, port: u16, pin: &str, initial: bool) -> Result<()> {
        let community = self.root.join("var/rudder/cfengine-community");
        fs::write(community.join("policy_server.dat"), "127.0.0.1\n")?;
        let (first, password) = if initial { ("  \"INITIAL\" : true,\n", "rudder") } else { ("", PASSWORD) };
        let text = format!(
            "{{\n{first}  \"DAVUSER\" : \"rudder\",\n  \"DAVPASSWORD\" : \"{password}\",\n  \
             \"RUDDER_NODE_CONFIG_ID\" : \"20260102-030405-5f3a9c1e\",\n  \"POLICY_SERVER_KEY_HASH\" : \"{pin}\",\n  \
             \"HTTPS_POLICY_DISTRIBUTION_PORT\" : \"{port}\"\n}}\n"
        );
        Ok(fs::write(community.join("inputs/rudder.json"), text)?)
    }

    /// A command of the script; what it printed, in one line.
    pub fn agent(&self, arguments: &[&str]) -> Result<String> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/drop_in/agent.sh");
        let output = Command::new("sh").arg(script).arg(&self.root).args(arguments).output()?;
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if output.status.success() {
            return Ok(said);
        }
        let error = String::from_utf8_lossy(&output.stderr);
        Err(format!("{}: agent.sh {}: {said} {error}", self.id, arguments.join(" ")).into())
    }

    /// A run whose log waits in the outbox.
    pub fn run(&self) -> Result<Run> {
        let name = self.agent(&["run"])?;
        let text = fs::read_to_string(
            self.path(&format!("var/rudder/tmp/reports/{}", name.trim_end_matches(".gz"))),
        )?;
        let run = log::parse(&text);
        assert!(run.rows.len() > 9, "cf-agent said little: {text}");
        assert!(run.rows.iter().all(|row| row.node == self.id));
        Ok(run)
    }

    /// A run whose log the policy server took.
    pub fn report(&self) -> Result<Run> {
        let run = self.run()?;
        self.send()?;
        Ok(run)
    }

    /// Sends all; an error when something is left.
    pub fn send(&self) -> Result<()> {
        self.agent(&["send"])?;
        match fs::read_dir(self.outbox())?.count() {
            0 => Ok(()),
            left => Err(format!("{left} run logs were not taken").into()),
        }
    }

    pub fn outbox(&self) -> PathBuf {
        self.path("var/rudder/reports/ready")
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    pub fn certificate(&self) -> Result<String> {
        Ok(fs::read_to_string(self.path("opt/rudder/etc/ssl/agent.cert"))?)
    }

    /// The hash of its key, as in node lists and pins (protocol 1.4).
    pub fn key_hash(&self) -> Result<String> {
        let certificate = X509::from_pem(self.certificate()?.as_bytes())?;
        Ok(format!("sha256//{}", encode_block(&sha256(&certificate.public_key()?.public_key_to_der()?))))
    }
}
