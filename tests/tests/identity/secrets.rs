// SPDX-License-Identifier: Apache-2.0
//! F1: secrets that were put into one walk through everything with identity, at trace level, are in nothing that
//! anybody can read afterwards. It is that walk, not the whole suite: what only other tests do is not searched.
//! F3: files and directories that only their owner opens.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use bytes::Bytes;
use hyper::Method;
use serde_json::Value;
use tests::{
    Result, client,
    enrolment::Newcomer,
    http,
    identity::{Identity, Keys},
    node::Node,
    postgres::{Durability, Postgres},
    process::Process,
    realm::{Realm, wait_known},
    simulated::{self, USUAL_ROWS},
    site::Site,
    wait,
};

use crate::{PATIENCE, expect_exit, keys::enrolled, said};

/// Secrets by name, each a text that is nowhere by accident.
struct Canaries(Vec<(String, String)>);

impl Canaries {
    fn add(&mut self, name: &str, secret: impl Into<String>) {
        self.0.push((name.to_owned(), secret.into()));
    }

    /// A line from the middle of a private key.
    fn add_key(&mut self, name: &str, file: &Path) -> Result<()> {
        let text = fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
        let line = text.lines().filter(|line| !line.contains("---")).nth(1).ok_or("a very short key")?;
        self.add(name, line);
        Ok(())
    }

    #[track_caller]
    fn expect_none_in(&self, place: &str, text: &str) {
        for (name, secret) in &self.0 {
            assert!(!text.contains(secret.as_str()), "{name} is in {place}");
        }
    }
}

/// All files below a directory.
fn files_below(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() { files.extend(files_below(&path)?) } else { files.push(path) }
    }
    Ok(files)
}

