// SPDX-License-Identifier: Apache-2.0
//! Rows I1, I2, I4, I9, F2 and F3 of the fault list, against servers that keep and follow the registry.

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use bytes::Bytes;
use chrono::{TimeDelta, Utc};
use hyper::Method;
use openssl::{
    asn1::Asn1Type,
    hash::MessageDigest,
    nid::Nid,
    x509::{X509Builder, X509NameBuilder},
};
use protocol::{certificate::Certificate, node_id::NodeId};
use serde_json::Value;
use tests::{
    Result,
    client::{self, connector, upload_all},
    enrolment::{Newcomer, identity_seen},
    http,
    identity::{Identity, Keys},
    judge,
    realm::{Realm, expect_state, wait_known},
    server::Server,
    simulated::{self, Run, USUAL_ROWS},
    site::{reason_of, waiting},
    wait,
};

use crate::{PATIENCE, said};

/// I1, I2: nobody speaks for another, at no level.
#[test]
fn nobody_speaks_for_another_node() -> Result<()> {
    let mut realm = Realm::start()?;
    let upper = realm.relay(&realm.root)?;
    let lower = realm.relay(&upper)?;
    let below = realm.machines(&lower, Keys::P256, 2)?;
    let elsewhere = realm.machine(&upper, Keys::P256)?;
    for machine in &below {
        wait_known(&upper, machine)?;
    }
    let logs = |machine: &Identity| simulated::many(std::slice::from_ref(machine), 1, USUAL_ROWS, Utc::now());
    let (first, other) = (logs(&below[0])?, logs(&elsewhere)?);
    // Another node of the same relay; a node for one of another; the lower relay for one that is not below it.
    let lower_relay = identity_of(&lower)?;
    assert_eq!(upload_all(lower.gateway(), &below[1], lower.key_hash(), &first)?, [403]);
    assert_eq!(upload_all(upper.gateway(), &elsewhere, upper.key_hash(), &first)?, [403]);
    assert_eq!(upload_all(upper.gateway(), &lower_relay, upper.key_hash(), &other)?, [403]);
    assert_eq!(waiting(&lower.incoming())? + waiting(&upper.incoming())?, 0);
    assert_eq!(upload_all(lower.gateway(), &below[0], lower.key_hash(), &first)?, [201]);
    // A relay that forges a log of a node below it gets it up, but not in.
    let forged = Run::new(below[1].node_id.clone(), Utc::now() - TimeDelta::days(1), USUAL_ROWS);
    let forged = forged.pack(&lower_relay)?;
    let statuses =
        upload_all(upper.gateway(), &lower_relay, upper.key_hash(), std::slice::from_ref(&forged))?;
    assert_eq!(statuses, [201]);
    assert_eq!(reason_of(&mut realm.root, &forged.name)?["reason"], "bad_signature");
    // The forged one is decided: what is stored is the genuine one, and nothing else.
    let database = realm.root.database()?.clone();
    wait::until_true("the genuine rows", PATIENCE, || Ok(judge::count_rows(&database)? >= USUAL_ROWS))?;
    assert_eq!(judge::count_rows(&database)?, USUAL_ROWS);
    // Nor does it change a node's key, or ask for a certificate with its own.
    let request = Newcomer::new(&lower_relay, "x.example.com").request()?;
    let relay_connector = connector(&lower_relay, upper.key_hash())?;
    for kind in ["keys", "certificates"] {
        let path = format!("/{kind}/{}", below[1].node_id);
        let reply = client::once(
            upper.gateway(),
            &relay_connector,
            Method::PUT,
            &path,
            &[tests::enrolment::CONTENT_TYPE],
            request.clone(),
        )?;
        assert!((400..500).contains(&reply.status), "{kind}: {reply:?}");
    }
    wait_known(&lower, &below[1])
}

/// Who a server is as a node.
pub(crate) fn identity_of(server: &Server) -> Result<Identity> {
    let files = server.identity();
    Ok(Identity {
        node_id: server.node_id().clone(),
        key: protocol::private_key::from_pem(&std::fs::read(&files.key)?)?,
        certificate: Certificate::from_pem(&std::fs::read(&files.certificate)?)?,
    })
}

