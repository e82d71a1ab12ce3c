// SPDX-License-Identifier: Apache-2.0
//! Where the certificates of a user's own PKI say which node they are for.

use std::{fmt, str::FromStr};

/// A rule to find a node id in a certificate.
///
/// Written as `uid`, or as the kind of a subject alternative name and a pattern with `{id}` in it:
/// `dns:{id}.nodes.example.org`, `uri:urn:uuid:{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum NodeIdRule {
    /// The one UID attribute of the subject (protocol 1.3).
    #[default]
    Uid,
    /// A dNSName; compared without case, as RFC 4343 wants.
    Dns(Pattern),
    /// A uniformResourceIdentifier.
    Uri(Pattern),
}

/// What is around the node id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    /// Before it.
    pub prefix: String,
    /// After it.
    pub suffix: String,
}

/// Why a text is no rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a rule: write \"uid\", \"dns:\" or \"uri:\" and a pattern with one {{id}} in it, such as \"dns:{{id}}.nodes.example.org\""
)]
pub struct NodeIdRuleError(String);

impl FromStr for NodeIdRule {
    type Err = NodeIdRuleError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || NodeIdRuleError(text.to_owned());
        if text == "uid" {
            return Ok(Self::Uid);
        }
        let (kind, pattern) = text.split_once(':').ok_or_else(bad)?;
        let (prefix, suffix) = pattern.split_once("{id}").ok_or_else(bad)?;
        if suffix.contains("{id}") || pattern.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(bad());
        }
        let pattern = |prefix: &str, suffix: &str| Pattern { prefix: prefix.into(), suffix: suffix.into() };
        match kind {
            "dns" => Ok(Self::Dns(pattern(&prefix.to_ascii_lowercase(), &suffix.to_ascii_lowercase()))),
            "uri" => Ok(Self::Uri(pattern(prefix, suffix))),
            _ => Err(bad()),
        }
    }
}

impl fmt::Display for NodeIdRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, Pattern { prefix, suffix }) = match self {
            Self::Uid => return f.write_str("uid"),
            Self::Dns(pattern) => ("dns", pattern),
            Self::Uri(pattern) => ("uri", pattern),
        };
        write!(f, "{kind}:{prefix}{{id}}{suffix}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_and_printed() {
        for text in ["uid", "dns:{id}.nodes.example.org", "uri:urn:uuid:{id}", "dns:{id}"] {
            assert_eq!(text.parse::<NodeIdRule>().map(|rule| rule.to_string()).as_deref(), Ok(text));
        }
        for text in ["", "UID", "dns:", "dns:x", "mail:{id}", "dns:{id}{id}", "dns:{id} x"] {
            assert!(text.parse::<NodeIdRule>().is_err(), "{text}");
        }
    }
}
