// SPDX-License-Identifier: Apache-2.0
//! Is it the data or the database? A known-good run log is written and rolled back.
//!
//! When that fails as well, no run log is to blame: rights are missing, a table is locked or gone,
//! the disk is full. diesel does not pass SQLSTATE codes on, and this also covers those that nobody
//! thought of.
//!
//! Each rehearsal is of another node and digest, so that none waits for the keys of another one, in
//! another writer or root. Its run is of the same day, and so in the same partitions.

use std::borrow::Cow;

use chrono::{DateTime, FixedOffset, TimeDelta, Utc};
use openssl::error::ErrorStack;
use protocol::{
    node_id::{NodeId, NodeIdError},
    run_log::{Report, RunLog},
};

use super::write::{Entry, Purpose, write};
use crate::{
    compliance::{Compliance, results::RunResults},
    db::Connection,
};

/// Does everything that storing a run log of that shape would do, but the commit. The error is what
/// the database says.
pub(super) fn rehearse(
    connection: &mut Connection,
    compliance: &Compliance,
    like: &RunLog<'_>,
) -> Result<(), String> {
    // As many reports of as many bytes, all harmless.
    let reports = like
        .reports
        .iter()
        .map(|r| report(like.start, r.message.len() + r.component.len() + r.key_value.len()));
    rehearse_with(connection, compliance, like.start, like.complete, reports.collect())
}

/// As [`rehearse`], of a smallest complete run log.
pub(super) fn rehearse_smallest(connection: &mut Connection, compliance: &Compliance) -> Result<(), String> {
    let now = Utc::now().fixed_offset();
    rehearse_with(connection, compliance, now, true, Vec::new())
}

/// Two runs of one node with other results: then the tables of compliance are all written to as well.
fn rehearse_with(
    connection: &mut Connection,
    compliance: &Compliance,
    start: DateTime<FixedOffset>,
    complete: bool,
    reports: Vec<Report<'static>>,
) -> Result<(), String> {
    let digests = [random_digest().map_err(|e| e.to_string())?, random_digest().map_err(|e| e.to_string())?];
    let node_id = node_of(&digests[0]).map_err(|e| e.to_string())?;
    let rules = digests.map(hex::encode);
    let log = |start, rule_id, mut reports: Vec<Report<'static>>| {
        let result = Report { event_type: "result_success", rule_id, ..report(start, 0) };
        let (config_id, skipped, other_starts) = (Some("0".into()), Vec::new(), 0);
        reports.push(report(start, 0));
        let reports = reports.into_iter().chain([result]).collect();
        RunLog { node_id: node_id.clone(), start, config_id, complete, reports, skipped, other_starts }
    };
    let logs = [log(start, &*rules[0], reports), log(beside(start), &*rules[1], Vec::new())];
    let results = [RunResults::of_run_log(&logs[0]), RunResults::of_run_log(&logs[1])];
    let entry = |n: usize| Entry {
        digest: &digests[n],
        file: "rehearsal",
        log: &logs[n],
        results: results[n].as_ref(),
    };
    let entries = [entry(0), entry(1)];
    write(connection, &entries, compliance, Purpose::Rehearse).map(drop).map_err(|e| e.to_string())
}

/// Another second of the same day.
fn beside(start: DateTime<FixedOffset>) -> DateTime<FixedOffset> {
    let later = start + TimeDelta::seconds(1);
    let is_same_day = later.to_utc().date_naive() == start.to_utc().date_naive();
    if is_same_day { later } else { start - TimeDelta::seconds(1) }
}

fn random_digest() -> Result<[u8; 32], ErrorStack> {
    let mut digest = [0; 32];
    openssl::rand::rand_bytes(&mut digest)?;
    Ok(digest)
}

fn node_of(digest: &[u8; 32]) -> Result<NodeId, NodeIdError> {
    format!("relayd.rehearsal.{}", hex::encode(digest)).parse()
}

fn report(start: DateTime<FixedOffset>, message_bytes: usize) -> Report<'static> {
    Report {
        execution: start,
        policy: "rehearsal",
        event_type: "control",
        rule_id: "rudder",
        directive_id: "run",
        report_id: "0",
        component: Cow::Borrowed("start"),
        key_value: Cow::Borrowed("0"),
        start,
        message: Cow::Owned("x".repeat(message_bytes)),
    }
}
