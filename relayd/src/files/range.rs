// SPDX-License-Identifier: Apache-2.0
//! The part of a content that is asked for (RFC 9110, 14).

use std::ops::Range as Bytes;

use hyper::header::HeaderValue;

/// What a `Range` field asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Everything: the field says nothing that is understood, or asks for several parts, which a server
    /// need not give.
    Whole,
    /// These bytes.
    Bytes(Bytes<u64>),
    /// Bytes that are not there.
    Unsatisfiable,
}

/// Reads the field for a content of this size.
pub fn read(field: &HeaderValue, size: u64) -> Part {
    let Some(spec) = field.to_str().ok().and_then(|text| text.strip_prefix("bytes=")) else {
        return Part::Whole;
    };
    let Some((first, last)) = spec.trim().split_once('-') else { return Part::Whole };
    let part = match (number(first), number(last)) {
        (Some(first), Some(last)) if first > last => return Part::Whole,
        (Some(first), Some(last)) => first..last.saturating_add(1).min(size),
        (Some(first), None) if last.is_empty() => first..size,
        (None, Some(last)) if first.is_empty() => size.saturating_sub(last)..size,
        _ => return Part::Whole,
    };
    if part.start < part.end { Part::Bytes(part) } else { Part::Unsatisfiable }
}

/// Digits alone; more than fit are as good as the largest number.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read_text(text: &str, size: u64) -> Part {
        read(&HeaderValue::from_str(text).unwrap(), size)
    }

    #[test]
    fn one_range_is_understood() {
        for (text, expected) in [
            ("bytes=0-0", Part::Bytes(0..1)),
            ("bytes=0-9", Part::Bytes(0..10)),
            ("bytes=5-", Part::Bytes(5..10)),
            ("bytes=5-99999999999999999999999", Part::Bytes(5..10)),
            ("bytes=-3", Part::Bytes(7..10)),
            ("bytes=-30", Part::Bytes(0..10)),
            ("bytes= 2-3 ", Part::Bytes(2..4)),
            ("bytes=10-", Part::Unsatisfiable),
            ("bytes=10-12", Part::Unsatisfiable),
            ("bytes=-0", Part::Unsatisfiable),
            ("bytes=99999999999999999999999-", Part::Unsatisfiable),
            ("bytes=3-2", Part::Whole),
            ("bytes=0-1,3-4", Part::Whole),
            ("bytes=-", Part::Whole),
            ("bytes=a-b", Part::Whole),
            ("bytes=+1-2", Part::Whole),
            ("bytes=--1", Part::Whole),
            ("bytes=", Part::Whole),
            ("lines=0-1", Part::Whole),
            ("", Part::Whole),
        ] {
            assert_eq!(read_text(text, 10), expected, "{text}");
        }
        assert_eq!(read_text("bytes=0-", 0), Part::Unsatisfiable);
        assert_eq!(read_text("bytes=-1", 0), Part::Unsatisfiable);
    }

    proptest! {
        #[test]
        fn a_part_is_within_the_content(text in "bytes=[0-9,+-]{0,6}", size in 0_u64..20) {
            if let Part::Bytes(part) = read_text(&text, size) {
                prop_assert!(part.start < part.end && part.end <= size);
            }
        }
    }
}
