// SPDX-License-Identifier: Apache-2.0
//! Output of real policy engines, wrapped.

use std::fs;

use protocol::run_log;

use crate::node::{Node, fixtures};

const NODE: &str = "e745a140-40bc-4b86-b6dc-084488fc906b";

#[test]
fn every_engine_gives_a_run_log_that_servers_take() {
    let Some(fixtures) = fixtures() else { return };
    let node = Node::with_id(Some(NODE));
    let mut seen = 0;
    for engine in ["shell", "cfengine", "ansible", "puppet", "salt"] {
        for entry in fs::read_dir(fixtures.join("engines").join(engine)).unwrap() {
            let out = entry.unwrap().path();
            if out.extension().is_none_or(|e| e != "stdout") {
                continue;
            }
            seen += 1;
            let (err, rc) = (out.with_extension("stderr"), out.with_extension("rc"));
            let status = fs::read_to_string(rc).unwrap().trim().trim_start_matches("rc=").to_owned();
            let script = format!("cat {}; cat {} >&2; exit {status}", out.display(), err.display());
            assert!(node.policies(&script).status.success());
            let text = node.newest_log();
            let log = run_log::parse(&text, &node.identity.node_id).unwrap();
            assert!(log.complete, "{}", out.display());
            let last = log.reports.last().unwrap();
            assert_eq!((last.event_type, &*last.component), ("control", "end"), "{}", out.display());
            let own =
                log.reports.iter().filter(|r| r.policy == "Command" && !r.event_type.starts_with("log_"));
            let own: Vec<_> = own.map(|r| r.event_type).collect();
            let said = fs::read_to_string(&out).unwrap();
            let expected = match (said.lines().any(|l| l.starts_with("R: @@")), status.as_str()) {
                (true, "0") => vec![],
                (false, "0") => vec!["result_success"],
                _ => vec!["result_error"],
            };
            assert_eq!(own, expected, "{}", out.display());
            for line in said.lines().filter(|line| line.starts_with("R: @@")) {
                let fields: Vec<_> = line.split("@@").collect();
                let found = log.reports.iter().any(|r| r.event_type == fields[2] && r.component == fields[6]);
                assert!(found, "{}: {line}", out.display());
            }
            if !said.contains("R: @@") {
                let lines = said.lines().count() + fs::read_to_string(&err).unwrap().lines().count();
                let attached = log.reports.iter().filter(|r| r.event_type.starts_with("log_")).count();
                assert!(attached > 0 || lines == 0, "{}", out.display());
            }
        }
    }
    assert!(seen > 20, "only {seen} outputs found");
}
