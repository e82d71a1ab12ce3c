// SPDX-License-Identifier: Apache-2.0
//! What the `If-…` fields of a request say, in the order of RFC 9110, 13.2.2.

use std::time::SystemTime;

use headers::{
    HeaderMapExt, IfMatch, IfModifiedSince, IfNoneMatch, IfRange, IfUnmodifiedSince, LastModified,
};
use hyper::{HeaderMap, header};

use super::tag::Tag;

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is answered as if there were no condition.
    Go,
    /// The client has the content: 304.
    NotModified,
    /// The content is not the one that the client means: 412.
    Failed,
}

/// What is known about the content.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// Its tag.
    pub tag: Option<&'a Tag>,
    /// When it was changed last.
    pub modified: Option<SystemTime>,
}

/// Judges a GET or HEAD.
pub fn judge(headers: &HeaderMap, known: Known<'_>) -> Verdict {
    if let Some(field) = headers.typed_get::<IfMatch>() {
        // Any content will do for `*`; nothing else is met where no tag is known.
        let met = match known.tag {
            Some(tag) => field.precondition_passes(tag.etag()),
            None => field.is_any(),
        };
        if !met {
            return Verdict::Failed;
        }
    } else if let (Some(field), Some(modified)) = (headers.typed_get::<IfUnmodifiedSince>(), known.modified)
        && !field.precondition_passes(modified)
    {
        return Verdict::Failed;
    }
    if headers.contains_key(header::IF_NONE_MATCH) {
        return if is_had(headers, known) { Verdict::NotModified } else { Verdict::Go };
    }
    if let (Some(field), Some(modified)) = (headers.typed_get::<IfModifiedSince>(), known.modified)
        && !field.is_modified(modified)
    {
        return Verdict::NotModified;
    }
    Verdict::Go
}

fn is_had(headers: &HeaderMap, known: Known<'_>) -> bool {
    let Some(tag) = known.tag else { return false };
    // Nearly always it is the one tag that was sent with the content.
    if headers.get(header::IF_NONE_MATCH) == Some(tag.header()) {
        return true;
    }
    headers.typed_get::<IfNoneMatch>().is_some_and(|field| !field.precondition_passes(tag.etag()))
}

/// Whether a `Range` field counts: without `If-Range`, or when the client has other parts of this very
/// content.
pub fn range_counts(headers: &HeaderMap, known: Known<'_>) -> bool {
    if !headers.contains_key(header::IF_RANGE) {
        return true;
    }
    let modified = known.modified.map(LastModified::from);
    headers
        .typed_get::<IfRange>()
        .is_some_and(|field| !field.is_modified(known.tag.map(Tag::etag), modified.as_ref()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hyper::header::{HeaderName, HeaderValue};

    use super::{Verdict::*, *};

    const OLD: &str = "Sat, 29 Oct 1994 19:43:31 GMT";
    const AT: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const NEW: &str = "Mon, 07 Nov 1994 08:49:37 GMT";

    fn fields(fields: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        };
        fields.iter().map(pair).collect()
    }

    #[test]
    fn conditions_are_judged_in_their_order() {
        let (none, not, since) = ("if-none-match", "if-match", "if-modified-since");
        let unmodified = "if-unmodified-since";
        let tag = Tag::read("\"t\"").unwrap();
        // A second is the unit of dates; files have finer times.
        let modified = SystemTime::UNIX_EPOCH + Duration::from_millis(784_111_777_400);
        let known = Known { tag: Some(&tag), modified: Some(modified) };
        for (given, expected) in [
            (&[][..], Go),
            (&[(none, "\"t\"")], NotModified),
            (&[(none, "W/\"t\"")], NotModified),
            (&[(none, "\"a\", \"t\"")], NotModified),
            (&[(none, "*")], NotModified),
            (&[(none, "\"a\"")], Go),
            (&[(none, "t")], Go),
            (&[(none, "")], Go),
            (&[(none, "\"a\""), (since, AT)], Go),
            (&[(since, AT)], NotModified),
            (&[(since, NEW)], NotModified),
            (&[(since, OLD)], Go),
            (&[(since, "yesterday")], Go),
            (&[(not, "\"t\"")], Go),
            (&[(not, "*")], Go),
            (&[(not, "W/\"t\"")], Failed),
            (&[(not, "\"a\"")], Failed),
            (&[(not, "\"t\""), (unmodified, OLD)], Go),
            (&[(not, "\"t\""), (none, "\"t\"")], NotModified),
            (&[(unmodified, AT)], Go),
            (&[(unmodified, OLD)], Failed),
            (&[(unmodified, OLD), (none, "\"t\"")], Failed),
        ] {
            assert_eq!(judge(&fields(given), known), expected, "{given:?}");
        }
        let unknown = Known { tag: None, modified: None };
        for (given, expected) in
            [((none, "\"t\""), Go), ((not, "\"t\""), Failed), ((not, "*"), Go), ((since, AT), Go)]
        {
            assert_eq!(judge(&fields(&[given]), unknown), expected, "{given:?}");
        }
    }

    #[test]
    fn a_part_is_given_only_of_what_the_client_has_parts_of() {
        let tag = Tag::read("\"t\"").unwrap();
        let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let known = Known { tag: Some(&tag), modified: Some(modified) };
        for (value, expected) in
            [("\"t\"", true), ("\"a\"", false), ("W/\"t\"", false), (AT, true), (OLD, false), ("x", false)]
        {
            assert_eq!(range_counts(&fields(&[("if-range", value)]), known), expected, "{value}");
        }
        assert!(range_counts(&HeaderMap::new(), known));
    }
}