#[test]
fn no_secret_is_in_any_output() -> Result<()> {
    let postgres = Postgres::start_new(Durability::Fast)?;
    let site = Site::new()?;
    let mut realm = Realm::on(site, postgres.create_database("rudder")?)?;
    let mut canaries = Canaries(Vec::new());
    let mut outputs = String::new();
    let passwords = [
        ("output.database.password", "canary-database-4f1c"),
        ("gateway.basic_auth_password", "canary-distributed-9a3e"),
        ("gateway.basic_auth_initial_password", "canary-initial-77d0"),
    ];
    realm.root.log_level("trace");
    realm.root.set("gateway.basic_auth_user", "\"rudder\"");
    for (key, password) in passwords {
        canaries.add(key, password);
        realm.root.set(key, format!("{password:?}"));
    }
    realm.root.start()?;
    outputs += &realm.operator(&["ca", "init"])?;
    realm.root.reload()?;
    let mut relay = realm.relay(&realm.root)?;
    relay.stop()?;
    relay.log_level("trace");
    canaries.add("output.upstream.password", "canary-upstream-c2b8");
    relay.set("output.upstream.password", "\"canary-upstream-c2b8\"");
    let own = Identity::new(relay.node_id().clone(), Keys::P256)?;
    let directory = relay.directory().join("server-key");
    fs::create_dir_all(&directory)?;
    let files = own.write(&directory)?;
    relay.set("gateway.certificate", format!("{:?}", files.certificate.display().to_string()));
    relay.set("gateway.key", format!("{:?}", files.key.display().to_string()));
    relay.trust_key(own.key_hash());
    relay.start()?;
    canaries.add_key("the key of the relay's gateway", &files.key)?;
    canaries.add_key("the key of the root", &realm.root.identity().key)?;

    // Tokens: good, used twice, for another host, malformed; passwords: good and wrong.
    let tokens = realm.tokens("web-{n}.example.com", 3)?;
    for token in &tokens {
        let secret = token.split_once('-').ok_or("no secret")?.1;
        canaries.add("a token", secret);
    }
    let (first, second) = (Identity::random(Keys::P256)?, Identity::random(Keys::P256)?);
    for (machine, token, hostname) in [
        (&first, &tokens[0], "web-1.example.com"),
        (&second, &tokens[0], "web-1.example.com"),
        (&second, &tokens[1], "web-9.example.com"),
        (&second, &tokens[1], "bad name"),
    ] {
        let Ok(request) = Newcomer::new(machine, hostname).with_token(token).request() else { continue };
        let connector = client::anonymous_connector(relay.key_hash())?;
        let path = tests::enrolment::path(machine);
        let headers = [tests::enrolment::CONTENT_TYPE];
        let reply = client::once(relay.gateway(), &connector, Method::PUT, &path, &headers, request.clone())?;
        outputs += &String::from_utf8_lossy(&reply.body);
        // Cut short: an error is made of it.
        let cut = request.slice(..request.len() - 60);
        let reply = client::once(relay.gateway(), &connector, Method::PUT, &path, &headers, cut)?;
        assert_eq!(reply.status, 400, "{reply:?}");
        outputs += &String::from_utf8_lossy(&reply.body);
    }
    let connector = client::anonymous_connector(realm.root.key_hash())?;
    for password in ["canary-distributed-9a3e", "canary-wrong-51aa"] {
        canaries.add("a wrong password", "canary-wrong-51aa");
        let credentials = openssl::base64::encode_block(format!("rudder:{password}").as_bytes());
        canaries.add("an Authorization header", &*credentials);
        let authorization = format!("Basic {credentials}");
        let headers = [("Authorization", authorization.as_str())];
        let path = format!("/reports/2026-01-02T03:04:05+00:00@{}.log.gz", first.node_id);
        let reply = client::once(
            realm.root.gateway(),
            &connector,
            Method::PUT,
            &path,
            &headers,
            Bytes::from_static(b"\x1f\x8b\x08no"),
        )?;
        outputs += &String::from_utf8_lossy(&reply.body);
    }

    // An agent with all its errors, and keys that change on both sides.
    let mut node = enrolled(&realm, &relay, "agent")?;
    canaries.add_key("the first key of the node", &node.identity_files().key)?;
    expect_exit(&node.run(&["true"])?, 0);
    outputs += &said(&node.send()?);
    outputs += &relay.command(&["server-key", "next"])?;
    relay.reload()?;
    canaries.add_key("the next key of the relay", &files.key.with_extension("priv.next"))?;
    outputs += &said(&node.agent(&["key", "roll", "--key", "p256"])?);
    node.reload()?;
    canaries.add_key("the second key of the node", &node.identity_files().key)?;
    outputs += &relay.command(&["server-key", "activate"])?;
    relay.reload()?;
    outputs += &said(&node.agent(&["cert", "renew"])?);
    outputs += &said(&node.agent(&["status"])?);
    canaries.add("the node's own password", "canary-node-60fd");
    canaries
        .add("the node's Authorization header", openssl::base64::encode_block(b"rudder:canary-node-60fd"));
    outputs += &of_daemon(&node, "canary-node-60fd")?;
    let stranger = Node::init(&realm.directory().join("stranger"), &["--key", "p256"])?;
    let refused = Command::new(tests::programs::find("agent")?)
        .arg("--root")
        .arg(stranger.root())
        .args(["enroll", "--server", &relay.gateway().to_string(), "--no-wait"])
        .env("AGENT_ENROLMENT_TOKEN", &tokens[2])
        .output()?;
    outputs += &said(&refused);
    let authority = realm.root.directory().join("ca");
    for file in files_below(&authority)? {
        if fs::read_to_string(&file)?.contains("PRIVATE KEY") {
            canaries.add_key("the key of the authority", &file)?;
        }
    }
    outputs += &realm.operator(&["token", "list"])?;
    outputs += &realm.operator(&["node", "list", "--json"])?;
    outputs += &realm.operator(&["node", "show", node.node_id().as_str(), "--json"])?;
    outputs += &realm.operator(&["node", "revoke", node.node_id().as_str()])?;
    // Errors about the settings themselves.
    if let Err(e) = realm.root.command(&["--no-such-option"]) {
        outputs += &e.to_string();
    }
    outputs += &realm.root.command(&["config", "check"]).unwrap_or_else(|e| e.to_string());
    outputs += &realm.root.command(&["database", "status"]).unwrap_or_else(|e| e.to_string());

    let kinds: std::collections::HashSet<_> = canaries.0.iter().map(|(name, _)| name).collect();
    assert!(kinds.len() >= 8, "{kinds:?}");
    canaries.expect_none_in("what commands print and servers answer", &outputs);
    for server in [&realm.root, &relay] {
        let name = server.node_id();
        let log = server.log();
        assert!(log.contains("TRACE") || log.contains("trace"), "{name} does not trace");
        canaries.expect_none_in(&format!("the log of {name}"), &log);
        canaries.expect_none_in(&format!("the metrics of {name}"), &server.metrics()?);
        let status = http::get(server.api(), "/rudder/relay-api/1/system/status")?.body;
        canaries.expect_none_in(&format!("the status of {name}"), &status);
        for spool in ["reports", "inventories"] {
            for file in files_below(&server.directory().join(spool))? {
                let content = String::from_utf8_lossy(&fs::read(&file)?).into_owned();
                canaries.expect_none_in(&file.display().to_string(), &content);
            }
        }
    }
    // Only the two sides of a token know it: not the database either.
    let dump = Command::new("sh")
        .arg("-c")
        .arg(format!(
            "{} --username=rudder --host=127.0.0.1 --port={} rudder",
            tests::programs::of_system("pg_dump")?.display(),
            postgres.port()
        ))
        .output()?;
    let dump = expect_exit(&dump, 0);
    assert!(dump.contains("enrolment_token"), "no tokens in the dump");
    canaries.expect_none_in("the database", &dump);
    wait_known(&relay, &first)
}

