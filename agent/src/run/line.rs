// SPDX-License-Identifier: Apache-2.0
//! What a line of a policy command is: a report, a log line with a level tag, or plain text, and
//! whether the command has put a time stamp in front itself (protocol 3.1).

use chrono::{DateTime, FixedOffset};
use protocol::run_log::{Kind, kind};

/// A line without its time stamp.
#[derive(Debug, Clone, Copy)]
pub struct Line<'a> {
    /// The time stamp of the command; only looked for in front of reports and level tags.
    pub stamp: Option<DateTime<FixedOffset>>,
    /// What follows it.
    pub body: &'a str,
    /// What that is.
    pub kind: Kind<'a>,
}

impl<'a> Line<'a> {
    /// Reads one line.
    pub fn new(text: &'a str) -> Self {
        if let Some((stamp, body)) = stamped(text) {
            let kind = kind(body);
            if kind != Kind::Plain {
                return Self { stamp: Some(stamp), body, kind };
            }
        }
        Self { stamp: None, body: text, kind: kind(text) }
    }

    /// Whether a report starts here.
    pub fn is_report(&self) -> bool {
        matches!(self.kind, Kind::Report(_))
    }

    /// Whether this is the control report with this component (protocol 3.6).
    pub fn is_control(&self, component: &str) -> bool {
        let Kind::Report(fields) = self.kind else { return false };
        let mut fields = fields.split("@@");
        fields.nth(1) == Some("control") && fields.nth(3) == Some(component)
    }
}

/// Splits a date and the one space after it off. Beside RFC 3339, engines write offsets without colon.
fn stamped(text: &str) -> Option<(DateTime<FixedOffset>, &str)> {
    if !text.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let (date, body) = text.split_once(' ')?;
    if !(20..=35).contains(&date.len()) {
        return None;
    }
    let stamp = DateTime::parse_from_rfc3339(date)
        .or_else(|_| DateTime::parse_from_str(date, "%Y-%m-%dT%H:%M:%S%z"))
        .ok()?;
    Some((stamp, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_count_only_before_reports_and_tags() {
        for (text, stamp, body) in [
            ("2026-11-22T06:23:29+0000     info: x", true, "    info: x"),
            ("2026-11-22T06:23:29Z R: @@a", true, "R: @@a"),
            ("2026-11-22T06:23:29Z happened", false, "2026-11-22T06:23:29Z happened"),
            ("plain", false, "plain"),
            ("", false, ""),
        ] {
            let line = Line::new(text);
            assert_eq!((line.stamp.is_some(), line.body), (stamp, body));
        }
    }

    #[test]
    fn control_reports_are_known_by_their_fields() {
        let end = "R: @@Common@@control@@rudder@@run@@0@@end@@0@@2026-11-22 06:23:33+00:00##root@#End";
        assert!(Line::new(end).is_control("end"));
        assert!(!Line::new(end).is_control("start"));
        assert!(!Line::new("R: @@Common@@log_info@@rudder@@run@@0@@end@@").is_control("end"));
    }
}
