// SPDX-License-Identifier: Apache-2.0
//! `agent send`: what leaves the outbox, and what does not.

use std::{
    fs,
    process::Stdio,
    sync::atomic::Ordering,
    time::{Duration, SystemTime},
};

use openssl::{
    asn1::Asn1Time,
    hash::MessageDigest,
    nid::Nid,
    x509::{
        X509, X509Name,
        extension::{BasicConstraints, SubjectAlternativeName},
    },
};
use protocol::{
    certificate::Certificate,
    private_key::{self, KeyKind},
};
use serde_json::Value;

use crate::{
    node::{Node, eventually, signal, text, write},
    server::Server,
};

fn created(_: usize, _: &crate::server::Request) -> String {
    "201 Created".into()
}

fn send_json(node: &Node) -> Value {
    serde_json::from_slice(&node.agent(&["send", "--json"]).stdout).unwrap()
}

fn node_with(server: &Server, logs: usize) -> Node {
    let node = Node::new();
    node.server(server.port);
    for n in 0..logs {
        assert!(node.policies(&format!("echo run {n}")).status.success());
    }
    assert_eq!(node.ready().len(), logs);
    node
}

#[test]
fn sends_oldest_first_over_one_connection_as_the_node() {
    let server = Server::start(created);
    let node = node_with(&server, 3);
    let names = node.ready();
    let first = fs::read(node.paths.ready().join(&names[0])).unwrap();
    let output = node.agent(&["send"]);
    assert!(output.status.success(), "{output:?}");
    let requests = server.requests();
    let lines: Vec<_> = requests.iter().map(|r| r.line.clone()).collect();
    assert_eq!(lines, names.iter().map(|n| format!("PUT /reports/{n} HTTP/1.1")).collect::<Vec<_>>());
    assert_eq!(requests[0].body, first);
    assert_eq!(requests[0].client.as_ref(), Some(&node.identity.node_id));
    assert!(!requests[0].headers.iter().any(|h| h.to_lowercase().starts_with("authorization")));
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
    assert_eq!(node.ready(), Vec::<String>::new());
    node.open(&requests[2].body);
}

#[test]
fn a_run_sends_at_once_and_a_server_error_loses_nothing() {
    let server = Server::start(|n, _| if n == 0 { "500 Oops" } else { "204 No Content" }.into());
    let node = Node::new();
    node.server(server.port);
    let output = node.agent(&["run", "--send", "--", "true"]);
    assert!(output.status.success());
    assert!(text(&output.stdout).contains("500"), "{}", text(&output.stdout));
    assert_eq!(node.ready().len(), 1);
    assert_eq!(send_json(&node)["sent"], 1);
    assert_eq!(server.requests()[0].body, server.requests()[1].body);
    assert_eq!(node.ready().len(), 0);
}

#[test]
fn retry_after_is_remembered() {
    let server =
        Server::start(|n, _| if n == 0 { "503 Full\r\nRetry-After: 3600" } else { "201 Created" }.into());
    let node = node_with(&server, 2);
    assert_eq!(send_json(&node)["left"], 2);
    assert_eq!(server.requests().len(), 1, "after a 503 no other file is tried");
    let waiting = send_json(&node);
    assert!(waiting["wait_until"].is_string(), "{waiting}");
    assert_eq!(server.requests().len(), 1);
    assert!(node.agent(&["send", "--now"]).status.success());
    assert_eq!(server.requests().len(), 3);
    assert!(node.agent(&["send"]).status.success(), "a success ends the wait");
}

#[test]
fn what_is_refused_for_good_is_put_aside_and_the_rest_goes_on() {
    let answers = ["409 Conflict", "201 Created", "400 Bad"];
    let server = Server::start(move |n, _| answers[n].into());
    let node = node_with(&server, 3);
    let names = node.ready();
    let sent = send_json(&node);
    assert_eq!((&sent["sent"], &sent["rejected"], &sent["left"]), (&1.into(), &2.into(), &0.into()));
    assert_eq!(
        node.failed(),
        [names[0].clone(), format!("{}.reason", names[0]), names[2].clone(), format!("{}.reason", names[2])]
    );
    let reason = fs::read(node.paths.failed().join(format!("{}.reason", names[0]))).unwrap();
    let reason: Value = serde_json::from_slice(&reason).unwrap();
    assert_eq!((&reason["reason"], &reason["detail"]), (&"status 409".into(), &"said".into()));
}

