// SPDX-License-Identifier: Apache-2.0
//! `agent cert`: issued, renewed, exported.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use agent::{identity::Identity, server::trust, settings::Settings};
use protocol::{certificate::Certificate, enrolment::State, private_key};
use serde_json::Value;

use crate::{
    node::{Node, eventually, signal, text, write},
    root::{Root, key},
};

/// A node that was taken in by a root with an authority.
fn enrolled(validity: (i64, i64)) -> (Root, Node) {
    let root = Root::start();
    root.mind(|mind| {
        mind.authority = Some(key());
        mind.validity = validity;
        mind.verdict = State::Accepted;
    });
    let node = Node::new();
    let output = node.agent(&["enroll", "--no-wait", "--server", &root.server_argument()]);
    assert!(output.status.success(), "{output:?}");
    (root, node)
}

fn leaf(path: &Path) -> Certificate {
    Certificate::from_pem(&fs::read(path).unwrap()).unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn shown(node: &Node) -> Value {
    serde_json::from_slice(&node.agent(&["cert", "show", "--json"]).stdout).unwrap()
}

#[test]
fn enrolment_brings_one_and_the_run_logs_stay_signed_with_the_own() {
    let (root, node) = enrolled((-60, 3600));
    let issued = leaf(&node.paths.issued_certificate);
    assert_eq!(issued.key_hash(), node.identity.certificate.key_hash());
    assert_eq!(issued.node_id(), Some(&node.identity.node_id));
    assert_eq!(leaf(&node.paths.certificate).fingerprint(), node.identity.certificate.fingerprint());
    assert_eq!(shown(&node)["issued"]["of_key_in_use"], true);
    node.policies("true");
    node.open(&fs::read(node.paths.ready().join(&node.ready()[0])).unwrap());
    assert!(node.agent(&["send"]).status.success());
    let before = issued.fingerprint();
    assert!(node.agent(&["cert", "renew"]).status.success());
    assert_ne!(leaf(&node.paths.issued_certificate).fingerprint(), before);
    root.mind(|mind| mind.authority = None);
    let output = node.agent(&["cert", "renew"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("relayd ca init"), "{output:?}");
    assert!(node.paths.issued_certificate.exists(), "the last one stays");
}

#[test]
fn the_daemon_renews_after_half_of_its_life_and_repeats_exports_and_hooks() {
    // More than half of its life is over.
    let (root, node) = enrolled((-4000, 3600));
    let at = |name: &str| node.root().join("service").join(name);
    let script = format!("echo $AGENT_CERTIFICATE >> {}", at("hooks").display());
    let argument = |name: &str| at(name).display().to_string();
    let output = node.agent(&[
        "cert",
        "export",
        "--cert",
        &argument("cert"),
        "--key",
        &argument("key"),
        "--ca",
        &argument("ca"),
        "--mode",
        "0640",
        "--hook",
        "sh",
        "--hook=-c",
        "--hook",
        &script,
    ]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!((mode(&at("key")), mode(&at("cert")), mode(&at("ca"))), (0o640, 0o644, 0o644));
    let first = leaf(&at("cert"));
    let exported = private_key::from_pem(&fs::read(at("key")).unwrap()).unwrap();
    assert_eq!(exported.public_key_to_der().unwrap(), first.spki_der());
    let authority = root.mind(|mind| mind.authority.clone().unwrap().0);
    assert_eq!(leaf(&at("ca")).fingerprint(), authority.fingerprint());
    let hooks = || fs::read_to_string(at("hooks")).unwrap_or_default().lines().count();
    let so_far = hooks();

    root.mind(|mind| mind.validity = (-60, 3600));
    node.settings("policy_command = [\"true\"]\nrun_interval = \"7d\"\n");
    let mut daemon = node.command(&["daemon"]).spawn().unwrap();
    eventually("the export is new", || {
        (leaf(&at("cert")).fingerprint() != first.fingerprint()).then_some(())
    });
    eventually("the hook has run", || (hooks() > so_far).then_some(()));
    signal(&daemon, rustix::process::Signal::TERM);
    assert!(daemon.wait().unwrap().success());
    assert_eq!(leaf(&at("cert")).fingerprint(), leaf(&node.paths.issued_certificate).fingerprint());
}

#[test]
fn a_hook_that_fails_is_told_and_run_again_and_the_files_stay() {
    let (_root, node) = enrolled((-60, 3600));
    let (cert, ready) = (node.root().join("out.pem"), node.root().join("ready"));
    let (place, flag) = (cert.display().to_string(), ready.display().to_string());
    let output =
        node.agent(&["cert", "export", "--cert", &place, "--hook", "test", "--hook=-e", "--hook", &flag]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("ended with exit status: 1"), "{output:?}");
    assert!(cert.exists());
    assert_eq!(shown(&node)["exports"][0]["done"], false);
    fs::write(&ready, "").unwrap();
    assert!(node.agent(&["upkeep"]).status.success());
    assert_eq!(shown(&node)["exports"][0]["done"], true);
    assert!(node.agent(&["cert", "export", "--forget", &place]).status.success());
    assert_eq!(shown(&node)["exports"].as_array().unwrap().len(), 0);
    assert!(cert.exists());
    for wrong in [&["--key", "/k", "--mode", "0644"][..], &["--key", "/k", "--mode", "rw"], &[]] {
        assert_eq!(node.agent(&[&["cert", "export"], wrong].concat()).status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn a_new_key_gets_its_own_and_exports_follow() {
    let (_root, node) = enrolled((-60, 3600));
    let (cert, key) = (node.root().join("out.pem"), node.root().join("out.key"));
    let output = node.agent(&[
        "cert",
        "export",
        "--cert",
        &cert.display().to_string(),
        "--key",
        &key.display().to_string(),
    ]);
    assert!(output.status.success());
    let output = node.agent(&["key", "roll", "--key", "p256"]);
    assert!(output.status.success(), "{output:?}");
    let identity = Identity::load(&node.paths).unwrap();
    assert_ne!(identity.certificate.key_hash(), node.identity.certificate.key_hash());
    assert_eq!(leaf(&node.paths.issued_certificate).key_hash(), identity.certificate.key_hash());
    assert_eq!(leaf(&cert).key_hash(), identity.certificate.key_hash());
    let exported = private_key::from_pem(&fs::read(&key).unwrap()).unwrap();
    assert_eq!(exported.public_key_to_der().unwrap(), identity.certificate.spki_der());
}

#[test]
fn in_certificate_validation_mode_it_is_the_client_certificate_while_it_is_valid() {
    // Long enough to be looked at before it ends.
    let (_root, node) = enrolled((-60, 10));
    let used = || {
        let (settings, _) = Settings::load(node.root()).unwrap();
        let identity = Identity::load(&node.paths).unwrap();
        trust::client_identity(&settings, &identity).unwrap().0.fingerprint()
    };
    let own = node.identity.certificate.fingerprint();
    assert_eq!(used(), own, "by key, the own certificate does");
    write(&node.paths.agent_conf, "server = localhost\ncert_validation = true\n");
    assert_eq!(used(), leaf(&node.paths.issued_certificate).fingerprint());
    eventually("it ends", || (used() == own).then_some(()));
}

#[test]
fn nothing_is_exported_over_the_files_of_the_agent() {
    let node = Node::new();
    let own = node.paths.certificate.to_str().unwrap();
    let before = fs::read(own).unwrap();
    for arguments in [&["--cert", own][..], &["--cert", "/tmp/one-file", "--key", "/tmp/one-file"]] {
        let output = node.agent(&[&["cert", "export"], arguments].concat());
        assert_eq!(output.status.code(), Some(2), "{output:?}");
    }
    assert_eq!(fs::read(own).unwrap(), before);
    let listed = node.agent(&["cert", "export", "--list"]);
    assert_eq!(text(&listed.stdout), "");
}
