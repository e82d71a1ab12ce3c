// SPDX-License-Identifier: Apache-2.0
//! Help, exit codes, and what mistakes are answered with.

use std::fs;

use serde_json::Value;

use crate::node::{Node, text, write};

#[test]
fn every_command_has_help_with_examples() {
    let node = Node::new();
    for command in ["init", "run", "send", "share", "daemon", "status", "config"] {
        let output = node.agent(&[command, "--help"]);
        assert!(output.status.success());
        assert!(text(&output.stdout).contains("Examples:"), "{command}");
    }
    assert!(text(&node.agent(&["--version"]).stdout).starts_with("agent "));
    assert_eq!(node.agent(&["no-such"]).status.code(), Some(2));
}

#[test]
fn init_is_idempotent_and_writes_what_it_is_told() {
    let node = Node::new();
    let pin = node.identity.certificate.key_hash().to_string();
    for _ in 0..2 {
        let output = node.agent(&["init", "--server", "localhost:4443", "--pin", &pin]);
        assert_eq!(text(&output.stdout), format!("id  {}\npin {pin}\n", node.identity.node_id));
    }
    assert_eq!(
        fs::read_to_string(&node.paths.agent_conf).unwrap(),
        "server = localhost\nhttps_port = 4443\n"
    );
    assert_eq!(fs::read_to_string(&node.paths.server_pins).unwrap(), format!("{pin}\n"));
    assert_eq!(node.agent(&["init", "--node-id", "another"]).status.code(), Some(2));
    assert_eq!(node.agent(&["init", "--pin", "sha256//x"]).status.code(), Some(2));
}

#[test]
fn the_default_settings_are_valid() {
    let node = Node::new();
    let default = node.agent(&["config", "default"]);
    node.settings(&text(&default.stdout));
    assert!(node.agent(&["config", "check"]).status.success());
}

#[test]
fn mistakes_are_named_with_file_line_and_remedy() {
    let node = Node::new();
    node.settings("\ntime_limt = \"5m\"\nrun_interval = 5\n");
    write(&node.paths.agent_conf, "https_port = http\n");
    for command in [&["config", "check"][..], &["run", "--", "true"], &["send"], &["daemon"]] {
        let output = node.agent(command);
        assert_eq!(output.status.code(), Some(2));
        let said = text(&output.stderr);
        for expected in
            ["relayd-agent.conf:2:", "did you mean `time_limit`?", "relayd-agent.conf:3:", "agent.conf:1:"]
        {
            assert!(said.contains(expected), "{expected} in {said}");
        }
    }
}

#[test]
fn what_is_missing_is_said() {
    let node = Node::new();
    let output = node.agent(&["run"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("policy_command"));
    node.policies("true");
    let output = node.agent(&["send"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("agent init --server"));
    fs::remove_file(&node.paths.certificate).unwrap();
    assert_eq!(node.agent(&["send"]).status.code(), Some(2));
}

#[test]
fn status_says_what_waits() {
    let node = Node::new();
    node.server(4443);
    node.policies("true");
    let status: Value = serde_json::from_slice(&node.agent(&["status", "--json"]).stdout).unwrap();
    assert_eq!(status["node_id"], node.identity.node_id.as_str());
    assert_eq!(status["server"], "127.0.0.1:4443");
    assert_eq!(status["outbox"]["waiting"], 1);
    assert_eq!(status["last_run"]["ending"], "exit status 0");
    assert!(text(&node.agent(&["status"]).stdout).contains("1 waiting"));
}
