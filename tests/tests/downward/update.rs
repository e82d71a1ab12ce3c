// SPDX-License-Identifier: Apache-2.0
//! Policies reach the agent: published, changed, altered on the way, gone back.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Output,
    time::Duration,
};

use openssl::sha::sha256;
use protocol::{
    compression::{self, Compression},
    hash::ContentDigest,
};
use serde_json::Value;
use tests::{
    Result,
    node::Node,
    proxy::{Faults, Proxy},
    realm::{Realm, wait_known},
    wait,
};

/// A root with its registry and a policy key.
fn world() -> Result<Realm> {
    let mut realm = Realm::prepare()?;
    let directory = realm.root.directory().to_owned();
    let at = |name: &str| format!("{:?}", directory.join(name).display().to_string());
    realm.root.set("policies.directory", at("share"));
    realm.root.set("policies.published", at("published"));
    realm.root.set("policies.key_directory", at("policy-key"));
    realm.root.start()?;
    realm.operator(&["policy", "key", "init"])?;
    Ok(realm)
}

/// A node that a token let in, with the policy key pinned.
fn enrolled(realm: &Realm, name: &str, port: u16) -> Result<Node> {
    let host = format!("{name}.example.com");
    let token = realm.directory().join(format!("{name}.token"));
    fs::write(&token, realm.tokens(&host, 1)?.remove(0))?;
    let node = Node::init(&realm.directory().join(name), &["--key", "p256"])?;
    let token = token.display().to_string();
    let options = ["--token-file", token.as_str(), "--hostname", host.as_str()];
    expect(&node.enroll(port, realm.root.key_hash(), &options)?, 0)?;
    wait_known(&realm.root, node.identity())?;
    Ok(node)
}

fn pin(realm: &Realm, node: &Node) -> Result<()> {
    let file = node.root().join("var/rudder/lib/ssl/policy_key.pem");
    fs::create_dir_all(file.parent().ok_or("no directory")?)?;
    Ok(fs::write(file, realm.operator(&["policy", "key", "export"])?)?)
}

fn expect(output: &Output, status: i32) -> Result<()> {
    match output.status.code() {
        Some(code) if code == status => Ok(()),
        _ => Err(format!("wanted exit status {status}: {output:?}").into()),
    }
}

/// `agent update` that must end like this.
fn update(node: &Node, outcome: &str) -> Result<Value> {
    update_with(node, &[], outcome)
}

fn update_with(node: &Node, options: &[&str], outcome: &str) -> Result<Value> {
    let output = node.agent(&[&["update", "--json"], options].concat())?;
    let value: Value = serde_json::from_slice(&output.stdout).map_err(|e| format!("{e}: {output:?}"))?;
    match value["outcome"] == outcome {
        true => Ok(value),
        false => Err(format!("wanted {outcome}: {value}").into()),
    }
}

/// Files by path.
type Files = BTreeMap<String, Vec<u8>>;

fn policies(node: &Node) -> Files {
    let root = node.root().join("var/rudder/cfengine-community/inputs");
    let (mut files, mut directories) = (Files::new(), vec![root.clone()]);
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                directories.push(path);
            } else if let (Ok(name), Ok(content)) = (path.strip_prefix(&root), fs::read(&path)) {
                files.insert(name.display().to_string(), content);
            }
        }
    }
    files
}

fn write(directory: &Path, files: &Files) -> Result<()> {
    let _ = fs::remove_dir_all(directory);
    for (path, content) in files {
        let file = directory.join(path);
        fs::create_dir_all(file.parent().ok_or("no directory")?)?;
        fs::write(file, content)?;
    }
    Ok(())
}

/// 400 files that cannot be packed, 4 KiB each.
fn tree() -> Files {
    let content = |n: u32| {
        let block = |m: u32| sha256(&[n.to_be_bytes(), m.to_be_bytes()].concat());
        (0..128).flat_map(block).collect::<Vec<u8>>()
    };
    let mut files: Files = (0..400).map(|n| (format!("techniques/t{}/f{n}.cf", n % 9), content(n))).collect();
    let settings = "{\n  \"RUDDER_NODE_CONFIG_ID\" : \"config-of-policies\"\n}\n";
    files.insert("rudder.json".to_owned(), settings.into());
    files
}

