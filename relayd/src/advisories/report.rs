// SPDX-License-Identifier: Apache-2.0
//! The report of vulnerable and outdated packages: by advisory, by node, by package, or each finding.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use super::{
    catalogue::{Catalogue, Hit},
    exposure::{Exposure, Finding, Matched},
    known::Struck,
    rows::{ByAdvisory, ByNode, ByPackage, EachFinding},
    severity::Severity,
};
use crate::{
    db::Connection,
    fleet::{Page, Paging, Trouble, conditions::Conditions},
    packages::{pages::page, pattern::is_like, version::Scheme},
};

/// Which findings.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Id or host name of one node.
    pub node: Option<String>,
    /// As bad as this, or worse.
    pub severity: Option<Severity>,
    /// Id or alias of an advisory.
    pub advisory: Option<String>,
    /// Name of a package; `*` is any text, `?` any character.
    pub package: Option<String>,
    /// Whether there is a version that mends it.
    pub fixed: Option<bool>,
}

impl Filter {
    fn ask<'m>(&self, c: &mut Connection, matched: &'m Matched) -> Result<Exposure<'m>, Trouble> {
        let mut which = Conditions::default();
        which.inventories_of(self.node.as_deref());
        let exposure =
            matched.exposure(c, &which, |catalogue, struck, hit| self.passes(catalogue, struck, hit))?;
        match &self.advisory {
            // Who mistypes it must not be told that no node falls under it.
            Some(name) if !exposure.advisories().iter().any(|one| one.is_named(name)) => {
                Err(Trouble::Missing(format!("no advisory {name:?} is known")))
            }
            _ => Ok(exposure),
        }
    }

    fn passes(&self, catalogue: &Catalogue, struck: &Struck, hit: Hit) -> bool {
        let (_, advisory) = catalogue.advisory(hit);
        let is_fixed = || catalogue.fixed(hit, &struck.package).is_some();
        self.severity.is_none_or(|least| advisory.severity >= least)
            && self.advisory.as_ref().is_none_or(|name| advisory.is_named(name))
            && self.fixed.is_none_or(|fixed| is_fixed() == fixed)
            && self.package.as_ref().is_none_or(|pattern| is_like(&struck.package.name, pattern))
    }
}

/// Advisories that a group was seen with: in which group each was seen last.
struct Seen(Vec<usize>);

impl Seen {
    fn new(exposure: &Exposure<'_>) -> Self {
        Self(vec![0; exposure.advisories().len()])
    }

    /// Whether this is the first time in the group, whose numbers are from 1.
    fn is_new(&mut self, group: usize, advisory: u32) -> bool {
        std::mem::replace(&mut self.0[advisory as usize], group) != group
    }
}

/// A row for each advisory, the worst first.
pub fn by_advisory(
    c: &mut Connection,
    matched: &Matched,
    filter: &Filter,
    paging: &Paging,
) -> Result<Page<ByAdvisory>, Trouble> {
    let exposure = filter.ask(c, matched)?;
    let (mut seen, mut counts) = (Seen::new(&exposure), vec![0; exposure.advisories().len()]);
    let mut met = vec![vec![false; exposure.places()]; exposure.verdicts()];
    for (number, group) in (1..).zip(&exposure.groups) {
        for (package, findings) in exposure.packages(group) {
            met[group.verdict][package as usize] = true;
            for finding in findings {
                if seen.is_new(number, finding.advisory) {
                    counts[finding.advisory as usize] += group.nodes.len() as u64;
                }
            }
        }
    }
    let mut names: BTreeMap<u32, BTreeSet<&str>> = BTreeMap::new();
    for (verdict, package) in all_met(&met) {
        for finding in exposure.findings(verdict, package) {
            names.entry(finding.advisory).or_default().insert(&exposure.package(package).package.name);
        }
    }
    let rows = names.into_iter().map(|(advisory, names)| {
        let names = names.into_iter().map(str::to_owned).collect();
        let advisory = advisory as usize;
        ByAdvisory::new(&exposure.advisories()[advisory], counts[advisory], names)
    });
    page(rows.collect(), paging, |row| (rank(row.severity), row.advisory.clone()))
}

/// Which packages were met on nodes of which operating system.
fn all_met(met: &[Vec<bool>]) -> impl Iterator<Item = (usize, u32)> {
    met.iter().enumerate().flat_map(|(verdict, packages)| {
        let met = (0..).zip(packages).filter(|(_, met)| **met);
        met.map(move |(package, _)| (verdict, package))
    })
}

