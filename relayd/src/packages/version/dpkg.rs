// SPDX-License-Identifier: Apache-2.0
//! The order of Debian's versions, `[epoch:]upstream[-revision]`: `deb-version(7)`.

use std::cmp::Ordering;

use super::{epoch, numbers, part};

/// The order of two versions.
pub fn compare(a: &str, b: &str) -> Ordering {
    let (a_epoch, a) = epoch(a);
    let (b_epoch, b) = epoch(b);
    // A missing revision is the same as "0", which is the same as an empty one.
    let (a, a_revision) = a.rsplit_once('-').unwrap_or((a, ""));
    let (b, b_revision) = b.rsplit_once('-').unwrap_or((b, ""));
    a_epoch
        .cmp(&b_epoch)
        .then_with(|| parts(a.as_bytes(), b.as_bytes()))
        .then_with(|| parts(a_revision.as_bytes(), b_revision.as_bytes()))
}

/// Compares in turn what is no number, and numbers.
fn parts(mut a: &[u8], mut b: &[u8]) -> Ordering {
    while !a.is_empty() || !b.is_empty() {
        let (a_text, a_rest) = part(a, |byte| !byte.is_ascii_digit());
        let (b_text, b_rest) = part(b, |byte| !byte.is_ascii_digit());
        let (a_number, a_next) = part(a_rest, |byte| byte.is_ascii_digit());
        let (b_number, b_next) = part(b_rest, |byte| byte.is_ascii_digit());
        match texts(a_text, b_text).then_with(|| numbers(a_number, b_number)) {
            Ordering::Equal => (a, b) = (a_next, b_next),
            decided => return decided,
        }
    }
    Ordering::Equal
}

fn texts(a: &[u8], b: &[u8]) -> Ordering {
    let weight = |text: &[u8], at: usize| text.get(at).map_or(0, |byte| weight(*byte));
    let differ = |at: &usize| weight(a, *at) != weight(b, *at);
    match (0..a.len().max(b.len())).find(differ) {
        Some(at) => weight(a, at).cmp(&weight(b, at)),
        None => Ordering::Equal,
    }
}

/// A tilde goes before the end, which goes before letters, which go before all else.
fn weight(byte: u8) -> i32 {
    match byte {
        b'~' => -1,
        byte if byte.is_ascii_alphabetic() => i32::from(byte),
        byte => i32::from(byte) + 256,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_debian_policy_says() {
        let ascending = [
            "1.0~~",
            "1.0~~a",
            "1.0~",
            "1.0~rc1",
            "1.0~rc1-1",
            "1.0",
            "1.0-0.1",
            "1.0-1~bpo12+1",
            "1.0-1",
            "1.0-1+b1",
            "1.0-1+deb12u1",
            "1.0-1.1",
            "1.0-9",
            "1.0-10",
            "1.0a",
            "1.0+dfsg-1",
            "1.0.1",
            "1.2.10-3",
            "1:0.1",
            "1:0.1-1",
            "2:0",
        ];
        for (at, a) in ascending.iter().enumerate() {
            for b in &ascending[at + 1..] {
                assert_eq!(compare(a, b), Ordering::Less, "{a} and {b}");
                assert_eq!(compare(b, a), Ordering::Greater, "{b} and {a}");
            }
        }
    }

    #[test]
    fn different_texts_may_be_the_same_version() {
        for (a, b) in [("1.0", "1.0-0"), ("0:1", "1"), ("1.02", "1.2"), ("1.0-", "1.0"), ("", "0")] {
            assert_eq!(compare(a, b), Ordering::Equal, "{a} and {b}");
        }
        let long = "9".repeat(40);
        assert_eq!(compare(&long, &("1".to_owned() + &long)), Ordering::Less);
    }
}
