// SPDX-License-Identifier: Apache-2.0
//! `GET /updates`: what is outdated on nodes by what they say themselves: the updates that are on offer to them.
//!
//! Lists of updates never change, and many nodes have the same: each is read once and remembered.

use std::{
    collections::{HashMap, HashSet},
    sync::{PoisonError, RwLock, RwLockReadGuard},
};

use diesel::{
    QueryResult, QueryableByName,
    sql_types::{BigInt, Binary, Text},
};
use protocol::{
    compression::{self, Compression},
    inventory::software::SoftwareUpdate,
    limits,
};
use schemars::JsonSchema;
use serde::Serialize;

use super::{installed::in_parts, pages::page, pattern::is_like};
use crate::{
    db::Connection,
    fleet::{Page, Paging, Row, Trouble, conditions::Conditions},
};

/// Places of updates in all lists that are remembered, and lists. Above that only those that the fleet has now are
/// kept; above twice that, where nobody asks about the fleet, none.
const MOST: usize = 5_000_000;

/// Lists of former updates that are remembered beside as many as there are nodes.
const SPARE: usize = 1000;

/// Which updates.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Id or host name of one node.
    pub node: Option<String>,
    /// Name of the package; `*` is any text, `?` any character.
    pub name: Option<String>,
    /// `security`, `defect`, `enhancement`, `none` or another word.
    pub kind: Option<String>,
}

/// An update, and for how many nodes it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Offered {
    /// Name of the package.
    pub name: String,
    /// Version that is on offer.
    pub version: String,
    /// Architecture; may be empty.
    pub arch: String,
    /// `security`, `defect`, `enhancement`, `none` or another word; may be empty.
    pub kind: String,
    /// How bad it is without it, in the words of whoever offers it; may be empty.
    pub severity: String,
    /// Where it is from; may be empty.
    pub source: String,
    /// Advisories that it is about; may be empty.
    pub ids: String,
    /// How many nodes it is offered to.
    pub nodes: u64,
}

/// A node, and how many updates are on offer to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Outdated {
    /// Its id.
    pub node_id: String,
    /// Its host name.
    pub hostname: String,
    /// Updates on offer.
    pub updates: u64,
    /// How many of them are about security.
    pub security: u64,
}

/// What is remembered of updates.
#[derive(Debug, Default)]
pub struct Offers(RwLock<Known>);

#[derive(Debug, Default)]
struct Known {
    offers: Vec<SoftwareUpdate>,
    places: HashMap<Key, usize>,
    /// By id: places in `offers`.
    lists: HashMap<i64, Box<[usize]>>,
    /// Of all lists: how many, and their places.
    size: usize,
}

/// What tells updates apart for the report.
type Key = [String; 7];

#[derive(QueryableByName)]
struct NodeRow {
    #[diesel(sql_type = Text)]
    nodeid: String,
    #[diesel(sql_type = Text)]
    hostname: String,
    #[diesel(sql_type = BigInt)]
    updates_id: i64,
}

#[derive(QueryableByName)]
struct ListRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Binary)]
    content: Vec<u8>,
}

/// A row for each update, the one for most nodes first.
pub fn offered(
    c: &mut Connection,
    offers: &Offers,
    filter: &Filter,
    paging: &Paging,
) -> Result<Page<Offered>, Trouble> {
    let (nodes, known) = offers.of_nodes(c, filter)?;
    let mut counts: HashMap<usize, u64> = HashMap::new();
    // Nodes by list, then by update: many nodes have the same list.
    let mut with_list: HashMap<i64, u64> = HashMap::new();
    for node in &nodes {
        *with_list.entry(node.updates_id).or_default() += 1;
    }
    for (list, nodes) in with_list {
        let seen: HashSet<usize> = filter.of_list(&known, list).collect();
        seen.into_iter().for_each(|place| *counts.entry(place).or_default() += nodes);
    }
    let rows = counts.into_iter().map(|(place, nodes)| Offered::new(&known.offers[place], nodes));
    page(rows.collect(), paging, |row| {
        let key = (row.name.clone(), row.version.clone(), row.arch.clone(), row.kind.clone());
        (u64::MAX - row.nodes, key, row.severity.clone(), row.source.clone(), row.ids.clone())
    })
}

