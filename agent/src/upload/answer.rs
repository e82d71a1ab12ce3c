// SPDX-License-Identifier: Apache-2.0
//! What a policy server's answer to an upload means for the file.

use chrono::{DateTime, TimeDelta, Utc};
use hyper::{StatusCode, header::RETRY_AFTER};

use crate::server::connection::Reply;

/// What the server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Status.
    pub status: StatusCode,
    /// Not before this moment, from `Retry-After`.
    pub retry_after: Option<DateTime<Utc>>,
    /// Start of the body, for people.
    pub detail: String,
}

/// What becomes of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// The server has it.
    Accepted,
    /// It will never take this file.
    Rejected,
    /// Not now; the next file may fare better.
    Released,
    /// Not now, and neither any other file.
    Unavailable,
}

impl Answer {
    /// Reads an answer.
    pub fn of(reply: &Reply) -> Self {
        let retry_after = reply.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = retry_after.and_then(|value| retry_after_at(value, Utc::now()));
        Self { status: reply.status, retry_after, detail: reply.detail() }
    }

    /// The one place where a status is judged. Redirects count as unavailable: credentials and
    /// signed reports go to the configured server only.
    pub fn disposition(&self) -> Disposition {
        match self.status.as_u16() {
            200..=299 => Disposition::Accepted,
            401 | 429 | 503 => Disposition::Unavailable,
            300..=399 => Disposition::Unavailable,
            _ if self.retry_after.is_some() && !self.refuses_for_good() => Disposition::Unavailable,
            _ if self.refuses_for_good() => Disposition::Rejected,
            _ => Disposition::Released,
        }
    }

    fn refuses_for_good(&self) -> bool {
        self.status.is_client_error() && ![403, 404, 408, 425].contains(&self.status.as_u16())
    }

    /// Whether it is this node, or its key, that is not wanted.
    pub fn denies(&self) -> bool {
        matches!(self.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
    }

    /// The answer in one line.
    pub fn brief(&self) -> String {
        match self.detail.as_str() {
            "" => self.status.to_string(),
            detail => format!("{}: {detail}", self.status),
        }
    }

    /// The answer in one line, with what to do about the ones an operator can act on.
    pub fn describe(&self) -> String {
        let mut text = format!("the server answered {}", self.brief());
        text += match self.status.as_u16() {
            300..=399 => " (redirects are not followed: set `server` and `https_port` to where it points)",
            401 | 403 => " (is this node accepted on the server, with this key? `agent enroll` asks)",
            404 => " (is it a policy server, and does it know this node?)",
            _ => "",
        };
        text
    }
}

/// Longest wait that a server can order.
const MAX_WAIT: TimeDelta = TimeDelta::hours(24);

/// Reads a `Retry-After`: seconds or an HTTP date (RFC 9110 10.2.3).
pub fn retry_after_at(value: &str, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let value = value.trim();
    let at = match value.parse::<u32>() {
        Ok(seconds) => now + TimeDelta::seconds(seconds.into()),
        Err(_) => DateTime::parse_from_rfc2822(value).ok()?.to_utc(),
    };
    Some(at.min(now + MAX_WAIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, retry_after: Option<DateTime<Utc>>) -> Disposition {
        Answer { status: StatusCode::from_u16(status).unwrap(), retry_after, detail: String::new() }
            .disposition()
    }

    #[test]
    fn only_clear_refusals_are_for_good() {
        for status in [200, 201, 204] {
            assert_eq!(answer(status, None), Disposition::Accepted);
        }
        for status in [400, 405, 409, 411, 413, 422] {
            assert_eq!(answer(status, None), Disposition::Rejected);
            assert_eq!(answer(status, Some(Utc::now())), Disposition::Rejected);
        }
        for status in [301, 302, 307, 308, 401, 429, 503] {
            assert_eq!(answer(status, None), Disposition::Unavailable);
        }
        for status in [403, 404, 408, 425, 500, 502, 504, 507] {
            assert_eq!(answer(status, None), Disposition::Released);
            assert_eq!(answer(status, Some(Utc::now())), Disposition::Unavailable);
        }
    }

    #[test]
    fn waits_are_read_in_both_forms_and_bounded() {
        let now: DateTime<Utc> = "1994-11-06T08:49:00Z".parse().unwrap();
        assert_eq!(retry_after_at("37", now), Some(now + TimeDelta::seconds(37)));
        assert_eq!(retry_after_at("Sun, 06 Nov 1994 08:49:37 GMT", now), Some(now + TimeDelta::seconds(37)));
        assert_eq!(retry_after_at("4000000000", now), Some(now + MAX_WAIT));
        assert_eq!(retry_after_at("soon", now), None);
        assert_eq!(retry_after_at("-1", now), None);
    }
}
