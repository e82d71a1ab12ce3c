// SPDX-License-Identifier: Apache-2.0
//! Requests that a relay passes up: with its own identity, as they are, and the answer as it is.

use std::{
    io,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, future::join_all, stream};
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::{
    HeaderMap, Method, Response, StatusCode,
    body::Frame,
    header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue},
};
use protocol::hash::KeyHash;
use relayd::{
    config::UpstreamTrust,
    http::{Body, RequestBody},
    upstream::{Failure, FetchLimits, MOST_STREAMS, UpstreamClient},
};
use tokio::time::timeout;

use crate::upstream::{Act, Relay, SOON, Server, id};

fn answer(status: u16, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let response = Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .header("retry-after", "7")
        .header("set-cookie", "a=b");
    response.body(Full::from(body.into())).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn request_and_answer_are_passed_as_they_are() {
    let (server, relay) =
        (Server::start(|_| Act::Say(answer(409, r#"{"state":"conflict"}"#))).await, Relay::new("a"));
    let client = relay.client(&server);
    let headers = HeaderMap::from_iter([
        (CONTENT_TYPE, HeaderValue::from_static("application/pkcs10")),
        ("relayd-hops".parse().unwrap(), HeaderValue::from_static("2")),
    ]);
    for _ in 0..3 {
        let passed =
            client.pass(Method::PUT, "/enrolments/n%31", headers.clone(), "request".into()).await.unwrap();
        assert_eq!(
            (passed.status, &passed.body[..]),
            (StatusCode::CONFLICT, &br#"{"state":"conflict"}"#[..])
        );
        assert_eq!(passed.headers.len(), 2, "{:?}", passed.headers);
        assert_eq!(
            (&passed.headers["retry-after"], &passed.headers[CONTENT_TYPE]),
            (&"7".parse().unwrap(), &"application/json".parse().unwrap())
        );
    }
    let seen = server.seen().pop().unwrap();
    assert_eq!(
        (seen.method, seen.path.as_str(), &seen.body[..]),
        (Method::PUT, "/enrolments/n%31", &b"request"[..])
    );
    assert_eq!((seen.client, &seen.headers["relayd-hops"]), (Some(id("a")), &HeaderValue::from_static("2")));
    assert_eq!(seen.headers["content-length"], "7");
    assert!(!seen.headers.contains_key("authorization"));
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_closed_while_idle_costs_nothing() {
    let (server, relay) = (Server::start(|_| Act::HangUp(answer(200, "x"))).await, Relay::new("a"));
    let client = relay.client(&server);
    for pause in [0, 20, 45, 50, 55, 100] {
        let passed = client.pass(Method::PUT, "/keys/n", HeaderMap::new(), "x".into()).await;
        assert_eq!(passed.unwrap().status, StatusCode::OK, "{pause}");
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_are_passed_over_few_connections() {
    let (server, relay) =
        (Server::start(|seen| Act::Say(answer(202, seen.body.clone()))).await, Relay::new("a"));
    let client = relay.client(&server);
    let pass = |n: usize| {
        let client = &client;
        async move {
            client.pass(Method::PUT, "/enrolments/n", HeaderMap::new(), n.to_string().into()).await.unwrap()
        }
    };
    let passed = join_all((0..1000).map(pass)).await;
    assert!(passed.iter().enumerate().all(|(n, passed)| passed.body == n.to_string()));
    let connections = server.connections.load(Ordering::SeqCst);
    assert!((1..=64).contains(&connections), "{connections}");
}

#[tokio::test(flavor = "multi_thread")]
async fn too_much_and_too_late_are_errors() {
    let (server, relay) =
        (Server::start(|_| Act::Say(answer(200, vec![b'x'; 64 * 1024 + 1]))).await, Relay::new("a"));
    let client = relay.client(&server);
    let pass = || client.pass(Method::PUT, "/keys/n", HeaderMap::new(), Bytes::new());
    assert!(matches!(pass().await, Err(Failure::TooLarge(65536))));
    server.act(|_| Act::Cut(answer(200, "some text"), 4));
    assert!(matches!(pass().await, Err(Failure::Lost(_))));
    server.act(|_| Act::Silence);
    let short = Duration::from_millis(200);
    let limits = FetchLimits { answer: short, pause: short, body: 10 };
    let fetched = tokio::time::timeout(SOON, client.fetch("/nodes", HeaderMap::new(), limits)).await.unwrap();
    assert!(matches!(fetched, Err(Failure::Late(_))));
    server.act(|_| Act::Say(answer(200, "ok")));
    assert_eq!(pass().await.unwrap().body, "ok");
    server.stop().await;
    assert!(matches!(pass().await, Err(Failure::Connect(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_server_gets_nothing_and_renewed_certificates_are_used() {
    let (server, relay) = (Server::start(|_| Act::Say(answer(200, "ok"))).await, Relay::new("a"));
    let mut upstream = relay.upstream(&server);
    upstream.trust = UpstreamTrust::Pins(vec![KeyHash::sha256_of(b"another")]);
    let client = UpstreamClient::new(&upstream, &prometheus::Registry::new()).unwrap();
    let pass = |client| UpstreamClient::pass(client, Method::PUT, "/keys/n", HeaderMap::new(), "x".into());
    let error = pass(&client).await.unwrap_err();
    assert!(error.to_string().contains("not trusted"), "{error}");
    assert!(server.seen().is_empty());

    let client = relay.client(&server);
    pass(&client).await.unwrap();
    // The same files change nothing; new ones are used for the next request.
    client.reload().unwrap();
    pass(&client).await.unwrap();
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
    let (files, other) = (relay.files(), Relay::new("b"));
    std::fs::copy(other.files().certificate, &files.certificate).unwrap();
    // Not its key: what was read earlier stays.
    assert!(client.reload().is_err());
    pass(&client).await.unwrap();
    std::fs::copy(other.files().key, &files.key).unwrap();
    client.reload().unwrap();
    pass(&client).await.unwrap();
    let clients: Vec<_> = server.seen().into_iter().map(|seen| seen.client.unwrap().to_string()).collect();
    assert_eq!(clients, ["a", "a", "a", "b"]);
    assert_eq!(server.connections.load(Ordering::SeqCst), 2);
}

fn nothing() -> RequestBody {
    Empty::new().map_err(|never| match never {}).boxed()
}

fn pieces(count: usize, length: usize) -> impl Stream<Item = io::Result<Frame<Bytes>>> + Send + Sync {
    stream::iter((0..count).map(move |n| Ok(Frame::data(Bytes::from(vec![n as u8; length])))))
}

async fn get(client: &UpstreamClient) -> Result<Response<Body>, Failure> {
    client.stream(Method::GET, "/common/x", &HeaderMap::new(), nothing()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_any_size_go_both_ways_over_connections_that_are_kept() {
    let (server, relay) =
        (Server::start(|seen| Act::Say(answer(200, seen.body.clone()))).await, Relay::new("a"));
    let client = relay.client(&server);
    for length in [Some(20 * 100_000), None] {
        let headers: HeaderMap =
            length.map(|length: u64| (CONTENT_LENGTH, length.into())).into_iter().collect();
        let body =
            BodyExt::boxed(StreamBody::new(pieces(20, 100_000).map(|piece| piece.map_err(Into::into))));
        let answered =
            client.stream(Method::PUT, "/rudder/relay-api/shared-files/a/b/c", &headers, body).await;
        let echoed = answered.unwrap().into_body().collect().await.unwrap().to_bytes();
        assert!(
            echoed.len() == 2_000_000
                && echoed.chunks(100_000).enumerate().all(|(n, piece)| piece[0] == n as u8)
        );
        let seen = server.seen().pop().unwrap();
        assert_eq!(seen.headers.get(CONTENT_LENGTH).is_some(), length.is_some());
    }
    // A connection is given back a moment after its answer was read; who asks before that gets another one, which
    // is kept as well. So there are soon enough of them for requests in turn.
    let begun = Instant::now();
    loop {
        let opened = server.connections.load(Ordering::SeqCst);
        for _ in 0..10 {
            let answer = timeout(SOON, get(&client)).await.unwrap().unwrap();
            assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "");
        }
        let more = server.connections.load(Ordering::SeqCst) - opened;
        if more == 0 {
            break;
        }
        assert!(begun.elapsed() < SOON, "{more} more connections for ten requests in turn");
    }

    server.act(|_| Act::Cut(answer(200, vec![b'x'; 100_000]), 50_000));
    if let Ok(cut) = get(&client).await {
        assert!(cut.into_body().collect().await.is_err());
    }
    server.act(|_| Act::HangUp(answer(200, "x")));
    for pause in [0, 45, 50, 55] {
        assert_eq!(get(&client).await.unwrap().into_body().collect().await.unwrap().to_bytes(), "x");
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_bounded_apart_from_requests_that_are_passed() {
    let unending = |_: &crate::upstream::Seen| {
        let body = pieces(1, 10).chain(stream::pending());
        Act::Stream(Response::new(StreamBody::new(body).boxed_unsync()))
    };
    let (server, relay) = (Server::start(unending).await, Relay::new("a"));
    let client = relay.client(&server);
    let open = join_all((0..MOST_STREAMS).map(|_| get(&client)));
    let mut open: Vec<_> = timeout(SOON, open).await.unwrap().into_iter().map(Result::unwrap).collect();
    let mut next = Box::pin(get(&client));
    assert!(timeout(Duration::from_millis(100), &mut next).await.is_err());
    server.act(|_| Act::Say(answer(200, "ok")));
    let passed = client.pass(Method::PUT, "/keys/n", HeaderMap::new(), Bytes::new());
    assert_eq!(timeout(SOON, passed).await.unwrap().unwrap().body, "ok");
    // One that nobody reads on ends, and makes room.
    open.pop();
    assert_eq!(timeout(SOON, next).await.unwrap().unwrap().status(), StatusCode::OK);
}
