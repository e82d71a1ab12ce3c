// SPDX-License-Identifier: Apache-2.0
//! Users and groups by number or by name, from the files of this machine.

use std::fs;

use rustix::process::{Gid, Uid};

/// A user, by number or by a name in `/etc/passwd`.
pub fn user(text: &str) -> Result<Uid, String> {
    number("/etc/passwd", text, "user").map(Uid::from_raw)
}

/// A group, by number or by a name in `/etc/group`.
pub fn group(text: &str) -> Result<Gid, String> {
    number("/etc/group", text, "group").map(Gid::from_raw)
}

fn number(file: &str, text: &str, what: &str) -> Result<u32, String> {
    if let Ok(number) = text.parse::<u32>() {
        // All ones means "leave it" to the system.
        return if number == u32::MAX { Err(format!("{text} is no {what}")) } else { Ok(number) };
    }
    let lines = fs::read_to_string(file).map_err(|e| format!("{file}: {e}"))?;
    find(&lines, text).ok_or_else(|| format!("there is no {what} {text:?} in {file}; give its number"))
}

/// The third field of the line whose first one is `name`.
fn find(lines: &str, name: &str) -> Option<u32> {
    lines.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next() == Some(name) { fields.nth(1)?.parse().ok() } else { None }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        assert_eq!(user("0").unwrap(), Uid::ROOT);
        assert_eq!(user("root").unwrap(), Uid::ROOT);
        assert!(user("no such user").is_err() && user("4294967295").is_err());
        let lines = "root:x:0:0:root:/root:/bin/sh\npostgres:x:113:120::/var/lib/postgresql:/bin/sh\nbad\n";
        assert_eq!(find(lines, "postgres"), Some(113));
        assert_eq!(find(lines, "bad"), None);
        assert_eq!(find(lines, "x"), None);
    }
}
