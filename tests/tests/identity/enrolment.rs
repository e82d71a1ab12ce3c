// SPDX-License-Identifier: Apache-2.0
//! Taken in by hand, by token, by inventory, through two relays; and who is not.

use std::{fs, process::Command};

use bytes::Bytes;
use hyper::Method;
use protocol::{private_key, urls::UploadKind};
use tests::{
    Result,
    client::{self, upload_all},
    enrolment::Newcomer,
    identity::{Identity, Keys},
    inventory, judge,
    node::Node,
    process::Process,
    programs,
    realm::{Realm, expect_state, wait_known},
    server::{Output, Server},
    simulated::{self, USUAL_ROWS},
    wait,
};

use crate::{PATIENCE, expect_exit};

/// A policy that says one thing.
const POLICY: [&str; 3] = ["sh", "-c", "echo 'R: [INFO] hello'"];

/// The agent waits at the lower of two relays; an operator at the root compares the fingerprint and accepts;
/// the agent goes on by itself.
#[test]
fn by_hand_through_two_relays() -> Result<()> {
    let realm = Realm::start()?;
    let upper = realm.relay(&realm.root)?;
    let lower = realm.relay(&upper)?;
    let directory = realm.directory().join("node");
    fs::create_dir_all(&directory)?;
    let (server, pin) = (format!("127.0.0.1:{}", lower.gateway().port()), lower.key_hash().to_string());
    let enroll = || -> Result<Command> {
        let mut command = Command::new(programs::find("agent")?);
        command.arg("--root").arg(&directory);
        command.args(["enroll", "--server", &server, "--pin", &pin, "--hostname", "web-1.example.com"]);
        Ok(command)
    };
    // Asked once: it makes its key, says what it waits for and what the operator will see.
    let once = enroll()?.arg("--no-wait").output()?;
    let told = expect_exit(&once, 4);
    let node = Node::load(&directory)?;
    let fingerprint = node.identity().key_hash().to_string();
    assert!(told.contains(&fingerprint), "{told}");
    let mut waiting = Process::start("agent enroll", &mut enroll()?, &realm.directory().join("enroll.log"))?;

    let pending = realm.operator(&["node", "list", "--state", "pending", "--json"])?;
    assert!(pending.contains(node.node_id().as_str()), "{pending}");
    let seen = realm.node(node.node_id())?;
    assert!(seen.to_string().contains(&fingerprint), "{seen}");
    assert_eq!(seen["policy_server"].as_str(), Some(lower.node_id().as_str()), "{seen}");
    let other = Identity::random(Keys::P256)?.key_hash().to_string();
    let wrong = realm.operator(&["node", "accept", "--fingerprint", &other, "web-1.example.com"]);
    assert!(wrong.is_err(), "accepted under another fingerprint");
    realm.operator(&["node", "accept", "--fingerprint", &fingerprint, "web-1.example.com"])?;
    let end = waiting.wait(PATIENCE * 2).map_err(|e| format!("{e}\n{}", waiting.log_end()))?;
    assert!(end.success(), "{}", waiting.log());

    wait_known(&lower, node.identity())?;
    node.run(&POLICY)?;
    expect_exit(&node.send()?, 0);
    let database = realm.root.database()?.clone();
    wait::until_true("rows at the root", PATIENCE, || Ok(judge::count_rows(&database)? > 0))
        .map_err(|e| format!("{e}\nlower: {}\nroot: {}", lower.log_end(), realm.root.log_end()))?;
    wait::until_true("the contact to be noted", PATIENCE, || {
        Ok(realm.node(node.node_id())?["last_contact"].is_string())
    })
}

