// SPDX-License-Identifier: Apache-2.0
//! New keys of nodes and servers, three times, under load, without one refused upload (I11); certificates.

use std::{
    fs,
    process::Command,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread::sleep,
    time::Duration,
};

use chrono::Utc;
use diesel::{QueryableByName, RunQueryDsl, sql_query, sql_types::BigInt};
use hyper::Method;
use protocol::{certificate::Certificate, hash::KeyHash, node_id::NodeId, smime};
use tests::{
    Result,
    client::{self, upload_all},
    enrolment::{Newcomer, identity_seen},
    identity::{Identity, Keys},
    judge,
    node::Node,
    realm::{Realm, expect_state, wait_known},
    server::{DatabaseUrl, Server},
    simulated::Run,
    site::{spool_of, waiting},
    wait,
};

use crate::{PATIENCE, expect_exit};

/// A node with the agent that a token let in at `at`.
pub(crate) fn enrolled(realm: &Realm, at: &Server, name: &str) -> Result<Node> {
    let host = format!("{name}.example.com");
    let token = realm.tokens(&host, 1)?.remove(0);
    let file = realm.directory().join(format!("{name}.token"));
    fs::write(&file, token)?;
    let node = Node::init(&realm.directory().join(name), &["--key", "p256"])?;
    let (port, file) = (at.gateway().port(), file.display().to_string());
    expect_exit(&node.enroll(port, at.key_hash(), &["--token-file", &file, "--hostname", &host])?, 0);
    wait_known(at, node.identity())?;
    node.configure(port, at.key_hash(), "20260102-030405-5f3a9c1e")?;
    Ok(node)
}

/// Complete runs of a node at the root.
fn runs(database: &DatabaseUrl, node: &NodeId) -> Result<usize> {
    #[derive(QueryableByName)]
    struct Count {
        #[diesel(sql_type = BigInt)]
        count: i64,
    }
    let query = format!("SELECT count(DISTINCT date) AS count FROM reportsexecution WHERE nodeid = '{node}'");
    Ok(usize::try_from(sql_query(query).get_result::<Count>(&mut judge::sqlite(database)?)?.count)?)
}

