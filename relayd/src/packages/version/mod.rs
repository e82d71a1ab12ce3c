// SPDX-License-Identifier: Apache-2.0
//! Which of two versions of a package is newer.
//!
//! | file | what |
//! |---|---|
//! | [`dpkg`] | as Debian orders them |
//! | [`rpm`] | as RPM orders them; also for what has no rules of its own |
//!
//! Any two texts have an order: what is no proper version is compared by the same rules.

mod dpkg;
mod rpm;

use std::cmp::Ordering;

/// Whose rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scheme {
    /// `deb-version(7)`.
    Dpkg,
    /// `rpm-version(7)`. Also for packages of Windows and others: numbers count as numbers.
    Rpm,
}

impl Scheme {
    /// By the kind of a package as it is stored (protocol 19): `dpkg`, `rpm`, `windows`, `other`.
    pub fn of_kind(kind: &str) -> Self {
        if kind == "dpkg" { Self::Dpkg } else { Self::Rpm }
    }

    /// The order of two versions. A missing release of RPM is older than any.
    pub fn compare(self, a: &str, b: &str) -> Ordering {
        match self {
            Self::Dpkg => dpkg::compare(a, b),
            Self::Rpm => rpm::compare(a, b),
        }
    }

    /// The order as whoever asks means it: of RPM, where one of the two has no release, only versions
    /// are compared, as RPM does it with dependencies. This is no order to sort by.
    pub fn compare_as_asked(self, a: &str, b: &str) -> Ordering {
        match self {
            Self::Dpkg => dpkg::compare(a, b),
            Self::Rpm => rpm::compare_as_asked(a, b),
        }
    }
}

/// Divides a version into epoch and rest. What stands before the colon is one only if it is a number.
fn epoch(version: &str) -> (u64, &str) {
    match version.split_once(':') {
        Some(("", rest)) => (0, rest),
        Some((epoch, rest)) if epoch.bytes().all(|byte| byte.is_ascii_digit()) => {
            (epoch.parse().unwrap_or(u64::MAX), rest)
        }
        _ => (0, version),
    }
}

/// Compares two runs of digits as numbers of any length.
fn numbers(a: &[u8], b: &[u8]) -> Ordering {
    let significant = |digits: &[u8]| digits.iter().position(|digit| *digit != b'0').unwrap_or(digits.len());
    let (a, b) = (&a[significant(a)..], &b[significant(b)..]);
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

/// Divides a text where its first part, of what `is_part` accepts, ends.
fn part(text: &[u8], is_part: impl Fn(u8) -> bool) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| !is_part(*byte)).unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    /// What `dpkg --compare-versions` or `rpm --eval` says; `None` where the tool is not there.
    fn tool(scheme: Scheme, a: &str, b: &str) -> Option<Ordering> {
        match scheme {
            Scheme::Dpkg => {
                let holds = |relation: &str| {
                    let arguments = ["--force-bad-version", "--compare-versions", a, relation, b];
                    let output = Command::new("dpkg").args(arguments).output().ok()?;
                    // 2: it takes one of them for no version at all.
                    assert_ne!(output.status.code(), Some(2), "{a} {b}: {output:?}");
                    Some(output.status.success())
                };
                Some(match (holds("lt-nl")?, holds("gt-nl")?) {
                    (true, _) => Ordering::Less,
                    (_, true) => Ordering::Greater,
                    _ => Ordering::Equal,
                })
            }
            Scheme::Rpm => {
                let macro_text = format!("%{{lua:print(rpm.vercmp('{a}','{b}'))}}");
                let output = Command::new("rpm").args(["--eval", &macro_text]).output().ok()?;
                let number: i32 = String::from_utf8(output.stdout).ok()?.trim().parse().ok()?;
                Some(number.cmp(&0))
            }
        }
    }

    /// Versions made of what `alphabet` allows, in pairs that begin with the same.
    fn pairs(alphabet: &'static str) -> impl Strategy<Value = (String, String)> {
        let piece = || proptest::string::string_regex(alphabet).unwrap();
        (piece(), piece(), piece())
            .prop_map(|(start, a, b)| (start.clone() + &a, start + &b))
            .prop_filter("dpkg has none that end so", |(a, b)| !a.ends_with('-') && !b.ends_with('-'))
    }

    fn agrees_with_the_tool(scheme: Scheme, alphabet: &'static str, name: &str) {
        if tool(scheme, "1", "1").is_none() {
            assert!(
                std::env::var_os("CI").is_none(),
                "{name} is not installed: see tests/install-dependencies"
            );
            println!("skipped: {name} is not installed");
            return;
        }
        let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
            cases: 200,
            failure_persistence: None,
            ..ProptestConfig::default()
        });
        let test = |(a, b): (String, String)| {
            prop_assert_eq!(scheme.compare(&a, &b), tool(scheme, &a, &b).unwrap(), "{} and {}", a, b);
            Ok(())
        };
        runner.run(&pairs(alphabet), test).unwrap();
    }

    #[test]
    fn random_versions_are_ordered_as_dpkg_orders_them() {
        agrees_with_the_tool(Scheme::Dpkg, "[0-9][0-9a-bA+.~-]{0,5}", "dpkg");
    }

    #[test]
    fn random_versions_are_ordered_as_rpm_orders_them() {
        agrees_with_the_tool(Scheme::Rpm, "[0-9][0-9a-bA+._~^]{0,5}", "rpm");
    }

    proptest! {
        #[test]
        fn any_texts_have_an_order(a in ".{0,12}", b in ".{0,12}", c in "[0-9a-b:~^.+-]{0,8}") {
            for scheme in [Scheme::Dpkg, Scheme::Rpm] {
                prop_assert_eq!(scheme.compare(&a, &a), Ordering::Equal);
                for (a, b) in [(&a, &b), (&a, &c), (&b, &c)] {
                    prop_assert_eq!(scheme.compare(a, b), scheme.compare(b, a).reverse());
                }
            }
        }
    }
}
