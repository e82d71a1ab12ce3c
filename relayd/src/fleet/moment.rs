// SPDX-License-Identifier: Apache-2.0
//! Instants, as people and programs write them.

use chrono::{DateTime, NaiveDate, Utc};

use super::Trouble;

/// Reads an instant: RFC 3339, a day (its start, UTC), Unix time in seconds, or how long ago (`12h`).
pub fn parse(text: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>, Trouble> {
    // In a query that is not encoded, `+` comes as a space.
    let spaced = text.trim().replace(' ', "+");
    let rfc3339 = || DateTime::parse_from_rfc3339(&spaced).ok().map(|date| date.to_utc());
    let day = || Some(spaced.parse::<NaiveDate>().ok()?.and_hms_opt(0, 0, 0)?.and_utc());
    let unix = || DateTime::from_timestamp(spaced.parse().ok()?, 0);
    let ago =
        || now.checked_sub_signed(chrono::Duration::from_std(humantime::parse_duration(text).ok()?).ok()?);
    rfc3339().or_else(day).or_else(unix).or_else(ago).ok_or_else(|| {
        Trouble::Asked(format!(
            "{text:?} is no date such as 2026-11-20T06:00:00Z or 2026-11-20, and no time ago such as 12h"
        ))
    })
}

/// An error where an interval, in Unix seconds, begins after its end: that it is empty would pass for an answer.
pub fn must_be_in_order(from: Option<i64>, to: Option<i64>) -> Result<(), Trouble> {
    match (from, to) {
        (Some(from), Some(to)) if from > to => {
            Err(Trouble::Asked(format!("from ({}) is later than to ({})", show(from), show(to))))
        }
        _ => Ok(()),
    }
}

/// RFC 3339, UTC, to the second.
pub fn show(unix: i64) -> String {
    let date = DateTime::from_timestamp(unix, 0).unwrap_or_default();
    date.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        for (text, expected) in [
            ("2027-01-15T08:00:00Z", 1_800_000_000),
            ("2027-01-15T09:00:00+01:00", 1_800_000_000),
            ("2027-01-15T09:00:00 01:00", 1_800_000_000),
            ("2027-01-15", 1_799_971_200),
            ("1799999999", 1_799_999_999),
            ("12h", 1_800_000_000 - 43_200),
            ("1day 1h", 1_800_000_000 - 90_000),
        ] {
            assert_eq!(parse(text, now).unwrap().timestamp(), expected, "{text}");
        }
        for text in ["", "yesterday", "2027-13-01", "99999999999999999", "99999999999y"] {
            assert!(parse(text, now).is_err(), "{text}");
        }
    }
}
