// SPDX-License-Identifier: Apache-2.0
//! What may be one part of a path, whoever named it.

/// Longest accepted file name, in bytes: what Linux file systems hold.
pub const MAX_FILE_NAME: usize = 255;

/// Why a file name is not safe as one part of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnsafeName {
    /// Nothing there.
    #[error("a file name must not be empty")]
    Empty,
    /// Longer than [`MAX_FILE_NAME`].
    #[error("a file name has at most {MAX_FILE_NAME} bytes, this one has {0}")]
    TooLong(usize),
    /// Hidden, or one of the two special directories.
    #[error("a file name must not start with a dot")]
    LeadingDot,
    /// `/`, `\` or a control character.
    #[error("a file name must not hold {0:?}")]
    BadCharacter(char),
}

/// Checks that a name is one part of a path, not hidden, and cannot confuse a log.
pub fn check(name: &str) -> Result<(), UnsafeName> {
    if name.is_empty() {
        return Err(UnsafeName::Empty);
    }
    if name.len() > MAX_FILE_NAME {
        return Err(UnsafeName::TooLong(name.len()));
    }
    if name.starts_with('.') {
        return Err(UnsafeName::LeadingDot);
    }
    match name.chars().find(|&c| matches!(c, '/' | '\\') || c.is_control()) {
        Some(bad) => Err(UnsafeName::BadCharacter(bad)),
        None => Ok(()),
    }
}
