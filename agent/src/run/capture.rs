// SPDX-License-Identifier: Apache-2.0
//! Output of a policy command, as lines with the time each ended, in bounded memory.
//!
//! CRLF, LF and a lone CR end a line. NUL and invalid UTF-8 become U+FFFD. An over-long line is cut
//! into several. What comes after the limit is counted, not kept: the start of a log says most.

use std::borrow::Cow;

use chrono::{DateTime, Utc};

use super::order::Listener;

/// Where a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// One captured line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Captured<'a> {
    /// When it was complete.
    pub at: DateTime<Utc>,
    /// Where it came from.
    pub stream: Stream,
    /// The line without its end.
    pub text: &'a str,
}

/// Lines are cut at this length, far below what servers accept.
const MAX_LINE: usize = 256 * 1024;

/// Servers accept some more reports than this, and each line may become one.
const MAX_LINES: usize = 150_000;

/// The lines kept so far.
#[derive(Debug)]
pub struct Capture {
    text: String,
    lines: Vec<(DateTime<Utc>, Stream, usize)>,
    limit: usize,
    dropped_bytes: u64,
    listener: Option<Listener>,
}

impl Capture {
    /// Keeps at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { text: String::new(), lines: Vec::new(), limit, dropped_bytes: 0, listener: None }
    }

    /// The same, telling each line that comes, also those that are too much to be kept.
    pub fn told_to(self, listener: Option<Listener>) -> Self {
        Self { listener, ..self }
    }

    /// Adds one line without its end.
    pub fn push(&mut self, at: DateTime<Utc>, stream: Stream, line: &[u8]) {
        if let Some(Listener(listener)) = &self.listener {
            listener(&clean(line));
        }
        if self.dropped_bytes == 0 {
            let text = clean(line);
            let size = self.text.len() + self.lines.len() + text.len() + 1;
            if self.lines.len() < MAX_LINES && size <= self.limit {
                self.text.push_str(&text);
                self.lines.push((at, stream, self.text.len()));
                return;
            }
        }
        self.dropped_bytes += line.len() as u64 + 1;
    }

    /// The kept lines, in the order they came.
    pub fn lines(&self) -> impl Iterator<Item = Captured<'_>> {
        let mut start = 0;
        self.lines.iter().map(move |(at, stream, end)| {
            let text = &self.text[start..*end];
            start = *end;
            Captured { at: *at, stream: *stream, text }
        })
    }

    /// Bytes of output that were not kept.
    pub fn dropped_bytes(&self) -> u64 {
        self.dropped_bytes
    }

    /// Keeps only the first half, for a log that turned out too big to be sent.
    pub fn halve(&mut self) {
        let kept = self.lines.len() / 2;
        let end = kept.checked_sub(1).map_or(0, |last| self.lines[last].2);
        self.dropped_bytes += (self.text.len() - end + self.lines.len() - kept) as u64;
        self.text.truncate(end);
        self.lines.truncate(kept);
    }
}

fn clean(line: &[u8]) -> Cow<'_, str> {
    match String::from_utf8_lossy(line) {
        text if text.contains('\0') => Cow::Owned(text.replace('\0', "\u{FFFD}")),
        text => text,
    }
}

/// Cuts the bytes of one stream into lines.
#[derive(Debug, Default)]
pub struct LineSplitter {
    partial: Vec<u8>,
    after_cr: bool,
}

impl LineSplitter {
    /// Takes the next bytes and gives each line they complete, without its end.
    pub fn feed(&mut self, mut bytes: &[u8], mut emit: impl FnMut(&[u8])) {
        while let Some(first) = bytes.first() {
            if std::mem::take(&mut self.after_cr) && *first == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            match bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
                Some(end) => {
                    self.partial.extend_from_slice(&bytes[..end]);
                    self.after_cr = bytes[end] == b'\r';
                    bytes = &bytes[end + 1..];
                    emit(&self.partial);
                    self.partial.clear();
                }
                None => {
                    self.partial.extend_from_slice(bytes);
                    bytes = &[];
                }
            }
            if self.partial.len() >= MAX_LINE {
                let cut = character_start(&self.partial, MAX_LINE);
                emit(&self.partial[..cut]);
                self.partial.drain(..cut);
            }
        }
    }

    /// The end of the stream: a last line without end is a line.
    pub fn finish(&mut self, mut emit: impl FnMut(&[u8])) {
        if !self.partial.is_empty() {
            emit(&self.partial);
            self.partial.clear();
        }
    }
}

/// The start of the character that `at` is in the middle of, or `at`.
fn character_start(bytes: &[u8], at: usize) -> usize {
    let is_continuation = |i: &usize| bytes.get(*i).is_some_and(|byte| byte & 0b1100_0000 == 0b1000_0000);
    (at - 3..=at).rev().find(|i| !is_continuation(i)).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(chunks: &[&[u8]]) -> Vec<String> {
        let mut lines = vec![];
        let mut splitter = LineSplitter::default();
        let mut emit = |line: &[u8]| lines.push(String::from_utf8_lossy(line).into_owned());
        for chunk in chunks {
            splitter.feed(chunk, &mut emit);
        }
        splitter.finish(&mut emit);
        lines
    }

    #[test]
    fn all_line_ends_end_a_line() {
        assert_eq!(split(&[b"a\r", b"\nb\rc\n\n", b"d\r\r\ne"]), ["a", "b", "c", "", "d", "", "e"]);
    }

    #[test]
    fn nul_and_invalid_bytes_are_replaced() {
        let mut capture = Capture::new(100);
        capture.push(Utc::now(), Stream::Out, b"a\0b\xff\xc3\xa9");
        assert_eq!(capture.lines().next().unwrap().text, "a\u{FFFD}b\u{FFFD}é");
    }

    #[test]
    fn long_lines_are_cut_between_characters() {
        let long = "é".repeat(MAX_LINE);
        let lines = split(&long.as_bytes().chunks(999).collect::<Vec<_>>());
        assert!(lines.len() > 1 && lines.iter().all(|line| line.len() <= MAX_LINE));
        assert_eq!(lines.concat(), long);
    }

    #[test]
    fn what_is_over_the_limit_is_counted() {
        let mut capture = Capture::new(10);
        for line in ["12345", "123456789", "1"] {
            capture.push(Utc::now(), Stream::Out, line.as_bytes());
        }
        assert_eq!(capture.lines().count(), 1);
        assert_eq!(capture.dropped_bytes(), 12);
        capture.halve();
        assert_eq!((capture.lines().count(), capture.dropped_bytes()), (0, 18));
    }

    proptest! {
        #[test]
        fn chunks_make_no_difference(text in "[a\r\n]{0,40}", at in 0usize..40) {
            let at = at.min(text.len());
            let (one, two) = text.as_bytes().split_at(at);
            prop_assert_eq!(split(&[one, two]), split(&[text.as_bytes()]));
        }
    }
}
