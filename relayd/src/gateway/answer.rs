// SPDX-License-Identifier: Apache-2.0
//! Answers: the one place where a result becomes a status, headers and a text.

use std::time::Duration;

use bytes::Bytes;
use hyper::{
    Response, StatusCode,
    header::{CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE},
};
use protocol::{
    enrolment::{self, State},
    hash::KeyHash,
    headers::RESEND_SINCE,
    limits::RELAY_DEPTH,
    node_id::NodeId,
};
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    http::{self, Body, Problem},
    tree::TreeAnswer,
    upstream::Passed,
};

/// What a request came to.
#[derive(Debug)]
pub enum Answer {
    /// The text asked for.
    Text(Bytes),
    /// The upload is on stable storage; perhaps [`RESEND_SINCE`].
    Stored(Option<HeaderValue>),
    /// The same bytes were there already, and are on stable storage; perhaps [`RESEND_SINCE`].
    AlreadyStored(Option<HeaderValue>),
    /// The nodes below the client.
    Tree(TreeAnswer),
    /// Who the client is.
    Identity(Identity),
    /// How it stands with a node and its key.
    Enrolment(enrolment::Answer),
    /// A certificate and that of its authority, PEM.
    Chain(Bytes),
    /// There is no authority that could issue a certificate.
    NoAuthority,
    /// What the server above answered.
    Passed(Passed),
    /// What a service answered.
    Served(Response<Body>),
}

impl Answer {
    /// The same, asking for run logs again when this server took one.
    pub fn asking(self, resend: Option<HeaderValue>) -> Self {
        match self {
            Self::Stored(_) => Self::Stored(resend),
            Self::AlreadyStored(_) => Self::AlreadyStored(resend),
            other => other,
        }
    }

    /// Whether this server itself answered a node about its identity, and has that node under the key with
    /// which it asked.
    pub fn is_to_known_node(&self) -> bool {
        match self {
            Self::Enrolment(answer) => matches!(answer.state, State::Accepted | State::Pending),
            Self::Chain(_) | Self::NoAuthority => true,
            Self::Text(_) | Self::Stored(_) | Self::AlreadyStored(_) | Self::Tree(_) => false,
            Self::Identity(_) | Self::Passed(_) | Self::Served(_) => false,
        }
    }
}

/// Who a client is for this server.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Identity {
    /// The node.
    pub node_id: NodeId,
    /// The key that it showed.
    pub key_hash: KeyHash,
    /// The policy server to which it is attached.
    pub policy_server: NodeId,
}

