// SPDX-License-Identifier: Apache-2.0
//! The fields of events and of the spans around them, as texts.

use std::fmt::{self, Write};

use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{
    layer::{Context, Layer},
    registry::LookupSpan,
};

/// What an event or a span says.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    /// The text of an event.
    pub(crate) message: String,
    /// The rest, by name.
    pub(crate) named: Vec<(&'static str, String)>,
}

impl Fields {
    /// Those of the event alone.
    pub(crate) fn of(event: &Event<'_>) -> Self {
        let mut fields = Self::default();
        event.record(&mut fields);
        fields
    }

    /// Those of the event and of the spans around it; of fields of one name the innermost counts.
    pub(crate) fn with_spans<S: Subscriber + for<'a> LookupSpan<'a>>(
        event: &Event<'_>,
        context: &Context<'_, S>,
    ) -> Self {
        let mut fields = Self::of(event);
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(of_span) = span.extensions().get::<Self>() {
                for (name, value) in &of_span.named {
                    if fields.get(name).is_none() {
                        fields.named.push((name, value.clone()));
                    }
                }
            }
        }
        fields
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.named.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// Text and fields, for people.
    pub(crate) fn text(&self) -> String {
        let mut text = self.message.clone();
        for (name, value) in &self.named {
            let separator = if text.is_empty() { "" } else { " " };
            // Writing to a text does not fail.
            let _ = write!(text, "{separator}{name}={value}");
        }
        text
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, value.to_owned());
    }
}

impl Fields {
    fn set(&mut self, field: &Field, value: String) {
        if field.name() == "message" {
            self.message = value;
        } else if let Some(known) = self.named.iter_mut().find(|(name, _)| *name == field.name()) {
            known.1 = value;
        } else {
            self.named.push((field.name(), value));
        }
    }
}

/// Keeps the fields of spans with them.
pub(crate) struct SpanFields;

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for SpanFields {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }
}
