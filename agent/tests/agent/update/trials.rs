// SPDX-License-Identifier: Apache-2.0
//! Policies that do not pass, or are not there, and updates that are killed.

use serde_json::Value;

use super::{Machine, files, read};
use crate::{
    node::{text, write},
    shelf::Files,
};

#[test]
fn what_does_not_pass_is_taken_back_and_not_fetched_again() {
    let machine = Machine::new();
    let validate = "echo looked at $AGENT_POLICIES; ! grep -q bad $AGENT_POLICIES/promises.cf";
    machine.node.settings(&format!(
        "validate_command = [\"sh\", \"-c\", {validate:?}]\nvalidate_time_limit = \"1m\"\n"
    ));
    machine.publish(1, &files(&[("promises.cf", "good")]));
    machine.is_updated();
    machine.publish(2, &files(&[("promises.cf", "bad")]));
    machine.fails(5, "looked at");
    assert_eq!(machine.policies(), files(&[("promises.cf", "good")]));
    assert_eq!(machine.beside(), ["inputs"]);
    // One conditional request; told each time.
    let mut seen = machine.server.requests().len();
    machine.fails(5, "have not changed since");
    assert_eq!(machine.asked(&mut seen).len(), 1);
    let output = machine.node.agent(&["run", "--", "true"]);
    assert!(text(&output.stderr).contains("have not changed since"), "{output:?}");
    assert_eq!(machine.asked(&mut seen).len(), 1);
    assert_eq!(machine.status()["refused"]["version"], 2);
    // Tried again on request, with another command, and when they change.
    assert_eq!(machine.node.agent(&["update", "--force"]).status.code(), Some(5));
    assert!(machine.asked(&mut seen).len() > 1);
    machine.publish(3, &files(&[("promises.cf", "better")]));
    machine.is_updated();
    assert_eq!(machine.status()["refused"], Value::Null);
    machine.node.settings("validate_command = [\"sleep\", \"60\"]\nvalidate_time_limit = \"1s\"\n");
    machine.publish(4, &files(&[("promises.cf", "slow")]));
    machine.fails(5, "ran longer");
    machine.node.settings("validate_command = [\"/no/such/program\"]\n");
    machine.fails(5, "cannot be started");
    machine.node.settings("");
    machine.is_updated();
    assert_eq!(machine.policies(), files(&[("promises.cf", "slow")]));
}

#[test]
fn a_node_without_policies_on_the_server_is_as_before() {
    let machine = Machine::new();
    let output = machine.node.agent(&["run", "--", "true"]);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    assert!(!machine.node.paths.policies.exists());
    assert!(!machine.node.newest_log().contains("updated"));
    assert!(text(&machine.node.agent(&["status"]).stdout).contains("none on the server for this node"));
    assert_eq!(machine.update().status.code(), Some(0));
    // Without a server, or one that is not there.
    write(&machine.node.paths.agent_conf, "");
    let output = machine.node.agent(&["run", "--", "true"]);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    assert_eq!(machine.update().status.code(), Some(2));
    machine.node.server(1);
    let output = machine.node.agent(&["run", "--", "true"]);
    assert!(output.status.success(), "{output:?}");
    assert!(!machine.node.newest_log().contains("updated"));
    assert_eq!(machine.update().status.code(), Some(1));
}

#[test]
fn killed_at_any_moment_whole_policies_that_passed_are_in_use() {
    let machine = Machine::new();
    let validate = "sleep 0.02; ! grep -q bad $AGENT_POLICIES/f0";
    machine.node.settings(&format!("validate_command = [\"sh\", \"-c\", {validate:?}]\n"));
    let version = |n: u64| -> Files {
        let word = if n % 3 == 2 { "bad" } else { "good" };
        let mut files: Files = (0..30).map(|f| (format!("f{f}"), format!("{word} {n}").into())).collect();
        files.sort();
        files
    };
    machine.publish(1, &version(1));
    machine.is_updated();
    machine.publish(3, &version(3));
    let start = std::time::Instant::now();
    machine.is_updated();
    let whole = start.elapsed();
    let mut in_use = 3;
    let (mut moved, mut kept) = (0, 0);
    const KILLS: u32 = 24;
    for kill in 1..=KILLS {
        let n = 3 + u64::from(kill);
        machine.publish(n, &version(n));
        let mut child =
            machine.node.command(&["update"]).stderr(std::process::Stdio::null()).spawn().unwrap();
        // Over the whole time that one takes, and a little more.
        std::thread::sleep(whole * kill * 5 / (KILLS * 4));
        child.kill().unwrap();
        child.wait().unwrap();
        // The next run mends it before its command starts, and does not ask.
        let seen = machine.node.root().join("seen");
        let script = format!("rm -rf {0}; cp -r $AGENT_POLICIES {0}", seen.display());
        let output = machine.node.policies(&script);
        assert!(output.status.success(), "{output:?}");
        let found = read(&seen);
        if n % 3 != 2 && found == version(n) {
            in_use = n;
            moved += 1;
        } else {
            kept += 1;
        }
        assert!(found == version(in_use), "after {n}: not version {in_use}");
        assert_eq!(machine.beside().iter().filter(|name| name.contains("next")).count(), 0);
    }
    assert!(kept > 0, "always done before it was killed");
    eprintln!("killed {KILLS} updates: {moved} had passed, {kept} had not");
}