#[test]
fn unclear_answers_and_redirects_keep_everything() {
    let node = Node::new();
    for n in 0..5 {
        node.policies(&format!("echo run {n}"));
    }
    let names = node.ready();
    for (status, requests) in [
        ("301 Moved\r\nLocation: https://127.0.0.1/", 1),
        ("401 Who", 1),
        ("429 Slow", 1),
        ("403 No", 4),
        ("404 Where", 4),
        ("408 Late", 4),
        ("425 Early", 4),
        ("502 Gateway", 4),
    ] {
        let server = Server::start(move |_, _| status.into());
        node.server(server.port);
        assert_eq!(node.agent(&["send"]).status.code(), Some(1), "{status}");
        assert_eq!(server.requests().len(), requests, "{status}");
        assert_eq!((node.ready(), node.failed().len()), (names.clone(), 0), "{status}");
    }
}

#[test]
fn run_logs_that_the_server_does_not_take_hold_up_no_others() {
    let refused: std::sync::Arc<std::sync::OnceLock<Vec<String>>> = Default::default();
    let names = refused.clone();
    let server = Server::start(move |n, request| {
        let refused = names.get().unwrap().iter().any(|name| request.line.contains(name));
        match (refused, n % 2) {
            (true, 0) => "403 No".into(),
            (true, _) => "500 Oops".into(),
            (false, _) => "201 Created".into(),
        }
    });
    let node = node_with(&server, 7);
    let names = node.ready();
    // Four in a row, so that the newest has to tell that the server works, and one later.
    let kept = [&names[..4], &names[5..6]].concat();
    refused.set(kept.clone()).unwrap();
    let sent = send_json(&node);
    assert_eq!((&sent["sent"], &sent["left"]), (&2.into(), &5.into()), "{sent}");
    assert!(sent["problem"].is_string(), "{sent}");
    assert_eq!(node.ready(), kept);
    let order: Vec<_> = server.requests().iter().map(|request| request.line.clone()).collect();
    let expected = [0, 1, 2, 6, 3, 4, 5].map(|n| format!("PUT /reports/{} HTTP/1.1", names[n]));
    assert_eq!(order, expected);
}

#[test]
fn another_key_than_the_pinned_one_gets_no_request() {
    let (server, other) = (Server::start(created), Server::start(created));
    let node = node_with(&server, 1);
    write(&node.paths.server_pins, &format!("{}\n", other.pin));
    let sent = send_json(&node);
    assert!(sent["problem"].as_str().unwrap().contains("pinned"), "{sent}");
    assert_eq!((server.requests().len(), node.ready().len()), (0, 1));
    // One of several is enough; and what came with the policies wins.
    write(&node.paths.server_pins, &format!("{};{}", other.pin, server.pin));
    node.rudder_json(&format!("{{\"POLICY_SERVER_KEY_HASH\": \"{}\"}}", other.pin));
    assert_eq!(send_json(&node)["left"], 1);
    node.rudder_json(&format!("{{\"POLICY_SERVER_KEY_HASH\": \"{}\"}}", server.pin));
    assert_eq!(send_json(&node)["sent"], 1);
}

#[test]
fn the_first_server_is_trusted_and_then_pinned() {
    let (server, other) = (Server::start(created), Server::start(created));
    let node = node_with(&server, 1);
    let sent = send_json(&node);
    assert_eq!(sent["pinned"], server.pin.to_string());
    assert_eq!(fs::read_to_string(&node.paths.server_pins).unwrap().trim(), server.pin.to_string());
    node.server(other.port);
    node.policies("true");
    assert_eq!(send_json(&node)["left"], 1);
    assert_eq!(other.requests().len(), 0);
}

#[test]
fn a_server_that_takes_nothing_is_not_pinned() {
    let server = Server::start(|_, _| "500 Oops".into());
    let node = node_with(&server, 1);
    assert_eq!(send_json(&node)["left"], 1);
    assert!(!node.paths.server_pins.exists());
}

