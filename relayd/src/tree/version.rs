// SPDX-License-Identifier: Apache-2.0
//! Versions of the node tree: `<epoch>-<generation>`.

use std::fmt;

/// A state of the tree as one process knew it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    /// Drawn at random when the process starts: generations of another process mean nothing here.
    pub epoch: u64,
    /// Counts the states of the node table in which something changed.
    pub generation: u64,
}

impl Version {
    /// Reads one; `None` for what another program may have made.
    pub fn parse(text: &str) -> Option<Self> {
        let (epoch, generation) = text.split_once('-')?;
        let plain = |text: &str| !text.starts_with('+');
        if epoch.len() != 16 || !plain(epoch) || !plain(generation) {
            return None;
        }
        Some(Self { epoch: u64::from_str_radix(epoch, 16).ok()?, generation: generation.parse().ok()? })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}", self.epoch, self.generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_back_and_others_are_not() {
        for version in [Version { epoch: 0, generation: 0 }, Version { epoch: u64::MAX, generation: 7 }] {
            assert_eq!(Version::parse(&version.to_string()), Some(version));
        }
        for text in [
            "",
            "-",
            "1-1",
            "000000000000000g-1",
            "+00000000000000f-1",
            "0000000000000000-+1",
            "0000000000000000-",
        ] {
            assert_eq!(Version::parse(text), None, "{text}");
        }
    }
}
