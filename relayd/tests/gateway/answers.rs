// SPDX-License-Identifier: Apache-2.0
//! Each answer of the upload interface, and what it does to the spool.

use std::{fs, os::unix::fs::PermissionsExt};

use crate::harness::*;

#[tokio::test]
async fn a_run_log_is_stored_once() {
    let mut gateway = start().await;
    let (name, content) = (run_log(DIRECT, 1), gzip(b"content"));
    let path = format!("/reports/{name}");
    let mut client = gateway.connect(Some(&gateway.fleet.direct)).await;
    assert_eq!(client.put(&path, "", &content).await.status, 201);
    assert_eq!(gateway.notices.recv().await.as_deref(), Some(&*name));
    assert_eq!(fs::read(gateway.reports().join(&name)).unwrap(), content);
    let mode = fs::metadata(gateway.reports().join(&name)).unwrap().permissions().mode();
    assert_eq!(mode & 0o137, 0, "{mode:o}");

    assert_eq!(client.put(&path, "", &content).await.status, 204);
    let other = client.put(&path, "", &gzip(b"other")).await;
    assert_eq!((other.status, other.body.ends_with('\n')), (409, true));
    assert_eq!(fs::read(gateway.reports().join(&name)).unwrap(), content);
    assert_eq!(gateway.files(), [name]);
    gateway.stop().await;
}

#[tokio::test]
async fn each_fault_has_its_status() {
    let gateway = start().await;
    let mut client = gateway.connect(Some(&gateway.fleet.direct)).await;
    let fine = format!("/reports/{}", run_log(DIRECT, 1));
    for (path, body, status) in [
        ("/reports/nonsense.log", gzip(b""), 400),
        ("/reports/2026-01-02T03:04:05+00:00@.log", gzip(b""), 400),
        (&format!("/inventory-updates/{DIRECT}.txt"), gzip(b""), 400),
        (&fine, b"plain text".to_vec(), 400),
        (&fine, Vec::new(), 400),
        (&fine, vec![0x1f, 0x8b], 400),
        ("/elsewhere/x.log", gzip(b""), 404),
        ("/", gzip(b""), 404),
    ] {
        let reply = client.put(path, "", &body).await;
        assert_eq!(reply.status, status, "{path}: {reply:?}");
        assert!(status == 404 || reply.body.ends_with('\n'), "{reply:?}");
    }
    // Not gzip by its name.
    let plain = fine.replace(".gz", "");
    assert_eq!(client.put(&plain, "", b"plain text").await.status, 201);
    assert_eq!(gateway.files().len(), 1);
    gateway.stop().await;
}

#[tokio::test]
async fn lengths_are_required_and_limited_before_the_body() {
    let gateway = start().await;
    let path = format!("/reports/{}", run_log(DIRECT, 1));
    for (headers, status) in [
        ("", 411),
        ("Transfer-Encoding: chunked\r\n", 411),
        ("Content-Length: 1073741824\r\n", 413),
        ("Content-Length: 1073741824\r\nExpect: 100-continue\r\n", 413),
        ("Content-Length: 999999999999999999\r\n", 413),
        ("Content-Length: 10\r\nContent-Range: bytes 0-9/20\r\n", 400),
        ("Content-Length: 10\r\nContent-Encoding: gzip\r\n", 400),
    ] {
        let mut client = gateway.connect(Some(&gateway.fleet.direct)).await;
        client.send(format!("PUT {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n").as_bytes()).await.unwrap();
        // Not a byte of a body is sent: the answer does not wait for one.
        let reply = client.reply().await.unwrap();
        assert_eq!(reply.status, status, "{headers:?}: {reply:?}");
    }
    assert_eq!(gateway.files(), [""; 0]);
    assert_eq!(gateway.metric("relayd_gateway_received_bytes_total"), 0.0);
    gateway.stop().await;
}

#[tokio::test]
async fn the_largest_file_passes_and_one_byte_more_does_not() {
    let gateway = start().await;
    let mut client = gateway.connect(Some(&gateway.fleet.direct)).await;
    let mut body = gzip(&vec![7; MAX_RUN_LOG as usize - 3]);
    let name = run_log(DIRECT, 1);
    assert_eq!(client.put(&format!("/reports/{name}"), "", &body).await.status, 201);
    assert!(fs::read(gateway.reports().join(&name)).unwrap() == body);
    assert_eq!(client.put(&format!("/reports/{name}"), "", &body).await.status, 204);
    body.push(0);
    let mut client = gateway.connect(Some(&gateway.fleet.direct)).await;
    client.send(&put_request(&format!("/reports/{}", run_log(DIRECT, 2)), "", &body)).await.ok();
    assert_eq!(client.reply().await.unwrap().status, 413, "the answer survives what is still being sent");
    gateway.stop().await;
}

