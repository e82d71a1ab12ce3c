// SPDX-License-Identifier: Apache-2.0
//! Who sends to whom, and how the file is called: the last three segments of a URL (protocol 7.4).

use std::{fmt, str::FromStr};

use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};

use crate::node_id::NodeId;

/// Name of the file beside a shared file that holds its metadata: the file id and this.
pub const METADATA: &str = ".metadata";

/// Longest name, in bytes: with [`METADATA`] it must still be a file name.
const LONGEST: usize = 255 - METADATA.len();

/// A target, a source or a file id: letters, digits, `_`, `.` and `-`, but not `.` or `..`. Safe as one part
/// of a path. Most ids of nodes are such a name, and some names are no id of a node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(Box<str>);

/// The name of a shared file, which is not that of metadata.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FileId(Name);

/// A shared file.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    /// For whom it is.
    pub target: Name,
    /// From whom it is.
    pub source: Name,
    /// How it is called.
    pub file: FileId,
}

/// Why a text is no such name, or no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Fewer or more than three segments.
    #[error("the path of a shared file is <target>/<source>/<file id>")]
    Shape,
    /// A character that is not allowed, `.`, `..`, or nothing.
    #[error("target, source and file id are letters, digits, '_', '.' and '-', and neither '.' nor '..'")]
    Character,
    /// Too long for a file.
    #[error("target, source and file id have at most {LONGEST} characters")]
    TooLong,
    /// A file id that names metadata.
    #[error("a file id must not end in {METADATA}")]
    Metadata,
}

impl Name {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The node of this name; `None` when no node can have it.
    pub fn node_id(&self) -> Option<NodeId> {
        self.0.parse().ok()
    }
}

impl FileId {
    /// The name.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The name of the file with its metadata.
    pub fn metadata_name(&self) -> String {
        format!("{}{METADATA}", self.as_str())
    }
}

impl Address {
    /// Reads what follows `shared-files/` in a URL, percent-encoded.
    pub fn from_url(raw: &str) -> Result<Self, AddressError> {
        let mut segments = raw.split('/');
        let (Some(target), Some(source), Some(file), None) =
            (segments.next(), segments.next(), segments.next(), segments.next())
        else {
            return Err(AddressError::Shape);
        };
        let (target, source): (Name, Name) = (decoded(target)?.parse()?, decoded(source)?.parse()?);
        Ok(Self { target, source, file: decoded(file)?.parse()? })
    }

    /// As it stands in a URL; nothing in it needs escaping.
    pub fn to_url(&self) -> String {
        format!("{}/{}/{}", self.target, self.source, self.file)
    }
}

fn decoded(segment: &str) -> Result<String, AddressError> {
    let decoded = percent_decode_str(segment).decode_utf8().map_err(|_| AddressError::Character)?;
    Ok(decoded.into_owned())
}

impl FromStr for Name {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
        match text {
            "" | "." | ".." => Err(AddressError::Character),
            _ if !plain => Err(AddressError::Character),
            _ if text.len() > LONGEST => Err(AddressError::TooLong),
            _ => Ok(Self(text.into())),
        }
    }
}

impl FromStr for FileId {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let name: Name = text.parse()?;
        let end = text.len().checked_sub(METADATA.len()).map_or("", |at| &text[at..]);
        if end.eq_ignore_ascii_case(METADATA) { Err(AddressError::Metadata) } else { Ok(Self(name)) }
    }
}

impl From<&NodeId> for Name {
    /// Ids of nodes are shorter than names and have no other characters.
    fn from(node: &NodeId) -> Self {
        Self(node.as_str().into())
    }
}

impl TryFrom<String> for Name {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl TryFrom<String> for FileId {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0.into()
    }
}

impl From<FileId> for String {
    fn from(id: FileId) -> Self {
        id.0.into()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Display for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_url())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_are_read_and_written() {
        let address = Address::from_url("37817c4d/%65745a140/a_file-1.tar.gz").unwrap();
        assert_eq!(address.to_url(), "37817c4d/e745a140/a_file-1.tar.gz");
        assert_eq!(address.file.metadata_name(), "a_file-1.tar.gz.metadata");
        assert_eq!(address.target.node_id(), "37817c4d".parse().ok());
        assert_eq!("-x".parse::<Name>().unwrap().node_id(), None);
        assert!("...".parse::<FileId>().is_ok());
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let long = "a".repeat(247);
        for (file, why) in [
            ("", AddressError::Character),
            (".", AddressError::Character),
            ("..", AddressError::Character),
            ("%2e%2e", AddressError::Character),
            ("a%2fb", AddressError::Character),
            ("a%00", AddressError::Character),
            ("a%5cb", AddressError::Character),
            ("a b", AddressError::Character),
            ("a%20b", AddressError::Character),
            ("a@b", AddressError::Character),
            ("a%0a", AddressError::Character),
            ("%c3%a9", AddressError::Character),
            ("%ff", AddressError::Character),
            ("%252e", AddressError::Character),
            (&long, AddressError::TooLong),
            ("a.metadata", AddressError::Metadata),
            ("a.METAdata", AddressError::Metadata),
            ("a%2emetadata", AddressError::Metadata),
            (".metadata", AddressError::Metadata),
        ] {
            assert_eq!(Address::from_url(&format!("t/s/{file}")), Err(why), "{file}");
        }
        for path in ["", "a", "a/b", "a/b/c/d", "a/b/c/"] {
            assert_eq!(Address::from_url(path), Err(AddressError::Shape), "{path}");
        }
        for path in ["../b/c", "a/../c", "/b/c", "a//c"] {
            assert_eq!(Address::from_url(path), Err(AddressError::Character), "{path}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_read_is_three_plain_parts(raw in "[a-c.%/2eEfF-]{0,20}") {
            if let Ok(address) = Address::from_url(&raw) {
                let url = address.to_url();
                let parts = std::path::Path::new(&url).components();
                prop_assert!(parts.clone().all(|part| matches!(part, std::path::Component::Normal(_))));
                prop_assert_eq!(parts.count(), 3);
                prop_assert_eq!(Address::from_url(&url), Ok(address));
            }
        }
    }
}
