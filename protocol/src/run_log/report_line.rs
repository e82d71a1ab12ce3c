// SPDX-License-Identifier: Apache-2.0
//! The fields of a report, from `R: @@` to its message (protocol 3.2, 3.3).

use std::borrow::Cow;

use chrono::{DateTime, FixedOffset};
use memchr::memchr_iter;

use super::{
    levels::REPORT,
    lines::{Line, Lines},
    timestamp,
    value::Value,
};

/// All of a report but time stamp and message.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    pub policy: &'a str,
    pub event_type: &'a str,
    pub rule_id: &'a str,
    pub directive_id: &'a str,
    pub report_id: &'a str,
    pub component: Cow<'a, str>,
    pub key_value: Cow<'a, str>,
    pub start: DateTime<FixedOffset>,
    pub node_id: &'a str,
}

/// Reads reports of one log; remembers the start of the run, which all reports repeat.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    log: &'a str,
    last_start: Option<(&'a str, DateTime<FixedOffset>)>,
}

impl<'a> Reader<'a> {
    pub fn new(log: &'a str) -> Self {
        Self { log, last_start: None }
    }

    /// Reads the fields of the report whose line is `line`, with `text` after its `R: @@`.
    ///
    /// Gives the fields, the line on which its message starts and the rest of that line. Takes lines
    /// that belong to component and key value from `lines`, and none if this is no whole report; never
    /// looks past the next report line, so that reading a log stays linear.
    pub fn read(
        &mut self,
        line: Line<'a>,
        text: &'a str,
        lines: &mut Lines<'a>,
    ) -> Option<(Fields<'a>, Line<'a>, &'a str)> {
        let (policy, rest) = split_pair(text, b"@@")?;
        let (event_type, rest) = split_pair(rest, b"@@")?;
        let (rule_id, rest) = split_pair(rest, b"@@")?;
        let (directive_id, rest) = split_pair(rest, b"@@")?;
        let (report_id, rest) = split_pair(rest, b"@@")?;
        let mut values = Values { log: self.log, line, rest, lines: *lines };
        let component = values.read()?;
        let key_value = values.read()?;
        let (start, rest) = split_pair(values.rest, b"##")?;
        let (node_id, message) = split_pair(rest, b"@#")?;
        let start = self.start(start)?;
        // The database refuses these.
        if rule_id.is_empty() || directive_id.is_empty() || component.is_empty() {
            return None;
        }
        *lines = values.lines;
        let fields = Fields {
            policy,
            event_type,
            rule_id,
            directive_id,
            report_id: if report_id.is_empty() { "0" } else { report_id },
            component,
            key_value: if key_value.is_empty() { Cow::Borrowed("None") } else { key_value },
            start,
            node_id,
        };
        Some((fields, values.line, message))
    }

    fn start(&mut self, text: &'a str) -> Option<DateTime<FixedOffset>> {
        match self.last_start {
            Some((last, start)) if last == text => Some(start),
            _ => {
                let start = timestamp::start(text)?;
                self.last_start = Some((text, start));
                Some(start)
            }
        }
    }
}

/// Component and key value, which may span lines and end at the next `@@`.
struct Values<'a> {
    log: &'a str,
    line: Line<'a>,
    rest: &'a str,
    lines: Lines<'a>,
}

impl<'a> Values<'a> {
    fn read(&mut self) -> Option<Cow<'a, str>> {
        let mut value: Option<Value<'a>> = None;
        loop {
            let text = timestamp::strip(self.rest);
            let start = self.line.end() - text.len();
            let found = split_pair(text, b"@@");
            let part = found.map_or(text, |(part, _)| part);
            let range = start..start + part.len();
            match &mut value {
                Some(value) => value.push_line(range),
                None => value = Some(Value::new(self.log, range)),
            }
            if let Some((_, rest)) = found {
                self.rest = rest;
                return value.map(Value::finish);
            }
            self.line = self.lines.next()?;
            self.rest = self.line.text;
            if timestamp::strip(self.rest).starts_with(REPORT) {
                return None;
            }
        }
    }
}

/// Splits at the first occurrence of two characters.
#[inline]
fn split_pair<'a>(text: &'a str, pair: &[u8; 2]) -> Option<(&'a str, &'a str)> {
    let bytes = text.as_bytes();
    let at = memchr_iter(pair[0], bytes).find(|at| bytes.get(at + 1) == Some(&pair[1]))?;
    Some((&text[..at], &text[at + 2..]))
}
