// SPDX-License-Identifier: Apache-2.0
//! A policy server as an existing installation leaves it: directories with their owners and modes (protocol 10.2),
//! and the files that the server application and the policies write (protocol 5, 8.4).

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::json;
use tests::{Result, ports};

use crate::machine::{Machine, PASSWORD};

/// User and group of a process.
#[derive(Debug, Clone, Copy)]
pub struct Account {
    pub user: u32,
    pub group: u32,
}

/// Who runs what; nobody in particular when the tests are not run by root.
#[derive(Debug, Clone, Copy)]
pub struct Accounts {
    pub front: Option<Account>,
    pub daemon: Option<Account>,
    pub application: Option<Account>,
}

/// The group `rudder` of the daemon and the server application.
const RUDDER: u32 = 64_000;

impl Accounts {
    fn of_this_machine() -> Result<Self> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self { front: None, daemon: None, application: None });
        }
        let id = |kind: &str| -> Result<u32> {
            let output = Command::new("id").args([kind, "www-data"]).output()?;
            Ok(String::from_utf8_lossy(&output.stdout)
                .trim()
                .parse()
                .map_err(|_| "there is no user www-data")?)
        };
        let account = |user| Some(Account { user, group: RUDDER });
        let front = Account { user: id("-u")?, group: id("-g")? };
        Ok(Self { front: Some(front), daemon: account(64_001), application: account(64_002) })
    }
}

/// A policy server.
pub struct Place {
    /// As a node: its key is also that of its HTTP server.
    pub machine: Machine,
    /// Of the front, and later of the gateway.
    pub port: u16,
    /// Of the daemon.
    pub api: SocketAddr,
    pub accounts: Accounts,
}

impl Place {
    pub fn new(directory: &Path, id: &str, bits: u32) -> Result<Self> {
        let root = directory.join(format!("server-{id}"));
        // Not only root has to get there.
        fs::set_permissions(directory, PermissionsExt::from_mode(0o755))?;
        let machine = Machine::new(&root, id, bits)?;
        let api = SocketAddr::from(([127, 0, 0, 1], ports::free()?));
        let place = Self { machine, port: ports::free()?, api, accounts: Accounts::of_this_machine()? };
        place.make_directories()?;
        place.write_access_files()?;
        Ok(place)
    }

    pub fn root(&self) -> &Path {
        &self.machine.root
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.root().join(path)
    }

    fn make_directories(&self) -> Result<()> {
        let Accounts { front, daemon, .. } = self.accounts;
        let front_rudder = front.map(|front| Account { user: front.user, group: RUDDER });
        let root_rudder = daemon.map(|_| Account { user: 0, group: RUDDER });
        let readers = front.map(|front| Account { user: 0, group: front.group });
        for (path, owner, mode) in [
            ("var/rudder/inventories", front_rudder, 0o750),
            ("var/rudder/inventories/incoming", front_rudder, 0o770),
            ("var/rudder/inventories/accepted-nodes-updates", front_rudder, 0o770),
            ("var/rudder/inventories/failed", front_rudder, 0o770),
            ("var/rudder/inventories/received", front_rudder, 0o770),
            ("var/rudder/reports/incoming", front_rudder, 0o770),
            ("var/rudder/reports/failed", front_rudder, 0o770),
            ("var/rudder/shared-files", daemon, 0o770),
            ("var/rudder/configuration-repository/shared-files", root_rudder, 0o2750),
            ("var/rudder/share", readers, 0o2750),
            ("var/rudder/lib/ssl/shared", root_rudder, 0o750),
            ("var/rudder/lib/relay", root_rudder, 0o750),
            ("opt/rudder/etc/relayd", root_rudder, 0o750),
            // Made by the package of relayd.
            ("var/rudder/relayd", daemon, 0o750),
        ] {
            fs::create_dir_all(self.path(path))?;
            own(&self.path(path), owner, mode)?;
        }
        Ok(())
    }

    fn write_access_files(&self) -> Result<()> {
        let etc = self.path("opt/rudder/etc");
        for (name, password) in [("htpasswd-webdav-initial", "rudder"), ("htpasswd-webdav", PASSWORD)] {
            let hash = Command::new("openssl").args(["passwd", "-apr1", password]).output()?.stdout;
            let line = format!("rudder:{}\n", String::from_utf8(hash)?.trim());
            fs::write(etc.join(name), line)?;
            let readers = self.accounts.front.map(|front| Account { user: 0, group: front.group });
            own(&etc.join(name), readers, 0o640)?;
        }
        fs::write(etc.join("rudder-networks-24.conf"), "Require ip 127.0.0.0/8\n")?;
        fs::write(etc.join("rudder-networks-policy-server-24.conf"), "Require ip 127.0.0.1 ::1\n")?;
        let command = self.path("opt/rudder/bin/rudder");
        fs::create_dir_all(self.path("opt/rudder/bin"))?;
        fs::write(&command, "#!/bin/sh\necho \"$@\"\n")?;
        Ok(fs::set_permissions(command, PermissionsExt::from_mode(0o755))?)
    }

    /// A file for the daemon.
    fn publish(&self, path: &str, content: &str) -> Result<()> {
        fs::write(self.path(path), content)?;
        own(&self.path(path), self.accounts.daemon.map(|_| Account { user: 0, group: RUDDER }), 0o640)
    }

