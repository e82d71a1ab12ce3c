// SPDX-License-Identifier: Apache-2.0
//! The two date forms of run logs: time stamps of lines and the start of the run (protocol 3.1, 3.2).
//!
//! Both have a hand-written reader for the one form that agents write; each log has one per line.

use chrono::{DateTime, FixedOffset, NaiveDate, NaiveDateTime, SecondsFormat, TimeZone};
use memchr::memchr;

/// Date and time up to the second: `YYYY-MM-DD?HH:MM:SS`.
const SECONDS: usize = 19;
/// The form agents write: [`SECONDS`] and `+HH:MM`.
const COMMON: usize = SECONDS + 6;
/// Longest time stamp: nine digits of a fraction and some to spare.
const LONGEST: usize = 40;

/// Takes the time stamp and its one space off a line. `None` if the line has none.
#[inline]
pub(super) fn split(line: &str) -> Option<(DateTime<FixedOffset>, &str)> {
    let bytes = line.as_bytes();
    if bytes.get(4) != Some(&b'-') {
        return None;
    }
    if bytes.get(COMMON) == Some(&b' ')
        && let Some(time) = common(bytes, b'T')
    {
        return Some((time, &line[COMMON + 1..]));
    }
    split_uncommon(line)
}

#[cold]
fn split_uncommon(line: &str) -> Option<(DateTime<FixedOffset>, &str)> {
    let bytes = line.as_bytes();
    let space = memchr(b' ', &bytes[..bytes.len().min(LONGEST)])?;
    let time = DateTime::parse_from_rfc3339(&line[..space]).ok()?;
    Some((time, &line[space + 1..]))
}

/// Takes an optional time stamp off a line.
#[inline]
pub(super) fn strip(line: &str) -> &str {
    split(line).map_or(line, |(_, rest)| rest)
}

/// Reads the start of a run: `YYYY-MM-DD HH:MM:SS`, spaces or none, `+HH:MM` or `+HHMM`.
pub(super) fn start(text: &str) -> Option<DateTime<FixedOffset>> {
    let bytes = text.as_bytes();
    if bytes.len() == COMMON
        && let Some(start) = common(bytes, b' ')
    {
        return Some(start);
    }
    let local = date_time(bytes, b' ')?;
    let offset = match bytes[SECONDS..].trim_ascii_start() {
        [sign, h1, h2, b':', m1, m2] | [sign, h1, h2, m1, m2] => offset(*sign, [*h1, *h2], [*m1, *m2])?,
        _ => return None,
    };
    offset.from_local_datetime(&local).single()
}

/// A time stamp as agents write it; a fraction only when there is one.
pub(super) fn print(time: &DateTime<FixedOffset>) -> String {
    time.to_rfc3339_opts(SecondsFormat::AutoSi, false)
}

#[inline]
fn common(bytes: &[u8], separator: u8) -> Option<DateTime<FixedOffset>> {
    let local = date_time(bytes, separator)?;
    let [sign, h1, h2, b':', m1, m2] = *bytes.get(SECONDS..COMMON)? else { return None };
    offset(sign, [h1, h2], [m1, m2])?.from_local_datetime(&local).single()
}

#[inline]
fn date_time(bytes: &[u8], separator: u8) -> Option<NaiveDateTime> {
    let b: &[u8; SECONDS] = bytes.first_chunk()?;
    if (b[4], b[7], b[10], b[13], b[16]) != (b'-', b'-', separator, b':', b':') {
        return None;
    }
    let year = two_digits([b[0], b[1]])? * 100 + two_digits([b[2], b[3]])?;
    let date = NaiveDate::from_ymd_opt(year as i32, two_digits([b[5], b[6]])?, two_digits([b[8], b[9]])?)?;
    date.and_hms_opt(two_digits([b[11], b[12]])?, two_digits([b[14], b[15]])?, two_digits([b[17], b[18]])?)
}