/// The node runs and sends all the time while its key changes three times, from one kind to the other and back; one
/// run log of each key arrives only when the next key is in use.
#[test]
fn a_node_changes_its_key_three_times_under_load() -> Result<()> {
    let realm = Realm::start()?;
    let upper = realm.relay(&realm.root)?;
    let lower = realm.relay(&upper)?;
    let mut node = enrolled(&realm, &lower, "web-1")?;
    let (done, held, made) = (AtomicBool::new(false), AtomicBool::new(false), AtomicUsize::new(0));
    let worker = node.clone();
    let first = node.identity().clone();
    let mut keys = vec![first.key_hash()];
    std::thread::scope(|scope| -> Result<()> {
        let load = scope.spawn(|| -> Result<()> {
            while !done.load(Ordering::Relaxed) {
                // Starts have whole seconds.
                sleep(Duration::from_millis(1050));
                expect_exit(&worker.run(&["true"])?, 0);
                made.fetch_add(1, Ordering::SeqCst);
                if !held.load(Ordering::SeqCst) {
                    expect_exit(&worker.send()?, 0);
                }
            }
            Ok(())
        });
        let roll = || -> Result<()> {
            for kind in ["rsa4096", "p256", "p256"] {
                // A run that ends from now on is not sent, and what was being sent is sent by then.
                held.store(true, Ordering::SeqCst);
                let before = made.load(Ordering::SeqCst);
                wait::until_true("a run under the last key", PATIENCE, || {
                    Ok(made.load(Ordering::SeqCst) > before)
                })?;
                let late = worker.outbox()?.pop().ok_or("no run log waits")?;
                let late = worker.root().join("var/rudder/reports/ready").join(late.as_str());
                let aside = worker.root().join("held-back");
                fs::rename(&late, &aside)?;
                held.store(false, Ordering::SeqCst);
                let rolled = worker.agent(&["key", "roll", "--key", kind])?;
                expect_exit(&rolled, 0);
                node.reload()?;
                keys.push(node.identity().key_hash());
                // Signed with the old key, sent with the new one.
                fs::rename(&aside, &late)?;
            }
            let before = made.load(Ordering::Relaxed);
            wait::until_true("runs under the last key", PATIENCE, || {
                Ok(made.load(Ordering::Relaxed) > before + 1)
            })
        };
        let mut roll = roll;
        let rolled = roll();
        done.store(true, Ordering::Relaxed);
        load.join().map_err(|_| "an upload failed")??;
        rolled
    })?;
    keys.dedup();
    assert_eq!(keys.len(), 4, "{keys:?}");
    assert_eq!(node.outbox()?, []);
    let (database, made) = (realm.root.database()?.clone(), made.into_inner());
    wait::until_true(&format!("{made} runs at the root"), PATIENCE, || {
        Ok(runs(&database, node.node_id())? == made)
    })
    .map_err(|e| {
        let spools: String = [&realm.root, &upper, &lower].into_iter().map(spool_of).collect();
        format!("{e}\n{:?} are stored\n{spools}{}", runs(&database, node.node_id()), realm.root.log_end())
    })?;
    assert_eq!(waiting(&realm.root.failed())?, 0);
    let shown = realm.node(node.node_id())?.to_string();
    for key in &keys {
        assert!(shown.contains(&key.to_string()), "{key} is not in {shown}");
    }
    // The first key is valid still, and cannot announce another one: it was replaced.
    wait_known(&lower, &first)?;
    let next = Identity::new(node.node_id().clone(), Keys::P256)?;
    let request = Newcomer::new(&next, "web-1.example.com").request()?;
    let announce = |signer: &Identity| -> Result<_> {
        let signed = smime::sign(&request, &signer.certificate, &signer.key)?;
        let path = format!("/keys/{}", node.node_id());
        let headers = [("Content-Type", "multipart/signed")];
        let connector = client::connector(node.identity(), lower.key_hash())?;
        client::once(lower.gateway(), &connector, Method::PUT, &path, &headers, signed)
    };
    let refused = announce(&first)?;
    assert_eq!(refused.status, 403, "{refused:?}");
    expect_state(&refused, "refused")?;
    let detail = refused.json()?["detail"].to_string();
    assert!(detail.contains("signed with a key that was replaced"), "{detail}");
    let shown = realm.node(node.node_id())?.to_string();
    assert!(!shown.contains(&next.key_hash().to_string()), "{shown}");
    Ok(())
}

/// After the overlap the old key is nobody's any more, at every level, without anything else happening.
#[test]
fn a_replaced_key_ends_with_its_overlap() -> Result<()> {
    let mut realm = Realm::prepare()?;
    realm.root.set("nodes.key_overlap", "\"6s\"");
    realm.root.start()?;
    let upper = realm.relay(&realm.root)?;
    let lower = realm.relay(&upper)?;
    let mut node = enrolled(&realm, &lower, "web-1")?;
    let old = node.identity().clone();
    let rolled = std::time::Instant::now();
    expect_exit(&node.agent(&["key", "roll", "--key", "p256"])?, 0);
    node.reload()?;
    if rolled.elapsed() < Duration::from_secs(5) {
        wait_known(&lower, &old)?;
    }
    for server in [&realm.root, &upper, &lower] {
        wait_known(server, node.identity())?;
        wait_refused(server, &old)?;
    }
    // It does not come back by asking, under no id.
    let ask = Newcomer::new(&old, "web-1.example.com").ask(lower.gateway(), lower.key_hash())?;
    assert!([403, 409].contains(&ask.status), "{ask:?}");
    Ok(())
}

