// SPDX-License-Identifier: Apache-2.0
//! Names of hosts, as certificates hold them.

use std::{fmt, net::IpAddr, str::FromStr};

/// A subject alternative name: a DNS name, perhaps with `*` as first label, or an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostName {
    /// dNSName, lower case (RFC 4343: compared without case).
    Dns(String),
    /// iPAddress.
    Ip(IpAddr),
}

/// Why a text is no name for a certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a host name or address: write labels of letters, digits, '-' and '_' with dots between them, \
     such as \"db.example.org\" or \"*.example.org\", or an address"
)]
pub struct HostNameError(String);

impl HostName {
    /// Whether it stands for many hosts.
    pub fn is_wildcard(&self) -> bool {
        matches!(self, Self::Dns(name) if name.starts_with("*."))
    }
}

/// Longest DNS name and label (RFC 1035 2.3.4), in characters.
const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;

impl FromStr for HostName {
    type Err = HostNameError;

    fn from_str(text: &str) -> Result<Self, HostNameError> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Ip(address));
        }
        let labels = text.strip_prefix("*.").unwrap_or(text);
        let is_label = |label: &str| {
            !label.is_empty()
                && label.len() <= MAX_LABEL
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
        };
        // A last label of digits would be an address to some readers.
        let is_name = text.len() <= MAX_NAME
            && labels.split('.').all(is_label)
            && !labels.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
        match is_name {
            true => Ok(Self::Dns(text.to_ascii_lowercase())),
            false => Err(HostNameError(text.to_owned())),
        }
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => f.write_str(name),
            Self::Ip(address) => address.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_told_apart() {
        for (text, name) in [
            ("Web1.Example.org", HostName::Dns("web1.example.org".into())),
            ("*.example.org", HostName::Dns("*.example.org".into())),
            ("web_1", HostName::Dns("web_1".into())),
            ("192.0.2.7", HostName::Ip("192.0.2.7".parse().unwrap())),
            ("2001:db8::7", HostName::Ip("2001:db8::7".parse().unwrap())),
        ] {
            assert_eq!(text.parse(), Ok(name), "{text}");
        }
    }

    #[test]
    fn what_readers_could_take_for_something_else_is_refused() {
        let (long_label, long_name) = ("a".repeat(64), vec!["a"; 130].join("."));
        for text in [
            "",
            ".",
            "a..b",
            "a.",
            "*",
            "*.",
            "a.*.b",
            "-a",
            "a-",
            "a b",
            "a,DNS:b",
            "a\0b",
            "é.org",
            "1.2.3",
            "999.1.1.1",
            &long_label,
            &long_name,
        ] {
            assert!(text.parse::<HostName>().is_err(), "{text:?}");
        }
    }
}
