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
    epoch: u64,
    /// Begins when somebody asks for the first time: until then no table but the newest is kept.
    ///
    /// Whoever has it compares the tables, once for all who wait for it without a thread.
    history: Arc<tokio::sync::Mutex<Option<History>>>,
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
/// Changes that are looked through on the spot, in well under a millisecond.
const LOOKED_AT_AT_ONCE: usize = 1000;
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
        Self {
            nodes,
            epoch: u64::from_le_bytes(epoch),
            history: Arc::default(),
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
        let mut history = self.history.clone().lock_owned().await;
        let table = self.nodes.borrow().clone();
        let news_of = move |history: &History, client: &NodeId| {
            (history.news(client, since), history.version(), history.table().clone())
        };
        if let Some(history) = history.as_ref()
            && history.is_at(&table)
            && history.changes_since(since) <= LOOKED_AT_AT_ONCE
        {
            return news_of(history, client);
        }
        let (epoch, client) = (self.epoch, client.clone());
        blocking(move || {
            let history = history.get_or_insert_with(|| History::new(epoch, table.clone()));
            history.advance(table);
            news_of(history, &client)
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
mod tests;
