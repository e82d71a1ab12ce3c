// SPDX-License-Identifier: Apache-2.0
//! Is it the data or the database? A known-good run log is written and rolled back.
//!
//! When that fails as well, no run log is to blame: rights are missing, a table is locked or gone,
//! the disk is full. diesel does not pass SQLSTATE codes on, and this also covers those that nobody
//! thought of.

use std::borrow::Cow;

use chrono::DateTime;
use protocol::{
    node_id::{NodeId, NodeIdError},
    run_log::{Report, RunLog},
};

use super::write::{Entry, Purpose, write};
use crate::db::Connection;

/// Does everything that storing a run log of that shape would do, but the commit. The error is what
/// the database says.
pub(super) fn rehearse(connection: &mut Connection, like: &RunLog<'_>) -> Result<(), String> {
    let log = stand_in(like).map_err(|e| e.to_string())?;
    let entry = Entry { digest: &[0; 32], file: "rehearsal", log: &log };
    write(connection, &[entry], Purpose::Rehearse).map(drop).map_err(|e| e.to_string())
}

/// A smallest run log of that kind.
pub(super) fn rehearse_smallest(connection: &mut Connection) -> Result<(), String> {
    let smallest = RunLog {
        node_id: NodeId::root(),
        start: DateTime::UNIX_EPOCH.fixed_offset(),
        config_id: None,
        complete: true,
        reports: vec![report(0)],
        skipped: Vec::new(),
        other_starts: 0,
    };
    rehearse(connection, &smallest)
}

/// As many reports of as many bytes, all harmless.
fn stand_in(like: &RunLog<'_>) -> Result<RunLog<'static>, NodeIdError> {
    Ok(RunLog {
        node_id: "relayd.rehearsal".parse()?,
        start: DateTime::UNIX_EPOCH.fixed_offset(),
        config_id: Some("0".into()),
        complete: like.complete,
        reports: like
            .reports
            .iter()
            .map(|r| report(r.message.len() + r.component.len() + r.key_value.len()))
            .collect(),
        skipped: Vec::new(),
        other_starts: 0,
    })
}

fn report(message_bytes: usize) -> Report<'static> {
    let epoch = DateTime::UNIX_EPOCH.fixed_offset();
    Report {
        execution: epoch,
        policy: "rehearsal",
        event_type: "control",
        rule_id: "rudder",
        directive_id: "run",
        report_id: "0",
        component: Cow::Borrowed("start"),
        key_value: Cow::Borrowed("0"),
        start: epoch,
        message: Cow::Owned("x".repeat(message_bytes)),
    }
}
