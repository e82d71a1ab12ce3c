// SPDX-License-Identifier: Apache-2.0
//! A content, what is known about it, and the answer to a request for it.

use std::{ops::Range, time::SystemTime};

use bytes::Bytes;
use headers::{AcceptRanges, ContentLength, ContentRange, HeaderMapExt, LastModified};
use hyper::{
    HeaderMap, Method, Response, StatusCode,
    header::{CONTENT_TYPE, ETAG, HeaderValue, IF_MATCH, IF_NONE_MATCH, IF_UNMODIFIED_SINCE, RANGE},
};
use protocol::relative_path::RelativePath;

use super::{
    conditions::{self, Known, Verdict},
    open::OpenFile,
    range::{self, Part},
    stream::FileBody,
    tag::Tag,
};
use crate::http::{Body, empty, whole};

/// What is served under a path.
#[derive(Debug, Clone)]
pub struct Representation {
    content: Content,
    tag: Option<Tag>,
    modified: Option<SystemTime>,
    content_type: HeaderValue,
}

#[derive(Debug, Clone)]
enum Content {
    File(OpenFile),
    Memory(Bytes),
}

/// The content type of a file, by the extension of its name.
pub fn content_type(path: &RelativePath) -> HeaderValue {
    let guess = mime_guess::from_path(path.file_name()).first_raw();
    HeaderValue::from_static(guess.unwrap_or("application/octet-stream"))
}

impl Representation {
    /// A file, with its tag where that is known.
    pub fn of_file(file: OpenFile, tag: Option<Tag>, content_type: HeaderValue) -> Self {
        let modified = Some(file.modified());
        Self { content: Content::File(file), tag, modified, content_type }
    }

    /// Something made in memory.
    pub fn of_bytes(content: impl Into<Bytes>, tag: Option<Tag>, content_type: HeaderValue) -> Self {
        Self { content: Content::Memory(content.into()), tag, modified: None, content_type }
    }

    /// The same with this time as that of its last change; `None` where that is unknown.
    pub fn modified(self, modified: Option<SystemTime>) -> Self {
        Self { modified, ..self }
    }

    fn size(&self) -> u64 {
        match &self.content {
            Content::File(file) => file.size(),
            Content::Memory(bytes) => bytes.len() as u64,
        }
    }

    /// The answer to who has the content already, where its tag is all that is known of it.
    pub fn unchanged(tag: &Tag, headers: &HeaderMap) -> Option<Response<Body>> {
        let known = Known { tag: Some(tag), modified: None };
        let is_had = conditions::judge(headers, known) == Verdict::NotModified;
        is_had.then(|| bare(StatusCode::NOT_MODIFIED, Some(tag)))
    }

    /// The tag that the client has, where the request says in the plainest way that it has one. `None` says
    /// nothing: then the fields have to be taken apart.
    pub fn plain_tag(headers: &HeaderMap) -> Option<&HeaderValue> {
        // These two come first (RFC 9110, 13.2.2).
        if headers.contains_key(IF_MATCH) || headers.contains_key(IF_UNMODIFIED_SINCE) {
            return None;
        }
        let mut fields = headers.get_all(IF_NONE_MATCH).iter();
        let tag = fields.next()?;
        fields.next().is_none().then_some(tag)
    }

    /// The same, where the tag is the SHA-256 of the content.
    pub fn plain_digest(headers: &HeaderMap) -> Option<[u8; 32]> {
        let tag = Self::plain_tag(headers)?;
        let digits = tag.as_bytes().strip_prefix(b"\"")?.strip_suffix(b"\"")?;
        let mut said = [0; 32];
        hex::decode_to_slice(digits, &mut said).ok()?;
        (!digits.iter().any(u8::is_ascii_uppercase)).then_some(said)
    }