/// Waits until the handshake with a key fails: it claims a node that has another one.
fn wait_refused(server: &Server, old: &Identity) -> Result<()> {
    let connector = client::connector(old, server.key_hash())?;
    wait::until_true("the old key to be refused", PATIENCE, || {
        Ok(identity_seen(server.gateway(), &connector).is_err())
    })
}

/// What a server does with its own keys, in files of its own: a key of a gateway is no key of a node.
fn with_own_server_key(server: &mut Server) -> Result<()> {
    let own = Identity::new(server.node_id().clone(), Keys::P256)?;
    let directory = server.directory().join("server-key");
    fs::create_dir_all(&directory)?;
    let files = own.write(&directory)?;
    server.stop()?;
    server.set("gateway.certificate", format!("{:?}", files.certificate.display().to_string()));
    server.set("gateway.key", format!("{:?}", files.key.display().to_string()));
    server.trust_key(own.key_hash());
    server.start()
}

/// The pin of the key that a gateway shows now.
fn shown_pin(server: &Server) -> Result<KeyHash> {
    let output = Command::new("openssl")
        .args(["s_client", "-showcerts", "-connect", &server.gateway().to_string()])
        .stdin(std::process::Stdio::null())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let start = text.find("-----BEGIN CERTIFICATE-----").ok_or("no certificate")?;
    Ok(Certificate::from_pem(text[start..].as_bytes())?.key_hash())
}

/// The relay changes its key three times. One node is awake and hears of each next key; one sleeps through all of
/// them, one until the chain is gone as well. No upload fails.
#[test]
fn a_server_changes_its_key_three_times_under_load() -> Result<()> {
    let realm = Realm::start()?;
    let mut relay = realm.relay(&realm.root)?;
    with_own_server_key(&mut relay)?;
    let first_pin = relay.key_hash().clone();
    let [awake, asleep, buried] = ["awake", "asleep", "buried"].map(|name| enrolled(&realm, &relay, name));
    let (awake, asleep, buried) = (awake?, asleep?, buried?);
    let loader = realm.machine(&relay, Keys::P256)?;
    let done = AtomicBool::new(false);
    let address = relay.gateway();
    let mut pins = vec![first_pin.clone()];
    std::thread::scope(|scope| -> Result<()> {
        // Many handshakes, with the first pin only: each follows the chain.
        let load = scope.spawn(|| -> Result<usize> {
            let mut start = Utc::now() - chrono::TimeDelta::days(1);
            let mut uploads = 0;
            while !done.load(Ordering::Relaxed) {
                start += chrono::TimeDelta::seconds(5);
                let log = Run::new(loader.node_id.clone(), start, 5).pack(&loader)?;
                let statuses = upload_all(address, &loader, &first_pin, std::slice::from_ref(&log))?;
                assert_eq!(statuses, [201]);
                uploads += 1;
            }
            Ok(uploads)
        });
        let mut roll = || -> Result<()> {
            for _ in 0..3 {
                relay.command(&["server-key", "next"])?;
                relay.reload()?;
                expect_exit(&awake.run(&["true"])?, 0);
                expect_exit(&awake.send()?, 0);
                relay.command(&["server-key", "activate"])?;
                relay.reload()?;
                let last = pins.last().ok_or("no pin")?.clone();
                wait::until_true("the next key to be in use", PATIENCE, || Ok(shown_pin(&relay)? != last))?;
                pins.push(shown_pin(&relay)?);
                sleep(Duration::from_millis(1100));
                expect_exit(&awake.run(&["true"])?, 0);
                expect_exit(&awake.send()?, 0);
            }
            Ok(())
        };
        let rolled = roll();
        done.store(true, Ordering::Relaxed);
        let uploads = load.join().map_err(|_| "an upload failed")??;
        assert!(uploads > 3, "{uploads} uploads");
        rolled
    })?;
    assert_eq!(pins.iter().collect::<std::collections::HashSet<_>>().len(), 4, "{pins:?}");
    // The sleeper follows the chain from the pin it has.
    expect_exit(&asleep.run(&["true"])?, 0);
    expect_exit(&asleep.send()?, 0);
    let status = crate::said(&asleep.agent(&["status"])?);
    assert!(status.contains(&pins[3].to_string()), "{status}");
    // Without the chain, only those who heard in time get in; the other is told a way that is safe.
    relay.command(&["server-key", "forget-chain"])?;
    relay.reload()?;
    sleep(Duration::from_millis(1100));
    expect_exit(&awake.run(&["true"])?, 0);
    expect_exit(&awake.send()?, 0);
    let late = Node::init(&realm.directory().join("late"), &["--key", "p256"])?;
    let refused = late.enroll(address.port(), &first_pin, &["--no-wait"])?;
    assert_ne!(refused.status.code(), Some(0));
    assert_ne!(refused.status.code(), Some(4), "{}", crate::said(&refused));
    expect_exit(&late.enroll(address.port(), &pins[3], &["--no-wait"])?, 4);
    // So is a node that is known: it keeps what it has, and sends it when somebody has told it the new pin.
    expect_exit(&buried.run(&["true"])?, 0);
    assert!(!buried.send()?.status.success());
    let status = crate::said(&buried.agent(&["status"])?);
    assert!(status.contains("agent trust pin") && status.contains(&first_pin.to_string()), "{status}");
    assert_eq!(buried.outbox()?.len(), 1);
    expect_exit(&buried.agent(&["trust", "pin", &pins[3].to_string()])?, 0);
    expect_exit(&buried.send()?, 0);
    assert_eq!(buried.outbox()?, []);
    Ok(())
}

