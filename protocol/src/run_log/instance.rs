// SPDX-License-Identifier: Apache-2.0
//! Which machine a run log comes from: a control report right after the start, by which two machines
//! with one identity, and restored snapshots of one, are noticed.

use std::net::IpAddr;

use chrono::{DateTime, FixedOffset};

use super::{Report, RunLog};

/// The component of the report.
pub const COMPONENT: &str = "instance";

/// Longest boot id, in characters.
const MAX_BOOT_ID: usize = 64;

/// What a machine says about itself.
///
/// **Shape** of the report: that of `start` (protocol 3.6), with component `instance`, the counter as
/// key value, and `boot=<boot id> address=<address or ->` as message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Runs of this node; never goes back on one machine.
    pub counter: u64,
    /// Made anew by each start of the system: 1 to 64 letters, digits and hyphens.
    pub boot_id: String,
    /// Its own address on the last connection to its policy server.
    pub address: Option<IpAddr>,
}

impl Instance {
    /// The message of the report.
    pub fn message(&self) -> String {
        let address = self.address.map_or_else(|| "-".to_owned(), |address| address.to_string());
        format!("boot={} address={address}", self.boot_id)
    }

    /// The report.
    pub fn report(&self, execution: DateTime<FixedOffset>, start: DateTime<FixedOffset>) -> Report<'static> {
        Report {
            execution,
            policy: "Common",
            event_type: "control",
            rule_id: "rudder",
            directive_id: "run",
            report_id: "0",
            component: COMPONENT.into(),
            key_value: self.counter.to_string().into(),
            start,
            message: self.message().into(),
        }
    }
}

/// What the first report of this kind in a run log says, if it is well-formed.
pub fn of(log: &RunLog<'_>) -> Option<Instance> {
    let report = log.reports.iter().find(|r| {
        r.component == COMPONENT
            && (r.event_type, r.policy, r.rule_id, r.directive_id) == ("control", "Common", "rudder", "run")
    })?;
    let (boot_id, address) = report.message.strip_prefix("boot=")?.split_once(" address=")?;
    let is_boot_id = (1..=MAX_BOOT_ID).contains(&boot_id.len())
        && boot_id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if !is_boot_id || !report.key_value.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let address = match address {
        "-" => None,
        address => Some(address.parse().ok()?),
    };
    Some(Instance { counter: report.key_value.parse().ok()?, boot_id: boot_id.to_owned(), address })
}