/// I4: no certificate that is odd, or names a node of the list with another key, passes the handshake.
#[test]
fn odd_certificates_end_in_the_handshake() -> Result<()> {
    let realm = Realm::start()?;
    let relay = realm.relay(&realm.root)?;
    let machine = realm.machine(&relay, Keys::P256)?;
    let id = machine.node_id.as_str();
    let other_key = Identity::new(machine.node_id.clone(), Keys::P256)?;
    let odd = [
        ("two UIDs", with_uids(&machine, &[(id, Asn1Type::UTF8STRING), ("root", Asn1Type::UTF8STRING)])?),
        ("a NUL", with_uids(&machine, &[(&format!("{id}\0.example.com"), Asn1Type::UTF8STRING)])?),
        ("10 kB", with_uids(&machine, &[(&"a".repeat(10_000), Asn1Type::UTF8STRING)])?),
        ("a BMPString", with_uids(&machine, &[(id, Asn1Type::BMPSTRING)])?),
        ("a UID and another key", other_key.clone()),
        ("root's UID", Identity::new(NodeId::root(), Keys::P256)?),
    ];
    for (what, identity) in &odd {
        for server in [&relay, &realm.root] {
            let connector = connector(identity, server.key_hash())?;
            let failures =
                || server.metric("relayd_gateway_tls_failures_total").map(Option::unwrap_or_default);
            let before = failures()?;
            // With TLS 1.3 the client learns of it with its first read.
            let seen = identity_seen(server.gateway(), &connector);
            let place = format!("{what} at {}", server.node_id());
            assert!(seen.is_err(), "{place}: {seen:?}");
            // It is the server that ended it, and in the handshake.
            let title = format!("the failure to be counted: {place}");
            wait::until_true(&title, PATIENCE, || Ok(failures()? > before))?;
            assert_eq!(failures()?, before + 1.0, "{place}");
        }
    }
    // Its owner is not affected, and a stranger is one.
    wait_known(&relay, &machine)?;
    let stranger = connector(&Identity::random(Keys::P256)?, relay.key_hash())?;
    assert_eq!(identity_seen(relay.gateway(), &stranger)?.status, 403);
    Ok(())
}

/// A self-signed certificate for the key of `identity` with these `UID`s, as they are.
fn with_uids(identity: &Identity, uids: &[(&str, Asn1Type)]) -> Result<Identity> {
    let mut name = X509NameBuilder::new()?;
    for (uid, kind) in uids {
        // OpenSSL takes the bytes as they are, whatever the type, the length and the NULs.
        name.append_entry_by_nid_with_type(Nid::USERID, uid, *kind)?;
    }
    let name = name.build();
    let mut builder = X509Builder::new()?;
    builder.set_version(2)?;
    builder.set_subject_name(&name)?;
    builder.set_issuer_name(&name)?;
    builder.set_pubkey(&identity.key)?;
    builder.set_not_before(openssl::asn1::Asn1Time::days_from_now(0)?.as_ref())?;
    builder.set_not_after(openssl::asn1::Asn1Time::days_from_now(30)?.as_ref())?;
    builder.sign(&identity.key, MessageDigest::sha256())?;
    let certificate = Certificate::new(builder.build())?;
    Ok(Identity { certificate, ..identity.clone() })
}

/// I9: without identity nothing that needs one; and the local API stays on loopback.
#[test]
fn nothing_without_identity() -> Result<()> {
    let mut realm = Realm::start()?;
    let relay = realm.relay(&realm.root)?;
    let table = relay.command(&["routes", "--json"])?;
    let rules: Vec<Value> = table.lines().map(serde_json::from_str).collect::<serde_json::Result<_>>()?;
    let anonymous = client::anonymous_connector(relay.key_hash())?;
    let stranger = connector(&Identity::random(Keys::P256)?, relay.key_hash())?;
    let id = Identity::random(Keys::P256)?.node_id;
    let mut walked = 0;
    for rule in &rules {
        if rule["listener"].as_str().is_none_or(|listener| !listener.eq_ignore_ascii_case("gateway")) {
            continue;
        }
        let who = rule["who"].as_array().ok_or("a rule without who")?;
        let open = who.iter().any(|who| who == "anyone" || who == "visitor");
        // Programs of this machine come without a certificate (protocol 10.5).
        let open_to_loopback = who.iter().any(|who| who == "loopback");
        let pattern = rule["path"].as_str().ok_or("a rule without path")?;
        let path = pattern
            .replace("<node id>", id.as_str())
            .replace("<file name>", &format!("2026-01-02T03:04:05+00:00@{id}.log.gz"))
            .replace("<file>", "target/source/file")
            .replace("<path>", "rules/file")
            .replace("<targets>", "all")
            .replace("<run>", id.as_str());
        assert!(!path.contains('<'), "{path}");
        for method in rule["methods"].as_array().ok_or("a rule without methods")? {
            let method = method.as_str().filter(|&method| method != "*").unwrap_or("GET");
            let method = Method::from_bytes(method.as_bytes())?;
            for (connector, is_anonymous) in [(&anonymous, true), (&stranger, false)] {
                let open = open || (open_to_loopback && is_anonymous);
                let path = path.replace('*', "/nothing");
                let reply =
                    client::once(relay.gateway(), connector, method.clone(), &path, &[], Bytes::new())?;
                // What has no rule does not exist.
                let refused = [401, 403].contains(&reply.status) || pattern == "*" && reply.status == 404;
                assert_eq!(refused, !open, "{method} {path}: {} {rule}", reply.status);
            }
            walked += 1;
        }
    }
    assert!(walked >= 9, "only {walked} routes: {table}");
    // What the table does not name does not exist, and what is local is not here.
    for path in [
        "/",
        "/metrics",
        "/rudder/relay-api/1/system/info",
        "/nodeslist.json",
        "/enrolments/",
        "/keys/../uuid",
    ] {
        let reply = client::once(relay.gateway(), &anonymous, Method::GET, path, &[], Bytes::new())?;
        assert!([401, 403, 404].contains(&reply.status), "{path}: {}", reply.status);
    }
    assert_eq!(http::get(relay.api(), "/identity")?.status, 404);
    realm.root.stop()?;
    realm.root.set("general.listen", "\"0.0.0.0:3030\"");
    realm.root.spawn()?;
    let end = realm.root.wait_end(PATIENCE)?;
    assert_eq!(end.code(), Some(2), "{}", realm.root.log_end());
    Ok(())
}

