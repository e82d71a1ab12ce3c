// SPDX-License-Identifier: Apache-2.0
//! `agent key roll`: no moment without a key that servers know.

use std::fs;

use agent::identity::{Identity, next, refused};
use protocol::enrolment::State;
use serde_json::Value;

use crate::{
    node::{Node, eventually, signal, text},
    root::Root,
};

fn known(root: &Root) -> Node {
    let node = Node::new();
    node.server(root.server.port);
    root.knows(&node.identity.certificate);
    node
}

#[test]
fn the_new_key_is_in_use_once_the_policy_server_knows_it() {
    let root = Root::start();
    root.mind(|mind| mind.slow = 1);
    let node = known(&root);
    node.policies("echo signed with the old key");
    let waiting = fs::read(node.paths.ready().join(&node.ready()[0])).unwrap();
    let before = node.identity.certificate.key_hash();
    for kind in ["rsa4096", "p256"] {
        let output = node.agent(&["key", "roll", "--key", kind]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let now = Identity::load(&node.paths).unwrap().certificate.key_hash();
        assert!(text(&output.stdout).contains(&now.to_string()));
        assert!(root.mind(|mind| mind.keys.contains_key(&now)), "it was known before it was used");
        assert_ne!(now, before);
    }
    assert!(node.agent(&["send"]).status.success());
    let sent = root.server.requests().into_iter().find(|r| r.line.starts_with("PUT /reports/")).unwrap();
    assert_eq!(sent.body, waiting);
    node.open(&sent.body);
    assert!(next::old_of(&node.paths.key).exists() && !next::next_of(&node.paths.key).exists());
}

#[test]
fn a_policy_server_that_does_not_know_it_yet_keeps_the_old_one_in_use() {
    let root = Root::start();
    root.mind(|mind| mind.slow = usize::MAX);
    let node = known(&root);
    let before = node.identity.certificate.key_hash();
    let output = node.agent(&["key", "roll", "--key", "p256", "--wait", "2s"]);
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    assert_eq!(Identity::load(&node.paths).unwrap().certificate.key_hash(), before);
    let prepared = fs::read(next::next_of(&node.paths.key)).unwrap();
    let status: Value = serde_json::from_slice(&node.agent(&["status", "--json"]).stdout).unwrap();
    assert_eq!(status["key_change"], true);
    // The same key goes on, and the daemon ends it alone.
    root.mind(|mind| mind.slow = 0);
    node.settings("policy_command = [\"true\"]\nrun_interval = \"7d\"\n");
    let mut daemon = node.command(&["daemon"]).spawn().unwrap();
    eventually("the new key is in use", || (fs::read(&node.paths.key).unwrap() == prepared).then_some(()));
    signal(&daemon, rustix::process::Signal::TERM);
    assert!(daemon.wait().unwrap().success());
    assert_ne!(Identity::load(&node.paths).unwrap().certificate.key_hash(), before);
}

#[test]
fn a_refused_key_is_kept_and_the_old_one_stays_in_use() {
    let root = Root::start();
    let node = known(&root);
    root.mind(|mind| mind.verdict = State::Refused);
    let output = node.agent(&["key", "roll", "--key", "p256"]);
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    assert!(!next::next_of(&node.paths.key).exists() && !next::next_of(&node.paths.certificate).exists());
    let kept = refused::all(&node.paths, &node.identity.node_id).unwrap();
    assert_eq!(kept.len(), 1);
    assert!(text(&output.stderr).contains("localhost.priv.refused-"), "{output:?}");
    node.policies("true");
    assert!(node.agent(&["send"]).status.success());
    // While the old key is known, a refused one is no more than kept: the next change has a key of its own.
    root.mind(|mind| {
        mind.verdict = State::Pending;
        mind.know(&node.identity.node_id, &kept[0].certificate);
    });
    let output = node.agent(&["key", "roll", "--key", "p256"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_ne!(Identity::load(&node.paths).unwrap().certificate.serial(), kept[0].certificate.serial());
}

#[test]
fn a_refused_key_that_the_root_has_after_all_is_taken_into_use_when_the_old_one_is_over() {
    for way in ["upkeep", "daemon", "key roll"] {
        let root = Root::start();
        let node = known(&root);
        for verdict in [State::Conflict, State::Refused] {
            root.mind(|mind| mind.verdict = verdict);
            assert_eq!(node.agent(&["key", "roll", "--key", "p256"]).status.code(), Some(5));
        }
        let kept = refused::all(&node.paths, &node.identity.node_id).unwrap();
        let (good, own) = (&kept[1].certificate, &node.identity.certificate);
        assert!(node.agent(&["upkeep"]).status.success());
        assert_eq!(Identity::load(&node.paths).unwrap().certificate.serial(), own.serial(), "{way}");
        root.mind(|mind| {
            mind.keys.clear();
            mind.know(&node.identity.node_id, good);
        });
        match way {
            "daemon" => {
                node.policies("true");
                node.settings("policy_command = [\"true\"]\nrun_interval = \"7d\"\n");
                // What it is told by the server has it look, long before the next look is due.
                let output = node.agent(&["send"]);
                assert_eq!(output.status.code(), Some(1), "{output:?}");
                let mut daemon = node.command(&["daemon"]).spawn().unwrap();
                eventually("the new key is in use", || {
                    (Identity::load(&node.paths).ok()?.certificate.serial() == good.serial()).then_some(())
                });
                signal(&daemon, rustix::process::Signal::TERM);
                assert!(daemon.wait().unwrap().success());
            }
            _ => {
                let output = node.agent(&way.split(' ').collect::<Vec<_>>());
                assert!(output.status.success(), "{way}: {output:?}");
            }
        }
        assert_eq!(Identity::load(&node.paths).unwrap().certificate.serial(), good.serial(), "{way}");
        node.policies("true");
        assert!(node.agent(&["send", "--now"]).status.success(), "{way}");
        assert_eq!(refused::all(&node.paths, &node.identity.node_id).unwrap().len(), 1, "{way}");
    }
}

#[test]
fn a_kill_at_any_time_leaves_a_working_identity_and_the_next_try_ends_it() {
    let root = Root::start();
    let node = known(&root);
    for delay in [0, 5, 10, 15, 20, 30, 40, 60, 80] {
        let mut child = node.command(&["key", "roll", "--key", "p256"]).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(delay));
        let _ = child.kill();
        child.wait().unwrap();
        let identity = Identity::load(&node.paths).unwrap();
        assert!(
            root.mind(|mind| mind.keys.contains_key(&identity.certificate.key_hash())),
            "after {delay} ms"
        );
    }
    assert!(node.agent(&["key", "roll", "--key", "p256"]).status.success());
    node.policies("true");
    assert!(node.agent(&["send"]).status.success());
}
