// SPDX-License-Identifier: Apache-2.0
//! What a command prints, compared with what a document says that it prints.

/// The sign for what differs each time.
const ANYTHING: &str = "…";

/// Whether `printed` is what the document shows: `…` fits anything within a line, a line `…` any lines.
/// White space at the end of lines does not count.
pub fn fits(shown: &str, printed: &str) -> bool {
    let shown: Vec<_> = shown.trim_end().lines().map(str::trim_end).collect();
    let printed: Vec<_> = printed.trim_end().lines().map(str::trim_end).collect();
    lines_fit(&shown, &printed)
}

fn lines_fit(shown: &[&str], printed: &[&str]) -> bool {
    match (shown.split_first(), printed.split_first()) {
        (None, None) => true,
        (Some((first, rest)), _) if first.trim() == ANYTHING => {
            (0..=printed.len()).any(|skipped| lines_fit(rest, &printed[skipped..]))
        }
        (Some((line, shown)), Some((said, printed))) => line_fits(line, said) && lines_fit(shown, printed),
        _ => false,
    }
}

fn line_fits(shown: &str, printed: &str) -> bool {
    let Some((start, rest)) = shown.split_once(ANYTHING) else { return shown == printed };
    let Some(mut left) = printed.strip_prefix(start) else { return false };
    // Each part between two signs at its first place; the last one at the end.
    let mut parts: Vec<_> = rest.split(ANYTHING).collect();
    let end = parts.pop().unwrap_or_default();
    for part in parts {
        let Some(place) = left.find(part) else { return false };
        left = &left[place + part.len()..];
    }
    left.ends_with(end)
}

#[cfg(test)]
mod comparing {
    use super::*;

    #[test]
    fn ellipses_fit_what_differs_and_nothing_else_does() {
        for (shown, printed, fitting) in [
            ("a\nb\n", "a\nb", true),
            ("a", "a\nb", false),
            ("", "", true),
            ("", "a", false),
            ("…", "", true),
            ("…", "a\nb", true),
            ("a\n…\nd", "a\nb\nc\nd", true),
            ("a\n…\nd", "a\nb\nc", false),
            ("sha256//…  x", "sha256//abc=  x", true),
            ("sha256//…  x", "sha256//abc=  y", false),
            ("x … y … z", "x 1 y 2 z", true),
            ("x … y … z", "x 1 z", false),
            ("ab…b", "ab", false),
        ] {
            assert_eq!(fits(shown, printed), fitting, "{shown:?} {printed:?}");
        }
    }
}
