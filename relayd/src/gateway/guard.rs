// SPDX-License-Identifier: Apache-2.0
//! A strict look at request heads, before the HTTP library sees them.
//!
//! What two readers of one byte stream could cut differently is refused: that is how a second
//! request is smuggled past a first reader. RFC 9112 lets a recipient accept bare line feeds,
//! equal lengths given twice, folded lines and more; here nobody needs them.
//!
//! ```text
//!  Between ──▶ Line ⇄ AfterCr ──▶ (blank line) ──▶ Body(n) ──▶ Between
//!                                             └──▶ Opaque: chunked, answered and closed
//! ```

use hyper::header;
use memchr::memchr3;

/// Longest head looked at; the HTTP library's own limit is lower and answers with a better status.
const MAX_HEAD: usize = 32 * 1024;

/// Follows the bytes of a connection.
#[derive(Debug, Default)]
pub struct HeadGuard {
    state: State,
    line: Vec<u8>,
    head_length: usize,
    head: Head,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Between,
    Line,
    AfterCr,
    Body(u64),
    Opaque,
    Refused,
}

/// What was seen of the head at hand.
#[derive(Debug, Default)]
struct Head {
    request_line: bool,
    is_http_1_1: bool,
    hosts: usize,
    length: Option<u64>,
    chunked: bool,
}

/// The head is refused.
#[derive(Debug, PartialEq, Eq)]
struct Malformed;

impl HeadGuard {
    /// Looks at the next bytes of the connection.
    ///
    /// **Errors**: how many of them are fine; the one after them is not, and nothing after that
    /// may be passed on.
    pub fn check(&mut self, bytes: &[u8]) -> Result<(), usize> {
        let mut at = 0;
        while at < bytes.len() {
            match self.state {
                State::Opaque => return Ok(()),
                State::Body(left) => {
                    let skip = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len() - at);
                    at += skip;
                    let left = left - skip as u64;
                    self.state = if left == 0 { State::Between } else { State::Body(left) };
                }
                State::Line => {
                    let rest = &bytes[at..];
                    // Most of a line has nothing to decide about.
                    let plain = memchr3(b'\r', b'\n', 0, rest).unwrap_or(rest.len());
                    let plain = plain.min(MAX_HEAD - self.head_length);
                    self.line.extend_from_slice(&rest[..plain]);
                    self.head_length += plain;
                    at += plain;
                    if plain < rest.len() {
                        self.step(bytes, &mut at)?;
                    }
                }
                State::Between | State::AfterCr => self.step(bytes, &mut at)?,
                State::Refused => return Err(at),
            }
        }
        Ok(())
    }

    /// Whether a head has begun and not ended.
    pub fn is_in_head(&self) -> bool {
        matches!(self.state, State::Line | State::AfterCr)
    }

    /// Looks at one byte; where it is, if it is refused.
    fn step(&mut self, bytes: &[u8], at: &mut usize) -> Result<(), usize> {
        if self.byte(bytes[*at]).is_err() {
            self.state = State::Refused;
            return Err(*at);
        }
        *at += 1;
        Ok(())
    }

    fn byte(&mut self, byte: u8) -> Result<(), Malformed> {
        self.head_length += 1;
        if self.head_length > MAX_HEAD {
            return Err(Malformed);
        }
        match (self.state, byte) {
            (State::AfterCr, b'\n') => self.end_of_line(),
            (State::AfterCr, _) | (_, b'\n' | 0) => Err(Malformed),
            (State::Between, b'\r') => Err(Malformed),
            (_, b'\r') => {
                self.state = State::AfterCr;
                Ok(())
            }
            _ => {
                self.state = State::Line;
                self.line.push(byte);
                Ok(())
            }
        }
    }

    fn end_of_line(&mut self) -> Result<(), Malformed> {
        if self.line.is_empty() {
            return self.end_of_head();
        }
        if self.head.request_line {
            self.head.field(&self.line)?;
        } else {
            self.head.request_line(&self.line)?;
        }
        self.line.clear();
        self.state = State::Line;
        Ok(())
    }

    fn end_of_head(&mut self) -> Result<(), Malformed> {
        let head = std::mem::take(&mut self.head);
        self.head_length = 0;
        self.state = match head {
            Head { hosts, is_http_1_1: true, .. } if hosts != 1 => return Err(Malformed),
            Head { chunked: true, length: Some(_), .. } | Head { chunked: true, is_http_1_1: false, .. } => {
                return Err(Malformed);
            }
            Head { chunked: true, .. } => State::Opaque,
            Head { length: None | Some(0), .. } => State::Between,
            Head { length: Some(length), .. } => State::Body(length),
        };
        Ok(())
    }
}

