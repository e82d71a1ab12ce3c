// SPDX-License-Identifier: Apache-2.0
//! What `relayd status`, `relayd why` and `relayd doctor` found, and what to do about it.
//!
//! A finding that somebody should act on has no form without a remedy, and names the file, address or
//! node that it is about.

use std::fmt::Display;

use chrono::TimeDelta;
use serde::Serialize;

/// Differences between clocks up to here do no harm: a run counts for its interval and five minutes.
pub const TOLERATED_BETWEEN_CLOCKS: TimeDelta = TimeDelta::minutes(5);

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Fine,
    /// Could not be looked at.
    Unknown,
    /// Works, but not well, or not for long; for `why`: a trace, not a cause.
    Warning,
    /// Does not work; for `why`: a cause.
    Error,
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at, such as `database`.
    pub check: &'static str,
    /// How bad it is.
    pub level: Level,
    /// The file, directory, address or node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// What is the case.
    pub text: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Finding {
    /// It is as it should be.
    pub fn fine(check: &'static str, text: impl Into<String>) -> Self {
        Self { check, level: Level::Fine, place: None, text: text.into(), remedy: None }
    }

    /// It could not be looked at.
    pub fn unknown(
        check: &'static str,
        place: impl Display,
        text: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::new(check, Level::Unknown, place, text, remedy)
    }

    /// Somebody should look after it.
    pub fn warning(
        check: &'static str,
        place: impl Display,
        text: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::new(check, Level::Warning, place, text, remedy)
    }

    /// It does not work.
    pub fn error(
        check: &'static str,
        place: impl Display,
        text: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::new(check, Level::Error, place, text, remedy)
    }

    /// The same, not worse than this.
    pub fn at_most(self, level: Level) -> Self {
        Self { level: self.level.min(level), ..self }
    }

    fn new(
        check: &'static str,
        level: Level,
        place: impl Display,
        text: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        let (place, text, remedy) = (Some(place.to_string()), text.into(), Some(remedy.into()));
        Self { check, level, place, text, remedy }
    }
}

/// Cause and remedy of an error whose text has both, with a semicolon between; `otherwise` is the remedy of
/// one that has none.
pub fn split(error: &dyn Display, otherwise: &str) -> (String, String) {
    let text = error.to_string();
    match text.rsplit_once("; ") {
        Some((cause, remedy)) => (cause.to_owned(), remedy.to_owned()),
        None => (text, otherwise.to_owned()),
    }
}
