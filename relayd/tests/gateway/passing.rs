// SPDX-License-Identifier: Apache-2.0
//! What nodes want for their identity, on its way up through a relay.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use openssl::ssl::Ssl;
use protocol::{
    enrolment,
    hash::KeyHash,
    tls::{self, ClientIdentity, TlsVersion},
};
use relayd::{
    config::{Upstream, UpstreamTrust},
    gateway::{Behind, Enrolment},
    upstream::UpstreamClient,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::mpsc,
};
use tokio_openssl::SslStream;

use crate::harness::*;

/// A server above, that answers what it is told to and shows what it was asked.
pub struct Above {
    pub address: SocketAddr,
    pub pin: KeyHash,
    pub asked: mpsc::UnboundedReceiver<String>,
}

pub const PENDING: &str = "HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nRetry-After: 7\r\n\
                       Set-Cookie: secret=1\r\nContent-Length: 3\r\n\r\n{}\n";

impl Above {
    pub async fn start(answers: &[&'static str]) -> Self {
        let identity = new_identity("root");
        let pin = identity.0.key_hash();
        let acceptor = tls::acceptor(&identity.into(), TlsVersion::V1_3, tls::admit_all(), None).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, asked) = mpsc::unbounded_channel();
        let mut answers: VecDeque<_> = answers.iter().copied().collect();
        tokio::spawn(async move {
            while let Some(answer) = answers.pop_front() {
                let (tcp, _) = listener.accept().await.unwrap();
                let mut stream = SslStream::new(Ssl::new(acceptor.context()).unwrap(), tcp).unwrap();
                Pin::new(&mut stream).accept().await.unwrap();
                let mut seen = Vec::new();
                while !is_whole(&seen) {
                    assert_ne!(stream.read_buf(&mut seen).await.unwrap(), 0, "cut off within a request");
                }
                sender.send(String::from_utf8(seen).unwrap()).unwrap();
                stream.write_all(answer.as_bytes()).await.unwrap();
                stream.shutdown().await.ok();
            }
        });
        Self { address, pin, asked }
    }
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    body.len() >= length.map_or(0, |length| length.parse().unwrap())
}

/// The gateway of `relay-1`, below this server.
async fn relay_below(address: SocketAddr, pin: KeyHash, newcomers_per_minute: Option<u32>) -> Running {
    let client = UpstreamClient::new(&upstream(address, pin), &prometheus::Registry::new()).unwrap();
    let enrolment = Enrolment::Upstream(Arc::new(client));
    let behind = Behind { enrolment, newcomers_per_minute, ..Behind::default() };
    let directory = tempfile::tempdir().unwrap();
    let spool = directory.path().join("spool");
    start_as(RELAY, Fleet::new(), behind, directory, spool, |_| ()).await
}

pub fn upstream(address: SocketAddr, pin: KeyHash) -> Upstream {
    Upstream {
        host: address.ip().to_string(),
        port: address.port(),
        user: "rudder".into(),
        password: None,
        default_password: String::new().into(),
        trust: UpstreamTrust::Pins(vec![pin]),
        client_identity: None,
        idle_timeout: PATIENCE,
        oldest_tls: TlsVersion::V1_3,
        proxy: protocol::proxy::ProxyRule::None,
    }
}

fn request_of((_, key): &ClientIdentity, node: &str) -> Vec<u8> {
    enrolment::Request::make(key, &id(node), "host.example.org", false, Some("token")).unwrap().to_vec()
}

const CSR: &str = "Content-Type: application/pkcs10\r\n";

#[tokio::test]
async fn a_newcomer_is_passed_on_with_its_place() {
    let mut above = Above::start(&[PENDING]).await;
    let relay = relay_below(above.address, above.pin.clone(), Some(60)).await;
    let newcomer = new_identity("newcomer");
    let csr = request_of(&newcomer, "newcomer");
    // Claims of where it hangs are not believed of a newcomer.
    let claims = "Relayd-Policy-Server: elsewhere\r\nRelayd-Client-Address: 192.0.2.1\r\n";
    let headers = format!("{CSR}{claims}Cookie: mine\r\n");
    let reply = relay.connect(None).await.put("/enrolments/newcomer", &headers, &csr).await;
    assert_eq!((reply.status, &*reply.body), (202, "{}\n"));
    assert_eq!(reply.header("retry-after"), Some("7"));
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(reply.header("set-cookie"), None);

    let asked = above.asked.recv().await.unwrap();
    assert!(asked.starts_with("PUT /enrolments/newcomer HTTP/1.1\r\n"), "{asked}");
    for line in [
        "relayd-policy-server: relay-1\r\n",
        "relayd-client-address: 127.0.0.1\r\n",
        "relayd-hops: 1\r\n",
        "content-type: application/pkcs10\r\n",
    ] {
        assert!(asked.contains(line), "{line}: {asked}");
    }
    assert!(!asked.contains("mine") && asked.ends_with(std::str::from_utf8(&csr).unwrap()), "{asked}");
    relay.stop().await;
}

