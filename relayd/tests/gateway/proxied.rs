// SPDX-License-Identifier: Apache-2.0
//! A relay's requests to the server above, through an HTTP proxy.

use bytes::Bytes;
use hyper::{HeaderMap, Method};
use prometheus::Registry;
use protocol::proxy::ProxyRule;
use relayd::{config::Upstream, upstream::UpstreamClient};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinHandle,
};

use crate::{
    harness::*,
    passing::{Above, PENDING, upstream},
};

/// A proxy for one connection: it gives this answer, and when that is a tunnel leads to `to`. Gives what it was asked.
async fn proxy(answer: &'static [u8], to: Option<std::net::SocketAddr>) -> (u16, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let served = tokio::spawn(async move {
        let (mut near, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(near.read_u8().await.unwrap());
        }
        near.write_all(answer).await.unwrap();
        if let Some(to) = to {
            let mut far = TcpStream::connect(to).await.unwrap();
            // Ends when one of them does, however it does.
            copy_bidirectional(&mut near, &mut far).await.ok();
        }
        String::from_utf8(head).unwrap()
    });
    (port, served)
}

async fn ask(upstream: Upstream) -> Result<u16, String> {
    let client = UpstreamClient::new(&upstream, &Registry::new()).unwrap();
    let passed = client.pass(Method::GET, "/path", HeaderMap::new(), Bytes::new()).await;
    passed.map(|answer| answer.status.as_u16()).map_err(|error| error.to_string())
}

fn through(mut upstream: Upstream, port: u16) -> Upstream {
    let url = format!("http://user:canary@127.0.0.1:{port}");
    upstream.proxy = ProxyRule::Fixed(url.parse().unwrap());
    upstream
}

#[tokio::test]
async fn credentials_go_to_the_proxy_and_requests_to_the_server() {
    let mut above = Above::start(&[PENDING]).await;
    let (port, proxied) = proxy(b"HTTP/1.1 200 OK\r\n\r\n", Some(above.address)).await;
    let mut upstream = upstream(above.address, above.pin.clone());
    // No name server knows this one; in a tunnel it is the proxy that looks it up.
    upstream.host = "root.test".to_owned();
    assert_eq!(ask(through(upstream, port)).await, Ok(202));
    let seen = above.asked.recv().await.unwrap();
    assert!(seen.starts_with("GET /path HTTP/1.1\r\n"), "{seen}");
    assert!(!seen.to_lowercase().contains("proxy") && !seen.contains("dXNlcjpjYW5hcnk="), "{seen}");
    let asked = proxied.await.unwrap();
    let to = above.address.port();
    assert!(asked.starts_with(&format!("CONNECT root.test:{to} HTTP/1.1\r\n")), "{asked}");
    assert!(asked.contains("\r\nProxy-Authorization: Basic dXNlcjpjYW5hcnk=\r\n"), "{asked}");
}

#[tokio::test]
async fn each_way_in_which_there_is_no_tunnel_is_named() {
    let above = Above::start(&[]).await;
    let identity = upstream(above.address, above.pin.clone());
    let answers: [(&[u8], &str); 6] = [
        (b"HTTP/1.1 407 x\r\nProxy-Authenticate: Basic\r\n\r\n", "does not accept the user or the password"),
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", "does not allow connections to this server"),
        (b"HTTP/1.0 405 No\r\n\r\n", "is there a proxy at that port?"),
        (b"HTTP/1.1 504 x\r\n\r\n", "cannot reach this server"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "no HTTP proxy is there"),
        (b"HTTP/1.1 2", "closed the connection unanswered"),
    ];
    for (answer, expected) in answers {
        let (port, proxied) = proxy(answer, None).await;
        let error = ask(through(identity.clone(), port)).await.unwrap_err();
        proxied.await.unwrap();
        let way = format!("{} through the proxy 127.0.0.1:{port}: ", above.address);
        assert!(error.contains(&way) && error.contains(expected), "{error}");
        assert!(!error.contains("canary"), "{error}");
    }
    // Bound and not listening: nobody else is given the port meanwhile.
    let reserved = TcpSocket::new_v4().unwrap();
    reserved.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let nobody = reserved.local_addr().unwrap().port();
    let error = ask(through(identity.clone(), nobody)).await.unwrap_err();
    assert!(error.contains("connecting to the proxy: ") && error.contains("refused"), "{error}");
    let mut injected = identity;
    injected.host = "a\r\nX: y".to_owned();
    let client = UpstreamClient::new(&through(injected, nobody), &Registry::new());
    assert!(client.is_err());
}

#[tokio::test]
async fn a_server_that_is_not_the_pinned_one_gets_nothing_through_a_proxy_either() {
    let mut impostor = Above::start(&[PENDING]).await;
    let (port, _proxied) = proxy(b"HTTP/1.1 200 OK\r\n\r\n", Some(impostor.address)).await;
    let pin = new_identity("root").0.key_hash();
    let error = ask(through(upstream(impostor.address, pin), port)).await.unwrap_err();
    assert!(error.contains("not trusted"), "{error}");
    assert!(impostor.asked.try_recv().is_err());
}