/// F2: below the configured minimum, with a weak group, before the handshake is over.
#[test]
fn weak_tls_is_refused() -> Result<()> {
    let realm = Realm::start()?;
    let relay = realm.relay(&realm.root)?;
    let try_with = |options: &[&str]| -> Result<(bool, String)> {
        let output = Command::new("openssl")
            .args(["s_client", "-connect", &relay.gateway().to_string()])
            .args(options)
            .stdin(Stdio::null())
            .output()?;
        Ok((output.status.success(), said(&output)))
    };
    let good = try_with(&["-tls1_3"])?;
    assert!(good.0 && good.1.contains("TLSv1.3"), "{}", good.1);
    for group in ["X25519", "P-256", "P-384"] {
        assert!(try_with(&["-groups", group])?.0, "{group}");
    }
    for options in [
        &["-tls1_2"][..],
        &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"],
        &["-groups", "ffdhe2048"],
        &["-groups", "P-521"],
    ] {
        let (taken, text) = try_with(options)?;
        assert!(!taken || text.contains("Cipher is (NONE)"), "{options:?}: {text}");
    }
    Ok(())
}

/// F3: what belongs to another node looks as if it were not there.
#[test]
fn anothers_things_look_like_missing_ones() -> Result<()> {
    let realm = Realm::start()?;
    realm.operator(&["ca", "init"])?;
    realm.root.reload()?;
    let relay = realm.relay(&realm.root)?;
    let machines = realm.machines(&relay, Keys::P256, 2)?;
    let missing = Identity::random(Keys::P256)?;
    let connector = connector(&machines[0], relay.key_hash())?;
    let request = Newcomer::new(&machines[0], "x.example.com").request()?;
    for kind in ["keys", "certificates"] {
        let ask = |node: &NodeId| {
            let path = format!("/{kind}/{node}");
            let headers = [tests::enrolment::CONTENT_TYPE];
            let reply =
                client::once(relay.gateway(), &connector, Method::PUT, &path, &headers, request.clone())?;
            // What was asked for is repeated, and nothing else may differ.
            let said = String::from_utf8_lossy(&reply.body).replace(node.as_str(), "…");
            Ok::<_, tests::Error>((reply.status, said))
        };
        let (others, nobodys) = (ask(&machines[1].node_id)?, ask(&missing.node_id)?);
        assert_eq!(others.0, 403, "{kind}: {others:?}");
        assert_eq!(others, nobodys, "{kind}");
    }
    // A node sees no other node in the tree.
    let tree = client::once(relay.gateway(), &connector, Method::GET, "/nodes", &[], Bytes::new())?;
    assert_eq!(tree.status, 200, "{tree:?}");
    assert!(!String::from_utf8_lossy(&tree.body).contains(machines[1].node_id.as_str()), "{tree:?}");
    Ok(())
}

