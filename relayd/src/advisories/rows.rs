// SPDX-License-Identifier: Apache-2.0
//! Rows of the report.

use schemars::JsonSchema;
use serde::Serialize;

use super::{advisory::Advisory, known::Struck, severity::Severity};
use crate::{fleet::Row, packages::installed::Node};

/// An advisory, and how far it reaches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ByAdvisory {
    /// Its name.
    pub advisory: String,
    /// Other names of the same.
    pub aliases: Vec<String>,
    /// How bad it is.
    pub severity: Severity,
    /// How many nodes have a package that falls under it.
    pub nodes: u64,
    /// Names of these packages.
    pub packages: Vec<String>,
    /// One line about it; may be empty.
    pub summary: String,
    /// Where there is more.
    pub url: Option<String>,
}

/// A node, and how many advisories its packages fall under.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ByNode {
    /// Its id.
    pub node_id: String,
    /// Its host name.
    pub hostname: String,
    /// Name of its operating system.
    pub os_name: String,
    /// Version of that.
    pub os_version: String,
    /// Critical advisories.
    pub critical: u64,
    /// High ones.
    pub high: u64,
    /// Medium ones.
    pub medium: u64,
    /// Low ones.
    pub low: u64,
    /// Those that do not say how bad they are.
    pub unknown: u64,
    /// Packages that fall under any.
    pub packages: u64,
}

/// A version of a package, and what it falls under.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ByPackage {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its architecture; may be empty.
    pub arch: String,
    /// `dpkg`, `rpm`, `windows` or `other`.
    pub kind: String,
    /// Of the worst advisory.
    pub severity: Severity,
    /// The advisories, by name.
    pub advisories: Vec<String>,
    /// The version that mends all that can be mended; of the source package, where advisories name that.
    pub fixed: Option<String>,
    /// How many nodes have it.
    pub nodes: u64,
    #[serde(skip)]
    pub(super) id: i64,
}

/// A package on a node that falls under an advisory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct EachFinding {
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
    /// The advisory.
    pub advisory: String,
    /// How bad it is.
    pub severity: Severity,
    /// The version that mends it; of the source package, where the advisory names that.
    pub fixed: Option<String>,
    #[serde(skip)]
    pub(super) package_id: i64,
}

impl ByAdvisory {
    pub(super) fn new(advisory: &Advisory, nodes: u64, packages: Vec<String>) -> Self {
        let Advisory { id, aliases, severity, summary, url } = advisory.clone();
        Self { advisory: id, aliases, severity, nodes, packages, summary, url }
    }
}

impl ByNode {
    /// `counts`: in the order of [`Severity::ALL`].
    pub(super) fn new(node: &Node, counts: [u64; 5], packages: u64) -> Self {
        let Node { nodeid: node_id, hostname, os_name, os_version, chunks: _ } = node.clone();
        let [critical, high, medium, low, unknown] = counts;
        Self { node_id, hostname, os_name, os_version, critical, high, medium, low, unknown, packages }
    }

    pub(super) fn counts(&self) -> [u64; 5] {
        [self.critical, self.high, self.medium, self.low, self.unknown]
    }
}

impl ByPackage {
    pub(super) fn new(struck: &Struck, of: Vec<&Advisory>, fixed: Option<String>, nodes: u64) -> Self {
        let package = struck.package.clone();
        let severity = of.iter().map(|advisory| advisory.severity).max().unwrap_or(Severity::Unknown);
        let mut advisories: Vec<_> = of.into_iter().map(|advisory| advisory.id.clone()).collect();
        advisories.sort_unstable();
        Self {
            name: package.name,
            version: package.version,
            arch: package.arch,
            kind: package.kind,
            severity,
            advisories,
            fixed,
            nodes,
            id: struck.id,
        }
    }
}

impl EachFinding {
    pub(super) fn new(node: &Node, struck: &Struck, advisory: &Advisory, fixed: Option<String>) -> Self {
        let package = struck.package.clone();
        Self {
            node_id: node.nodeid.clone(),
            hostname: node.hostname.clone(),
            name: package.name,
            version: package.version,
            arch: package.arch,
            kind: package.kind,
            advisory: advisory.id.clone(),
            severity: advisory.severity,
            fixed,
            package_id: struck.id,
        }
    }
}

impl Row for ByAdvisory {
    const COLUMNS: &'static [&'static str] =
        &["advisory", "aliases", "severity", "nodes", "packages", "summary", "url"];

    fn cells(&self) -> Vec<String> {
        let Self { advisory, aliases, severity, nodes, packages, summary, url } = self.clone();
        let severity = severity.as_str().to_owned();
        let (aliases, packages) = (aliases.join(" "), packages.join(" "));
        vec![advisory, aliases, severity, nodes.to_string(), packages, summary, url.unwrap_or_default()]
    }
}

impl Row for ByNode {
    const COLUMNS: &'static [&'static str] = &[
        "node_id",
        "hostname",
        "os_name",
        "os_version",
        "critical",
        "high",
        "medium",
        "low",
        "unknown",
        "packages",
    ];

    fn cells(&self) -> Vec<String> {
        let node = self.clone();
        let mut cells = vec![node.node_id, node.hostname, node.os_name, node.os_version];
        cells.extend(self.counts().map(|number| number.to_string()));
        cells.push(self.packages.to_string());
        cells
    }
}

impl Row for ByPackage {
    const COLUMNS: &'static [&'static str] =
        &["name", "version", "arch", "kind", "severity", "advisories", "fixed", "nodes"];

    fn cells(&self) -> Vec<String> {
        let Self { name, version, arch, kind, severity, advisories, fixed, nodes, id: _ } = self.clone();
        let (severity, advisories) = (severity.as_str().to_owned(), advisories.join(" "));
        vec![name, version, arch, kind, severity, advisories, fixed.unwrap_or_default(), nodes.to_string()]
    }
}

impl Row for EachFinding {
    const COLUMNS: &'static [&'static str] =
        &["node_id", "hostname", "name", "version", "arch", "kind", "advisory", "severity", "fixed"];

    fn cells(&self) -> Vec<String> {
        let row = self.clone();
        let (severity, fixed) = (row.severity.as_str().to_owned(), row.fixed.unwrap_or_default());
        vec![
            row.node_id,
            row.hostname,
            row.name,
            row.version,
            row.arch,
            row.kind,
            row.advisory,
            severity,
            fixed,
        ]
    }
}
