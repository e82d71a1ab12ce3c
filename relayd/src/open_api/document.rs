// SPDX-License-Identifier: Apache-2.0
//! The document: OpenAPI 3.1, members in a fixed order.

use std::collections::BTreeMap;

use schemars::{SchemaGenerator, generate::SchemaSettings};
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    catalogue::{Entry, entries},
    example,
    guard::{self, CERTIFICATE, PASSWORD, Requirement},
    operation::{Answer, Body, Content, Header, Parameter, Place, Shape},
};
use crate::gateway::access::{Listener, Who};

/// An OpenAPI document.
#[derive(Debug, Serialize)]
pub struct Document {
    openapi: &'static str,
    info: Value,
    servers: Value,
    paths: BTreeMap<String, BTreeMap<String, OperationObject>>,
    components: Components,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Components {
    schemas: BTreeMap<String, Value>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    security_schemes: BTreeMap<&'static str, Value>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct OperationObject {
    operation_id: String,
    summary: &'static str,
    description: String,
    tags: [&'static str; 1],
    #[serde(rename = "x-who-may")]
    who_may: &'static [Who],
    security: Vec<Requirement>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    parameters: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_body: Option<Value>,
    responses: BTreeMap<String, Response>,
    #[serde(rename = "x-codeSamples")]
    samples: [Value; 1],
}

#[derive(Debug, Serialize)]
struct Response {
    description: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<&'static str, Value>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    content: BTreeMap<String, Value>,
    /// There may be a body, and no `Content-Type` that says of which type.
    #[serde(rename = "x-untyped-body", skip_serializing_if = "std::ops::Not::not")]
    is_untyped: bool,
}

impl Document {
    /// As it is kept in `api-docs/`: indented, with a line end.
    pub fn to_pretty_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("maps have texts as keys") + "\n"
    }
}

/// The document of a listener.
pub fn document(listener: Listener) -> Document {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut schemas = settings.into_generator();
    let mut paths: BTreeMap<String, BTreeMap<String, OperationObject>> = BTreeMap::new();
    for entry in entries(listener) {
        let method = entry.method.to_ascii_lowercase();
        let object = operation(&entry, &mut schemas);
        paths.entry(entry.path).or_default().insert(method, object);
    }
    let schemas = schemas.take_definitions(true).into_iter().map(|(name, schema)| (name, sorted(schema)));
    let (title, text, server) = match listener {
        Listener::Local => ("relayd: local API", LOCAL, "http://127.0.0.1:3030"),
        Listener::Gateway => ("relayd: gateway", GATEWAY, "https://127.0.0.1:443"),
    };
    Document {
        openapi: "3.1.0",
        info: json!({
            "title": title,
            "version": env!("CARGO_PKG_VERSION"),
            "description": format!("{text}\n\n{COMMON}"),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        }),
        servers: json!([{"url": server}]),
        paths,
        components: Components { schemas: schemas.collect(), security_schemes: schemes(listener) },
    }
}

const LOCAL: &str = "What operators and programs of the same machine ask a relay or root, on loopback or \
     a Unix socket (`general.listen`).";

const GATEWAY: &str = "What nodes, relays and the server above ask a relay or root over HTTPS \
     (`gateway.listen`). A client is known by the key of its TLS certificate; the server by its pinned key. \
     Answers to known nodes may carry `Relayd-Server-Pins` (protocol 13.9).";

const COMMON: &str = "A path that is not here, and a method that a path does not have, is answered 404; \
     405 is never used. A request that is no proper HTTP gets 400 and a head of more than 16 KiB 431, before \
     anybody looks at its path. 500 is a fault of the server, which is in its log, and is not repeated with \
     each operation; nor is 502, of a relay that cannot \
     understand the server above, nor 503 with `Retry-After` of one that is stopping. Two slashes in front count as one, and parts of paths are percent-decoded. The prefix \
     `/rudder/relay-api` without a version is version 1.";

fn schemes(listener: Listener) -> BTreeMap<&'static str, Value> {
    match listener {
        Listener::Local => BTreeMap::new(),
        Listener::Gateway => BTreeMap::from([
            (
                CERTIFICATE,
                json!({"type": "mutualTLS", "description": "The certificate of a node that the server knows."}),
            ),
            (
                PASSWORD,
                json!({"type": "http", "scheme": "basic", "description": "Where `gateway.basic_auth_user` is set."}),
            ),
        ]),
    }
}

