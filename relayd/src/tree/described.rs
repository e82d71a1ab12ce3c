// SPDX-License-Identifier: Apache-2.0
//! `GET /nodes`, for the documents of the API.

use protocol::node_tree::TreeDocument;
use schemars::SchemaGenerator;

use crate::open_api::{ApiPath, Content, ETAG, Example, Operation, Shape, answer, header, in_query, problem};

/// What is answered here.
pub(crate) const OPERATIONS: &[Operation] = &[Operation {
    id: "getNodes",
    method: "GET",
    path: ApiPath::At("/nodes"),
    tag: "Nodes",
    summary: "The nodes below the client",
    text: "With `Prefer: wait` the answer is held until something below the client changes (protocol 13.8).",
    parameters: &[
        in_query("changes", "Only what changed since the version of `If-None-Match`.", Shape::Text, ""),
        header("If-None-Match", "The version that the client has.", Shape::Text, "\"00000000000000ff-7\""),
        header("Prefer", "`wait=<seconds>`, at most 300 (RFC 7240).", Shape::Text, "wait=0"),
        header("Accept-Encoding", "`gzip`, for a packed answer.", Shape::Text, "gzip"),
    ],
    body: None,
    answers: &[
        answer(200, "all nodes, or what changed")
            .with(Content::Json(SchemaGenerator::subschema_for::<TreeDocument>))
            .headers(&[ETAG]),
        answer(304, "nothing changed for this client").headers(&[ETAG]),
        problem(429, "the client has four of these requests open, or asks more than 600 times a minute")
            .later(),
    ],
    example: Example { options: "", query: "" },
}];
