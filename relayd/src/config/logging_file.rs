// SPDX-License-Identifier: Apache-2.0
//! `logging.conf`. A missing file means the defaults.

use std::path::Path;

use tracing_subscriber::EnvFilter;

use super::{
    declare::settings,
    document::Document,
    problem::{Class, ConfigError},
    value::words,
};

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
words!(Level:
    "off" => Level::Off, "error" => Level::Error, "warn" => Level::Warn,
    "info" => Level::Info, "debug" => Level::Debug, "trace" => Level::Trace,
    "warning" => Level::Warn,
);

/// In which form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A line for people.
    Human,
    /// A JSON object on a line.
    Json,
}
words!(Format: "human" => Format::Human, "json" => Format::Json);

settings! {
    /// `logging.conf` as typed.
    LoggingFile {
        /// What is logged.
        ["general"] general: LoggingSection {
            /// How much is logged.
            level: Level = Level::Info;
            /// More directives, separated by commas, that win over level: `relayd::gateway=debug` for a
            /// part of the program, `[report{node_id=root}]=trace` for what happens to run logs of a node.
            filter: String = String::new();
            /// `human`, or `json` for programs that read the log. Applies from the next start on.
            format: Format = Format::Human;
        }
    }
}

/// `logging.conf`, resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logging {
    /// Level and directives, checked, in the notation of [`EnvFilter`].
    pub directives: String,
    /// In which form.
    pub format: Format,
}

/// Reads the text of `logging.conf`, found in `file`.
pub fn read(file: &Path, text: &str) -> Result<(LoggingFile, Logging), ConfigError> {
    let mut document = Document::parse(file, text, LoggingFile::KEYS);
    let typed = LoggingFile::read(&mut document);
    let level = format!("{:?}", typed.general.level.value).to_lowercase();
    let filter = typed.general.filter.value.trim();
    let directives = if filter.is_empty() { level } else { format!("{level},{filter}") };
    if let Err(error) = EnvFilter::builder().parse(&directives) {
        let text =
            format!("{error}; write directives such as \"relayd::gateway=debug\", separated by commas");
        document.note(Class::Form, typed.general.filter.line, "general.filter", text);
    }
    let format = typed.general.format.value;
    match document.finish() {
        problems if problems.is_empty() => Ok((typed, Logging { directives, format })),
        problems => Err(ConfigError::Problems(problems)),
    }
}
