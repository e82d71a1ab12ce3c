// SPDX-License-Identifier: Apache-2.0
//! What requests for files have in common, for the documents of the API.

use crate::open_api::{Answer, Content, ETAG, Header, Parameter, Shape, answer, header};

/// Conditions and ranges (RFC 9110); the last two count for GET only.
pub(crate) const CONDITIONS: [Parameter; 6] = [
    header("If-None-Match", "Entity tags that the client has.", Shape::Text, "\"x\""),
    header("If-Match", "Entity tags that the client means.", Shape::Text, ""),
    header("If-Modified-Since", "Date of the copy of the client.", Shape::Text, ""),
    header("If-Unmodified-Since", "Date of what the client means.", Shape::Text, ""),
    header("Range", "The part that is wanted.", Shape::Text, "bytes=0-99"),
    header("If-Range", "Entity tag or date for which the range counts.", Shape::Text, ""),
];

/// Answers to a GET for a file that is there.
pub(crate) const FILE: [Answer; 5] = [
    answer(200, "the file").with(ANY).headers(&[ACCEPT_RANGES, SOMETIMES_ETAG]),
    answer(206, "the part of the file that was asked for")
        .with(ANY)
        .headers(&[CONTENT_RANGE, SOMETIMES_ETAG]),
    answer(304, "the client has the file").headers(&[SOMETIMES_ETAG]),
    answer(412, "`If-Match` or `If-Unmodified-Since` is not met"),
    answer(416, "the file has no such part").headers(&[CONTENT_RANGE]),
];

/// By the extension of the name.
const ANY: Content = Content::Bytes(&["*/*"]);
const ACCEPT_RANGES: Header = Header { name: "Accept-Ranges", text: "`bytes`.", always: false };
const CONTENT_RANGE: Header =
    Header { name: "Content-Range", text: "Which part, of how much.", always: true };
/// Not of a large file that nobody has asked for before.
const SOMETIMES_ETAG: Header = Header { always: false, ..ETAG };