#[test]
fn by_token_once_for_one_host_name() -> Result<()> {
    let realm = Realm::start()?;
    let upper = realm.relay(&realm.root)?;
    let lower = realm.relay(&upper)?;
    let tokens = realm.tokens("web-{n}.example.com", 2)?;
    assert_eq!(tokens.len(), 2, "{} lines", tokens.len());
    let token_file = realm.directory().join("token");
    let enroll = |node: &Node, token: &str, hostname: &str| -> Result<_> {
        fs::write(&token_file, token)?;
        let file = token_file.display().to_string();
        let options = ["--token-file", &file, "--hostname", hostname];
        node.enroll(lower.gateway().port(), lower.key_hash(), &options)
    };
    let node = |name: &str| Node::init(&realm.directory().join(name), &["--key", "p256"]);
    let (first, second, third) = (node("first")?, node("second")?, node("third")?);

    expect_exit(&enroll(&first, &tokens[0], "web-1.example.com")?, 0);
    wait_known(&lower, first.identity())?;
    // Used; for another name; nobody's. Each said in words.
    for token in [&tokens[0], &tokens[1], &tokens[1].replace('-', "-A")] {
        let refusal = expect_exit(&enroll(&second, token, "web-1.example.com")?, 5);
        assert!(refusal.to_lowercase().contains("token"), "{refusal}");
        assert!(!refusal.contains(token.as_str()), "the token is shown");
    }
    assert_ne!(realm.node(second.node_id()).map(|node| node["state"].clone()).ok(), Some("accepted".into()));
    // What was tried under another name is still good for its own, whatever case.
    expect_exit(&enroll(&third, &tokens[1], "WEB-2.example.com")?, 0);
    // Asked again, an accepted node hears that it is.
    expect_exit(&enroll(&first, &tokens[0], "web-1.example.com")?, 0);
    let listed = realm.operator(&["token", "list", "--json"])?;
    for token in &tokens {
        let (id, secret) = token.split_once('-').ok_or("no id")?;
        assert!(listed.contains(id) && !listed.contains(secret), "{listed}");
    }
    Ok(())
}

/// The first key that claims an id keeps it, pending or accepted.
#[test]
fn a_second_key_is_a_conflict_that_everybody_sees() -> Result<()> {
    let realm = Realm::start()?;
    let relay = realm.relay(&realm.root)?;
    let first = Identity::random(Keys::P256)?;
    let second = Identity::new(first.node_id.clone(), Keys::P256)?;
    let ask = |identity: &Identity, token: Option<&str>| {
        let newcomer = Newcomer { token, ..Newcomer::new(identity, "web-1.example.com") };
        newcomer.ask(relay.gateway(), relay.key_hash())
    };
    expect_state(&ask(&first, None)?, "pending")?;
    let refused = ask(&second, None)?;
    assert_eq!(refused.status, 409, "{refused:?}");
    expect_state(&refused, "conflict")?;
    realm.operator(&["node", "accept", first.node_id.as_str()])?;
    wait_known(&relay, &first)?;
    // No token changes that.
    let token = realm.tokens("web-1.example.com", 1)?.remove(0);
    assert_eq!(ask(&second, Some(&token))?.status, 409);
    // Nor may the same key claim another id.
    let node_id = Identity::random(Keys::P256)?.node_id;
    let certificate = private_key::self_signed(&first.key, &node_id)?;
    let twin = Identity { node_id, certificate, key: first.key.clone() };
    assert_eq!(ask(&twin, None)?.status, 409);

    let shown = realm.node(&first.node_id)?;
    let text = shown.to_string();
    assert!(text.contains(&second.key_hash().to_string()), "{text}");
    assert!(text.contains("other_key"), "{text}");
    let conflicts = realm.operator(&["node", "list", "--conflicts", "--json"])?;
    assert!(conflicts.contains(first.node_id.as_str()), "{conflicts}");
    realm.operator(&["node", "resolve", first.node_id.as_str()])?;
    let conflicts = realm.operator(&["node", "list", "--conflicts", "--json"])?;
    assert!(!conflicts.contains(first.node_id.as_str()), "{conflicts}");
    wait_known(&relay, &first)
}

