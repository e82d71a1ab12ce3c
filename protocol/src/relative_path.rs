// SPDX-License-Identifier: Apache-2.0
//! Paths of files within a tree (protocol 7.5, 8): from URLs, archives and manifests.

use std::{fmt, path::Path, str::FromStr};

use percent_encoding::{percent_decode_str, utf8_percent_encode};
use serde::{Deserialize, Serialize};

use crate::urls::RESERVED;

/// Longest path, in bytes.
const LONGEST: usize = 4096;
/// Longest segment, in bytes: what file systems take.
const LONGEST_SEGMENT: usize = 255;
/// Most segments.
const DEEPEST: usize = 64;

/// A path that leads to no place outside the directory it starts from: one or more segments, none of
/// them empty, `.` or starting with `..`, without control characters and backslashes.
///
/// It says nothing about links: whoever opens it must not follow any.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RelativePath(String);

/// Why a text is no such path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Nothing, a slash at an end, or two in a row.
    #[error("an empty path segment")]
    Empty,
    /// `.`, or a segment that starts with `..`.
    #[error("a path segment that starts with \"..\" or is \".\"")]
    Dots,
    /// A control character or a backslash.
    #[error("a control character or a backslash in the path")]
    Character,
    /// Too long, or too deep.
    #[error(
        "the path is longer than {LONGEST} bytes, deeper than {DEEPEST} directories, or has a segment of more than {LONGEST_SEGMENT} bytes"
    )]
    TooLong,
    /// A `%` that escapes nothing, or is itself escaped; or bytes that are not UTF-8.
    #[error("malformed percent-encoding in the path")]
    Encoding,
}

impl RelativePath {
    /// Reads what stands in a URL. It is decoded once; an encoded slash is refused, and so is what was
    /// encoded twice.
    pub fn from_url(raw: &str) -> Result<Self, PathError> {
        if raw.contains(['?', '#']) {
            return Err(PathError::Encoding);
        }
        let mut decoded = String::with_capacity(raw.len());
        for (index, segment) in raw.split('/').enumerate() {
            let segment = percent_decode_str(segment).decode_utf8().map_err(|_| PathError::Encoding)?;
            if segment.contains('/') {
                return Err(PathError::Character);
            }
            // Left over when it escapes nothing or was escaped itself: `%` alone is fine in a name, but
            // not what another reader could decode again.
            if has_escape(&segment) {
                return Err(PathError::Encoding);
            }
            if index > 0 {
                decoded.push('/');
            }
            decoded.push_str(&segment);
        }
        decoded.parse()
    }

    /// As it stands in a URL.
    pub fn to_url(&self) -> String {
        let segments = self.segments().map(|segment| utf8_percent_encode(segment, RESERVED).to_string());
        segments.collect::<Vec<_>>().join("/")
    }

    /// The path.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// For the file system, relative to a directory.
    pub fn as_path(&self) -> &Path {
        Path::new(&self.0)
    }

    /// Its segments, one or more.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }

    /// The last segment.
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }
}

fn has_escape(text: &str) -> bool {
    text.as_bytes().windows(3).any(|w| w[0] == b'%' && w[1].is_ascii_hexdigit() && w[2].is_ascii_hexdigit())
}

impl FromStr for RelativePath {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        if text.len() > LONGEST || text.split('/').count() > DEEPEST {
            return Err(PathError::TooLong);
        }
        for segment in text.split('/') {
            match segment {
                "" => return Err(PathError::Empty),
                _ if segment == "." || segment.starts_with("..") => return Err(PathError::Dots),
                _ if segment.len() > LONGEST_SEGMENT => return Err(PathError::TooLong),
                _ if segment.contains(|c: char| c.is_control() || c == '\\') => {
                    return Err(PathError::Character);
                }
                _ => {}
            }
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for RelativePath {
    type Error = PathError;

    fn try_from(text: String) -> Result<Self, PathError> {
        text.parse()
    }
}

impl From<RelativePath> for String {
    fn from(path: RelativePath) -> Self {
        path.0
    }
}

impl fmt::Display for RelativePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_of_trees_are_read_and_written() {
        for (url, path) in [
            ("rudder.json", "rudder.json"),
            ("a/b/c.cf", "a/b/c.cf"),
            ("a%20b/%C3%A9", "a b/é"),
            (".hidden/x", ".hidden/x"),
            ("100%25", "100%"),
            ("file%20with%20space", "file with space"),
        ] {
            let read = RelativePath::from_url(url).unwrap();
            assert_eq!(read.as_str(), path);
            assert_eq!(RelativePath::from_url(&read.to_url()), Ok(read), "{url}");
        }
    }

    #[test]
    fn what_could_lead_out_is_refused() {
        let long = "a".repeat(256);
        let deep = "a/".repeat(64) + "a";
        for url in [
            "",
            "/",
            "/a",
            "a/",
            "a//b",
            ".",
            "..",
            "../a",
            "a/..",
            "a/../b",
            "a/./b",
            "...",
            "..a",
            "%2e",
            "%2e%2e",
            "%2E%2e/a",
            ".%2e/a",
            "a%2fb",
            "a%2F..%2Fb",
            "%2fetc%2fpasswd",
            "a%5cb",
            "a\\b",
            "..%5c..",
            "%00",
            "a%00.txt",
            "a%0ab",
            "a\nb",
            "a%0d%0aX",
            "a%1b",
            "a%7f",
            "a%c2%85",
            "%c0%ae",
            "%c0%af",
            "%ff",
            "a%80",
            "%252e%252e",
            "a%252fb",
            "%2500",
            "a?b",
            "a#b",
            &long,
            &deep,
        ] {
            assert!(RelativePath::from_url(url).is_err(), "{url:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_read_stays_inside(raw in "[a-c.%/25e\\\\ ]{0,20}") {
            if let Ok(path) = RelativePath::from_url(&raw) {
                let plain = path.as_path().components().all(|part| matches!(part, std::path::Component::Normal(_)));
                prop_assert!(plain, "{path}");
            }
        }
    }
}
