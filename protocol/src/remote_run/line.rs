// SPDX-License-Identifier: Apache-2.0
//! A run as lines of JSON (protocol 16.2), and the reader of lines that other servers send.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Counts, NodeEvent, RunRequestId, event::milliseconds};

/// Longest line, in bytes without its end. Holds each event that is bounded, whatever must be escaped.
pub const MAX_LINE: usize = 64 * 1024;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema), schemars(rename = "RunStreamLine"))]
pub enum Line {
    /// What happened to a node.
    Node(NodeEvent),
    /// What concerns the run as a whole.
    Run(RunLine),
}

/// What concerns no single node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
pub enum RunLine {
    /// The first line: the request was understood.
    Run {
        /// The number of the run, for logs.
        id: RunRequestId,
        /// Nodes that are asked, each of which gets one final event.
        nodes: usize,
    },
    /// Nothing happened for a while. Its absence means that the connection is dead.
    Heartbeat {
        /// When.
        #[cfg_attr(feature = "json-schema", schemars(with = "String"))]
        #[serde(serialize_with = "milliseconds")]
        time: DateTime<Utc>,
    },
    /// The last line: all nodes have their final event. A stream that ends without it was cut.
    End(Counts),
}

/// Why a line is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadLine {
    /// Longer than [`MAX_LINE`]; it is not kept.
    #[error("a line has more than {MAX_LINE} bytes")]
    TooLong,
    /// Not JSON, or not of this form.
    #[error("a line is no event: {0}")]
    Malformed(String),
    /// A text in it is longer than it may be.
    #[error("a text in a line is too long")]
    Unbounded,
}

impl Line {
    /// The line with its line end.
    pub fn to_json(&self) -> Vec<u8> {
        // Texts, numbers and times only: there is nothing that could have no JSON form.
        let mut json = serde_json::to_vec(self).expect("a line consists of texts and numbers");
        json.push(b'\n');
        json
    }

    /// Reads one, without its line end.
    pub fn from_json(line: &[u8]) -> Result<Self, BadLine> {
        let malformed = |error: serde_json::Error| BadLine::Malformed(error.to_string());
        let whose: Whose = serde_json::from_slice(line).map_err(malformed)?;
        if whose.node_id.is_none() {
            return serde_json::from_slice(line).map(Self::Run).map_err(malformed);
        }
        let event: NodeEvent = serde_json::from_slice(line).map_err(malformed)?;
        if event.event.is_bounded() { Ok(Self::Node(event)) } else { Err(BadLine::Unbounded) }
    }
}

/// Tells the two forms from each other, so that errors speak of the right one.
#[derive(Deserialize)]
struct Whose {
    node_id: Option<serde::de::IgnoredAny>,
}

/// Cuts bytes as they come into lines. Keeps no more than one line, of [`MAX_LINE`] bytes at most.
#[derive(Debug, Default)]
pub struct LineReader {
    begun: Vec<u8>,
    /// The line under way is too long; what comes up to its end is dropped.
    skipping: bool,
}

