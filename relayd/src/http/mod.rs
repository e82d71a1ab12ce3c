// SPDX-License-Identifier: Apache-2.0
//! What both listeners share: bodies of answers, calls to services, and the one place where a
//! problem becomes an answer (protocol 7.2).
//!
//! ```text
//! gateway (HTTPS; who may, by the rule table) ─┐
//!                                              ├─▶ Call ─▶ Service ─▶ Response<Body>
//! api     (loopback; operators)  ──────────────┘
//! ```
//!
//! The services that are called like this, and by which requests, are [`ServiceKind`].

mod body;
mod call;
mod paced;
mod problem;
pub mod request_id;

pub use self::{
    body::{Body, BodyError, RequestBody, empty, held, text, whole},
    call::{Call, Caller, Service, ServiceKind, Services},
    paced::{BodyProblem, PacedBody, announced_length, content_length},
    problem::Problem,
};