#[test]
fn one_changed_file_of_400_travels_alone_and_nothing_when_nothing_changed() -> Result<()> {
    let realm = world()?;
    let proxy = Proxy::start(realm.root.gateway())?;
    let node = enrolled(&realm, "machine", proxy.address().port())?;
    pin(&realm, &node)?;
    update(&node, "no_policies")?;

    let source = realm.directory().join("source");
    let publish = |files: &Files, options: &[&str]| -> Result<String> {
        write(&source, files)?;
        let (source, node) = (source.display().to_string(), node.node_id().to_string());
        realm.operator(&[&["policy", "publish", &source, "--node", &node], options].concat())
    };
    let one = tree();
    publish(&one, &["--activate"])?;
    let first = update(&node, "updated")?;
    assert_eq!(
        (&first["policies"]["source"], &first["policies"]["files"]),
        (&"signed_manifest".into(), &401.into())
    );
    assert_eq!(policies(&node), one);

    // Not more than a handshake and a head comes from the server.
    proxy.set(Faults { cut_answer_after: Some(6 * 1024), ..Faults::default() });
    assert_eq!(update(&node, "unchanged")?["received"], 0);

    let mut two = one.clone();
    two.insert("techniques/t0/f9.cf".to_owned(), b"changed".to_vec());
    publish(&two, &[])?;
    update(&node, "unchanged")?;
    realm.operator(&["policy", "activate", "--node", node.node_id().as_str()])?;
    // Manifest and one file: of 1.6 MB.
    proxy.set(Faults { cut_answer_after: Some(100 * 1024), ..Faults::default() });
    let changed = update(&node, "updated")?;
    assert!(changed["received"].as_u64().is_some_and(|bytes| bytes < 80 * 1024), "{changed}");
    assert_eq!(policies(&node), two);

    realm.operator(&["policy", "rollback", "--node", node.node_id().as_str()])?;
    let back = update(&node, "updated")?;
    assert!(back["policies"]["version"].as_u64() > changed["policies"]["version"].as_u64(), "{back}");
    assert_eq!(policies(&node), one);
    // A run has the settings of its policies; without a server it runs those that are there, and says so.
    proxy.set(Faults { refuse: true, ..Faults::default() });
    let run = node.run(&["sh", "-c", "echo with $AGENT_CONFIG_ID in $AGENT_POLICIES"])?;
    expect(&run, 0)?;
    let warned = String::from_utf8_lossy(&run.stderr);
    let mut waiting = fs::read_dir(node.root().join("var/rudder/reports/ready"))?;
    let log = fs::read(waiting.next().ok_or("no run log")??.path())?;
    let log = compression::unpack(&log, Compression::Gzip, 1 << 20)?;
    let said = String::from_utf8_lossy(&log);
    assert!(said.contains("with config-of-policies in") && said.contains("were not updated"), "{said}");
    assert!(warned.contains("those that are there are used"), "{warned}");
    Ok(())
}

