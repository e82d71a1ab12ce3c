// SPDX-License-Identifier: Apache-2.0
//! The order of RPM's versions, `[epoch:]version[-release]`: `rpm-version(7)`.

use std::cmp::Ordering;

use super::{epoch, numbers, part};

/// The order of two versions; a missing epoch is 0, a missing release older than any.
pub fn compare(a: &str, b: &str) -> Ordering {
    let (a, b) = (Divided::of(a), Divided::of(b));
    a.version_to(&b).then_with(|| releases(a.release, b.release))
}

/// As [`compare`], but where one has no release, releases do not count.
pub fn compare_as_asked(a: &str, b: &str) -> Ordering {
    let (a, b) = (Divided::of(a), Divided::of(b));
    let both = a.release.is_some() && b.release.is_some();
    let by_release = || if both { releases(a.release, b.release) } else { Ordering::Equal };
    a.version_to(&b).then_with(by_release)
}

struct Divided<'a> {
    epoch: u64,
    version: &'a str,
    release: Option<&'a str>,
}

impl<'a> Divided<'a> {
    fn of(text: &'a str) -> Self {
        let (epoch, rest) = epoch(text);
        match rest.rsplit_once('-') {
            Some((version, release)) => Self { epoch, version, release: Some(release) },
            None => Self { epoch, version: rest, release: None },
        }
    }

    fn version_to(&self, other: &Self) -> Ordering {
        let versions = || segments(self.version.as_bytes(), other.version.as_bytes());
        self.epoch.cmp(&other.epoch).then_with(versions)
    }
}

fn releases(a: Option<&str>, b: Option<&str>) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => segments(a.as_bytes(), b.as_bytes()),
        (a, b) => a.is_some().cmp(&b.is_some()),
    }
}

/// Compares segments of digits and of letters; all else only divides them, but for `~` and `^`.
fn segments(mut a: &[u8], mut b: &[u8]) -> Ordering {
    let divides = |byte: u8| !byte.is_ascii_alphanumeric() && byte != b'~' && byte != b'^';
    loop {
        (a, b) = (part(a, divides).1, part(b, divides).1);
        match (a.first(), b.first()) {
            // A tilde goes before everything, the end included.
            (Some(b'~'), Some(b'~')) | (Some(b'^'), Some(b'^')) => {
                (a, b) = (&a[1..], &b[1..]);
                continue;
            }
            (Some(b'~'), _) => return Ordering::Less,
            (_, Some(b'~')) => return Ordering::Greater,
            // A caret goes after the end, and before everything else.
            (Some(b'^'), None) => return Ordering::Greater,
            (None, Some(b'^')) => return Ordering::Less,
            (Some(b'^'), _) => return Ordering::Less,
            (_, Some(b'^')) => return Ordering::Greater,
            // Whoever has something left is newer.
            (a, b) if a.is_none() || b.is_none() => return a.is_some().cmp(&b.is_some()),
            _ => {}
        }
        let numeric = a[0].is_ascii_digit();
        let same_kind = |byte: u8| if numeric { byte.is_ascii_digit() } else { byte.is_ascii_alphabetic() };
        let (a_segment, a_rest) = part(a, same_kind);
        let (b_segment, b_rest) = part(b, same_kind);
        let order = match (b_segment.is_empty(), numeric) {
            // Of two kinds: numbers are newer than letters.
            (true, true) => Ordering::Greater,
            (true, false) => Ordering::Less,
            (false, true) => numbers(a_segment, b_segment),
            (false, false) => a_segment.cmp(b_segment),
        };
        if order.is_ne() {
            return order;
        }
        (a, b) = (a_rest, b_rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_rpm_says() {
        let ascending = [
            "1.0~rc1",
            "1.0~rc2",
            "1.0",
            "1.0-1.el8",
            "1.0-1.el8_5",
            "1.0-1.el8_10",
            "1.0-2",
            "1.0-10",
            "1.0^git1-1",
            "1.0^git2-1",
            "1.0.1-1",
            "1.1.1k-5.el8_5",
            "1.1.1k-7.el8_6",
            "2.0.1a",
            "2.0.1.1",
            "1:0.1-1",
            "2:0",
        ];
        for (at, a) in ascending.iter().enumerate() {
            for b in &ascending[at + 1..] {
                assert_eq!(compare(a, b), Ordering::Less, "{a} and {b}");
                assert_eq!(compare(b, a), Ordering::Greater, "{b} and {a}");
            }
        }
    }

    #[test]
    fn different_texts_may_be_the_same_version() {
        for (a, b) in [("1.0", "1_0"), ("0:1-1", "1-1"), ("1.002", "1.2"), ("1.", "1"), ("1.0é", "1.0")] {
            assert_eq!(compare(a, b), Ordering::Equal, "{a} and {b}");
        }
    }

    #[test]
    fn a_question_without_a_release_means_all_of_them() {
        assert_eq!(compare_as_asked("1.1.1k-5.el8_5", "1.1.1k"), Ordering::Equal);
        assert_eq!(compare_as_asked("1:1.1.1k-5.el8_5", "1.1.1k"), Ordering::Greater);
        assert_eq!(compare_as_asked("1.1.1k-5.el8_5", "1.1.1k-6"), Ordering::Less);
    }
}