#[test]
fn a_relay_needs_an_explicit_acceptance() -> Result<()> {
    let realm = Realm::start()?;
    let token = realm.tokens("relay.example.com", 1)?.remove(0);
    let machine = Node::init(&realm.directory().join("relay-machine"), &["--key", "p256"])?;
    let token_file = realm.directory().join("token");
    fs::write(&token_file, &token)?;
    let (port, pin) = (realm.root.gateway().port(), realm.root.key_hash());
    let file = token_file.display().to_string();
    let options = ["--as-relay", "--hostname", "relay.example.com", "--no-wait"];
    // A token is not enough for that.
    expect_exit(&machine.enroll(port, pin, &[&options[..], &["--token-file", &file]].concat())?, 4);
    let id = machine.node_id().as_str();
    let refused = realm.operator(&["node", "accept", id]);
    assert!(refused.as_ref().is_err_and(|e| e.to_string().contains("--relay")), "{refused:?}");
    realm.operator(&["node", "accept", "--relay", id])?;
    let told = machine.enroll(port, pin, &options)?;
    let told = expect_exit(&told, 0);
    for needed in ["[nodes]", "source = \"upstream\"", &pin.to_string()] {
        assert!(told.contains(needed), "{needed} is not in: {told}");
    }
    // With its agent's files the relay runs, knows its part of the tree, and takes newcomers in.
    let output = Output::Upstream(port, pin.clone());
    let directory = realm.directory().join("relay");
    let identity = machine.identity();
    let mut relay = Server::with_files(
        &directory,
        machine.node_id(),
        identity.key_hash(),
        machine.identity_files(),
        output,
    )?;
    relay.know_nodes_from("upstream")?;
    relay.start()?;
    let node = realm.machine(&relay, Keys::P256)?;
    let logs = simulated::many(std::slice::from_ref(&node), 1, USUAL_ROWS, chrono::Utc::now())?;
    assert_eq!(upload_all(relay.gateway(), &node, relay.key_hash(), &logs)?, [201]);
    // Something that never asked to be a relay is no place for newcomers.
    let stranger = Identity::random(Keys::P256)?;
    let connector = client::connector(&node, realm.root.key_hash())?;
    let headers = [tests::enrolment::CONTENT_TYPE, ("Relayd-Policy-Server", node.node_id.as_str())];
    let request = Newcomer::new(&stranger, "x.example.com").request()?;
    let path = tests::enrolment::path(&stranger);
    let reply = client::once(realm.root.gateway(), &connector, Method::PUT, &path, &headers, request)?;
    assert_eq!(reply.status, 403, "{reply:?}");
    expect_state(&reply, "refused")?;
    assert!(reply.json()?["detail"].to_string().contains("is not a relay"), "{reply:?}");
    assert!(realm.listed(&stranger.node_id).is_err(), "the stranger waits nevertheless");
    Ok(())
}