#[tokio::test]
async fn the_place_is_believed_of_relays_that_have_it_below_them() {
    let mut above = Above::start(&[PENDING, PENDING, PENDING]).await;
    let relay = relay_below(above.address, above.pin.clone(), Some(60)).await;
    let csr = request_of(&new_identity("newcomer"), "newcomer");
    for (who, headers, passed) in [
        // In this tree the root is above everybody, and BELOW is nobody's relay.
        (
            Some(&relay.fleet.root),
            format!("Relayd-Policy-Server: {BELOW}\r\nRelayd-Hops: 3\r\n"),
            Some((BELOW, 4)),
        ),
        (
            Some(&relay.fleet.below),
            format!("Relayd-Policy-Server: {BELOW}\r\nRelayd-Hops: 1\r\n"),
            Some((BELOW, 2)),
        ),
        (Some(&relay.fleet.direct), format!("Relayd-Policy-Server: {BELOW}\r\n"), Some((RELAY, 1))),
        // Taken for its own, the place of the newcomer would be wrong.
        (Some(&relay.fleet.direct), format!("Relayd-Policy-Server: {BELOW}\r\nRelayd-Hops: 1\r\n"), None),
        (Some(&relay.fleet.stranger), "Relayd-Policy-Server: stranger\r\nRelayd-Hops: 1\r\n".into(), None),
        (None, "Relayd-Hops: 1\r\n".into(), None),
    ] {
        let mut client = relay.connect(who).await;
        let headers = format!("{CSR}{headers}Relayd-Client-Address: 2001:db8::7\r\n");
        let reply = client.put("/enrolments/newcomer", &headers, &csr).await;
        let Some((place, hops)) = passed else {
            assert_eq!(reply.status, 503, "{headers}: {reply:?}");
            assert!(reply.header("retry-after").is_some());
            continue;
        };
        assert_eq!(reply.status, 202, "{headers}: {reply:?}");
        let asked = above.asked.recv().await.unwrap();
        assert!(asked.contains(&format!("relayd-policy-server: {place}\r\n")), "{asked}");
        assert!(asked.contains(&format!("relayd-hops: {hops}\r\n")), "{asked}");
        // Believed together with the place.
        let address = if place == BELOW { "2001:db8::7" } else { "127.0.0.1" };
        assert!(asked.contains(&format!("relayd-client-address: {address}\r\n")), "{asked}");
    }
    // Round and round.
    for hops in ["20", "21", "x"] {
        let headers = format!("{CSR}Relayd-Policy-Server: {BELOW}\r\nRelayd-Hops: {hops}\r\n");
        let mut client = relay.connect(Some(&relay.fleet.below)).await;
        let reply = client.put("/enrolments/newcomer", &headers, &csr).await;
        assert_eq!(reply.status, 508, "{hops}: {reply:?}");
    }
    relay.stop().await;
}

#[tokio::test]
async fn what_is_no_request_goes_no_further() {
    let relay = relay_below("127.0.0.1:1".parse().unwrap(), KeyHash::sha256_of(b""), Some(1000)).await;
    let csr = request_of(&new_identity("newcomer"), "newcomer");
    let large = vec![b' '; 16 * 1024 + 1];
    for (path, headers, body, status) in [
        ("/enrolments/newcomer", CSR, &csr[..], 503),
        ("/enrolments/newcomer", "Content-Type: Application/PKCS10; charset=x\r\n", &csr, 503),
        ("/enrolments/newcomer", "", &csr, 400),
        ("/enrolments/newcomer", "Content-Type: application/x-pem-file\r\n", &csr, 400),
        ("/enrolments/another", CSR, &csr, 400),
        ("/enrolments/newcomer", CSR, b"", 400),
        ("/enrolments/newcomer", CSR, &csr[..csr.len() - 40], 400),
        ("/enrolments/newcomer", CSR, &large, 413),
        ("/enrolments/", CSR, &csr, 400),
        ("/enrolments/a/b", CSR, &csr, 400),
        ("/enrolments/%2e%2e", CSR, &csr, 400),
        ("/enrolments", CSR, &csr, 404),
    ] {
        let reply = relay.connect(None).await.put(path, headers, body).await;
        assert_eq!(reply.status, status, "{path} {headers}: {reply:?}");
    }
    let mut client = relay.connect(None).await;
    client
        .send(
            format!("PUT /enrolments/x HTTP/1.1\r\nHost: x\r\n{CSR}Transfer-Encoding: chunked\r\n\r\n")
                .as_bytes(),
        )
        .await
        .unwrap();
    assert_eq!(client.reply().await.unwrap().status, 411);
    relay.stop().await;
}

