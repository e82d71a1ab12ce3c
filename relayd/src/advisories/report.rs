// SPDX-License-Identifier: Apache-2.0
//! The report of vulnerable and outdated packages: by advisory, by node, by package, or each finding.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
};

use super::{
    exposure::{Finding, Group, Matched, View},
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
    fn groups<'a>(
        &self,
        c: &mut Connection,
        matched: &'a Matched,
    ) -> Result<(View<'a>, Vec<Group>), Trouble> {
        let mut which = Conditions::default();
        if let Some(node) = &self.node {
            let (id, name) = (which.text(node), which.text(node));
            which.holds(format!("(nodeid = {id} OR hostname = {name})"));
        }
        Ok(matched.groups(c, &which, |view, finding| self.passes(view, finding))?)
    }

    fn passes(&self, view: &View<'_>, finding: Finding) -> bool {
        let advisory = view.advisory(finding);
        let named = |name: &String| advisory.id == *name || advisory.aliases.contains(name);
        self.severity.is_none_or(|least| advisory.severity >= least)
            && self.advisory.as_ref().is_none_or(named)
            && self.fixed.is_none_or(|fixed| view.fixed(finding).is_some() == fixed)
            && self
                .package
                .as_ref()
                .is_none_or(|pattern| is_like(&view.package(finding).package.name, pattern))
    }
}

/// A row for each advisory, the worst first.
pub fn by_advisory(
    c: &mut Connection,
    matched: &Matched,
    filter: &Filter,
    paging: &Paging,
) -> Result<Page<ByAdvisory>, Trouble> {
    let (view, groups) = filter.groups(c, matched)?;
    let mut found: HashMap<u32, (Finding, u64, BTreeSet<u32>)> = HashMap::new();
    for group in &groups {
        // They are in the order of advisories.
        for findings in group.findings.chunk_by(|a, b| a.advisory == b.advisory) {
            let (_, nodes, packages) =
                found.entry(findings[0].advisory).or_insert_with(|| (findings[0], 0, BTreeSet::new()));
            *nodes += group.nodes.len() as u64;
            packages.extend(findings.iter().map(|finding| finding.package));
        }
    }
    let rows = found.into_values().map(|(finding, nodes, packages)| {
        let names = packages.iter().map(|place| view.package(Finding { package: *place, ..finding }));
        let names: BTreeSet<_> = names.map(|struck| struck.package.name.clone()).collect();
        ByAdvisory::new(view.advisory(finding), nodes, names.into_iter().collect())
    });
    page(rows.collect(), paging, |row| (rank(row.severity), row.advisory.clone()))
}

/// A row for each node, the one with the worst findings first.
pub fn by_node(
    c: &mut Connection,
    matched: &Matched,
    filter: &Filter,
    paging: &Paging,
) -> Result<Page<ByNode>, Trouble> {
    let (view, groups) = filter.groups(c, matched)?;
    let mut rows = Vec::new();
    for group in &groups {
        let mut counts = [0; Severity::ALL.len()];
        for findings in group.findings.chunk_by(|a, b| a.advisory == b.advisory) {
            counts[rank(view.advisory(findings[0]).severity)] += 1;
        }
        let packages: HashSet<u32> = group.findings.iter().map(|finding| finding.package).collect();
        rows.extend(group.nodes.iter().map(|node| ByNode::new(node, counts, packages.len() as u64)));
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
    let (view, groups) = filter.groups(c, matched)?;
    let mut found: BTreeMap<u32, (u64, BTreeMap<u32, Finding>)> = BTreeMap::new();
    for group in &groups {
        let mut seen = HashSet::new();
        for finding in &group.findings {
            let (nodes, advisories) = found.entry(finding.package).or_default();
            if seen.insert(finding.package) {
                *nodes += group.nodes.len() as u64;
            }
            advisories.entry(finding.advisory).or_insert(*finding);
        }
    }
    let mut rows = Vec::new();
    for (nodes, advisories) in found.into_values() {
        let Some(first) = advisories.values().next() else { continue };
        let struck = view.package(*first);
        let scheme = Scheme::of_kind(&struck.package.kind);
        let fixed = advisories.values().filter_map(|finding| view.fixed(*finding));
        let fixed = fixed.max_by(|a, b| scheme.compare(a, b)).map(str::to_owned);
        let of = advisories.values().map(|finding| view.advisory(*finding)).collect();
        rows.push(ByPackage::new(struck, of, fixed, nodes));
    }
    page(rows, paging, |row| (rank(row.severity), row.name.clone(), row.id))
}

/// A row for each finding on each node, by node, the worst first.
pub fn findings(
    c: &mut Connection,
    matched: &Matched,
    filter: &Filter,
    paging: &Paging,
) -> Result<Page<EachFinding>, Trouble> {
    let (view, groups) = filter.groups(c, matched)?;
    let mut nodes: Vec<_> =
        groups.iter().flat_map(|group| group.nodes.iter().map(|node| (node, &group.findings))).collect();
    nodes.sort_unstable_by(|(a, _), (b, _)| a.nodeid.cmp(&b.nodeid));
    type Key = (String, usize, String, i64);
    let after: Option<Key> = paging.after.as_deref().and_then(|after| serde_json::from_str(after).ok());
    let begun = |id: &str| after.as_ref().is_some_and(|after| id < after.0.as_str());
    let rest = &nodes[nodes.partition_point(|(node, _)| begun(&node.nodeid))..];
    // The page is small: only its nodes become rows. The last page may have ended within a node.
    let enough = paging.limit + rest.first().map_or(0, |(_, findings)| findings.len());
    let mut rows = Vec::new();
    for (node, findings) in rest {
        if rows.len() > enough {
            break;
        }
        rows.extend(findings.iter().map(|finding| {
            let fixed = view.fixed(*finding).map(str::to_owned);
            EachFinding::new(node, view.package(*finding), view.advisory(*finding), fixed)
        }));
    }
    page(rows, paging, |row| -> Key {
        (row.node_id.clone(), rank(row.severity), row.advisory.clone(), row.package_id)
    })
}

/// The worst is 0.
fn rank(severity: Severity) -> usize {
    Severity::ALL.iter().position(|one| *one == severity).unwrap_or_default()
}