/// What an enemy can do who has the server's disk, or a relay, but not the policy key.
#[test]
fn policies_that_were_altered_or_are_older_or_of_another_node_are_refused() -> Result<()> {
    let realm = world()?;
    let port = realm.root.gateway().port();
    let (node, other) = (enrolled(&realm, "machine", port)?, enrolled(&realm, "other", port)?);
    pin(&realm, &node)?;
    let source = realm.directory().join("source");
    let publish = |content: &str, options: &[&str]| -> Result<()> {
        let files = [("a", "same"), ("b", content)].map(|(path, text)| (path.to_owned(), text.into()));
        write(&source, &files.into())?;
        let source = source.display().to_string();
        let both = ["--node", node.node_id().as_str(), "--node", other.node_id().as_str()];
        realm.operator(&[&["policy", "publish", &source, "--activate"], &both[..], options].concat())?;
        Ok(())
    };
    let store = realm.root.directory().join("published");
    let active = |node: &Node| -> Result<(PathBuf, PathBuf)> {
        let directory = store.join("nodes").join(node.node_id().as_str());
        let link = directory.join("active");
        Ok((link.clone(), directory.join(fs::read_link(link)?)))
    };
    let refused = |why: &str| -> Result<()> {
        // Under the same tag the same is not fetched again, unless it is told to.
        let value = update_with(&node, &["--force"], "refused")?;
        let error = value["error"].as_str().unwrap_or_default();
        assert!(error.contains(why), "{why}: {value}");
        assert_eq!(policies(&node)["b"], b"two", "{why}");
        let status = node.agent(&["status"])?;
        assert!(String::from_utf8_lossy(&status.stdout).contains(why), "{status:?}");
        Ok(())
    };
    publish("one", &[])?;
    let (link, first) = active(&node)?;
    publish("two", &[])?;
    update(&node, "updated")?;

    // Older: what was right once.
    let second = fs::read_link(&link)?;
    let point_to = |target: &Path| -> Result<()> {
        let aside = link.with_extension("new");
        symlink(target, &aside)?;
        Ok(fs::rename(aside, &link)?)
    };
    point_to(Path::new(first.file_name().ok_or("no name")?))?;
    refused("older than")?;
    point_to(&second)?;
    update(&node, "unchanged")?;

    // Altered: a file, then the manifest.
    publish("six", &[])?;
    let digest = ContentDigest::of(b"six").to_string();
    let object = store.join("objects").join(&digest[..2]).join(&digest);
    fs::remove_file(&object)?;
    fs::write(&object, "sex")?;
    refused("altered on the way")?;
    fs::write(&object, "six")?;
    let (_, manifest) = active(&node)?;
    let right = fs::read(&manifest)?;
    let text = String::from_utf8_lossy(&right).replace("\"version\": ", "\"version\": 1");
    assert_ne!(text.as_bytes(), right);
    fs::remove_file(&manifest)?;
    fs::write(&manifest, text.as_bytes())?;
    refused("signature")?;
    // Another node's.
    fs::write(&manifest, fs::read(active(&other)?.1)?)?;
    refused(other.node_id().as_str())?;
    fs::write(&manifest, &right)?;

    // Expired: in time it would have been taken.
    publish("late", &["--expires", "15s"])?;
    assert_eq!(node.agent(&["update", "--check"])?.status.code(), Some(4));
    wait::until_true("the policies to expire", Duration::from_secs(60), || {
        Ok(node.agent(&["update", "--check"])?.status.code() == Some(5))
    })?;
    refused("expired")?;
    // The other one has no key pinned: it takes what its policy server has (protocol 8).
    update(&other, "updated")?;
    publish("three", &[])?;
    update(&node, "updated")?;
    assert_eq!(policies(&node)["b"], b"three");
    Ok(())
}

/// Directories of other programs, as in protocol 8.4, and nothing of ours.
#[test]
fn trees_of_other_programs_come_with_their_library() -> Result<()> {
    let realm = world()?;
    let port = realm.root.gateway().port();
    let (node, other) = (enrolled(&realm, "machine", port)?, enrolled(&realm, "other", port)?);
    let share = realm.root.directory().join("share");
    let tree = |name: &str, content: &str| -> Result<()> {
        let file = share.join(name);
        fs::create_dir_all(file.parent().ok_or("no directory")?)?;
        Ok(fs::write(file, content)?)
    };
    let own = |path: &str| format!("{}/rules/cfengine-community/{path}", node.node_id());
    tree(&own("promises.cf"), "one")?;
    tree(&own("inventory/1.0/x.cf"), "x")?;
    tree("common/ncf/lib.cf", "lib")?;
    let first = update(&node, "updated")?;
    assert_eq!(first["policies"]["files"], 2);
    assert_eq!(policies(&node)["promises.cf"], b"one");
    assert_eq!(update(&node, "unchanged")?["received"], 0);
    tree(&own("promises.cf"), "two, longer")?;
    update(&node, "updated")?;
    assert_eq!(policies(&node)["promises.cf"], b"two, longer");
    // A node that has none runs as ever, and says nothing.
    update(&other, "no_policies")?;
    let run = other.run(&["true"])?;
    expect(&run, 0)?;
    assert!(run.stderr.is_empty(), "{run:?}");
    Ok(())
}
