// SPDX-License-Identifier: Apache-2.0
//! How a delivery ends: exactly one of three ways, said by the type that is born where it happens.

use std::time::Duration;

/// How a delivery ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disposition {
    /// The next hop gave its promise, or the rows are committed: the file may go.
    Accepted(Outcome),
    /// For good: the file goes to `failed/` with the reason.
    Rejected(Rejection),
    /// Not now: the file stays.
    Released(Release),
}

/// What accepting meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Stored in the database.
    Stored,
    /// The same content was there already.
    AlreadyStored,
    /// The upstream has it.
    Forwarded,
    /// The file was gone when it was opened: somebody else finished it.
    Vanished,
}

/// Why a file is refused for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The kind, a metric label and the `reason` in the reason file.
    pub reason: Reason,
    /// For people: what exactly.
    pub detail: String,
    /// A file that is still being written looks like this (truncated): while it is young it is
    /// released instead.
    pub maybe_incomplete: bool,
}

/// Kinds of rejection. The text form is stable: it is in metrics and reason files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The file name is not that of what the spool holds.
    BadName,
    /// Not a regular file, or a link.
    NotAFile,
    /// Larger than allowed, packed or unpacked.
    TooLarge,
    /// Cannot be unpacked.
    BadCompression,
    /// The node is not in the node list.
    UnknownNode,
    /// No certificate is known for the node.
    NoCertificate,
    /// Not signed by the node, or not in an acceptable form.
    BadSignature,
    /// The run log itself is unusable (no report, other node…).
    BadContent,
    /// Another run log with the same node and start is stored.
    Conflict,
    /// The database refused these rows, and only these.
    DatabaseRefused,
    /// The upstream refused the file for good.
    UpstreamRefused,
    /// Could not be read.
    Unreadable,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::BadName,
        Self::NotAFile,
        Self::TooLarge,
        Self::BadCompression,
        Self::UnknownNode,
        Self::NoCertificate,
        Self::BadSignature,
        Self::BadContent,
        Self::Conflict,
        Self::DatabaseRefused,
        Self::UpstreamRefused,
        Self::Unreadable,
    ];

    /// The stable text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadName => "bad_name",
            Self::NotAFile => "not_a_file",
            Self::TooLarge => "too_large",
            Self::BadCompression => "bad_compression",
            Self::UnknownNode => "unknown_node",
            Self::NoCertificate => "no_certificate",
            Self::BadSignature => "bad_signature",
            Self::BadContent => "bad_content",
            Self::Conflict => "conflict",
            Self::DatabaseRefused => "database_refused",
            Self::UpstreamRefused => "upstream_refused",
            Self::Unreadable => "unreadable",
        }
    }
}

/// Why a file stays for later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Whether the outlet as a whole is down (database, uplink): the gate closes.
    /// Otherwise only this file waits.
    pub outlet_down: bool,
    /// For people: what happened.
    pub detail: String,
    /// Not before this long.
    pub retry_after: Option<Duration>,
    /// Whether that happens to all such files, and is no news to people.
    pub is_usual: bool,
}

/// Longest text kept from elsewhere for people to read, in characters.
const LONGEST_DETAIL: usize = 1000;

/// The text as it may be shown in logs, reason files and terminals: bounded, on one line, without
/// control characters.
pub fn printable(text: &str) -> String {
    let clean = |c: char| if c.is_control() || is_invisible(c) { char::REPLACEMENT_CHARACTER } else { c };
    text.chars().take(LONGEST_DETAIL).map(clean).collect()
}

/// Characters that end lines or change the direction of text without being control characters.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
