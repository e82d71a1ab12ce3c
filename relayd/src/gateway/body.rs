// SPDX-License-Identifier: Apache-2.0
//! Small bodies, read whole; and how the gateway refuses bodies.

use bytes::Bytes;
use hyper::body::Incoming;
use zeroize::Zeroizing;

use super::answer::Refusal;
use crate::http::{BodyProblem, PacedBody};

impl From<BodyProblem> for Refusal {
    fn from(problem: BodyProblem) -> Self {
        match problem {
            BodyProblem::Malformed(why) => Self::BadRequest(why),
            BodyProblem::NoLength => Self::LengthRequired,
            BodyProblem::TooLarge(most) => Self::TooLarge(most),
            BodyProblem::TooSlow => Self::TooSlow,
        }
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
