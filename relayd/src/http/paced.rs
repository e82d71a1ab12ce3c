// SPDX-License-Identifier: Apache-2.0
//! Bodies of requests: how long they say that they are; and then what comes, from a client that may be
//! slow or gone.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{
    body::{Body, Incoming},
    header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, HeaderMap, TRANSFER_ENCODING},
};
use tokio::time::{Instant, timeout};

/// A client has this long to send what it must in the time; so a dead one is noticed within twice
/// that.
const WINDOW: Duration = Duration::from_secs(10);

/// A body with its pace watched: in each window at least so many bytes as the slowest accepted
/// rate brings. Only time spent waiting for the client counts.
pub struct PacedBody<B = Incoming> {
    body: B,
    per_window: u64,
    window_left: Duration,
    received_in_window: u64,
}

/// What is wrong with a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyProblem {
    /// Headers say that it is something that is not taken, or it is not as long as they say; what.
    #[error("{0}")]
    Malformed(&'static str),
    /// No `Content-Length`.
    #[error("no Content-Length")]
    NoLength,
    /// Larger than the number of bytes here.
    #[error("its body is larger than {0} bytes")]
    TooLarge(u64),
    /// It comes too slowly.
    #[error("its body came too slowly")]
    TooSlow,
}

impl<B: Body<Data = Bytes> + Unpin> PacedBody<B> {
    /// Watches from now on; `slowest` is in bytes per second.
    pub fn new(body: B, slowest: u64) -> Self {
        Self {
            body,
            per_window: slowest.saturating_mul(WINDOW.as_secs()),
            window_left: WINDOW,
            received_in_window: 0,
        }
    }

    /// The next piece; `None` at the end, which is where the length says.
    pub async fn next(&mut self) -> Result<Option<Bytes>, BodyProblem> {
        loop {
            let start = Instant::now();
            let frame = timeout(self.window_left, self.body.frame()).await;
            self.window_left = self.window_left.saturating_sub(start.elapsed());
            match frame {
                Err(_) if self.received_in_window < self.per_window => return Err(BodyProblem::TooSlow),
                Err(_) => {
                    self.window_left = WINDOW;
                    self.received_in_window = 0;
                }
                Ok(None) => return Ok(None),
                Ok(Some(Err(_))) => return Err(BodyProblem::Malformed("the body ended before its length")),
                Ok(Some(Ok(frame))) => {
                    // Trailers cannot follow a body with a length.
                    if let Ok(piece) = frame.into_data() {
                        self.received_in_window += piece.len() as u64;
                        return Ok(Some(piece));
                    }
                }
            }
        }
    }
}

/// `Content-Length`, if there is one.
pub fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The length of the body that follows, which must be known and small enough.
pub fn announced_length(headers: &HeaderMap, most: u64) -> Result<u64, BodyProblem> {
    // RFC 9110, 14.5: a server that does not know partial uploads must not store them as whole.
    if headers.contains_key(CONTENT_RANGE) {
        return Err(BodyProblem::Malformed("partial uploads are not taken"));
    }
    if headers.contains_key(CONTENT_ENCODING) {
        return Err(BodyProblem::Malformed("a Content-Encoding is not taken: the body is kept as it comes"));
    }
    match content_length(headers) {
        _ if headers.contains_key(TRANSFER_ENCODING) => Err(BodyProblem::NoLength),
        None => Err(BodyProblem::NoLength),
        Some(length) if length > most => Err(BodyProblem::TooLarge(most)),
        Some(length) => Ok(length),
    }
}
