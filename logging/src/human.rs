// SPDX-License-Identifier: Apache-2.0
//! Lines of a command: its name and the text. What it is about is in the text.

use std::fmt;

use tracing::{Event, Subscriber};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

use crate::fields::Fields;

/// `agent: text`.
pub(crate) struct Plain(pub(crate) &'static str);

impl<S: Subscriber + for<'a> LookupSpan<'a>, N: for<'a> FormatFields<'a> + 'static> FormatEvent<S, N>
    for Plain
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        writeln!(writer, "{}: {}", self.0, Fields::of(event).message)
    }
}
