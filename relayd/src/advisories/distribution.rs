// SPDX-License-Identifier: Apache-2.0
//! For which distribution, and release of it, an advisory is, and which one a node runs.

use crate::packages::version::Scheme;

/// A distribution of software, or one release of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Distribution {
    /// As in [`NAMES`].
    pub name: &'static str,
    /// Numbers of the release, such as `12`, `22.04` or `15.5`; `None` for all.
    pub release: Option<String>,
}

/// Name, rules of versions, beginnings of OSV's names, and what the name of a node's operating system
/// contains (protocol 6.6), in lower case. The first that fits counts.
const NAMES: &[(&str, Scheme, &[&str], &[&str])] = &[
    ("ubuntu", Scheme::Dpkg, &["ubuntu"], &["ubuntu"]),
    ("debian", Scheme::Dpkg, &["debian"], &["debian"]),
    ("rocky", Scheme::Rpm, &["rocky linux", "rocky"], &["rocky"]),
    ("almalinux", Scheme::Rpm, &["almalinux"], &["alma"]),
    ("redhat", Scheme::Rpm, &["red hat", "redhat"], &["red hat", "redhat", "rhel"]),
    ("centos", Scheme::Rpm, &["centos"], &["centos"]),
    ("fedora", Scheme::Rpm, &["fedora"], &["fedora"]),
    // Its releases are days, and an advisory is for the newest.
    (TUMBLEWEED, Scheme::Rpm, &["opensuse tumbleweed"], &["tumbleweed"]),
    ("opensuse", Scheme::Rpm, &["opensuse"], &["opensuse"]),
    ("suse", Scheme::Rpm, &["suse"], &["suse", "sles"]),
    ("oracle", Scheme::Rpm, &["oracle"], &["oracle"]),
    ("amazon", Scheme::Rpm, &["amazon"], &["amazon", "amzn"]),
    ("azurelinux", Scheme::Rpm, &["azure linux", "mariner"], &["azure linux", "mariner"]),
    ("mageia", Scheme::Rpm, &["mageia"], &["mageia"]),
    ("openeuler", Scheme::Rpm, &["openeuler"], &["openeuler"]),
    ("photon", Scheme::Rpm, &["photon os", "photon"], &["photon"]),
    ("windows", Scheme::Rpm, &["windows"], &["windows"]),
];

const TUMBLEWEED: &str = "tumbleweed";

/// Names of distributions, for people.
pub fn names() -> impl Iterator<Item = &'static str> {
    NAMES.iter().map(|(name, ..)| *name)
}

impl Distribution {
    /// Of an OSV ecosystem, `Name[:release]`; `None` for those that packages of inventories are not from.
    pub fn of_ecosystem(ecosystem: &str) -> Option<(Self, Scheme)> {
        let lower = ecosystem.to_ascii_lowercase();
        let (name, product) = lower.split_once(':').unwrap_or((&lower, ""));
        // `Red Hat:enterprise_linux:8::baseos`: other products have packages that no node has.
        if name == "red hat" && !product.is_empty() && !is_enterprise_linux(product) {
            return None;
        }
        match (name, product) {
            ("opensuse", TUMBLEWEED) => Self::named(TUMBLEWEED, ""),
            // Versions of their own beside those that nearly all nodes have.
            ("ubuntu", _) if product.starts_with("pro:fips") => None,
            // A release without a number is one of them, not all.
            _ => Self::named(name, product).filter(|(one, _)| product.is_empty() || one.release.is_some()),
        }
    }

    /// Of a name as in [`names`] or of OSV, and a release.
    pub fn named(name: &str, release: &str) -> Option<(Self, Scheme)> {
        let lower = name.trim().to_ascii_lowercase();
        let (name, scheme, ..) =
            NAMES.iter().find(|(name, _, osv, _)| lower == *name || osv.iter().any(|one| lower == *one))?;
        Some((Self { name, release: numbers(release) }, *scheme))
    }

    /// What a node runs, by what its inventory says.
    pub fn of_node(os_name: &str, os_version: &str) -> Option<Self> {
        let lower = os_name.to_ascii_lowercase();
        let (name, ..) = NAMES.iter().find(|(.., parts)| parts.iter().any(|part| lower.contains(part)))?;
        match numbers(os_version) {
            Some(day) if *name == "opensuse" && day.len() == 8 && !day.contains('.') => {
                Some(Self { name: TUMBLEWEED, release: None })
            }
            release => Some(Self { name, release }),
        }
    }

    /// Whether what is for this distribution is for that of a node: `12` covers `12.5`. A node that does
    /// not say its release is covered by what is for all of them only.
    pub fn covers(&self, node: &Self) -> bool {
        self.name == node.name
            && match (&self.release, &node.release) {
                (None, _) => true,
                (Some(_), None) => false,
                (Some(release), Some(of_node)) => of_node
                    .strip_prefix(release.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('.')),
            }
    }
}

