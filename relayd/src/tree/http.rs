// SPDX-License-Identifier: Apache-2.0
//! `GET /nodes` in HTTP: what a request asks for, and the headers of the answer.
//!
//! ```text
//! GET /nodes?changes                           200
//! If-None-Match: "<version>"       (RFC 9110)  ETag: "<version>"
//! Prefer: wait=60                  (RFC 7240)  Content-Encoding: gzip
//! Accept-Encoding: gzip                        {"version":…,"full":…,"nodes":{…}}
//! ```

use std::time::Duration;

use bytes::Bytes;
use hyper::{
    HeaderMap, Response, StatusCode,
    header::{
        ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, HeaderName, HeaderValue,
        IF_NONE_MATCH, RETRY_AFTER, VARY,
    },
};

use super::{server::TreeAnswer, version::Version};
use crate::http::Body;

/// What a client asks for. Headers that make no sense count as absent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ask {
    /// What it knows already.
    pub since: Option<Version>,
    /// How long it waits for news; five minutes at most.
    pub wait: Duration,
    /// Whether it wants to hear only of what changed.
    pub changes: bool,
    /// Whether it unpacks gzip.
    pub gzip: bool,
}

/// Longest wait, however patient the client is.
const LONGEST_WAIT: Duration = Duration::from_secs(300);
const PREFER: HeaderName = HeaderName::from_static("prefer");
/// When to come back after [`TreeAnswer::TooMany`], in seconds.
const RETRY: HeaderValue = HeaderValue::from_static("5");

impl Ask {
    /// Reads query and headers of a request.
    pub fn read(query: Option<&str>, headers: &HeaderMap) -> Self {
        let changes = query.is_some_and(|query| query.split('&').any(|part| part == "changes"));
        let since = elements(headers, &IF_NONE_MATCH).find_map(|tag| {
            let tag = tag.strip_prefix("W/").unwrap_or(tag);
            Version::parse(tag.strip_prefix('"')?.strip_suffix('"')?)
        });
        let wait = elements(headers, &PREFER).find_map(|preference| {
            let (name, value) = preference.split(';').next()?.split_once('=')?;
            let value = value.trim().trim_matches('"');
            name.trim().eq_ignore_ascii_case("wait").then(|| value.parse().ok()).flatten()
        });
        let gzip = elements(headers, &ACCEPT_ENCODING).any(|coding| {
            let mut parts = coding.split(';').map(str::trim);
            let is_gzip = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
            is_gzip && !parts.any(|weight| matches!(weight, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
        });
        Self { since, wait: Duration::from_secs(wait.unwrap_or(0)).min(LONGEST_WAIT), changes, gzip }
    }
}

/// The elements of a header that is a list, over all its lines.
fn elements<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim)
}

impl TreeAnswer {
    /// The response.
    pub fn into_response(self) -> Response<Body> {
        let (status, version, body, gzip) = match self {
            Self::Unchanged { version } => (StatusCode::NOT_MODIFIED, version, Bytes::new(), false),
            Self::Document { version, body, gzip } => (StatusCode::OK, version, body, gzip),
            Self::TooMany => {
                let text = "this client has too many of these requests open already\n";
                let mut response = Response::new(crate::http::text(text));
                *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
                response.headers_mut().insert(RETRY_AFTER, RETRY);
                let text = HeaderValue::from_static("text/plain; charset=utf-8");
                response.headers_mut().insert(CONTENT_TYPE, text);
                return response;
            }
        };
        let mut response = Response::new(crate::http::whole(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        if let Ok(tag) = HeaderValue::try_from(format!("\"{version}\"")) {
            headers.insert(ETAG, tag);
        }
        // Each client has a tree of its own.
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("private"));
        headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
        if status == StatusCode::OK {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: Option<&str>, lines: &[(&'static str, &'static str)]) -> Ask {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        Ask::read(query, &headers)
    }

    #[test]
    fn reads_what_is_asked_for() {
        let since = Some(Version { epoch: 255, generation: 7 });
        let everything = read(
            Some("a=b&changes"),
            &[
                ("if-none-match", "\"other\", \"00000000000000ff-7\""),
                ("prefer", "respond-async, Wait=\"60\"; strict"),
                ("accept-encoding", "br;q=1.0, gzip;q=0.8"),
            ],
        );
        assert_eq!(everything, Ask { since, wait: Duration::from_secs(60), changes: true, gzip: true });
        assert_eq!(read(None, &[("if-none-match", "W/\"00000000000000ff-7\"")]).since, since);
        assert_eq!(read(None, &[("prefer", "wait=100000")]).wait, LONGEST_WAIT);
        let two_lines = [("prefer", "handling=lenient"), ("prefer", "wait=2")];
        assert_eq!(read(None, &two_lines).wait, Duration::from_secs(2));
    }

    #[test]
    fn what_makes_no_sense_counts_as_absent() {
        for lines in [
            ("if-none-match", "*"),
            ("if-none-match", "00000000000000ff-7"),
            ("if-none-match", "\""),
            ("prefer", "wait"),
            ("prefer", "wait=-1"),
            ("prefer", "wait=99999999999999999999"),
            ("prefer", "await=5"),
            ("accept-encoding", "gzip;q=0"),
            ("accept-encoding", "identity"),
        ] {
            assert_eq!(read(Some("changed"), &[lines]), Ask::default(), "{lines:?}");
        }
    }

    #[test]
    fn answers_carry_the_version_to_ask_with() {
        let version = "00000000000000ff-7";
        let unchanged = TreeAnswer::Unchanged { version: version.into() }.into_response();
        assert_eq!(
            (unchanged.status(), &unchanged.headers()[ETAG]),
            (StatusCode::NOT_MODIFIED, &"\"00000000000000ff-7\"".parse().unwrap())
        );
        let document = TreeAnswer::Document { version: version.into(), body: "{}".into(), gzip: true };
        let document = document.into_response();
        assert_eq!(document.status(), StatusCode::OK);
        assert_eq!(document.headers()[CONTENT_ENCODING], "gzip");
        assert_eq!(document.headers()[CONTENT_TYPE], "application/json");
        assert_eq!(TreeAnswer::TooMany.into_response().status(), StatusCode::TOO_MANY_REQUESTS);
    }
}
