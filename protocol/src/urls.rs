// SPDX-License-Identifier: Apache-2.0
//! Upload paths on a policy server (protocol 2.3, 6.2).

use std::borrow::Cow;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use crate::file_name::{self, UnsafeName};

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
const RESERVED: &AsciiSet = &CONTROLS
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