#[tokio::test]
async fn a_client_that_waits_is_told_to_go_on() {
    let gateway = start().await;
    let mut client = gateway.connect(Some(&gateway.fleet.direct)).await;
    let (path, body) = (format!("/reports/{}", run_log(DIRECT, 1)), gzip(b"x"));
    let head = format!(
        "PUT {path} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    client.send(head.as_bytes()).await.unwrap();
    assert_eq!(client.reply().await.unwrap().status, 100);
    client.send(&body).await.unwrap();
    assert_eq!(client.reply().await.unwrap().status, 201);
    gateway.stop().await;
}

#[tokio::test]
async fn names_come_doubly_slashed_and_encoded() {
    let gateway = start().await;
    let mut client = gateway.connect(Some(&gateway.fleet.direct)).await;
    let name = run_log(DIRECT, 1);
    let encoded = name.replace(':', "%3A").replace('@', "%40").replace('+', "%2b");
    for (path, status) in [
        (format!("//reports/{name}"), 201),
        (format!("/reports/{encoded}"), 204),
        (format!("//reports/{encoded}"), 204),
    ] {
        assert_eq!(client.put(&path, "", &gzip(b"x")).await.status, status, "{path}");
    }
    assert_eq!(gateway.files(), [name]);
    gateway.stop().await;
}

#[tokio::test]
async fn the_id_is_for_anyone() {
    let gateway = start().await;
    for who in [None, Some(&gateway.fleet.stranger), Some(&gateway.fleet.direct)] {
        let mut client = gateway.connect(who).await;
        client.send(b"GET /uuid HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let reply = client.reply().await.unwrap();
        assert_eq!((reply.status, &*reply.body), (200, "root\n"));
        client.send(b"POST /uuid HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        let reply = client.reply().await.unwrap();
        assert_eq!((reply.status, &*reply.body), (404, "NOT FOUND"));
        client.send(b"HEAD /uuid HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        // The length is that of the text, but no text follows.
        let mut rest = String::new();
        tokio::io::AsyncReadExt::read_to_string(&mut client.stream, &mut rest).await.unwrap();
        assert!(rest.starts_with("HTTP/1.1 200") && rest.ends_with("\r\n\r\n"), "{rest}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn too_many_uploads_are_for_later() {
    let gateway = start_with(|settings| settings.uploads_per_minute = 2).await;
    let mut client = gateway.connect(Some(&gateway.fleet.direct)).await;
    let mut put = async |n| client.put(&format!("/reports/{}", run_log(DIRECT, n)), "", &gzip(b"x")).await;
    assert_eq!([put(1).await.status, put(2).await.status], [201, 201]);
    let reply = put(3).await;
    assert_eq!(reply.status, 429);
    let wait: u64 = reply.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait));
    assert_eq!(put(4).await.status, 429, "the connection goes on");
    // Another node is not concerned, and a relay speaks for those below it.
    let relay = Some(&gateway.fleet.relay);
    let mut relay = gateway.connect(relay).await;
    for n in 0..4 {
        assert_eq!(relay.put(&format!("/reports/{}", run_log(BELOW, n)), "", &gzip(b"x")).await.status, 201);
    }
    assert_eq!(relay.put(&format!("/reports/{}", run_log(BELOW, 9)), "", &gzip(b"x")).await.status, 429);
    gateway.stop().await;
}

#[tokio::test]
async fn the_same_upload_from_many_sides_leaves_one_file() {
    let gateway = start().await;
    let (name, body) = (run_log(DIRECT, 1), gzip(&[9; 200_000]));
    let path = format!("/reports/{name}");
    let replies = futures_util::future::join_all(
        (0..8).map(|_| gateway.put(Some(&gateway.fleet.direct), &path, &body)),
    )
    .await;
    let mut statuses: Vec<_> = replies.iter().map(|reply| reply.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 204, 204, 204, 204, 204, 204, 204]);
    assert_eq!(gateway.files(), [name]);
    gateway.stop().await;
}

#[tokio::test]
async fn large_uploads_share_a_small_budget() {
    let gateway = start_with(|settings| settings.max_bytes_in_flight = 1).await;
    let body = gzip(&vec![9; MAX_RUN_LOG as usize - 3]);
    let paths: Vec<_> = (0..20).map(|n| format!("/reports/{}", run_log(DIRECT, n))).collect();
    let puts = paths.iter().map(|path| gateway.put(Some(&gateway.fleet.direct), path, &body));
    let replies = futures_util::future::join_all(puts).await;
    assert!(replies.iter().all(|reply| reply.status == 201), "{replies:?}");
    for n in 0..20 {
        assert!(fs::read(gateway.reports().join(run_log(DIRECT, n))).unwrap() == body);
    }
    gateway.stop().await;
}
