// SPDX-License-Identifier: Apache-2.0
//! A package as the fleet has it: one row of `package`, however many nodes have it installed.

use openssl::sha::Sha256;
use protocol::inventory::software::Software;
use schemars::JsonSchema;
use serde::Serialize;

/// SHA-256 of what something says: its identity in the database.
pub type Digest = [u8; 32];

/// What knows a package; decides how versions compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Debian's.
    Dpkg,
    /// RPM.
    Rpm,
    /// Programs on Windows.
    Windows,
    /// Anything else.
    Other,
}

/// A package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version; empty when the inventory has none.
    pub version: String,
    /// Architecture; empty when the inventory has none.
    pub arch: String,
    /// What knows it.
    pub kind: Kind,
    /// Who made or packaged it; empty when the inventory does not say.
    pub publisher: String,
    /// The source package that it was built of, where that has another name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Version of the source package, where it is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_version: Option<String>,
}

impl Kind {
    /// As in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dpkg => "dpkg",
            Self::Rpm => "rpm",
            Self::Windows => "windows",
            Self::Other => "other",
        }
    }

    /// Reads what the database says.
    pub fn parse(text: &str) -> Self {
        [Self::Dpkg, Self::Rpm, Self::Windows].into_iter().find(|k| k.as_str() == text).unwrap_or(Self::Other)
    }

    /// `from`: what an inventory says. `agent`: agents named so are those of Windows.
    fn of(from: Option<&str>, agent: &str) -> Self {
        match from {
            Some("deb" | "dpkg") => Self::Dpkg,
            Some("rpm") => Self::Rpm,
            _ if agent == "dsc" => Self::Windows,
            _ => Self::Other,
        }
    }
}

/// Longest text of a package, in bytes: indexes take no longer ones, and no package has any.
const LONGEST: usize = 512;

impl Package {
    /// From an inventory of this kind of agent. `None`: it has no name.
    pub fn of(software: Software, agent: &str) -> Option<Self> {
        let kind = Kind::of(software.from.as_deref(), agent);
        let name = cut(software.name?);
        let version = cut(software.version.unwrap_or_default());
        let other = |text: Option<String>, own: &str| text.map(cut).filter(|text| text != own);
        Some(Self {
            source: other(software.source, &name),
            source_version: other(software.source_version, &version),
            arch: cut(software.arch.unwrap_or_default()),
            kind,
            publisher: cut(software.publisher.unwrap_or_default()),
            name,
            version,
        })
    }

    /// What it is known by.
    pub fn digest(&self) -> Digest {
        let mut hash = Sha256::new();
        let kind = self.kind.as_str();
        let texts = [&self.name, &self.version, &self.arch, kind, &self.publisher];
        let texts =
            texts.into_iter().map(Some).chain([self.source.as_deref(), self.source_version.as_deref()]);
        for text in texts {
            // Lengths first, so that no two packages say the same; no text is as long as u64::MAX.
            hash.update(&text.map_or(u64::MAX, |text| text.len() as u64).to_be_bytes());
            hash.update(text.unwrap_or_default().as_bytes());
        }
        hash.finish()
    }
}

/// The text, but no longer than a package or a column has it.
pub(super) fn cut(mut text: String) -> String {
    let end = (0..=LONGEST.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text.truncate(end.unwrap_or_default());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_differ_by_all_that_is_known_of_them() {
        let software = |name: &str, version: &str, source: &str| Software {
            name: Some(name.into()),
            version: Some(version.into()),
            from: Some("deb".into()),
            source: Some(source.into()),
            ..Software::default()
        };
        let package = |name, version, source| Package::of(software(name, version, source), "").unwrap();
        let bash = package("bash", "5.2", "bash");
        assert_eq!((bash.kind, &bash.source), (Kind::Dpkg, &None), "it is its own source");
        let digests = [
            bash.digest(),
            package("bash", "5.2", "other").digest(),
            package("bash5", ".2", "bash5").digest(),
            package("bash", "", "bash").digest(),
            package("bash", "", "5.2").digest(),
        ];
        let distinct: std::collections::BTreeSet<_> = digests.iter().collect();
        assert_eq!(distinct.len(), digests.len());
        assert_eq!(package(&"é".repeat(400), "1", "x").name.len(), LONGEST);
        assert_eq!(Package::of(Software::default(), "dsc"), None);
    }

    #[test]
    fn the_agent_says_what_the_inventory_does_not() {
        let of = |from: Option<&str>, agent| Kind::of(from, agent);
        assert_eq!(of(Some("rpm"), "cfengine-community"), Kind::Rpm);
        assert_eq!(of(Some("registry"), "dsc"), Kind::Windows);
        assert_eq!(of(None, "cfengine-community"), Kind::Other);
        for kind in [Kind::Dpkg, Kind::Rpm, Kind::Windows, Kind::Other] {
            assert_eq!(Kind::parse(kind.as_str()), kind);
        }
    }
}
