// SPDX-License-Identifier: Apache-2.0
//! Which nodes have packages that fall under advisories: found anew for each question, from the inventories
//! that there are and the advisories that were read last.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{PoisonError, RwLock, RwLockReadGuard},
};

use diesel::QueryResult;

use super::{
    advisory::Advisory,
    catalogue::{Catalogue, Hit},
    distribution::Distribution,
    known::{Known, Struck},
};
use crate::{
    db::Connection,
    fleet::conditions::Conditions,
    inventories::bucket::BUCKETS,
    packages::installed::{self, Node},
};

/// Advisories, and what they come to with the packages of the fleet.
#[derive(Debug, Default)]
pub struct Matched {
    catalogue: Catalogue,
    known: RwLock<Known>,
}

/// Nodes with the same packages and the same operating system, and what is wrong with them.
#[derive(Debug)]
pub struct Group {
    /// By id.
    pub nodes: Vec<Node>,
    /// Each package with each advisory once.
    pub findings: Vec<Finding>,
}

/// A package that falls under an advisory: places in the [`View`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The advisory.
    pub advisory: u32,
    /// The package.
    pub package: u32,
    /// The part of the advisory that says so.
    pub hit: Hit,
}

/// What places in findings stand for, while the question is being answered.
pub struct View<'a> {
    catalogue: &'a Catalogue,
    known: RwLockReadGuard<'a, Known>,
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

    /// The nodes that fulfil the conditions, in groups, with the findings that `wanted` lets through; groups
    /// without any are left out.
    pub fn groups(
        &self,
        c: &mut Connection,
        which: &Conditions,
        wanted: impl Fn(&View<'_>, Finding) -> bool,
    ) -> QueryResult<(View<'_>, Vec<Group>)> {
        let nodes = installed::nodes(c, which, &BTreeSet::from_iter(0..BUCKETS))?;
        let mut alike: HashMap<(String, Option<Distribution>), Vec<Node>> = HashMap::new();
        for mut node in nodes {
            let chunks = std::mem::take(&mut node.chunks);
            let runs = Distribution::of_node(&node.os_name, &node.os_version);
            alike.entry((chunks, runs)).or_default().push(node);
        }
        let view = self.view(c, || alike.keys().flat_map(|(chunks, _)| installed::ids(chunks)))?;
        let mut groups = Vec::new();
        for ((chunks, runs), nodes) in alike {
            let covering = self.catalogue.covering(runs.as_ref());
            let mut findings = Vec::new();
            for place in installed::ids(&chunks).flat_map(|chunk| view.known.of_chunk(chunk)) {
                let hits = view.known.struck(*place).hits.iter().filter(|hit| covering.counts(**hit));
                findings.extend(hits.filter_map(|hit| {
                    let advisory = self.catalogue.advisory(*hit).0;
                    let finding = Finding { advisory, package: *place, hit: *hit };
                    wanted(&view, finding).then_some(finding)
                }));
            }
            // One advisory may have a part for the release and one for all of them.
            findings.sort_unstable();
            findings.dedup_by_key(|finding| (finding.advisory, finding.package));
            if !findings.is_empty() {
                groups.push(Group { nodes, findings });
            }
        }
        Ok((view, groups))
    }

    /// What is known, with these chunks in it.
    fn view<I: Iterator<Item = i64>>(
        &self,
        c: &mut Connection,
        chunks: impl Fn() -> I,
    ) -> QueryResult<View<'_>> {
        // Another question may make it forget what this one has just learned.
        for _ in 0..3 {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            if known.has_all(chunks()) {
                return Ok(View { catalogue: &self.catalogue, known });
            }
            drop(known);
            let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
            known.learn(c, &self.catalogue, chunks())?;
        }
        Err(diesel::result::Error::NotFound)
    }
}

impl View<'_> {
    /// The advisory of a finding.
    pub fn advisory(&self, finding: Finding) -> &Advisory {
        self.catalogue.advisory(finding.hit).1
    }

    /// The package of a finding.
    pub fn package(&self, finding: Finding) -> &Struck {
        self.known.struck(finding.package)
    }

    /// The version that mends it, if there is one.
    pub fn fixed(&self, finding: Finding) -> Option<&str> {
        self.catalogue.fixed(finding.hit, &self.package(finding).package)
    }
}
