// SPDX-License-Identifier: Apache-2.0
//! All advisories that were read, found by the names of packages.

use std::collections::{HashMap, hash_map::Entry};

use super::{
    advisory::{Advisory, Affected},
    distribution::Distribution,
};
use crate::packages::version::Scheme;

/// Most parts of advisories (packages times releases) that are kept: several times what all distributions
/// together have published.
const MOST: usize = 4_000_000;

/// Advisories, and what they are about.
#[derive(Debug, Default)]
pub struct Catalogue {
    advisories: Vec<Advisory>,
    by_id: HashMap<String, u32>,
    parts: Vec<Part>,
    by_name: HashMap<String, Vec<u32>>,
    distributions: Vec<Distribution>,
}

/// A part of an advisory; see [`Affected`].
#[derive(Debug)]
struct Part {
    advisory: u32,
    /// Place in `distributions`.
    distribution: Option<u16>,
    affected: Affected,
}

/// A package, as an inventory has it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its architecture; may be empty.
    pub arch: String,
    /// `dpkg`, `rpm`, `windows` or `other`.
    pub kind: String,
    /// Name of the source package, if it has another one.
    pub source: Option<String>,
    /// Version of the source package, if it has another one.
    pub source_version: Option<String>,
}

/// A part of an advisory that a package falls under, if the node runs the distribution: a place in the
/// catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hit(u32);

/// There are too many.
#[derive(Debug, thiserror::Error)]
#[error("there are more than {MOST} packages in advisories; provide those of the releases that you run only")]
pub struct TooMany;

impl Catalogue {
    /// Takes an advisory and its parts in. What is said of an advisory that is there already stays; the parts
    /// come to those that it has.
    pub fn add(
        &mut self,
        advisory: Advisory,
        parts: impl IntoIterator<Item = Affected>,
    ) -> Result<(), TooMany> {
        let advisory = match self.by_id.entry(advisory.id.clone()) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(new) => {
                let number = u32::try_from(self.advisories.len()).map_err(|_| TooMany)?;
                self.advisories.push(advisory);
                *new.insert(number)
            }
        };
        for affected in parts {
            if self.parts.len() >= MOST {
                return Err(TooMany);
            }
            let part = u32::try_from(self.parts.len()).map_err(|_| TooMany)?;
            let distribution = affected.distribution.as_ref().map(|one| self.place_of(one)).transpose()?;
            match self.by_name.get_mut(&affected.name) {
                Some(parts) => parts.push(part),
                None => drop(self.by_name.insert(affected.name.clone(), vec![part])),
            }
            self.parts.push(Part { advisory, distribution, affected });
        }
        Ok(())
    }

    fn place_of(&mut self, distribution: &Distribution) -> Result<u16, TooMany> {
        let known = self.distributions.iter().position(|one| one == distribution);
        let place = known.unwrap_or_else(|| {
            self.distributions.push(distribution.clone());
            self.distributions.len() - 1
        });
        u16::try_from(place).map_err(|_| TooMany)
    }

    /// All advisories, by their numbers.
    pub fn advisories(&self) -> &[Advisory] {
        &self.advisories
    }

    /// How many advisories there are.
    pub fn len(&self) -> usize {
        self.advisories.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.advisories.is_empty()
    }

    /// What a package falls under, on one distribution or another.
    pub fn hits(&self, package: &Package) -> Vec<Hit> {
        let own = self.parts_named(&package.name, false);
        let of_source = self.parts_named(package.source.as_ref().unwrap_or(&package.name), true);
        let falls_under = |part: &u32| {
            let affected = &self.parts[*part as usize].affected;
            let scheme = Scheme::of_kind(&package.kind);
            affected.scheme.is_none_or(|of_part| of_part == scheme)
                && affected.versions.contain(scheme, version(package, affected))
        };
        let mut hits: Vec<_> = own.chain(of_source).filter(falls_under).map(Hit).collect();
        hits.sort_unstable();
        hits
    }

    fn parts_named(&self, name: &str, of_source: bool) -> impl Iterator<Item = u32> {
        let parts = self.by_name.get(name).map_or(&[][..], Vec::as_slice);
        parts.iter().copied().filter(move |part| self.parts[*part as usize].affected.of_source == of_source)
    }

    /// The advisory of a hit: its number in this catalogue, and itself.
    pub fn advisory(&self, hit: Hit) -> (u32, &Advisory) {
        let number = self.parts[hit.0 as usize].advisory;
        (number, &self.advisories[number as usize])
    }

    /// The version that mends what a package was hit by, if there is one. For a part about a source package:
    /// a version of that.
    pub fn fixed(&self, hit: Hit, package: &Package) -> Option<&str> {
        let affected = &self.parts[hit.0 as usize].affected;
        affected.versions.fixed(Scheme::of_kind(&package.kind), version(package, affected))
    }

    /// Which hits count on a node that runs this.
    pub fn covering(&self, node: Option<&Distribution>) -> Covering<'_> {
        let covers = |of_part: &Distribution| node.is_some_and(|node| of_part.covers(node));
        Covering { catalogue: self, covered: self.distributions.iter().map(covers).collect() }
    }
}

