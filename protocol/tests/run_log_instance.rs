// SPDX-License-Identifier: Apache-2.0
//! The control report that says which machine a run log comes from.
#![allow(missing_docs)]

use chrono::{DateTime, FixedOffset};
use proptest::prelude::*;
use protocol::{
    node_id::NodeId,
    run_log::{
        self,
        instance::{self, Instance},
        print::{end_report, start_report, write_report_line},
    },
};

const BOOT: &str = "6bb7b3a2-0b0c-4c3f-9a4e-0123456789ab";

fn start() -> DateTime<FixedOffset> {
    "2026-11-22T06:00:00+01:00".parse().unwrap()
}

/// A run log of start, these reports, and end.
fn log_with(reports: &[run_log::Report<'_>]) -> String {
    let mut text = String::new();
    write_report_line(&mut text, &start_report(start(), start(), "config-1"), &NodeId::root());
    reports.iter().for_each(|report| write_report_line(&mut text, report, &NodeId::root()));
    write_report_line(&mut text, &end_report(start(), start(), "config-1"), &NodeId::root());
    text
}

fn found(text: &str) -> Option<Instance> {
    instance::of(&run_log::parse(text, &NodeId::root()).unwrap())
}

#[test]
fn the_report_is_found_and_changes_nothing_else() {
    let instance =
        Instance { counter: 42, boot_id: BOOT.into(), address: Some("192.0.2.7".parse().unwrap()) };
    let text = log_with(&[instance.report(start(), start())]);
    assert!(
        text.lines().nth(1).unwrap().ends_with(&format!(
            "R: @@Common@@control@@rudder@@run@@0@@instance@@42@@2026-11-22 06:00:00+01:00##root@#boot={BOOT} address=192.0.2.7"
        )),
        "{text}"
    );
    let parsed = run_log::parse(&text, &NodeId::root()).unwrap();
    assert_eq!(instance::of(&parsed), Some(instance));
    assert_eq!(
        (parsed.config_id.as_deref(), parsed.complete, parsed.start),
        (Some("config-1"), true, start())
    );
    assert_eq!((parsed.reports.len(), parsed.other_starts, parsed.skipped.len()), (3, 0, 0));
    assert_eq!(found(&log_with(&[])), None);
}

#[test]
fn the_report_alone_makes_no_log_complete() {
    let instance = Instance { counter: 1, boot_id: BOOT.into(), address: None };
    let mut text = String::new();
    write_report_line(&mut text, &instance.report(start(), start()), &NodeId::root());
    let parsed = run_log::parse(&text, &NodeId::root()).unwrap();
    assert_eq!((parsed.config_id, parsed.complete), (None, false));
}

#[test]
fn malformed_and_other_reports_say_nothing() {
    let good = Instance { counter: 1, boot_id: BOOT.into(), address: None }.report(start(), start());
    let with = |key_value: &str, message: &str| {
        let report = run_log::Report {
            key_value: key_value.to_owned().into(),
            message: message.to_owned().into(),
            ..good.clone()
        };
        found(&log_with(&[report]))
    };
    assert!(with("1", "boot=x address=-").is_some());
    assert!(with("18446744073709551615", "boot=x address=2001:db8::1").is_some());
    for (key_value, message) in [
        ("", "boot=x address=-"),
        ("-1", "boot=x address=-"),
        ("+1", "boot=x address=-"),
        ("1.0", "boot=x address=-"),
        ("18446744073709551616", "boot=x address=-"),
        ("1", "boot= address=-"),
        ("1", "boot=x"),
        ("1", "address=- boot=x"),
        ("1", "boot=x y address=-"),
        ("1", "boot=x_y address=-"),
        ("1", "boot=x address="),
        ("1", "boot=x address=host"),
        ("1", "boot=x address=- more"),
        ("1", &format!("boot={} address=-", "x".repeat(65))),
    ] {
        assert_eq!(with(key_value, message), None, "{key_value:?} {message:?}");
    }
    for report in [
        run_log::Report { event_type: "log_info", ..good.clone() },
        run_log::Report { policy: "Other", ..good.clone() },
        run_log::Report { rule_id: "other", ..good.clone() },
        run_log::Report { directive_id: "other", ..good.clone() },
        run_log::Report { component: "start".into(), ..good.clone() },
    ] {
        assert_eq!(found(&log_with(&[report])), None);
    }
}

#[test]
fn the_first_report_counts() {
    let instance = |counter| Instance { counter, boot_id: BOOT.into(), address: None };
    let reports = [1, 2].map(|counter| instance(counter).report(start(), start()));
    assert_eq!(found(&log_with(&reports)), Some(instance(1)));
}

proptest! {
    #[test]
    fn what_is_written_is_read(counter: u64, boot_id in "[a-zA-Z0-9-]{1,64}", address: Option<std::net::IpAddr>) {
        let instance = Instance { counter, boot_id, address };
        prop_assert_eq!(found(&log_with(&[instance.report(start(), start())])), Some(instance));
    }
}
