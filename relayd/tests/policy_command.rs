// SPDX-License-Identifier: Apache-2.0
//! `relayd policy`: the program on a store, the manifests that it signs as nodes and stock OpenSSL see them,
//! and what is left when it is killed.
#![allow(missing_docs)]

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use chrono::Utc;
use protocol::{
    certificate::read_bundle,
    hash::ContentDigest,
    node_id::NodeId,
    policy_manifest::{Expectation, Manifest},
};
use relayd::policies::store::Store;
use serde_json::{Value, json};

struct Root {
    directory: tempfile::TempDir,
}

struct Said {
    code: i32,
    out: String,
    err: String,
}

const WEB1: &str = "e745a140-40bc-4b86-b6dc-084488fc906b";
const WEB2: &str = "f745a140-40bc-4b86-b6dc-084488fc906b";
const RELAY: &str = "relay-1";
const BEHIND: &str = "node-behind";

impl Root {
    /// A root with four nodes, a policy key and a tree of three files.
    fn new() -> Self {
        let root = Self::without_key();
        root.says(&["key", "init"]);
        root
    }

    fn without_key() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name).display().to_string();
        let conf = format!(
            "[general]\nnode_id = \"root\"\nnodes_list_file = \"{}\"\n[policies]\npublished = \"{}\"\n\
             key_directory = \"{}\"\ngroups = \"{}\"\nkeep_versions = 2\n",
            at("nodes.json"),
            at("published"),
            at("key"),
            at("groups")
        );
        fs::write(directory.path().join("main.conf"), conf).unwrap();
        fs::write(directory.path().join("logging.conf"), "").unwrap();
        let node = |name: &str, server: &str| json!({"hostname": name, "policy-server": server});
        let nodes = json!({
            "root": node("root.example.org", "root"),
            WEB1: node("web1.example.org", "root"),
            WEB2: node("web2.example.org", "root"),
            RELAY: node("relay1.example.org", "root"),
            BEHIND: node("db1.example.org", RELAY),
        });
        fs::write(directory.path().join("nodes.json"), nodes.to_string()).unwrap();
        let root = Self { directory };
        root.write("promises.cf", "body common control\n{\n}\n", 0o644);
        root.write("rudder.json", "{}\n", 0o600);
        root.write("bin/run", "#!/bin/sh\n", 0o755);
        root
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, content: &str, mode: u32) {
        let path = self.path("tree").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_relayd"));
        command.arg("-c").arg(self.directory.path()).arg("policy").args(args).stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Said {
        let output = self.command(args).output().unwrap();
        Said {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    fn says(&self, args: &[&str]) -> String {
        let said = self.run(args);
        assert_eq!(said.code, 0, "{args:?}: {}{}", said.out, said.err);
        said.out
    }

    fn refuses(&self, args: &[&str], code: i32, why: &str) {
        let said = self.run(args);
        assert!(said.code == code && said.err.contains(why), "{args:?}: {} {}", said.code, said.err);
    }

    /// Publishes the tree; the answer as JSON.
    fn publish(&self, args: &[&str]) -> Value {
        let tree = self.path("tree").display().to_string();
        let args = [&["publish", &tree, "--json"], args].concat();
        serde_json::from_str(&self.says(&args)).unwrap()
    }

    fn store(&self) -> Store {
        Store::new(&self.path("published"))
    }

    /// The signed manifest that a node gets.
    fn manifest(&self, node: &str) -> Option<Vec<u8>> {
        self.store().read(&node.parse().unwrap(), |published| published.manifest()).unwrap()
    }

    /// What a node with the exported keys takes: everything is checked.
    fn taken(&self, node: &str, held: Option<u64>) -> Result<Manifest, String> {
        let node_id: NodeId = node.parse().unwrap();
        let pinned = read_bundle(self.says(&["key", "export"]).as_bytes()).unwrap();
        let message = self.manifest(node).ok_or("nothing is served")?;
        let expectation = Expectation { node_id: &node_id, pinned: &pinned, held, now: Utc::now() };
        let manifest = expectation.accept(&message).map_err(|refusal| refusal.to_string())?;
        self.store()
            .read(&node_id, |published| {
                for file in manifest.files().iter() {
                    let content = std::io::read_to_string(published.open(file.sha256)?)?;
                    assert_eq!(ContentDigest::of(content.as_bytes()), file.sha256, "{}", file.path);
                }
                Ok(())
            })
            .unwrap();
        Ok(manifest)
    }

    fn versions(&self, node: &str) -> Vec<(u64, String)> {
        let lines = self.says(&["list", node, "--json"]);
        let rows = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        rows.map(|row| (row["version"].as_u64().unwrap(), row["state"].as_str().unwrap().into())).collect()
    }
}

#[test]
fn staged_looked_at_activated_and_taken_back() {
    let root = Root::new();
    let first = root.publish(&["--node", "web1.example.org", "--note", "the first"]);
    assert_eq!(
        (&first["state"], &first["files"], &first["node_ids"]),
        (&json!("staged"), &json!(3), &json!([WEB1]))
    );
    assert_eq!(root.manifest(WEB1), None, "staged is not served");
    let diff = root.says(&["diff", WEB1, "--names"]);
    assert!(diff.contains("nothing to version") && diff.contains("3 added, 0 changed, 0 removed"), "{diff}");
    assert!(root.says(&["activate", "--node", WEB1]).contains("is served to 1 node"));
    let one = root.taken(WEB1, None).unwrap();
    assert_eq!((Some(one.version()), one.note()), (first["version"].as_u64(), Some("the first")));
    let executable: Vec<_> =
        one.files().iter().filter(|file| file.executable).map(|file| file.path.as_str()).collect();
    assert_eq!(executable, ["bin/run"]);

    root.write("promises.cf", "body common control\n{\n changed\n}\n", 0o755);
    fs::remove_file(root.path("tree/rudder.json")).unwrap();
    root.write("new.bin", "\0\u{1}", 0o644);
    let second = root.publish(&["--node", WEB1])["version"].as_u64().unwrap();
    let diff = root.says(&["diff", "web1.example.org"]);
    for line in [
        "changed  promises.cf  (executable)",
        "+ changed",
        "removed  rudder.json",
        "-{}",
        "added    new.bin",
        "  no text, or a long one: nothing then 2 B",
        "1 added, 1 changed, 1 removed; 3 files then",
    ] {
        assert!(diff.lines().any(|said| said == line), "{line}: {diff}");
    }
    let names: Value = serde_json::from_str(&root.says(&["diff", WEB1, "--json"])).unwrap();
    assert_eq!(names["changed"][0]["to"]["executable"], true);
    root.says(&["activate", "--all"]);
    assert_eq!(root.taken(WEB1, Some(one.version())).unwrap().version(), second);
    root.refuses(&["activate", "--node", WEB1, "--version", &one.version().to_string()], 1, "rollback");
    root.refuses(&["activate", "--node", WEB1, "--version", "7"], 4, "there is no version 7");

    root.says(&["rollback", "--node", WEB1]);
    let back = root.taken(WEB1, Some(second)).unwrap();
    assert!(back.version() > second, "nodes refuse older versions");
    assert_eq!(back.files(), one.files());
    // Once more would be to go forward again.
    root.refuses(&["rollback", "--node", WEB1], 4, "--to");
    root.says(&["rollback", "--node", WEB1, "--to", &second.to_string()]);
    assert_eq!(root.taken(WEB1, None).unwrap().files().len(), 3);
    let versions = root.versions(WEB1);
    assert_eq!(versions.len(), 3, "the active one and two more: {versions:?}");
    assert_eq!(versions[0].1, "active");
}

#[test]
fn nodes_are_chosen_by_name_group_and_place() {
    let root = Root::new();
    let chosen = |args: &[&str]| {
        let ids = root.publish(args)["node_ids"].clone();
        serde_json::from_value::<Vec<String>>(ids).unwrap()
    };
    assert_eq!(chosen(&["--all"]), [WEB1, WEB2, BEHIND, RELAY]);
    assert_eq!(chosen(&["--below", "relay1.example.org"]), [BEHIND]);
    assert_eq!(chosen(&["--node", "f745a140", "--node", BEHIND]), [WEB2, BEHIND]);
    fs::create_dir(root.path("groups")).unwrap();
    fs::write(root.path("groups/web"), format!("# both\nweb*.example.org\n{BEHIND} # and this\ngone\n"))
        .unwrap();
    assert_eq!(chosen(&["--group", "web"]), [WEB1, WEB2, BEHIND]);
    assert_eq!(chosen(&["--group", root.path("groups/web").to_str().unwrap()]).len(), 3);
    let tree = root.path("tree").display().to_string();
    let said = root.run(&["publish", &tree, "--group", "web"]);
    assert!(said.err.contains("groups/web: gone fits no node"), "{}", said.err);
    root.refuses(&["publish", &tree, "--group", "db"], 4, "there is no group");
    root.refuses(&["publish", &tree, "--node", "web9"], 4, "there is no node");
    root.refuses(&["publish", &tree], 2, "--all");
    assert_eq!(chosen(&["--node", "soon-here", "--unknown"]), ["soon-here"]);
    root.refuses(&["publish", &tree, "--node", "..", "--unknown"], 4, "there is no node");
    root.says(&["remove", "--node", "soon-here"]);
    root.refuses(&["list", "soon-here"], 4, "there is no node");
    // What has the same files already is left out.
    assert_eq!(chosen(&["--all", "--if-changed"]), [] as [&str; 0]);
    root.write("promises.cf", "other\n", 0o644);
    assert_eq!(chosen(&["--all", "--if-changed"]).len(), 4);
}

#[test]
fn what_cannot_be_published_changes_nothing() {
    let root = Root::without_key();
    let tree = root.path("tree").display().to_string();
    root.refuses(&["publish", &tree, "--all"], 4, "relayd policy key init");
    root.says(&["key", "init"]);
    root.refuses(&["key", "init"], 1, "relayd policy key next");
    symlink("/etc/passwd", root.path("tree/out")).unwrap();
    root.refuses(&["publish", &tree, "--all"], 1, "leads out of the directory");
    fs::remove_file(root.path("tree/out")).unwrap();
    root.refuses(&["publish", &tree, "--all", "--expires", "2020-01-01"], 2, "is over");
    root.refuses(&["publish", &tree, "--all", "--expires", "soon"], 2, "write a duration");
    root.refuses(&["publish", "/nowhere", "--all"], 1, "/nowhere");
    assert!(!root.path("published").exists());
    let conf = fs::read_to_string(root.path("main.conf")).unwrap();
    let relay = conf.replace("\"root\"", &format!("\"{RELAY}\""))
        + "[output.upstream]\nhost = \"root.example.org\"\npassword = \"p\"\n";
    fs::write(root.path("main.conf"), relay).unwrap();
    for args in [&["publish", &tree, "--all"][..], &["key", "show"], &["renew", "--all"]] {
        root.refuses(args, 2, "configuration of a relay");
    }
}

#[test]
fn damage_is_noticed_before_a_version_is_served() {
    let root = Root::new();
    root.publish(&["--all"]);
    let object = ContentDigest::of(b"{}\n").to_string();
    let object = root.path("published/objects").join(&object[..2]).join(object);
    fs::write(object, "{ }").unwrap();
    root.refuses(&["activate", "--node", WEB1], 1, "rudder.json is missing or damaged");
    root.publish(&["--all", "--activate"]);
    root.taken(WEB1, None).unwrap();
    // Somebody who can write to the store but has not the key.
    root.publish(&["--node", WEB2]);
    let directory = root.path("published/nodes").join(WEB2);
    let newest = root.store().editions(&WEB2.parse().unwrap()).unwrap().pop().unwrap();
    let envelope = directory.join(newest.to_string());
    let altered = fs::read_to_string(&envelope).unwrap().replace(WEB2, WEB1);
    fs::write(&envelope, altered).unwrap();
    root.refuses(&["activate", "--node", WEB2], 1, "the content was altered");
}

#[test]
fn nobody_is_brought_to_sign_what_only_the_store_says() {
    let root = Root::new();
    root.publish(&["--all", "--activate"]);
    let directory = root.path("published/nodes").join(WEB1);
    let active = root.store().active_edition(&WEB1.parse().unwrap()).unwrap().unwrap();
    let lines = fs::read_to_string(root.path("published/lists").join(active.list.to_string())).unwrap();
    // Content, list and version of somebody who can write to the store but has not the key.
    let (old, new) = (ContentDigest::of(b"#!/bin/sh\n"), ContentDigest::of(b"#!/bin/ex\n"));
    let object = root.path("published/objects").join(&new.to_string()[..2]).join(new.to_string());
    fs::create_dir_all(object.parent().unwrap()).unwrap();
    fs::write(object, "#!/bin/ex\n").unwrap();
    let forged = lines.replace(&old.to_string(), &new.to_string());
    let list = ContentDigest::of(forged.as_bytes());
    fs::write(root.path("published/lists").join(list.to_string()), forged).unwrap();
    let edition = format!("{}-{list}", active.version);
    fs::copy(directory.join(active.to_string()), directory.join(&edition)).unwrap();
    fs::remove_file(directory.join("active")).unwrap();
    symlink(&edition, directory.join("active")).unwrap();
    root.refuses(&["renew", "--node", WEB1], 1, "the content was altered");
    // And what was signed, under another number.
    let edition = format!("{}-{}", active.version + 1, active.list);
    fs::copy(directory.join(active.to_string()), directory.join(&edition)).unwrap();
    let to = (active.version + 1).to_string();
    root.refuses(&["rollback", "--node", WEB1, "--to", &to], 1, "it was signed as version");
    assert_eq!(root.versions(WEB1).len(), 3, "nothing was signed");
}

#[test]
fn keys_change_without_a_node_that_refuses() {
    let root = Root::new();
    root.publish(&["--all", "--activate"]);
    let old = read_bundle(root.says(&["key", "export"]).as_bytes()).unwrap();
    root.says(&["key", "next"]);
    let both = read_bundle(root.says(&["key", "export"]).as_bytes()).unwrap();
    assert_eq!((both.len(), both[0].key_hash()), (2, old[0].key_hash()));
    root.says(&["key", "activate"]);
    root.says(&["renew", "--all", "--expires", "never"]);
    let (message, node_id) = (root.manifest(WEB1).unwrap(), WEB1.parse().unwrap());
    let takes = |pinned: &[_]| {
        Expectation { node_id: &node_id, pinned, held: None, now: Utc::now() }.accept(&message).is_ok()
    };
    assert!(takes(&both) && takes(&both[1..]) && !takes(&old));
    assert_eq!(root.taken(WEB1, None).unwrap().expires(), None);
    let shown: Value = serde_json::from_str(&root.says(&["key", "show", "--json"])).unwrap();
    assert_eq!(shown["former"][0]["key_hash"], old[0].key_hash().to_string());
}

#[test]
fn stock_openssl_verifies_what_is_served() {
    let root = Root::new();
    root.publish(&["--node", WEB1, "--activate"]);
    fs::write(root.path("m"), root.manifest(WEB1).unwrap()).unwrap();
    root.says(&["key", "export", "--out", root.path("policy_key.pem").to_str().unwrap()]);
    let verify = |message: &str| {
        let output = Command::new("openssl")
            .args(["smime", "-verify", "-text", "-in", message, "-CAfile", "policy_key.pem"])
            .args(["-certfile", "policy_key.pem", "-nointern"])
            .current_dir(root.directory.path())
            .output()
            .unwrap();
        output.status.success().then_some(output.stdout)
    };
    let text = verify("m").expect("a good signature");
    assert_eq!(Manifest::from_json(&text).unwrap().node_id().as_str(), WEB1);
    let altered = fs::read_to_string(root.path("m")).unwrap().replace(WEB1, WEB2);
    fs::write(root.path("m2"), altered).unwrap();
    assert!(verify("m2").is_none());
}

/// Killed at many moments of a publication: what is served is always one version or the other, whole, and the
/// next publication works as if nothing had been.
#[test]
fn a_kill_at_any_moment_leaves_a_whole_version() {
    let root = Root::new();
    let tree = root.path("tree").display().to_string();
    let mut last = root.publish(&["--all", "--activate"])["version"].as_u64().unwrap();
    let started = std::time::Instant::now();
    root.publish(&["--all", "--activate"]);
    let usual = started.elapsed().max(Duration::from_millis(10));
    let (mut killed, rounds) = (0, 20);
    for round in 0..rounds {
        root.write("promises.cf", &format!("round {round}\n"), 0o644);
        let mut child = root
            .command(&["publish", &tree, "--all", "--activate"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        thread::sleep(usual * round / rounds);
        child.kill().unwrap();
        killed += usize::from(!child.wait().unwrap().success());
        for node in [WEB1, WEB2, RELAY, BEHIND] {
            let taken = root.taken(node, Some(last)).unwrap();
            assert_eq!(taken.files().len(), 3);
        }
    }
    assert!(killed > 0, "no publication was interrupted");
    last = root.publish(&["--all", "--activate"])["version"].as_u64().unwrap();
    for node in [WEB1, BEHIND] {
        assert_eq!(root.taken(node, None).unwrap().version(), last);
    }
    let left = |path: &Path| fs::read_dir(path).unwrap().count();
    assert_eq!(left(&root.path("published/incoming")), 0);
    // Nothing is left of what was killed but what versions that are kept refer to.
    let lists = left(&root.path("published/lists"));
    assert!(lists <= 2 + 3 + 1, "{lists} lists");
}
