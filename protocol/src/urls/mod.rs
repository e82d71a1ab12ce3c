// SPDX-License-Identifier: Apache-2.0
//! Paths on a policy server: uploads (protocol 2.3, 6.2), and those of identities.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use crate::file_name::{self, UnsafeName};

mod identity;

pub use identity::{IDENTITY, IdentityKind, IdentityPathError, NODES, parse_identity_path};

/// What an upload is, by the directory in its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UploadKind {
    /// `/reports/`: a run log.
    RunLog,
    /// `/inventories/`: the inventory of a node that is not accepted yet.
    NewInventory,
    /// `/inventory-updates/`: the inventory of an accepted node.
    InventoryUpdate,
}

impl UploadKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::RunLog, Self::NewInventory, Self::InventoryUpdate];

    /// First segment of the path.
    pub const fn segment(self) -> &'static str {
        match self {
            Self::RunLog => "reports",
            Self::NewInventory => "inventories",
            Self::InventoryUpdate => "inventory-updates",
        }
    }

    /// Path to upload a file with this (already checked) name to. Names need no escaping but for
    /// characters that URLs reserve.
    pub fn path(self, file_name: &str) -> String {
        format!("/{}/{}", self.segment(), utf8_percent_encode(file_name, RESERVED))
    }
}

/// Escaped in file names; `:`, `@` and `+` stay, as existing agents write them.
pub(crate) const RESERVED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'/')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// Why a request path is not that of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UploadPathError {
    /// It is below none of the upload directories.
    #[error("not an upload path: expected /reports/, /inventories/ or /inventory-updates/ and a file name")]
    NotAnUpload,
    /// More or less than one segment follows the directory.
    #[error("an upload path has exactly one file name after its directory")]
    Segments,
    /// A `%` that escapes nothing, or is itself escaped; or bytes that are not UTF-8.
    #[error("malformed percent-encoding in the file name")]
    Encoding,
    /// The name could leave its directory or confuse a log.
    #[error(transparent)]
    Unsafe(#[from] UnsafeName),
}

/// Reads the path of an upload request, as it stands in the request line, without query.
///
/// Accepts a doubled slash in front (protocol A1) and percent-encoding in the file name, decoded
/// once. The name that comes out is safe as one part of a path; it is not yet that of a run log or
/// inventory.
pub fn parse_upload_path(raw_path: &str) -> Result<(UploadKind, String), UploadPathError> {
    let path = raw_path.strip_prefix('/').ok_or(UploadPathError::NotAnUpload)?;
    let path = path.strip_prefix('/').unwrap_or(path);
    let (directory, name) = path.split_once('/').ok_or(UploadPathError::NotAnUpload)?;
    let kind = UploadKind::ALL.into_iter().find(|kind| kind.segment() == directory);
    let kind = kind.ok_or(UploadPathError::NotAnUpload)?;
    if name.is_empty() || name.contains('/') {
        return Err(UploadPathError::Segments);
    }
    // A literal `?` or `#` ends a path: what comes after it is not part of a name.
    if name.contains(['?', '#']) {
        return Err(UploadPathError::Encoding);
    }
    let name = percent_decode_str(name).decode_utf8().map_err(|_| UploadPathError::Encoding)?;
    // Left over when malformed, or when it was encoded twice.
    if name.contains('%') {
        return Err(UploadPathError::Encoding);
    }
    file_name::check(&name)?;
    Ok((kind, Cow::into_owned(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn existing_and_new_spellings_are_read() {
        let name = "2018-08-24T15:55:01+00:00@root.log.gz";
        for path in [
            "/reports/2018-08-24T15:55:01+00:00@root.log.gz",
            "//reports/2018-08-24T15:55:01+00:00@root.log.gz",
            "/reports/2018-08-24T15%3A55%3A01%2B00%3A00%40root.log.gz",
            "/reports/2018-08-24T15%3a55%3a01%2b00%3a00%40root%2elog.gz",
            "/reports/%32018-08-24T15:55:01+00:00@root.log.gz",
        ] {
            assert_eq!(parse_upload_path(path), Ok((UploadKind::RunLog, name.into())), "{path}");
        }
        for kind in UploadKind::ALL {
            for name in [name, "a b#c?d.ocs", "é.ocs", "a{b}[c]^`|<>\".xml", "x"] {
                let path = kind.path(name);
                assert_eq!(parse_upload_path(&path), Ok((kind, name.into())), "{path}");
                assert!(path.bytes().all(|b| b.is_ascii_graphic()), "{path}");
            }
        }
        assert_eq!(UploadKind::RunLog.path(name), format!("/reports/{name}"));
    }

    #[test]
    fn what_is_no_upload_or_could_leave_the_directory_is_refused() {
        let long = format!("/reports/{}", "a".repeat(256));
        let long_decoded = format!("/reports/{}", "%C3%A9".repeat(128));
        let vectors = [
            "",
            "/",
            "//",
            "reports/x",
            "/reports",
            "/reports/",
            "//reports/",
            "///reports/x",
            "/reports//x",
            "/reports/x/",
            "/reports/x/y",
            "/Reports/x",
            "/%72eports/x",
            "/reports%2Fx",
            "/./reports/x",
            "/../reports/x",
            "/other/x",
            "/uuid",
            "/reports/../inventories/x",
            "/reports/./x",
            "/reports/.",
            "/reports/..",
            "/reports/...",
            "/reports/.part-1",
            "/reports/%2e",
            "/reports/%2e%2e",
            "/reports/.%2e",
            "/reports/%2E%2E%2Fx",
            "/reports/..%2fx",
            "/reports/x%2fy",
            "/reports/x%2Fy",
            "/reports/%2fetc%2fpasswd",
            "/reports/%252e%252e%252fx",
            "/reports/%252fx",
            "/reports/x%25",
            "/reports/x%2500",
            "/reports/%c0%ae%c0%ae",
            "/reports/%c0%af",
            "/reports/%e0%80%af",
            "/reports/%ff",
            "/reports/x%80",
            "/reports/%ed%a0%80",
            "/reports/x%00",
            "/reports/x%00.log",
            "/reports/x\0",
            "/reports/x%0a",
            "/reports/x%0d%0aY",
            "/reports/x%09",
            "/reports/x%1b[0m",
            "/reports/x%7f",
            "/reports/x%c2%85",
            "/reports/x\ny",
            "/reports/..\\x",
            "/reports/x\\y",
            "/reports/x%5cy",
            "/reports/..%5c..%5cx",
            "/reports/x%",
            "/reports/x%2",
            "/reports/x%zz",
            "/reports/x%u002f",
            "/reports/x?y",
            "/reports/x#y",
            "http://host/reports/x",
            &long,
            &long_decoded,
        ];
        assert!(vectors.len() >= 60);
        for path in vectors {
            assert!(parse_upload_path(path).is_err(), "{path:?}");
        }
    }
}