/// A row for each node that there are updates for, the one with most of them about security first.
pub fn outdated(
    c: &mut Connection,
    offers: &Offers,
    filter: &Filter,
    paging: &Paging,
) -> Result<Page<Outdated>, Trouble> {
    let (nodes, known) = offers.of_nodes(c, filter)?;
    let count = |list: i64| {
        let about_security = |place: usize| known.offers[place].kind.as_deref() == Some("security");
        filter.of_list(&known, list).fold((0_u64, 0_u64), |(updates, security), place| {
            (updates + 1, security + u64::from(about_security(place)))
        })
    };
    let mut counts: HashMap<i64, (u64, u64)> = HashMap::new();
    let rows = nodes.into_iter().filter_map(|node| {
        let (updates, security) = *counts.entry(node.updates_id).or_insert_with_key(|list| count(*list));
        let (node_id, hostname) = (node.nodeid, node.hostname);
        (updates > 0).then_some(Outdated { node_id, hostname, updates, security })
    });
    page(rows.collect(), paging, |row| (u64::MAX - row.security, u64::MAX - row.updates, row.node_id.clone()))
}

impl Filter {
    fn of_list<'k>(&'k self, known: &'k Known, list: i64) -> impl Iterator<Item = usize> + 'k {
        let places = known.lists.get(&list).into_iter().flatten().copied();
        places.filter(|place| {
            let update = &known.offers[*place];
            let name = update.name.as_deref().unwrap_or_default();
            self.name.as_ref().is_none_or(|pattern| is_like(name, pattern))
                && self.kind.as_ref().is_none_or(|kind| update.kind.as_ref() == Some(kind))
        })
    }
}

impl Offers {
    /// The nodes that there are updates for, and what is known of these updates.
    fn of_nodes(
        &self,
        c: &mut Connection,
        filter: &Filter,
    ) -> Result<(Vec<NodeRow>, RwLockReadGuard<'_, Known>), Trouble> {
        let mut which = Conditions::default();
        which.holds("updates_id IS NOT NULL");
        which.inventories_of(filter.node.as_deref());
        let sql = format!("SELECT nodeid, hostname, updates_id FROM inventory WHERE {}", which.sql());
        let nodes: Vec<NodeRow> = c.rows(&sql, &which.values())?;
        let fleet = filter.node.is_none().then_some(nodes.len());
        // Another question may make it forget what this one has just learned.
        for _ in 0..3 {
            let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
            if nodes.iter().all(|node| known.lists.contains_key(&node.updates_id)) {
                return Ok((nodes, known));
            }
            drop(known);
            self.0.write().unwrap_or_else(PoisonError::into_inner).learn(c, &nodes, fleet)?;
        }
        Err(Trouble::Busy)
    }
}

impl Known {
    /// `fleet` is how many nodes there are with lists, where these are all of them.
    fn learn(&mut self, c: &mut Connection, nodes: &[NodeRow], fleet: Option<usize>) -> QueryResult<()> {
        if self.is_too_much(fleet) {
            let kept = nodes.iter().map(|node| node.updates_id).filter(|_| fleet.is_some());
            *self = self.only(&kept.collect());
        }
        let mut new: Vec<i64> = nodes.iter().map(|node| node.updates_id).collect();
        new.retain(|id| !self.lists.contains_key(id));
        new.sort_unstable();
        new.dedup();
        for row in in_parts::<ListRow>(c, "SELECT id, content FROM inventory_updates WHERE id", &new)? {
            let places = read(&row.content).into_iter().map(|update| self.place_of(update)).collect();
            self.remember(row.id, places);
        }
        for id in new {
            if !self.lists.contains_key(&id) {
                self.remember(id, Box::default());
            }
        }
        Ok(())
    }

    fn remember(&mut self, list: i64, places: Box<[usize]>) {
        self.size += 1 + places.len();
        self.lists.insert(list, places);
    }

