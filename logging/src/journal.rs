// SPDX-License-Identifier: Apache-2.0
//! Entries of the journal: each field of the event and of the spans around it becomes a field of the entry, in
//! capitals (`node_id` → `NODE_ID`), as it is. `MESSAGE` is what people read: text and fields on one line.

use std::sync::atomic::{AtomicU64, Ordering};

use log::{Level, Record};
use systemd_journal_logger::JournalLog;
use tracing::{Event, Subscriber};
use tracing_subscriber::{
    layer::{Context, Layer},
    registry::LookupSpan,
};

use crate::{
    fields::Fields,
    one_line::{Shape, escaped},
};

static LOST: AtomicU64 = AtomicU64::new(0);

/// Events that the journal did not take, for instance while it was being restarted.
pub fn lost() -> u64 {
    LOST.load(Ordering::Relaxed)
}

pub(crate) struct Journal(JournalLog);

impl Journal {
    pub(crate) fn new(log: JournalLog) -> Self {
        Self(log)
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let fields = Fields::with_spans(event, &context);
        let metadata = event.metadata();
        let sent = self.0.journal_send(
            &Record::builder()
                .level(level(*metadata.level()))
                .target(metadata.target())
                .module_path(metadata.module_path())
                .file(metadata.file())
                .line(metadata.line())
                .key_values(&fields.named.as_slice())
                .args(format_args!("{}", escaped(&fields.text(), Shape::Plain)))
                .build(),
        );
        if sent.is_err() {
            LOST.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Priorities of the journal are those of the `log` back end: 3 error, 4 warning, 5 notice for info, 6 info for
/// debug, 7 debug for trace.
fn level(level: tracing::Level) -> Level {
    match level {
        tracing::Level::ERROR => Level::Error,
        tracing::Level::WARN => Level::Warn,
        tracing::Level::INFO => Level::Info,
        tracing::Level::DEBUG => Level::Debug,
        tracing::Level::TRACE => Level::Trace,
    }
}
