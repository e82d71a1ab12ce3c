// SPDX-License-Identifier: Apache-2.0
//! Writing one batch of run logs in one transaction.
//!
//! Which of them are new is decided inside that transaction by the ledger, so a batch can be written
//! again after any failure, also one in which the answer to COMMIT was lost (design 1.2).
//!
//! Run logs of a batch differ in node and start ([`Entry::key`]); the batcher sees to that.

use chrono::{DateTime, Utc};
use diesel::result::Error;
use protocol::run_log::{Report, RunLog};

use super::{write_postgres, write_sqlite};
use crate::{
    compliance::{Compliance, Run, results::RunResults},
    db::Connection,
};

/// A run log to write.
#[derive(Clone, Copy)]
pub(super) struct Entry<'a> {
    /// SHA-256 of the verified content.
    pub(super) digest: &'a [u8; 32],
    /// Name of the file it came in.
    pub(super) file: &'a str,
    /// The run log; has reports.
    pub(super) log: &'a RunLog<'a>,
    /// Its counted results, if it is complete.
    pub(super) results: Option<&'a RunResults>,
}

/// How writing one run log of a committed batch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Its rows are there now.
    Stored,
    /// They were there before.
    AlreadyStored,
    /// Another run log with the same node and start is stored; nothing of this one is.
    Conflict,
}

/// Whether a batch is for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Commit it.
    Store,
    /// Do everything but the commit, to see whether that works.
    Rehearse,
}

/// Writes a batch; gives a verdict for each of its run logs, in their order. An error means that
/// nothing was written, unless the connection was lost during COMMIT.
pub(super) fn write(
    connection: &mut Connection,
    entries: &[Entry<'_>],
    compliance: &Compliance,
    purpose: Purpose,
) -> Result<Vec<Verdict>, Error> {
    match connection {
        Connection::Postgres(connection) => write_postgres::write(connection, entries, compliance, purpose),
        Connection::Sqlite(connection) => write_sqlite::write(connection, entries, compliance, purpose),
    }
}

impl<'a> Entry<'a> {
    /// The node.
    pub(super) fn node(&self) -> &'a str {
        self.log.node_id.as_str()
    }

    /// Start of the run.
    pub(super) fn start(&self) -> DateTime<Utc> {
        self.log.start.with_timezone(&Utc)
    }

    /// What is unique in `reportsexecution`, dates in the precision that databases keep.
    pub(super) fn key(&self) -> (&'a str, i64) {
        (self.node(), self.log.start.timestamp_micros())
    }

    /// The run that it makes of its node's state, if it is complete.
    pub(super) fn run(&self) -> Option<Run<'a>> {
        self.results.map(|results| Run {
            node: self.node(),
            start: self.log.start.timestamp(),
            config_id: self.log.config_id.as_deref(),
            results,
            reports: &self.log.reports,
        })
    }

    /// Its first report, by which existing daemons know what they stored (protocol 4.3).
    pub(super) fn first(&self) -> Option<&'a Report<'a>> {
        self.log.reports.first()
    }

    /// How many rows.
    pub(super) fn rows(&self) -> usize {
        self.log.reports.len()
    }
}

/// Indexes of entries by start of the run: readers take the highest `insertionid` of a node for its
/// newest run (protocol 4.5), also when a backlog comes in another order.
pub(super) fn by_start(entries: &[Entry<'_>]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..entries.len()).collect();
    order.sort_by_key(|&i| entries.get(i).map(Entry::start));
    order
}