impl LineReader {
    /// Takes bytes; calls `each` for each line that ends in them. Empty lines are passed over.
    pub fn push(&mut self, mut bytes: &[u8], mut each: impl FnMut(Result<Line, BadLine>)) {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            self.extend(&bytes[..end]);
            bytes = &bytes[end + 1..];
            let line = std::mem::take(&mut self.begun);
            let line = line.strip_suffix(b"\r").unwrap_or(&line);
            if std::mem::take(&mut self.skipping) {
                each(Err(BadLine::TooLong));
            } else if !line.is_empty() {
                each(Line::from_json(line));
            }
        }
        self.extend(bytes);
    }

    /// Whether the bytes so far end in the midst of a line.
    pub fn is_torn(&self) -> bool {
        self.skipping || !self.begun.is_empty()
    }

    fn extend(&mut self, bytes: &[u8]) {
        if self.skipping {
            return;
        }
        if self.begun.len() + bytes.len() > MAX_LINE {
            (self.skipping, self.begun) = (true, Vec::new());
        } else {
            self.begun.extend_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        node_id::NodeId,
        remote_run::{Event, MAX_OUTPUT_LINE},
    };

    fn read(pieces: &[&[u8]]) -> Vec<Result<Line, BadLine>> {
        let (mut reader, mut lines) = (LineReader::default(), Vec::new());
        pieces.iter().for_each(|piece| reader.push(piece, |line| lines.push(line)));
        lines
    }

    fn output(text: &str) -> Line {
        let event = Event::Output { line: text.to_owned(), truncated: false };
        Line::Node(NodeEvent { node_id: NodeId::root(), time: DateTime::UNIX_EPOCH, event })
    }

    #[test]
    fn lines_have_this_form() {
        let written = |line: &Line| String::from_utf8(line.to_json()).unwrap();
        assert_eq!(
            written(&output("a\n\"b")),
            concat!(
                r#"{"node_id":"root","time":"1970-01-01T00:00:00.000Z","event":"output","line":"a\n\"b"}"#,
                "\n"
            )
        );
        let beat = Line::Run(RunLine::Heartbeat { time: DateTime::UNIX_EPOCH });
        assert_eq!(written(&beat), "{\"event\":\"heartbeat\",\"time\":\"1970-01-01T00:00:00.000Z\"}\n");
        let end = Line::Run(RunLine::End(Counts { succeeded: 1, failed: 2, ..Counts::default() }));
        assert_eq!(
            written(&end),
            "{\"event\":\"end\",\"succeeded\":1,\"failed\":2,\"unknown\":0,\"refused\":0,\"unreachable\":0,\"expired\":0}\n"
        );
        for line in [output("é"), beat, end] {
            assert_eq!(Line::from_json(&line.to_json()), Ok(line));
        }
    }

    #[test]
    fn the_longest_event_fits_into_a_line() {
        let line = output(&"\u{1}".repeat(MAX_OUTPUT_LINE));
        let json = line.to_json();
        assert!(json.len() <= MAX_LINE);
        assert_eq!(read(&[&json]), [Ok(line)]);
        let json = output(&"a".repeat(MAX_OUTPUT_LINE + 1)).to_json();
        assert_eq!(read(&[&json]), [Err(BadLine::Unbounded)]);
    }

    #[test]
    fn a_gigantic_line_costs_nothing_and_hides_nothing() {
        let (chunk, good) = (vec![b'x'; 10_000], output("after").to_json());
        let mut reader = LineReader::default();
        let mut lines = Vec::new();
        for _ in 0..1000 {
            reader.push(&chunk, |line| lines.push(line));
            assert!(reader.begun.capacity() <= 2 * MAX_LINE);
        }
        assert!(lines.is_empty() && reader.is_torn());
        reader.push(b"\n", |line| lines.push(line));
        reader.push(&good, |line| lines.push(line));
        assert_eq!(lines, [Err(BadLine::TooLong), Ok(output("after"))]);
        assert!(!reader.is_torn());
    }

    #[test]
    fn where_the_pieces_are_cut_does_not_matter() {
        let bytes = [output("one").to_json(), b"\r\n\n{\n".to_vec(), output("two").to_json()].concat();
        let whole = read(&[&bytes]);
        assert_eq!(whole.len(), 3);
        for cut in 0..bytes.len() {
            let (one, two) = bytes.split_at(cut);
            assert_eq!(read(&[one, two]), whole);
        }
    }

    #[test]
    fn what_is_no_event() {
        for bad in ["", "1", "[]", "{}", r#"{"event":"finished"}"#, r#"{"node_id":"-","event":"asked"}"#] {
            assert!(Line::from_json(bad.as_bytes()).is_err(), "{bad}");
        }
        let no_status = r#"{"node_id":"a","time":"2026-01-01T00:00:00Z","event":"finished"}"#;
        let no_status = Line::from_json(no_status.as_bytes());
        let Ok(Line::Node(event)) = no_status else { panic!("{no_status:?}") };
        assert!(!event.event.outcome().unwrap().is_success(), "no answer is never success");
    }
}
