// SPDX-License-Identifier: Apache-2.0
//! `agent run`: from a command to a run log that servers accept.

use std::{
    fs,
    io::Write,
    process::{Command, Stdio},
};

use protocol::{compression, run_log};
use rustix::process::Signal;
use serde_json::Value;

use crate::node::{Node, eventually, is_gone, signal, text};

const REPORT: &str =
    r#"report() { echo "R: @@p@@$1@@r@@d@@0@@$2@@k@@$AGENT_RUN_START##$AGENT_NODE_ID@#$3"; }; "#;

#[test]
fn other_output_gives_a_report_of_the_exit_status() {
    let node = Node::new();
    let output = node.policies("echo hello; echo oh >&2; exit 3");
    assert!(output.status.success());
    let rows = node.rows(&node.newest_log());
    let has = |event: &str, component: &str, message: &str| {
        rows.contains(&(event.to_owned(), component.to_owned(), message.to_owned()))
    };
    assert_eq!(rows.len(), 5);
    assert!(has("log_info", "sh", "hello") && has("log_warn", "sh", "oh"));
    assert!(has("result_error", "sh", "exit status 3"));
    let shown = text(&output.stdout);
    assert!(shown.contains("warn  oh") && shown.contains("0 compliant, 0 repaired, 1 in error"), "{shown}");
}

