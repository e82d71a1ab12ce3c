// SPDX-License-Identifier: Apache-2.0
//! Which nodes have a package, and how many have which version of it.

use std::{
    cmp::Ordering,
    collections::{BTreeSet, HashMap, HashSet},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    condition::Condition,
    installed::{self, Node, Package},
    pages::page,
    version::Scheme,
};
use crate::{
    db::Connection,
    fleet::{Page, Paging, Row, Trouble, conditions::Conditions},
    inventories::bucket,
};

/// Most packages (names times versions) of one question: their nodes are found in memory.
const MOST: usize = 200_000;

/// Which packages, on which nodes.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Name; `*` is any text, `?` any character, and then without case.
    pub name: Option<String>,
    /// What has to be true of the version.
    pub versions: Vec<Condition>,
    /// Architecture.
    pub arch: Option<String>,
    /// `dpkg`, `rpm`, `windows` or `other`.
    pub kind: Option<String>,
    /// Id or host name of one node.
    pub node: Option<String>,
}

/// A package on a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct OnNode {
    /// Id of the node.
    pub node_id: String,
    /// Its host name.
    pub hostname: String,
    /// Name of the package.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its architecture; may be empty.
    pub arch: String,
    /// `dpkg`, `rpm`, `windows` or `other`.
    pub kind: String,
    #[serde(skip)]
    id: i64,
}

/// A version of a package, and how many nodes have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct OfVersion {
    /// Name of the package.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its architecture; may be empty.
    pub arch: String,
    /// `dpkg`, `rpm`, `windows` or `other`.
    pub kind: String,
    /// How many nodes have it.
    pub nodes: u64,
    #[serde(skip)]
    id: i64,
}

/// What was found.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Found<T> {
    /// How many nodes have one of the packages, on all pages together.
    pub nodes: u64,
    /// A page of the list.
    #[serde(flatten)]
    pub page: Page<T>,
}

impl Row for OnNode {
    const COLUMNS: &'static [&'static str] = &["node_id", "hostname", "name", "version", "arch", "kind"];

    fn cells(&self) -> Vec<String> {
        let Self { node_id, hostname, name, version, arch, kind, id: _ } = self.clone();
        vec![node_id, hostname, name, version, arch, kind]
    }
}

impl Row for OfVersion {
    const COLUMNS: &'static [&'static str] = &["name", "version", "arch", "kind", "nodes"];

    fn cells(&self) -> Vec<String> {
        let Self { name, version, arch, kind, nodes, id: _ } = self.clone();
        vec![name, version, arch, kind, nodes.to_string()]
    }
}

/// What a list has a row for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum By {
    /// Each package on each node.
    #[default]
    Node,
    /// Each version of a package.
    Version,
}

/// Which nodes have the packages: by node, then by name and version.
pub fn on_nodes(c: &mut Connection, filter: &Filter, paging: &Paging) -> Result<Found<OnNode>, Trouble> {
    let installed = Installed::find(c, filter)?;
    let nodes = installed.nodes.len() as u64;
    // The page is small: only its nodes become rows. The last page may have ended within a node.
    let after: Option<(String, VersionKey)> =
        paging.after.as_deref().and_then(|after| serde_json::from_str(after).ok());
    let begun = |node: &Node| after.as_ref().is_some_and(|(last, _)| node.nodeid < *last);
    let rest = &installed.nodes[installed.nodes.partition_point(begun)..];
    let enough = paging.limit + rest.first().map_or(0, |node| installed.of(node).count());
    let mut items = Vec::new();
    for node in rest {
        if items.len() > enough {
            break;
        }
        items.extend(installed.of(node).map(|package| OnNode::new(node, package)));
    }
    let key = |item: &OnNode| (item.node_id.clone(), item.key());
    Ok(Found { nodes, page: page(items, paging, key)? })
}

/// How many nodes have which version.
pub fn versions(c: &mut Connection, filter: &Filter, paging: &Paging) -> Result<Found<OfVersion>, Trouble> {
    let installed = Installed::find(c, filter)?;
    // Nodes by chunk, then by package: many nodes share a chunk, which may have thousands of the packages.
    let mut with_chunk: HashMap<i64, u64> = HashMap::new();
    for id in installed.nodes.iter().flat_map(|node| installed::ids(&node.chunks)) {
        *with_chunk.entry(id).or_default() += 1;
    }
    let mut counts = vec![0; installed.packages.len()];
    for (id, places) in &installed.chunks {
        let nodes = with_chunk.get(id).copied().unwrap_or_default();
        places.iter().for_each(|place| counts[*place] += nodes);
    }
    let items = installed.packages.iter().zip(counts).filter(|(_, nodes)| *nodes > 0);
    let items = items.map(|(package, nodes)| OfVersion::new(package, nodes)).collect();
    Ok(Found { nodes: installed.nodes.len() as u64, page: page(items, paging, OfVersion::key)? })
}