#[inline]
fn offset(sign: u8, hours: [u8; 2], minutes: [u8; 2]) -> Option<FixedOffset> {
    let minutes = two_digits(minutes).filter(|minutes| *minutes < 60)?;
    let seconds = (two_digits(hours)? * 60 + minutes) as i32 * 60;
    match sign {
        b'+' => FixedOffset::east_opt(seconds),
        b'-' => FixedOffset::west_opt(seconds),
        _ => None,
    }
}

#[inline]
fn two_digits([tens, ones]: [u8; 2]) -> Option<u32> {
    (tens.is_ascii_digit() && ones.is_ascii_digit())
        .then(|| u32::from(tens - b'0') * 10 + u32::from(ones - b'0'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn takes_time_stamps_off() {
        for (line, time, rest) in [
            ("2019-05-11T12:58:13+00:00 R: @@", "2019-05-11T12:58:13+00:00", "R: @@"),
            ("2019-05-11T12:58:13+00:00 ", "2019-05-11T12:58:13+00:00", ""),
            ("2019-05-11T12:58:13-03:30    error", "2019-05-11T12:58:13-03:30", "   error"),
            ("2019-05-11T12:58:13Z é", "2019-05-11T12:58:13+00:00", "é"),
            ("2019-05-11t12:58:13.25+02:00 x", "2019-05-11T12:58:13.250+02:00", "x"),
            ("2016-12-31T23:59:60+00:00 x", "2016-12-31T23:59:60+00:00", "x"),
        ] {
            let (found, found_rest) = split(line).unwrap_or_else(|| panic!("{line:?}"));
            assert_eq!((print(&found).as_str(), found_rest), (time, rest), "{line:?}");
        }
    }

    #[test]
    fn leaves_alone_what_is_no_time_stamp() {
        for line in [
            "",
            " ",
            "2",
            "x",
            "2019-05-11T12:58:13+00:00",
            "2019-05-11T12:58:13+00:00\tx",
            "2019-05-11T12:58:13 x",
            "2019-05-11 12:58:13+00:00 x",
            "2019-02-30T12:58:13+00:00 x",
            "2019-05-11T24:58:13+00:00 x",
            "2019-05-11T12:58:13+00:60 x",
            "2019-05-11T12:58:13+0000 x",
            "é019-05-11T12:58:13+00:00 x",
            "2019-05-11T12:58:13+00:0é x",
            "99999999999999999999999999999999999999999999999 x",
        ] {
            assert!(split(line).is_none(), "{line:?}");
            assert_eq!(strip(line), line);
        }
    }

    #[test]
    fn reads_all_forms_of_a_start() {
        for (text, expected) in [
            ("2018-08-24 15:55:01+00:00", "2018-08-24T15:55:01+00:00"),
            ("2018-08-24 15:55:01 +00:00", "2018-08-24T15:55:01+00:00"),
            ("2018-08-24 15:55:01+0000", "2018-08-24T15:55:01+00:00"),
            ("2018-08-24 15:55:01   -0330", "2018-08-24T15:55:01-03:30"),
            ("2020-04-07 13:20:57+02:00", "2020-04-07T13:20:57+02:00"),
        ] {
            assert_eq!(print(&start(text).unwrap_or_else(|| panic!("{text}"))), expected);
        }
        for text in [
            "",
            "2018-08-24 15:55:01",
            "2018-08-24T15:55:01+00:00",
            "2018-08-24 15:55:01+00:00 ",
            "2018-08-24 15:55:01+00",
            "2018-08-24 15:55:01+24:00",
            "2018-08-24 15:55:01 00:00",
            "2018-08-24 15:55:61+00:00",
            "2018-13-24 15:55:01+00:00",
            "2018-08-24 15:55:01é0:00",
        ] {
            assert!(start(text).is_none(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn the_fast_reader_agrees_with_chrono(text in "[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-5][0-9][+-][0-2][0-9]:[0-6][0-9]") {
            let fast = split(&format!("{text} ")).map(|(time, _)| print(&time));
            prop_assert_eq!(fast, DateTime::parse_from_rfc3339(&text).ok().map(|time| print(&time)));
        }
    }
}
