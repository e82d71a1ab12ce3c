// SPDX-License-Identifier: Apache-2.0
//! Remote runs, for the documents of the API.

use std::borrow::Cow;

use protocol::{
    node_id::NodeId,
    remote_run::{Conditions, LONGEST_EXPIRY, Line, MAX_NODES},
};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::json;

use crate::open_api::{
    Answer, ApiPath, Body, Content, Example, Operation, Parameter, Shape, answer, body, header, in_path,
    problem,
};

/// What is answered here.
pub(crate) const OPERATIONS: &[Operation] = &[
    Operation {
        id: "runAll",
        path: ApiPath::Version(1, "/remote-run/all"),
        summary: "Have all nodes below this server run their agent",
        answers: VERSION_1,
        example: Example { options: "--data asynchronous=true", query: "" },
        ..FIRST
    },
    Operation {
        id: "runNodes",
        path: ApiPath::Version(1, "/remote-run/nodes"),
        summary: "Have some nodes run their agent",
        body: Some(body("Who is asked, and what the runs are told.", Content::Form(run_form_with_nodes))),
        answers: VERSION_1,
        example: Example { options: "--data \"asynchronous=true&nodes=$NODE\"", query: "" },
        ..FIRST
    },
    Operation {
        id: "runNode",
        path: ApiPath::Version(1, "/remote-run/nodes/{node_id}"),
        summary: "Have one node run its agent",
        parameters: &[
            in_path(
                "node_id",
                "The node. What is no node id is skipped as unknown ones are.",
                Shape::Text,
                "e745a140-40bc-4b86-b6dc-084488fc906b",
                "$NODE",
            ),
            HOPS,
        ],
        answers: VERSION_1,
        example: Example { options: "--data asynchronous=true", query: "" },
        ..FIRST
    },
    Operation {
        id: "run",
        method: "POST",
        path: ApiPath::Version(2, "/remote-run"),
        tag: TAG,
        summary: "Have nodes run their agent, each with a definite end",
        text: "The answer is a stream of JSON lines: first what is asked of how many nodes, then the events of \
               nodes as they come, each node with exactly one final event, at last the counts. A stream that ends \
               without those was cut off (protocol 16.2).",
        parameters: &[HOPS],
        body: Some(body(
            "Who is asked, and what the runs are told.",
            Content::Json(SchemaGenerator::subschema_for::<RunOrder>),
        )),
        answers: &[
            answer(200, "what becomes of it, as it happens")
                .with(Content::JsonLines(SchemaGenerator::subschema_for::<Line>)),
            problem(400, "not such a request; the place in it is named"),
            TOO_SLOW,
            NO_LENGTH,
            problem(413, "larger than 2 MiB"),
            BUSY,
        ],
        example: Example {
            options: "--header 'Content-Type: application/json'\n--data \"{\\\"nodes\\\":[\\\"$NODE\\\"],\\\"expires_in\\\":1}\"",
            query: "",
        },
    },
];

const TAG: &str = "Remote runs";

const FIRST: Operation = Operation {
    id: "",
    method: "POST",
    path: ApiPath::At(""),
    tag: TAG,
    summary: "",
    text: "Version 1, as existing servers have it (protocol 7.6). It does not say how a run ended: see version 2.",
    parameters: &[HOPS],
    body: Some(Body {
        text: "What the runs are told, and what is wanted of them.",
        required: false,
        content: Content::Form(run_form),
    }),
    answers: VERSION_1,
    example: Example { options: "", query: "" },
};

const HOPS: Parameter =
    header("Relayd-Hops", "Relays that the request has come through; at most 20.", Shape::Text, "0");

const VERSION_1: &[Answer] = &[
    answer(200, "output of the runs, interleaved; empty unless `keep_output`").with(Content::Untyped),
    problem(
        400,
        "a condition, or neither `true` nor `false`; no `nodes` where they are needed; too many relays",
    ),
    TOO_SLOW,
    NO_LENGTH,
    problem(413, "larger than 1 MiB"),
    problem(500, "the body is no form, or has a field twice"),
    BUSY,
];
const TOO_SLOW: Answer = problem(408, "the body is not there after 30 s");
const NO_LENGTH: Answer = problem(411, "no `Content-Length`");
const BUSY: Answer = problem(503, "64 remote runs are under way").later();

/// Conditions, comma separated.
const CONDITIONS: &str = "^([a-zA-Z0-9][a-zA-Z0-9_]*(,[a-zA-Z0-9][a-zA-Z0-9_]*)*)?$";

/// A form of version 1, as `protocol::remote_run::RunForm` reads it.
fn run_form(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "description": "Members that are not named here are passed over.",
        "properties": {
            "asynchronous": {
                "type": "boolean",
                "default": false,
                "description": "The answer does not wait for the end.",
            },
            "keep_output": {
                "type": "boolean",
                "default": false,
                "description": "The answer holds what the runs write.",
            },
            "conditions": {
                "type": "string",
                "pattern": CONDITIONS,
                "description": "Comma separated, at most 100 of at most 1024 characters each.",
            },
            "classes": {
                "type": "string",
                "description": "Older name of `conditions`, used when that is absent.",
            },
        },
        "if": {"not": {"required": ["conditions"]}},
        "then": {"properties": {"classes": {"pattern": CONDITIONS}}},
    })
}

/// The same, with the nodes that are asked.
fn run_form_with_nodes(schemas: &mut SchemaGenerator) -> Schema {
    let mut schema = run_form(schemas);
    let nodes = json!({"type": "string", "description": "Ids, comma separated. Unknown ones are skipped."});
    schema.insert("required".into(), json!(["nodes"]));
    if let Some(properties) = schema.get_mut("properties") {
        properties["nodes"] = nodes;
    }
    schema
}

/// A request of version 2, as `protocol::remote_run::RunOrder` reads it.
struct RunOrder;

impl JsonSchema for RunOrder {
    fn schema_name() -> Cow<'static, str> {
        "RunOrder".into()
    }

    fn json_schema(schemas: &mut SchemaGenerator) -> Schema {
        let node = schemas.subschema_for::<NodeId>();
        let conditions = schemas.subschema_for::<Conditions>();
        let (most, longest) = (MAX_NODES, LONGEST_EXPIRY.as_secs());
        json_schema!({
            "type": "object",
            "required": ["nodes"],
            "additionalProperties": false,
            // Only all nodes can be those behind a relay.
            "dependentSchemas": {"behind": {"properties": {"nodes": {"const": "all"}}}},
            "properties": {
                "nodes": {
                    "description": "Who is asked: all nodes below this server, or these.",
                    "oneOf": [{"const": "all"}, {"type": "array", "items": node, "minItems": 1, "maxItems": most, "uniqueItems": true}],
                },
                "behind": {"description": "Only the nodes behind this relay.", "allOf": [node]},
                "conditions": {"description": "What the runs are told.", "allOf": [conditions]},
                "output": {"type": "boolean", "default": true, "description": "Whether what the runs write is wanted."},
                "expires_in": {
                    "type": "integer",
                    "minimum": 1,
                    "maximum": longest,
                    "description": "How long nodes that are not there are waited for, in seconds.",
                },
                "asynchronous": {
                    "type": "boolean",
                    "default": false,
                    "description": "The answer does not wait for the end: it holds the first line only.",
                },
            },
        })
    }
}
