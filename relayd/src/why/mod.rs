// SPDX-License-Identifier: Apache-2.0
//! Why a run log of a node is missing or old.
//!
//! First all evidence is gathered, within bounds: so many names, files and bytes, and so long for daemon,
//! database and uplink, which are asked at the same time ([`gather`]). Then each check judges, in the order of
//! the way that a run log goes. It does no I/O. The cause is the first *error* in that order; *warnings* are
//! traces of it, such as a file that waits because the database is down. What later stored runs have overtaken
//! is no error ([`traces`]); and nothing is, while the runs of the node come as they should.
//!
//! | check | causes |
//! |---|---|
//! | [`identity`] | unknown, pending, rejected, revoked; no key; another key; not below this server |
//! | [`spool`] | no daemon, no room, no directory; waits, was put off, is left alone, never finished |
//! | [`failed`] | refused for good, and why |
//! | [`uplink`] | the server above is not reached, or takes nothing |
//! | [`database`] | not reached, tables or rights are missing, takes nothing; stored without a start |
//! | [`clock`] | this server's or the node's is wrong |
//! | [`schedule`] | the node does not run, or does not send |

mod bundle;
mod clock;
mod database;
mod failed;
pub mod files;
pub mod gather;
mod identity;
mod schedule;
mod spool;
pub mod stored;
mod traces;
mod uplink;

use chrono::{DateTime, Utc};
use serde::Serialize;

pub use self::gather::{AmbiguousName, Bounds, Evidence};
use crate::finding::{Finding, Level};

/// What is the case with a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Its last run was stored in time.
    Fresh,
    /// Runs of it are stored, the last one too long ago.
    Stale,
    /// No run of it is stored.
    Missing,
    /// This server does not store runs, or could not look.
    Unknown,
}

/// The answer.
#[derive(Debug, Serialize)]
pub struct Answer {
    /// Whom it is about: the id, or what was asked for where there is no such node.
    pub node: String,
    /// Its host name, where that is known.
    pub hostname: Option<String>,
    /// How it is.
    pub verdict: Verdict,
    /// Start of the last run that was stored.
    pub last_run: Option<DateTime<Utc>>,
    /// Why, if that was found.
    pub cause: Option<Finding>,
    /// All that was found, in the order of the checks.
    pub findings: Vec<Finding>,
    /// Names of files that were looked at.
    pub names_read: usize,
    /// How long it took, in milliseconds.
    pub milliseconds: u64,
}

/// A check: what the evidence says about one part of the way.
type Check = fn(&Evidence<'_>) -> Vec<Finding>;

/// In the order of the way.
const CHECKS: [(&str, Check); 7] = [
    (identity::NAME, identity::check),
    (spool::NAME, spool::check),
    (failed::NAME, failed::check),
    (uplink::NAME, uplink::check),
    (database::NAME, database::check),
    (clock::NAME, clock::check),
    (schedule::NAME, schedule::check),
];

/// Judges.
pub fn judge(evidence: &Evidence<'_>) -> Answer {
    let mut findings = Vec::new();
    for (name, check) in CHECKS {
        let found = check(evidence);
        match found.is_empty() {
            true => findings.push(Finding::fine(name, "nothing here keeps a run log back")),
            false => findings.extend(found),
        }
    }
    let verdict = schedule::verdict(evidence);
    if verdict == Verdict::Fresh {
        // Nothing has kept them back: the rest is for whoever looks after the server.
        findings = findings.into_iter().map(|finding| finding.at_most(Level::Warning)).collect();
    }
    Answer {
        node: evidence.node.as_ref().map_or_else(|| evidence.asked.to_owned(), ToString::to_string),
        hostname: evidence.entry().map(|entry| entry.hostname.clone()),
        verdict,
        last_run: evidence.stored().and_then(|stored| stored.runs.first()).map(|run| run.start),
        cause: findings.iter().find(|finding| finding.level == Level::Error).cloned(),
        findings,
        names_read: evidence.files.names_read,
        milliseconds: u64::try_from(evidence.begun.elapsed().as_millis()).unwrap_or(u64::MAX),
    }
}
