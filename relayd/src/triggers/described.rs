// SPDX-License-Identifier: Apache-2.0
//! What nodes hear of runs, and report of them, for the documents of the API.

use protocol::{
    remote_run::{Event, RunRequestId},
    triggers::{News, Receipt},
};
use schemars::SchemaGenerator;

use crate::open_api::{
    ApiPath, Content, Example, Operation, Shape, answer, body, header, in_path, in_query, problem,
};

/// What is answered here.
pub(crate) const OPERATIONS: &[Operation] = &[
    Operation {
        id: "getTriggers",
        method: "GET",
        path: ApiPath::At("/triggers"),
        tag: TAG,
        summary: "Runs that the client should make",
        text: "With `Prefer: wait` the answer is held until there are some; each request and each answer is a \
               heartbeat of the connection (protocol 16.1).",
        parameters: &[
            in_query("have", "Runs that the client has in hand, comma separated.", Shape::Text, ""),
            header("Prefer", "`wait=<seconds>` (RFC 7240).", Shape::Text, "wait=0"),
        ],
        body: None,
        answers: &[
            answer(200, "runs to make, and how to go on")
                .with(Content::Json(SchemaGenerator::subschema_for::<News>)),
            problem(400, "`have` names something that is no number of a run"),
            problem(404, "this server has no remote runs"),
            problem(409, "another request of this node took the place of this one").later(),
        ],
        example: Example { options: "", query: "" },
    },
    Operation {
        id: "postTrigger",
        method: "POST",
        path: ApiPath::At("/triggers/{run}"),
        tag: TAG,
        summary: "What became of a run that was asked for",
        text: "Events are numbered from 0. A report that is sent again after a broken connection neither doubles \
               nor loses events: `next` of the answer says which one is wanted next.",
        parameters: &[
            in_path(
                "run",
                "The run.",
                Shape::Type(SchemaGenerator::subschema_for::<RunRequestId>),
                "3f333b87-7e3c-4f8d-9a5e-3f1d6ab5a0c7",
                "$RUN",
            ),
            in_query(
                "by",
                "Who makes the run: 16 hexadecimal digits, chosen at random.",
                Shape::Pattern("^[0-9a-f]{16}$"),
                "0123456789abcdef",
            )
            .required("0123456789abcdef"),
            in_query(
                "from",
                "Number of the first event in the body.",
                Shape::Integer(0, 999_999_999_999),
                "0",
            ),
        ],
        body: Some(body(
            "Events, with the length of all.",
            Content::JsonLines(SchemaGenerator::subschema_for::<Event>),
        )),
        answers: &[
            answer(200, "the events have arrived, or some of them").with(RECEIPT),
            answer(409, "events before these have not arrived").with(RECEIPT),
            problem(400, "`by`, `from` or a line make no sense"),
            problem(403, "another machine with the identity of this node has taken the run"),
            problem(404, "that is no number of a run; or this server has no remote runs"),
            problem(408, "the body is not there after 10 s"),
            problem(410, "nobody asks for this run, or not any more"),
            problem(411, "no `Content-Length`"),
            problem(413, "larger than 64 KiB"),
        ],
        example: Example {
            options: "--header 'Content-Type: application/x-ndjson'\n--data '{\"event\":\"started\"}'",
            query: "by=0123456789abcdef&from=0",
        },
    },
];

const TAG: &str = "Triggers";
const RECEIPT: Content = Content::Json(SchemaGenerator::subschema_for::<Receipt>);
