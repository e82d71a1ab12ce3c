// SPDX-License-Identifier: Apache-2.0
//! What can be wrong with a call, and the answer to each (protocol 7.2).

use hyper::{
    Response, StatusCode,
    header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER},
};

use super::{Body, BodyProblem, text};

/// Why a call is not answered with what it asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// No such thing, or none that this caller may know of.
    NotFound,
    /// What the request names is not known, and this caller may know that; what.
    Missing(String),
    /// The request makes no sense; why.
    BadRequest(String),
    /// The caller may not; why.
    Forbidden(String),
    /// In the way of something else; of what.
    Conflict(String),
    /// No `Content-Length`.
    LengthRequired,
    /// More bytes than are taken.
    TooLarge,
    /// The body came too slowly.
    TooSlow,
    /// Too many calls; when to try again, in seconds.
    TooMany(u64),
    /// A fault of this server, which is in its log.
    Internal,
    /// The server above cannot be asked; why.
    BadGateway(String),
    /// Not now; why, and when to try again, in seconds.
    Unavailable(&'static str, u64),
    /// No room on the disk; when to try again, in seconds.
    NoRoom(u64),
}

impl From<BodyProblem> for Problem {
    fn from(problem: BodyProblem) -> Self {
        match problem {
            BodyProblem::Malformed(why) => Self::BadRequest(why.to_owned()),
            BodyProblem::NoLength => Self::LengthRequired,
            BodyProblem::TooLarge(_) => Self::TooLarge,
            BodyProblem::TooSlow => Self::TooSlow,
        }
    }
}

impl Problem {
    /// The status.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::NotFound | Self::Missing(_) => StatusCode::NOT_FOUND,
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::Conflict(_) => StatusCode::CONFLICT,
            Self::LengthRequired => StatusCode::LENGTH_REQUIRED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::BadGateway(_) => StatusCode::BAD_GATEWAY,
            Self::Unavailable(..) => StatusCode::SERVICE_UNAVAILABLE,
            Self::NoRoom(_) => StatusCode::INSUFFICIENT_STORAGE,
        }
    }

    fn reason(&self) -> &str {
        match self {
            Self::BadRequest(why) | Self::Forbidden(why) | Self::Conflict(why) | Self::BadGateway(why) => why,
            Self::Missing(what) => what,
            Self::Unavailable(why, _) => why,
            Self::NotFound => "NOT FOUND",
            Self::LengthRequired => "LENGTH REQUIRED",
            Self::TooLarge => "PAYLOAD TOO LARGE",
            Self::TooSlow => "the body came too slowly",
            Self::TooMany(_) => "too many requests",
            Self::Internal => "INTERNAL SERVER ERROR",
            Self::NoRoom(_) => "no room on the disk of this server",
        }
    }

    /// The answer: the text of the protocol, without a line end.
    pub fn into_response(self) -> Response<Body> {
        let mut response = Response::new(text(self.reason()));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        if let Self::TooMany(seconds) | Self::Unavailable(_, seconds) | Self::NoRoom(seconds) = self {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
