// SPDX-License-Identifier: Apache-2.0
//! Paths that want out of their directory, and requests that want to be two.

use crate::harness::*;

#[tokio::test]
async fn no_path_leads_out_of_the_spool() {
    let gateway = start().await;
    let name = run_log(DIRECT, 1);
    let long = "a".repeat(300);
    let mut paths = vec![
        "/reports".to_owned(),
        "/reports/".into(),
        "//reports/".into(),
        format!("///reports/{name}"),
        format!("/reports//{name}"),
        format!("/reports/./{name}"),
        format!("/reports/../{name}"),
        format!("/reports/../reports/{name}"),
        format!("/./reports/{name}"),
        format!("/x/../reports/{name}"),
        format!("/reports/x/{name}"),
        format!("/reports/{name}/"),
        format!("/reports/{name}/x"),
        format!("/reports/%2e%2e%2f{name}"),
        format!("/reports/%2E%2E/{name}"),
        format!("/reports/..%2f{name}"),
        format!("/reports/..%5c{name}"),
        format!("/reports/..\\{name}"),
        format!("/reports/%252e%252e%252f{name}"),
        format!("/reports/%25{name}"),
        format!("/reports/{name}%00"),
        format!("/reports/{name}%00.log"),
        format!("/reports/%00{name}"),
        format!("/reports/{name}%0a"),
        format!("/reports/{name}%0d%0aX: y"),
        format!("/reports/{name}%7f"),
        format!("/reports/{name}%zz"),
        format!("/reports/{name}%"),
        format!("/reports/{name}%4"),
        format!("/reports/{name}%ff"),
        format!("/reports/{name}%c0%af"),
        format!("/reports/%c0%ae%c0%ae%c0%af{name}"),
        format!("/reports/%e0%80%af{name}"),
        format!("/reports/{name}%e2%80%ae"),
        format!("/reports/.{name}"),
        format!("/reports/.part-{name}"),
        "/reports/.".into(),
        "/reports/..".into(),
        "/reports/%2e".into(),
        "/reports/%2e%2e".into(),
        format!("/reports%2f{name}"),
        format!("/reports\\{name}"),
        format!("/REPORTS/{name}"),
        format!("/reports;x/{name}"),
        format!("/reports/{name};x"),
        format!("/reports/{long}@{DIRECT}.log.gz"),
        format!("/reports/2026-01-02T03:04:05+00:00@{long}.log.gz"),
        format!("/reports/2026-01-02T03:04:05+00:00@{DIRECT}%2f.log.gz"),
        format!("/reports/2026-01-02T03:04:05+00:00@{DIRECT}/../x.log.gz"),
        format!("/reports/2026-01-02T03:04:05+00:00@{DIRECT}.log.gz.sh"),
        format!("/reports/2026-01-02T03:04:05+00:00@{DIRECT}.sh"),
        format!("/reports/2026-01-02T03:04:05@{DIRECT}.log.gz"),
        format!("/reports/%20{name}"),
        format!("/reports/{name}%20"),
        format!("/reports/*{name}"),
        "/reports/$(reboot).log".into(),
        "/reports/|reboot.log".into(),
        "/reports/-rf.log".into(),
        format!("/inventories/../reports/{name}"),
        format!("/inventory-updates/%2e%2e%2freports%2f{name}"),
        format!("/inventory-updates/{DIRECT}%2f.ocs"),
        format!("/inventory-updates/{DIRECT}.ocs%00.txt"),
        format!("/inventory-updates/.{DIRECT}.ocs"),
        format!("/failed/{name}"),
        format!("/incoming/{name}"),
    ];
    paths.extend(["/%72eports/x.log".into(), "*".into(), "reports/x.log".into()]);
    assert!(paths.len() >= 60);
    for path in paths {
        let reply = gateway.put(Some(&gateway.fleet.direct), &path, &gzip(b"x")).await;
        assert!(matches!(reply.status, 400 | 404), "{path}: {reply:?}");
        assert_eq!(gateway.files(), [""; 0], "{path}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn one_request_cannot_be_two() {
    let gateway = start().await;
    let path = format!("/reports/{}", run_log(DIRECT, 1));
    let smuggled = put_request(&format!("/reports/{}", run_log(DIRECT, 2)), "", &gzip(b"y"));
    let smuggled = String::from_utf8_lossy(&smuggled).into_owned();
    let put = format!("PUT {path} HTTP/1.1\r\nHost: x\r\n");
    let bodies = format!("\r\n0\r\n\r\n{smuggled}");
    let vectors = [
        format!("{put}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n{bodies}"),
        format!("{put}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n{bodies}"),
        format!("{put}Content-Length: 5\r\nContent-Length: 5\r\n{bodies}"),
        format!("{put}Content-Length: 5\r\nContent-Length: 6\r\n{bodies}"),
        format!("{put}Content-Length: 5, 5\r\n{bodies}"),
        format!("{put}Content-Length: +5\r\n{bodies}"),
        format!("{put}Content-Length: -5\r\n{bodies}"),
        format!("{put}Content-Length: 0x5\r\n{bodies}"),
        format!("{put}Content-Length: 5 5\r\n{bodies}"),
        format!("{put}Content-Length: \r\n{bodies}"),
        format!("{put}Content-Length: 18446744073709551617\r\n{bodies}"),
        format!("{put}Content-Length : 5\r\n{bodies}"),
        format!("{put} Content-Length: 5\r\n{bodies}"),
        format!("{put}Content-Length:\r\n 5\r\n{bodies}"),
        format!("{put}X: y\r\n\tContent-Length: 5\r\n{bodies}"),
        format!("{put}Content-Length: 5\nX: y\r\n{bodies}"),
        format!("{put}X: y\rContent-Length: 5\r\n{bodies}"),
        format!("{put}X: y\0\r\nContent-Length: 5\r\n{bodies}"),
        format!("{put}Transfer-Encoding: xchunked\r\nContent-Length: 5\r\n{bodies}"),
        format!("{put}Transfer-Encoding: chunked, identity\r\n{bodies}"),
        format!("{put}Transfer-Encoding: identity\r\n{bodies}"),
        format!("{put}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n{bodies}"),
        format!("{put}Transfer-Encoding : chunked\r\n{bodies}"),
        format!("{put}Transfer-Encoding:\x0bchunked\r\nContent-Length: 5\r\n{bodies}"),
        format!("{put}Host: y\r\nContent-Length: 5\r\n{bodies}"),
        format!("PUT {path} HTTP/1.1\r\nContent-Length: 5\r\n{bodies}"),
        format!("PUT {path} HTTP/1.1\nHost: x\nContent-Length: 5\n\n12345{smuggled}"),
        format!("PUT {path} HTTP/1.0\r\nTransfer-Encoding: chunked\r\n{bodies}"),
        format!("PUT {path}  HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n{bodies}"),
        format!("\r\n\r\n{put}Content-Length: 5\r\n{bodies}"),
        format!("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{smuggled}"),
    ];
    for vector in vectors {
        let mut client = gateway.connect(Some(&gateway.fleet.direct)).await;
        client.send(vector.as_bytes()).await.unwrap();
        let reply = client.reply().await.unwrap_or_else(|| panic!("no answer to {vector:?}"));
        assert_eq!(reply.status, 400, "{vector:?}");
        assert_eq!(client.reply().await, None, "closed after {vector:?}");
        assert_eq!(gateway.files(), [""; 0], "{vector:?}");
    }
    // A plain chunked body is no attack, but its connection is not used again either.
    let mut client = gateway.connect(Some(&gateway.fleet.direct)).await;
    client.send(format!("{put}Transfer-Encoding: chunked\r\n{bodies}").as_bytes()).await.unwrap();
    assert_eq!(client.reply().await.unwrap().status, 411);
    assert_eq!(client.reply().await, None);
    assert_eq!(gateway.files(), [""; 0]);
    gateway.stop().await;
}

#[tokio::test]
async fn proper_requests_may_come_in_one_piece() {
    let gateway = start().await;
    let mut client = gateway.connect(Some(&gateway.fleet.direct)).await;
    let both: Vec<u8> = [1, 2]
        .into_iter()
        .flat_map(|n| put_request(&format!("/reports/{}", run_log(DIRECT, n)), "", &gzip(b"\n\n\r\n\0")))
        .collect();
    client.send(&both).await.unwrap();
    for _ in 0..2 {
        assert_eq!(client.reply().await.unwrap().status, 201);
    }
    // Byte by byte as well.
    for byte in put_request(&format!("/reports/{}", run_log(DIRECT, 3)), "", &gzip(b"x")) {
        client.send(&[byte]).await.unwrap();
    }
    assert_eq!(client.reply().await.unwrap().status, 201);
    assert_eq!(gateway.files().len(), 3);
    gateway.stop().await;
}

#[tokio::test]
async fn heads_are_limited() {
    let gateway = start().await;
    let many: String = (0..100).map(|n| format!("X-{n}: y\r\n")).collect();
    for headers in [format!("X: {}\r\n", "y".repeat(20_000)), many] {
        let mut client = gateway.connect(None).await;
        client.send(format!("GET /uuid HTTP/1.1\r\nHost: x\r\n{headers}\r\n").as_bytes()).await.ok();
        assert!(matches!(client.reply().await.map(|r| r.status), Some(400 | 431)));
        assert_eq!(client.reply().await, None);
    }
    let mut client = gateway.connect(None).await;
    let fits = format!("GET /uuid HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "y".repeat(12_000));
    client.send(fits.as_bytes()).await.unwrap();
    assert_eq!(client.reply().await.unwrap().status, 200);
    gateway.stop().await;
}