    /// The answer to such a request, where the content is that one.
    pub fn had(headers: &HeaderMap) -> Response<Body> {
        let mut response = Response::new(empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        if let Some(tag) = headers.get(IF_NONE_MATCH) {
            response.headers_mut().insert(ETAG, tag.clone());
        }
        response
    }

    /// Answers a GET, or a HEAD as a GET without body.
    pub fn answer(self, method: &Method, headers: &HeaderMap) -> Response<Body> {
        let known = Known { tag: self.tag.as_ref(), modified: self.modified };
        match conditions::judge(headers, known) {
            Verdict::NotModified => return self.bare(StatusCode::NOT_MODIFIED),
            Verdict::Failed => return self.bare(StatusCode::PRECONDITION_FAILED),
            Verdict::Go => {}
        }
        let size = self.size();
        let field = headers.get(RANGE).filter(|_| method == Method::GET);
        let part = match field.filter(|_| conditions::range_counts(headers, known)) {
            Some(field) => range::read(field, size),
            None => Part::Whole,
        };
        match part {
            Part::Whole => self.part(method, StatusCode::OK, 0..size),
            Part::Bytes(part) => {
                let mut response = self.part(method, StatusCode::PARTIAL_CONTENT, part.clone());
                if let Ok(field) = ContentRange::bytes(part, size) {
                    response.headers_mut().typed_insert(field);
                }
                response
            }
            Part::Unsatisfiable => {
                let mut response = self.bare(StatusCode::RANGE_NOT_SATISFIABLE);
                response.headers_mut().typed_insert(ContentRange::unsatisfied_bytes(size));
                response
            }
        }
    }

    fn part(self, method: &Method, status: StatusCode, part: Range<u64>) -> Response<Body> {
        let mut response = self.bare(status);
        let headers = response.headers_mut();
        headers.typed_insert(ContentLength(part.end - part.start));
        headers.typed_insert(AcceptRanges::bytes());
        headers.insert(CONTENT_TYPE, self.content_type);
        if let Some(modified) = self.modified {
            headers.typed_insert(LastModified::from(modified));
        }
        if method != Method::HEAD {
            *response.body_mut() = match self.content {
                Content::File(file) => FileBody::new(file, part).boxed(),
                Content::Memory(bytes) => whole(bytes.slice(part.start as usize..part.end as usize)),
            };
        }
        response
    }

    fn bare(&self, status: StatusCode) -> Response<Body> {
        bare(status, self.tag.as_ref())
    }
}

fn bare(status: StatusCode, tag: Option<&Tag>) -> Response<Body> {
    let mut response = Response::new(empty());
    *response.status_mut() = status;
    if let Some(tag) = tag {
        response.headers_mut().insert(ETAG, tag.header().clone());
    }
    response
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[test]
    fn who_says_plainly_that_it_has_a_content_is_told_so() {
        let digest = [0xab; 32];
        let tag = Tag::of(&digest);
        let had = |fields: &[(&'static str, &str)]| {
            let headers: HeaderMap = fields
                .iter()
                .map(|(name, value)| {
                    (hyper::header::HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
                })
                .collect();
            let plain = Representation::plain_digest(&headers)
                .filter(|said| *said == digest)
                .map(|_| Representation::had(&headers));
            let taken_apart = Representation::unchanged(&tag, &headers);
            // What is told quickly is what is told at length.
            if let Some(plain) = &plain {
                let slow = taken_apart.expect("the same answer");
                assert_eq!((plain.status(), plain.headers()), (slow.status(), slow.headers()));
            }
            plain.is_some()
        };
        let text = tag.header().to_str().unwrap();
        assert!(had(&[("if-none-match", text)]));
        assert!(had(&[("if-none-match", text), ("if-modified-since", "Thu, 01 Jan 1970 00:00:00 GMT")]));
        let weak = format!("W/{text}");
        let list = format!("{text}, \"other\"");
        for fields in [
            &[][..],
            &[("if-none-match", &*text.to_uppercase())],
            &[("if-none-match", &*weak)],
            &[("if-none-match", &*list)],
            &[("if-none-match", "\"abab\"")],
            &[("if-none-match", "*")],
            &[("if-none-match", text), ("if-match", text)],
            &[("if-none-match", text), ("if-unmodified-since", "Thu, 01 Jan 1970 00:00:00 GMT")],
        ] {
            assert!(!had(fields), "{fields:?}");
        }
    }

    async fn ask(method: Method, fields: &[(&'static str, &str)]) -> (u16, HeaderMap, String) {
        let headers = fields.iter().map(|(name, value)| {
            (hyper::header::HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        });
        let content = Representation::of_bytes(
            "0123456789",
            Tag::read("\"t\""),
            content_type(&"a.txt".parse().unwrap()),
        );
        let response = content.answer(&method, &headers.collect());
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (head.status.as_u16(), head.headers, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn an_answer_has_the_part_that_is_asked_for() {
        for (method, fields, status, length, range, body) in [
            (Method::GET, &[][..], 200, Some("10"), None, "0123456789"),
            (Method::HEAD, &[], 200, Some("10"), None, ""),
            (Method::GET, &[("range", "bytes=2-3")], 206, Some("2"), Some("bytes 2-3/10"), "23"),
            (Method::HEAD, &[("range", "bytes=2-3")], 200, Some("10"), None, ""),
            (Method::GET, &[("range", "bytes=10-")], 416, None, Some("bytes */10"), ""),
            (
                Method::GET,
                &[("range", "bytes=2-3"), ("if-range", "\"t\"")],
                206,
                Some("2"),
                Some("bytes 2-3/10"),
                "23",
            ),
            (
                Method::GET,
                &[("range", "bytes=2-3"), ("if-range", "\"u\"")],
                200,
                Some("10"),
                None,
                "0123456789",
            ),
            (Method::GET, &[("range", "bytes=90-"), ("if-none-match", "\"t\"")], 304, None, None, ""),
            (Method::HEAD, &[("if-none-match", "\"t\"")], 304, None, None, ""),
            (Method::GET, &[("if-match", "\"u\"")], 412, None, None, ""),
        ] {
            let (got, headers, content) = ask(method.clone(), fields).await;
            let field = |name: &str| headers.get(name).map(|value| value.to_str().unwrap());
            let seen = (got, field("content-length"), field("content-range"), content.as_str());
            assert_eq!(seen, (status, length, range, body), "{method} {fields:?}");
            assert_eq!(field("etag"), Some("\"t\""));
            let told = [200, 206].contains(&status);
            assert_eq!(field("content-type"), told.then_some("text/plain"));
            assert_eq!(field("accept-ranges"), told.then_some("bytes"));
        }
    }

    #[test]
    fn the_extension_tells_the_content_type() {
        for (path, expected) in [
            ("a.json", "application/json"),
            ("a/b.ZIP", "application/zip"),
            ("x.tar.bz2", "application/x-bzip2"),
            ("a.html/none", "application/octet-stream"),
            ("promises.cf", "application/octet-stream"),
        ] {
            assert_eq!(content_type(&path.parse().unwrap()), expected, "{path}");
        }
    }
}