#[test]
fn basic_authentication_comes_from_the_policies_or_own_settings() {
    let server = Server::start(created);
    let node = node_with(&server, 1);
    node.rudder_json(r#"{"DAVUSER": "rudder", "DAVPASSWORD": "secret"}"#);
    assert!(node.agent(&["send"]).status.success());
    node.settings("upload_user = \"own\"\nupload_password = \"pw\"\n");
    assert!(node.agent(&["run", "--send", "--", "true"]).status.success());
    let sent: Vec<_> = server
        .requests()
        .iter()
        .flat_map(|r| r.headers.clone())
        .filter_map(|h| {
            h.to_lowercase().starts_with("authorization").then(|| h.split_once(": ").unwrap().1.to_owned())
        })
        .collect();
    assert_eq!(sent, ["Basic cnVkZGVyOnNlY3JldA==", "Basic b3duOnB3"]);
}

#[test]
fn what_is_too_old_is_dropped_counted_and_reported() {
    let server = Server::start(created);
    let node = node_with(&server, 2);
    let old = SystemTime::now() - Duration::from_secs(8 * 24 * 3600);
    for name in node.ready() {
        fs::File::options()
            .write(true)
            .open(node.paths.ready().join(name))
            .unwrap()
            .set_modified(old)
            .unwrap();
    }
    assert_eq!(send_json(&node)["dropped"], 2);
    assert_eq!(server.requests().len(), 0);
    let status: Value = serde_json::from_slice(&node.agent(&["status", "--json"]).stdout).unwrap();
    assert_eq!(status["dropped"]["logs"], 2);
    for expected in [1, 0] {
        node.policies("true");
        assert_eq!(node.newest_log().matches("2 older run logs").count(), expected);
    }
}

#[test]
fn killed_before_the_acknowledgement_it_sends_the_same_bytes_again() {
    let (reached, reach) = std::sync::mpsc::channel();
    let (killed, kill) = std::sync::mpsc::channel();
    let ends = std::sync::Mutex::new((reached, kill));
    let server = Server::start(move |n, _| {
        if n == 0 {
            let (reached, kill) = &*ends.lock().unwrap();
            reached.send(()).unwrap();
            // No answer before the client is gone.
            kill.recv_timeout(Duration::from_secs(20)).unwrap();
        }
        "201 Created".into()
    });
    let node = node_with(&server, 1);
    let mut child = node.command(&["send"]).stdout(Stdio::null()).spawn().unwrap();
    reach.recv_timeout(Duration::from_secs(20)).unwrap();
    signal(&child, rustix::process::Signal::KILL);
    child.wait().unwrap();
    killed.send(()).unwrap();
    assert_eq!(node.ready().len(), 1);
    assert!(node.agent(&["send"]).status.success());
    let requests = server.requests();
    assert_eq!((&requests[0].line, &requests[0].body), (&requests[1].line, &requests[1].body));
}

#[test]
fn certificate_validation_checks_chain_and_name() {
    let key = private_key::generate(KeyKind::P256).unwrap();
    let certificate_for = |host: &str| {
        let mut name = X509Name::builder().unwrap();
        name.append_entry_by_nid(Nid::COMMONNAME, "policy server").unwrap();
        let name = name.build();
        let mut builder = X509::builder().unwrap();
        builder.set_version(2).unwrap();
        builder.set_subject_name(&name).unwrap();
        builder.set_issuer_name(&name).unwrap();
        builder.set_pubkey(&key).unwrap();
        builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
        builder.set_not_after(&Asn1Time::days_from_now(9).unwrap()).unwrap();
        builder.append_extension(BasicConstraints::new().ca().build().unwrap()).unwrap();
        let names =
            SubjectAlternativeName::new().ip(host).build(&builder.x509v3_context(None, None)).unwrap();
        builder.append_extension(names).unwrap();
        builder.sign(&key, MessageDigest::sha256()).unwrap();
        Certificate::new(builder.build()).unwrap()
    };
    for (host, sent) in [("127.0.0.1", 1), ("127.0.0.2", 0)] {
        let certificate = certificate_for(host);
        let server = Server::with_identity((certificate.clone(), key.clone()), created);
        let node = node_with(&server, 1);
        let conf = fs::read_to_string(&node.paths.agent_conf).unwrap();
        write(&node.paths.agent_conf, &format!("{conf}cert_validation = true\n"));
        assert_eq!(send_json(&node)["sent"], 0, "not signed by an authority of the system");
        write(&node.paths.server_authority, &text(&certificate.x509().to_pem().unwrap()));
        assert_eq!(send_json(&node)["sent"], sent, "{host}");
        assert!(!node.paths.server_pins.exists());
    }
}

#[test]
fn one_sender_at_a_time() {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let server = Server::start(move |_, _| {
        let _ = wait.lock().unwrap().recv_timeout(Duration::from_secs(20));
        "201 Created".into()
    });
    let node = node_with(&server, 1);
    let mut first = node.command(&["send"]).stdout(Stdio::null()).spawn().unwrap();
    eventually("the first sends", || (server.requests().len() == 1).then_some(()));
    assert_eq!(node.agent(&["send"]).status.code(), Some(3));
    go.send(()).unwrap();
    assert!(first.wait().unwrap().success());
}