#[test]
fn reports_are_kept_framed_and_shown() {
    let node = Node::new();
    node.rudder_json(r#"{"RUDDER_NODE_CONFIG_ID": "v7"}"#);
    let script = format!("{REPORT} report result_repaired File made; report audit_compliant User fine");
    let output = node.agent(&["run", "--json", "--", "sh", "-c", &script]);
    let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(shown["summary"]["repaired"], 1);
    assert_eq!(shown["components"][1]["state"], "compliant");
    assert_eq!(shown["config_id"], "v7");
    assert_eq!(shown["send"], Value::Null);
    let log = node.newest_log();
    assert_eq!(
        node.rows(&log).iter().map(|row| row.0.as_str()).collect::<Vec<_>>(),
        ["control", "result_repaired", "audit_compliant", "control"]
    );
}

#[test]
fn a_failed_status_after_reports_is_an_error_of_its_own() {
    let node = Node::new();
    node.policies(&format!("{REPORT} report result_success File fine; exit 1"));
    let rows = node.rows(&node.newest_log());
    assert_eq!(rows[1].0, "result_success");
    assert_eq!(rows[2], ("result_error".into(), "sh".into(), "exit status 1".into()));
}

#[test]
fn stock_openssl_accepts_the_signature() {
    let node = Node::new();
    node.policies("printf 'caf\\303\\251 \\377 a\\000b\\rsecond\\r\\nthird'");
    let name = node.ready().pop().unwrap();
    let packed = fs::read(node.paths.ready().join(name)).unwrap();
    let signed = compression::unpack(&packed, compression::Compression::Gzip, 1 << 20).unwrap();
    let mut openssl = Command::new("openssl")
        .args(["smime", "-verify", "-text", "-nointern", "-noverify", "-certfile"])
        .arg(&node.paths.certificate)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    openssl.stdin.take().unwrap().write_all(&signed).unwrap();
    let output = openssl.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let messages: Vec<_> =
        node.rows(&text(&output.stdout).replace("\r\n", "\n")).into_iter().map(|r| r.2).collect();
    assert_eq!(messages[1..4], ["café \u{FFFD} a\u{FFFD}b", "second", "third"]);
}

#[test]
fn the_time_limit_ends_the_group_and_what_was_said_is_kept() {
    let node = Node::new();
    // Also a busy machine gets as far as the last command within that limit.
    node.settings("time_limit = \"3s\"\nstop_grace = \"1s\"\n");
    let script = format!(
        "{REPORT} report result_success File fine; (trap '' TERM; sleep 300) & echo pid $!; sleep 300"
    );
    assert!(node.policies(&script).status.success());
    let log = node.newest_log();
    let rows = node.rows(&log);
    let error = rows.iter().find(|row| row.0 == "result_error").unwrap();
    assert!(error.2.contains("longer than 3s"), "{error:?}");
    let fine = rows.iter().find(|row| row.0 == "result_success").unwrap();
    let pid = fine.2.split_once("pid ").unwrap().1.trim();
    eventually("the grandchild ends", || is_gone(pid).then_some(()));
}

#[test]
fn a_stopped_run_keeps_its_log() {
    let node = Node::new();
    let marker = node.root().join("marker");
    let script = format!("echo begun; touch {}; sleep 300", marker.display());
    let child = node.command(&["run", "--", "sh", "-c", &script]).stdout(Stdio::piped()).spawn().unwrap();
    eventually("the command runs", || marker.exists().then_some(()));
    signal(&child, Signal::TERM);
    assert!(child.wait_with_output().unwrap().status.success());
    let rows = node.rows(&node.newest_log());
    assert_eq!(rows[1].2, "begun");
    assert!(rows[2].2.contains("told to stop"), "{rows:?}");
}

#[test]
fn one_run_at_a_time_and_the_second_hears_who_runs() {
    let node = Node::new();
    let (marker, end) = (node.root().join("marker"), node.root().join("end"));
    let script = format!("touch {}; until [ -e {} ]; do sleep 0.1; done", marker.display(), end.display());
    let mut first = node.command(&["run", "--", "sh", "-c", &script]).stdout(Stdio::null()).spawn().unwrap();
    eventually("the first runs", || marker.exists().then_some(()));
    let second = node.policies("true");
    assert_eq!(second.status.code(), Some(3));
    assert!(text(&second.stderr).contains(&format!("process {}", first.id())), "{}", text(&second.stderr));
    fs::write(end, "").unwrap();
    assert!(first.wait().unwrap().success());
    assert_eq!(node.ready().len(), 1);
}

#[test]
fn runs_in_one_second_have_names_of_their_own() {
    let node = Node::new();
    for _ in 0..3 {
        assert!(node.policies("true").status.success());
    }
    assert_eq!(node.ready().len(), 3);
}

#[test]
fn a_killed_run_leaves_the_outbox_whole_and_the_next_one_alone() {
    let node = Node::new();
    let marker = node.root().join("marker");
    let script = format!("echo $$ > {}; exec sleep 300", marker.display());
    let mut child = node.command(&["run", "--", "sh", "-c", &script]).stdout(Stdio::null()).spawn().unwrap();
    let pid =
        eventually("the command runs", || fs::read_to_string(&marker).ok().filter(|t| t.ends_with('\n')));
    eventually("it is remembered", || node.paths.state.join("running.json").exists().then_some(()));
    signal(&child, Signal::KILL);
    child.wait().unwrap();
    assert!(!is_gone(pid.trim()), "the command lives on");
    // What a kill in the middle of the write leaves.
    let half =
        node.paths.temporary.join(format!("2026-01-01T00:00:00+00:00@{}.log.gz.tmp", node.identity.node_id));
    fs::write(&half, "half").unwrap();
    assert_eq!(node.ready().len(), 0);
    let look = format!("cat /proc/{}/stat 2>/dev/null", pid.trim());
    let next = node.policies(&format!("case $({look}) in ''|*') Z '*) echo alone;; esac"));
    assert!(next.status.success() && text(&next.stderr).contains("was ended"), "{next:?}");
    assert_eq!(node.ready().len(), 1);
    assert!(node.newest_log().contains("alone"), "the command still ran beside the next");
    assert!(!half.exists());
}

#[test]
fn runaway_output_is_cut_and_the_log_says_so() {
    let node = Node::new();
    node.settings("max_output_size = \"100kB\"\n");
    assert!(
        node.policies("yes | head -n 2000000; head -c 3000000 /dev/zero | tr '\\0' 'x'").status.success()
    );
    let rows = node.rows(&node.newest_log());
    let kept = rows.iter().filter(|row| row.2 == "y").count();
    assert!((40_000..=50_000).contains(&kept), "{kept}");
    let note = &rows[kept + 1].2;
    let dropped: usize = note.split(' ').find_map(|word| word.parse().ok()).unwrap();
    assert!((6_800_000..7_000_000).contains(&dropped), "{note}");
    assert_eq!(rows[kept + 2].0, "result_success");
}

#[test]
fn output_that_does_not_compress_is_cut_to_what_servers_take() {
    let node = Node::new();
    node.settings("max_output_size = \"32MiB\"\n");
    assert!(node.policies("head -c 16000000 /dev/urandom | base64 -w 200").status.success());
    let path = node.paths.ready().join(node.ready().pop().unwrap());
    assert!(fs::metadata(path).unwrap().len() <= protocol::limits::RUN_LOG_COMPRESSED);
    let log = node.newest_log();
    assert!(log.contains("were dropped"));
}

#[test]
fn changes_only_leaves_out_what_is_fine() {
    let node = Node::new();
    node.rudder_json(r#"{"RUDDER_REPORT_MODE": "changes-only"}"#);
    let script = format!(
        "{REPORT} report result_success A fine; echo '    info: talk'; echo ' warning: hm'; report result_repaired B made"
    );
    let output = node.policies(&script);
    assert!(text(&output.stdout).contains("1 compliant, 1 repaired"), "the operator sees all");
    let rows = node.rows(&node.newest_log());
    assert_eq!(
        rows.iter().map(|row| row.0.as_str()).collect::<Vec<_>>(),
        ["control", "log_warn", "result_repaired", "control"]
    );
    assert_eq!((rows[1].1.as_str(), rows[1].2.as_str()), ("B", "hm"));
}

#[test]
fn initial_policies_and_disabled_reports_leave_no_run_log() {
    for json in [r#"{"INITIAL": true}"#, r#"{"RUDDER_REPORT_MODE": "reports-disabled"}"#] {
        let node = Node::new();
        node.rudder_json(json);
        let output = node.policies("true");
        assert!(output.status.success());
        assert!(text(&output.stdout).contains("1 compliant"));
        assert_eq!(node.ready().len(), 0);
    }
}

#[test]
fn a_command_that_is_not_there_is_reported() {
    let node = Node::new();
    let output = node.agent(&["run", "--strict", "--", "/no/such/command"]);
    assert_eq!(output.status.code(), Some(4));
    let rows = node.rows(&node.newest_log());
    assert_eq!((rows[1].0.as_str(), rows[1].1.as_str()), ("result_error", "command"));
    assert!(rows[1].2.contains("cannot be started"));
}

#[test]
fn hostile_output_does_not_drive_the_terminal() {
    let node = Node::new();
    let output = node.agent(&["run", "--color", "never", "--", "sh", "-c", "printf 'a\\033[2Jb'; exit 1"]);
    assert!(!output.stdout.contains(&0x1b));
    let coloured = node.agent(&["run", "--color", "always", "--", "false"]);
    assert!(coloured.stdout.contains(&0x1b));
    assert!(run_log::parse(&node.newest_log(), &node.identity.node_id).is_ok());
}
