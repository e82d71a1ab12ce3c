// SPDX-License-Identifier: Apache-2.0
//! Values that may span lines: borrowed from the log as long as they stand there as they are (protocol 3.3).

use std::{borrow::Cow, ops::Range};

/// A value under construction, line by line.
#[derive(Debug)]
pub(super) struct Value<'a> {
    log: &'a str,
    // Holds the value until a time stamp or a line end other than LF had to be left out.
    range: Range<usize>,
    owned: Option<String>,
}

impl<'a> Value<'a> {
    /// Starts with this part of the log.
    #[inline]
    pub fn new(log: &'a str, range: Range<usize>) -> Self {
        Self { log, range, owned: None }
    }

    /// Adds LF and this part of the log.
    #[inline]
    pub fn push_line(&mut self, range: Range<usize>) {
        if let Some(owned) = &mut self.owned {
            owned.push('\n');
            owned.push_str(&self.log[range]);
        } else if range.start == self.range.end + 1 && self.log.as_bytes()[self.range.end] == b'\n' {
            self.range.end = range.end;
        } else {
            self.owned = Some([&self.log[self.range.clone()], &self.log[range]].join("\n"));
        }
    }

    /// The whole value.
    #[inline]
    pub fn finish(self) -> Cow<'a, str> {
        match self.owned {
            Some(owned) => Cow::Owned(owned),
            None => Cow::Borrowed(&self.log[self.range]),
        }
    }
}
