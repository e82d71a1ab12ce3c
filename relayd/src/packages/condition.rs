// SPDX-License-Identifier: Apache-2.0
//! Conditions on versions, `>=1.2`, as they stand in queries and on the command line.

use std::{cmp::Ordering, str::FromStr};

use super::version::Scheme;

/// A condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    relation: Relation,
    version: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relation {
    AtMost,
    AtLeast,
    Less,
    Greater,
    Equal,
}

/// Longer ones first.
const RELATIONS: [(&str, Relation); 5] = [
    ("<=", Relation::AtMost),
    (">=", Relation::AtLeast),
    ("<", Relation::Less),
    (">", Relation::Greater),
    ("=", Relation::Equal),
];

/// A text that is no condition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no condition on a version, such as <=1.2, <1.2, =1.2, >1.2 or >=1.2")]
pub struct NoCondition(String);

impl FromStr for Condition {
    type Err = NoCondition;

    fn from_str(text: &str) -> Result<Self, NoCondition> {
        let none = || NoCondition(text.to_owned());
        let found = RELATIONS.iter().find_map(|(sign, relation)| Some((relation, text.strip_prefix(sign)?)));
        let (relation, rest) = found.ok_or_else(none)?;
        // In a query that is not encoded, `+` comes as a space; versions have many of them.
        let version = rest.trim().replace(' ', "+");
        if version.is_empty() || version.starts_with(['<', '>', '=']) {
            return Err(none());
        }
        Ok(Self { relation: *relation, version })
    }
}

impl Condition {
    /// Whether a version fulfils it, by the rules of its package.
    pub fn holds(&self, scheme: Scheme, version: &str) -> bool {
        let order = scheme.compare_as_asked(version, &self.version);
        match self.relation {
            Relation::AtMost => order.is_le(),
            Relation::AtLeast => order.is_ge(),
            Relation::Less => order == Ordering::Less,
            Relation::Greater => order == Ordering::Greater,
            Relation::Equal => order.is_eq(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(condition: &str, scheme: Scheme, version: &str) -> bool {
        condition.parse::<Condition>().unwrap().holds(scheme, version)
    }

    #[test]
    fn the_rules_are_those_of_the_package() {
        assert!(holds("<3.0.13-1~deb12u1", Scheme::Dpkg, "3.0.11-1~deb12u2"));
        assert!(!holds("<3.0.13-1~deb12u1", Scheme::Dpkg, "3.0.13-1"));
        assert!(holds("<=3.0", Scheme::Dpkg, "3.0") && holds(">=3.0", Scheme::Dpkg, "3.0"));
        assert!(!holds(">3.0", Scheme::Dpkg, "3.0"));
        assert!(holds("=1.1.1k", Scheme::Rpm, "1.1.1k-5.el8_5"));
        assert!(holds(">=1:1.0", Scheme::Rpm, "1:1.1.1k-5.el8_5"));
        assert!(holds("=1.0 dfsg-1", Scheme::Dpkg, "1.0+dfsg-1"));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "1.2", "<", "<= ", "<>1", "==1", "~1"] {
            assert!(text.parse::<Condition>().is_err(), "{text}");
        }
    }
}
