// SPDX-License-Identifier: Apache-2.0
//! The operation that this module answers itself.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::operation::{ApiPath, Content, Example, Header, Operation, Shape, answer, header};

/// The document of the API.
pub(crate) const OPERATIONS: &[Operation] = &[Operation {
    id: "getOpenApi",
    method: "GET",
    path: ApiPath::Version(1, "/openapi.json"),
    tag: "This API",
    summary: "This API, described",
    text: "This document. That of the gateway is printed by `relayd routes --openapi gateway`.",
    parameters: &[header(
        "If-None-Match",
        "Entity tags that the client has.",
        Shape::Text,
        "\"0f343b0931126a20f133d67c2b018a3b\"",
    )],
    body: None,
    answers: &[
        answer(200, "the document")
            .with(Content::Json(SchemaGenerator::subschema_for::<OpenApiDocument>))
            .headers(&[ETAG]),
        answer(304, "the client has it").headers(&[ETAG]),
    ],
    example: Example { options: "", query: "" },
}];

/// Changes when the content changes.
pub(crate) const ETAG: Header =
    Header { name: "ETag", text: "Strong entity tag: changes when the content changes.", always: true };

/// An OpenAPI 3.1 document.
struct OpenApiDocument;

impl JsonSchema for OpenApiDocument {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "OpenApiDocument".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "An OpenAPI 3.1 document.",
            "type": "object",
            "required": ["openapi", "info", "paths", "components"],
            "properties": {"openapi": {"const": "3.1.0"}},
        })
    }
}
