// SPDX-License-Identifier: Apache-2.0
//! What an upstream's answer means for the file.
//!
//! | answer | disposition |
//! |---|---|
//! | 2xx | accepted |
//! | 401, 429, 502, 503, 504, 507, 3xx | released, outlet down: it holds for every file |
//! | 403, 404, 408, 425, 500 and other 5xx | released, this file only: 403 is about the node, 404 about the path, and one odd file must not keep the others |
//! | other 4xx | rejected |

use std::time::Duration;

use chrono::{DateTime, Utc};
use hyper::StatusCode;

use crate::spool::disposition::{Disposition, Outcome, Reason, Rejection, Release, printable};

/// An answer, with the beginning of its body for people.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// How long the upstream wants to be left alone.
    pub retry_after: Option<Duration>,
    /// Since when the upstream lacks run logs, in its words.
    pub resend_since: Option<DateTime<Utc>>,
    /// The beginning of the body; not cleaned.
    pub excerpt: Vec<u8>,
}

impl Answer {
    /// What it means.
    pub fn disposition(&self) -> Disposition {
        let (status, retry_after) = (self.status, self.retry_after);
        if status.is_success() {
            return Disposition::Accepted(Outcome::Forwarded);
        }
        let detail = self.detail();
        let release = |outlet_down, detail| {
            Disposition::Released(Release { outlet_down, detail, retry_after, is_usual: false })
        };
        match status.as_u16() {
            401 | 429 | 502..=504 | 507 | 300..=399 => release(true, detail),
            403 | 404 | 408 | 425 => release(false, detail),
            400..=499 => Disposition::Rejected(Rejection {
                reason: Reason::UpstreamRefused,
                detail,
                maybe_incomplete: false,
            }),
            _ => release(false, detail),
        }
    }

    fn detail(&self) -> String {
        let text = String::from_utf8_lossy(&self.excerpt);
        let hint = match self.status.as_u16() {
            401 => "; check output.upstream user and password, and the client certificate",
            300..=399 => "; redirects are not followed, check output.upstream.host",
            _ => "",
        };
        match text.trim() {
            "" => format!("upstream answered {}{hint}", self.status),
            text => format!("upstream answered {}: {}{hint}", self.status, printable(text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16) -> Disposition {
        let status = StatusCode::from_u16(status).unwrap();
        let excerpt = b"be\x1bcause\r\n".to_vec();
        Answer { status, retry_after: None, resend_since: None, excerpt }.disposition()
    }

    #[test]
    fn each_status_has_one_meaning() {
        for status in [200, 201, 204] {
            assert_eq!(answered(status), Disposition::Accepted(Outcome::Forwarded));
        }
        for status in [400, 405, 409, 411, 413, 415, 422] {
            match answered(status) {
                Disposition::Rejected(rejection) => {
                    assert_eq!(rejection.reason, Reason::UpstreamRefused);
                    assert!(rejection.detail.contains(&status.to_string()), "{}", rejection.detail);
                    assert!(rejection.detail.ends_with("be\u{fffd}cause"), "{}", rejection.detail);
                }
                other => panic!("{status}: {other:?}"),
            }
        }
        for (statuses, down) in
            [(&[401, 429, 502, 503, 504, 507, 301][..], true), (&[403, 404, 408, 425, 500, 501][..], false)]
        {
            for &status in statuses {
                match answered(status) {
                    Disposition::Released(release) => assert_eq!(release.outlet_down, down, "{status}"),
                    other => panic!("{status}: {other:?}"),
                }
            }
        }
    }
}