    /// What the server application writes about these nodes, each with the id of its policy server; `upstream` is the
    /// server above this one.
    pub fn generate(&self, nodes: &[(&Machine, &str)], upstream: &Machine) -> Result<()> {
        let mut list = serde_json::Map::new();
        let (mut all, mut direct) = (String::new(), String::new());
        for (node, policy_server) in nodes {
            let hostname = format!("{}.example.com", node.id);
            let entry =
                json!({ "hostname": hostname, "key-hash": node.key_hash()?, "policy-server": policy_server });
            list.insert(node.id.clone(), entry);
            all += &(node.certificate()? + "\n");
            if *policy_server == self.machine.id {
                direct += &(node.certificate()? + "\n");
                self.write_policies(node)?;
            }
        }
        self.publish("var/rudder/lib/relay/nodeslist.json", &serde_json::to_string_pretty(&list)?)?;
        self.publish("var/rudder/lib/ssl/shared/allnodescerts.pem", &all)?;
        self.publish("var/rudder/lib/ssl/nodescerts.pem", &direct)?;
        self.publish("var/rudder/lib/ssl/policy_server.pem", &upstream.certificate()?)?;
        let common = self.path("var/rudder/share/common");
        fs::create_dir_all(&common)?;
        fs::write(common.join("policies-library-linux.tar.bz2"), "not looked into by anybody here")?;
        self.give_to_readers()
    }

    fn write_policies(&self, node: &Machine) -> Result<()> {
        let rules = self.path(&format!("var/rudder/share/{}/rules", node.id));
        fs::create_dir_all(rules.join("cfengine-community"))?;
        fs::write(rules.join("cfengine-community/promises.cf"), include_str!("promises.cf"))?;
        Ok(fs::write(rules.join("rudder.tar.bz2"), format!("policies of {}", node.id))?)
    }

    fn give_to_readers(&self) -> Result<()> {
        let Some(front) = self.accounts.front else { return Ok(()) };
        let share = self.path("var/rudder/share");
        let group = format!("root:{}", front.group);
        let done = Command::new("chown").args(["-R", &group]).arg(share).status()?;
        if done.success() { Ok(()) } else { Err("chown failed".into()) }
    }

    /// `main.conf` and `logging.conf`.
    pub fn configure(&self, main: &str) -> Result<()> {
        self.publish("opt/rudder/etc/relayd/main.conf", main)?;
        self.publish("opt/rudder/etc/relayd/logging.conf", "[general]\nlevel = \"info\"\nfilter = \"\"\n")
    }

    /// What existing policies write into `main.conf`: the sections that all servers have, and those of this role.
    pub fn deployed_configuration(&self, role: &str) -> String {
        let root = self.root().display();
        format!(
            r#"# This file is managed, local changes will be overwritten.
[general]
nodes_list_file = "{root}/var/rudder/lib/relay/nodeslist.json"
nodes_certs_file = "{root}/var/rudder/lib/ssl/shared/allnodescerts.pem"
node_id = "{id}"
listen = "{api}"
core_threads = 2
blocking_threads = 100
peer_authentication = "cert_pinning"

[processing.inventory.catchup]
frequency = 10
limit = 50

[processing.inventory.cleanup]
frequency = "10min"
retention = "1day"

[processing.reporting.catchup]
frequency = 10
limit = 0

[processing.reporting.cleanup]
frequency = "10min"
retention = "1day"

[remote_run]
command = "{root}/opt/rudder/bin/rudder"
use_sudo = false
enabled = true

[shared_files]
path = "{root}/var/rudder/shared-files/"

[shared_folder]
path = "{root}/var/rudder/configuration-repository/shared-files/"
{role}"#,
            id = self.machine.id,
            api = self.api,
        )
    }

    /// The sections that put relayd's own gateway in the place of the front (docs/migration.md).
    pub fn gateway_configuration(&self) -> Result<String> {
        // The key is root's alone: a copy for the daemon.
        let key = fs::read_to_string(self.path("var/rudder/cfengine-community/ppkeys/localhost.priv"))?;
        self.publish("opt/rudder/etc/relayd/gateway.key", &key)?;
        let root = self.root().display();
        Ok(format!(
            r#"
[gateway]
listen = "127.0.0.1:{port}"
certificate = "{root}/opt/rudder/etc/ssl/agent.cert"
key = "{root}/opt/rudder/etc/relayd/gateway.key"
basic_auth_user = "rudder"
basic_auth_password = "{PASSWORD}"
basic_auth_initial_password = "rudder"

[policies]
directory = "{root}/var/rudder/share"
published = "{root}/var/rudder/relayd/policies"
key_directory = "{root}/var/rudder/relayd/policy-key"
archives = "{root}/var/rudder/relayd/archives"
"#,
            port = self.port
        ))
    }

    /// Files in a directory, hidden ones too.
    pub fn files(&self, path: &str) -> Result<Vec<String>> {
        let mut names = fs::read_dir(self.path(path))?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    }
}

fn own(path: &Path, account: Option<Account>, mode: u32) -> Result<()> {
    if let Some(account) = account {
        chown(path, Some(account.user), Some(account.group))?;
    }
    Ok(fs::set_permissions(path, PermissionsExt::from_mode(mode))?)
}
