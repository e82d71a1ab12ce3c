// SPDX-License-Identifier: Apache-2.0
//! Findings on a terminal.

use std::io::{self, Write};

use crate::{
    finding::{Finding, Level},
    spool::disposition::printable,
};

/// Prints one: what is wrong where, and below it what to do.
pub fn print(out: &mut impl Write, finding: &Finding) -> io::Result<()> {
    let level = match finding.level {
        Level::Fine => "ok",
        Level::Unknown => "unknown",
        Level::Warning => "warning",
        Level::Error => "error",
    };
    write!(out, "{level:<8} {:<13} ", finding.check)?;
    if let Some(place) = &finding.place {
        write!(out, "{}: ", printable(place))?;
    }
    writeln!(out, "{}", printable(&finding.text))?;
    match &finding.remedy {
        Some(remedy) => writeln!(out, "{:<22} -> {}", "", printable(remedy)),
        None => Ok(()),
    }
}
