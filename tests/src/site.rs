// SPDX-License-Identifier: Apache-2.0
//! A site for one test: a directory, a root, and who is below it.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use protocol::node_id::NodeId;
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    Result,
    fleet::Fleet,
    identity::{Identity, Keys},
    server::{DatabaseUrl, Output, Server},
    wait,
};

/// A site. Declare it before its servers: its directory goes last.
#[derive(Debug)]
pub struct Site {
    directory: TempDir,
    root: Identity,
    fleet: Fleet,
}

impl Site {
    /// A site with its root only.
    pub fn new() -> Result<Self> {
        let root = Identity::new(NodeId::root(), Keys::P256)?;
        let directory = tempfile::Builder::new().prefix("relayd-site-").tempdir()?;
        Ok(Self { directory, fleet: Fleet::new(&root), root })
    }

    /// Adds machines below a policy server; the first one has an RSA key, the others have P-256 keys.
    pub fn add_machines(&mut self, below: &NodeId, count: usize) -> Result<Vec<Identity>> {
        let keys = |number| if number == 0 { Keys::Rsa2048 } else { Keys::P256 };
        let machines = (0..count).map(|number| Identity::random(keys(number))).collect::<Result<Vec<_>>>()?;
        machines.iter().for_each(|machine| self.fleet.add(machine, below));
        Ok(machines)
    }

    /// Adds a relay below a policy server.
    pub fn add_relay(&mut self, below: &NodeId) -> Result<Identity> {
        let relay = Identity::random(Keys::P256)?;
        self.fleet.add(&relay, below);
        Ok(relay)
    }

    /// The root's node id.
    pub fn root_id(&self) -> &NodeId {
        &self.root.node_id
    }

    /// Everybody.
    pub fn fleet(&mut self) -> &mut Fleet {
        &mut self.fleet
    }

    /// Where everything of this site is.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Leaves the directory behind, and says where it is.
    pub fn keep(&mut self) -> PathBuf {
        self.directory.disable_cleanup(true);
        self.directory.path().to_owned()
    }

    /// The SQLite file of the root.
    pub fn sqlite(&self) -> DatabaseUrl {
        DatabaseUrl::Sqlite(self.directory.path().join("relayd.db"))
    }

    /// The root, not started.
    pub fn prepare_root(&self, database: DatabaseUrl) -> Result<Server> {
        let directory = self.directory.path().join("root");
        Server::prepare(&directory, &self.root, &self.fleet, Output::Database(database))
    }

    /// The root's own identity.
    pub fn root(&self) -> &Identity {
        &self.root
    }

    /// A relay that forwards to the server `upstream`, perhaps through another port; not started.
    pub fn prepare_relay(&self, relay: &Identity, upstream: &Server, port: u16) -> Result<Server> {
        let directory = self.directory.path().join(relay.node_id.as_str());
        Server::prepare(&directory, relay, &self.fleet, Output::Upstream(port, upstream.key_hash().clone()))
    }
}

/// The reason file of a refused file, once it is there.
pub fn reason_of(server: &mut Server, name: &str) -> Result<Value> {
    let file = server.failed().join(format!("{name}.reason"));
    wait::until(&format!("the reason of {name}"), Duration::from_secs(20), || {
        server.check()?;
        match fs::read(&file) {
            Ok(text) => Ok(serde_json::from_slice(&text).ok()),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e.into()),
        }
    })
    .map_err(|e| format!("{e}\n{}", server.log_end()).into())
}

/// Everything in a server's spool of run logs, with the reasons of what is refused: for the message of a failed test.
pub fn spool_of(server: &Server) -> String {
    let mut text = String::new();
    for directory in [server.incoming(), server.failed()] {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            text += &format!("{}: {}\n", server.node_id(), entry.path().display());
            if entry.path().extension().is_some_and(|extension| extension == "reason") {
                text += &fs::read_to_string(entry.path()).unwrap_or_default();
            }
        }
    }
    text
}

/// Puts a file into a spool directory as others do: written aside, renamed in.
pub fn spool(directory: &Path, name: &str, content: &[u8]) -> Result<()> {
    let aside = directory.join(format!(".davfs.tmp-{name}"));
    fs::write(&aside, content)?;
    Ok(fs::rename(aside, directory.join(name))?)
}

/// As [`spool`], for a file that nobody has written to for an hour.
pub fn spool_old(directory: &Path, name: &str, content: &[u8]) -> Result<()> {
    let aside = directory.join(format!(".davfs.tmp-{name}"));
    fs::write(&aside, content)?;
    let hour_ago = SystemTime::now() - Duration::from_secs(3600);
    fs::File::options().append(true).open(&aside)?.set_modified(hour_ago)?;
    Ok(fs::rename(aside, directory.join(name))?)
}

/// Waits until no file is left in a server's `incoming`, hidden ones aside.
pub fn wait_drained(server: &mut Server, limit: Duration) -> Result<()> {
    let incoming = server.incoming();
    wait::until_true(&format!("{} to be empty", incoming.display()), limit, || {
        server.check()?;
        Ok(waiting(&incoming)? == 0)
    })
    .map_err(|e| format!("{e}\n{}", server.log_end()).into())
}

/// Files in a spool directory, hidden ones aside.
pub fn waiting(directory: &Path) -> Result<usize> {
    let mut count = 0;
    for entry in fs::read_dir(directory)? {
        count += usize::from(!entry?.file_name().to_string_lossy().starts_with('.'));
    }
    Ok(count)
}