/// What the agent's daemon prints that sends a run log of its own, with a password in its settings.
fn of_daemon(node: &Node, password: &str) -> Result<String> {
    let settings = node.root().join("opt/rudder/etc/relayd-agent.conf");
    fs::write(
        &settings,
        format!(
            "policy_command = [\"true\"]\nrun_interval = \"2s\"\nupload_user = \"rudder\"\n\
             upload_password = {password:?}\n"
        ),
    )?;
    fs::set_permissions(&settings, PermissionsExt::from_mode(0o600))?;
    let last_sent = || -> Result<Value> {
        let status: Value = serde_json::from_slice(&node.agent(&["status", "--json"])?.stdout)?;
        Ok(status["last_send"]["at"].clone())
    };
    let before = last_sent()?;
    let mut command = Command::new(tests::programs::find("agent")?);
    command.arg("--root").arg(node.root()).arg("daemon");
    let mut daemon = Process::start("agent daemon", &mut command, &node.root().join("daemon.log"))?;
    wait::until_true("the daemon to send", PATIENCE, || {
        daemon.check()?;
        Ok(last_sent()? != before && node.outbox()?.is_empty())
    })
    .map_err(|e| format!("{e}\n{}", daemon.log_end()))?;
    assert!(daemon.terminate(PATIENCE)?.success(), "{}", daemon.log_end());
    assert!(daemon.log().contains("next run at"), "{}", daemon.log());
    fs::remove_file(settings)?;
    Ok(daemon.log())
}

/// What others may not open; and a user who is nobody gets EACCES.
#[test]
fn private_files_and_spools_belong_to_their_owner_alone() -> Result<()> {
    let mut realm = Realm::start()?;
    realm.operator(&["ca", "init"])?;
    let relay = realm.relay(&realm.root)?;
    let node = enrolled(&realm, &relay, "web-1")?;
    expect_exit(&node.run(&["true"])?, 0);
    let mode = |path: &Path| -> Result<u32> {
        let metadata = fs::metadata(path).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(metadata.permissions().mode() & 0o777)
    };
    let authority = realm.root.directory().join("ca");
    assert_eq!(mode(&authority)?, 0o700);
    let mut private = vec![node.identity_files().key];
    for file in files_below(&authority)? {
        if fs::read_to_string(&file)?.contains("PRIVATE KEY") {
            private.push(file);
        }
    }
    assert_eq!(private.len(), 2, "{private:?}");
    for name in node.outbox()? {
        private.push(node.root().join("var/rudder/reports/ready").join(name.as_str()));
    }
    for file in &private {
        assert_eq!(mode(file)?, 0o600, "{}", file.display());
    }
    // Spools are 0770 and not 0700: the front and the group of the server application put files there and read them
    // (protocol 10.2; a umask may take the right to write away). What waits there is that group's to read, and nobody
    // else's.
    for directory in [relay.incoming(), relay.failed()] {
        assert_eq!(mode(&directory)? & 0o757, 0o750, "{}", directory.display());
    }
    let ready = node.root().join("var/rudder/reports/ready");
    assert_eq!(mode(&ready)? & 0o007, 0, "{}", ready.display());
    let spooled = {
        realm.root.stop()?;
        let machine = node.identity();
        let log =
            simulated::many(std::slice::from_ref(machine), 1, USUAL_ROWS, chrono::Utc::now())?.remove(0);
        let log = std::slice::from_ref(&log);
        assert_eq!(client::upload_all(relay.gateway(), machine, relay.key_hash(), log)?, [201]);
        relay.incoming().join(&log[0].name)
    };
    assert_eq!(mode(&spooled)?, 0o640, "{}", spooled.display());
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can become nobody");
        return Ok(());
    }
    // The way there is open for nobody, as /var would be.
    for directory in
        [realm.directory(), relay.directory(), realm.root.directory(), &relay.directory().join("reports")]
    {
        fs::set_permissions(directory, PermissionsExt::from_mode(0o755))?;
    }
    for path in [&authority, &relay.incoming(), &relay.failed(), &spooled, &private[1]] {
        let read = Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
            .args(if path.is_dir() { ["ls", "-a"] } else { ["cat", "--"] })
            .arg(path)
            .output()?;
        assert!(!read.status.success() && said(&read).contains("Permission denied"), "{}", path.display());
    }
    Ok(())
}
