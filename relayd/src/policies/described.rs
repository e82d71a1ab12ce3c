// SPDX-License-Identifier: Apache-2.0
//! Policies, for the documents of the API.

use protocol::node_id::NodeId;
use schemars::SchemaGenerator;

use crate::{
    files::described::{CONDITIONS, FILE},
    gateway::access::Listener,
    open_api::{Answer, ApiPath, Example, Operation, Shape, in_path, problem},
};

/// What is answered here.
pub(crate) const OPERATIONS: &[Operation] = &[
    Operation { path: ApiPath::At("/policies/{node_id}/{path}"), ..OF_NODE },
    Operation { path: ApiPath::Version(1, "/policies/{node_id}/{path}"), ..OF_NODE },
    Operation {
        id: "getCommonPolicies",
        path: ApiPath::At("/common/{path}"),
        summary: "A file of the policies that are common to all nodes",
        text: "`policies-library-linux.tar.bz2` is made where it is not there as a file (protocol 8.1).",
        parameters: &[
            in_path(
                "path",
                PATH,
                ONE_PART,
                "policies-library-linux.tar.bz2",
                "policies-library-linux.tar.bz2",
            ),
            CONDITIONS[0],
            CONDITIONS[1],
            CONDITIONS[2],
            CONDITIONS[3],
            CONDITIONS[4],
            CONDITIONS[5],
        ],
        ..OF_NODE
    },
];

const OF_NODE: Operation = Operation {
    id: "getPolicies",
    method: "GET",
    path: ApiPath::At(""),
    tag: "Policies",
    summary: "A file of the policies of a node",
    text: "Below `rules/`. `rules.manifest` tells all of them with their digests, signed where they were published \
           (protocol 14.2); `rules.zip`, `rules.tar.gz`, `rules/rudder.tar.bz2` and `rules/dsc/rudder.zip` are \
           archives, made where they are not there as files.",
    parameters: &[
        in_path(
            "node_id",
            "The node whose policies they are.",
            Shape::Type(SchemaGenerator::subschema_for::<NodeId>),
            "root",
            "$NODE",
        ),
        in_path("path", PATH, ONE_PART, "rules.manifest", "rules.manifest"),
        CONDITIONS[0],
        CONDITIONS[1],
        CONDITIONS[2],
        CONDITIONS[3],
        CONDITIONS[4],
        CONDITIONS[5],
    ],
    body: None,
    answers: ANSWERS,
    example: Example { options: "--output \"$OUTPUT\"", query: "" },
};

const PATH: &str = "Path of the file. Slashes stand for themselves: `rules/promises.cf`.";
/// OpenAPI has no parameters of several parts.
const ONE_PART: Shape = Shape::Pattern("^[^/\\\\.][^/\\\\]*$");

const ANSWERS: &[Answer] = &[
    FILE[0],
    FILE[1],
    FILE[2],
    FILE[3],
    FILE[4],
    problem(400, "the path is none"),
    problem(404, "there is no such file"),
    problem(503, "the server above is needed for this, and does not answer").later().on(Listener::Gateway),
];
