// SPDX-License-Identifier: Apache-2.0
//! Two machines with one identity, and one machine that went back in time.

use std::{fs, path::Path, process::Command, thread::sleep, time::Duration};

use serde_json::Value;
use tests::{
    Result,
    identity::Identity,
    node::Node,
    programs,
    realm::{Realm, wait_known},
    wait,
};

use crate::{PATIENCE, expect_exit};

/// A node that was taken in at the root.
fn accepted(realm: &Realm, name: &str) -> Result<Node> {
    let node = Node::init(&realm.directory().join(name), &["--key", "p256"])?;
    let (port, pin) = (realm.root.gateway().port(), realm.root.key_hash());
    expect_exit(&node.enroll(port, pin, &["--no-wait", "--hostname", "web-1.example.com"])?, 4);
    realm.operator(&["node", "accept", node.node_id().as_str()])?;
    wait_known(&realm.root, node.identity())?;
    node.configure(port, pin, "20260102-030405-5f3a9c1e")?;
    Ok(node)
}

/// One run whose log arrives. Starts have whole seconds, and a node has one run a second at most.
fn run(node: &Node) -> Result<()> {
    sleep(Duration::from_millis(1100));
    expect_exit(&node.run(&["true"])?, 0);
    expect_exit(&node.send()?, 0);
    Ok(())
}

/// The open conflicts of a node, as `relayd node show` has them.
fn conflicts(realm: &Realm, node: &Identity) -> Result<Vec<String>> {
    let shown = realm.node(&node.node_id)?;
    let conflicts = shown["conflicts"].as_array().cloned().unwrap_or_default();
    let open =
        conflicts.iter().filter(|conflict| matches!(conflict["resolved"], Value::Null | Value::Bool(false)));
    Ok(open.filter_map(|conflict| Some(conflict["kind"].as_str()?.to_owned())).collect())
}

#[test]
fn two_machines_with_one_identity_are_shown() -> Result<()> {
    let realm = Realm::start()?;
    let original = accepted(&realm, "original")?;
    run(&original)?;
    let copy = original.copy(&realm.directory().join("copy"))?;
    for _ in 0..3 {
        run(&original)?;
        run(&copy)?;
    }
    wait::until_true("the clone to be seen", PATIENCE, || {
        Ok(conflicts(&realm, original.identity())?.iter().any(|kind| kind == "clone"))
    })
    .map_err(|e| format!("{e}\n{:?}\n{}", realm.node(original.node_id()), realm.root.log_end()))?;
    let people = realm.operator(&["node", "show", original.node_id().as_str()])?;
    assert!(people.contains("clone") && people.contains("127.0.0.1"), "{people}");
    // Both are still taken: neither silences the other.
    run(&copy)?;
    // What was heard before it is noted up to two seconds later, and may be a conflict once more.
    wait::until_true("the conflict to be resolved", PATIENCE, || {
        realm.operator(&["node", "resolve", original.node_id().as_str()])?;
        Ok(conflicts(&realm, original.identity())?.is_empty())
    })
}

/// As [`run`] on a machine that has been booted as `boot`: in a mount namespace, where the kernel's file says so.
fn run_booted_as(node: &Node, boot: &Path) -> Result<()> {
    sleep(Duration::from_millis(1100));
    let script =
        "mount --bind \"$0\" /proc/sys/kernel/random/boot_id && \"$@\" run -- true && exec \"$@\" send";
    let ran = Command::new("unshare")
        .args(["--mount", "sh", "-c", script])
        .arg(boot)
        .arg(programs::find("agent")?)
        .arg("--root")
        .arg(node.root())
        .output()?;
    expect_exit(&ran, 0);
    Ok(())
}

/// A virtual machine was copied and both were started: two boots that go on side by side, even when both counters grow.
/// A reboot looks like the first half of that, and is none.
#[test]
fn two_virtual_machines_with_one_identity_are_shown() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can pretend to have been rebooted");
        return Ok(());
    }
    let realm = Realm::start()?;
    let boots: Vec<_> = (0..3).map(|number| realm.directory().join(format!("boot-{number}"))).collect();
    for boot in &boots {
        fs::write(boot, format!("{}\n", uuid::Uuid::new_v4()))?;
    }
    let original = accepted(&realm, "original")?;
    run_booted_as(&original, &boots[0])?;
    run_booted_as(&original, &boots[1])?;
    let copy = original.copy(&realm.directory().join("copy"))?;
    run_booted_as(&original, &boots[1])?;
    assert_eq!(conflicts(&realm, original.identity())?, [""; 0], "a reboot");
    for _ in 0..3 {
        run_booted_as(&copy, &boots[2])?;
        run_booted_as(&original, &boots[1])?;
    }
    wait::until_true("the clone to be seen", PATIENCE, || {
        Ok(conflicts(&realm, original.identity())?.iter().any(|kind| kind == "clone"))
    })
    .map_err(|e| format!("{e}\n{:?}\n{}", realm.node(original.node_id()), realm.root.log_end()))?;
    let shown = realm.node(original.node_id())?.to_string();
    for boot in &boots[1..] {
        assert!(shown.contains(fs::read_to_string(boot)?.trim()), "{shown}");
    }
    Ok(())
}

#[test]
fn a_restored_snapshot_is_known_as_one_and_carries_on() -> Result<()> {
    let realm = Realm::start()?;
    let node = accepted(&realm, "node")?;
    run(&node)?;
    let snapshot = node.copy(&realm.directory().join("snapshot"))?;
    for _ in 0..3 {
        run(&node)?;
    }
    for _ in 0..4 {
        run(&snapshot)?;
    }
    wait::until_true("the snapshot to be seen", PATIENCE, || {
        let shown = realm.node(node.node_id())?.to_string();
        Ok(shown.contains("rollback"))
    })
    .map_err(|e| format!("{e}\n{:?}\n{}", realm.node(node.node_id()), realm.root.log_end()))?;
    assert!(!conflicts(&realm, node.identity())?.iter().any(|kind| kind == "clone"));
    Ok(())
}
