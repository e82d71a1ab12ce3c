// SPDX-License-Identifier: Apache-2.0
//! The envelope: splits a `multipart/signed` message into what is signed and the signature.
//!
//! Everything here is a slice of the message; nothing but the boundary is copied.

use memchr::{memchr, memmem};

use super::SmimeError;

/// The two parts of a signed message.
pub struct Parts<'a> {
    /// The signed part, headers included, without the line end that belongs to the boundary.
    pub signed: &'a [u8],
    /// Base64 of the signature.
    pub signature: &'a [u8],
}

/// Largest accepted header block, in bytes; OpenSSL writes under 200.
const MAX_HEADERS: usize = 8 << 10;
/// RFC 2046 5.1.1.
const MAX_BOUNDARY: usize = 70;

const SIGNATURE_TYPES: [&str; 2] = ["application/x-pkcs7-signature", "application/pkcs7-signature"];

/// Splits a message.
pub fn split(message: &[u8]) -> Result<Parts<'_>, SmimeError> {
    let (headers, body) = read_headers(message)?;
    let content_type = content_type(&headers)?.ok_or(SmimeError::NotMultipartSigned)?;
    if !content_type.is("multipart/signed") {
        return Err(SmimeError::NotMultipartSigned);
    }
    let protocol = content_type.parameter("protocol").ok_or(SmimeError::Protocol)?;
    if !SIGNATURE_TYPES.iter().any(|known| protocol.eq_ignore_ascii_case(known)) {
        return Err(SmimeError::Protocol);
    }
    let boundary = content_type.parameter("boundary").ok_or(SmimeError::Boundary)?;
    let [signed, second] = split_parts(body, checked_boundary(boundary)?)?;
    Ok(Parts { signed, signature: signature_body(second)? })
}

/// Removes the header of the signed part, which must say `text/plain` and nothing else.
pub fn strip_text_header(signed: &[u8]) -> Result<&[u8], SmimeError> {
    let (headers, text) = read_headers(signed).map_err(|_| SmimeError::NotText)?;
    match content_type(&headers) {
        Ok(Some(kind)) if headers.len() == 1 && kind.is("text/plain") => Ok(text),
        _ => Err(SmimeError::NotText),
    }
}

fn signature_body(part: &[u8]) -> Result<&[u8], SmimeError> {
    let (headers, body) = read_headers(part).map_err(|_| SmimeError::NotSignature)?;
    let kind = content_type(&headers)?.ok_or(SmimeError::NotSignature)?;
    let mut encodings = headers.iter().filter(|h| h.is("content-transfer-encoding"));
    let base64 = matches!((encodings.next(), encodings.next()),
        (Some(encoding), None) if encoding.value.trim().eq_ignore_ascii_case("base64"));
    if !base64 || !SIGNATURE_TYPES.iter().any(|known| kind.is(known)) {
        return Err(SmimeError::NotSignature);
    }
    Ok(body)
}

fn checked_boundary(boundary: &str) -> Result<&str, SmimeError> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(&b);
    let fits = (1..=MAX_BOUNDARY).contains(&boundary.len()) && !boundary.ends_with(' ');
    if fits && boundary.bytes().all(allowed) { Ok(boundary) } else { Err(SmimeError::Boundary) }
}

fn split_parts<'a>(body: &'a [u8], boundary: &str) -> Result<[&'a [u8]; 2], SmimeError> {
    let delimiter = format!("--{boundary}");
    let mut delimiters = Delimiters { body, finder: memmem::Finder::new(&delimiter), from: 0 };
    let first = delimiters.next()?;
    if first.closes {
        return Err(SmimeError::Parts);
    }
    let middle = delimiters.next()?;
    if middle.closes {
        return Err(SmimeError::Parts);
    }
    let last = delimiters.next()?;
    if !last.closes {
        return Err(SmimeError::Parts);
    }
    if !body[last.end..].iter().all(u8::is_ascii_whitespace) {
        return Err(SmimeError::Trailing);
    }
    Ok([between(body, &first, &middle), between(body, &middle, &last)])
}

/// What is between two boundary lines; the line end before a boundary is part of the boundary.
fn between<'a>(body: &'a [u8], before: &Delimiter, after: &Delimiter) -> &'a [u8] {
    let part = &body[before.end..after.start];
    let part = part.strip_suffix(b"\n").unwrap_or(part);
    part.strip_suffix(b"\r").unwrap_or(part)
}

/// A boundary line.
struct Delimiter {
    start: usize,
    /// Start of the next line, or the end of the message.
    end: usize,
    closes: bool,
}

struct Delimiters<'a, 'b> {
    body: &'a [u8],
    finder: memmem::Finder<'b>,
    from: usize,
}

