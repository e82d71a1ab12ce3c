// SPDX-License-Identifier: Apache-2.0
//! How many uploads a second; run with `--release -- --ignored --nocapture`, with other numbers of
//! connections through the environment variable `CONNECTIONS`.

use std::time::{Duration, Instant};

use protocol::tls::TlsVersion;

use crate::harness::*;

const RUN: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn uploads_a_second() {
    let connections: u32 = std::env::var("CONNECTIONS").map_or(64, |n| n.parse().unwrap());
    let gateway = start().await;
    let context = client_context(Some(&gateway.fleet.direct), TlsVersion::V1_3).unwrap();
    let address = gateway.address;
    let body = gzip(&[7; 3_000]);
    let start = Instant::now();
    let clients: Vec<_> = (0..connections)
        .map(|c| {
            let (context, body) = (context.clone(), body.clone());
            tokio::spawn(async move {
                let mut client = Client::connect_with(address, &context).await.unwrap();
                let mut waits = Vec::new();
                while start.elapsed() < RUN {
                    let n = waits.len();
                    let path = format!("/reports/2026-01-02T03:04:05.{c:04}{n:05}+00:00@{DIRECT}.log.gz");
                    let begun = Instant::now();
                    assert_eq!(client.put(&path, "", &body).await.status, 201);
                    waits.push(begun.elapsed());
                }
                waits
            })
        })
        .collect();
    let mut waits = Vec::new();
    for client in clients {
        waits.extend(client.await.unwrap());
    }
    // How fast all would be that began within the time, the last of them included.
    let rate = waits.len() as f64 / start.elapsed().as_secs_f64();
    waits.sort_unstable();
    let at = |part: f64| waits[(waits.len() as f64 * part) as usize];
    println!("{rate:.0} uploads/s on {connections} connections; p50 {:?}, p99 {:?}", at(0.5), at(0.99));
    gateway.stop().await;
}
