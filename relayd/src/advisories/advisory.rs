// SPDX-License-Identifier: Apache-2.0
//! An advisory, and which packages it is about.

use std::cmp::Ordering;

use super::{distribution::Distribution, severity::Severity};
use crate::packages::version::Scheme;

/// What somebody published about a flaw, or about versions that should be replaced.
#[derive(Debug, Clone, PartialEq)]
pub struct Advisory {
    /// Its name, such as `DSA-5678-1`.
    pub id: String,
    /// Other names of the same, such as `CVE-2026-1234`.
    pub aliases: Vec<String>,
    /// How bad.
    pub severity: Severity,
    /// One line about it; may be empty.
    pub summary: String,
    /// Where there is more.
    pub url: Option<String>,
}

impl Advisory {
    /// Whether it is called so, by its own name or another one.
    pub fn is_named(&self, name: &str) -> bool {
        self.id == name || self.aliases.iter().any(|alias| alias == name)
    }
}

/// Versions of one package that an advisory is about.
#[derive(Debug, Clone, PartialEq)]
pub struct Affected {
    /// Whose packages; `None`: of any node.
    pub distribution: Option<Distribution>,
    /// How its versions are ordered; `None`: as those of the package that is compared.
    pub scheme: Option<Scheme>,
    /// Name of the package.
    pub name: String,
    /// Whether it is the name and the version of a source package, of which several packages are made.
    pub of_source: bool,
    /// Which versions.
    pub versions: Versions,
}

/// Which versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Versions {
    /// Those in one of these.
    Spans(Vec<Span>),
    /// Exactly these.
    List(Vec<String>),
}

/// Versions from one on, until another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The first one; `None`: from the beginning.
    pub from: Option<String>,
    /// Where it ends.
    pub until: Until,
}

/// Where a span of versions ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Until {
    /// Before this one, which is mended.
    Fixed(String),
    /// With this one.
    Last(String),
    /// Nobody has mended it.
    Open,
}

impl Versions {
    /// Whether a version is one of them.
    pub fn contain(&self, scheme: Scheme, version: &str) -> bool {
        match self {
            Self::Spans(spans) => spans.iter().any(|span| span.contains(scheme, version)),
            Self::List(list) => list.iter().any(|one| scheme.compare(one, version).is_eq()),
        }
    }

    /// The version that mends `version`, if there is one.
    pub fn fixed(&self, scheme: Scheme, version: &str) -> Option<&str> {
        let Self::Spans(spans) = self else { return None };
        spans.iter().find(|span| span.contains(scheme, version)).and_then(|span| match &span.until {
            Until::Fixed(fixed) => Some(fixed.as_str()),
            Until::Last(_) | Until::Open => None,
        })
    }
}

impl Span {
    /// This version alone.
    pub fn only(version: &str) -> Self {
        Self { from: Some(version.into()), until: Until::Last(version.into()) }
    }

    /// Whether a version is in it.
    pub fn contains(&self, scheme: Scheme, version: &str) -> bool {
        let begun = self.from.as_ref().is_none_or(|from| scheme.compare(version, from).is_ge());
        begun
            && match &self.until {
                Until::Fixed(fixed) => scheme.compare(version, fixed).is_lt(),
                Until::Last(last) => scheme.compare(version, last).is_le(),
                Until::Open => true,
            }
    }
}

/// Something that happens at a version of a range of OSV.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// From here on there is the flaw.
    Introduced(String),
    /// Here it is mended.
    Fixed(String),
    /// Here it is for the last time.
    LastAffected(String),
}

/// The spans of one range, whose events may come in any order.
pub fn spans(mut events: Vec<Event>, scheme: Scheme) -> Vec<Span> {
    events.sort_by(|a, b| place(a, b, scheme));
    let (mut spans, mut open) = (Vec::new(), None);
    for event in events {
        let (from, until) = match event {
            Event::Introduced(version) => {
                // "0" is before every version, also before 0~1.
                open.get_or_insert((version != "0").then_some(version));
                continue;
            }
            Event::Fixed(version) => (open.take(), Until::Fixed(version)),
            Event::LastAffected(version) => (open.take(), Until::Last(version)),
        };
        spans.extend(from.map(|from| Span { from, until }));
    }
    spans.extend(open.map(|from| Span { from, until: Until::Open }));
    spans
}

fn place(a: &Event, b: &Event, scheme: Scheme) -> Ordering {
    let of = |event: &Event| match event {
        Event::Introduced(version) if version == "0" => (0, String::new(), 0),
        Event::Fixed(version) => (1, version.clone(), 0),
        Event::Introduced(version) => (1, version.clone(), 1),
        Event::LastAffected(version) => (1, version.clone(), 2),
    };
    let (a, b) = (of(a), of(b));
    a.0.cmp(&b.0).then_with(|| scheme.compare(&a.1, &b.1)).then(a.2.cmp(&b.2))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn introduced(version: &str) -> Event {
        Event::Introduced(version.into())
    }

    fn fixed(version: &str) -> Event {
        Event::Fixed(version.into())
    }

    #[test]
    fn ranges_with_several_branches_are_told_apart() {
        let events = vec![fixed("3.0.13"), introduced("3.1.0"), introduced("0"), fixed("3.1.5")];
        let versions = Versions::Spans(spans(events, Scheme::Dpkg));
        for (version, mended) in [
            ("0~1", Some("3.0.13")),
            ("3.0.12", Some("3.0.13")),
            ("3.0.13", None),
            ("3.1.0~rc1", None),
            ("3.1.0", Some("3.1.5")),
            ("3.1.5", None),
        ] {
            assert_eq!(versions.fixed(Scheme::Dpkg, version), mended, "{version}");
            assert_eq!(versions.contain(Scheme::Dpkg, version), mended.is_some(), "{version}");
        }
    }

    #[test]
    fn what_nobody_mended_has_no_end_and_a_last_version_is_in() {
        let open = Versions::Spans(spans(vec![introduced("2")], Scheme::Rpm));
        assert!(open.contain(Scheme::Rpm, "99-1") && !open.contain(Scheme::Rpm, "1"));
        assert_eq!(open.fixed(Scheme::Rpm, "99"), None);
        let last = spans(vec![Event::LastAffected("2-1".into()), introduced("0")], Scheme::Rpm);
        assert!(Versions::Spans(last.clone()).contain(Scheme::Rpm, "2-1"));
        assert!(!Versions::Spans(last).contain(Scheme::Rpm, "2-2"));
    }

    #[test]
    fn mended_and_broken_again_at_the_same_version_is_broken() {
        let versions = spans(vec![introduced("0"), introduced("2"), fixed("2"), fixed("3")], Scheme::Rpm);
        assert!(Versions::Spans(versions).contain(Scheme::Rpm, "2"));
    }

    #[test]
    fn a_list_is_compared_as_versions() {
        let list = Versions::List(vec!["1.0-0".into()]);
        assert!(list.contain(Scheme::Dpkg, "1.0") && !list.contain(Scheme::Rpm, "1.0-1"));
    }
}
