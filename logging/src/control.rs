// SPDX-License-Identifier: Apache-2.0
//! Starting to log, and changing what is logged.

use std::{
    io::{self, IsTerminal},
    sync::Once,
};

use systemd_journal_logger::{JournalLog, connected_to_journal};
use tracing::error;
use tracing_subscriber::{
    EnvFilter, Registry,
    fmt::{self},
    layer::{Layer, Layered, SubscriberExt},
    reload,
    util::SubscriberInitExt,
};

use crate::{
    fields::SpanFields,
    human::Plain,
    journal::Journal,
    one_line::{OneLine, Shape},
    repeats::Repeats,
    settings::{Format, Settings, filter},
};

/// Who logs.
#[derive(Debug, Clone, Copy)]
pub struct Program {
    /// `SYSLOG_IDENTIFIER` of its entries.
    pub identifier: &'static str,
    /// What its lines for people look like.
    pub style: Style,
}

/// What lines for people look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// On standard output: level, span path with fields, text (protocol 9.5).
    Daemon,
    /// On standard error: the name of the program, and the text.
    Command(&'static str),
}

/// Changes what is logged while the program runs.
#[derive(Clone)]
pub struct LogControl {
    program: Program,
    filter: reload::Handle<EnvFilter, Registry>,
    output: reload::Handle<Output, Inner>,
    repeats: Repeats,
}

type Filtered = Layered<reload::Layer<EnvFilter, Registry>, Registry>;
type Inner = Layered<Repeats, Layered<SpanFields, Filtered>>;
type Output = Box<dyn Layer<Inner> + Send + Sync>;

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
    /// The journal was asked for, and does not answer.
    #[error(
        "cannot log to the journal: {0}; is systemd-journald there (/run/systemd/journal/socket)? \
         Otherwise set the log format to \"auto\""
    )]
    Journal(io::Error),
}

impl LogControl {
    /// Starts logging errors, until [`LogControl::configure`] is called; to the journal where the service
    /// manager connected the program to it, else for people.
    pub fn start(program: Program) -> Result<Self, LoggingError> {
        let (filter, filter_handle) = reload::Layer::new(EnvFilter::new("error"));
        let (output, output_handle) = reload::Layer::new(program.output(Format::Auto, &[])?);
        let repeats = Repeats::default();
        tracing_subscriber::registry()
            .with(filter)
            .with(SpanFields)
            .with(repeats.clone())
            .with(output)
            .try_init()?;
        log_panics();
        Ok(Self { program, filter: filter_handle, output: output_handle, repeats })
    }

    /// Applies the configuration: at start, with the format. Entries of the journal get `fields` as well, by
    /// name and value.
    pub fn configure(&self, settings: &Settings, fields: &[(&str, &str)]) -> Result<(), LoggingError> {
        self.output.reload(self.program.output(settings.format, fields)?)?;
        self.refilter(settings)
    }

    /// Applies level, filter and repeats; the format stays: spans that are open have fields in the old one.
    pub fn refilter(&self, settings: &Settings) -> Result<(), LoggingError> {
        self.filter.reload(filter(&settings.directives)?)?;
        self.repeats.allow(settings.repeats);
        Ok(())
    }

    /// Says now what was held back, before the program ends.
    pub fn finish(&self) {
        self.repeats.finish();
    }
}

impl Program {
    /// Whether what is logged goes to the journal before the configuration is read.
    pub fn is_in_journal() -> bool {
        connected_to_journal()
    }

    fn output(self, format: Format, fields: &[(&str, &str)]) -> Result<Output, LoggingError> {
        let journal = || {
            JournalLog::empty()
                .map(|log| log.with_syslog_identifier(self.identifier.to_owned()))
                .map(|log| Journal::new(log.with_extra_fields(fields.iter().copied())).boxed())
        };
        Ok(match format {
            Format::Journal => journal().map_err(LoggingError::Journal)?,
            Format::Auto if connected_to_journal() => journal().unwrap_or_else(|_| self.lines()),
            Format::Auto | Format::Human => self.lines(),
            Format::Json => fmt::layer().json().with_writer(self.writer(Shape::Json)).boxed(),
        })
    }

    fn lines(self) -> Output {
        match self.style {
            Style::Daemon => {
                let no_colour = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
                let ansi = io::stdout().is_terminal() && !no_colour;
                let shape = if ansi { Shape::Coloured } else { Shape::Plain };
                fmt::layer()
                    .without_time()
                    .with_target(false)
                    .with_ansi(ansi)
                    .with_writer(self.writer(shape))
                    .boxed()
            }
            Style::Command(name) => {
                fmt::layer().event_format(Plain(name)).with_writer(self.writer(Shape::Plain)).boxed()
            }
        }
    }

    fn writer(self, shape: Shape) -> OneLine {
        OneLine { shape, to_error: self.style != Style::Daemon }
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
