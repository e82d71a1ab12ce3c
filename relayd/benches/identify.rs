// SPDX-License-Identifier: Apache-2.0
//! What it costs to know a client by its certificate, with few nodes in the table and with many, by
//! processor time. Both are look-ups: what they cost must not grow with the table.
//!
//! ```text
//! cargo bench -p relayd --bench identify
//! ```

use std::{hint::black_box, time::Duration};

use protocol::{
    certificate::Certificate,
    hash::KeyHash,
    node_id::NodeId,
    node_list::{NodeEntry, NodeList},
    private_key::{self, KeyKind},
};
use relayd::nodes::NodeTable;
use rustix::time::{ClockId, clock_gettime};

const FEW: usize = 500;
const MANY: usize = 50_000;
/// Nodes that ask, one after the other: more than fit into the nearest cache together with the table.
const CLIENTS: usize = 256;
const ROUND: Duration = Duration::from_millis(300);
const ROUNDS: usize = 5;

fn main() {
    let clients: Vec<Certificate> = (0..CLIENTS).map(certificate).collect();
    println!("{:<44} {:>12}", "", "ns per client");
    let mut times = Vec::new();
    for nodes in [FEW, MANY] {
        let table = table(&clients, nodes);
        assert!(clients.iter().all(|client| table.identify(client).is_some() && table.admits(client)));
        let identify = best(&clients, |client| table.identify(client).is_some());
        let admit = best(&clients, |client| table.admits(client));
        println!("{:<44} {:>12.0}", format!("identify, {nodes} nodes"), identify * 1e9);
        println!("{:<44} {:>12.0}", format!("admit to a handshake, {nodes} nodes"), admit * 1e9);
        times.push((identify, admit));
    }
    let [few, many] = [times[0], times[1]];
    println!(
        "with {} times the nodes: {:.2} and {:.2} times the time",
        MANY / FEW,
        many.0 / few.0,
        many.1 / few.1
    );
}

fn certificate(number: usize) -> Certificate {
    let key = private_key::generate(KeyKind::P256).expect("a key");
    private_key::self_signed(&key, &id(number)).expect("a certificate")
}

fn id(number: usize) -> NodeId {
    format!("{number:08x}-93c7-4ab1-8d5e-0c6a1f7b2d34").parse().expect("a node id")
}

/// A table with these clients spread over it; the others have keys as well.
fn table(clients: &[Certificate], nodes: usize) -> NodeTable {
    let spacing = nodes / clients.len();
    let entry = |number: usize| {
        let client = clients.get(number / spacing).filter(|_| number.is_multiple_of(spacing));
        let node = client.and_then(Certificate::node_id).cloned().unwrap_or_else(|| id(CLIENTS + number));
        let hash = match client {
            Some(client) => client.key_hash(),
            None => KeyHash::sha256_of(&number.to_le_bytes()),
        };
        let entry = NodeEntry {
            hostname: format!("{node}.example.org"),
            key_hash: Some(hash),
            other_key_hashes: Vec::new(),
            policy_server: NodeId::root(),
            is_relay: false,
        };
        (node, entry)
    };
    NodeTable::new((0..nodes).map(entry).collect::<NodeList>(), Vec::new())
}

/// Seconds of processor time for one client, in the best of some rounds.
fn best(clients: &[Certificate], call: impl Fn(&Certificate) -> bool) -> f64 {
    let round = || {
        let (start, mut calls) = (cpu_time(), 0u32);
        while cpu_time() - start < ROUND {
            for client in clients {
                black_box(call(black_box(client)));
            }
            calls += clients.len() as u32;
        }
        (cpu_time() - start).as_secs_f64() / f64::from(calls)
    };
    (0..ROUNDS).map(|_| round()).fold(f64::INFINITY, f64::min)
}

/// Processor time of this thread: what else runs on the machine counts little.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).expect("processor time is positive")
}
