// SPDX-License-Identifier: Apache-2.0
//! HTTP headers of our own, in the lower case that libraries want.

use chrono::{DateTime, SecondsFormat, Utc};

use crate::{hash::KeyHash, limits::RELAY_DEPTH};

/// Node id of the policy server to which a node itself talked, set by the first relay.
pub const POLICY_SERVER: &str = "relayd-policy-server";

/// Network address of the node itself, as the first relay saw it: without port.
pub const CLIENT_ADDRESS: &str = "relayd-client-address";

/// How many relays a request went through; absent is 0.
pub const HOPS: &str = "relayd-hops";

/// Keys of this server, present and next, while it has a next one.
pub const SERVER_PINS: &str = "relayd-server-pins";

/// Since when this server lacks run logs, because it came back from a backup: RFC 3339, UTC, whole seconds.
pub const RESEND_SINCE: &str = "relayd-resend-since";

/// As [`RESEND_SINCE`] has it.
pub fn print_resend_since(since: DateTime<Utc>) -> String {
    since.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// Reads [`RESEND_SINCE`]. `None` when malformed.
pub fn parse_resend_since(text: &str) -> Option<DateTime<Utc>> {
    text.parse::<DateTime<Utc>>().ok().filter(|since| print_resend_since(*since) == text)
}

/// Most pins of one server that are read.
const MAX_PINS: usize = 8;

/// Key hashes as [`SERVER_PINS`] and files of pins have them: separated by `;`.
pub fn print_pins<'a>(pins: impl IntoIterator<Item = &'a KeyHash>) -> String {
    let pins: Vec<String> = pins.into_iter().map(KeyHash::to_string).collect();
    pins.join(";")
}

/// Reads [`SERVER_PINS`]. `None` when one is malformed, or there are none or very many.
pub fn parse_pins(text: &str) -> Option<Vec<KeyHash>> {
    if text.split(';').count() > MAX_PINS {
        return None;
    }
    text.split(';').map(|pin| pin.trim_ascii().parse().ok()).collect()
}

/// Reads [`HOPS`]. `None` when malformed, or when there were more relays than a tree can have.
pub fn parse_hops(text: Option<&str>) -> Option<usize> {
    let Some(text) = text else { return Some(0) };
    let is_number = (1..=2).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|&hops| is_number && hops <= RELAY_DEPTH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_are_read_back() {
        let pins = [KeyHash::sha256_of(b"a"), KeyHash::Sha512([7; 64])];
        assert_eq!(parse_pins(&print_pins(&pins)).as_deref(), Some(&pins[..]));
        assert_eq!(parse_pins(&format!("{} ; {}", pins[0], pins[1])).as_deref(), Some(&pins[..]));
        let pin = pins[0].to_string();
        for text in ["", ";", &format!("{pin};"), &format!("{pin};x"), &[&*pin; 9].join(";")] {
            assert_eq!(parse_pins(text), None, "{text}");
        }
    }

    #[test]
    fn moments_have_one_form() {
        let text = "2026-11-22T03:00:00Z";
        assert_eq!(parse_resend_since(text).map(print_resend_since).as_deref(), Some(text));
        for text in
            ["", "yesterday", "2026-11-22T03:00:00+00:00", "2026-11-22T03:00:00.5Z", "2026-13-01T00:00:00Z"]
        {
            assert_eq!(parse_resend_since(text), None, "{text}");
        }
    }

    #[test]
    fn hops_are_small_numbers() {
        assert_eq!(parse_hops(None), Some(0));
        assert_eq!(parse_hops(Some("0")), Some(0));
        assert_eq!(parse_hops(Some("20")), Some(20));
        for text in ["", "21", "-1", "+1", "1 ", "001", "x"] {
            assert_eq!(parse_hops(Some(text)), None, "{text}");
        }
    }
}
