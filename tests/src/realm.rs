// SPDX-License-Identifier: Apache-2.0
//! A site whose trust relayd runs itself: the root keeps the registry, relays learn from above which nodes
//! there are, machines enrol and an operator accepts them. Nobody writes a node list.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use protocol::node_id::NodeId;
use serde_json::Value;

use crate::{
    Result,
    client::connector,
    enrolment::{Newcomer, identity_seen},
    identity::{Identity, Keys},
    server::{DatabaseUrl, Server},
    site::Site,
    wait,
};

/// A root with its registry. Declare it before its relays: its directory goes last.
#[derive(Debug)]
pub struct Realm {
    /// The root.
    pub root: Server,
    site: Site,
}

/// How long a decision may take to reach a policy server, with some reserve for a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

impl Realm {
    /// A running root on SQLite.
    pub fn start() -> Result<Self> {
        let mut realm = Self::prepare()?;
        realm.root.start()?;
        Ok(realm)
    }

    /// A root on SQLite, not started.
    pub fn prepare() -> Result<Self> {
        let site = Site::new()?;
        let database = site.sqlite();
        Self::on(site, database)
    }

    /// A root on a database, not started.
    pub fn on(site: Site, database: DatabaseUrl) -> Result<Self> {
        let mut root = site.prepare_root(database)?;
        root.know_nodes_from("database")?;
        root.set("gateway.uploads_per_minute", "1000000");
        Ok(Self { root, site })
    }

    /// Enrols a relay at `above`, accepts it and starts it.
    pub fn relay(&self, above: &Server) -> Result<Server> {
        let identity = Identity::random(Keys::P256)?;
        let mut relay = self.relay_of(&identity, above, above.gateway().port())?;
        relay.start()?;
        Ok(relay)
    }

    /// Enrols a relay at `above` and accepts it; it would reach its upstream through `port`. Not started.
    pub fn relay_of(&self, identity: &Identity, above: &Server, port: u16) -> Result<Server> {
        let newcomer = Newcomer { as_relay: true, ..Newcomer::new(identity, "localhost") };
        expect_state(&newcomer.ask(above.gateway(), above.key_hash())?, "pending")?;
        self.operator(&["node", "accept", "--relay", identity.node_id.as_str()])?;
        wait_known(above, identity)?;
        let mut relay = self.site.prepare_relay(identity, above, port)?;
        relay.know_nodes_from("upstream")?;
        relay.set("gateway.uploads_per_minute", "1000000");
        Ok(relay)
    }

    /// A new machine that enrolled at `at` and was accepted; `at` knows it.
    pub fn machine(&self, at: &Server, keys: Keys) -> Result<Identity> {
        Ok(self.machines(at, keys, 1)?.remove(0))
    }

    /// As [`Realm::machine`], many at once.
    pub fn machines(&self, at: &Server, keys: Keys, count: usize) -> Result<Vec<Identity>> {
        let machines = Identity::many(count, keys)?;
        for machine in &machines {
            let newcomer = Newcomer::new(machine, "machine.example.com");
            expect_state(&newcomer.ask(at.gateway(), at.key_hash())?, "pending")?;
        }
        for some in machines.chunks(500) {
            let ids = some.iter().map(|machine| machine.node_id.as_str());
            self.operator(&["node", "accept"].into_iter().chain(ids).collect::<Vec<_>>())?;
        }
        for machine in &machines {
            wait_known(at, machine)?;
        }
        Ok(machines)
    }

    /// A command of the operator at the root.
    pub fn operator(&self, arguments: &[&str]) -> Result<String> {
        self.root.command(arguments)
    }

    /// What `relayd node show` says of a node.
    pub fn node(&self, node: &NodeId) -> Result<Value> {
        let text = self.operator(&["node", "show", node.as_str(), "--json"])?;
        serde_json::from_str(&text).map_err(|e| format!("node show --json: {e}: {text}").into())
    }

    /// What `relayd node list` says of a node, by its id whatever names there are.
    pub fn listed(&self, node: &NodeId) -> Result<Value> {
        for line in self.operator(&["node", "list", "--json"])?.lines() {
            let listed: Value = serde_json::from_str(line)?;
            if listed["node_id"] == node.as_str() {
                return Ok(listed);
            }
        }
        Err(format!("{node} is not listed").into())
    }

    /// Tokens for `count` machines of this name, in which `{n}` counts.
    pub fn tokens(&self, host: &str, count: usize) -> Result<Vec<String>> {
        let count = count.to_string();
        let made =
            self.operator(&["token", "create", "--host", host, "--expires", "1h", "--count", &count])?;
        Ok(made.lines().map(str::to_owned).collect())
    }

    /// Where everything is.
    pub fn directory(&self) -> &Path {
        self.site.directory()
    }

    /// The root's own identity.
    pub fn root_identity(&self) -> &Identity {
        self.site.root()
    }
}

/// Waits until a policy server knows a machine by its key.
pub fn wait_known(server: &Server, machine: &Identity) -> Result<()> {
    wait_status(server, machine, 200).map(drop)
}

/// Waits until a policy server does not know a machine (any more), and gives how long that took.
pub fn wait_unknown(server: &Server, machine: &Identity) -> Result<Duration> {
    // A key that is not on the list any more belongs to a stranger: 403.
    wait_status(server, machine, 403)
}

fn wait_status(server: &Server, machine: &Identity, wanted: u16) -> Result<Duration> {
    let connector = connector(machine, server.key_hash())?;
    let start = Instant::now();
    let title = format!("{} to learn of {}", server.node_id(), machine.node_id);
    wait::until_true(&title, PATIENCE, || {
        let reply = identity_seen(server.gateway(), &connector)?;
        Ok(reply.status == wanted)
    })
    .map_err(|e| format!("{e}\n{}", server.log_end()))?;
    Ok(start.elapsed())
}

/// An error unless the answer to a request says this state.
pub fn expect_state(reply: &crate::client::Reply, state: &str) -> Result<()> {
    match reply.json()?["state"].as_str() {
        Some(said) if said == state => Ok(()),
        _ => Err(format!("wanted {state}: {} {}", reply.status, String::from_utf8_lossy(&reply.body)).into()),
    }
}
