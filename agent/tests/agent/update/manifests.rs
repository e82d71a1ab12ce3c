// SPDX-License-Identifier: Apache-2.0
//! Policies by manifest, signed or not.

use std::{fs, os::unix::fs::PermissionsExt, sync::atomic::Ordering};

use chrono::{TimeDelta, Utc};
use serde_json::Value;

use super::{Machine, files, read};
use crate::{
    node::text,
    shelf::{Files, bzip2, manifest, policy_key, tar},
};

/// 400 files; `changed` is in the middle one.
fn many(changed: &str) -> Files {
    let content = |n: usize| if n == 200 { changed.to_owned() } else { format!("{n} ").repeat(500) };
    let mut files: Files = (0..400).map(|n| (format!("d{}/f{n}.cf", n % 7), content(n).into())).collect();
    files.push(("rudder.json".into(), b"{\n \"RUDDER_NODE_CONFIG_ID\" : \"config-1\"\n}\n".to_vec()));
    files.sort();
    files
}

#[test]
fn only_what_changed_travels() {
    let machine = Machine::new();
    let own = format!("/policies/{}", machine.node.identity.node_id);
    let mut seen = 0;
    machine.publish(1, &many("one"));
    machine.is_updated();
    assert_eq!(machine.policies(), many("one"));
    // Most was missing: the archive of all is less than 400 requests.
    assert_eq!(
        machine.asked(&mut seen),
        [format!("GET {own}/rules.manifest"), format!("GET {own}/rules.tar.gz")]
    );

    let unchanged = machine.node.agent(&["update", "--json"]);
    let unchanged: Value = serde_json::from_slice(&unchanged.stdout).unwrap();
    assert_eq!((&unchanged["outcome"], &unchanged["received"]), (&"unchanged".into(), &0.into()));
    assert_eq!(machine.asked(&mut seen), [format!("GET {own}/rules.manifest")]);

    machine.publish(2, &many("two"));
    assert_eq!(machine.node.agent(&["update", "--check"]).status.code(), Some(4));
    assert_eq!(machine.policies(), many("one"), "only asked");
    seen = machine.server.requests().len();
    let connections = machine.server.connections.load(Ordering::SeqCst);
    machine.is_updated();
    assert_eq!(
        machine.asked(&mut seen),
        [format!("GET {own}/rules.manifest"), format!("GET {own}/rules/d4/f200.cf")]
    );
    assert_eq!(machine.server.connections.load(Ordering::SeqCst), connections + 1);
    assert_eq!((machine.policies(), read(&machine.previous())), (many("two"), many("one")));
    assert_eq!(machine.beside(), ["inputs", "inputs.previous"]);
    assert_eq!(machine.node.agent(&["update", "--check"]).status.code(), Some(0));

    // Another version of the same files moves nothing; what was changed by hand is mended on request.
    machine.publish(3, &many("two"));
    seen = machine.server.requests().len();
    assert!(text(&machine.update().stdout).contains("version 3"));
    assert_eq!(machine.asked(&mut seen).len(), 1);
    assert_eq!(machine.status()["active"]["version"], 3);
    fs::write(machine.node.paths.policies.join("d4/f200.cf"), "by hand").unwrap();
    assert!(machine.node.agent(&["update", "--force"]).status.success());
    assert_eq!(machine.policies(), many("two"));
    assert_eq!(machine.asked(&mut seen).len(), 2);
}

#[test]
fn files_are_for_the_agent_only_and_settings_follow_them() {
    let machine = Machine::new();
    machine.publish(
        1,
        &files(&[
            ("bin/hook.sh", "#!/bin/sh\n"),
            ("promises.cf", "1"),
            ("rudder.json", "{\n \"RUDDER_NODE_CONFIG_ID\" : \"config-1\"\n}\n"),
        ]),
    );
    let script = "echo \"policies $AGENT_CONFIG_ID in $AGENT_POLICIES\"";
    let output = machine.node.agent(&["run", "--", "sh", "-c", script]);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let log = machine.node.newest_log();
    let policies = machine.node.paths.policies.display();
    assert!(log.contains(&format!("policies config-1 in {policies}")), "{log}");
    let mode = |path: &str| {
        fs::metadata(machine.node.paths.policies.join(path)).unwrap().permissions().mode() & 0o7777
    };
    assert_eq!((mode(""), mode("bin/hook.sh"), mode("promises.cf")), (0o700, 0o700, 0o600));
    // What is written to the policies in use does not show in those kept.
    let in_use = machine.node.paths.policies.join("promises.cf");
    machine.publish(2, &files(&[("new", "2"), ("promises.cf", "1")]));
    machine.is_updated();
    fs::write(in_use, "changed by a run").unwrap();
    assert_eq!(fs::read(machine.previous().join("promises.cf")).unwrap(), b"1");
    let shown = text(&machine.node.agent(&["status"]).stdout);
    assert!(shown.contains("version 2, 2 files, by manifest, not signed, in use for"), "{shown}");
    // Settings that cannot be read are no policies.
    machine.publish(3, &files(&[("rudder.json", "{ \"AGENT_RUN_INTERVAL\": \"soon\" }")]));
    machine.fails(5, "AGENT_RUN_INTERVAL");
    assert_eq!(machine.policies().len(), 2);
    // Told not to, it does not ask.
    let asked = machine.server.requests().len();
    machine.node.policies("true");
    machine.node.settings("update = false\n");
    machine.node.agent(&["run", "--", "true"]);
    assert_eq!(machine.server.requests().len(), asked);
}

