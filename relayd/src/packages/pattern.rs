// SPDX-License-Identifier: Apache-2.0
//! Names in which `*` is any text and `?` any character.

/// Whether a name is like a pattern.
pub fn is_like(name: &str, pattern: &str) -> bool {
    let (name, pattern): (Vec<char>, Vec<char>) = (name.chars().collect(), pattern.chars().collect());
    // Where to go on when the text that the last `*` stands for is too short.
    let (mut at, mut of, mut again) = (0, 0, None);
    while at < name.len() {
        match pattern.get(of) {
            Some('*') => {
                of += 1;
                again = Some((at, of));
            }
            Some(c) if *c == '?' || *c == name[at] => (at, of) = (at + 1, of + 1),
            _ => match again {
                None => return false,
                Some((from, star)) => {
                    again = Some((from + 1, star));
                    (at, of) = (from + 1, star);
                }
            },
        }
    }
    pattern[of..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::is_like;

    #[test]
    fn stars_stand_for_any_text() {
        for (name, pattern, expected) in [
            ("openssl", "openssl", true),
            ("openssl", "open*", true),
            ("openssl", "*ssl", true),
            ("openssl", "*s*s*", true),
            ("openssl", "o?e*l", true),
            ("openssl", "openssl*", true),
            ("openssl", "*", true),
            ("", "*", true),
            ("libabab", "*abab", true),
            ("openssl", "open", false),
            ("openssl", "openssl?", false),
            ("openssl", "*x*", false),
            ("openssl", "", false),
        ] {
            assert_eq!(is_like(name, pattern), expected, "{name} {pattern}");
        }
    }
}