/// Packages, and the nodes that have some of them.
struct Installed {
    packages: Vec<Package>,
    /// By id: places in `packages`, of those chunks only that have some.
    chunks: HashMap<i64, Vec<usize>>,
    /// By id.
    nodes: Vec<Node>,
}

impl Installed {
    fn find(c: &mut Connection, filter: &Filter) -> Result<Self, Trouble> {
        let packages = matching(c, filter)?;
        let places: HashMap<i64, usize> =
            packages.iter().enumerate().map(|(place, package)| (package.id, place)).collect();
        let buckets: BTreeSet<usize> = packages.iter().map(|package| bucket::of(&package.name)).collect();
        let chunks: HashMap<i64, Vec<usize>> = installed::chunks_of(c, &buckets)?
            .into_iter()
            .filter_map(|chunk| {
                let found: Vec<_> =
                    installed::ids(&chunk.packages).filter_map(|id| places.get(&id).copied()).collect();
                (!found.is_empty()).then_some((chunk.id, found))
            })
            .collect();
        if chunks.is_empty() {
            return Ok(Self { packages, chunks, nodes: Vec::new() });
        }
        let mut which = Conditions::default();
        which.inventories_of(filter.node.as_deref());
        let mut nodes = installed::nodes(c, &which, &buckets)?;
        nodes.retain(|node| installed::ids(&node.chunks).any(|id| chunks.contains_key(&id)));
        Ok(Self { packages, chunks, nodes })
    }

    /// Those of a node.
    fn of(&self, node: &Node) -> impl Iterator<Item = &Package> {
        let chunks = installed::ids(&node.chunks).filter_map(|id| self.chunks.get(&id));
        chunks.flatten().map(|place| &self.packages[*place])
    }
}

/// The packages that a filter is about, wherever they are.
fn matching(c: &mut Connection, filter: &Filter) -> Result<Vec<Package>, Trouble> {
    let mut which = Conditions::default();
    match filter.name.as_deref() {
        Some(pattern) if pattern.contains(['*', '?']) => which.is_like("name", Some(pattern)),
        name => which.is("name = {}", name),
    }
    which.is("arch = {}", filter.arch.as_deref());
    which.is("kind = {}", filter.kind.as_deref());
    let mut packages = installed::packages_that(c, &which, MOST + 1)?;
    if packages.len() > MOST {
        return Err(Trouble::Asked(format!("name: there are more than {MOST} such packages; say more")));
    }
    packages.retain(|package| {
        let scheme = Scheme::of_kind(&package.kind);
        filter.versions.iter().all(|condition| condition.holds(scheme, &package.version))
    });
    // Ids are unique, also if a row came twice.
    let mut seen = HashSet::new();
    packages.retain(|package| seen.insert(package.id));
    Ok(packages)
}

/// By name, then from the oldest version to the newest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct VersionKey(String, String, String, String, i64);

impl Ord for VersionKey {
    fn cmp(&self, other: &Self) -> Ordering {
        let Self(name, kind, version, arch, id) = self;
        name.cmp(&other.0)
            .then_with(|| kind.cmp(&other.1))
            .then_with(|| Scheme::of_kind(kind).compare(version, &other.2))
            .then_with(|| (version, arch, id).cmp(&(&other.2, &other.3, &other.4)))
    }
}

impl PartialOrd for VersionKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl OnNode {
    fn new(node: &Node, package: &Package) -> Self {
        let Package { id, name, version, arch, kind, .. } = package.clone();
        let (node_id, hostname) = (node.nodeid.clone(), node.hostname.clone());
        Self { node_id, hostname, name, version, arch, kind, id }
    }

    fn key(&self) -> VersionKey {
        VersionKey(self.name.clone(), self.kind.clone(), self.version.clone(), self.arch.clone(), self.id)
    }
}

impl OfVersion {
    fn new(package: &Package, nodes: u64) -> Self {
        let Package { id, name, version, arch, kind, .. } = package.clone();
        Self { name, version, arch, kind, nodes, id }
    }

    fn key(&self) -> VersionKey {
        VersionKey(self.name.clone(), self.kind.clone(), self.version.clone(), self.arch.clone(), self.id)
    }
}
