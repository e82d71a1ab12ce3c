// SPDX-License-Identifier: Apache-2.0
//! Advisories in the format of OSV, as ossf.github.io/osv-schema has it, versions 1.x.
//!
//! Of each advisory the parts are taken that are about distributions whose packages inventories list; the
//! others, and withdrawn ones, are left out.

use std::collections::HashMap;

use serde::Deserialize;

use super::{
    advisory::{Advisory, Affected, Event, Span, Versions, spans},
    distribution::Distribution,
    severity::{Severity, cvss3_score},
};
use crate::packages::version::Scheme;

/// An advisory as its file has it. Members that are not needed are passed over.
#[derive(Debug, Deserialize)]
pub struct Record {
    id: String,
    #[serde(default)]
    aliases: Vec<String>,
    #[serde(default)]
    upstream: Vec<String>,
    #[serde(default)]
    summary: String,
    #[serde(default)]
    details: String,
    withdrawn: Option<String>,
    #[serde(default)]
    severity: Vec<Rated>,
    #[serde(default)]
    references: Vec<Reference>,
    #[serde(default)]
    affected: Vec<Part>,
    #[serde(default)]
    database_specific: Specific,
}

#[derive(Debug, Deserialize)]
struct Rated {
    #[serde(rename = "type")]
    kind: String,
    score: String,
}

#[derive(Debug, Deserialize)]
struct Reference {
    #[serde(rename = "type", default)]
    kind: String,
    url: String,
}

#[derive(Debug, Deserialize)]
struct Part {
    package: Option<Package>,
    #[serde(default)]
    severity: Vec<Rated>,
    #[serde(default)]
    ranges: Vec<Range>,
    #[serde(default)]
    versions: Vec<String>,
    #[serde(default)]
    ecosystem_specific: Specific,
    #[serde(default)]
    database_specific: Specific,
}

#[derive(Debug, Deserialize)]
struct Package {
    ecosystem: String,
    name: String,
}

#[derive(Debug, Deserialize)]
struct Range {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    events: Vec<HashMap<String, serde_json::Value>>,
}

/// What publishers add: any JSON. Of it the words for how bad it is are used.
#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
struct Specific(serde_json::Value);

impl Specific {
    fn severity(&self) -> Option<Severity> {
        ["severity", "urgency"]
            .iter()
            .find_map(|member| self.0.get(member)?.as_str()?.parse().ok())
            .filter(|severity| *severity != Severity::Unknown)
    }
}

/// An advisory and its parts; `None` for one that is withdrawn or about other things than these packages.
pub fn take(record: Record) -> Option<(Advisory, Vec<Affected>)> {
    if record.withdrawn.is_some() {
        return None;
    }
    let affected: Vec<Affected> = record.affected.iter().filter_map(part).collect();
    if affected.is_empty() {
        return None;
    }
    let severity = severity(&record);
    let link = |kind: &str| record.references.iter().find(|reference| reference.kind == kind);
    let url =
        link("ADVISORY").or_else(|| link("WEB")).or(record.references.first()).map(|one| one.url.clone());
    let summary = if record.summary.is_empty() { &record.details } else { &record.summary };
    let summary = super::shortened(summary);
    let mut aliases = record.aliases;
    aliases.extend(record.upstream);
    aliases.sort_unstable();
    aliases.dedup();
    Some((Advisory { id: record.id, aliases, severity, summary, url }, affected))
}

/// What the publisher says in a word goes before what a vector gives: it knows how its packages are built.
fn severity(record: &Record) -> Severity {
    let parts = || record.affected.iter();
    let in_words = record
        .database_specific
        .severity()
        .or_else(|| parts().filter_map(|part| part.ecosystem_specific.severity()).max())
        .or_else(|| parts().filter_map(|part| part.database_specific.severity()).max());
    let rated = record.severity.iter().chain(parts().flat_map(|part| &part.severity));
    in_words.or_else(|| rated.filter_map(of_rating).max()).unwrap_or(Severity::Unknown)
}

fn of_rating(rated: &Rated) -> Option<Severity> {
    match rated.kind.as_str() {
        "CVSS_V3" => cvss3_score(&rated.score).map(Severity::of_score),
        "CVSS_V2" | "CVSS_V4" => None,
        // Of a distribution: a word.
        _ => rated.score.parse().ok(),
    }
}

fn part(part: &Part) -> Option<Affected> {
    let package = part.package.as_ref()?;
    let (distribution, scheme) = Distribution::of_ecosystem(&package.ecosystem)?;
    let ecosystem_ranges = part.ranges.iter().filter(|range| range.kind == "ECOSYSTEM");
    let spans: Vec<_> = ecosystem_ranges
        .flat_map(|range| spans(range.events.iter().flat_map(events).collect(), scheme))
        .collect();
    let versions = match spans.is_empty() {
        false => Versions::Spans(with_listed(spans, &part.versions, scheme)),
        true if part.versions.is_empty() => return None,
        true => Versions::List(part.versions.clone()),
    };
    Some(Affected {
        distribution: Some(distribution),
        scheme: Some(scheme),
        name: package.name.clone(),
        // Debian and Ubuntu name the source package, the others what is installed.
        of_source: scheme == Scheme::Dpkg,
        versions,
    })
}