/// A node gets a certificate for its own name, whatever it asks for.
#[test]
fn a_certificate_names_nobody_else() -> Result<()> {
    let mut realm = Realm::prepare()?;
    realm.operator(&["ca", "init"])?;
    realm.root.start()?;
    let relay = realm.relay(&realm.root)?;
    let machine = realm.machine(&relay, Keys::P256)?;
    let connector = connector(&machine, relay.key_hash())?;
    let request = Newcomer::new(&machine, "db.example.com").request()?;
    let path = format!("/certificates/{}", machine.node_id);
    let headers = [tests::enrolment::CONTENT_TYPE];
    let reply = client::once(relay.gateway(), &connector, Method::PUT, &path, &headers, request)?;
    assert_eq!(reply.status, 200, "{reply:?}");
    let issued = Certificate::from_pem(&reply.body)?;
    assert_eq!(issued.dns_names(), ["machine.example.com"]);
    assert_eq!(issued.sole_node_id(), Some(&machine.node_id));
    assert_eq!(issued.key_hash(), machine.key_hash());
    Ok(())
}

/// Names and ids are chosen by machines: one that takes another's name for its id is not accepted in its stead, and a
/// token is good for the name on it and no other, whatever the machine said before.
#[test]
fn borrowed_names_help_nobody() -> Result<()> {
    let realm = Realm::start()?;
    let ask = |identity: &Identity, hostname: &str, token: Option<&str>| {
        let newcomer = Newcomer { token, ..Newcomer::new(identity, hostname) };
        newcomer.ask(realm.root.gateway(), realm.root.key_hash())
    };
    let honest = Identity::random(Keys::P256)?;
    let impostor = Identity::new("web-1".parse()?, Keys::P256)?;
    expect_state(&ask(&honest, "web-1", None)?, "pending")?;
    expect_state(&ask(&impostor, "x.example.com", None)?, "pending")?;
    let refused = realm.operator(&["node", "accept", "web-1"]);
    assert!(refused.is_err(), "{refused:?}");
    for machine in [&honest, &impostor] {
        assert_eq!(realm.listed(&machine.node_id)?["state"], "pending");
    }
    let token = realm.tokens("web-2.example.com", 1)?.remove(0);
    let other = Identity::random(Keys::P256)?;
    expect_state(&ask(&other, "db.example.com", None)?, "pending")?;
    expect_state(&ask(&other, "web-2.example.com", Some(&token))?, "accepted")?;
    assert_eq!(realm.listed(&other.node_id)?["hostname"], "web-2.example.com");
    Ok(())
}

/// Requests are limited by address, and a stranger that asks too often holds up no node, not even at its own address.
#[test]
fn enrolment_is_limited() -> Result<()> {
    let mut realm = Realm::prepare()?;
    realm.operator(&["ca", "init"])?;
    realm.root.set("enrolment.requests_per_minute", "10");
    realm.root.start()?;
    let root = &realm.root;
    let machine = realm.machine(root, Keys::P256)?;
    let connector = connector(&machine, root.key_hash())?;
    let stranger = Identity::random(Keys::P256)?;
    let (mut statuses, start) = (Vec::new(), Instant::now());
    for second in 0..30 {
        let reply = Newcomer::new(&stranger, "x.example.com").ask(root.gateway(), root.key_hash())?;
        statuses.push(reply.status);
        if reply.status != 429 {
            continue;
        }
        let wait: u64 = reply.header("Retry-After").parse()?;
        assert!(wait > 0 && Duration::from_secs(wait) <= Duration::from_secs(60), "{wait}");
        let begun = Utc::now() - TimeDelta::hours(1) + TimeDelta::seconds(second);
        let log = Run::new(machine.node_id.clone(), begun, USUAL_ROWS).pack(&machine)?;
        let uploaded = upload_all(root.gateway(), &machine, root.key_hash(), std::slice::from_ref(&log))?;
        assert_eq!(uploaded, [201]);
        let request = Newcomer::new(&machine, "machine.example.com").request()?;
        let path = format!("/certificates/{}", machine.node_id);
        let headers = [tests::enrolment::CONTENT_TYPE];
        let issued = client::once(root.gateway(), &connector, Method::PUT, &path, &headers, request)?;
        assert_eq!(issued.status, 200, "{issued:?}");
    }
    // Ten at once, the machine's own among them, and then one in six seconds.
    let taken = statuses.iter().filter(|status| **status == 202).count() as u64;
    let most = 10 + start.elapsed().as_secs() / 6;
    assert!((1..=most).contains(&taken) && statuses.contains(&429), "{taken} of {most}: {statuses:?}");
    Ok(())
}
