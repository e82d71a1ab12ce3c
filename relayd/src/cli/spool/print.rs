// SPDX-License-Identifier: Apache-2.0
//! What `relayd spool` prints: a table for people, JSON lines for programs.

use std::io::{self, Write};

use serde_json::json;

use super::entries::Entry;
use crate::cli::output::short;
use crate::spool::disposition::printable;

/// A list being printed, entry by entry: a spool may hold millions.
pub struct Listing<'a, W> {
    out: &'a mut W,
    json: bool,
    queued: u64,
    failed: u64,
}

impl<'a, W: Write> Listing<'a, W> {
    /// An empty list.
    pub fn new(out: &'a mut W, json: bool) -> Self {
        Self { out, json, queued: 0, failed: 0 }
    }

    /// Prints one line.
    pub fn entry(&mut self, entry: &Entry) -> io::Result<()> {
        if self.json {
            return writeln!(self.out, "{}", json_of(entry));
        }
        if self.queued + self.failed == 0 {
            writeln!(
                self.out,
                "{:<17} {:<6} {:>10} {:>8}  {:<17} NAME",
                "SPOOL", "STATE", "BYTES", "AGE", "REASON"
            )?;
        }
        let state = if entry.failed { "failed" } else { "queued" };
        *(if entry.failed { &mut self.failed } else { &mut self.queued }) += 1;
        let reason = entry.reason.as_ref().map_or("-".into(), |reason| printable(&reason.reason));
        let (age, name) = (entry.age.map_or("-".into(), short), printable(&entry.name));
        let (spool, size) = (entry.kind.segment(), entry.size);
        writeln!(self.out, "{spool:<17} {state:<6} {size:>10} {age:>8}  {reason:<17} {name}")
    }

    /// Prints the totals.
    pub fn finish(self) -> io::Result<()> {
        match self.json {
            true => Ok(()),
            false => writeln!(self.out, "{} queued, {} failed", self.queued, self.failed),
        }
    }
}

/// Prints all about one file.
pub fn show(out: &mut impl Write, entry: &Entry, json: bool) -> io::Result<()> {
    if json {
        return writeln!(out, "{}", json_of(entry));
    }
    writeln!(out, "file      {}", printable(&entry.path.to_string_lossy()))?;
    writeln!(out, "spool     {}", entry.kind.segment())?;
    writeln!(out, "state     {}", if entry.failed { "failed" } else { "queued" })?;
    writeln!(out, "size      {} bytes", entry.size)?;
    writeln!(out, "modified  {}", entry.modified_text().unwrap_or_else(|| "-".into()))?;
    writeln!(out, "node      {}", entry.node_id().unwrap_or_else(|| "-".into()))?;
    writeln!(out, "queue id  {}", entry.queue_id())?;
    match &entry.reason {
        Some(reason) => {
            writeln!(out, "reason    {}", printable(&reason.reason))?;
            writeln!(out, "detail    {}", printable(&reason.detail))?;
            writeln!(out, "failed at {}", printable(&reason.time))
        }
        None if entry.failed => writeln!(out, "reason    unknown: no readable reason file beside it"),
        None => Ok(()),
    }
}

fn json_of(entry: &Entry) -> serde_json::Value {
    json!({
        "name": entry.name,
        "path": entry.path.to_string_lossy(),
        "spool": entry.kind.segment(),
        "state": if entry.failed { "failed" } else { "queued" },
        "size": entry.size,
        "modified": entry.modified_text(),
        "node_id": entry.node_id(),
        "queue_id": entry.queue_id(),
        "reason": entry.reason.as_ref().map(|reason| &reason.reason),
        "detail": entry.reason.as_ref().map(|reason| &reason.detail),
        "failed_at": entry.reason.as_ref().map(|reason| &reason.time),
    })
}
