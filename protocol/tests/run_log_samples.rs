// SPDX-License-Identifier: Apache-2.0
//! Run logs of real agents give the documented result. Skipped where the samples are not at hand;
//! `RELAYD_FIXTURES` says where they are.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use protocol::{
    node_id::NodeId,
    run_id::RunLogName,
    run_log::{self, RunLog, RunLogError, SkipReason, json},
};

const NODE: &str = "e745a140-40bc-4b86-b6dc-084488fc906b";

fn samples() -> Option<PathBuf> {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/fixtures");
    let directory = std::env::var_os("RELAYD_FIXTURES").map_or(default, PathBuf::from);
    if !directory.is_dir() {
        eprintln!("skipped: no samples of run logs here, set RELAYD_FIXTURES");
        return None;
    }
    Some(directory)
}

fn text(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned()
}

fn counts(run_log: &RunLog<'_>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for report in &run_log.reports {
        *counts.entry(report.event_type.to_owned()).or_default() += 1;
    }
    counts
}

fn table(rows: &[(&str, usize)]) -> BTreeMap<String, usize> {
    rows.iter().map(|(event_type, count)| ((*event_type).to_owned(), *count)).collect()
}

/// Parses a sample and compares it with the JSON file beside it, if there is one.
fn check(directory: &Path, stem: &str, then: impl FnOnce(&RunLog<'_>)) {
    let path = directory.join("runlogs").join(format!("{stem}.log"));
    let name: RunLogName = format!("{stem}.log").parse().unwrap();
    let text = text(&path);
    let run_log = run_log::parse(&text, &name.run_id().node_id).unwrap();
    if let Ok(expected) = fs::read(path.with_extension("json")) {
        let mut found = serde_json::to_value(json::View::new(name.run_id(), &run_log)).unwrap();
        found.as_object_mut().unwrap().remove("skipped");
        assert_eq!(found, serde_json::from_slice::<serde_json::Value>(&expected).unwrap(), "{stem}");
    }
    then(&run_log);
}

#[test]
fn a_whole_log() {
    let Some(directory) = samples() else { return };
    check(&directory, &format!("2017-08-24T15_55_01+00_00@{NODE}"), |run_log| {
        assert!(run_log.complete && run_log.skipped.is_empty());
        assert_eq!(run_log.config_id.as_deref(), Some("20180824-130007-3ad37587"));
        let expected = [
            ("control", 2),
            ("result_success", 35),
            ("result_na", 6),
            ("log_repaired", 3),
            ("result_repaired", 1),
            ("log_info", 19),
            ("log_warn", 4),
            ("audit_noncompliant", 2),
        ];
        assert_eq!(counts(run_log), table(&expected));
    });
}

#[test]
fn a_log_with_a_broken_report_and_another_start() {
    let Some(directory) = samples() else { return };
    check(&directory, &format!("2018-08-24T15_55_01+00_00@{NODE}"), |run_log| {
        assert_eq!((run_log.reports.len(), run_log.other_starts, run_log.complete), (72, 1, true));
        assert_eq!(run_log.config_id.as_deref(), Some("20180824-130007-3ad37587"));
        let [skipped] = &run_log.skipped[..] else { panic!("{:?}", run_log.skipped) };
        assert_eq!((skipped.line, skipped.reason), (4, SkipReason::BrokenReport));
        assert!(skipped.text.ends_with("R: @@Common@@"));
    });
}

#[test]
fn a_log_of_another_node_is_refused() {
    let Some(directory) = samples() else { return };
    let other = "e745a140-40bc-4b86-b6dc-084488fc906c";
    let text = text(&directory.join(format!("runlogs/2018-08-24T15_55_01+00_00@{other}.log")));
    match run_log::parse(&text, &other.parse().unwrap()) {
        Err(RunLogError::OtherNode { line, expected, found }) => {
            assert_eq!((line, expected.as_str(), found.as_str()), (1, other, NODE));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_log_with_many_log_lines() {
    let Some(directory) = samples() else { return };
    check(&directory, "2019-12-02T14_24_20+00_00@root", |run_log| {
        assert_eq!(run_log.config_id.as_deref(), Some("20191202-150503-68b01c0f"));
        assert!(run_log.skipped.is_empty());
        let expected = [
            ("log_info", 53),
            ("result_success", 33),
            ("log_warn", 7),
            ("result_na", 6),
            ("control", 2),
            ("result_repaired", 1),
            ("result_error", 1),
            ("log_repaired", 1),
        ];
        assert_eq!(counts(run_log), table(&expected));
    });
}

#[test]
fn a_log_of_a_windows_agent() {
    let Some(directory) = samples() else { return };
    check(&directory, &format!("2020-04-07T11_20_58+00_00@{NODE}"), |run_log| {
        assert_eq!((run_log.reports.len(), run_log.complete), (9, true));
        assert_eq!(run_log.config_id.as_deref(), Some("20200407-053748-e976e8d5"));
        assert_eq!(run_log.start.to_rfc3339(), "2020-04-07T13:20:57+02:00");
        assert!(run_log.reports[8].message.contains('\u{fffd}'));
    });
}

#[test]
fn a_log_with_crlf_and_one_without_time_stamps() {
    let Some(directory) = samples() else { return };
    let crlf = text(&directory.join("smime/normal.log"));
    let run_log = run_log::parse(&crlf, &NodeId::root()).unwrap();
    assert_eq!((run_log.reports.len(), run_log.skipped.len()), (71, 0));
    let untimed = text(&directory.join("gz/normal.log"));
    assert_eq!(run_log::parse(&untimed, &NodeId::root()), Err(RunLogError::Empty));
}
