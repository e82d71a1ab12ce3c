// SPDX-License-Identifier: Apache-2.0
//! Which request: an id in each answer, in the log lines about it, and in what a relay asks above because of it.
//!
//! An id that the client has set is kept, if it is a plain one. It is a label, not a proof: log lines name the
//! client as well.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
};

use hyper::{HeaderMap, header::HeaderName, header::HeaderValue};
use tracing::{Instrument, error_span};

/// The header of requests and answers.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest id that is kept.
const LONGEST: usize = 64;

tokio::task_local! {
    static CURRENT: HeaderValue;
}

/// The id that the client has set, or a new one.
pub fn of(headers: &HeaderMap) -> HeaderValue {
    headers.get(REQUEST_ID).filter(|value| is_plain(value.as_bytes())).cloned().unwrap_or_else(new)
}

/// Works on a request: what is logged meanwhile, and asked above, has its id.
pub async fn within<F: Future>(id: HeaderValue, work: F) -> F::Output {
    let span = error_span!("request", request_id = id.to_str().unwrap_or_default());
    CURRENT.scope(id, work).instrument(span).await
}

/// The id of the request that is worked on here, if there is one.
pub fn current() -> Option<HeaderValue> {
    CURRENT.try_with(HeaderValue::clone).ok()
}

fn is_plain(id: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=LONGEST).contains(&id.len()) && id.iter().all(plain)
}

/// Which start of which process, and a number.
fn new() -> HeaderValue {
    static START: LazyLock<u32> = LazyLock::new(|| RandomState::new().hash_one(0) as u32);
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let id = format!("{:08x}-{:010x}", *START, NEXT.fetch_add(1, Ordering::Relaxed));
    HeaderValue::try_from(id).unwrap_or(HeaderValue::from_static("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_ids_are_kept_and_others_replaced() {
        let with = |id: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_bytes(id).unwrap());
            of(&headers)
        };
        assert_eq!(with(b"b3-1.a_B"), "b3-1.a_B");
        let long = [b'a'; LONGEST + 1];
        for bad in [&b""[..], b"a b", b"a\"b", "ä".as_bytes(), &long] {
            assert!(is_plain(with(bad).as_bytes()) && with(bad).as_bytes() != bad);
        }
        assert_ne!(of(&HeaderMap::new()), of(&HeaderMap::new()));
    }

    #[tokio::test]
    async fn what_is_done_for_a_request_knows_its_id() {
        assert_eq!(current(), None);
        let id = within(HeaderValue::from_static("x"), async {
            tokio::task::yield_now().await;
            current()
        });
        assert_eq!(id.await.unwrap(), "x");
    }
}
