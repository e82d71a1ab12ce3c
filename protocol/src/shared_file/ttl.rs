// SPDX-License-Identifier: Apache-2.0
//! How long a shared file is kept (protocol 7.4).

use std::time::Duration;

/// Why a text says no such time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no duration: write seconds as a number, or units, as in `1d 2h 30min`")]
pub struct TtlError(String);

/// Longest text that is read, in bytes.
const LONGEST: usize = 256;

/// Reads seconds as a number, or durations with units: `1d 2h 3m 4s`, `1hour 2minutes`, `30min`.
///
/// What is shorter than a second is cut off: expiry is counted in seconds.
pub fn parse_ttl(text: &str) -> Result<Duration, TtlError> {
    let trimmed = text.trim();
    let refused = || TtlError(text.chars().take(64).collect());
    if trimmed.is_empty() || trimmed.len() > LONGEST {
        return Err(refused());
    }
    let seconds = match trimmed.bytes().all(|b| b.is_ascii_digit()) {
        true => trimmed.parse().map_err(|_| refused())?,
        false => humantime::parse_duration(trimmed).map_err(|_| refused())?.as_secs(),
    };
    Ok(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn all_forms_of_the_protocol_are_read() {
        for (text, seconds) in [
            ("0", 0),
            ("86400", 86_400),
            (" 60 ", 60),
            ("1d 2h 3m 4s", 93_784),
            ("1d2h3m4s", 93_784),
            ("1hour 2minutes", 3_720),
            ("30min", 1_800),
            ("2days", 172_800),
            ("1week", 604_800),
            ("10sec", 10),
            ("1500ms", 1),
        ] {
            assert_eq!(parse_ttl(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        let long = "1".repeat(300);
        for text in ["", " ", "-1", "+5", "1x", "d", "1d 2", "one day", "18446744073709551616", "1d\0", &long]
        {
            assert!(parse_ttl(text).is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn seconds_and_units_say_the_same(days in 0_u64..10_000, hours in 0_u64..24, minutes in 0_u64..60) {
            let seconds = days * 86_400 + hours * 3_600 + minutes * 60;
            let expected = Ok(Duration::from_secs(seconds));
            prop_assert_eq!(parse_ttl(&seconds.to_string()), expected.clone());
            let text = format!("{days}d {hours}h {minutes}min");
            prop_assert_eq!(parse_ttl(&text), expected);
        }

        #[test]
        fn nothing_panics(text in ".{0,40}") {
            let _ = parse_ttl(&text);
        }
    }
}
