// SPDX-License-Identifier: Apache-2.0
//! The open connections of nodes, and the end of those whose node is known no more.
//!
//! With each new node table, every connection that was a node's is asked again who it is. Those
//! whose answer has changed are closed, with the request under way on them; the others are not
//! touched. Nobody is missed: a connection is entered with the table that is the newest while the
//! entries are locked, and each newer table is held against all that is entered by then.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use prometheus::IntCounter;
use protocol::{hash::KeyHash, node_id::NodeId};
use tokio_util::sync::CancellationToken;

use super::client::{Client, Peer};
use crate::{
    config::ClientTrust,
    nodes::{NodeTable, Nodes},
};

/// The connections of peers that showed a certificate.
pub struct OpenConnections {
    nodes: Nodes,
    trust: ClientTrust,
    entries: Mutex<Entries>,
    closed: IntCounter,
}

#[derive(Default)]
struct Entries {
    last: u64,
    /// How often all were closed.
    closures: u64,
    open: HashMap<u64, Arc<Entry>>,
}

struct Entry {
    peer: Arc<Peer>,
    /// Of the key that it showed.
    key_hash: KeyHash,
    /// The node that it was when last asked.
    node: Mutex<Option<NodeId>>,
    revoked: CancellationToken,
}

/// A connection that is entered, until dropped.
pub struct Entered {
    connections: Arc<OpenConnections>,
    number: u64,
    revoked: CancellationToken,
}

impl OpenConnections {
    /// None so far; `closed` counts those that were closed from here.
    pub fn new(nodes: Nodes, trust: ClientTrust, closed: IntCounter) -> Self {
        Self { nodes, trust, entries: Mutex::default(), closed }
    }

    /// How often all were closed so far: to be asked before a handshake begins.
    pub fn closures(&self) -> u64 {
        self.lock().closures
    }

    /// Enters a connection whose handshake began after so many closures; `None` for a peer that showed
    /// nothing by which to know it.
    pub fn enter(self: &Arc<Self>, peer: &Arc<Peer>, closures: u64) -> Option<Entered> {
        let key_hash = peer.certificate()?.key_hash();
        let revoked = CancellationToken::new();
        let mut entries = self.lock();
        if entries.closures != closures {
            // The authorities that were asked in its handshake may not count any more.
            revoked.cancel();
        }
        let node = self.node_of(peer, &self.nodes.borrow());
        entries.last += 1;
        let number = entries.last;
        let entry = Entry { peer: peer.clone(), key_hash, node: Mutex::new(node), revoked: revoked.clone() };
        entries.open.insert(number, Arc::new(entry));
        Some(Entered { connections: self.clone(), number, revoked })
    }

    /// Watches for new tables, for as long as there may be one.
    pub async fn watch(self: Arc<Self>) {
        let mut nodes = self.nodes.clone();
        nodes.mark_changed();
        while nodes.changed().await.is_ok() {
            let connections = self.clone();
            // Milliseconds for many connections: not on an async thread.
            if let Err(error) = tokio::task::spawn_blocking(move || connections.close_revoked()).await {
                // It panicked: who was revoked has no rights on what is still open anyway.
                tracing::error!(%error, "connections of revoked nodes could not be closed; this is a bug");
            }
        }
    }

    /// Closes all: whoever it is has to show that anew.
    pub fn close_all(&self) {
        let mut closed = 0;
        let mut entries = self.lock();
        entries.closures += 1;
        for entry in entries.open.values() {
            if !entry.revoked.is_cancelled() {
                self.closed.inc();
                closed += 1;
                entry.revoked.cancel();
            }
        }
        tracing::info!(
            connections = closed,
            "other authorities say who clients are; closed the connections of all"
        );
    }

    fn close_revoked(&self) {
        // Not locked while asking: handshakes go on meanwhile.
        let open: Vec<_> = self.lock().open.values().cloned().collect();
        // Only now: those entered meanwhile may have been entered with a newer one than was there before.
        let table = self.nodes.borrow().clone();
        let mut closed = 0_u64;
        for entry in open {
            let mut node = entry.node.lock().unwrap_or_else(PoisonError::into_inner);
            if node.as_ref().is_some_and(|node| self.is_plainly(node, &entry, &table)) {
                continue;
            }
            let now = self.node_of(&entry.peer, &table);
            if node.is_some() && *node != now {
                // Counted first: whoever sees the connection end finds it counted.
                self.closed.inc();
                closed += 1;
                entry.revoked.cancel();
                tracing::debug!(
                    node_id = node.as_ref().map(tracing::field::display),
                    peer = %entry.peer.address,
                    "the node of a connection is known no more; closing it"
                );
            }
            *node = now;
        }
        if closed > 0 {
            tracing::info!(connections = closed, "closed the connections of nodes that are known no more");
        }
    }

