// SPDX-License-Identifier: Apache-2.0
//! Answers of the API (protocol 7.2). Handlers return results; what an error looks like to the
//! client is decided here and nowhere else.

use schemars::JsonSchema;
use serde::Serialize;
use warp::{
    Filter, Rejection,
    http::{Method, StatusCode, header::CONTENT_TYPE},
    path::FullPath,
    reply::Response,
};

use crate::gateway::access;

/// Bodies over this are refused by what has no limit of its own.
const LARGEST_BODY: u64 = 1024 * 1024;

/// The envelope, members in the order of the protocol.
#[derive(Serialize, JsonSchema)]
pub struct Envelope<T> {
    /// What was asked for, where there is something.
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<T>,
    /// How it went.
    result: Outcome,
    /// What was asked for.
    action: &'static str,
    /// What went wrong.
    #[serde(rename = "errorDetails", skip_serializing_if = "Option::is_none")]
    error_details: Option<String>,
}

impl<T> Envelope<T> {
    /// Of what went as it should.
    pub fn success(action: &'static str, data: T) -> Self {
        Self { data: Some(data), result: Outcome::Success, action, error_details: None }
    }
}

/// How something is, or went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// As it should.
    Success,
    /// Not as it should.
    Error,
}

/// Of actions that only do something.
#[derive(Serialize, JsonSchema)]
pub enum NoData {}

/// Answers with the outcome of an action, in the envelope.
pub fn envelope<T: Serialize>(action: &'static str, outcome: Result<Option<T>, String>) -> Response {
    let (status, envelope) = match outcome {
        Ok(data) => {
            (StatusCode::OK, Envelope { data, result: Outcome::Success, action, error_details: None })
        }
        Err(details) => {
            let error_details = Some(details);
            (
                StatusCode::INTERNAL_SERVER_ERROR,
                Envelope { data: None, result: Outcome::Error, action, error_details },
            )
        }
    };
    match serde_json::to_string(&envelope) {
        Ok(json) => answer(status, "application/json", json),
        Err(error) => internal_error(&error),
    }
}

/// 404.
pub fn not_found() -> Response {
    plain(StatusCode::NOT_FOUND, "NOT FOUND")
}

/// 500, the cause in the log.
pub fn internal_error(error: &dyn std::fmt::Display) -> Response {
    tracing::error!("local API: {error}");
    plain(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL SERVER ERROR")
}

fn plain(status: StatusCode, text: &str) -> Response {
    answer(status, "text/plain; charset=utf-8", text.to_owned())
}

/// Any answer.
pub fn answer(status: StatusCode, content_type: &'static str, body: String) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, warp::http::HeaderValue::from_static(content_type));
    response
}

/// Answers 404 to what the rule table does not have; rejects (leaves to the routes) all others.
pub fn listed() -> impl Filter<Extract = (Response,), Error = Rejection> + Clone {
    warp::method().and(warp::path::full()).and_then(async |method: Method, path: FullPath| {
        if access::is_local_route(&method, path.as_str()) {
            Err(warp::reject::reject())
        } else {
            Ok(not_found())
        }
    })
}

/// Answers 413 to requests that announce a large body; rejects (leaves to the routes) all others.
pub fn bounded() -> impl Filter<Extract = (Response,), Error = Rejection> + Clone {
    warp::header::<u64>("content-length").and_then(async |length| {
        if length > LARGEST_BODY {
            Ok(plain(StatusCode::PAYLOAD_TOO_LARGE, "PAYLOAD TOO LARGE"))
        } else {
            Err(warp::reject::reject())
        }
    })
}
