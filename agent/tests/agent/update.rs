// SPDX-License-Identifier: Apache-2.0
//! `agent update`, against a server that a test plays.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Output,
};

use chrono::{TimeDelta, Utc};
use serde_json::Value;

use crate::{
    node::{Node, text, write},
    server::Server,
    shelf::{Files, Shelf, bzip2, manifest, policy_key, tar},
};

struct Machine {
    node: Node,
    shelf: Shelf,
    server: Server,
}

impl Machine {
    fn new() -> Self {
        let node = Node::new();
        let shelf = Shelf::new(&node.identity.node_id);
        let server = shelf.serve();
        node.server(server.port);
        Self { node, shelf, server }
    }

    fn publish(&self, version: u64, files: &Files) {
        self.shelf.publish(&self.node.identity.node_id, version, files);
    }

    fn update(&self) -> Output {
        self.node.agent(&["update"])
    }

    fn is_updated(&self) {
        let output = self.update();
        assert!(output.status.success() && text(&output.stdout).contains("in use"), "{output:?}");
    }

    fn fails(&self, status: i32, why: &str) {
        let output = self.update();
        assert_eq!(output.status.code(), Some(status), "{output:?}");
        assert!(text(&output.stderr).contains(why), "{why}: {output:?}");
    }

    /// What was asked for since the last look.
    fn asked(&self, seen: &mut usize) -> Vec<String> {
        let all = self.server.requests();
        let new = all[*seen..].iter().map(|request| request.target().to_owned()).collect();
        *seen = all.len();
        new
    }

    fn policies(&self) -> Files {
        read(&self.node.paths.policies)
    }

    fn previous(&self) -> PathBuf {
        self.node.paths.policies.with_file_name("inputs.previous")
    }

    fn status(&self) -> Value {
        serde_json::from_slice::<Value>(&self.node.agent(&["status", "--json"]).stdout).unwrap()["policies"]
            .clone()
    }

    /// Names beside the policies.
    fn beside(&self) -> Vec<String> {
        let directory = self.node.paths.policies.parent().unwrap();
        let names = fs::read_dir(directory).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| name.starts_with("inputs")).collect();
        names.sort();
        names
    }
}

/// All files below a directory, by path.
fn read(directory: &Path) -> Files {
    let mut files = vec![];
    let mut directories = vec![directory.to_owned()];
    while let Some(one) = directories.pop() {
        for entry in fs::read_dir(one).into_iter().flatten() {
            let path = entry.unwrap().path();
            match fs::symlink_metadata(&path).unwrap().is_dir() {
                true => directories.push(path),
                false => {
                    let name = path.strip_prefix(directory).unwrap().to_str().unwrap().to_owned();
                    files.push((name, fs::read(&path).unwrap()));
                }
            }
        }
    }
    files.sort();
    files
}

fn files(of: &[(&str, &str)]) -> Files {
    let mut files: Files = of.iter().map(|(path, content)| ((*path).into(), (*content).into())).collect();
    files.sort();
    files
}

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
    let connections = machine.server.connections.load(std::sync::atomic::Ordering::SeqCst);
    machine.is_updated();
    assert_eq!(
        machine.asked(&mut seen),
        [format!("GET {own}/rules.manifest"), format!("GET {own}/rules/d4/f200.cf")]
    );
    assert_eq!(machine.server.connections.load(std::sync::atomic::Ordering::SeqCst), connections + 1);
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
    machine.shelf.put_own("rules/b", "six, and more");
    refused("altered");
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