/// The end of each certificate is a metric, and the built-in authority gives nodes theirs.
#[test]
fn certificates_of_the_authority_are_fetched_exported_and_watched() -> Result<()> {
    let mut realm = Realm::prepare()?;
    // Half of it has to pass before there is another one.
    realm.root.set("ca.node_certificate_lifetime", "\"24s\"");
    realm.operator(&["ca", "init"])?;
    realm.root.start()?;
    let relay = realm.relay(&realm.root)?;
    let node = enrolled(&realm, &relay, "db-1")?;
    let out = realm.directory().join("export");
    fs::create_dir_all(&out)?;
    let path = |name: &str| out.join(name).display().to_string();
    let (certificate, key, authority) = (path("db.pem"), path("db.key"), path("ca.pem"));
    let shown = expect_exit(&node.agent(&["cert", "show"])?, 0);
    assert!(shown.contains("issued    until"), "{shown}");
    let export = ["cert", "export", "--cert", &certificate, "--key", &key, "--ca", &authority];
    expect_exit(&node.agent(&[&export[..], &["--mode", "0640"]].concat())?, 0);
    let verified = Command::new("openssl")
        .args(["verify", "-purpose", "sslserver", "-verify_hostname", "db-1.example.com"])
        .args(["-CAfile", &authority, &certificate])
        .output()?;
    expect_exit(&verified, 0);
    let before = fs::read(&certificate)?;
    // What the daemon does each time: it asks for nothing before half of the life is over.
    wait::until_true("the export to follow the renewal", PATIENCE, || {
        expect_exit(&node.agent(&["upkeep"])?, 0);
        Ok(fs::read(&certificate)? != before)
    })?;
    for server in [&realm.root, &relay] {
        let metrics = server.metrics()?;
        let gauge = metrics.lines().find(|line| {
            line.starts_with("relayd_certificate_not_after_seconds")
                && line.contains("certificate=\"gateway\"")
        });
        let gauge = gauge.ok_or_else(|| format!("no gauge of expiry: {metrics}"))?;
        let at: f64 = gauge.rsplit(' ').next().ok_or("no value")?.parse()?;
        let now = Utc::now().timestamp() as f64;
        assert!(at > now + 86_400.0 * 30.0 && at < now + 86_400.0 * 36_500.0, "{gauge}");
    }
    Ok(())
}
