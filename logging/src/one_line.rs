// SPDX-License-Identifier: Apache-2.0
//! Each event is exactly one line: control characters inside it are escaped.

use std::{
    fmt::Write as _,
    io::{self, Write},
};

use tracing_subscriber::fmt::MakeWriter;

/// What is in a line, and so how a character is escaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Text.
    Plain,
    /// Text that the formatter has coloured; its escape sequences must stay.
    Coloured,
    /// JSON.
    Json,
}

/// Writes events as lines.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OneLine {
    pub(crate) shape: Shape,
    /// Standard error instead of standard output.
    pub(crate) to_error: bool,
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
        let text = String::from_utf8_lossy(event);
        let mut line = escaped(text.strip_suffix('\n').unwrap_or(&text), self.shape);
        line.push('\n');
        match self.to_error {
            true => io::stderr().lock().write_all(line.as_bytes())?,
            false => io::stdout().lock().write_all(line.as_bytes())?,
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.to_error {
            true => io::stderr().flush(),
            false => io::stdout().flush(),
        }
    }
}

/// The text without control characters, and without the two that Unicode has for line and paragraph ends.
pub(crate) fn escaped(text: &str, shape: Shape) -> String {
    let mut line = String::with_capacity(text.len() + 1);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if let Some(colour) = (shape == Shape::Coloured).then(|| colour(rest)).flatten() {
            line.push_str(colour);
            rest = &rest[colour.len()..];
            continue;
        }
        if !(c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')) {
            line.push(c);
        } else if shape == Shape::Json {
            // All of these are one unit of UTF-16. Writing to a text does not fail.
            let _ = write!(line, "\\u{:04x}", u32::from(c));
        } else {
            line.extend(c.escape_default());
        }
        rest = &rest[c.len_utf8()..];
    }
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
        let hostile = "INFO name=a\r\nINFO forged\u{1b}[2J\u{7}\u{9b}\u{2028}\u{0}é";
        assert_eq!(
            escaped(hostile, Shape::Plain),
            "INFO name=a\\r\\nINFO forged\\u{1b}[2J\\u{7}\\u{9b}\\u{2028}\\u{0}é"
        );
        assert_eq!(
            escaped("\x1b[32mINFO\x1b[0m \x1b[2J\u{fffd}", Shape::Coloured),
            "\u{1b}[32mINFO\u{1b}[0m \\u{1b}[2J\u{fffd}"
        );
    }

    #[test]
    fn json_stays_json() {
        let line = escaped("{\"a\":\"\u{7f}\u{9b}\u{2028}é\"}", Shape::Json);
        assert_eq!(line, "{\"a\":\"\\u007f\\u009b\\u2028é\"}");
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(read["a"], "\u{7f}\u{9b}\u{2028}é");
    }
}
