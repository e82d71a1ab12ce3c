// SPDX-License-Identifier: Apache-2.0
//! The machines of the demonstration.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use protocol::{compression, limits, node_id::NodeId, run_log, smime};
use tests::{Result, judge::Judge, node::Node, server::Server, site::Site, wait};

/// The version of the policy, as the agents learn it.
const CONFIG_ID: &str = "20260102-030405-5f3a9c1e";

/// All machines. Fields are dropped in this order: processes before their files.
pub struct Stage {
    /// The root.
    pub root: Server,
    /// The relay below it.
    pub relay: Server,
    nodes: Vec<Node>,
    policy: PathBuf,
    last_run: u64,
    site: Site,
}

impl Stage {
    /// Makes keys, certificates, directories and configurations; starts nothing.
    pub fn set(nodes: usize) -> Result<Self> {
        let mut site = Site::new()?;
        let relay = site.add_relay(&site.root_id().clone())?;
        let directories: Vec<_> = (1..=nodes).map(|n| site.directory().join(format!("node{n}"))).collect();
        let nodes = std::thread::scope(|scope| {
            let threads: Vec<_> = directories.iter().map(|d| scope.spawn(|| Node::init(d, &[]))).collect();
            threads
                .into_iter()
                .map(|t| t.join().map_err(|_| "agent init panicked")?)
                .collect::<Result<Vec<_>>>()
        })?;
        for node in &nodes {
            site.fleet().add(node.identity(), &relay.node_id);
        }
        let root = site.prepare_root(site.sqlite())?;
        let relay = site.prepare_relay(&relay, &root, root.gateway().port())?;
        for node in &nodes {
            node.configure(relay.gateway().port(), relay.key_hash(), CONFIG_ID)?;
        }
        let policy = site.directory().join("policy.sh");
        fs::write(&policy, include_str!("policy.sh"))?;
        Ok(Self { root, relay, nodes, policy, last_run: 0, site })
    }

    /// Names and ids of the nodes.
    pub fn names(&self) -> Vec<(String, NodeId)> {
        self.nodes
            .iter()
            .enumerate()
            .map(|(n, node)| (format!("node{}", n + 1), node.node_id().clone()))
            .collect()
    }

    /// A run is known by the second in which it starts: waits until that of the last runs is over.
    pub fn wait_next_second(&mut self) -> Result<()> {
        let last = self.last_run;
        wait::until_true("the next second", Duration::from_secs(5), || Ok(now()? > last))
    }

    /// One run of a node: applies the policy, claims the run log, sends it. Says how it went.
    pub fn run_node(&mut self, number: usize, judge: &mut Judge) -> Result<String> {
        let node = &self.nodes[number];
        let place = self.site.directory().join(format!("managed{}", number + 1));
        let policy = ["sh", &self.policy.display().to_string(), &place.display().to_string()];
        let run = node.run(&policy)?;
        self.last_run = now()?;
        let [name] = &node.outbox()?[..] else {
            return Err(format!("node{}: {}", number + 1, String::from_utf8_lossy(&run.stderr)).into());
        };
        let packed = node.outbox_file(name)?;
        let signed = compression::unpack(&packed, name.compression(), limits::RUN_LOG_INFLATED)?;
        let said = smime::verify(&signed, std::slice::from_ref(&node.identity().certificate))?;
        let log = run_log::parse(&said.text, node.node_id())?;
        judge.claim_run(name.run_id(), log.reports.len());
        let sent = node.send()?;
        if !sent.status.success() {
            return Err(format!("node{}: {}", number + 1, String::from_utf8_lossy(&sent.stderr)).into());
        }
        judge.acknowledge(name.run_id());
        let count = |kind: &str| log.reports.iter().filter(|report| report.event_type == kind).count();
        Ok(format!(
            "node{}: run of {}: {} in order, {} repaired, {} in error; uploaded {} bytes",
            number + 1,
            name.run_id().start.format("%H:%M:%S"),
            count("result_success") + count("audit_compliant"),
            count("result_repaired"),
            count("result_error"),
            packed.len()
        ))
    }

    /// Somebody changes what the policy manages.
    pub fn tamper(&self) -> Result<()> {
        Ok(fs::write(self.site.directory().join("managed2/web.conf"), "listen = 0.0.0.0:80\n")?)
    }

    /// Waits until everything acknowledged is stored.
    pub fn wait_stored(&mut self, judge: &Judge, limit: Duration) -> Result<()> {
        let database = self.root.database()?.clone();
        let waited = wait::until_true("the root to store everything", limit, || {
            let verdict = judge.verdict(&database)?;
            Ok(verdict.lost == 0)
        });
        waited.map_err(|e| {
            format!("{e}\nroot:\n{}\nrelay:\n{}", self.root.log_end(), self.relay.log_end()).into()
        })
    }

    /// Stops everything and removes it.
    pub fn clear(mut self) -> Result<()> {
        for server in [&mut self.relay, &mut self.root] {
            let status = server.stop()?;
            if !status.success() {
                return Err(format!("relayd ended with {status}:\n{}", server.log_end()).into());
            }
        }
        Ok(())
    }

    /// Leaves the servers running, and says how to look around.
    pub fn leave_running(mut self) -> Result<String> {
        let directory = self.site.keep();
        let base = directory.display();
        let node1 = directory.join("node1");
        let programs = tests::programs::find("relayd")?;
        let programs = programs.parent().ok_or("no directory")?.display();
        let pids: Vec<_> = [self.root.leave()?, self.relay.leave()?].iter().map(u32::to_string).collect();
        Ok(format!(
            "
Root and relay keep running, in {base}. Look around:

  curl -s http://{root_api}/rudder/relay-api/1/system/status
  curl -s http://{relay_api}/metrics | grep rudder_
  sqlite3 {base}/relayd.db \"SELECT nodeid, eventtype, component, msg FROM ruddersysevents WHERE eventtype IN ('result_error', 'log_warn')\"
  sqlite3 {base}/relayd.db 'SELECT nodeid, date, nodeconfigid FROM reportsexecution ORDER BY date'
  openssl s_client -connect {gateway} -tls1_3 -cert {cert} -key {key} </dev/null 2>/dev/null | openssl x509 -noout -subject
  curl -k --cert {cert} --key {key} https://{gateway}/uuid
  {programs}/agent --root {node1} run --send -- sh {policy} {base}/managed1
  {programs}/agent --root {node1} status
  {programs}/relayd --config {base}/root/etc spool list
  tail {base}/root/relayd.log

Stop and remove it:

  kill {pids}; rm -r {base}",
            root_api = self.root.api(),
            relay_api = self.relay.api(),
            gateway = self.relay.gateway(),
            cert = node1.join("opt/rudder/etc/ssl/agent.cert").display(),
            key = node1.join("var/rudder/cfengine-community/ppkeys/localhost.priv").display(),
            node1 = node1.display(),
            policy = self.policy.display(),
            pids = pids.join(" "),
        ))
    }
}

fn now() -> Result<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())
}