fn version<'a>(package: &'a Package, affected: &Affected) -> &'a str {
    let of_source = package.source_version.as_ref().filter(|_| affected.of_source);
    of_source.unwrap_or(&package.version)
}

/// Which hits count on nodes of one kind.
#[derive(Debug)]
pub struct Covering<'a> {
    catalogue: &'a Catalogue,
    covered: Vec<bool>,
}

impl Covering<'_> {
    /// Whether this one does.
    pub fn counts(&self, hit: Hit) -> bool {
        let distribution = self.catalogue.parts[hit.0 as usize].distribution;
        distribution.is_none_or(|place| self.covered[usize::from(place)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::advisories::{
        advisory::{Span, Until, Versions},
        severity::Severity,
    };

    fn advisory(id: &str) -> Advisory {
        let (aliases, summary) = (Vec::new(), String::new());
        Advisory { id: id.into(), aliases, severity: Severity::High, summary, url: None }
    }

    fn part(ecosystem: Option<&str>, name: &str, of_source: bool, fixed: &str) -> Affected {
        let (distribution, scheme) = ecosystem.and_then(Distribution::of_ecosystem).unzip();
        let versions = Versions::Spans(vec![Span { from: None, until: Until::Fixed(fixed.into()) }]);
        Affected { distribution, scheme, name: name.into(), of_source, versions }
    }

    fn package(kind: &str, name: &str, version: &str, source: Option<(&str, &str)>) -> Package {
        let (source, source_version) = source.map(|(name, version)| (name.into(), version.into())).unzip();
        let [name, version, arch, kind] = [name, version, "", kind].map(str::to_owned);
        Package { name, version, arch, kind, source, source_version }
    }

    fn names(catalogue: &Catalogue, package: &Package, node: Option<(&str, &str)>) -> Vec<String> {
        let node = node.and_then(|(name, version)| Distribution::of_node(name, version));
        let covering = catalogue.covering(node.as_ref());
        let hits = catalogue.hits(package).into_iter().filter(|hit| covering.counts(*hit));
        hits.map(|hit| catalogue.advisory(hit).1.id.clone()).collect()
    }

    #[test]
    fn source_packages_are_compared_by_their_own_version() {
        let mut catalogue = Catalogue::default();
        catalogue.add(advisory("DSA-1"), [part(Some("Debian:12"), "gcc-12", true, "12.2.0-15")]).unwrap();
        let node = Some(("Debian", "12.4"));
        let old = package("dpkg", "libgcc-s1", "1:12.2.0-14", Some(("gcc-12", "12.2.0-14")));
        assert_eq!(names(&catalogue, &old, node), ["DSA-1"]);
        assert_eq!(catalogue.fixed(catalogue.hits(&old)[0], &old), Some("12.2.0-15"));
        let new = package("dpkg", "libgcc-s1", "1:12.2.0-15", Some(("gcc-12", "12.2.0-15")));
        assert_eq!(names(&catalogue, &new, node), [""; 0]);
        // Named like the source, built from another one.
        let other = package("dpkg", "gcc-12", "1", Some(("gcc-defaults", "1")));
        assert_eq!(names(&catalogue, &other, node), [""; 0]);
        assert_eq!(names(&catalogue, &package("dpkg", "gcc-12", "12.2.0-1", None), node), ["DSA-1"]);
    }

    #[test]
    fn only_nodes_of_the_distribution_count() {
        let mut catalogue = Catalogue::default();
        catalogue
            .add(advisory("RHSA-1"), [part(Some("Red Hat:enterprise_linux:8"), "bash", false, "5-2")])
            .unwrap();
        catalogue.add(advisory("ours"), [part(None, "bash", false, "5-2")]).unwrap();
        let rpm = package("rpm", "bash", "5-1", None);
        assert_eq!(names(&catalogue, &rpm, Some(("Red Hat Enterprise Linux", "8.9"))), ["RHSA-1", "ours"]);
        assert_eq!(names(&catalogue, &rpm, Some(("Red Hat Enterprise Linux", "9.1"))), ["ours"]);
        assert_eq!(names(&catalogue, &rpm, None), ["ours"]);
        let dpkg = package("dpkg", "bash", "5-1", None);
        assert_eq!(names(&catalogue, &dpkg, Some(("Red Hat Enterprise Linux", "8.9"))), ["ours"]);
    }

    #[test]
    fn parts_of_one_advisory_come_together() {
        let mut catalogue = Catalogue::default();
        for name in ["a", "b"] {
            catalogue.add(advisory("one"), [part(None, name, false, "2")]).unwrap();
        }
        assert_eq!(catalogue.len(), 1);
        assert_eq!(names(&catalogue, &package("rpm", "b", "1", None), None), ["one"]);
    }
}
