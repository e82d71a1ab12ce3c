// SPDX-License-Identifier: Apache-2.0
//! What several commands print and ask.

use std::io::{self, IsTerminal};

use chrono::{DateTime, SecondsFormat, Utc};
use clap::ValueEnum;
use protocol::private_key::KeyKind;

pub use crate::spool::clock::short;

/// Which key to make.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub enum KeyArg {
    /// RSA, 4096 bits.
    #[default]
    Rsa4096,
    /// ECDSA on P-256.
    P256,
}

impl From<KeyArg> for KeyKind {
    fn from(key: KeyArg) -> Self {
        match key {
            KeyArg::Rsa4096 => Self::Rsa4096,
            KeyArg::P256 => Self::P256,
        }
    }
}

/// RFC 3339, UTC, to the second.
pub fn date(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// `1 node`, `2 nodes`.
pub fn counted(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// `512 B`, `1.4 KiB`, `20 MiB`.
pub fn bytes(size: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut number, mut unit) = (size as f64, 0);
    while number >= 1024.0 && unit + 1 < UNITS.len() {
        (number, unit) = (number / 1024.0, unit + 1);
    }
    match unit {
        0 => format!("{size} B"),
        _ if number < 10.0 => format!("{number:.1} {}", UNITS[unit]),
        _ => format!("{number:.0} {}", UNITS[unit]),
    }
}

/// Asks on the terminal; `None` when nobody can be asked.
pub fn confirm(question: &str) -> io::Result<Option<bool>> {
    if !io::stdin().is_terminal() {
        return Ok(None);
    }
    eprint!("{question} [y/N] ");
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(Some(matches!(answer.trim(), "y" | "Y" | "yes")))
}
