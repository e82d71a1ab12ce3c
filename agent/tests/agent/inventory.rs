// SPDX-License-Identifier: Apache-2.0
//! `agent inventory` and the daemon: what is made, and how it is brought to the policy server.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, process::Stdio};

use openssl::{hash::MessageDigest, sign::Verifier};
use protocol::{
    compression::{self, Compression},
    inventory::{self, check::Checked},
};
use rustix::process::Signal;
use serde_json::Value;

use crate::{
    node::{Node, eventually, signal, text, write},
    server::{Request, Server},
};

const RUDDER_JSON: &str = r#"{"DAVUSER": "rudder", "DAVPASSWORD": "distributed"}"#;

/// A machine with a name, a system and a few packages, whose policies come from that server.
fn machine(server: &Server) -> Node {
    let node = Node::new();
    node.server(server.port);
    node.rudder_json(RUDDER_JSON);
    let put = |path: &str, text: &str| write(&node.root().join(path), text);
    put("etc/os-release", "ID=debian\nNAME=\"Debian GNU/Linux\"\nVERSION_ID=12\n");
    put("etc/hostname", "web-1.example.com\n");
    put("etc/passwd", "root:x:0:0:root:/root:/bin/bash\n");
    node
}

fn hook(node: &Node, script: &str) -> PathBuf {
    let path = node.root().join("opt/rudder/var/hooks.d/site");
    write(&path, &format!("#!/bin/sh\n{script}\n"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// What a server does with the two files: unpack, verify, read, check.
fn open(node: &Node, packed: &[u8], signature: &[u8]) -> Checked {
    let xml = compression::unpack(packed, Compression::Gzip, 10 << 20).unwrap();
    let digest = text(signature).lines().find_map(|line| hex::decode(line.strip_prefix("digest=")?).ok());
    let key = node.identity.certificate.public_key().unwrap();
    let mut verifier = Verifier::new(MessageDigest::sha512(), &key).unwrap();
    assert!(verifier.verify_oneshot(&digest.unwrap(), &xml).unwrap());
    let checked = inventory::check::content(inventory::read(&xml).unwrap()).unwrap();
    inventory::check::date(&checked.content, chrono::Utc::now()).unwrap();
    let certificate = inventory::check::certificate(&checked).unwrap();
    assert_eq!(certificate.key_hash(), node.identity.certificate.key_hash());
    checked
}

fn authorization(request: &Request) -> Option<String> {
    request.headers.iter().find_map(|header| header.strip_prefix("authorization: ").map(str::to_owned))
}

#[test]
fn an_inventory_is_sent_signed_after_the_server_was_asked_who_it_is() {
    let server = Server::start(|_, _| "201 Created".into());
    let node = machine(&server);
    hook(&node, "echo '{\"site\": \"Lyon\"}'");
    let output = node.agent(&["inventory", "--json"]);
    assert!(output.status.success(), "{output:?}");
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(result["sent"], true, "{result}");

    let requests = server.inventories();
    let [uuid, document, signature] = &requests[..] else { panic!("{requests:?}") };
    assert_eq!(uuid.target(), "GET /uuid");
    let name = format!("/inventory-updates/{}_", node.identity.node_id);
    assert!(document.target().starts_with(&format!("PUT {name}")), "{}", document.line);
    assert!(document.target().ends_with("+00:00.ocs.gz"), "{}", document.line);
    assert_eq!(signature.target(), format!("{}.sign", document.target().strip_suffix(".gz").unwrap()));
    assert_eq!(document.client.as_ref(), Some(&node.identity.node_id));
    assert_eq!(authorization(document).unwrap(), "Basic cnVkZGVyOmRpc3RyaWJ1dGVk");

    let checked = open(&node, &document.body, &signature.body);
    assert_eq!(
        (checked.node_id, checked.hostname.as_str()),
        (node.identity.node_id.clone(), "web-1.example.com")
    );
    assert_eq!((checked.os_name.as_str(), checked.agent.as_str()), ("Debian", "cfengine-community"));
    assert!(checked.policy_server.is_root());
    let rudder = &checked.content.rudder[0];
    assert_eq!(rudder.custom_properties, Some(serde_json::json!([{"site": "Lyon"}])));
    assert!(rudder.capabilities.as_ref().unwrap().names.contains(&"http_reporting".to_owned()));
    assert_eq!(fs::read_dir(node.paths.state.join("inventory")).unwrap().count(), 0, "it was sent");

    let status: Value = serde_json::from_slice(&node.agent(&["status", "--json"]).stdout).unwrap();
    assert!(status["inventory"]["sent"].is_string(), "{status}");
    let output = node.agent(&["inventory", "--due"]);
    assert_eq!(text(&output.stdout), "no inventory is due\n");
}

#[test]
fn a_node_that_is_not_accepted_yet_introduces_itself_with_the_first_password() {
    let server = Server::start(|_, _| "201 Created".into());
    let node = machine(&server);
    node.rudder_json(r#"{"INITIAL": true}"#);
    assert!(node.agent(&["inventory"]).status.success());
    let requests = server.inventories();
    assert!(requests[1].target().starts_with("PUT /inventories/"), "{}", requests[1].line);
    assert_eq!(authorization(&requests[1]).unwrap(), "Basic cnVkZGVyOnJ1ZGRlcg==");
}

#[test]
fn what_is_not_taken_waits_and_is_sent_as_it_is() {
    let server = Server::start(|_, _| "201 Created".into());
    let node = machine(&server);
    server.answer_inventories(&["200 OK", "201 Created", "503 Service Unavailable\r\nRetry-After: 60"]);
    let output = node.agent(&["inventory"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text(&output.stdout).contains("the inventory waits: the server answered 503"), "{output:?}");
    assert_eq!(fs::read_dir(node.paths.state.join("inventory")).unwrap().count(), 2);
    let before = server.inventories();

    // The server asked to be left alone for a minute.
    assert_eq!(text(&node.agent(&["inventory", "--due"]).stdout), "no inventory is due\n");
    let file = node.paths.state.join("inventory.json");
    let mut memory: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    memory["next_attempt"] = Value::Null;
    fs::write(&file, memory.to_string()).unwrap();
    assert!(text(&node.agent(&["inventory", "--due"]).stdout).starts_with("inventory sent: "));
    let after = server.inventories()[before.len()..].to_vec();
    let [document, signature] = &after[..] else { panic!("{after:?}") };
    assert_eq!((document.line.as_str(), &document.body), (before[1].line.as_str(), &before[1].body));
    open(&node, &document.body, &signature.body);
}

#[test]
fn a_refusal_is_told_and_not_repeated() {
    let server = Server::start(|_, _| "201 Created".into());
    let node = machine(&server);
    server.answer_inventories(&["200 OK", "400 Bad Request"]);
    let output = node.agent(&["inventory"]);
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    assert_eq!(text(&node.agent(&["inventory", "--due"]).stdout), "no inventory is due\n");
    let status = text(&node.agent(&["status"]).stdout);
    assert!(status.contains("refuses the inventory: it answered 400"), "{status}");
}

#[test]
fn it_can_be_looked_at_carried_and_switched_off() {
    let server = Server::start(|_, _| "201 Created".into());
    let node = machine(&server);
    let xml = text(&node.agent(&["inventory", "--print"]).stdout);
    assert!(xml.contains("<FQDN>web-1.example.com</FQDN>"), "{xml}");
    let directory = node.root().join("stick");
    let output = node.agent(&["inventory", "--output", directory.to_str().unwrap()]);
    let files: Vec<_> = text(&output.stdout).lines().map(PathBuf::from).collect();
    let [signature, document] = &files[..] else { panic!("{output:?}") };
    open(&node, &fs::read(document).unwrap(), &fs::read(signature).unwrap());
    assert_eq!(server.inventories().len(), 0);

    write(&node.paths.disable_inventory, "");
    let output = node.agent(&["inventory"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("disable-inventory"), "{output:?}");
    assert!(node.agent(&["inventory", "--due"]).status.success());
    assert_eq!(server.inventories().len(), 0);
}

#[test]
fn a_machine_without_a_name_is_told_what_servers_would_refuse() {
    let server = Server::start(|_, _| "201 Created".into());
    let node = machine(&server);
    write(&node.root().join("etc/hostname"), "localhost\n");
    let output = node.agent(&["inventory"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("HOSTNAME"), "{output:?}");
    assert_eq!(server.inventories().len(), 1, "nothing was uploaded");
    // The daemon does not try again at once, and what is wrong can be looked up.
    assert_eq!(text(&node.agent(&["inventory", "--due"]).stdout), "no inventory is due\n");
    assert!(text(&node.agent(&["status"]).stdout).contains("HOSTNAME"));
    write(&node.root().join("etc/hostname"), "web-1\n");
    assert!(node.agent(&["inventory"]).status.success());
}

#[test]
fn the_root_puts_its_own_into_the_spool_of_its_daemon() {
    let node = Node::with_id(Some("root"));
    write(&node.root().join("etc/hostname"), "root.example.com\n");
    let spool = node.root().join("var/rudder/inventories/accepted-nodes-updates");
    let output = node.agent(&["inventory"]);
    assert_eq!(output.status.code(), Some(1), "there is no spool: {output:?}");
    assert!(text(&output.stdout).contains("accepted-nodes-updates"), "{output:?}");
    fs::create_dir_all(&spool).unwrap();
    assert!(node.agent(&["inventory"]).status.success());
    let mut files: Vec<_> = fs::read_dir(&spool).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    let [document, signature] = &files[..] else { panic!("{files:?}") };
    let checked = open(&node, &fs::read(document).unwrap(), &fs::read(signature).unwrap());
    assert!(checked.node_id.is_root());
    assert_eq!(fs::metadata(document).unwrap().permissions().mode() & 0o777, 0o640);
}

#[test]
fn the_daemon_sends_one_at_first_when_it_is_asked_and_when_something_has_changed() {
    let server = Server::start(|_, _| "201 Created".into());
    let node = machine(&server);
    node.settings("policy_command = [\"true\"]\nrun_interval = \"1s\"\nupdate = false\nconnected = false\n");
    // With initial policies the least time between two is 15 minutes, which the memory says have passed.
    node.rudder_json(r#"{"INITIAL": true}"#);
    let memory = node.paths.state.join("inventory.json");
    let sent = || -> Option<String> {
        let memory: Value = serde_json::from_slice(&fs::read(&memory).ok()?).ok()?;
        memory["sent"].as_str().map(str::to_owned)
    };
    let uploads = || server.inventories().iter().filter(|one| one.target().ends_with(".ocs.gz")).count();
    let mut child = node.command(&["daemon"]).stdout(Stdio::null()).spawn().unwrap();
    eventually("the first inventory", sent);
    assert_eq!(uploads(), 1);
    signal(&child, Signal::TERM);
    assert!(child.wait().unwrap().success());

    let an_hour_ago = (chrono::Utc::now() - chrono::TimeDelta::hours(1)).to_rfc3339();
    let back = |digest: Option<&str>| {
        let mut value: Value = serde_json::from_slice(&fs::read(&memory).unwrap()).unwrap();
        value["sent"] = an_hour_ago.clone().into();
        value["signs"] = "others".into();
        if let Some(digest) = digest {
            value["digest"] = digest.into();
        }
        fs::write(&memory, value.to_string()).unwrap();
    };
    // Something looks as if it had changed, but an inventory says the same.
    back(None);
    assert_eq!(
        text(&node.agent(&["inventory", "--due"]).stdout),
        "nothing has changed since the last inventory\n"
    );
    assert_eq!(uploads(), 1);
    back(Some("of another"));
    let mut child = node.command(&["daemon"]).stdout(Stdio::null()).spawn().unwrap();
    eventually("an inventory after a change", || (uploads() == 2).then_some(()));
    write(&node.paths.force_inventory, "");
    eventually("an inventory that was asked for", || (uploads() == 3).then_some(()));
    eventually("the order is gone", || (!node.paths.force_inventory.exists()).then_some(()));
    signal(&child, Signal::TERM);
    assert!(child.wait().unwrap().success());
}

#[test]
fn an_order_that_is_given_while_one_is_made_stays() {
    let server = Server::start(|_, _| "201 Created".into());
    let node = machine(&server);
    let order = &node.paths.force_inventory;
    fs::create_dir_all(order.parent().unwrap()).unwrap();
    let program = hook(&node, &format!("echo new > '{}'; echo '{{}}'", order.display()));
    assert!(node.agent(&["inventory"]).status.success());
    assert!(order.exists());
    fs::remove_file(program).unwrap();
    assert!(node.agent(&["inventory"]).status.success());
    assert!(!order.exists());
    assert_eq!(server.inventories().iter().filter(|one| one.target().ends_with(".ocs.gz")).count(), 2);
}

#[test]
fn a_run_with_the_condition_is_followed_by_one() {
    let server = Server::start(|_, _| "201 Created".into());
    let node = machine(&server);
    node.agent(&["run", "--no-update", "--condition", "force_inventory", "--", "true"]);
    assert_eq!(server.inventories().len(), 3);
    node.settings("inventory = false\n");
    node.agent(&["run", "--no-update", "--condition", "force_inventory", "--", "true"]);
    assert_eq!(server.inventories().len(), 3);
}

#[test]
fn who_asks_waits_for_one_that_is_being_made_and_gets_another() {
    let server = Server::start(|_, _| "201 Created".into());
    let node = machine(&server);
    let (begun, go_on) = (node.root().join("begun"), node.root().join("go-on"));
    let wait = format!(
        "touch {}; while [ ! -e {} ]; do sleep 0.05; done; echo {{}}",
        begun.display(),
        go_on.display()
    );
    hook(&node, &wait);
    let mut first = node.command(&["inventory", "--due"]).stdout(Stdio::null()).spawn().unwrap();
    eventually("the first is being made", || begun.exists().then_some(()));
    assert_eq!(node.agent(&["inventory", "--due"]).status.code(), Some(3), "nobody asked for another");
    let asked = node.command(&["inventory"]).stdout(Stdio::piped()).spawn().unwrap();
    fs::write(&go_on, "").unwrap();
    assert!(first.wait().unwrap().success());
    assert!(text(&asked.wait_with_output().unwrap().stdout).starts_with("inventory sent: "));
    let documents = server.inventories().into_iter().filter(|one| one.target().ends_with(".ocs.gz"));
    let names: std::collections::BTreeSet<_> = documents.map(|one| one.line).collect();
    assert_eq!(names.len(), 2);
}

#[test]
fn a_machine_without_a_policy_server_says_so_and_lets_it_be() {
    let node = Node::new();
    write(&node.root().join("etc/hostname"), "web-1\n");
    let output = node.agent(&["inventory"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(text(&output.stderr).contains("no policy server is configured"), "{output:?}");
    assert_eq!(text(&node.agent(&["inventory", "--due"]).stdout), "no inventory is due\n");
}
