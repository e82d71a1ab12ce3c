// SPDX-License-Identifier: Apache-2.0
//! What is logged, and in which form.

use tracing_subscriber::{EnvFilter, filter::ParseError};

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Level {
    Off,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// In which form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The journal where the service manager connected the program to it, else a line for people.
    Auto,
    /// A line for people.
    Human,
    /// A JSON object on a line.
    Json,
    /// An entry of the journal.
    Journal,
}

/// How many equal events are written within half a minute, by default.
pub const REPEATS: u32 = 5;

/// What is logged, and in which form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Level and directives, checked, in the notation of [`EnvFilter`].
    pub directives: String,
    /// In which form.
    pub format: Format,
    /// How many equal events are written within half a minute; 0: all.
    pub repeats: u32,
}

impl Settings {
    /// Level and more directives, which win over it; form and repeats by default.
    pub fn new(level: Level, filter: &str) -> Self {
        let filter = filter.trim();
        let level = level.word();
        let directives = if filter.is_empty() { level.to_owned() } else { format!("{level},{filter}") };
        Self { directives, format: Format::Auto, repeats: REPEATS }
    }
}

/// Whether directives are valid.
pub fn check(directives: &str) -> Result<(), ParseError> {
    filter(directives).map(drop)
}

pub(crate) fn filter(directives: &str) -> Result<EnvFilter, ParseError> {
    // Summaries are of events that passed the filter, so they do as well.
    let own = "logging=trace".parse()?;
    Ok(EnvFilter::builder().parse(directives)?.add_directive(own))
}