    /// Whether much of it may be of former lists.
    fn is_too_much(&self, fleet: Option<usize>) -> bool {
        match fleet {
            Some(nodes) => self.size > MOST || self.lists.len() > 2 * nodes + SPARE,
            None => self.size > 2 * MOST,
        }
    }

    /// These lists alone, with what is in them.
    fn only(&self, kept: &HashSet<i64>) -> Self {
        let mut only = Self::default();
        for (list, places) in self.lists.iter().filter(|(list, _)| kept.contains(list)) {
            let places = places.iter().map(|place| only.place_of(self.offers[*place].clone())).collect();
            only.remember(*list, places);
        }
        only
    }

    fn place_of(&mut self, update: SoftwareUpdate) -> usize {
        let next = self.offers.len();
        let place = *self.places.entry(key(&update)).or_insert(next);
        if place == next {
            // It can be long, and is not shown.
            self.offers.push(SoftwareUpdate { description: None, ..update });
        }
        place
    }
}

/// A list as it is stored; one that cannot be read is empty, which is logged.
fn read(content: &[u8]) -> Vec<SoftwareUpdate> {
    let json = compression::unpack(content, Compression::Gzip, limits::INVENTORY_INFLATED);
    let list = json.map_err(|error| error.to_string());
    let list = list.and_then(|json| serde_json::from_slice(&json).map_err(|error| error.to_string()));
    list.unwrap_or_else(|error| {
        tracing::error!("a list of updates in the database cannot be read: {error}");
        Vec::new()
    })
}

fn key(update: &SoftwareUpdate) -> Key {
    let SoftwareUpdate { name, version, arch, kind, severity, source, ids, .. } = update;
    [name, version, arch, kind, severity, source, ids].map(|text| text.clone().unwrap_or_default())
}

impl Offered {
    fn new(update: &SoftwareUpdate, nodes: u64) -> Self {
        let [name, version, arch, kind, severity, source, ids] = key(update);
        Self { name, version, arch, kind, severity, source, ids, nodes }
    }
}

impl Row for Offered {
    const COLUMNS: &'static [&'static str] =
        &["name", "version", "arch", "kind", "severity", "source", "ids", "nodes"];

    fn cells(&self) -> Vec<String> {
        let Self { name, version, arch, kind, severity, source, ids, nodes } = self.clone();
        vec![name, version, arch, kind, severity, source, ids, nodes.to_string()]
    }
}

impl Row for Outdated {
    const COLUMNS: &'static [&'static str] = &["node_id", "hostname", "updates", "security"];

    fn cells(&self) -> Vec<String> {
        let Self { node_id, hostname, updates, security } = self.clone();
        vec![node_id, hostname, updates.to_string(), security.to_string()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn former_lists_are_forgotten_sooner_or_later() {
        let mut known = Known::default();
        (0..1200).for_each(|list| known.remember(list, Box::default()));
        assert!(!known.is_too_much(Some(100)) && known.is_too_much(Some(99)));
        assert!(!known.is_too_much(None), "a question about one node");
        known.remember(1200, vec![0; MOST].into());
        assert!(known.is_too_much(Some(1_000_000)) && !known.is_too_much(None));
        known.remember(1201, vec![0; MOST].into());
        assert!(known.is_too_much(None));
    }

    #[test]
    fn what_the_fleet_has_is_kept() {
        let mut known = Known::default();
        let update = |name: &str| SoftwareUpdate { name: Some(name.into()), ..SoftwareUpdate::default() };
        let names = |known: &Known, list: i64| -> Vec<_> {
            let places = known.lists.get(&list).into_iter().flatten();
            places.map(|place| known.offers[*place].name.clone().unwrap()).collect()
        };
        for (list, all) in [(1, vec!["a", "b"]), (2, vec!["b", "c"]), (3, vec!["d"])] {
            let places = all.into_iter().map(|name| known.place_of(update(name))).collect();
            known.remember(list, places);
        }
        let known = known.only(&HashSet::from([2, 3]));
        assert_eq!([1, 2, 3].map(|list| names(&known, list).join(" ")), ["", "b c", "d"]);
        assert_eq!((known.offers.len(), known.size), (3, 5));
    }
}
