// SPDX-License-Identifier: Apache-2.0
//! What changed in the node tree lately, and for whom.
//!
//! Each change knows which policy servers the node was below before and after, so that a relay hears
//! of a node that left as well as of one that came, and nobody hears of others. When a relay moves,
//! every node below it changes.

use std::{
    borrow::Cow,
    collections::{BTreeSet, HashMap, VecDeque},
    sync::Arc,
};

use protocol::{
    limits::RELAY_DEPTH,
    node_id::NodeId,
    node_list::{NodeEntry, NodeList},
};

use super::version::Version;
use crate::nodes::NodeTable;

/// The newest node table with the changes that led to it.
pub struct History {
    version: Version,
    table: Arc<NodeTable>,
    /// Oldest first.
    changes: VecDeque<Change>,
    /// All changes after this generation are there.
    complete_after: u64,
}

/// What a client that knows some version has to be told.
#[derive(Debug, PartialEq, Eq)]
pub enum News {
    /// Nothing.
    None,
    /// These nodes came, changed or went.
    Nodes(BTreeSet<NodeId>),
    /// Everything, because its version is unknown or too old.
    All,
}

struct Change {
    generation: u64,
    node: NodeId,
    before: Path,
    after: Path,
}

/// The policy servers above a node, the nearest first; empty when the node is not there.
type Path = Arc<[NodeId]>;

/// Most changes that are remembered, however many nodes there are.
const MOST_CHANGES: usize = 100_000;
/// Remembered however few nodes there are.
const FEWEST_CHANGES: usize = 1000;

impl History {
    /// Begins with this table.
    pub fn new(epoch: u64, table: Arc<NodeTable>) -> Self {
        let version = Version { epoch, generation: 1 };
        Self { version, table, changes: VecDeque::new(), complete_after: version.generation }
    }

    /// The version of the newest table.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The newest table.
    pub fn table(&self) -> &Arc<NodeTable> {
        &self.table
    }

    /// Goes on to a newer table. Takes time in proportion to its nodes, unless it is the same.
    pub fn advance(&mut self, table: Arc<NodeTable>) {
        if self.is_at(&table) {
            return;
        }
        let generation = self.version.generation + 1;
        let changes = changes(&self.table, &table, generation);
        self.table = table;
        if changes.is_empty() {
            return;
        }
        self.version.generation = generation;
        self.changes.extend(changes);
        // More than one for each node is no cheaper than all nodes.
        self.forget(self.table.list().len().clamp(FEWEST_CHANGES, MOST_CHANGES));
    }

    /// Forgets the oldest changes beyond so many; those of one generation all together. Takes time in
    /// proportion to what it forgets.
    fn forget(&mut self, most: usize) {
        while self.changes.len() > most {
            let Some(oldest) = self.changes.pop_front() else { break };
            while self.changes.front().is_some_and(|change| change.generation == oldest.generation) {
                self.changes.pop_front();
            }
            self.complete_after = oldest.generation;
        }
    }

    /// Whether this is the newest table, so that there is nothing to compare.
    pub fn is_at(&self, table: &Arc<NodeTable>) -> bool {
        Arc::ptr_eq(table, &self.table)
    }

    /// How many changes there were since a version: what [`Self::news`] has to look at.
    pub fn changes_since(&self, since: Option<Version>) -> usize {
        let since = since.filter(|since| self.reaches(*since));
        since.map_or(0, |since| self.changes.len() - self.first_after(since))
    }

    /// What is new for `client` since a version.
    pub fn news(&self, client: &NodeId, since: Option<Version>) -> News {
        let Some(since) = since.filter(|since| self.reaches(*since)) else { return News::All };
        let visible = self.changes.range(self.first_after(since)..).filter(|change| change.concerns(client));
        let nodes: BTreeSet<NodeId> = visible.map(|change| change.node.clone()).collect();
        if nodes.is_empty() { News::None } else { News::Nodes(nodes) }
    }

    fn first_after(&self, since: Version) -> usize {
        self.changes.partition_point(|change| change.generation <= since.generation)
    }

    fn reaches(&self, since: Version) -> bool {
        since.epoch == self.version.epoch
            && (self.complete_after..=self.version.generation).contains(&since.generation)
    }
}

impl Change {
    fn concerns(&self, client: &NodeId) -> bool {
        self.node == *client
            || self.node.is_root()
            || self.before.contains(client)
            || self.after.contains(client)
    }
}

/// The entry that relays are told: with the keys of its certificates when the list has none, because
/// certificates do not go down the tree.
pub fn told<'a>(table: &NodeTable, node: &NodeId, entry: &'a NodeEntry) -> Cow<'a, NodeEntry> {
    if entry.key_hashes().next().is_some() {
        return Cow::Borrowed(entry);
    }
    let mut keys: Vec<_> =
        table.certificates(node).iter().map(|certificate| certificate.key_hash()).collect();
    if keys.is_empty() {
        return Cow::Borrowed(entry);
    }
    let key_hash = Some(keys.remove(0));
    Cow::Owned(NodeEntry { key_hash, other_key_hashes: keys, ..entry.clone() })
}

