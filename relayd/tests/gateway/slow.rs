// SPDX-License-Identifier: Apache-2.0
//! Clients that take their time, or are gone without a word.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::harness::*;

/// Short, but long enough for who shakes hands and asks at once on a machine that has much else to do.
fn short(settings: &mut relayd::config::Gateway) {
    settings.header_timeout = Duration::from_secs(2);
    settings.idle_timeout = Duration::from_secs(3);
}

#[tokio::test]
async fn slow_handshakes_and_heads_are_cut() {
    let gateway = start_with(short).await;
    // Says nothing at all.
    let mut silent = TcpStream::connect(gateway.address).await.unwrap();
    let read = timeout(PATIENCE, silent.read(&mut [0; 100])).await.expect("closed in time");
    assert!(matches!(read, Ok(0) | Err(_)));
    // Shakes hands, then says nothing.
    let mut mute = gateway.connect(None).await;
    assert_eq!(mute.reply().await, None);
    // Drips: each byte comes in time, the head does not: it would take minutes.
    let long = format!("X: {}\r\n", "y".repeat(10_000));
    let long = put_request("/reports/x.log", &long, b"");
    let drippers = (0..50).map(|_| async {
        let mut client = gateway.connect(Some(&gateway.fleet.direct)).await;
        let mut head = long.iter().copied();
        timeout(PATIENCE, async {
            while client.send(&[head.next().unwrap()]).await.is_ok() {
                let mut byte = [0];
                if let Ok(Ok(0) | Err(_)) =
                    timeout(Duration::from_millis(20), client.stream.read(&mut byte)).await
                {
                    return;
                }
            }
        })
        .await
        .expect("cut in time");
    });
    let honest = async {
        for n in 0..10 {
            let path = format!("/reports/{}", run_log(DIRECT, n));
            assert_eq!(gateway.put(Some(&gateway.fleet.direct), &path, &gzip(b"x")).await.status, 201);
        }
    };
    tokio::join!(futures_util::future::join_all(drippers), honest);
    eventually("all connections are closed", || gateway.metric("relayd_gateway_connections") == 0.0).await;
    gateway.stop().await;
}

#[tokio::test]
async fn idle_connections_are_closed_but_later_than_silent_ones() {
    let gateway = start_with(|settings| {
        settings.header_timeout = Duration::from_secs(2);
        settings.idle_timeout = Duration::from_secs(3600);
    })
    .await;
    let mut client = gateway.connect(Some(&gateway.fleet.direct)).await;
    let path = |n| format!("/reports/{}", run_log(DIRECT, n));
    assert_eq!(client.put(&path(1), "", &gzip(b"x")).await.status, 201);
    let silence = timeout(Duration::from_secs(4), client.stream.read_u8()).await;
    assert!(silence.is_err(), "still open after the time for a head");
    assert_eq!(client.put(&path(2), "", &gzip(b"x")).await.status, 201);
    gateway.stop().await;

    let gateway = start_with(short).await;
    let mut client = gateway.connect(Some(&gateway.fleet.direct)).await;
    assert_eq!(client.put(&path(1), "", &gzip(b"x")).await.status, 201);
    assert_eq!(client.reply().await, None, "closed when idle");
    gateway.stop().await;
}

#[tokio::test]
async fn a_body_that_stops_is_given_up_and_others_do_not_wait() {
    let gateway = start().await;
    let mut hole = gateway.connect(Some(&gateway.fleet.direct)).await;
    let request = put_request(&format!("/reports/{}", run_log(DIRECT, 1)), "", &gzip(&[7; 200_000]));
    hole.send(&request[..150_000]).await.unwrap();
    eventually("the part file is there", || gateway.files().len() == 1).await;
    let other = format!("/reports/{}", run_log(DIRECT, 2));
    assert_eq!(gateway.put(Some(&gateway.fleet.direct), &other, &gzip(b"x")).await.status, 201);
    assert_eq!(hole.reply().await.unwrap().status, 408);
    assert_eq!(gateway.files(), [run_log(DIRECT, 2)], "the part is gone");
    gateway.stop().await;
}

#[tokio::test]
async fn slow_bodies_do_not_keep_the_memory_from_others() {
    // The least there is: 256 KiB.
    let gateway = start_with(|settings| settings.max_bytes_in_flight = 1).await;
    let mut slow = Vec::new();
    for n in 0..5 {
        let mut client = gateway.connect(Some(&gateway.fleet.direct)).await;
        let request = put_request(&format!("/reports/{}", run_log(DIRECT, n)), "", &gzip(&[7; 200_000]));
        client.send(&request[..60_000]).await.unwrap();
        slow.push(client);
    }
    eventually("their bytes came", || gateway.metric("relayd_gateway_received_bytes_total") > 5.0 * 59_000.0)
        .await;
    let other = format!("/reports/{}", run_log(DIRECT, 9));
    let reply = gateway.put(Some(&gateway.fleet.direct), &other, &gzip(&[7; 60_000])).await;
    assert_eq!(reply.status, 201);
    drop(slow);
    gateway.stop().await;
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_nothing() {
    let gateway = start().await;
    let request = put_request(&format!("/reports/{}", run_log(DIRECT, 1)), "", &gzip(&[7; 200_000]));
    let cuts = (0..request.len()).step_by(7_001).chain([1, 10, request.len() - 1]);
    for cut in cuts {
        let mut client = gateway.connect(Some(&gateway.fleet.direct)).await;
        client.send(&request[..cut]).await.unwrap();
        match cut % 2 {
            0 => drop(client),
            _ => client.stream.shutdown().await.unwrap(),
        }
    }
    eventually("all is cleared", || {
        gateway.metric("relayd_gateway_connections") == 0.0 && gateway.files().is_empty()
    })
    .await;
    assert_eq!(
        gateway
            .put(
                Some(&gateway.fleet.direct),
                &format!("/reports/{}", run_log(DIRECT, 1)),
                &gzip(&[7; 200_000]),
            )
            .await
            .status,
        201
    );
    gateway.stop().await;
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_their_turn() {
    let gateway = start_with(|settings| settings.max_connections = 2).await;
    let first = gateway.connect(Some(&gateway.fleet.direct)).await;
    let _second = gateway.connect(Some(&gateway.fleet.direct)).await;
    let (path, body) = (format!("/reports/{}", run_log(DIRECT, 1)), gzip(b"x"));
    {
        let third = gateway.put(Some(&gateway.fleet.direct), &path, &body);
        tokio::pin!(third);
        assert!(timeout(Duration::from_millis(300), &mut third).await.is_err());
        drop(first);
        assert_eq!(timeout(PATIENCE, third).await.unwrap().status, 201);
    }
    gateway.stop().await;
}
