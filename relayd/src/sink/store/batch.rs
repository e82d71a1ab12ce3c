// SPDX-License-Identifier: Apache-2.0
//! Run logs on their way into one transaction.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError, mpsc::Receiver},
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{
    parsed::Parsed,
    write::{Entry, Verdict},
};
use crate::{
    compliance::results::RunResults,
    spool::disposition::{Disposition, Outcome, Reason, Rejection, Release},
};

/// A run log that waits for its verdict.
pub(super) struct Job {
    /// The run log.
    pub(super) parsed: Parsed,
    /// Its counted results, if it is complete.
    pub(super) results: Option<RunResults>,
    /// SHA-256 of the verified content.
    pub(super) digest: [u8; 32],
    /// Name of the file it came in.
    pub(super) file: Box<str>,
    /// Who waits: the delivery, and those of the same content under other names.
    pub(super) waiting: Vec<oneshot::Sender<Disposition>>,
    /// Its share of the memory budget, given back when this is dropped.
    pub(super) _memory: OwnedSemaphorePermit,
}

impl Job {
    /// As the writers see it.
    pub(super) fn entry(&self) -> Entry<'_> {
        Entry {
            digest: &self.digest,
            file: &self.file,
            log: self.parsed.log(),
            results: self.results.as_ref(),
        }
    }

    /// Says how it ended, after the commit.
    pub(super) fn settle(self, verdict: Verdict) {
        let first = match verdict {
            Verdict::Stored => Disposition::Accepted(Outcome::Stored),
            Verdict::AlreadyStored => Disposition::Accepted(Outcome::AlreadyStored),
            Verdict::Conflict => {
                let log = self.parsed.log();
                Disposition::Rejected(Rejection {
                    reason: Reason::Conflict,
                    detail: format!(
                        "another run log of node {} that started {} is stored",
                        log.node_id, log.start
                    ),
                    maybe_incomplete: false,
                })
            }
        };
        let others = match verdict {
            Verdict::Stored => Disposition::Accepted(Outcome::AlreadyStored),
            _ => first.clone(),
        };
        let mut dispositions = std::iter::once(first);
        for waiting in self.waiting {
            // Nobody waits any more when the daemon stops: the file stays, the ledger knows.
            let _ = waiting.send(dispositions.next().unwrap_or_else(|| others.clone()));
        }
    }

    /// Leaves it for later.
    pub(super) fn release(self, outlet_down: bool, detail: &str, retry_after: Option<Duration>) {
        self.answer(&Disposition::Released(Release {
            outlet_down,
            detail: detail.to_owned(),
            retry_after,
            is_usual: false,
        }));
    }

    /// Refuses it for good.
    pub(super) fn refuse(self, detail: String) {
        self.answer(&Disposition::Rejected(Rejection {
            reason: Reason::DatabaseRefused,
            detail,
            maybe_incomplete: false,
        }));
    }

    fn answer(self, disposition: &Disposition) {
        for waiting in self.waiting {
            let _ = waiting.send(disposition.clone());
        }
    }
}

/// Most run logs in a batch.
const MAX_JOBS: usize = 256;
/// Rows from which a batch takes no more run logs; one run log may have more.
const MAX_ROWS: usize = 20_000;
/// Bytes from which a batch takes no more run logs.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// Takes what is there, up to the limits of a batch; waits for the first. None: no more will come.
///
/// No two run logs in a batch have the same node and start: of the same content only one is
/// written and the others wait with it, another content waits in `deferred` for the next batch.
pub(super) fn collect(queue: &Mutex<Receiver<Job>>, deferred: &mut VecDeque<Job>) -> Option<Vec<Job>> {
    let mut batch = Batch::default();
    for job in std::mem::take(deferred) {
        batch.add(job, deferred);
    }
    let receiver = if batch.jobs.is_empty() {
        let receiver = queue.lock().unwrap_or_else(PoisonError::into_inner);
        batch.add(receiver.recv().ok()?, deferred);
        receiver
    } else {
        // Another writer may hold it, waiting: what was deferred must not wait with it.
        match queue.try_lock() {
            Ok(receiver) => receiver,
            Err(_) => return Some(batch.jobs),
        }
    };
    while batch.has_room() && deferred.len() < MAX_JOBS {
        match receiver.try_recv() {
            Ok(job) => batch.add(job, deferred),
            Err(_) => break,
        }
    }
    Some(batch.jobs)
}

#[derive(Default)]
struct Batch {
    jobs: Vec<Job>,
    rows: usize,
    bytes: usize,
    /// Place in `jobs` by node and start.
    places: HashMap<(String, i64), usize>,
}

impl Batch {
    fn has_room(&self) -> bool {
        self.jobs.len() < MAX_JOBS && self.rows < MAX_ROWS && self.bytes < MAX_BYTES
    }

    fn add(&mut self, job: Job, deferred: &mut VecDeque<Job>) {
        let (node, start) = job.entry().key();
        let key = (node.to_owned(), start);
        let has_room = self.has_room();
        match self.places.get(&key).and_then(|place| self.jobs.get_mut(*place)) {
            Some(same) if same.digest == job.digest => same.waiting.extend(job.waiting),
            Some(_) => deferred.push_back(job),
            None if !has_room => deferred.push_back(job),
            None => {
                self.rows += job.entry().rows();
                self.bytes += job.parsed.weight();
                self.places.insert(key, self.jobs.len());
                self.jobs.push(job);
            }
        }
    }
}
