// SPDX-License-Identifier: Apache-2.0
//! A run log as JSON, in the shape that existing tools write, plus what was skipped.
//!
//! Dates are RFC 3339 with a numeric offset, as the node wrote it.

use chrono::{DateTime, FixedOffset};
use serde::{Serialize, Serializer};

use super::{Report, RunLog, SkipReason};
use crate::{node_id::NodeId, run_id::RunId};

/// A run log with the name it came under, ready to serialise.
#[derive(Debug, Serialize)]
pub struct View<'a> {
    info: Info<'a>,
    config_id: Option<&'a str>,
    reports: Vec<ReportView<'a>>,
    skipped: Vec<SkippedView<'a>>,
}

#[derive(Debug, Serialize)]
struct Info<'a> {
    node_id: &'a NodeId,
    #[serde(serialize_with = "date")]
    timestamp: &'a DateTime<FixedOffset>,
}

#[derive(Debug, Serialize)]
struct ReportView<'a> {
    #[serde(serialize_with = "date")]
    start_datetime: &'a DateTime<FixedOffset>,
    rule_id: &'a str,
    directive_id: &'a str,
    component: &'a str,
    key_value: &'a str,
    event_type: &'a str,
    msg: &'a str,
    policy: &'a str,
    node_id: &'a NodeId,
    #[serde(serialize_with = "date")]
    execution_datetime: &'a DateTime<FixedOffset>,
    report_id: &'a str,
}

#[derive(Debug, Serialize)]
struct SkippedView<'a> {
    line: usize,
    reason: SkipReason,
    text: &'a str,
}

impl<'a> View<'a> {
    /// The view of a run log that came under the name of `run_id`.
    pub fn new(run_id: &'a RunId, run_log: &'a RunLog<'_>) -> Self {
        Self {
            info: Info { node_id: &run_id.node_id, timestamp: &run_id.start },
            config_id: run_log.config_id.as_deref(),
            reports: run_log.reports.iter().map(|report| report_view(report, &run_log.node_id)).collect(),
            skipped: run_log
                .skipped
                .iter()
                .map(|part| SkippedView { line: part.line, reason: part.reason, text: part.text })
                .collect(),
        }
    }
}

fn report_view<'a>(report: &'a Report<'_>, node_id: &'a NodeId) -> ReportView<'a> {
    ReportView {
        start_datetime: &report.start,
        rule_id: report.rule_id,
        directive_id: report.directive_id,
        component: &report.component,
        key_value: &report.key_value,
        event_type: report.event_type,
        msg: &report.message,
        policy: report.policy,
        node_id,
        execution_datetime: &report.execution,
        report_id: report.report_id,
    }
}

fn date<S: Serializer>(date: &DateTime<FixedOffset>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&super::timestamp::print(date))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run_log::parse;

    #[test]
    fn has_the_known_shape() {
        let text = "garbage\n2026-01-02T03:04:05+00:00 R: @@P@@control@@r@@d@@@@start@@c@@2026-01-02 04:04:05+01:00##root@#a\nb\n";
        let run_id = RunId { node_id: NodeId::root(), start: "2026-01-02T03:04:06+00:00".parse().unwrap() };
        let run_log = parse(text, &run_id.node_id).unwrap();
        let expected = serde_json::json!({
            "info": { "node_id": "root", "timestamp": "2026-01-02T03:04:06+00:00" },
            "config_id": "c",
            "reports": [{
                "start_datetime": "2026-01-02T04:04:05+01:00",
                "rule_id": "r",
                "directive_id": "d",
                "component": "start",
                "key_value": "c",
                "event_type": "control",
                "msg": "a\nb",
                "policy": "P",
                "node_id": "root",
                "execution_datetime": "2026-01-02T03:04:05+00:00",
                "report_id": "0",
            }],
            "skipped": [{ "line": 1, "reason": "garbage", "text": "garbage" }],
        });
        assert_eq!(serde_json::to_value(View::new(&run_id, &run_log)).unwrap(), expected);
    }
}
