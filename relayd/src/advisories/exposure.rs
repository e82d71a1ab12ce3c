// SPDX-License-Identifier: Apache-2.0
//! Which nodes have packages that fall under advisories: found anew for each question, from the inventories
//! that there are and the advisories that were read last.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{PoisonError, RwLock, RwLockReadGuard},
};

use super::{
    advisory::Advisory,
    catalogue::{Catalogue, Hit},
    distribution::Distribution,
    known::{Known, Struck},
};
use crate::{
    db::Connection,
    fleet::{Trouble, conditions::Conditions},
    inventories::bucket::BUCKETS,
    packages::installed::{self, Node},
};

/// Advisories, and what they come to with the packages of the fleet.
#[derive(Debug, Default)]
pub struct Matched {
    catalogue: Catalogue,
    known: RwLock<Known>,
}

/// Nodes with the same packages and the same operating system.
#[derive(Debug)]
pub struct Group {
    /// By id.
    pub nodes: Vec<Node>,
    /// Ids of chunks, then their places in [`Known`].
    chunks: Vec<i64>,
    places: Vec<u32>,
    /// Which of [`Exposure::verdicts`] is about them.
    pub verdict: usize,
}

/// A package that falls under an advisory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The advisory: its number in the catalogue.
    pub advisory: u32,
    /// The part of it that says so.
    pub hit: Hit,
}

/// What is wrong with each package on nodes of one operating system, by the place of the package.
type Verdict = Vec<Box<[Finding]>>;

/// Nodes, and what is wrong with their packages.
pub struct Exposure<'a> {
    catalogue: &'a Catalogue,
    known: RwLockReadGuard<'a, Known>,
    /// For each operating system: the findings that the question is about.
    verdicts: Vec<Verdict>,
    /// The nodes.
    pub groups: Vec<Group>,
}

impl Matched {
    /// With these advisories; nothing of the fleet is known yet.
    pub fn new(catalogue: Catalogue) -> Self {
        Self { catalogue, known: RwLock::default() }
    }

    /// The advisories.
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// The nodes that fulfil conditions, with the findings that `wanted` lets through.
    pub fn exposure(
        &self,
        c: &mut Connection,
        which: &Conditions,
        wanted: impl Fn(&Catalogue, &Struck, Hit) -> bool,
    ) -> Result<Exposure<'_>, Trouble> {
        let nodes = installed::nodes(c, which, &BTreeSet::from_iter(0..BUCKETS))?;
        let (mut groups, systems) = grouped(nodes);
        let known = self.places(c, &mut groups)?;
        let verdict = |system: &Option<Distribution>| {
            let covering = self.catalogue.covering(system.as_ref());
            let of_package = |struck: &Struck| {
                let hits = struck.hits.iter().copied();
                let hits = hits.filter(|hit| covering.counts(*hit) && wanted(&self.catalogue, struck, *hit));
                let mut findings: Vec<_> =
                    hits.map(|hit| Finding { advisory: self.catalogue.advisory(hit).0, hit }).collect();
                // One advisory may have a part for the release and one for all of them.
                findings.sort_unstable();
                findings.dedup_by_key(|finding| finding.advisory);
                findings.into_boxed_slice()
            };
            known.all_struck().iter().map(of_package).collect()
        };
        let verdicts = systems.iter().map(verdict).collect();
        Ok(Exposure { catalogue: &self.catalogue, known, verdicts, groups })
    }

    /// Finds the chunks of groups in what is known, which learns what it lacks.
    fn places(
        &self,
        c: &mut Connection,
        groups: &mut [Group],
    ) -> Result<RwLockReadGuard<'_, Known>, Trouble> {
        // Another question may make it forget what this one has just learned.
        for _ in 0..3 {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            let mut place = |group: &mut Group| {
                let places = known.places(&group.chunks);
                places.map(|places| group.places = places).is_some()
            };
            if groups.iter_mut().all(&mut place) {
                return Ok(known);
            }
            drop(known);
            let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
            known.learn(c, &self.catalogue, groups.iter().flat_map(|group| &group.chunks))?;
        }
        Err(Trouble::Busy)
    }
}

/// Puts nodes together that have the same packages and the same operating system; gives also which systems
/// there are.
fn grouped(nodes: Vec<Node>) -> (Vec<Group>, Vec<Option<Distribution>>) {
    let mut numbers: HashMap<Option<Distribution>, usize> = HashMap::new();
    let mut of_system: HashMap<(String, String), usize> = HashMap::new();
    let mut alike: HashMap<(usize, String), Vec<Node>> = HashMap::new();
    for mut node in nodes {
        let chunks = std::mem::take(&mut node.chunks);
        let system = (node.os_name.clone(), node.os_version.clone());
        let verdict = *of_system.entry(system).or_insert_with_key(|(name, version)| {
            let next = numbers.len();
            *numbers.entry(Distribution::of_node(name, version)).or_insert(next)
        });
        alike.entry((verdict, chunks)).or_default().push(node);
    }
    let mut systems = vec![None; numbers.len()];
    numbers.into_iter().for_each(|(system, number)| systems[number] = system);
    let groups = alike.into_iter().map(|((verdict, chunks), nodes)| {
        let chunks = installed::ids(&chunks).collect();
        Group { nodes, chunks, places: Vec::new(), verdict }
    });
    (groups.collect(), systems)
}

impl Exposure<'_> {
    /// The packages of nodes with something wrong, by their places, each with its findings: never none.
    pub fn packages<'s>(&'s self, group: &'s Group) -> impl Iterator<Item = (u32, &'s [Finding])> {
        let verdict = &self.verdicts[group.verdict];
        let packages = group.places.iter().flat_map(|chunk| self.known.of_chunk(*chunk));
        packages
            .map(|place| (*place, &*verdict[*place as usize]))
            .filter(|(_, findings)| !findings.is_empty())
    }

    /// How many operating systems there are.
    pub fn verdicts(&self) -> usize {
        self.verdicts.len()
    }

    /// What is wrong with a package on nodes of one operating system.
    pub fn findings(&self, verdict: usize, package: u32) -> &[Finding] {
        &self.verdicts[verdict][package as usize]
    }

    /// How many packages fall under anything at all: places are below.
    pub fn places(&self) -> usize {
        self.known.all_struck().len()
    }

    /// A package by its place.
    pub fn package(&self, place: u32) -> &Struck {
        &self.known.all_struck()[place as usize]
    }

    /// All advisories, by their numbers.
    pub fn advisories(&self) -> &[Advisory] {
        self.catalogue.advisories()
    }

    /// The version that mends a package, if there is one.
    pub fn fixed(&self, package: u32, finding: Finding) -> Option<&str> {
        self.catalogue.fixed(finding.hit, &self.package(package).package)
    }
}
