// SPDX-License-Identifier: Apache-2.0
//! Each feature once, from the agent to what the root keeps.

use std::{fs, path::Path};

use diesel::{Connection, PgConnection, QueryableByName, RunQueryDsl, sql_query, sql_types::BigInt};
use tests::{Result, inventory, judge::sqlite, node::Node, server::DatabaseUrl, wait};

use super::{NODES, World};
use crate::installed::{AGENT, PATIENCE};

impl World {
    /// Signed, uploaded, over the relay as well, stored.
    pub(super) fn run_logs_are_stored(&self, database: &DatabaseUrl) -> Result<()> {
        for node in [0, 1] {
            // A copy may be of no use, as below.
            let before = wait::until("the runs before", PATIENCE, || runs(database).map(Some))?;
            self.agent(node, "run --send -- /bin/echo done")?;
            wait::until_true("the run in the database", PATIENCE, || Ok(runs(database)? > before))
                .map_err(|e| format!("run log of node {node}: {e}\n{}", self.logs()))?;
        }
        Ok(())
    }

    /// Pushed with curl, as the agents of others do; over the relay as well.
    pub(super) fn inventories_are_taken(&self) -> Result<()> {
        for (node, port) in [(0, 443), (1, 8443)] {
            let root = self.installed.debian.path(NODES[node]);
            let machine = Node::load(&root)?;
            let inventory = inventory::of(machine.identity(), "node.example.com", "root")?;
            let files =
                [(&inventory.signature_name, &inventory.signature), (&inventory.name, &inventory.content)];
            for (name, content) in files {
                fs::write(root.join(name), content)?;
                let directory = NODES[node];
                let put = format!(
                    "curl -sSfgk --cert {directory}/opt/rudder/etc/ssl/agent.cert \
                     --key {directory}/var/rudder/cfengine-community/ppkeys/localhost.priv \
                     -T {directory}/{name} 'https://[::1]:{port}/inventory-updates/'"
                );
                self.installed.sh(&put).map_err(|e| format!("{e}\n{}", self.logs()))?;
            }
            let received = format!("/var/rudder/inventories/received/{}.ocs.gz", self.nodes[node]);
            let received = self.installed.debian.path(received);
            wait::until_true("the inventory", PATIENCE, || Ok(received.is_file()))
                .map_err(|e| format!("inventory of node {node}: {e}\n{}", self.logs()))?;
        }
        Ok(())
    }

    /// Signed and published here, fetched through the relay's cache as well.
    pub(super) fn policies_are_served(&self) -> Result<()> {
        let [one, two] = &self.nodes;
        self.installed
            .debian
            .write("/srv/policies/rudder.json", "{\n  \"RUDDER_NODE_CONFIG_ID\" : \"one\"\n}\n")?;
        self.installed.debian.write("/srv/policies/policy.sh", "echo policy\n")?;
        self.installed.operator("policy key init")?;
        self.installed
            .operator(&format!("policy publish /srv/policies --node {one} --node {two} --activate"))?;
        let key = self.installed.operator("policy key export")?;
        for (node, directory) in NODES.iter().enumerate() {
            self.installed.debian.write(format!("{directory}/policy_key.pem"), &key)?;
            self.agent(node, &format!("trust policy-key {directory}/policy_key.pem"))?;
            self.agent(node, "update")?;
            let file = format!("{directory}/var/rudder/cfengine-community/inputs/policy.sh");
            assert_eq!(fs::read_to_string(self.installed.debian.path(file))?, "echo policy\n");
        }
        Ok(())
    }

    /// From node to node over the relay, and from the server to all.
    pub(super) fn files_are_shared(&self) -> Result<()> {
        let [one, two] = &self.nodes;
        let content = "from one to the other\n".repeat(10_000);
        self.installed.debian.write("/srv/file", &content)?;
        for (from, to, ids) in [(0, 1, (one, two)), (1, 0, (two, one))] {
            self.agent(from, &format!("share put {} /srv/file --id file", ids.1))?;
            self.agent(to, &format!("share get {}/file -o /srv/file-of-{from}", ids.0))?;
            let received = self.installed.debian.path(format!("/srv/file-of-{from}"));
            assert_eq!(fs::read_to_string(received)?, content);
        }
        let folder = "/var/rudder/configuration-repository/shared-files";
        self.installed.debian.write(format!("{folder}/hello"), "hello\n")?;
        for node in [0, 1] {
            self.agent(node, &format!("share folder-get hello -o /srv/hello-{node}"))?;
            let received = self.installed.debian.path(format!("/srv/hello-{node}"));
            assert_eq!(fs::read_to_string(received)?, "hello\n");
        }
        Ok(())
    }

    /// An agent that is a service of its own, with the packaged unit but for its command line.
    pub(super) fn runs_are_triggered(&self) -> Result<()> {
        let directory = NODES[0];
        let settings =
            "policy_command = [\"/bin/echo\", \"triggered\"]\nrun_interval = \"7d\"\nupdate = false\n";
        self.installed.debian.write(format!("{directory}/opt/rudder/etc/relayd-agent.conf"), settings)?;
        let settings_file = "/opt/rudder/etc/relayd-agent.conf";
        let unit = crate::installed::packaged("relayd-agent.service")?
            .replace(
                &format!("ExecStart={AGENT} daemon"),
                &format!("ExecStart={AGENT} --root {directory} daemon"),
            )
            .replace(settings_file, &format!("{directory}{settings_file}"));
        assert!(unit.contains(directory), "the unit has changed: {unit}");
        self.installed.debian.write("/etc/systemd/system/node1.service", unit)?;
        self.installed.sh("systemctl daemon-reload && systemctl start node1.service")?;
        let metrics = "curl -sg 'http://[::1]:3030/metrics' | grep '^relayd_trigger_connections '";
        self.wait_output("the connection of the agent", metrics, "relayd_trigger_connections 1")?;
        let said = self.installed.operator(&format!("run id:{}", self.nodes[0]));
        let said = said.map_err(|e| format!("{e}\n{}", self.logs()))?;
        assert!(said.contains("triggered") && said.contains("1 succeeded"), "{said}");
        let status = self.installed.sh("systemctl show --value --property StatusText node1.service")?;
        assert!(status.starts_with("next run at "), "{status}");
        self.installed.sh("systemctl stop node1.service").map(drop)
    }
}

/// SQLite does not open what is seen through /proc. A copy of a moment when a page is half-written is of no use: the
/// next one is.
fn copy(file: &Path, directory: &Path) -> Result<DatabaseUrl> {
    let target = directory.join("copy.db");
    for suffix in ["", "-wal"] {
        let with = |path: &Path| format!("{}{suffix}", path.display());
        match fs::copy(with(file), with(&target)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e.into()),
            _ => {}
        }
    }
    Ok(DatabaseUrl::Sqlite(target))
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    count: i64,
}

fn runs(database: &DatabaseUrl) -> Result<i64> {
    let directory = tempfile::tempdir()?;
    let query = sql_query("SELECT count(*) AS count FROM reportsexecution");
    let count: Count = match database {
        DatabaseUrl::Postgres(url) => query.get_result(&mut PgConnection::establish(url)?)?,
        DatabaseUrl::Sqlite(file) => query.get_result(&mut sqlite(&copy(file, directory.path())?)?)?,
    };
    Ok(count.count)
}