fn changes(old: &NodeTable, new: &NodeTable, generation: u64) -> Vec<Change> {
    let (mut paths_before, mut paths_after) = (Paths::new(old.list()), Paths::new(new.list()));
    let nowhere: Path = Arc::default();
    let mut changes = Vec::new();
    let mut changed = |node: &NodeId, before, after| {
        changes.push(Change { generation, node: node.clone(), before, after });
    };
    for (node, entry) in new.list().iter() {
        let after = paths_after.below(&entry.policy_server);
        match old.list().get(node) {
            None => changed(node, nowhere.clone(), after),
            Some(was) => {
                let before = paths_before.below(&was.policy_server);
                if before != after || told(old, node, was) != told(new, node, entry) {
                    changed(node, before, after);
                }
            }
        }
    }
    for (node, was) in old.list().iter().filter(|(node, _)| new.list().get(node).is_none()) {
        changed(node, paths_before.below(&was.policy_server), nowhere.clone());
    }
    changes
}

/// The paths of a list, each made once.
struct Paths<'a> {
    list: &'a NodeList,
    known: HashMap<&'a NodeId, Path>,
}

impl<'a> Paths<'a> {
    fn new(list: &'a NodeList) -> Self {
        Self { list, known: HashMap::new() }
    }

    /// The path of nodes that are attached to `server`.
    fn below(&mut self, server: &'a NodeId) -> Path {
        let list = self.list;
        self.known.entry(server).or_insert_with(|| path(list, server)).clone()
    }
}

fn path(list: &NodeList, server: &NodeId) -> Path {
    let mut path = vec![server.clone()];
    let mut server = server;
    while path.len() < RELAY_DEPTH {
        match list.get(server).map(|entry| &entry.policy_server) {
            Some(above) if above != server => {
                path.push(above.clone());
                server = above;
            }
            // The top, or a server that is not on the list.
            _ => break,
        }
    }
    path.into()
}

#[cfg(test)]
mod tests {
    use protocol::private_key::{self, KeyKind};

    use super::*;

    fn list(nodes: usize, key: &str) -> NodeList {
        let entry = |n| format!(r#""n{n}": {{"hostname": "h", "policy-server": "r", "key-hash": "{key}"}}"#);
        let nodes: Vec<String> = (0..nodes).map(entry).collect();
        NodeList::from_json(format!("{{{}}}", nodes.join(",")).as_bytes()).unwrap()
    }

    #[test]
    fn what_is_forgotten_makes_all_nodes_news() {
        let client: NodeId = "r".parse().unwrap();
        let keys = [[1; 32], [2; 32]].map(|key| protocol::hash::KeyHash::Sha256(key).to_string());
        let tables = keys.map(|key| Arc::new(NodeTable::new(list(FEWEST_CHANGES / 2, &key), Vec::new())));
        let mut history = History::new(1, tables[0].clone());
        let first = history.version();
        history.advance(tables[0].clone());
        assert_eq!(history.version(), first);
        for turn in 1..=3 {
            history.advance(tables[turn % 2].clone());
            let news = history.news(&client, Some(first));
            match turn {
                1 | 2 => assert!(matches!(news, News::Nodes(nodes) if nodes.len() == FEWEST_CHANGES / 2)),
                _ => assert_eq!(news, News::All),
            }
        }
        assert_eq!(history.news(&client, Some(history.version())), News::None);
        let future = Version { generation: history.version().generation + 1, ..first };
        assert_eq!(history.news(&client, Some(future)), News::All);
        // The same nodes in another table are no news.
        let version = history.version();
        history.advance(Arc::new(NodeTable::new(history.table().list().clone(), Vec::new())));
        assert_eq!(history.version(), version);
    }

    #[test]
    fn many_small_changes_are_forgotten_without_looking_at_the_others() {
        let node: NodeId = "n0".parse().unwrap();
        let mut history = History::new(1, Arc::new(NodeTable::new(list(1, ""), Vec::new())));
        let nowhere: Path = Arc::default();
        let changes = (2..300_002).map(|generation| Change {
            generation,
            node: node.clone(),
            before: nowhere.clone(),
            after: nowhere.clone(),
        });
        history.changes.extend(changes);
        history.version.generation = 300_001;
        let start = std::time::Instant::now();
        history.forget(MOST_CHANGES);
        assert!(start.elapsed() < std::time::Duration::from_secs(5), "{:?}", start.elapsed());
        assert_eq!((history.changes.len(), history.complete_after), (MOST_CHANGES, 200_001));
        let since = |generation| Some(Version { epoch: 1, generation });
        assert_eq!(history.news(&node, since(200_000)), News::All);
        assert!(matches!(history.news(&node, since(200_001)), News::Nodes(_)));
    }

    #[test]
    fn keys_that_only_certificates_have_are_told() {
        let node: NodeId = "n0".parse().unwrap();
        let certificate = || {
            let key = private_key::generate(KeyKind::P256).unwrap();
            private_key::self_signed(&key, &node).unwrap()
        };
        let (first, second) = (certificate(), certificate());
        let hashes = [first.key_hash(), second.key_hash()];
        let table = |certificates| Arc::new(NodeTable::new(list(1, ""), certificates));
        let both = table(vec![first.clone(), second]);
        let entry = both.list().get(&node).unwrap();
        assert!(told(&both, &node, entry).key_hashes().eq(&hashes));

        let mut history = History::new(1, both);
        let version = history.version();
        history.advance(table(vec![first]));
        assert_eq!(history.news(&node, Some(version)), News::Nodes(BTreeSet::from([node.clone()])));
    }
}
