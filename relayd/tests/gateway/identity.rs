// SPDX-License-Identifier: Apache-2.0
//! Who may upload what.

use std::sync::Arc;

use openssl::{
    asn1::{Asn1Time, Asn1Type},
    bn::{BigNum, MsbOption},
    hash::MessageDigest,
    nid::Nid,
    pkey::{PKey, Private},
    rsa::Rsa,
    ssl::{SslContext, SslMethod, SslSessionCacheMode, SslVerifyMode, SslVersion},
    x509::{X509, X509Name},
};
use protocol::{
    certificate::Certificate,
    tls::{ClientIdentity, TlsVersion},
};

use crate::harness::*;

#[tokio::test]
async fn nodes_speak_for_themselves_and_relays_for_those_below() {
    let gateway = start().await;
    let fleet = &gateway.fleet;
    let mut n = 0;
    for (who, node, allowed) in [
        (&fleet.direct, DIRECT, true),
        (&fleet.direct, BELOW, false),
        (&fleet.direct, "root", false),
        (&fleet.direct, "not-in-the-list", false),
        (&fleet.below, BELOW, true),
        (&fleet.below, RELAY, false),
        (&fleet.relay, RELAY, true),
        (&fleet.relay, BELOW, true),
        (&fleet.relay, DIRECT, false),
        (&fleet.relay, "not-in-the-list", false),
        (&fleet.root, "root", true),
        (&fleet.root, BELOW, true),
        (&fleet.stranger, DIRECT, false),
        (&fleet.stranger, "stranger", false),
    ] {
        n += 1;
        let reply = gateway.put(Some(who), &format!("/reports/{}", run_log(node, n)), &gzip(b"x")).await;
        assert_eq!(reply.status, if allowed { 201 } else { 403 }, "{:?} for {node}", who.0.node_id());
        let reply = gateway
            .put(
                Some(who),
                &format!("/inventory-updates/{node}_2026-01-02T03:04:05+00:00-{n}.ocs.gz"),
                &gzip(b"x"),
            )
            .await;
        assert_eq!(reply.status, if allowed { 201 } else { 403 }, "{:?} for {node}", who.0.node_id());
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_new_node_may_introduce_itself_through_a_relay_only() {
    let gateway = start().await;
    let path = |node: &str| format!("/inventories/{node}_2026-01-02T03:04:05+00:00.ocs.gz");
    for (who, node, status) in [
        (Some(&gateway.fleet.relay), "newcomer", 201),
        (Some(&gateway.fleet.relay), DIRECT, 403),
        (Some(&gateway.fleet.stranger), "stranger", 403),
        (None, "newcomer-2", 401),
    ] {
        assert_eq!(gateway.put(who, &path(node), &gzip(b"x")).await.status, status, "{node}");
    }
    let nameless = gateway.put(Some(&gateway.fleet.relay), "/inventories/who.ocs", b"x").await;
    assert_eq!(nameless.status, 403);
    gateway.stop().await;
}

#[tokio::test]
async fn without_identity_everything_but_the_id_is_closed() {
    let gateway = start().await;
    for path in [
        format!("/reports/{}", run_log(DIRECT, 1)),
        "/reports/nonsense".into(),
        format!("/inventories/{DIRECT}.ocs"),
        format!("/inventory-updates/{DIRECT}.ocs"),
    ] {
        let mut client = gateway.connect(None).await;
        for headers in ["", REGULAR, INITIAL] {
            let reply = client.put(&path, headers, b"").await;
            assert_eq!(reply.status, 401, "{path}");
            assert_eq!(reply.header("www-authenticate"), None, "passwords are off");
        }
        assert_eq!(gateway.put(Some(&gateway.fleet.stranger), &path, b"").await.status, 403, "{path}");
    }
    assert_eq!(gateway.files(), [""; 0]);
    gateway.stop().await;
}

#[tokio::test]
async fn passwords_open_one_kind_each() {
    let gateway = start_with(|settings| settings.basic_auth = Some(passwords())).await;
    let report = |node: &str, n| format!("/reports/{}", run_log(node, n));
    let update = format!("/inventory-updates/{DIRECT}_2026-01-02T03:04:05+00:00.ocs.gz");
    let new = "/inventories/newcomer_2026-01-02T03:04:05+00:00.ocs.gz".to_owned();
    for (who, path, headers, status) in [
        (None, report(DIRECT, 1), REGULAR, 201),
        (None, report(BELOW, 1), REGULAR, 201),
        (None, report("not-in-the-list", 1), REGULAR, 403),
        (None, report(DIRECT, 2), INITIAL, 401),
        (None, report(DIRECT, 2), "", 401),
        (None, update.clone(), REGULAR, 201),
        (None, update, INITIAL, 401),
        (None, new.clone(), REGULAR, 401),
        (None, new, INITIAL, 201),
        // Agents that show a certificate which nobody knows yet.
        (Some(&gateway.fleet.stranger), report(DIRECT, 3), REGULAR, 201),
        // Whoever has the key of a node is that node, passwords or not.
        (Some(&gateway.fleet.direct), report(BELOW, 4), REGULAR, 403),
        (Some(&gateway.fleet.direct), report(DIRECT, 4), "", 201),
    ] {
        let reply = gateway.connect(who).await.put(&path, headers, &gzip(b"x")).await;
        assert_eq!(reply.status, status, "{path} {headers}");
        assert_eq!(reply.header("www-authenticate").is_some(), status == 401);
    }
    gateway.stop().await;
}

#[tokio::test]
async fn nobody_replaces_a_waiting_file() {
    let gateway = start().await;
    let path = format!("/reports/{}", run_log(BELOW, 1));
    assert_eq!(gateway.put(Some(&gateway.fleet.below), &path, &gzip(b"mine")).await.status, 201);
    assert_eq!(gateway.put(Some(&gateway.fleet.direct), &path, &gzip(b"other")).await.status, 403);
    assert_eq!(gateway.put(Some(&gateway.fleet.relay), &path, &gzip(b"other")).await.status, 409);
    let stored = std::fs::read(gateway.reports().join(run_log(BELOW, 1))).unwrap();
    assert_eq!(stored, gzip(b"mine"));
    gateway.stop().await;
}

#[tokio::test]
async fn a_removed_node_loses_its_connections_and_its_rights() {
    let gateway = start().await;
    let direct = Some(&gateway.fleet.direct);
    let mut client = gateway.connect(direct).await;
    let mut other = gateway.connect(Some(&gateway.fleet.below)).await;
    let path = |n| format!("/reports/{}", run_log(DIRECT, n));
    assert_eq!(client.put(&path(1), "", &gzip(b"x")).await.status, 201);
    gateway.nodes.send_replace(Arc::new(gateway.fleet.table_without(DIRECT)));
    assert_eq!(client.reply().await, None, "closed without being asked");
    assert_eq!(gateway.put(direct, &path(2), &gzip(b"x")).await.status, 403);
    let theirs = format!("/reports/{}", run_log(BELOW, 2));
    assert_eq!(other.put(&theirs, "", &gzip(b"x")).await.status, 201, "others are not concerned");
    gateway.nodes.send_replace(Arc::new(gateway.fleet.table()));
    assert_eq!(gateway.put(direct, &path(3), &gzip(b"x")).await.status, 201);
    gateway.stop().await;
}

#[tokio::test]
async fn an_upload_ends_when_its_node_is_revoked_and_those_of_others_go_on() {
    let gateway = start().await;
    let body = gzip(&[7; 100_000]);
    let [revoked, other] =
        [(&gateway.fleet.direct, DIRECT), (&gateway.fleet.relay, RELAY)].map(|(identity, node)| {
            (identity, put_request(&format!("/reports/{}", run_log(node, 1)), "", &body))
        });
    let mut busy = gateway.connect(Some(revoked.0)).await;
    let mut unconcerned = gateway.connect(Some(other.0)).await;
    busy.send(&revoked.1[..50_000]).await.unwrap();
    unconcerned.send(&other.1[..50_000]).await.unwrap();
    eventually("both are under way", || gateway.metric("relayd_gateway_uploads_in_flight") == 2.0).await;

    gateway.nodes.send_replace(Arc::new(gateway.fleet.table_without(DIRECT)));
    assert_eq!(busy.reply().await, None);
    eventually("one has ended", || gateway.metric("relayd_gateway_uploads_in_flight") == 1.0).await;
    assert_eq!(gateway.metric("relayd_gateway_revoked_connections_total"), 1.0);
    unconcerned.send(&other.1[50_000..]).await.unwrap();
    assert_eq!(unconcerned.reply().await.unwrap().status, 201);
    // What was being written when its upload ended is written to its end, and then removed.
    eventually("nothing is left of the other", || gateway.files() == [run_log(RELAY, 1)]).await;
    assert_eq!(gateway.metric("relayd_gateway_tls_handshakes_total"), 2.0);
    gateway.stop().await;
}

fn certificate(key: &PKey<Private>, uids: &[(&[u8], Asn1Type)]) -> Certificate {
    let mut name = X509Name::builder().unwrap();
    for (uid, kind) in uids {
        let uid = std::str::from_utf8(uid).unwrap();
        name.append_entry_by_nid_with_type(Nid::USERID, uid, *kind).unwrap();
    }
    if uids.is_empty() {
        name.append_entry_by_nid(Nid::COMMONNAME, "host").unwrap();
    }
    let name = name.build();
    let mut serial = BigNum::new().unwrap();
    serial.rand(64, MsbOption::MAYBE_ZERO, false).unwrap();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_serial_number(&serial.to_asn1_integer().unwrap()).unwrap();
    builder.set_subject_name(&name).unwrap();
    builder.set_issuer_name(&name).unwrap();
    builder.set_pubkey(key).unwrap();
    builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::days_from_now(10).unwrap()).unwrap();
    builder.sign(key, MessageDigest::sha256()).unwrap();
    Certificate::new(builder.build()).unwrap()
}

/// What becomes of an upload with this identity: the status, or 0 when there is no connection.
async fn status_of(gateway: &Running, identity: &ClientIdentity, path: &str) -> u16 {
    match Client::try_connect(gateway.address, Some(identity), TlsVersion::V1_3).await {
        Ok(client) => status_on(client, path).await,
        Err(_) => 0,
    }
}

async fn status_on(mut client: Client, path: &str) -> u16 {
    // In TLS 1.3 the client learns only here that its certificate was refused.
    match client.send(&put_request(path, "", &gzip(b"x"))).await {
        Ok(()) => client.reply().await.map_or(0, |reply| reply.status),
        Err(_) => 0,
    }
}

#[tokio::test]
async fn the_key_decides_and_the_name_must_not_contradict_it() {
    let gateway = start().await;
    let key = &gateway.fleet.direct.1;
    let path = format!("/reports/{}", run_log(DIRECT, 1));
    let utf8 = Asn1Type::UTF8STRING;
    let nul = format!("{DIRECT}\0x");
    let long = "a".repeat(10_000);
    for (uids, allowed) in [
        (vec![(DIRECT.as_bytes(), utf8)], true),
        // Another serial, another string type, no name at all: still the key.
        (vec![(DIRECT.as_bytes(), Asn1Type::PRINTABLESTRING)], true),
        (vec![], true),
        (vec![(BELOW.as_bytes(), utf8)], false),
        (vec![(b"root".as_slice(), utf8)], false),
        (vec![(DIRECT.as_bytes(), utf8), (BELOW.as_bytes(), utf8)], false),
        (vec![(BELOW.as_bytes(), utf8), (DIRECT.as_bytes(), utf8)], false),
        (vec![(DIRECT.as_bytes(), utf8), (DIRECT.as_bytes(), utf8)], false),
        (vec![(nul.as_bytes(), utf8)], false),
        (vec![(DIRECT.as_bytes(), Asn1Type::BMPSTRING)], false),
        (vec![(long.as_bytes(), utf8)], false),
        (vec![(b"".as_slice(), utf8)], false),
    ] {
        let identity = (certificate(key, &uids), key.clone());
        let status = status_of(&gateway, &identity, &path).await;
        let expected: &[u16] = if allowed { &[201, 204] } else { &[0] };
        assert!(expected.contains(&status), "{uids:?}: {status}");
    }
    // The name of a node with another key is refused in the handshake; that of nobody is not.
    let forged = new_identity(DIRECT);
    assert_eq!(status_of(&gateway, &forged, &path).await, 0);
    let strange = (certificate(key, &[(b"nobody", utf8)]), key.clone());
    assert_eq!(status_of(&gateway, &strange, &path).await, 403);
    // The certificate of a node, without its key.
    let stolen = (gateway.fleet.direct.0.clone(), new_key());
    assert!(client_context(Some(&stolen), TlsVersion::V1_3).is_err());
    gateway.stop().await;
}

#[tokio::test]
async fn weak_keys_are_refused() {
    let gateway = start().await;
    let weak = PKey::from_rsa(Rsa::generate(1024).unwrap()).unwrap();
    let certificate = certificate(&weak, &[(DIRECT.as_bytes(), Asn1Type::UTF8STRING)]);
    // OpenSSL does not even let a client use it at its default security level.
    let mut builder = SslContext::builder(SslMethod::tls_client()).unwrap();
    builder.set_verify(SslVerifyMode::NONE);
    builder.set_security_level(0);
    builder.set_certificate(certificate.x509()).unwrap();
    builder.set_private_key(&weak).unwrap();
    let status = match Client::connect_with(gateway.address, &builder.build()).await {
        Ok(client) => status_on(client, &format!("/reports/{}", run_log(DIRECT, 1))).await,
        Err(_) => 0,
    };
    assert_eq!(status, 0);
    // The client may know before the gateway does.
    eventually("it is counted", || gateway.metric("relayd_gateway_tls_failures_total") >= 1.0).await;
    gateway.stop().await;
}

#[tokio::test]
async fn old_protocol_versions_and_resumption_are_refused() {
    let gateway = start().await;
    let mut builder = SslContext::builder(SslMethod::tls_client()).unwrap();
    builder.set_verify(SslVerifyMode::NONE);
    builder.set_max_proto_version(Some(SslVersion::TLS1_2)).unwrap();
    assert!(Client::connect_with(gateway.address, &builder.build()).await.is_err());
    // The client may know before the gateway does.
    eventually("it is counted", || gateway.metric("relayd_gateway_tls_failures_total") >= 1.0).await;

    let (sender, tickets) = std::sync::mpsc::channel();
    let mut builder = SslContext::builder(SslMethod::tls_client()).unwrap();
    builder.set_verify(SslVerifyMode::NONE);
    builder.set_session_cache_mode(SslSessionCacheMode::CLIENT);
    builder.set_new_session_callback(move |_, session| sender.send(session).unwrap());
    let mut client = Client::connect_with(gateway.address, &builder.build()).await.unwrap();
    client.send(b"GET /uuid HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert_eq!(client.reply().await.unwrap().status, 200);
    assert!(tickets.try_recv().is_err(), "no ticket to resume with");
    gateway.stop().await;
}

#[tokio::test]
async fn tls_1_2_is_spoken_when_allowed() {
    let gateway = start_with(|settings| settings.oldest_tls = TlsVersion::V1_2).await;
    let key = &gateway.fleet.direct;
    let mut builder = SslContext::builder(SslMethod::tls_client()).unwrap();
    builder.set_verify(SslVerifyMode::NONE);
    builder.set_max_proto_version(Some(SslVersion::TLS1_2)).unwrap();
    builder.set_certificate(key.0.x509()).unwrap();
    builder.set_private_key(&key.1).unwrap();
    let mut client = Client::connect_with(gateway.address, &builder.build()).await.unwrap();
    let path = format!("/reports/{}", run_log(DIRECT, 1));
    assert_eq!(client.put(&path, "", &gzip(b"x")).await.status, 201);
    gateway.stop().await;
}
