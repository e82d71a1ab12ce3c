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
    let own = "logging::repeats=trace".parse()?;
    Ok(EnvFilter::builder().parse(directives)?.add_directive(own))
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use tracing::{Event, Subscriber, debug, error_span, info};
    use tracing_subscriber::{
        layer::{Context, Layer, SubscriberExt},
        registry,
    };

    use super::*;

    #[derive(Clone, Default)]
    struct Counting(Arc<AtomicUsize>);

    impl<S: Subscriber> Layer<S> for Counting {
        fn on_event(&self, _: &Event<'_>, _: Context<'_, S>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn passed(settings: &Settings, log: impl FnOnce()) -> usize {
        let counting = Counting::default();
        let subscriber = registry().with(filter(&settings.directives).unwrap()).with(counting.clone());
        tracing::subscriber::with_default(subscriber, log);
        counting.0.load(Ordering::Relaxed)
    }

    #[test]
    fn a_filter_by_node_shows_what_happens_to_its_files() {
        let one = "e745a140-40bc-4b86-b6dc-084488fc906b";
        let settings = Settings::new(Level::Warn, &format!("[node{{node_id={one}}}]=trace"));
        let log = |node_id: &str| {
            let node = error_span!("node", node_id);
            let file = error_span!(parent: &node, "report", queue_id = "q");
            node.in_scope(|| file.in_scope(|| debug!("accepted")));
            info!("elsewhere");
        };
        assert_eq!(passed(&settings, || log(one)), 1);
        assert_eq!(passed(&settings, || log("root")), 0);
    }

    #[test]
    fn summaries_pass_any_filter() {
        let settings = Settings::new(Level::Off, "");
        assert_eq!(passed(&settings, || info!(target: "logging::repeats", "more like this")), 1);
        assert!(check("[").is_err());
    }
}