/// A row for each node, the one with the worst findings first.
pub fn by_node(
    c: &mut Connection,
    matched: &Matched,
    filter: &Filter,
    paging: &Paging,
) -> Result<Page<ByNode>, Trouble> {
    let exposure = filter.ask(c, matched)?;
    let ranks: Vec<usize> = exposure.advisories().iter().map(|advisory| rank(advisory.severity)).collect();
    let (mut seen, mut rows) = (Seen::new(&exposure), Vec::new());
    for (number, group) in (1..).zip(&exposure.groups) {
        let (mut counts, mut packages) = ([0; Severity::ALL.len()], 0);
        for (_, findings) in exposure.packages(group) {
            packages += 1;
            for finding in findings {
                counts[ranks[finding.advisory as usize]] += u64::from(seen.is_new(number, finding.advisory));
            }
        }
        if packages > 0 {
            rows.extend(group.nodes.iter().map(|node| ByNode::new(node, counts, packages)));
        }
    }
    page(rows, paging, |row| (Reverse(row.counts()), row.node_id.clone()))
}

/// A row for each package, the one with the worst advisory first.
pub fn by_package(
    c: &mut Connection,
    matched: &Matched,
    filter: &Filter,
    paging: &Paging,
) -> Result<Page<ByPackage>, Trouble> {
    let exposure = filter.ask(c, matched)?;
    let mut nodes = vec![0; exposure.places()];
    let mut met = vec![vec![false; exposure.places()]; exposure.verdicts()];
    for group in &exposure.groups {
        for (package, _) in exposure.packages(group) {
            met[group.verdict][package as usize] = true;
            nodes[package as usize] += group.nodes.len() as u64;
        }
    }
    let mut found: BTreeMap<u32, BTreeMap<u32, Finding>> = BTreeMap::new();
    for (verdict, package) in all_met(&met) {
        let of_verdict = exposure.findings(verdict, package);
        found.entry(package).or_default().extend(of_verdict.iter().map(|one| (one.advisory, *one)));
    }
    let rows = found.into_iter().map(|(package, findings)| {
        let struck = exposure.package(package);
        let scheme = Scheme::of_kind(&struck.package.kind);
        let fixed = findings.values().filter_map(|finding| exposure.fixed(package, *finding));
        let fixed = fixed.max_by(|a, b| scheme.compare(a, b)).map(str::to_owned);
        let of = findings.keys().map(|advisory| &exposure.advisories()[*advisory as usize]).collect();
        ByPackage::new(struck, of, fixed, nodes[package as usize])
    });
    page(rows.collect(), paging, |row| (rank(row.severity), row.name.clone(), row.id))
}

/// A row for each finding on each node, by node, the worst first.
pub fn findings(
    c: &mut Connection,
    matched: &Matched,
    filter: &Filter,
    paging: &Paging,
) -> Result<Page<EachFinding>, Trouble> {
    type Key = (String, usize, String, i64);
    let exposure = filter.ask(c, matched)?;
    let of_group = |group: usize| exposure.groups[group].nodes.iter().map(move |node| (node, group));
    let mut nodes: Vec<_> = (0..exposure.groups.len()).flat_map(of_group).collect();
    nodes.sort_unstable_by(|(a, _), (b, _)| a.nodeid.cmp(&b.nodeid));
    let after: Option<Key> = paging.after.as_deref().and_then(|after| serde_json::from_str(after).ok());
    let begun = |id: &str| after.as_ref().is_some_and(|after| id < after.0.as_str());
    let rest = &nodes[nodes.partition_point(|(node, _)| begun(&node.nodeid))..];
    // The page is small: only its nodes become rows. The last page may have ended within a node.
    let (mut rows, mut enough) = (Vec::new(), None);
    for (node, group) in rest {
        if enough.is_some_and(|enough| rows.len() > enough) {
            break;
        }
        for (package, findings) in exposure.packages(&exposure.groups[*group]) {
            rows.extend(findings.iter().map(|finding| {
                let advisory = &exposure.advisories()[finding.advisory as usize];
                let fixed = exposure.fixed(package, *finding).map(str::to_owned);
                EachFinding::new(node, exposure.package(package), advisory, fixed)
            }));
        }
        enough.get_or_insert(rows.len() + paging.limit);
    }
    page(rows, paging, |row| -> Key {
        (row.node_id.clone(), rank(row.severity), row.advisory.clone(), row.package_id)
    })
}

/// The worst is 0.
fn rank(severity: Severity) -> usize {
    Severity::ALL.iter().position(|one| *one == severity).unwrap_or_default()
}
