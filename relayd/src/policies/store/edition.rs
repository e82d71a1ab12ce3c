// SPDX-License-Identifier: Apache-2.0
//! Which version of a node's policies: its number and the list of its files, as the name of a file.

use std::{fmt, path::Path, str::FromStr};

use chrono::{DateTime, Utc};
use protocol::{hash::ContentDigest, policy_manifest::MAX_VERSION};

/// A version of a node's policies. The list of files is part of the name, so that what is needed can be told
/// from the names in the directories alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Edition {
    /// Grows with each publication for the node.
    pub version: u64,
    /// SHA-256 of the lines about its files.
    pub list: ContentDigest,
}

impl Edition {
    /// Reads the name of a file, or where a link leads to.
    pub(super) fn of_file(name: &Path) -> Option<Self> {
        name.to_str()?.parse().ok()
    }
}

impl fmt::Display for Edition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.version, self.list)
    }
}

impl FromStr for Edition {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (version, list) = text.split_once('-').ok_or(())?;
        let edition = Self { version: version.parse().map_err(|_| ())?, list: list.parse().map_err(|_| ())? };
        // `007` and `+7` are not what was written here.
        let is_number = version == "0" || version.starts_with(|first: char| matches!(first, '1'..='9'));
        let is_own = edition.version <= MAX_VERSION && is_number;
        if is_own { Ok(edition) } else { Err(()) }
    }
}

/// The number of the next version after the largest one there is: the time as a number that people can read
/// (`20261122140159`), as in the serial of a DNS zone; if that is not larger, one more.
///
/// Numbers grow then even when the store was lost, and nodes remember what they had.
pub fn next_version(largest: Option<u64>, now: DateTime<Utc>) -> u64 {
    let today = now.format("%Y%m%d%H%M%S").to_string().parse().unwrap_or(0);
    largest.map_or(today, |largest| today.max(largest + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_in_one_notation_only() {
        let edition = Edition { version: 20_261_122_140_159, list: ContentDigest::of(b"") };
        let name = edition.to_string();
        assert_eq!(name.parse(), Ok(edition));
        for (from, to) in
            [("2026", "02026"), ("2026", "+2026"), ("-e3b0", "-E3b0"), ("-", ""), ("2026", "9992026")]
        {
            assert!(name.replacen(from, to, 1).parse::<Edition>().is_err(), "{from} -> {to}");
        }
        assert!("active".parse::<Edition>().is_err());
    }

    #[test]
    fn versions_grow_whatever_the_clock_says() {
        let now = "2026-11-22T14:01:59Z".parse().unwrap();
        assert_eq!(next_version(None, now), 20_261_122_140_159);
        assert_eq!(next_version(Some(12), now), 20_261_122_140_159);
        assert_eq!(next_version(Some(20_261_122_140_159), now), 20_261_122_140_160);
        assert_eq!(next_version(Some(20_990_101_000_000), now), 20_990_101_000_001);
        assert_eq!(next_version(Some(5), DateTime::<Utc>::MIN_UTC), 6);
    }
}
