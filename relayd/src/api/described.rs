// SPDX-License-Identifier: Apache-2.0
//! The operations of `system` and `/metrics`, for the documents of the API.

use schemars::SchemaGenerator;

use super::{
    answer::{Envelope, NoData},
    system::{Info, Status},
};
use crate::open_api::{ApiPath, Content, Example, Operation, answer};

/// What is answered here.
pub(crate) const OPERATIONS: &[Operation] = &[
    Operation {
        id: "getSystemInfo",
        method: "GET",
        path: ApiPath::Version(1, "/system/info"),
        tag: "System",
        summary: "Program and version",
        text: "",
        parameters: &[],
        body: None,
        answers: &[answer(200, "the version of the program")
            .with(Content::Json(SchemaGenerator::subschema_for::<Envelope<Info>>))],
        example: SIMPLE,
    },
    Operation {
        id: "getStatus",
        method: "GET",
        path: ApiPath::Version(1, "/system/status"),
        tag: "System",
        summary: "State of the server",
        text: "`result` is `success` also when an entry of `data` is in error.",
        parameters: &[],
        body: None,
        answers: &[answer(200, "the state of the parts of the server")
            .with(Content::Json(SchemaGenerator::subschema_for::<Envelope<Status>>))],
        example: SIMPLE,
    },
    Operation {
        id: "reloadConfiguration",
        method: "POST",
        path: ApiPath::Version(1, "/system/reload"),
        tag: "System",
        summary: "Reload configuration and data",
        text: "The same as SIGHUP (protocol 9.6).",
        parameters: &[],
        body: None,
        answers: &[
            answer(200, "everything was reloaded")
                .with(Content::Json(SchemaGenerator::subschema_for::<Envelope<NoData>>)),
            answer(500, "something cannot be reloaded; what was there before stays in use")
                .with(Content::Json(SchemaGenerator::subschema_for::<Envelope<NoData>>)),
        ],
        example: Example { options: "--request POST", query: "" },
    },
    Operation {
        id: "getMetrics",
        method: "GET",
        path: ApiPath::At("/metrics"),
        tag: "System",
        summary: "Metrics, in the text format of Prometheus",
        text: "",
        parameters: &[],
        body: None,
        answers: &[answer(200, "all metrics").with(Content::Bytes(&["text/plain; version=0.0.4"]))],
        example: SIMPLE,
    },
];

const SIMPLE: Example = Example { options: "", query: "" };