fn is_enterprise_linux(product: &str) -> bool {
    ["enterprise_linux:", "rhel_eus:", "rhel_aus:", "rhel_tus:", "rhel_e4s:", "rhel_els:"]
        .iter()
        .any(|one| product.starts_with(one))
        || product.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}

/// The number in a name of a release that has a service pack after it, with that, or the first one: `15.5` of
/// `Linux Enterprise Module for Python 3 15 SP5`, `22.04` of `Pro:22.04:LTS`, `12` of `12 (bookworm)`.
fn numbers(release: &str) -> Option<String> {
    let is_digit = |c: char| c.is_ascii_digit();
    let (mut rest, mut first) = (release, None);
    while let Some(start) = rest.find(is_digit) {
        let begun = &rest[start..];
        let end = begun.find(|c| !is_digit(c) && c != '.').unwrap_or(begun.len());
        let (number, after) = begun.split_at(end);
        let number = number.trim_end_matches('.');
        if let Some(pack) = service_pack(after) {
            return Some(format!("{number}.{pack}"));
        }
        first.get_or_insert(number);
        rest = after;
    }
    first.map(str::to_owned)
}

/// `5` of ` SP5-LTSS`.
fn service_pack(after: &str) -> Option<String> {
    let after = after.trim_start_matches([' ', '-', '_']).to_ascii_lowercase();
    let pack = after.strip_prefix("sp")?.trim_start();
    let end = pack.find(|c: char| !c.is_ascii_digit()).unwrap_or(pack.len());
    (end > 0).then(|| pack[..end].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(ecosystem: &str, os: &str, version: &str) -> bool {
        let (of, _) = Distribution::of_ecosystem(ecosystem).unwrap();
        of.covers(&Distribution::of_node(os, version).unwrap())
    }

    #[test]
    fn an_ecosystem_is_found_on_the_nodes_that_run_it() {
        assert!(covers("Debian:12", "Debian", "12.5"));
        assert!(covers("Debian", "Debian GNU/Linux", "12.5"));
        assert!(!covers("Debian:12", "Debian", "11.9"));
        assert!(!covers("Debian:1", "Debian", "12"));
        assert!(!covers("Debian:12", "Debian", ""));
        assert!(!covers("Debian:12", "Ubuntu", "12.04"));
        assert!(covers("Ubuntu:22.04:LTS", "Ubuntu", "22.04"));
        assert!(covers("Ubuntu:Pro:18.04:LTS", "Ubuntu", "18.04"));
        assert!(covers("Red Hat:enterprise_linux:8::baseos", "Red Hat Enterprise Linux", "8.10"));
        assert!(covers("Rocky Linux:9", "Rocky", "9.3"));
        assert!(covers("AlmaLinux:8", "AlmaLinux", "8.9"));
        assert!(covers("SUSE:Linux Enterprise Server 15 SP5", "SLES", "15-SP5"));
        assert!(covers("SUSE:Linux Enterprise Server 15 SP5", "SUSE Linux Enterprise Server", "15.5"));
        assert!(!covers("SUSE:Linux Enterprise Server 15 SP5", "openSUSE", "15.5"));
        assert!(covers("openSUSE:Leap 15.5", "openSUSE", "15.5"));
    }

    #[test]
    fn a_module_is_for_the_release_with_the_service_pack() {
        let python = "SUSE:Linux Enterprise Module for Python 3 15 SP5";
        assert!(covers(python, "SLES", "15.5"));
        assert!(!covers(python, "SLES", "15.4") && !covers(python, "SLES", "3"));
        assert!(covers("SUSE:Linux Enterprise Server 12 SP5-LTSS", "SLES", "12-SP5"));
        assert!(covers("SUSE:Linux Enterprise Module for Containers 12", "SLES", "12.5"));
    }

    #[test]
    fn a_release_without_a_number_is_not_all_releases() {
        assert!(covers("openSUSE:Tumbleweed", "openSUSE Tumbleweed", "20260101"));
        assert!(covers("openSUSE:Tumbleweed", "openSUSE", "20260101"));
        assert!(!covers("openSUSE:Tumbleweed", "openSUSE", "15.5"));
        assert!(!covers("openSUSE:Leap 15.5", "openSUSE Tumbleweed", "20260101"));
        for ecosystem in ["Debian:sid", "openSUSE:Leap", "Ubuntu:Pro:FIPS-updates:20.04:LTS"] {
            assert_eq!(Distribution::of_ecosystem(ecosystem), None, "{ecosystem}");
        }
    }

    #[test]
    fn other_ecosystems_are_left_out() {
        for ecosystem in ["PyPI", "npm", "crates.io", "Red Hat:openshift:4.12::el8", "Debianish:1"] {
            assert_eq!(Distribution::of_ecosystem(ecosystem), None, "{ecosystem}");
        }
        assert_eq!(Distribution::of_node("Plan 9", "4"), None);
    }

    #[test]
    fn every_name_says_itself() {
        for (name, scheme, _, _) in NAMES {
            assert_eq!(
                Distribution::named(name, "").unwrap(),
                (Distribution { name, release: None }, *scheme)
            );
        }
    }
}