/// Why a request is refused, by who must act and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// No such path, or not with this method.
    NotFound,
    /// Nobody in particular asks; whether basic authentication would help.
    Unauthenticated {
        /// Basic authentication is on.
        basic: bool,
    },
    /// Somebody asks who may not.
    Forbidden(String),
    /// The name is not that of such a file.
    BadName(String),
    /// Headers contradict each other, or the body is not what they say.
    BadRequest(&'static str),
    /// The body cannot be understood.
    Malformed(String),
    /// It went through more relays than there can be on a way that is no circle.
    TooManyHops,
    /// The name says gzip, the content does not.
    NotGzip,
    /// Another file with this name waits.
    Conflict,
    /// No `Content-Length`.
    LengthRequired,
    /// Larger than the number of bytes here.
    TooLarge(u64),
    /// The body comes too slowly.
    TooSlow,
    /// The client uploads more often than it may; when it may again.
    TooOften(Duration),
    /// The server cannot at the moment.
    Unavailable(&'static str),
    /// The disk is full or read-only.
    NoRoom(&'static str),
}

/// When to come back after [`Refusal::Unavailable`].
const RETRY_UNAVAILABLE: Duration = Duration::from_secs(10);
/// When to come back after [`Refusal::NoRoom`]: people have to act.
const RETRY_NO_ROOM: Duration = Duration::from_secs(60);

impl Answer {
    /// The response. That to `HEAD` has no body, but hyper sees to that.
    pub fn into_response(self) -> Response<Body> {
        match self {
            Self::Text(text) => respond_with(StatusCode::OK, TEXT, text),
            Self::Stored(resend) => taken(StatusCode::CREATED, resend),
            Self::AlreadyStored(resend) => taken(StatusCode::NO_CONTENT, resend),
            Self::Tree(answer) => answer.into_response(),
            Self::Served(response) => response,
            Self::Identity(identity) => match serde_json::to_vec(&identity) {
                Ok(json) => respond_with(StatusCode::OK, JSON, [&*json, b"\n"].concat().into()),
                Err(_) => respond(StatusCode::INTERNAL_SERVER_ERROR, Bytes::new()),
            },
            Self::Enrolment(answer) => {
                let status = StatusCode::from_u16(answer.state.status());
                let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                let mut response = respond_with(status, JSON, answer.to_json().into());
                if let Some(seconds) = answer.retry_after {
                    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
                }
                response
            }
            Self::Chain(pem) => respond_with(StatusCode::OK, PEM_CHAIN, pem),
            Self::NoAuthority => {
                respond_with(StatusCode::NOT_FOUND, TEXT, "there is no built-in authority\n".into())
            }
            Self::Passed(Passed { status, headers, body }) => {
                let mut response = respond(status, body);
                response.headers_mut().extend(headers);
                response
            }
        }
    }
}

impl Refusal {
    /// The status.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Unauthenticated { .. } => StatusCode::UNAUTHORIZED,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::BadName(_) | Self::BadRequest(_) | Self::Malformed(_) | Self::NotGzip => {
                StatusCode::BAD_REQUEST
            }
            Self::TooManyHops => StatusCode::LOOP_DETECTED,
            Self::Conflict => StatusCode::CONFLICT,
            Self::LengthRequired => StatusCode::LENGTH_REQUIRED,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::TooOften(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::NoRoom(_) => StatusCode::INSUFFICIENT_STORAGE,
        }
    }

    /// For client and log.
    pub fn reason(&self) -> String {
        match self {
            Self::NotFound => "NOT FOUND".into(),
            Self::Unauthenticated { basic: false } => {
                "this needs the client certificate of a node in the node list".into()
            }
            Self::Unauthenticated { basic: true } => {
                "this needs the client certificate of a node in the node list, or a user name and its password"
                    .into()
            }
            Self::Forbidden(reason) | Self::BadName(reason) | Self::Malformed(reason) => reason.clone(),
            Self::TooManyHops => {
                format!("passed on by more than {RELAY_DEPTH} relays: do their upstreams form a circle?")
            }
            Self::BadRequest(reason) | Self::Unavailable(reason) | Self::NoRoom(reason) => (*reason).into(),
            Self::NotGzip => "the name says gzip, but the content does not start like gzip".into(),
            Self::Conflict => {
                "a file with this name and other content waits here; it is not replaced".into()
            }
            Self::LengthRequired => "a Content-Length is required, chunked bodies are not taken".into(),
            Self::TooLarge(most) => format!("larger than the {most} bytes that are accepted"),
            Self::TooSlow => "the body came too slowly".into(),
            Self::TooOften(_) => "too many requests by this node or from this address".into(),
        }
    }

    /// Whether the same request may be fine later: then the fault is not in the request.
    pub fn is_temporary(&self) -> bool {
        self.retry_after().is_some()
    }

    /// The response.
    pub fn into_response(self) -> Response<Body> {
        if self == Self::NotFound {
            // Nobody can tell by the answer whether it was looked for.
            return Problem::NotFound.into_response();
        }
        let mut response = respond(self.status(), format!("{}\n", self.reason()).into());
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, TEXT);
        if let Some(wait) = self.retry_after() {
            headers.insert(RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
        }
        if self == (Self::Unauthenticated { basic: true }) {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"relayd\""));
        }
        response
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::TooOften(wait) => Some(*wait),
            Self::Unavailable(_) => Some(RETRY_UNAVAILABLE),
            Self::NoRoom(_) => Some(RETRY_NO_ROOM),
            _ => None,
        }
    }
}

/// Says in the response that the connection ends with it.
pub fn close_after(response: &mut Response<Body>) {
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");

const PEM_CHAIN: HeaderValue = HeaderValue::from_static("application/pem-certificate-chain");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

fn respond_with(status: StatusCode, content_type: HeaderValue, body: Bytes) -> Response<Body> {
    let mut response = respond(status, body);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

/// An upload that was taken.
fn taken(status: StatusCode, resend: Option<HeaderValue>) -> Response<Body> {
    let mut response = respond(status, Bytes::new());
    response.headers_mut().extend(resend.map(|since| (HeaderName::from_static(RESEND_SINCE), since)));
    response
}

fn respond(status: StatusCode, body: Bytes) -> Response<Body> {
    let mut response = Response::new(http::whole(body));
    *response.status_mut() = status;
    response
}