#[test]
fn what_does_not_pass_is_taken_back_and_not_fetched_again() {
    let machine = Machine::new();
    let validate = "echo looked at $AGENT_POLICIES; ! grep -q bad $AGENT_POLICIES/promises.cf";
    machine.node.settings(&format!(
        "validate_command = [\"sh\", \"-c\", {validate:?}]\nvalidate_time_limit = \"1s\"\n"
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
fn archives_of_servers_without_manifests_are_taken() {
    let machine = Machine::new();
    let library = "/common/policies-library-linux.tar.bz2";
    let policies = files(&[("promises.cf", "1"), ("certs/root.pem", "PEM")]);
    machine.shelf.put_own("rules/rudder.tar.bz2", bzip2(&tar("policies_next/", &policies)));
    machine.shelf.put(library, bzip2(&tar("ncf/", &files(&[("common/lib.cf", "lib")]))));
    machine.is_updated();
    assert_eq!(machine.policies(), policies);
    assert_eq!(read(&machine.node.paths.library), files(&[("common/lib.cf", "lib")]));
    assert_eq!(machine.status()["active"]["source"], "archive");
    let unchanged = machine.node.agent(&["update", "--json"]);
    let unchanged: Value = serde_json::from_slice(&unchanged.stdout).unwrap();
    assert_eq!((&unchanged["outcome"], &unchanged["received"]), (&"unchanged".into(), &0.into()));
    // The library alone, judged with the policies in use; both go back together.
    machine.shelf.put(library, bzip2(&tar("ncf/", &files(&[("common/lib.cf", "lib 2")]))));
    machine.is_updated();
    assert_eq!(read(&machine.node.paths.library), files(&[("common/lib.cf", "lib 2")]));
    let lib = machine.node.paths.library.display();
    machine
        .node
        .settings(&format!("validate_command = [\"grep\", \"-q\", \"lib 2\", \"{lib}/common/lib.cf\"]\n"));
    machine.shelf.put(library, bzip2(&tar("ncf/", &files(&[("common/lib.cf", "lib 3")]))));
    machine.shelf.put_own("rules/rudder.tar.bz2", bzip2(&tar("policies_next/", &files(&[("new", "2")]))));
    machine.fails(5, "validation");
    assert_eq!(machine.policies(), policies);
    assert_eq!(read(&machine.node.paths.library), files(&[("common/lib.cf", "lib 2")]));
    let mut seen = machine.server.requests().len();
    machine.fails(5, "have not changed since");
    assert_eq!(machine.asked(&mut seen).len(), 3);
    // With another library they may pass.
    machine.shelf.put(library, bzip2(&tar("ncf/", &files(&[("common/lib.cf", "lib 2"), ("x", "y")]))));
    machine.is_updated();
    assert_eq!(machine.policies(), files(&[("new", "2")]));
}

#[test]
fn zip_is_taken_where_there_is_nothing_else() {
    let machine = Machine::new();
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(vec![]));
    zip.start_file("Rudder.ps1", zip::write::SimpleFileOptions::default()).unwrap();
    machine.shelf.put_own("rules/dsc/rudder.zip", zip.finish().unwrap().into_inner());
    machine.is_updated();
    assert_eq!(machine.policies(), files(&[("Rudder.ps1", "")]));
}

#[test]
fn a_tree_of_another_program_comes_with_its_library() {
    let machine = Machine::new();
    let library = "/common/policies-library-linux.tar.bz2";
    let tree = files(&[("cfengine-community/promises.cf", "1"), ("rudder-promises-generated", "now")]);
    machine.publish(0, &tree);
    machine.shelf.put(library, bzip2(&tar("ncf/", &files(&[("lib.cf", "1")]))));
    machine.is_updated();
    assert_eq!(machine.policies(), files(&[("promises.cf", "1")]));
    assert_eq!(read(&machine.node.paths.library), files(&[("lib.cf", "1")]));
    let mut seen = machine.server.requests().len();
    assert!(text(&machine.update().stdout).contains("have not changed"));
    assert_eq!(machine.asked(&mut seen).len(), 2);
    machine.shelf.put(library, bzip2(&tar("ncf/", &files(&[("lib.cf", "2")]))));
    machine.is_updated();
    assert_eq!(read(&machine.node.paths.library), files(&[("lib.cf", "2")]));
}

#[test]
fn hostile_archives_are_refused_once() {
    let machine = Machine::new();
    let good = files(&[("promises.cf", "good")]);
    machine.shelf.put_own("rules/rudder.tar.bz2", bzip2(&tar("policies_next/", &good)));
    machine.is_updated();
    let special = |kind: tar::EntryType, name: &str, link: &str| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_gnu_mut().unwrap().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_size(0);
        header.set_mode(0o777);
        header.set_cksum();
        [header.as_bytes().to_vec(), vec![0; 1024]].concat()
    };
    // Several streams in a row are one: bombs cost little to make.
    let entry = special(tar::EntryType::Directory, "policies_next/x/", "");
    let million = bzip2(&entry[..512].repeat(10_000)).repeat(100);
    let mut header = tar::Header::new_gnu();
    header.set_path("policies_next/zeros").unwrap();
    header.set_size(1 << 30);
    header.set_mode(0o600);
    header.set_cksum();
    let zeros = [bzip2(header.as_bytes()), bzip2(&vec![0; 1 << 20]).repeat(1 << 10)].concat();
    for (why, archive) in [
        ("links to a place outside", special(tar::EntryType::Symlink, "policies_next/l", "/etc/passwd")),
        ("hard link", special(tar::EntryType::Link, "policies_next/l", "policies_next/promises.cf")),
        ("starts with", special(tar::EntryType::Regular, "policies_next/../../x", "")),
        ("not below", special(tar::EntryType::Regular, "elsewhere", "")),
        ("empty path segment", special(tar::EntryType::Regular, "/etc/x", "")),
        ("device", special(tar::EntryType::Block, "policies_next/sda", "")),
        ("case only", tar("policies_next/", &files(&[("a", ""), ("A", "")]))),
    ]
    .map(|(why, archive)| (why, bzip2(&archive)))
    .into_iter()
    .chain([("bytes come out", zeros), ("entries", million)])
    {
        machine.shelf.put_own("rules/rudder.tar.bz2", archive);
        let mut seen = machine.server.requests().len();
        machine.fails(5, why);
        assert_eq!(machine.policies(), good, "{why}");
        assert_eq!(machine.beside(), ["inputs"], "{why}");
        machine.asked(&mut seen);
        machine.fails(5, "have not changed since");
        // Manifest, archive (304), library.
        assert_eq!(machine.asked(&mut seen).len(), 3, "{why}");
    }
    assert!(!machine.node.root().join("x").exists());
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
