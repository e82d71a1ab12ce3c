// SPDX-License-Identifier: Apache-2.0
//! What an operation is described by. All of it is constant: a description is data beside the code.

use schemars::{Schema, SchemaGenerator};

use crate::gateway::access::Listener;

/// An operation, on each listener that has a rule for it.
#[derive(Debug, Clone, Copy)]
pub struct Operation {
    /// Its name in programs, unique.
    pub id: &'static str,
    /// One method.
    pub method: &'static str,
    /// Where.
    pub path: ApiPath,
    /// Heading under which it is listed.
    pub tag: &'static str,
    /// What it does, in one line.
    pub summary: &'static str,
    /// What else there is to know, Markdown; may be empty.
    pub text: &'static str,
    /// What may be said in path, query and headers.
    pub parameters: &'static [Parameter],
    /// Body of the request, where it takes one.
    pub body: Option<Body>,
    /// All answers, but for what the rule of the route adds (`guard`).
    pub answers: &'static [Answer],
    /// How it is used.
    pub example: Example,
}

/// A path with parameters in braces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApiPath {
    /// As it stands.
    At(&'static str),
    /// Below the prefix of this version of the API. Version 1 is also reached without one (protocol A3).
    Version(u8, &'static str),
}

/// Something that is said in path, query or headers.
#[derive(Debug, Clone, Copy)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// Where it is said.
    pub place: Place,
    /// Whether it has to be.
    pub required: bool,
    /// What it is.
    pub text: &'static str,
    /// What it looks like.
    pub shape: Shape,
    /// Examples.
    pub sample: Sample,
}

/// Where a parameter is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A part of the path.
    Path,
    /// The query.
    Query,
    /// A header.
    Header,
}

/// What a text looks like.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    /// Anything.
    Text,
    /// A regular expression (ECMA-262) for all of it.
    Pattern(&'static str),
    /// One of these.
    OneOf(&'static [&'static str]),
    /// An integer from, to.
    Integer(i64, i64),
    /// As this type.
    Type(SchemaOf),
}

/// The schema of a type: `SchemaGenerator::subschema_for::<T>`.
pub type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// An example of a value.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// As in the document; empty for none.
    pub literal: &'static str,
    /// As in a shell command; empty where the command does without it.
    pub shell: &'static str,
}

/// Body of a request.
#[derive(Debug, Clone, Copy)]
pub struct Body {
    /// What it is.
    pub text: &'static str,
    /// Whether it has to be there.
    pub required: bool,
    /// How it is written.
    pub content: Content,
}

/// How a body is written.
#[derive(Debug, Clone, Copy)]
pub enum Content {
    /// No body.
    None,
    /// `text/plain` for people.
    Text,
    /// `application/json`.
    Json(SchemaOf),
    /// `application/x-ndjson`: each line is one of these.
    JsonLines(SchemaOf),
    /// `application/x-www-form-urlencoded`.
    Form(SchemaOf),
    /// Text without `Content-Type`.
    Untyped,
    /// Bytes of one of these media types.
    Bytes(&'static [&'static str]),
}

/// One answer.
#[derive(Debug, Clone, Copy)]
pub struct Answer {
    /// Status.
    pub status: u16,
    /// When.
    pub when: &'static str,
    /// Its body.
    pub content: Content,
    /// Headers to rely on, besides those that every answer has.
    pub headers: &'static [Header],
    /// On this listener only.
    pub only: Option<Listener>,
}

/// A header of an answer.
#[derive(Debug, Clone, Copy)]
pub struct Header {
    /// Its name.
    pub name: &'static str,
    /// What it says.
    pub text: &'static str,
    /// Whether it is there each time.
    pub always: bool,
}

/// How an operation is used with `curl`: what goes between the usual options and the URL, and how the URL
/// goes on after the path. Shell variables are those of `api-docs/examples.md`.
#[derive(Debug, Clone, Copy)]
pub struct Example {
    /// Options for method, headers and body.
    pub options: &'static str,
    /// Query, without the question mark; may be empty.
    pub query: &'static str,
}

/// A required part of the path.
pub const fn in_path(
    name: &'static str,
    text: &'static str,
    shape: Shape,
    literal: &'static str,
    shell: &'static str,
) -> Parameter {
    let sample = Sample { literal, shell };
    Parameter { name, place: Place::Path, required: true, text, shape, sample }
}

/// An optional member of the query.
pub const fn in_query(
    name: &'static str,
    text: &'static str,
    shape: Shape,
    literal: &'static str,
) -> Parameter {
    let sample = Sample { literal, shell: "" };
    Parameter { name, place: Place::Query, required: false, text, shape, sample }
}

/// An optional header of the request.
pub const fn header(
    name: &'static str,
    text: &'static str,
    shape: Shape,
    literal: &'static str,
) -> Parameter {
    Parameter { place: Place::Header, ..in_query(name, text, shape, literal) }
}

/// A required body.
pub const fn body(text: &'static str, content: Content) -> Body {
    Body { text, required: true, content }
}

/// An answer without a body; what else it has is added with the methods.
pub const fn answer(status: u16, when: &'static str) -> Answer {
    Answer { status, when, content: Content::None, headers: &[], only: None }
}

/// An answer that says in a text what is wrong (protocol 7.2).
pub const fn problem(status: u16, when: &'static str) -> Answer {
    answer(status, when).with(Content::Text)
}

impl Parameter {
    /// The same, which has to be said; `shell` is its value in the example.
    pub const fn required(self, shell: &'static str) -> Self {
        Self { required: true, sample: Sample { shell, ..self.sample }, ..self }
    }
}

impl Answer {
    /// The same with a body.
    pub const fn with(self, content: Content) -> Self {
        Self { content, ..self }
    }

    /// The same with headers.
    pub const fn headers(self, headers: &'static [Header]) -> Self {
        Self { headers, ..self }
    }

    /// The same, on one listener.
    pub const fn on(self, listener: Listener) -> Self {
        Self { only: Some(listener), ..self }
    }

    /// The same with `Retry-After`.
    pub const fn later(self) -> Self {
        self.headers(&[RETRY_AFTER])
    }
}

/// When to try again.
pub const RETRY_AFTER: Header =
    Header { name: "Retry-After", text: "When to try again, in seconds.", always: true };
