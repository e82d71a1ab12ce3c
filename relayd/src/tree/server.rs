// SPDX-License-Identifier: Apache-2.0
//! The serving side: tells relays which nodes are below them.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use protocol::{compression::gzip, node_id::NodeId, node_list::NodeList, node_tree::TreeDocument};
use tokio::{
    sync::Semaphore,
    task::spawn_blocking,
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{
    history::{History, News, told},
    http::Ask,
    version::Version,
};
use crate::nodes::{NodeTable, Nodes};

/// Answers who asks for the nodes below it.
pub struct Server {
    nodes: Nodes,
    history: Arc<Mutex<History>>,
    /// Documents being made at a time: one of many nodes takes a processor for a while.
    making: Semaphore,
    asking: Arc<Mutex<HashMap<NodeId, usize>>>,
}

/// What to answer.
#[derive(Debug, PartialEq, Eq)]
pub enum TreeAnswer {
    /// Nothing changed within the time that the client wanted to wait.
    Unchanged {
        /// The version to ask with the next time.
        version: String,
    },
    /// What changed, or all nodes.
    Document {
        /// The version to ask with the next time.
        version: String,
        /// A [`TreeDocument`] as JSON.
        body: Bytes,
        /// Whether the body is packed.
        gzip: bool,
    },
    /// The client asks too often at a time.
    TooMany,
}

/// Documents being made at a time.
const MAKING: usize = 2;
/// Requests of one client at a time: its own, and one or two whose end has not been noticed yet.
const ASKING: usize = 4;
/// Smaller documents are not worth packing, in bytes.
const WORTH_PACKING: usize = 1024;

impl Server {
    /// Tells of these nodes.
    pub fn new(nodes: Nodes) -> Self {
        let mut epoch = [0; 8];
        // Without randomness there is no TLS either; the time a process starts is a fair second best.
        if openssl::rand::rand_bytes(&mut epoch).is_err() {
            epoch = chrono::Utc::now().timestamp_micros().to_le_bytes();
        }
        let table = nodes.borrow().clone();
        Self {
            history: Arc::new(Mutex::new(History::new(u64::from_le_bytes(epoch), table))),
            nodes,
            making: Semaphore::new(MAKING),
            asking: Arc::default(),
        }
    }

    /// Answers `client`: at once when there is news for it, else when there is, when its patience ends,
    /// or when `stop` is cancelled.
    pub async fn answer(&self, client: &NodeId, ask: &Ask, stop: &CancellationToken) -> TreeAnswer {
        let Some(_turn) = Turn::take(&self.asking, client) else { return TreeAnswer::TooMany };
        let mut nodes = self.nodes.clone();
        let until = Instant::now() + ask.wait;
        let mut since = ask.since;
        loop {
            // What is published from here on is seen below.
            nodes.mark_unchanged();
            let (news, version, table) = self.news(client, since).await;
            if news != News::None {
                return self.document(client, ask, news, version, table).await;
            }
            since = Some(version);
            let unchanged = TreeAnswer::Unchanged { version: version.to_string() };
            tokio::select! {
                changed = timeout_at(until, nodes.changed()) => match changed {
                    Ok(Ok(())) => {}
                    // Patience ended, or the daemon does.
                    Ok(Err(_)) | Err(_) => return unchanged,
                },
                () = stop.cancelled() => return unchanged,
            }
        }
    }

    /// What is new for a client; the first to ask after a publication compares the tables.
    async fn news(&self, client: &NodeId, since: Option<Version>) -> (News, Version, Arc<NodeTable>) {
        let (history, nodes, client) = (self.history.clone(), self.nodes.clone(), client.clone());
        blocking(move || {
            let mut history = history.lock().unwrap_or_else(PoisonError::into_inner);
            history.advance(nodes.borrow().clone());
            (history.news(&client, since), history.version(), history.table().clone())
        })
        .await
    }

    async fn document(
        &self,
        client: &NodeId,
        ask: &Ask,
        news: News,
        version: Version,
        table: Arc<NodeTable>,
    ) -> TreeAnswer {
        // Never closed; if it were, one document more would do no harm.
        let _turn = self.making.acquire().await.ok();
        let (client, changes, packed) = (client.clone(), ask.changes, ask.gzip);
        let version = version.to_string();
        let answered = version.clone();
        let make = move || {
            let document = match news {
                News::Nodes(nodes) if changes => changed(&client, nodes, &table, version),
                _ => all(&client, &table, version),
            };
            let json = document.to_json();
            let packed = packed && json.len() >= WORTH_PACKING;
            (if packed { gzip(&json) } else { json }, packed)
        };
        let (body, gzip) = blocking(make).await;
        TreeAnswer::Document { version: answered, body: body.into(), gzip }
    }
}

/// All nodes that `client` may know.
fn all(client: &NodeId, table: &NodeTable, version: String) -> TreeDocument {
    let visible = table.list().iter().filter(|(node, _)| may_know(table.list(), client, node));
    let nodes = visible.map(|(node, entry)| (node.clone(), Some(told(table, node, entry).into_owned())));
    TreeDocument { version, full: true, nodes: nodes.collect() }
}

/// What became of these nodes; for `client`, one that left for elsewhere is gone.
fn changed(client: &NodeId, nodes: BTreeSet<NodeId>, table: &NodeTable, version: String) -> TreeDocument {
    let list = table.list();
    let entry = |node: &NodeId| {
        let entry = list.get(node).filter(|_| may_know(list, client, node))?;
        Some(told(table, node, entry).into_owned())
    };
    let nodes = nodes.into_iter().map(|node| {
        let entry = entry(&node);
        (node, entry)
    });
    TreeDocument { version, full: false, nodes: nodes.collect() }
}

fn may_know(list: &NodeList, client: &NodeId, node: &NodeId) -> bool {
    node == client || node.is_root() || list.is_below(node, client)
}

/// Runs what takes a processor for a while beside the tasks that must not wait for it.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match spawn_blocking(work).await {
        Ok(done) => done,
        // Not cancelled: nothing cancels it. A panic goes on to whoever asked.
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// One request of a client under way.
struct Turn {
    asking: Arc<Mutex<HashMap<NodeId, usize>>>,
    client: NodeId,
}

impl Turn {
    fn take(asking: &Arc<Mutex<HashMap<NodeId, usize>>>, client: &NodeId) -> Option<Self> {
        let mut clients = asking.lock().unwrap_or_else(PoisonError::into_inner);
        let under_way = clients.entry(client.clone()).or_default();
        if *under_way >= ASKING {
            return None;
        }
        *under_way += 1;
        Some(Self { asking: asking.clone(), client: client.clone() })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut clients = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(under_way) = clients.get_mut(&self.client) {
            *under_way -= 1;
            if *under_way == 0 {
                clients.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use protocol::{hash::KeyHash, node_list::NodeEntry};
    use tokio::sync::watch;

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    fn id(id: &str) -> NodeId {
        id.parse().unwrap()
    }

    /// Nodes with their policy server and the byte that their key is made of.
    fn table(nodes: &[(&str, &str, u8)]) -> Arc<NodeTable> {
        let entry = |server: &str, key: u8| NodeEntry {
            hostname: "h".into(),
            key_hash: Some(KeyHash::Sha256([key; 32])),
            other_key_hashes: Vec::new(),
            policy_server: id(server),
            is_relay: false,
        };
        let list = nodes.iter().map(|(node, server, key)| (id(node), entry(server, *key))).collect();
        Arc::new(NodeTable::new(list, Vec::new()))
    }

    /// `root` with the relays `a` and `b`, each with a node.
    fn tree() -> Vec<(&'static str, &'static str, u8)> {
        vec![("root", "root", 0), ("a", "root", 1), ("a1", "a", 2), ("b", "root", 3), ("b1", "b", 4)]
    }

    fn patient(since: Option<&str>) -> Ask {
        let since = since.map(|version| Version::parse(version).unwrap());
        Ask { since, wait: SOON, changes: true, gzip: false }
    }

    fn document(answer: TreeAnswer) -> TreeDocument {
        match answer {
            TreeAnswer::Document { body, gzip: false, version } => {
                let document = TreeDocument::from_json(&body).unwrap();
                assert_eq!(document.version, version);
                document
            }
            other => panic!("{other:?}"),
        }
    }

    fn names(document: &TreeDocument) -> Vec<&str> {
        document.nodes.keys().map(NodeId::as_str).collect()
    }

    #[tokio::test]
    async fn a_client_hears_of_its_part_of_the_tree_only() {
        let (sender, nodes) = watch::channel(table(&tree()));
        let (server, stop) = (Server::new(nodes), CancellationToken::new());
        let first = document(server.answer(&id("a"), &patient(None), &stop).await);
        assert!(first.full);
        assert_eq!(names(&first), ["a", "a1", "root"]);
        assert_eq!(names(&document(server.answer(&id("a1"), &patient(None), &stop).await)), ["a1", "root"]);

        // What happens elsewhere does not wake it, what happens below it does, at once.
        let (a, since) = (id("a"), patient(Some(&first.version)));
        let mut waiting = Box::pin(server.answer(&a, &since, &stop));
        let mut now = tree();
        now[4].2 = 40;
        sender.send_replace(table(&now));
        assert!(tokio::time::timeout(Duration::from_millis(200), &mut waiting).await.is_err());
        now.push(("a2", "a", 5));
        sender.send_replace(table(&now));
        let second = document(tokio::time::timeout(SOON / 2, waiting).await.unwrap());
        assert!(!second.full);
        assert_eq!(names(&second), ["a2"]);

        // Gone, for whoever had it; an earlier version still gets all that changed since.
        now.retain(|(node, ..)| *node != "a1");
        sender.send_replace(table(&now));
        let third = document(server.answer(&id("a"), &since, &stop).await);
        assert_eq!((names(&third), third.nodes[&id("a1")].is_none()), (vec!["a1", "a2"], true));
        let full = Ask { changes: false, ..since };
        assert_eq!(names(&document(server.answer(&id("a"), &full, &stop).await)), ["a", "a2", "root"]);
    }

    #[tokio::test]
    async fn a_node_or_relay_that_moves_is_news_for_both_sides() {
        let (sender, nodes) = watch::channel(table(&tree()));
        let (server, stop) = (Server::new(nodes), CancellationToken::new());
        let version = document(server.answer(&id("root"), &patient(None), &stop).await).version;
        let mut now = tree();
        now[1].1 = "b";
        sender.send_replace(table(&now));
        let mut heard = Vec::new();
        for client in ["a", "b", "a1"] {
            heard.push(document(server.answer(&id(client), &patient(Some(&version)), &stop).await));
        }
        assert_eq!(
            heard.iter().map(names).collect::<Vec<_>>(),
            [vec!["a", "a1"], vec!["a", "a1"], vec!["a1"]]
        );
        let version = &heard[0].version;
        sender.send_replace(table(&tree()));
        let left = document(server.answer(&id("b"), &patient(Some(version)), &stop).await);
        assert!(left.nodes.values().all(Option::is_none), "{left:?}");
        assert_eq!(names(&left), ["a", "a1"]);
    }

    #[tokio::test]
    async fn patience_and_the_daemon_end_with_the_version_to_ask_with() {
        let (sender, nodes) = watch::channel(table(&tree()));
        let (server, stop) = (Server::new(nodes), CancellationToken::new());
        let version = document(server.answer(&id("a"), &patient(None), &stop).await).version;
        let mut elsewhere = tree();
        elsewhere.pop();
        sender.send_replace(table(&elsewhere));
        let impatient = Ask { wait: Duration::ZERO, ..patient(Some(&version)) };
        let TreeAnswer::Unchanged { version: newer } = server.answer(&id("a"), &impatient, &stop).await
        else {
            panic!("something changed")
        };
        assert_ne!(newer, version);
        let (a, since) = (id("a"), patient(Some(&newer)));
        let waiting = server.answer(&a, &since, &stop);
        let (answer, ()) = tokio::join!(waiting, async { stop.cancel() });
        assert_eq!(answer, TreeAnswer::Unchanged { version: newer });
        let foreign = patient(Some("0000000000000000-1"));
        assert!(document(server.answer(&id("a"), &foreign, &stop).await).full);
    }

    #[tokio::test]
    async fn one_client_cannot_wait_many_times() {
        let (_sender, nodes) = watch::channel(table(&tree()));
        let (server, stop) = (Server::new(nodes), CancellationToken::new());
        let version = document(server.answer(&id("a"), &patient(None), &stop).await).version;
        let (client, since) = (id("a"), patient(Some(&version)));
        let mut waiting: Vec<_> =
            (0..ASKING).map(|_| Box::pin(server.answer(&client, &since, &stop))).collect();
        for waiting in &mut waiting {
            assert!(futures_util::poll!(waiting).is_pending());
        }
        assert_eq!(server.answer(&client, &since, &stop).await, TreeAnswer::TooMany);
        assert!(document(server.answer(&id("b"), &patient(None), &stop).await).full);
        waiting.pop();
        assert!(futures_util::poll!(Box::pin(server.answer(&client, &since, &stop))).is_pending());
    }

    const IDS: [&str; 8] = ["root", "a", "b", "c", "d", "e", "f", "g"];

    /// Any graph of policy servers, also those that are none: a list is what another program wrote.
    fn tables() -> impl Strategy<Value = Vec<Arc<NodeTable>>> {
        let node = proptest::option::weighted(0.8, (0..IDS.len() + 1, 0..2_u8));
        let nodes = proptest::collection::vec(node, IDS.len());
        let table = nodes.prop_map(|nodes| {
            let nodes = nodes.into_iter().enumerate();
            let nodes = nodes.filter_map(|(node, entry)| {
                let (server, key) = entry?;
                Some((IDS[node], *IDS.get(server).unwrap_or(&"nobody"), key))
            });
            table(&nodes.collect::<Vec<_>>())
        });
        proptest::collection::vec(table, 2..8)
    }

    proptest! {
        #[test]
        fn documents_applied_one_after_the_other_are_the_part_below(
            tables in tables(),
            client in 0..IDS.len(),
            skip in proptest::collection::vec(any::<bool>(), 8),
        ) {
            let client = id(IDS[client]);
            let mut history = History::new(1, tables[0].clone());
            let mut since = None;
            let mut list = NodeList::default();
            for (now, skip) in tables.iter().zip(skip) {
                history.advance(now.clone());
                if skip {
                    continue;
                }
                let version = history.version().to_string();
                let document = match history.news(&client, since) {
                    News::None => TreeDocument { version, full: false, nodes: Default::default() },
                    News::Nodes(nodes) => changed(&client, nodes, now, version),
                    News::All => all(&client, now, version),
                };
                let document = TreeDocument::from_json(&document.to_json()).unwrap();
                list = document.apply(list);
                since = Some(history.version());
                prop_assert_eq!(&list, &now.list().below(&client));
            }
        }
    }
}
