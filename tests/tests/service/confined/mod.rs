// SPDX-License-Identifier: Apache-2.0
//! A root and a relay under the restrictions of the unit, at the default paths, over IPv6, through all features.
//!
//! The relay is a second service from the same unit file, with another configuration and all its places below
//! those of the unit.

mod features;
mod refused;

use std::{fs, path::Path, process::Command};

use protocol::{hash::KeyHash, node_id::NodeId};
use tests::{
    Result,
    debian::Debian,
    postgres::{Durability, Postgres},
    server::DatabaseUrl,
    wait,
};

use crate::installed::{AGENT, DAEMON, Installed, KEY, PATIENCE, UNIT, identity_of_root, packaged};

const RELAY: &str = "relayd-relay.service";
/// Where the socket of PostgreSQL is.
const POSTGRES: &str = "/srv/postgresql";

const ROOT: &str = "\
[general]
listen = \"[::1]:3030\"
[nodes]
source = \"database\"
[gateway]
listen = [\"[::]:443\", \"[::1]:8444\"]
key = \"credential:agent.key\"
[processing.reporting]
output = \"database\"
[processing.reporting.catchup]
frequency = \"1s\"
[processing.inventory]
output = \"registry\"
[remote_run]
command = \"\"
[triggers]
wait = \"1s\"
";

fn relay(root: &KeyHash) -> String {
    format!(
        "\
[general]
node_id_file = \"/srv/relay/opt/rudder/etc/uuid.hive\"
listen = \"unix:/run/relayd-relay/api.sock\"
nodes_list_file = \"/var/rudder/lib/relay/relay.json\"
nodes_certs_file = \"/var/rudder/lib/ssl/shared/relay.pem\"
[nodes]
source = \"upstream\"
[gateway]
listen = \"[::1]:8443\"
certificate = \"/srv/relay/opt/rudder/etc/ssl/agent.cert\"
key = \"credential:relay.key\"
[processing.reporting]
directory = \"/var/rudder/reports/relay\"
output = \"upstream\"
[processing.inventory]
directory = \"/var/rudder/inventories/relay\"
output = \"upstream\"
[output.upstream]
host = \"::1\"
server_key_hashes = [\"{root}\"]
client_certificate = \"/srv/relay/opt/rudder/etc/ssl/agent.cert\"
client_key = \"credential:relay.key\"
[policies]
directory = \"/var/rudder/share/relay\"
published = \"/var/rudder/relayd/relay-policies\"
archives = \"/var/rudder/relayd/relay-archives\"
[policies.cache]
directory = \"/var/rudder/relayd/relay-cache\"
[shared_files]
path = \"/var/rudder/shared-files/relay\"
"
    )
}

/// The machine with its services, and a node at each server.
struct World {
    installed: Installed,
    /// Below the root, and below the relay.
    nodes: [NodeId; 2],
}

const NODES: [&str; 2] = ["/srv/node1", "/srv/node2"];

impl World {
    /// A root on SQLite, a relay, and their nodes.
    fn start(postgres: &Postgres) -> Result<Option<Self>> {
        let mut root = None;
        let booted = Installed::boot(|debian| {
            let identity = identity_of_root(debian)?;
            debian.write("/opt/rudder/etc/relayd/main.conf", ROOT)?;
            debian.write("/srv/relay-etc/main.conf", relay(&identity.key_hash()))?;
            let credential = format!("[Service]\nLoadCredential=agent.key:{KEY}\n");
            debian.write(format!("/etc/systemd/system/{UNIT}.d/credential.conf"), credential)?;
            debian.write(format!("/etc/systemd/system/{RELAY}"), unit_of_the_relay()?)?;
            // Open to all, so that only the restrictions of the unit keep the daemon out.
            debian.run("install", &["-d", "-m", "1777", "/srv/open", POSTGRES])?;
            let places = "/var/rudder/reports/relay /var/rudder/inventories/relay /var/rudder/share/relay";
            debian.run("sh", &["-c", &format!("install -d -o rudder-relayd -g rudder {places}")])?;
            share_socket(debian, postgres)?;
            root = Some(identity.key_hash());
            Ok(())
        })?;
        let (Some(installed), Some(root)) = (booted, root) else { return Ok(None) };
        installed.machine.run("systemctl", &["start", "relayd-gateway.socket"])?;
        installed.systemctl("start")?;
        let nodes = Self::enroll(&installed, &root)?;
        Ok(Some(Self { installed, nodes }))
    }

    /// The relay, then a node at each.
    fn enroll(installed: &Installed, root: &KeyHash) -> Result<[NodeId; 2]> {
        let agent = |directory: &str, rest: &str| {
            installed
                .sh(&format!("{AGENT} --root {directory} {rest}"))
                .map_err(|e| format!("{e}\n{}", installed.log()))
        };
        agent("/srv/relay", "init --key p256")?;
        let enroll = format!("enroll --server ::1 --pin {root} --hostname localhost");
        agent("/srv/relay", &format!("{enroll} --as-relay --no-wait || [ $? = 4 ]"))?;
        let relay = node_id(installed, "/srv/relay")?;
        installed.operator(&format!("node accept --relay {relay}"))?;
        agent("/srv/relay", "enroll --wait 30s")?;
        if let Err(e) = installed.machine.run("systemctl", &["start", RELAY]) {
            return Err(format!("{e}\n{}", installed.machine.journal(RELAY)?).into());
        }

        let certificate = installed.debian.path("/srv/relay/opt/rudder/etc/ssl/agent.cert");
        let certificate = protocol::certificate::Certificate::from_pem(&fs::read(certificate)?)?;
        let servers = [("[::1]:8444", root.clone()), ("[::1]:8443", certificate.key_hash())];
        for (directory, (server, pin)) in NODES.iter().zip(servers) {
            let host = format!("{}.example.com", &directory[5..]);
            let token = installed.operator(&format!("token create --host {host}"))?;
            installed.debian.write(format!("{directory}/token"), token)?;
            agent(directory, "init --key p256")?;
            agent(
                directory,
                &format!(
                    "enroll --server '{server}' --pin {pin} --token-file {directory}/token --hostname {host} --wait 30s"
                ),
            )?;
        }
        Ok([node_id(installed, NODES[0])?, node_id(installed, NODES[1])?])
    }

    /// A command of the agent of a node.
    fn agent(&self, node: usize, arguments: &str) -> Result<String> {
        let done = self.installed.sh(&format!("{AGENT} --root {} {arguments}", NODES[node]));
        done.map_err(|e| format!("agent {arguments}: {e}\n{}", self.logs()).into())
    }

    fn logs(&self) -> String {
        let relay = self.installed.machine.journal(RELAY).unwrap_or_default();
        format!("{}\n{relay}", self.installed.log())
    }

    /// Waits until a line of the shell succeeds and prints this.
    fn wait_output(&self, what: &str, line: &str, wanted: &str) -> Result<()> {
        let mut last = String::new();
        wait::until_true(what, PATIENCE, || {
            let output = self.installed.try_sh(line)?;
            last = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
            Ok(output.status.success() && last.contains(wanted))
        })
        .map_err(|e| format!("{e}: {line}: {last}\n{}", self.logs()).into())
    }
}

fn node_id(installed: &Installed, directory: &str) -> Result<NodeId> {
    let file = installed.debian.path(format!("{directory}/opt/rudder/etc/uuid.hive"));
    Ok(fs::read_to_string(file)?.trim().parse()?)
}

/// The unit of the daemon, with another command line and its own runtime directory.
fn unit_of_the_relay() -> Result<String> {
    let key = "/srv/relay/var/rudder/cfengine-community/ppkeys/localhost.priv";
    let unit = packaged("rudder-relayd.service")?
        .replace(
            &format!("ExecStart={DAEMON}\n"),
            &format!("ExecStart={DAEMON} --config /srv/relay-etc\nLoadCredential=relay.key:{key}\n"),
        )
        .replace("RuntimeDirectory=relayd\n", "RuntimeDirectory=relayd-relay\n")
        .replace("Alias=relayd.service\n", "");
    assert!(unit.contains("/srv/relay-etc") && unit.contains("relayd-relay"), "the unit has changed: {unit}");
    Ok(unit)
}

/// Lets the machine see the socket of a cluster of this one.
fn share_socket(debian: &Debian, postgres: &Postgres) -> Result<()> {
    let target = debian.mounted().join(POSTGRES.trim_start_matches('/'));
    let mut mount: Command = debian.beside("mount");
    let done = mount.arg("--bind").arg(postgres.socket_directory()).arg(target).output()?;
    if done.status.success() { Ok(()) } else { Err(format!("mount: {done:?}").into()) }
}

#[test]
fn root_and_relay_do_everything_within_the_restrictions_of_the_unit() -> Result<()> {
    let postgres = Postgres::start_new(Durability::Fast)?;
    let stored = postgres.create_database("confined")?;
    let Some(world) = World::start(&postgres)? else { return Ok(()) };

    world.is_confined()?;
    world.run_logs_are_stored(&world.sqlite())?;
    world.inventories_are_taken()?;
    world.policies_are_served()?;
    world.files_are_shared()?;
    world.runs_are_triggered()?;
    world.installed.systemctl("reload")?;

    let url = format!("postgres://rudder@localhost/confined?host={POSTGRES}&port={}", postgres.port());
    // The registry stays behind, with the files that it has written.
    let files =
        ROOT.replace("source = \"database\"", "source = \"files\"").replace("\"registry\"", "\"disabled\"");
    let main = format!("{files}[output.database]\nurl = \"{url}\"\n");
    world.installed.debian.write("/opt/rudder/etc/relayd/main.conf", main)?;
    world.installed.systemctl("restart")?;
    world.run_logs_are_stored(&stored)?;

    world.writes_elsewhere_are_refused()?;
    world.the_kernel_is_out_of_reach()?;
    assert_eq!(world.installed.property("NRestarts")?, "0", "{}", world.logs());
    world.installed.machine.power_off()
}

impl World {
    fn sqlite(&self) -> DatabaseUrl {
        DatabaseUrl::Sqlite(self.installed.debian.path(Path::new("/var/rudder/relayd/relayd.db")))
    }
}