#[tokio::test]
async fn a_refusal_of_the_relay_is_not_told_to_the_node_as_its_own() {
    const OF_THE_NODE: &str =
        "HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\nContent-Length: 3\r\n\r\n{}\n";
    const OF_THE_RELAY: &str =
        "HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 3\r\n\r\nno\n";
    const NOBODY: &str = "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n";
    const NO_CA: &str = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
    let above = Above::start(&[OF_THE_NODE, OF_THE_RELAY, NOBODY, NO_CA]).await;
    let relay = relay_below(above.address, above.pin.clone(), Some(60)).await;
    let node = &relay.fleet.below;
    let csr = request_of(node, BELOW);
    for status in [403, 503, 503, 404] {
        let path = format!("/certificates/{BELOW}");
        let reply = relay.connect(Some(node)).await.put(&path, CSR, &csr).await;
        assert_eq!(reply.status, status, "{reply:?}");
    }
    // Nobody is above any more.
    let reply = relay.connect(Some(node)).await.put(&format!("/certificates/{BELOW}"), CSR, &csr).await;
    assert_eq!(reply.status, 503, "{reply:?}");
    relay.stop().await;
}

#[tokio::test]
async fn newcomers_are_rate_limited_by_address_and_relays_by_relay() {
    let relay = relay_below("127.0.0.1:1".parse().unwrap(), KeyHash::sha256_of(b""), Some(2)).await;
    let csr = request_of(&new_identity("newcomer"), "newcomer");
    let status = async |who: Option<&ClientIdentity>| {
        let reply = relay.connect(who).await.put("/enrolments/newcomer", CSR, &csr).await;
        assert_eq!(reply.status == 429, reply.header("retry-after").is_some() && reply.status != 503);
        reply.status
    };
    assert_eq!([status(None).await, status(Some(&relay.fleet.stranger)).await], [503, 503]);
    assert_eq!([status(None).await, status(Some(&relay.fleet.stranger)).await], [429, 429]);
    // A relay speaks for those below it, and is not counted by its address.
    let mut answers = Vec::new();
    for _ in 0..5 {
        answers.push(status(Some(&relay.fleet.relay)).await);
    }
    assert_eq!(answers, [503, 503, 503, 503, 429]);
    relay.stop().await;
}

#[tokio::test]
async fn where_no_new_nodes_are_taken_in_known_ones_still_are_served() {
    let relay = relay_below("127.0.0.1:1".parse().unwrap(), KeyHash::sha256_of(b""), None).await;
    let csr = request_of(&relay.fleet.below, BELOW);
    let put =
        async |path: String| relay.connect(Some(&relay.fleet.below)).await.put(&path, CSR, &csr).await.status;
    assert_eq!(put(format!("/enrolments/{BELOW}")).await, 404);
    assert_eq!(put(format!("/certificates/{BELOW}")).await, 503);
    relay.stop().await;

    let gateway = start().await;
    for path in ["/enrolments", "/keys", "/certificates"] {
        let path = format!("{path}/{BELOW}");
        let reply = gateway.connect(Some(&gateway.fleet.below)).await.put(&path, CSR, &csr).await;
        assert_eq!(reply.status, 404, "{path}");
    }
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn newcomers_that_wait_for_the_server_above_do_not_keep_known_nodes_from_it() {
    let identity = new_identity("root");
    let pin = identity.0.key_hash();
    let acceptor = tls::acceptor(&identity.into(), TlsVersion::V1_3, tls::admit_all(), None).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let waiting = Arc::new(AtomicUsize::new(0));
    let counted = waiting.clone();
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let mut stream = SslStream::new(Ssl::new(acceptor.context()).unwrap(), tcp).unwrap();
            let counted = counted.clone();
            tokio::spawn(async move {
                Pin::new(&mut stream).accept().await.unwrap();
                let mut seen = Vec::new();
                while !is_whole(&seen) {
                    assert_ne!(stream.read_buf(&mut seen).await.unwrap(), 0, "cut off within a request");
                }
                if seen.starts_with(b"PUT /certificates/") {
                    stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").await.unwrap();
                } else {
                    // Newcomers hear nothing.
                    counted.fetch_add(1, Ordering::Relaxed);
                }
                std::future::pending::<()>().await;
            });
        }
    });
    let relay = relay_below(address, pin, Some(1000)).await;
    let csr = request_of(&new_identity("newcomer"), "newcomer");
    let mut newcomers = Vec::new();
    for _ in 0..100 {
        let mut client = relay.connect(None).await;
        client.send(&put_request("/enrolments/newcomer", CSR, &csr)).await.unwrap();
        newcomers.push(client);
    }
    eventually("as many wait as may", || waiting.load(Ordering::Relaxed) >= 48).await;
    let csr = request_of(&relay.fleet.below, BELOW);
    let mut node = relay.connect(Some(&relay.fleet.below)).await;
    assert_eq!(node.put(&format!("/certificates/{BELOW}"), CSR, &csr).await.status, 404);
    drop((newcomers, node));
    relay.stop.cancel();
}
