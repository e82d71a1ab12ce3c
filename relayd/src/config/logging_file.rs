// SPDX-License-Identifier: Apache-2.0
//! `logging.conf`. A missing file means the defaults.

use std::path::Path;

pub use logging::{Format, Level};

use super::{
    declare::settings,
    document::Document,
    problem::{Class, ConfigError},
    value::words,
};

words!(Level:
    "off" => Level::Off, "error" => Level::Error, "warn" => Level::Warn,
    "info" => Level::Info, "debug" => Level::Debug, "trace" => Level::Trace,
    "warning" => Level::Warn,
);

words!(Format:
    "auto" => Format::Auto, "human" => Format::Human, "json" => Format::Json, "journal" => Format::Journal,
);

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
            /// `journal` for entries of the journal with fields (`journalctl NODE_ID=…`), `human` for lines,
            /// `json` for programs that read the log, each on standard output; `auto` is the journal where the
            /// service manager has connected the program to it, else lines. Applies from the next start on.
            format: Format = Format::Auto;
            /// How many equal events are written within 30 seconds; further ones are counted, and one line says
            /// how many there were. 0: all are written. `debug` and `trace` always are.
            repeats: u32 = logging::REPEATS;
        }
    }
}

/// `logging.conf`, resolved.
pub use logging::Settings as Logging;

/// Reads the text of `logging.conf`, found in `file`.
pub fn read(file: &Path, text: &str) -> Result<(LoggingFile, Logging), ConfigError> {
    let mut document = Document::parse(file, text, LoggingFile::KEYS);
    let typed = LoggingFile::read(&mut document);
    let general = &typed.general;
    let logging = Logging {
        format: general.format.value,
        repeats: general.repeats.value,
        ..Logging::new(general.level.value, &general.filter.value)
    };
    if let Err(error) = logging::check(&logging.directives) {
        let text =
            format!("{error}; write directives such as \"relayd::gateway=debug\", separated by commas");
        document.note(Class::Form, general.filter.line, "general.filter", text);
    }
    match document.finish() {
        problems if problems.is_empty() => Ok((typed, logging)),
        problems => Err(ConfigError::Problems(problems)),
    }
}