impl Delimiters<'_, '_> {
    fn next(&mut self) -> Result<Delimiter, SmimeError> {
        loop {
            let found = self.finder.find(&self.body[self.from..]).ok_or(SmimeError::Truncated)?;
            let start = self.from + found;
            let after = start + self.finder.needle().len();
            self.from = after;
            if start > 0 && self.body[start - 1] != b'\n' {
                continue;
            }
            let rest = &self.body[after..];
            let closes = rest.starts_with(b"--");
            let padding = if closes { &rest[2..] } else { rest };
            let line = match memchr(b'\n', padding) {
                Some(at) => &padding[..=at],
                None if closes => padding,
                None => return Err(SmimeError::Truncated),
            };
            if !line.iter().all(u8::is_ascii_whitespace) {
                return Err(SmimeError::BoundaryLine);
            }
            self.from = after + (rest.len() - padding.len()) + line.len();
            return Ok(Delimiter { start, end: self.from, closes });
        }
    }
}

struct Header<'a> {
    name: &'a str,
    /// With the line ends of folded lines.
    value: &'a str,
}

impl Header<'_> {
    fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }
}

/// Reads headers up to the empty line; returns them and what follows it.
fn read_headers(text: &[u8]) -> Result<(Vec<Header<'_>>, &[u8]), SmimeError> {
    let mut ends = Vec::new(); // of each header, folded lines included
    let mut at = 0;
    loop {
        let window = &text[at..text.len().min(MAX_HEADERS)];
        let line_end = at + memchr(b'\n', window).ok_or(SmimeError::Headers("no empty line after them"))?;
        let line = &text[at..line_end];
        at = line_end + 1;
        match (line.trim_ascii_end().is_empty(), line.first(), ends.last_mut()) {
            (true, _, _) => break,
            (false, Some(b' ' | b'\t'), Some(last)) => *last = line_end,
            _ => ends.push(line_end),
        }
    }
    let mut start = 0;
    let headers = ends.into_iter().map(|end| {
        let header = &text[start..end];
        start = end + 1;
        read_header(header)
    });
    Ok((headers.collect::<Result<_, _>>()?, &text[at..]))
}

fn read_header(line: &[u8]) -> Result<Header<'_>, SmimeError> {
    let printable = line.iter().all(|&b| matches!(b, b' '..=b'~' | b'\t' | b'\r' | b'\n'));
    let line = std::str::from_utf8(line).ok().filter(|_| printable);
    let line = line.ok_or(SmimeError::Headers("not ASCII"))?;
    let (name, value) = line.split_once(':').ok_or(SmimeError::Headers("a line without colon"))?;
    if name.is_empty() || name.contains(|c: char| c.is_ascii_whitespace()) {
        return Err(SmimeError::Headers("a malformed name"));
    }
    Ok(Header { name, value })
}

struct ContentType<'a> {
    media_type: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
}

impl<'a> ContentType<'a> {
    fn is(&self, media_type: &str) -> bool {
        self.media_type.eq_ignore_ascii_case(media_type)
    }

    fn parameter(&self, name: &str) -> Option<&'a str> {
        self.parameters.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }
}

/// The content type, if there is one; two of them, or two parameters of a name, are an error.
fn content_type<'a>(headers: &[Header<'a>]) -> Result<Option<ContentType<'a>>, SmimeError> {
    let mut all = headers.iter().filter(|header| header.is("content-type"));
    let Some(header) = all.next() else { return Ok(None) };
    if all.next().is_some() {
        return Err(SmimeError::Headers("two content types"));
    }
    let malformed = SmimeError::Headers("a malformed content type");
    let (media_type, mut rest) = header.value.split_once(';').unwrap_or((header.value, ""));
    let mut parameters: Vec<(&str, &str)> = Vec::new();
    while !rest.trim().is_empty() {
        let Some((name, value, after)) = parameter(rest) else { return Err(malformed) };
        if parameters.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) {
            return Err(SmimeError::Headers("a doubled parameter"));
        }
        parameters.push((name, value));
        rest = after;
    }
    Ok(Some(ContentType { media_type: media_type.trim(), parameters }))
}

/// Reads `name=value` or `name="value"` with the `;` after it. No value needs a backslash.
fn parameter(text: &str) -> Option<(&str, &str, &str)> {
    let (name, rest) = text.split_once('=')?;
    let (value, rest) = match rest.trim_start().strip_prefix('"') {
        Some(quoted) => quoted.split_once('"')?,
        None => rest.split_at(rest.find(';').unwrap_or(rest.len())),
    };
    let rest = rest.trim_start();
    let rest = if rest.is_empty() { rest } else { rest.strip_prefix(';')? };
    let (name, value) = (name.trim(), value.trim());
    let clean = !name.is_empty() && !name.contains(['"', ';']) && !value.contains(['\\', '\r', '\n']);
    clean.then_some((name, value, rest))
}