fn operation(entry: &Entry, schemas: &mut SchemaGenerator) -> OperationObject {
    let described = entry.operation;
    let who = format!("Who may: {}.", guard::who_may(entry.rule));
    let description = if described.text.is_empty() { who } else { format!("{}\n\n{who}", described.text) };
    let mut responses: BTreeMap<String, Response> = BTreeMap::new();
    for answer in guard::answers(entry) {
        let response = responses.entry(answer.status.to_string()).or_insert_with(Response::empty);
        response.add(&answer, entry.method, schemas);
    }
    OperationObject {
        operation_id: entry.id.clone(),
        summary: described.summary,
        description,
        tags: [described.tag],
        who_may: entry.rule.who,
        security: guard::requirements(entry.rule),
        parameters: described.parameters.iter().map(|it| parameter(it, schemas)).collect(),
        request_body: described.body.map(|body| request_body(&body, schemas)),
        responses,
        samples: [json!({"lang": "Shell", "label": "curl", "source": example::command(entry)})],
    }
}

impl Response {
    fn empty() -> Self {
        Self {
            description: String::new(),
            headers: BTreeMap::new(),
            content: BTreeMap::new(),
            is_untyped: false,
        }
    }

    fn add(&mut self, answer: &Answer, method: &str, schemas: &mut SchemaGenerator) {
        if !self.description.is_empty() {
            self.description += "; or ";
        }
        self.description += answer.when;
        for Header { name, text, always } in answer.headers {
            let object = json!({"description": text, "required": always, "schema": {"type": "string"}});
            self.headers.insert(name, object);
        }
        if method != "HEAD" {
            self.is_untyped |= matches!(answer.content, Content::Untyped);
            self.content.extend(content(answer.content, schemas));
        }
    }
}

fn parameter(parameter: &Parameter, schemas: &mut SchemaGenerator) -> Value {
    let place = match parameter.place {
        Place::Path => "path",
        Place::Query => "query",
        Place::Header => "header",
    };
    let mut object = json!({
        "name": parameter.name,
        "in": place,
        "required": parameter.required,
        "description": parameter.text,
        "schema": shape(parameter.shape, schemas),
    });
    if !parameter.sample.literal.is_empty() {
        let literal = parameter.sample.literal;
        let number = literal.parse::<i64>().ok().filter(|_| matches!(parameter.shape, Shape::Integer(..)));
        object["example"] = number.map_or_else(|| literal.into(), Into::into);
    }
    sorted(object)
}

fn shape(shape: Shape, schemas: &mut SchemaGenerator) -> Value {
    match shape {
        Shape::Text => json!({"type": "string"}),
        Shape::Pattern(pattern) => json!({"type": "string", "pattern": pattern}),
        Shape::OneOf(values) => json!({"type": "string", "enum": values}),
        Shape::Integer(from, to) => json!({"type": "integer", "minimum": from, "maximum": to}),
        Shape::Type(schema) => schema(schemas).to_value(),
    }
}

fn request_body(body: &Body, schemas: &mut SchemaGenerator) -> Value {
    let content: BTreeMap<_, _> = content(body.content, schemas).into_iter().collect();
    json!({"description": body.text, "required": body.required, "content": content})
}

/// The media types of a body, each with its schema.
fn content(content: Content, schemas: &mut SchemaGenerator) -> Vec<(String, Value)> {
    let text = || json!({"schema": {"type": "string"}});
    let typed = |name: &str, value: Value| vec![(name.to_owned(), sorted(value))];
    match content {
        Content::None | Content::Untyped => Vec::new(),
        Content::Text => typed("text/plain; charset=utf-8", text()),
        Content::Json(schema) => typed("application/json", json!({"schema": schema(schemas).to_value()})),
        Content::Form(schema) => {
            typed("application/x-www-form-urlencoded", json!({"schema": schema(schemas).to_value()}))
        }
        // OpenAPI 3.1 has no word for a sequence of documents; 3.2 calls this `itemSchema`.
        Content::JsonLines(schema) => {
            let line = schema(schemas).to_value();
            typed("application/x-ndjson", json!({"schema": {"type": "string"}, "x-itemSchema": line}))
        }
        // Bytes have no schema (OpenAPI 3.1, 4.8.14.2).
        Content::Bytes(types) => types.iter().map(|name| ((*name).to_owned(), json!({}))).collect(),
    }
}

/// The same with all members in the order of their names, however the map of this build orders them.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let members: BTreeMap<_, _> =
                members.into_iter().map(|(name, value)| (name, sorted(value))).collect();
            Value::Object(members.into_iter().collect())
        }
        Value::Array(values) => Value::Array(values.into_iter().map(sorted).collect()),
        other => other,
    }
}