#[test]
fn an_archive_that_breaks_off_is_no_obstacle() {
    let machine = Machine::new();
    machine.publish(1, &many("one"));
    let whole = protocol::compression::gzip(&tar("", &many("one")));
    machine.shelf.put_own("rules.tar.gz", &whole[..whole.len() / 2]);
    machine.is_updated();
    assert_eq!(machine.policies(), many("one"));
    let mut seen = 0;
    let asked = machine.asked(&mut seen).len();
    assert!((10..400).contains(&asked), "{asked}: what had come out was used");
}

/// A relay that keeps an old version, and gives it the tag of one that is to come.
#[test]
fn a_false_tag_does_not_hide_what_comes_later() {
    let machine = Machine::new();
    let (certificate, key) = policy_key();
    fs::create_dir_all(machine.node.paths.policy_key.parent().unwrap()).unwrap();
    fs::write(&machine.node.paths.policy_key, certificate.to_pem()).unwrap();
    let publish = |version: u64, content: &str| {
        let files = files(&[("a", content)]);
        machine.shelf.put_files(&files);
        let signed = manifest(&machine.node.identity.node_id, version, None, &files);
        machine.shelf.put_own("rules.manifest", signed.sign(&certificate, &key).unwrap());
        files
    };
    publish(1, "one");
    machine.shelf.claim(Some("\"2-0000\""));
    machine.is_updated();
    assert_eq!(machine.status()["active"]["etag"], Value::Null);
    let two = publish(2, "two");
    machine.is_updated();
    assert_eq!((machine.policies(), &machine.status()["active"]["etag"]), (two, &"\"2-0000\"".into()));
    assert!(text(&machine.update().stdout).contains("have not changed"));
}

#[test]
fn with_a_pinned_key_only_the_right_policies_are_taken() {
    let machine = Machine::new();
    let node = machine.node.identity.node_id.clone();
    let ((certificate, key), (other_certificate, other_key)) = (policy_key(), policy_key());
    let pin = |pem: &[u8]| {
        fs::create_dir_all(machine.node.paths.policy_key.parent().unwrap()).unwrap();
        fs::write(&machine.node.paths.policy_key, pem).unwrap();
    };
    let publish = |version: u64, content: &str, expires| {
        let files = files(&[("a", "same"), ("b", content)]);
        machine.shelf.clear();
        machine.shelf.put_files(&files);
        let signed = manifest(&node, version, expires, &files).sign(&certificate, &key).unwrap();
        machine.shelf.put_own("rules.manifest", signed);
        files
    };
    // Nothing pinned: whoever signed. Then pinned: what is in use was not checked, so it is looked at again.
    let five = publish(5, "five", None);
    machine.is_updated();
    assert_eq!(machine.status()["signed"], false);
    pin(&other_certificate.to_pem());
    machine.fails(5, "signature");
    pin(&[other_certificate.to_pem(), certificate.to_pem()].concat());
    assert!(machine.update().status.success());
    assert_eq!((&machine.status()["signed"], &machine.status()["held"]), (&true.into(), &5.into()));

    let refused = |why: &str| {
        machine.fails(5, why);
        assert_eq!(machine.policies(), five, "{why}");
        assert!(machine.status()["problem"].as_str().unwrap().contains(why));
        // The run goes on, and says so.
        let output = machine.node.agent(&["run", "--", "true"]);
        assert!(output.status.success() && text(&output.stderr).contains(why), "{output:?}");
        assert!(machine.node.newest_log().contains("the policies were not updated: "));
        for name in machine.node.ready() {
            fs::remove_file(machine.node.paths.ready().join(name)).unwrap();
        }
    };
    publish(4, "four", None);
    refused("older");
    publish(6, "six", Some(Utc::now() - TimeDelta::seconds(5)));
    refused("expired");
    let six = files(&[("a", "same"), ("b", "six")]);
    machine.publish(6, &six);
    refused("not signed");
    let of_other = manifest(&"another-node".parse().unwrap(), 6, None, &six);
    machine.shelf.put_own("rules.manifest", of_other.sign(&certificate, &key).unwrap());
    refused("another-node");
    let by_other = manifest(&node, 6, None, &six).sign(&policy_key().0, &other_key);
    machine.shelf.put_own("rules.manifest", by_other.unwrap_or_default());
    refused("refused");
    publish(6, "six", None);
    machine.shelf.put_own("rules/b", "sex");
    machine.shelf.put_own("rules.tar.gz", "");
    refused("altered");
    publish(6, "six", None);
    machine.shelf.put_own("rules/b", "six, and more");
    machine.shelf.put_own("rules.tar.gz", "");
    refused("altered");
    // Told each time, but not fetched each time.
    let mut seen = machine.server.requests().len();
    machine.fails(5, "have not changed since");
    assert_eq!(machine.asked(&mut seen).len(), 1);
    // Archives have no signature.
    machine.shelf.clear();
    machine.shelf.put_own("rules/rudder.tar.bz2", bzip2(&tar("policies_next/", &six)));
    assert!(text(&machine.update().stdout).contains("no policies for this node"));
    assert_eq!(machine.policies(), five);
    // A file that says nothing is no leave to do without.
    machine.publish(6, &six);
    for damage in ["", "nonsense"] {
        pin(damage.as_bytes());
        machine.fails(2, "policy_key.pem");
    }
    assert_eq!(machine.policies(), five);
    pin(&certificate.to_pem());
    let six = publish(6, "six", Some(Utc::now() + TimeDelta::hours(1)));
    machine.is_updated();
    assert_eq!(machine.policies(), six);
}
