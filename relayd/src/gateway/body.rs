// SPDX-License-Identifier: Apache-2.0
//! The body of an upload, piece by piece, from a client that may be slow or gone.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::{Instant, timeout};

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
