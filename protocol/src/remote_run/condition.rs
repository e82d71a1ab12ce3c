// SPDX-License-Identifier: Apache-2.0
//! Conditions: names that an agent run is told, and that its policies ask for (protocol 7.6).

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Longest condition, in characters.
const LONGEST: usize = 1024;

/// Most conditions of one run. All of them, joined, fit into one argument of a command.
pub const MAX_CONDITIONS: usize = 100;

/// One condition: a letter or digit, then letters, digits and `_`; at most 1024 of them. It can stand in
/// an argument of a command, and is never an option.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Condition(String);

/// Conditions of a run, in the order given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Condition>", into = "Vec<Condition>")]
pub struct Conditions(Vec<Condition>);

/// Why a text is no condition. The texts are those of existing servers, to the letter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConditionError {
    /// A character that no condition has, or none at all.
    #[error("invalid condition: {0}, should match ^[a-zA-Z0-9][a-zA-Z0-9_]*$")]
    Character(String),
    /// Too long.
    #[error("invalid condition: {0}, should have less then 1024 chars")]
    TooLong(String),
    /// More than [`MAX_CONDITIONS`].
    #[error("too many conditions: {0}, at most {MAX_CONDITIONS} are taken")]
    TooMany(usize),
}

impl Condition {
    /// The condition as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Condition {
    type Err = ConditionError;

    fn from_str(text: &str) -> Result<Self, ConditionError> {
        if text.chars().count() > LONGEST {
            return Err(ConditionError::TooLong(text.to_owned()));
        }
        let starts_well = text.starts_with(|first: char| first.is_ascii_alphanumeric());
        if !starts_well || !text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err(ConditionError::Character(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for Condition {
    type Error = ConditionError;

    fn try_from(text: String) -> Result<Self, ConditionError> {
        text.parse()
    }
}

impl From<Condition> for String {
    fn from(condition: Condition) -> String {
        condition.0
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Conditions {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Condition> {
        self.0.iter()
    }
}

/// Comma separated; empty text means none.
impl FromStr for Conditions {
    type Err = ConditionError;

    fn from_str(text: &str) -> Result<Self, ConditionError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let count = text.split(',').count();
        if count > MAX_CONDITIONS {
            return Err(ConditionError::TooMany(count));
        }
        text.split(',').map(str::parse).collect::<Result<_, _>>().map(Self)
    }
}

impl TryFrom<Vec<Condition>> for Conditions {
    type Error = ConditionError;

    fn try_from(conditions: Vec<Condition>) -> Result<Self, ConditionError> {
        match conditions.len() {
            0..=MAX_CONDITIONS => Ok(Self(conditions)),
            count => Err(ConditionError::TooMany(count)),
        }
    }
}

impl From<Conditions> for Vec<Condition> {
    fn from(conditions: Conditions) -> Self {
        conditions.0
    }
}

/// Comma separated.
impl fmt::Display for Conditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, condition) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{condition}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        text.parse::<Conditions>().unwrap_err().to_string()
    }

    #[test]
    fn what_may_be_a_condition() {
        for text in ["", "a", "1", "a_b", "A9_,b", &"a".repeat(1024)] {
            assert_eq!(text.parse::<Conditions>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn refusals_have_the_words_of_existing_servers() {
        for bad in ["_a", "-a", "a-b", "a b", "é", "a\n", "a;b", "$(x)"] {
            assert_eq!(
                error(bad),
                format!("invalid condition: {bad}, should match ^[a-zA-Z0-9][a-zA-Z0-9_]*$")
            );
        }
        assert_eq!(error("a,"), "invalid condition: , should match ^[a-zA-Z0-9][a-zA-Z0-9_]*$");
        let long = "a".repeat(1025);
        assert_eq!(error(&long), format!("invalid condition: {long}, should have less then 1024 chars"));
    }

    #[test]
    fn there_is_a_most_of_them() {
        let all = vec!["a"; MAX_CONDITIONS].join(",");
        assert_eq!(all.parse::<Conditions>().unwrap().iter().count(), MAX_CONDITIONS);
        assert!(error(&format!("{all},a")).starts_with("too many conditions: 101"));
        assert!(serde_json::from_value::<Conditions>(vec!["a"; 101].into()).is_err());
    }
}
