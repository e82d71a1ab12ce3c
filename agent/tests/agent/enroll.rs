// SPDX-License-Identifier: Apache-2.0
//! `agent enroll`: waiting, decisions, first use, tokens.

use std::{
    fs,
    process::{Command, Stdio},
};

use protocol::enrolment::State;
use rustix::process::Signal;
use serde_json::Value;

use crate::{
    node::{Node, eventually, signal, text, write},
    root::{Root, key},
    server::Server,
};

#[test]
fn a_new_machine_waits_says_for_what_and_is_taken_in() {
    let root = Root::start();
    let node = Node::bare();
    let server = root.server_argument();
    let arguments = ["enroll", "--server", &server, "--key", "p256", "--hostname", "web-1", "--wait", "1m"];
    let child = node.command(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    eventually("it asks twice", || (root.seen("PUT /enrolments/") >= 2).then_some(()));
    let pins = fs::read_to_string(&node.paths.server_pins).unwrap();
    assert_eq!(pins.trim(), root.server.pin.to_string(), "the first answer pins");
    root.mind(|mind| mind.verdict = State::Accepted);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let request = root.mind(|mind| mind.requests[0].clone());
    let said = text(&output.stdout);
    assert!(said.contains(&format!("id           {}\n", request.node_id)), "{said}");
    assert!(said.contains(&format!("fingerprint  {}\n", request.key_hash)), "{said}");
    assert!(said.ends_with("state        accepted\n"), "{said}");
    let said = text(&output.stderr);
    assert!(said.contains(&format!("relayd node accept {}", request.node_id)), "{said}");
    assert!(said.contains(&root.server.pin.to_string()), "{said}");
    assert_eq!(said.matches("waiting for an operator").count(), 1, "{said}");
    assert_eq!((request.hostname.as_str(), request.as_relay, request.token()), ("web-1", false, None));
    // And the node is as good as any other.
    node.policies("true");
    assert!(node.agent(&["send"]).status.success());
}

#[test]
fn a_token_accepts_and_is_seen_nowhere() {
    let root = Root::start();
    root.mind(|mind| mind.token = Some("t0ken-s3cret".into()));
    for way in ["file", "variable", "argument", "input"] {
        let node = Node::bare();
        let file = node.root().join("token");
        write(&file, "t0ken-s3cret\n");
        let server = root.server_argument();
        let mut command = node.command(&["enroll", "--no-wait", "--key", "p256", "--server", &server]);
        match way {
            "file" => command.arg("--token-file").arg(&file),
            "variable" => command.env("AGENT_ENROLMENT_TOKEN", "t0ken-s3cret"),
            "argument" => command.args(["--token", "t0ken-s3cret"]),
            _ => command.args(["--token-file", "-"]).stdin(fs::File::open(&file).unwrap()),
        };
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{way}: {output:?}");
        fs::remove_file(&file).unwrap();
        let kept = Command::new("grep").args(["-r", "s3cret"]).arg(node.root()).output().unwrap();
        let told = [kept.stdout, output.stdout, output.stderr].concat();
        assert!(!text(&told).contains("s3cret"), "{way}");
    }
}

#[test]
fn what_is_decided_has_its_exit_status() {
    let root = Root::start();
    let node = Node::new();
    node.server(root.server.port);
    for (verdict, code, word) in [
        (State::Pending, 4, "waiting for an operator"),
        (State::Rejected, 5, "rejected by an operator"),
        (State::Revoked, 5, "revoked"),
        (State::Refused, 5, "refused"),
        (State::Conflict, 5, "another key holds this id"),
        (State::Accepted, 0, "so it is"),
    ] {
        root.mind(|mind| mind.verdict = verdict);
        let output = node.agent(&["enroll", "--no-wait", "--json"]);
        assert_eq!(output.status.code(), Some(code), "{verdict:?}: {output:?}");
        let value: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(value["state"], verdict.as_str());
        let output = node.agent(&["enroll", "--no-wait"]);
        assert!(text(&output.stderr).contains(word), "{verdict:?}: {output:?}");
        let status: Value = serde_json::from_slice(&node.agent(&["status", "--json"]).stdout).unwrap();
        assert_eq!(status["enrolment"]["state"], verdict.as_str());
    }
    assert!(text(&node.agent(&["status"]).stdout).contains("accepted"));
}

#[test]
fn what_the_server_does_with_run_logs_is_shown_beside_what_was_said_before() {
    let root = Root::start();
    root.mind(|mind| mind.verdict = State::Accepted);
    let node = Node::new();
    let status = || text(&node.agent(&["status"]).stdout);
    node.server(root.server.port);
    assert!(node.agent(&["enroll", "--no-wait"]).status.success());
    assert!(!status().contains("but on"));
    let known = root.mind(|mind| std::mem::take(&mut mind.keys));
    // Times are in whole seconds.
    eventually("a second later", || {
        node.policies("true");
        node.agent(&["send", "--now"]);
        status().contains("but on").then_some(())
    });
    assert!(status().contains("403 Forbidden: who are you? (revoked?"), "{}", status());
    // Somebody asks, and it is so; then it is taken back.
    root.mind(|mind| mind.verdict = State::Revoked);
    assert_eq!(node.agent(&["enroll", "--no-wait"]).status.code(), Some(5));
    assert!(status().contains("enrolment  revoked") && !status().contains("but on"), "{}", status());
    root.mind(|mind| mind.keys = known);
    eventually("a second later", || {
        node.policies("true");
        assert!(node.agent(&["send", "--now"]).status.success());
        status().contains("the server took a run log").then_some(())
    });
    let value: Value = serde_json::from_slice(&node.agent(&["status", "--json"]).stdout).unwrap();
    assert!(value["enrolment"]["doubt"].is_string() && value["last_send"]["denied"].is_null(), "{value}");
}

#[test]
fn a_relay_is_told_its_settings() {
    let root = Root::start();
    root.mind(|mind| mind.verdict = State::Accepted);
    let node = Node::new();
    let output = node.agent(&["enroll", "--as-relay", "--no-wait", "--server", &root.server_argument()]);
    assert_eq!(output.status.code(), Some(0));
    assert!(root.mind(|mind| mind.requests[0].as_relay));
    let said = text(&output.stdout);
    assert!(said.contains("[output.upstream]\nhost = \"127.0.0.1\""), "{said}");
    assert!(said.contains(&format!("server_key_hashes = [\"{}\"]", root.server.pin)), "{said}");
    assert_eq!(node.agent(&["key", "roll"]).status.code(), Some(2), "its nodes may know it by this key");
}

#[test]
fn a_server_that_is_not_the_pinned_one_gets_no_request() {
    let (root, other) = (Root::start(), key());
    let node = Node::new();
    let pin = other.0.key_hash().to_string();
    let server = root.server_argument();
    let output = node.agent(&["enroll", "--server", &server, "--pin", &pin, "--token", "t", "--no-wait"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("not the pinned one"), "{output:?}");
    assert_eq!(root.server.requests().len(), 0);
}

#[test]
fn trouble_on_the_way_is_waited_out() {
    let server = Server::start(|n, _| if n < 1 { "503 Full\r\nRetry-After: 1" } else { "404 None" }.into());
    let node = Node::new();
    node.server(server.port);
    let output = node.agent(&["enroll"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("503") && said.contains("takes no enrolments"), "{said}");
    assert_eq!(server.requests().len(), 2);
    // Nobody there: an answer is what is waited for.
    node.server(1);
    let output = node.agent(&["enroll", "--wait", "1s"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("cannot connect"), "{output:?}");
}

#[test]
fn stopped_while_waiting_it_is_still_pending_and_the_daemon_asks_on() {
    let root = Root::start();
    let node = Node::new();
    node.server(root.server.port);
    let mut child = node.command(&["enroll", "--hostname", "db-1"]).stdout(Stdio::null()).spawn().unwrap();
    eventually("it asks", || (root.seen("PUT /enrolments/") >= 1).then_some(()));
    eventually("it is remembered", || node.paths.state.join("enrolment.json").exists().then_some(()));
    signal(&child, Signal::INT);
    assert_eq!(child.wait().unwrap().code(), Some(4));
    root.mind(|mind| mind.verdict = State::Accepted);
    node.settings("policy_command = [\"true\"]\nrun_interval = \"7d\"\n");
    let mut daemon = node.command(&["daemon"]).stdout(Stdio::null()).spawn().unwrap();
    eventually("the daemon asks", || {
        root.mind(|mind| mind.requests.iter().any(|r| mind.keys.contains_key(&r.key_hash))).then_some(())
    });
    eventually("it is remembered", || {
        let status: Value = serde_json::from_slice(&node.agent(&["status", "--json"]).stdout).unwrap();
        (status["enrolment"]["state"] == "accepted").then_some(())
    });
    signal(&daemon, Signal::TERM);
    assert!(daemon.wait().unwrap().success());
    assert!(root.mind(|mind| mind.requests.iter().all(|request| request.hostname == "db-1")));
}
