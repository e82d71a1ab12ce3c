// SPDX-License-Identifier: Apache-2.0
//! Start, reload, drain.

use std::fs;

use protocol::{
    hash::KeyHash,
    private_key::KeyKind,
    tls::{self, ServerTrust, TlsVersion},
};
use relayd::{
    config::IdentityFiles,
    gateway::{Behind, Gateway, GatewayError},
    server_key,
};
use tokio::sync::watch;

use crate::harness::*;

#[tokio::test]
async fn draining_finishes_what_is_under_way() {
    let gateway = start().await;
    let idle = gateway.connect(Some(&gateway.fleet.direct)).await;
    let mut kept = gateway.connect(Some(&gateway.fleet.direct)).await;
    let path = |n| format!("/reports/{}", run_log(DIRECT, n));
    assert_eq!(kept.put(&path(1), "", &gzip(b"x")).await.status, 201);
    let mut busy = gateway.connect(Some(&gateway.fleet.direct)).await;
    let request = put_request(&path(2), "", &gzip(&[7; 100_000]));
    busy.send(&request[..90_000]).await.unwrap();
    eventually("the upload is under way", || gateway.metric("relayd_gateway_uploads_in_flight") == 1.0).await;

    gateway.stop.cancel();
    assert_eq!(kept.reply().await, None, "an idle connection is closed");
    eventually("nobody listens", || std::net::TcpStream::connect(gateway.address).is_err()).await;
    assert!(!gateway.task.is_finished());
    busy.send(&request[90_000..]).await.unwrap();
    assert_eq!(busy.reply().await.unwrap().status, 201);
    drop(idle);
    assert_eq!(gateway.files().len(), 2);
    gateway.stop().await;
}

#[tokio::test]
async fn a_new_certificate_is_for_new_connections() {
    let gateway = start().await;
    let mut old = gateway.connect(Some(&gateway.fleet.direct)).await;
    let path = |n| format!("/reports/{}", run_log(DIRECT, n));
    assert_eq!(old.put(&path(1), "", &gzip(b"x")).await.status, 201);
    let shown = |client: &Client| client.stream.ssl().peer_certificate().unwrap().to_pem().unwrap();
    let before = shown(&old);

    // Half of a pair is refused, and what is in use stays.
    fs::write(gateway.directory.path().join("cert"), new_identity("root").0.x509().to_pem().unwrap())
        .unwrap();
    let error = gateway.reload.reload().unwrap_err();
    assert!(matches!(error, GatewayError::Identity(_)), "{error}");
    assert!(error.to_string().contains("cert"), "{error}");
    assert_eq!(shown(&gateway.connect(None).await), before);

    let renewed = new_identity("root");
    write_identity(gateway.directory.path(), &renewed);
    gateway.reload.reload().unwrap();
    assert_eq!(shown(&gateway.connect(None).await), renewed.0.x509().to_pem().unwrap());
    assert_eq!(old.put(&path(2), "", &gzip(b"x")).await.status, 201, "old connections live on");
    gateway.stop().await;
}

#[tokio::test]
async fn the_next_key_is_announced_to_nodes_and_the_old_one_vouches_for_it() {
    let gateway = start().await;
    let path = |name: &str| gateway.directory.path().join(name);
    let files = IdentityFiles { certificate: path("cert"), key: path("key") };
    let pins = async |who| {
        let reply = gateway.connect(who).await.ask("GET", "/uuid", "").await;
        reply.header("relayd-server-pins").map(ToOwned::to_owned)
    };
    let old = gateway.fleet.root.0.key_hash();
    let node = Some(&gateway.fleet.direct);
    assert_eq!(pins(node).await, None);

    let next = server_key::prepare(&files, KeyKind::P256, &id("root")).unwrap().next_pin().unwrap();
    gateway.reload.reload().unwrap();
    assert_eq!(pins(node).await, Some(format!("{old};{next}")));
    assert_eq!(pins(None).await, None, "who is nobody is told nothing");
    assert_eq!(pins(Some(&gateway.fleet.stranger)).await, None);
    let mut refused = gateway.connect(node).await;
    let reply = refused.put("/reports/nonsense", "", b"").await;
    assert_eq!((reply.status, reply.header("relayd-server-pins").is_some()), (400, true));

    server_key::activate(&files).unwrap();
    gateway.reload.reload().unwrap();
    assert_eq!(pins(node).await, None);
    // Whoever knows the old key, the new one, or neither.
    for (pin, connects) in [(old, true), (next, true), (KeyHash::sha256_of(b""), false)] {
        let connector =
            tls::connector(&ServerTrust::Pins(vec![pin.clone()]), TlsVersion::V1_3, None).unwrap();
        let connected = Client::connect_with(gateway.address, connector.context()).await;
        assert_eq!(connected.is_ok(), connects, "{pin}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn what_cannot_start_says_why() {
    let gateway = start().await;
    let directory = gateway.directory.path();
    let table = || watch::channel(std::sync::Arc::default()).1;
    let bind = |change: &dyn Fn(&mut relayd::config::Gateway)| {
        let mut settings = settings(directory);
        change(&mut settings);
        let registry = prometheus::Registry::new();
        Gateway::bind(&settings, &id("root"), table(), Behind::default(), &registry).err().unwrap()
    };
    let error = bind(&|settings| settings.listen = vec![gateway.address]);
    assert!(error.to_string().contains(&gateway.address.to_string()), "{error}");
    let error = bind(&|settings| settings.identity.key = directory.join("missing"));
    assert!(error.to_string().contains("missing"), "{error}");
    gateway.stop().await;
}

#[tokio::test]
async fn many_connections_at_once_all_get_their_answers() {
    let gateway = start().await;
    let context = client_context(Some(&gateway.fleet.direct), TlsVersion::V1_3).unwrap();
    let clients = (0..40).map(|c| {
        let context = context.clone();
        async move {
            let mut client = Client::connect_with(gateway.address, &context).await.unwrap();
            for n in 0..10 {
                let path = format!("/reports/{}", run_log(DIRECT, c * 10 + n));
                assert_eq!(client.put(&path, "", &gzip(b"x")).await.status, 201);
            }
        }
    });
    futures_util::future::join_all(clients).await;
    assert_eq!(gateway.files().len(), 400);
    assert_eq!(gateway.metric("relayd_gateway_requests_total"), 400.0);
    gateway.stop().await;
}
