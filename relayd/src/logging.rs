// SPDX-License-Identifier: Apache-2.0
//! Logging to standard output: one event per line, whatever the fields hold.
//!
//! Human lines have no date (protocol 9.5: the journal adds one): level, span path with fields,
//! text. JSON lines have one. The level is `error` until the configuration is read.

use std::{
    io::{self, IsTerminal, Write},
    sync::Once,
};

use tracing::error;
use tracing_subscriber::{
    EnvFilter, Registry,
    fmt::{self, MakeWriter},
    layer::{Layer, SubscriberExt},
    reload,
    util::SubscriberInitExt,
};

use crate::config::{Logging, logging_file::Format};

/// Changes what is logged while the daemon runs.
#[derive(Clone)]
pub struct LogControl {
    filter: reload::Handle<EnvFilter, Registry>,
    format: reload::Handle<Box<dyn Layer<Filtered> + Send + Sync>, Filtered>,
}

type Filtered = tracing_subscriber::layer::Layered<reload::Layer<EnvFilter, Registry>, Registry>;

/// Why logging could not be set.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The directives are not valid; the configuration checks them, so this names them again.
    #[error("invalid log filter: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// The subscriber is gone.
    #[error("cannot change the log filter: {0}")]
    Reload(#[from] reload::Error),
    /// Logging was set up before, by somebody else.
    #[error("cannot set up logging: {0}")]
    Start(#[from] tracing_subscriber::util::TryInitError),
}

impl LogControl {
    /// Starts logging errors, in human form, until [`LogControl::configure`] is called.
    pub fn start() -> Result<Self, LoggingError> {
        let (filter, filter_handle) = reload::Layer::new(EnvFilter::new("error"));
        let (format, format_handle) = reload::Layer::new(layer(Format::Human));
        tracing_subscriber::registry().with(filter).with(format).try_init()?;
        log_panics();
        Ok(Self { filter: filter_handle, format: format_handle })
    }

    /// Applies the configuration: at start, with the format.
    pub fn configure(&self, logging: &Logging) -> Result<(), LoggingError> {
        self.format.reload(layer(logging.format))?;
        self.refilter(logging)
    }

    /// Applies level and filter; the format stays.
    pub fn refilter(&self, logging: &Logging) -> Result<(), LoggingError> {
        Ok(self.filter.reload(EnvFilter::builder().parse(&logging.directives)?)?)
    }
}

fn layer(format: Format) -> Box<dyn Layer<Filtered> + Send + Sync> {
    match format {
        Format::Human => {
            let ansi =
                io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
            fmt::layer()
                .without_time()
                .with_target(false)
                .with_ansi(ansi)
                .with_writer(OneLine { ansi })
                .boxed()
        }
        Format::Json => fmt::layer().json().with_writer(OneLine { ansi: false }).boxed(),
    }
}

/// Panics are logged like everything else, on one line.
fn log_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|panic| {
            let thread = std::thread::current();
            error!("panic in thread {}: {panic}", thread.name().unwrap_or("unnamed"));
        }));
    });
}

/// Writes each event as exactly one line: control characters inside it are escaped.
#[derive(Debug, Clone, Copy)]
struct OneLine {
    /// Whether the formatter colours, so that its own escape sequences must stay.
    ansi: bool,
}

impl<'a> MakeWriter<'a> for OneLine {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        *self
    }
}

impl Write for OneLine {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        // The formatter writes a whole event at a time, with its line end.
        io::stdout().lock().write_all(one_line(event, self.ansi).as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush()
    }
}

fn one_line(event: &[u8], ansi: bool) -> String {
    let text = String::from_utf8_lossy(event);
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let mut line = String::with_capacity(text.len() + 1);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if let Some(colour) = ansi.then(|| colour(rest)).flatten() {
            line.push_str(colour);
            rest = &rest[colour.len()..];
            continue;
        }
        if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
        rest = &rest[c.len_utf8()..];
    }
    line.push('\n');
    line
}

/// The colour sequence at the start of `text`, if there is one: ESC [ digits and semicolons m. It can
/// change how a terminal shows text, nothing else.
fn colour(text: &str) -> Option<&str> {
    let rest = text.strip_prefix("\u{1b}[")?;
    let end = rest.find(|c: char| !(c.is_ascii_digit() || c == ';'))?;
    rest[end..].starts_with('m').then(|| &text[..2 + end + 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_without_control_characters() {
        let hostile = "INFO name=a\r\nINFO forged\u{1b}[2J\u{7}\u{9b}\u{2028}\u{0}é\n";
        let line = one_line(hostile.as_bytes(), false);
        assert_eq!(line, "INFO name=a\\r\\nINFO forged\\u{1b}[2J\\u{7}\\u{9b}\\u{2028}\\u{0}é\n");
        assert_eq!(
            one_line(b"\x1b[32mINFO\x1b[0m \x1b[2J\xff\n", true),
            "\u{1b}[32mINFO\u{1b}[0m \\u{1b}[2J\u{fffd}\n"
        );
    }
}
