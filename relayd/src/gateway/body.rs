// SPDX-License-Identifier: Apache-2.0
//! Bodies: how long they say that they are; and then what comes, from a client that may be slow
//! or gone.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{
    body::Incoming,
    header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, HeaderMap, TRANSFER_ENCODING},
};
use tokio::time::{Instant, timeout};
use zeroize::Zeroizing;

use super::answer::Refusal;

/// A client has this long to send what it must in the time; so a dead one is noticed within twice
/// that.
const WINDOW: Duration = Duration::from_secs(10);

/// A body with its pace watched: in each window at least so many bytes as the slowest accepted
/// rate brings. Only time spent waiting for the client counts.
pub struct PacedBody {
    body: Incoming,
    per_window: u64,
    window_left: Duration,
    received_in_window: u64,
}

impl PacedBody {
    /// Watches from now on; `slowest` is in bytes per second.
    pub fn new(body: Incoming, slowest: u64) -> Self {
        Self {
            body,
            per_window: slowest.saturating_mul(WINDOW.as_secs()),
            window_left: WINDOW,
            received_in_window: 0,
        }
    }

    /// The next piece; `None` at the end, which is where the length says.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Refusal> {
        loop {
            let start = Instant::now();
            let frame = timeout(self.window_left, self.body.frame()).await;
            self.window_left = self.window_left.saturating_sub(start.elapsed());
            match frame {
                Err(_) if self.received_in_window < self.per_window => return Err(Refusal::TooSlow),
                Err(_) => {
                    self.window_left = WINDOW;
                    self.received_in_window = 0;
                }
                Ok(None) => return Ok(None),
                Ok(Some(Err(_))) => return Err(Refusal::BadRequest("the body ended before its length")),
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
pub fn announced_length(headers: &HeaderMap, most: u64) -> Result<u64, Refusal> {
    // RFC 9110, 14.5: a server that does not know partial uploads must not store them as whole.
    if headers.contains_key(CONTENT_RANGE) {
        return Err(Refusal::BadRequest("partial uploads are not taken"));
    }
    if headers.contains_key(CONTENT_ENCODING) {
        return Err(Refusal::BadRequest("a Content-Encoding is not taken: the body is kept as it comes"));
    }
    match content_length(headers) {
        _ if headers.contains_key(TRANSFER_ENCODING) => Err(Refusal::LengthRequired),
        None => Err(Refusal::LengthRequired),
        Some(length) if length > most => Err(Refusal::TooLarge(most)),
        Some(length) => Ok(length),
    }
}

/// Reads a small body whole. `length` is as announced, and memory for it was found. It is erased when
/// the last who holds it lets it go: there may be a token in it.
pub async fn read_whole(body: Incoming, length: u64, slowest: u64) -> Result<Bytes, Refusal> {
    let mut body = PacedBody::new(body, slowest);
    // All of it at once: what is moved when it grows would be left behind.
    let mut whole = Zeroizing::new(Vec::with_capacity(usize::try_from(length).unwrap_or_default()));
    while let Some(piece) = body.next().await? {
        whole.extend_from_slice(&piece);
    }
    if whole.len() as u64 != length {
        return Err(Refusal::BadRequest("the body has another length than its header says"));
    }
    Ok(Bytes::from_owner(whole))
}