/// What is in the list is affected as well. Nearly all of it is in a range already, and is not kept twice.
fn with_listed(mut spans: Vec<Span>, listed: &[String], scheme: Scheme) -> Vec<Span> {
    let outside = |version: &&String| !spans.iter().any(|span| span.contains(scheme, version));
    let outside: Vec<Span> = listed.iter().filter(outside).map(|version| Span::only(version)).collect();
    spans.extend(outside);
    spans
}

fn events(event: &HashMap<String, serde_json::Value>) -> Vec<Event> {
    let one = |(name, version): (&String, &serde_json::Value)| {
        let version = version.as_str()?.to_owned();
        match name.as_str() {
            "introduced" => Some(Event::Introduced(version)),
            "fixed" => Some(Event::Fixed(version)),
            "last_affected" => Some(Event::LastAffected(version)),
            _ => None,
        }
    };
    event.iter().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::advisories::advisory::Until;

    fn taken(json: serde_json::Value) -> Option<(Advisory, Vec<Affected>)> {
        take(serde_json::from_value(json).unwrap())
    }

    #[test]
    fn an_advisory_of_a_distribution_is_taken_over() {
        let (advisory, affected) = taken(serde_json::json!({
            "schema_version": "1.6.0", "id": "DSA-1-1", "modified": "2026-01-01T00:00:00Z",
            "upstream": ["CVE-2026-1"], "aliases": [],
            "details": "A flaw.\n\nMore about it.",
            "references": [{"type": "WEB", "url": "https://e.example/w"}, {"type": "ADVISORY", "url": "https://e.example/a"}],
            "affected": [
                {"package": {"ecosystem": "Debian:12", "name": "openssl", "purl": "pkg:deb/debian/openssl"},
                 "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "3.0.13-1"}]}],
                 "versions": ["3.0.11-1", "3.0.12-1"], "ecosystem_specific": {"urgency": "not yet assigned"}},
                {"package": {"ecosystem": "PyPI", "name": "cryptography"}, "versions": ["1"]},
            ],
            "severity": [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:N"}],
        }))
        .unwrap();
        assert_eq!(advisory.aliases, ["CVE-2026-1"]);
        assert_eq!((advisory.severity, advisory.summary.as_str()), (Severity::High, "A flaw."));
        assert_eq!(advisory.url.as_deref(), Some("https://e.example/a"));
        let [only] = affected.as_slice() else { panic!("{affected:?}") };
        assert_eq!((only.name.as_str(), only.of_source), ("openssl", true));
        let span = Span { from: None, until: Until::Fixed("3.0.13-1".into()) };
        assert_eq!(only.versions, Versions::Spans(vec![span]));
    }

    #[test]
    fn listed_versions_count_beside_ranges() {
        let (_, affected) = taken(serde_json::json!({
            "id": "DSA-2-1",
            "affected": [{"package": {"ecosystem": "Debian:12", "name": "a"},
                "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "2"}, {"fixed": "3"}]}],
                "versions": ["1.0", "2.0", "2.5"]}],
        }))
        .unwrap();
        let versions = &affected[0].versions;
        for (version, expected) in
            [("0.9", false), ("1.0", true), ("1.1", false), ("2.9", true), ("3", false)]
        {
            assert_eq!(versions.contain(Scheme::Dpkg, version), expected, "{version}");
        }
        assert!(matches!(versions, Versions::Spans(spans) if spans.len() == 2), "{versions:?}");
    }

    #[test]
    fn words_of_the_publisher_go_before_vectors() {
        let (advisory, affected) = taken(serde_json::json!({
            "id": "RLSA-1", "database_specific": {"severity": "Moderate"},
            "severity": [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}],
            "affected": [{"package": {"ecosystem": "Rocky Linux:9", "name": "openssl-libs"}, "versions": ["1:3.0.7-1.el9"]}],
        }))
        .unwrap();
        assert_eq!(advisory.severity, Severity::Medium);
        assert!(!affected[0].of_source);
        assert_eq!(affected[0].versions, Versions::List(vec!["1:3.0.7-1.el9".into()]));
        let ubuntu = serde_json::json!({
            "id": "USN-1", "severity": [{"type": "Ubuntu", "score": "negligible"}],
            "affected": [{"package": {"ecosystem": "Ubuntu:22.04:LTS", "name": "bash"}, "versions": ["1"]}],
        });
        assert_eq!(taken(ubuntu).unwrap().0.severity, Severity::Low);
    }

    #[test]
    fn withdrawn_ones_and_those_about_other_things_are_left_out() {
        let part = serde_json::json!({"package": {"ecosystem": "Debian:12", "name": "a"}, "versions": ["1"]});
        assert!(taken(serde_json::json!({"id": "x", "affected": [part]})).is_some());
        assert!(
            taken(serde_json::json!({"id": "x", "withdrawn": "2026-01-01T00:00:00Z", "affected": [part]}))
                .is_none()
        );
        assert!(taken(serde_json::json!({"id": "x", "affected": []})).is_none());
        let git = serde_json::json!({"package": {"ecosystem": "Debian:12", "name": "a"},
            "ranges": [{"type": "GIT", "events": [{"introduced": "0"}]}]});
        assert!(taken(serde_json::json!({"id": "x", "affected": [git]})).is_none());
    }
}