/// An agent of the existing family knows nothing of enrolment: its first inventory is its request.
#[test]
fn by_first_inventory_through_two_relays() -> Result<()> {
    let mut realm = Realm::prepare()?;
    realm.root.set("processing.inventory.output", "\"registry\"");
    realm.root.set("processing.inventory.catchup.frequency", "1");
    realm.root.start()?;
    let upper = realm.relay(&realm.root)?;
    let mut lower = realm.relay(&upper)?;
    lower.stop()?;
    lower.set("gateway.basic_auth_user", "\"rudder\"");
    lower.set("gateway.basic_auth_password", "\"distributed\"");
    lower.set("gateway.basic_auth_initial_password", "\"rudder\"");
    lower.start()?;
    let machine = Identity::random(Keys::Rsa2048)?;
    let sent = inventory::of(&machine, "web-1.example.com", lower.node_id().as_str())?;
    let connector = client::anonymous_connector(lower.key_hash())?;
    let kind = UploadKind::NewInventory;
    for (name, content) in [(&sent.name, &sent.content), (&sent.signature_name, &sent.signature)] {
        // rudder:rudder, what every agent without policies sends.
        let headers = [("Authorization", "Basic cnVkZGVyOnJ1ZGRlcg==")];
        let body = Bytes::from(content.clone());
        let reply = client::once(lower.gateway(), &connector, Method::PUT, &kind.path(name), &headers, body)?;
        assert_eq!(reply.status, 201, "{reply:?}");
    }
    let state = || realm.node(&machine.node_id).map(|node| node["state"].clone());
    wait::until_true("the inventory to make it pending", PATIENCE, || Ok(state()? == "pending"))
        .map_err(|e| format!("{e}\nroot: {}\nlower: {}", realm.root.log_end(), lower.log_end()))?;
    let seen = realm.node(&machine.node_id)?;
    assert_eq!(seen["hostname"], "web-1.example.com", "{seen}");
    assert_eq!(seen["policy_server"], lower.node_id().as_str(), "{seen}");
    let received = realm.root.directory().join("inventories/received");
    wait::until_true("the inventory to be in received/", PATIENCE, || {
        Ok(fs::read_dir(&received)?.count() >= 2)
    })?;
    realm.operator(&["node", "accept", machine.node_id.as_str()])?;
    wait_known(&lower, &machine)?;
    let logs = simulated::many(std::slice::from_ref(&machine), 1, USUAL_ROWS, chrono::Utc::now())?;
    assert_eq!(upload_all(lower.gateway(), &machine, lower.key_hash(), &logs)?, [201]);
    let database = realm.root.database()?.clone();
    wait::until_true("its rows", PATIENCE, || Ok(judge::count_rows(&database)? == USUAL_ROWS))?;

    // Its next one goes through the other door, with its certificate, and takes the place of the first.
    let mut next = sent.clone();
    wait::until_true("an inventory of another second", PATIENCE, || {
        next = inventory::of(&machine, "web-1.example.com", lower.node_id().as_str())?;
        Ok(next.name != sent.name)
    })?;
    let connector = client::connector(&machine, lower.key_hash())?;
    let kind = UploadKind::InventoryUpdate;
    for (name, content) in [(&next.name, &next.content), (&next.signature_name, &next.signature)] {
        let body = Bytes::from(content.clone());
        let reply = client::once(lower.gateway(), &connector, Method::PUT, &kind.path(name), &[], body)?;
        assert_eq!(reply.status, 201, "{reply:?}");
    }
    wait::until_true("the next inventory to be in received/", PATIENCE, || {
        let kept = |extension: &str| fs::read(received.join(format!("{}.{extension}", machine.node_id)));
        Ok(kept("ocs.gz")? == next.content && kept("ocs.sign")? == next.signature)
    })
    .map_err(|e| format!("{e}\nroot: {}\nlower: {}", realm.root.log_end(), lower.log_end()))?;
    let failed = realm.root.directory().join("inventories/failed");
    assert_eq!(fs::read_dir(failed)?.count(), 0);
    Ok(())
}

/// As the protocol says it: with nothing but stock tools.
#[test]
fn with_openssl_and_curl() -> Result<()> {
    let realm = Realm::start()?;
    let machine = Identity::random(Keys::Rsa2048)?;
    let directory = realm.directory().join("stock");
    fs::create_dir_all(&directory)?;
    let files = machine.write(&directory)?;
    let script = r#"
        openssl req -new -utf8 -key "$KEY" -subj "/UID=$ID" -addext "subjectAltName=DNS:web-1.example.com" -out request.pem &&
        curl --silent --show-error --max-time 20 --insecure --pinnedpubkey "$PIN" --write-out ' %{http_code}' \
            -H 'Content-Type: application/pkcs10' -T request.pem "https://$SERVER/enrolments/$ID""#;
    let ask = || -> Result<String> {
        let output = Command::new("sh")
            .current_dir(&directory)
            .args(["-c", script])
            .env("KEY", &files.key)
            .env("ID", machine.node_id.as_str())
            .env("PIN", realm.root.key_hash().to_string())
            .env("SERVER", realm.root.gateway().to_string())
            .output()?;
        Ok(expect_exit(&output, 0))
    };
    let pending = ask()?;
    assert!(pending.contains("\"state\":\"pending\"") && pending.ends_with(" 202"), "{pending}");
    realm.operator(&["node", "accept", "web-1.example.com"])?;
    let accepted = ask()?;
    assert!(accepted.contains("\"state\":\"accepted\"") && accepted.ends_with(" 200"), "{accepted}");
    wait_known(&realm.root, &machine)
}