impl Head {
    fn request_line(&mut self, line: &[u8]) -> Result<(), Malformed> {
        let mut parts = line.split(|b| *b == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Malformed);
        };
        self.request_line = true;
        self.is_http_1_1 = version == b"HTTP/1.1";
        let known_version = self.is_http_1_1 || version == b"HTTP/1.0";
        // No target that anybody could take for a second one, or for part of a header.
        let clean = target.iter().all(u8::is_ascii_graphic) && !target.is_empty();
        if known_version && clean && is_token(method) { Ok(()) } else { Err(Malformed) }
    }

    fn field(&mut self, line: &[u8]) -> Result<(), Malformed> {
        let colon = line.iter().position(|b| *b == b':').ok_or(Malformed)?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        // Refuses folded lines and space before the colon as well.
        if !is_token(name) {
            return Err(Malformed);
        }
        let is = |header: header::HeaderName| name.eq_ignore_ascii_case(header.as_str().as_bytes());
        if is(header::CONTENT_LENGTH) {
            let length = parse_length(value).ok_or(Malformed)?;
            if self.length.replace(length).is_some() {
                return Err(Malformed);
            }
        } else if is(header::TRANSFER_ENCODING) {
            if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Malformed);
            }
            self.chunked = true;
        } else if is(header::HOST) {
            self.hosts += 1;
        }
        Ok(())
    }
}

/// RFC 9110, 5.6.2.
fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b))
}

fn parse_length(digits: &[u8]) -> Option<u64> {
    let plain = (1..=18).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    plain.then(|| digits.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn accepts(bytes: &[u8]) -> bool {
        HeadGuard::default().check(bytes).is_ok()
    }

    #[test]
    fn proper_requests_pass_one_after_the_other() {
        let stream = b"PUT /reports/a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nG\n\r\n\0\
                       GET /uuid HTTP/1.1\r\nhost: x\r\nX-Empty:\r\n\r\n\
                       PUT /reports/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n\n\n\n";
        assert!(accepts(stream));
        assert!(accepts(b"GET /uuid HTTP/1.0\r\n\r\n"));
    }

    #[test]
    fn what_could_be_read_in_two_ways_does_not_pass() {
        for head in [
            "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
            "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            "PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
            "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 5, 5\r\n\r\n",
            "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: +5\r\n\r\n",
            "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
            "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 0x5\r\n\r\n",
            "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n\r\n",
            "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
            "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length : 5\r\n\r\n",
            "PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n",
            "PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\n\r\n",
            "PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            "PUT / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
            "PUT / HTTP/1.1\nHost: x\r\n\r\n",
            "PUT / HTTP/1.1\r\nHost: x\n\r\n",
            "PUT / HTTP/1.1\r\nHost: x\r\n\n",
            "PUT / HTTP/1.1\r\nHost: x\rY: z\r\n\r\n",
            "PUT / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n",
            "PUT / HTTP/1.1\r\n Host: x\r\n\r\n",
            "PUT / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n",
            "PUT / HTTP/1.1\r\nHost: x\r\n: no name\r\n\r\n",
            "PUT / HTTP/1.1\r\nHost: x\r\nA: \0\r\n\r\n",
            "PUT / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
            "PUT / HTTP/1.1\r\n\r\n",
            "PUT  / HTTP/1.1\r\nHost: x\r\n\r\n",
            "PUT /a b HTTP/1.1\r\nHost: x\r\n\r\n",
            "PUT /\tHTTP/1.1\r\nHost: x\r\n\r\n",
            "PUT / HTTP/1.2\r\nHost: x\r\n\r\n",
            "PUT /\r\nHost: x\r\n\r\n",
            "\r\nPUT / HTTP/1.1\r\nHost: x\r\n\r\n",
        ] {
            assert!(!accepts(head.as_bytes()), "{head:?}");
        }
        assert!(!accepts(format!("PUT / HTTP/1.1\r\nHost: x\r\nA: {}", "a".repeat(MAX_HEAD)).as_bytes()));
    }

    proptest! {
        #[test]
        fn how_bytes_are_cut_makes_no_difference(
            bytes in "(P|G| |/|HTTP/1\\.1|\r\n|\n|:|content-length: 3|host: x|\0|a){0,30}",
            cut in 1_usize..5,
        ) {
            let whole = HeadGuard::default().check(bytes.as_bytes());
            let mut guard = HeadGuard::default();
            let mut seen = 0;
            let mut pieces = Ok(());
            for piece in bytes.as_bytes().chunks(cut) {
                pieces = guard.check(piece).map_err(|at| seen + at);
                if pieces.is_err() {
                    break;
                }
                seen += piece.len();
            }
            prop_assert_eq!(whole, pieces);
        }
    }
}
