// SPDX-License-Identifier: Apache-2.0
//! Host names, before they stand in the arguments of a command or in a header.

use std::fmt;

/// Longest host name, in characters.
const LONGEST: usize = 255;

/// A host name or address that is no option, and no list of several: a letter or digit (or the `:` of an
/// IPv6 address) first, then letters, digits, `-`, `.`, `_` and `:`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostName(String);

impl HostName {
    /// Checks what the node list has. `None` when it is not safe to use.
    pub fn parse(text: &str) -> Option<Self> {
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-._:".contains(&b);
        let first = text.bytes().next()?;
        let starts_well = first.is_ascii_alphanumeric() || first == b':';
        let fits = starts_well && text.len() <= LONGEST && text.bytes().all(is_plain);
        fits.then(|| Self(text.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_be_an_option_or_a_list_is_no_host_name() {
        for good in ["a", "web-1.example.org", "10.0.0.1", "::1", "fe80::1", "node_1", "1"] {
            assert_eq!(HostName::parse(good).map(|host| host.to_string()).as_deref(), Some(good));
        }
        let long = "a".repeat(256);
        for bad in ["", "-a", "--", "a,b", "a b", "a;b", "$(x)", "é", "a\n", "a\0", "a/b", "@x", ".a", &long]
        {
            assert_eq!(HostName::parse(bad), None, "{bad:?}");
        }
    }
}
