// SPDX-License-Identifier: Apache-2.0
//! Lines of a text whose line ends are CRLF, LF or a lone CR, mixed (protocol 3.1).
//!
//! A cursor, cheap to copy, so that a reader can look ahead and come back.

use memchr::memchr2;

/// One line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line<'a> {
    /// From 1.
    pub number: usize,
    /// Offset in the text.
    pub start: usize,
    /// Without its line end.
    pub text: &'a str,
}

impl Line<'_> {
    /// Offset of the line end in the text.
    pub fn end(&self) -> usize {
        self.start + self.text.len()
    }
}

/// The lines of a text from some point on. A last line without line end counts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lines<'a> {
    text: &'a str,
    position: usize,
    number: usize,
}

impl<'a> Lines<'a> {
    pub fn new(text: &'a str) -> Self {
        Self { text, position: 0, number: 0 }
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = Line<'a>;

    #[inline]
    fn next(&mut self) -> Option<Line<'a>> {
        let start = self.position;
        let rest = self.text.as_bytes().get(start..).filter(|rest| !rest.is_empty())?;
        // Empty lines are not worth a search.
        let length = match rest[0] {
            b'\n' | b'\r' => 0,
            _ => memchr2(b'\n', b'\r', rest).unwrap_or(rest.len()),
        };
        let line_end = match rest.get(length..) {
            Some([b'\r', b'\n', ..]) => 2,
            Some([_, ..]) => 1,
            _ => 0,
        };
        self.position = start + length + line_end;
        self.number += 1;
        Some(Line { number: self.number, start, text: &self.text[start..start + length] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_line_end_ends_one_line() {
        for (text, expected) in [
            ("", vec![]),
            ("a", vec!["a"]),
            ("a\n", vec!["a"]),
            ("\n", vec![""]),
            ("\r\n\r\n", vec!["", ""]),
            ("a\rb\nc\r\nd", vec!["a", "b", "c", "d"]),
            ("a\r\rb\r\r\nc\n\rd\r", vec!["a", "", "b", "", "c", "", "d"]),
            ("é\r\u{fffd}\n", vec!["é", "\u{fffd}"]),
        ] {
            let lines: Vec<_> = Lines::new(text).collect();
            assert_eq!(lines.iter().map(|l| l.text).collect::<Vec<_>>(), expected, "{text:?}");
            for (index, line) in lines.iter().enumerate() {
                assert_eq!(line.number, index + 1);
                assert_eq!(&text[line.start..line.end()], line.text);
            }
        }
    }
}
