// SPDX-License-Identifier: Apache-2.0
//! Since when run logs have to be sent again, because a server came back from a backup (protocol 12.9).
//!
//! This server's own configuration says it, or the upstream with its last answer to a run log; the earlier of both
//! counts, and is passed on with each run log that the gateway takes.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use hyper::header::{HeaderMap, HeaderValue};
use protocol::headers::{RESEND_SINCE, parse_resend_since, print_resend_since};
use tokio::sync::watch;

/// What this server knows of it.
#[derive(Debug, Clone)]
pub struct ResendSince {
    own: Option<DateTime<Utc>>,
    upstream: Arc<watch::Sender<Option<DateTime<Utc>>>>,
}

impl ResendSince {
    /// As the configuration says; nothing is known of the upstream yet.
    pub fn new(own: Option<DateTime<Utc>>) -> Self {
        Self { own, upstream: Arc::new(watch::Sender::new(None)) }
    }

    /// Heeds an answer of the upstream that took a run log.
    pub fn heed(&self, said: Option<DateTime<Utc>>) {
        self.upstream.send_if_modified(|known| {
            let is_new = *known != said;
            if is_new && let Some(since) = said {
                tracing::info!(%since, "the upstream came back from a backup and asks for run logs again");
            }
            *known = said;
            is_new
        });
    }

    /// What is said to clients whose run log was taken.
    pub fn header(&self) -> Option<HeaderValue> {
        let upstream = *self.upstream.borrow();
        let since = self.own.into_iter().chain(upstream).min()?;
        HeaderValue::from_str(&print_resend_since(since)).ok()
    }
}

impl Default for ResendSince {
    fn default() -> Self {
        Self::new(None)
    }
}

/// What an answer of the upstream says; what cannot be read is nothing.
pub fn announced(headers: &HeaderMap) -> Option<DateTime<Utc>> {
    parse_resend_since(headers.get(RESEND_SINCE)?.to_str().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earlier_of_what_is_known_is_passed_on() {
        let at = |text: &str| Some(text.parse::<DateTime<Utc>>().unwrap());
        let said = |resend: &ResendSince| resend.header().map(|value| value.to_str().unwrap().to_owned());
        let relay = ResendSince::default();
        assert_eq!(said(&relay), None);
        relay.heed(at("2026-11-22T03:00:00Z"));
        assert_eq!(said(&relay).as_deref(), Some("2026-11-22T03:00:00Z"));
        let both = ResendSince::new(at("2026-11-21T03:00:00Z"));
        both.heed(at("2026-11-22T03:00:00Z"));
        assert_eq!(said(&both).as_deref(), Some("2026-11-21T03:00:00Z"));
        both.heed(at("2026-11-20T03:00:00Z"));
        assert_eq!(said(&both).as_deref(), Some("2026-11-20T03:00:00Z"));
        relay.heed(None);
        assert_eq!(said(&relay), None, "the upstream does not ask any more");
    }
}