    /// Whether one look-up tells that it is this node still, as it nearly always does.
    fn is_plainly(&self, node: &NodeId, entry: &Entry, table: &NodeTable) -> bool {
        match self.trust {
            ClientTrust::Key => table.owner_of(&entry.key_hash) == Some(node),
            ClientTrust::Authority { .. } => table.knows(node),
        }
    }

    fn node_of(&self, peer: &Peer, table: &NodeTable) -> Option<NodeId> {
        match peer.client(table, &self.trust) {
            Client::Node(node) => Some(node),
            Client::Anonymous | Client::Unknown | Client::Certified | Client::Misnamed { .. } => None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entered {
    /// Waits until the connection must end.
    pub async fn revoked(&self) {
        self.revoked.cancelled().await;
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.connections.lock().open.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use protocol::{
        node_list::NodeList,
        private_key::{self, KeyKind},
    };
    use tokio::sync::watch;

    use super::*;

    struct Machine(Arc<Peer>, String);

    fn machine(node: &str) -> Machine {
        let key = private_key::generate(KeyKind::P256).unwrap();
        let certificate = private_key::self_signed(&key, &node.parse().unwrap()).unwrap();
        let address = "192.0.2.1:1".parse().unwrap();
        let hash = certificate.key_hash().to_string();
        Machine(Arc::new(Peer::new(address, Some(certificate.x509().clone()), false)), hash)
    }

    fn table(nodes: &[(&str, &str)]) -> Arc<NodeTable> {
        let nodes: serde_json::Map<_, _> = nodes
            .iter()
            .map(|(id, hash)| {
                let entry = serde_json::json!({"hostname": "h", "policy-server": "root", "key-hash": hash});
                ((*id).to_owned(), entry)
            })
            .collect();
        let list = NodeList::from_json(serde_json::Value::Object(nodes).to_string().as_bytes()).unwrap();
        Arc::new(NodeTable::new(list, Vec::new()))
    }

    #[test]
    fn only_those_whose_node_has_changed_are_closed() {
        let [a, b, late] = ["a", "b", "late"].map(machine);
        let (sender, nodes) = watch::channel(table(&[("a", &a.1), ("b", &b.1)]));
        let closed = IntCounter::new("closed", "closed").unwrap();
        let connections = Arc::new(OpenConnections::new(nodes, ClientTrust::Key, closed.clone()));
        let publish = |new: Arc<NodeTable>| {
            sender.send_replace(new);
            connections.close_revoked();
        };
        let [of_a, of_b, of_late] = [&a, &b, &late].map(|machine| connections.enter(&machine.0, 0).unwrap());
        let gone = || [&of_a, &of_b, &of_late].map(|entered| entered.revoked.is_cancelled());

        publish(table(&[("a", &a.1), ("b", &b.1), ("more", "")]));
        assert_eq!(gone(), [false; 3]);
        publish(table(&[("b", &b.1), ("late", &late.1)]));
        assert_eq!(gone(), [true, false, false], "a stranger that became a node is none the worse");
        // The key of b is another's now, and late is gone again.
        publish(table(&[("c", &b.1)]));
        assert_eq!(gone(), [true; 3]);
        assert_eq!(closed.get(), 3);

        connections.close_all();
        assert_eq!(closed.get(), 3, "all are closed already");
        let in_between = connections.enter(&a.0, 0).unwrap();
        let after = connections.enter(&a.0, connections.closures()).unwrap();
        assert!(in_between.revoked.is_cancelled() && !after.revoked.is_cancelled());

        drop((of_a, of_b, of_late, in_between, after));
        assert!(connections.lock().open.is_empty());
    }

    #[test]
    fn who_shows_nothing_is_not_entered() {
        let (_sender, nodes) = watch::channel(table(&[]));
        let closed = IntCounter::new("closed", "closed").unwrap();
        let connections = Arc::new(OpenConnections::new(nodes, ClientTrust::Key, closed));
        let nobody = Arc::new(Peer::new("192.0.2.1:1".parse().unwrap(), None, false));
        assert!(connections.enter(&nobody, 0).is_none());
    }
}
