// SPDX-License-Identifier: Apache-2.0
//! What can be wrong with the configuration. No text in here ever repeats the value of a secret.

use std::{fmt, io, path::PathBuf};

/// What kind of mistake it is; decides the exit code (protocol 9.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Syntax, type, unknown key, or an address that is never allowed.
    Form,
    /// Settings that do not fit together, or something they name is missing.
    Rule,
}

/// One mistake in a configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// File it is in.
    pub file: PathBuf,
    /// Line, from 1, where there is one.
    pub line: Option<usize>,
    /// Full key, as in `general.listen`; empty for syntax errors.
    pub key: String,
    /// Cause and remedy, separated by a semicolon.
    pub text: String,
    /// What kind.
    pub class: Class,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.text)
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("Could not read {what} configuration file from {path}: {source}; {remedy}", path = .path.display())]
    Unreadable {
        /// `main` or `logging`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
        /// What to do.
        remedy: &'static str,
    },
    /// Mistakes: all there are.
    #[error("{}", lines(.0))]
    Problems(Vec<Problem>),
}

impl ConfigError {
    /// The exit code of a program that cannot start because of this: 2 for the form of a file, else 3.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Problems(problems) if problems.iter().any(|p| p.class == Class::Form) => 2,
            Self::Problems(_) | Self::Unreadable { .. } => 3,
        }
    }
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n")
}
