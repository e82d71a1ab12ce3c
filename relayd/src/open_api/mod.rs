// SPDX-License-Identifier: Apache-2.0
//! OpenAPI 3.1 documents of the local API and of the gateway (protocol 17), made from the code: paths,
//! methods and who may from the rule table, schemas from the types that are sent, and the rest from the
//! descriptions that lie as `described.rs` beside the code that answers.
//!
//! ```text
//! gateway/rules/       who may ─┐
//! …/described.rs   operations ─┼─▶ document ─▶ api-docs/{local,gateway}.json, GET …/openapi.json
//! types         JSON schemas ─┘      └──────▶ api-docs/examples.md
//! ```
//! Whoever adds a route writes its row in the rule table and its operation in `described.rs`; whoever gives
//! a new status adds it there. Tests compare: each rule has operations, each operation a rule, the copies in
//! `api-docs/` are these, and a walk over all operations gets each described answer from a running daemon
//! and no other.
//!
//! | file | what |
//! |---|---|
//! | `operation` | what an operation is described by |
//! | `catalogue` | all operations, and where each is |
//! | `document` | the document |
//! | `guard` | what the rule of a route adds: who may, and what others are told |
//! | `example` | a curl command for each operation |
//! | `service` | `GET …/openapi.json` |

mod catalogue;
pub(crate) mod described;
mod document;
mod example;
mod guard;
mod operation;
mod service;

pub use self::{
    document::{Document, document},
    example::examples,
    operation::{
        Answer, ApiPath, Body, Content, Example, Header, Operation, Parameter, Place, RETRY_AFTER, Sample,
        SchemaOf, Shape, answer, body, header, in_path, in_query, problem,
    },
    service::OpenApi,
};
pub(crate) use described::ETAG;
