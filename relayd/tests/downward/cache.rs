// SPDX-License-Identifier: Apache-2.0
//! What a relay fetches and keeps, from an upstream that does what it is told.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use futures_util::{StreamExt, future::join_all, stream};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::{HeaderMap, Method, Response, StatusCode, body::Frame, header::HeaderName};
use openssl::sha::sha256;
use prometheus::Registry;
use relayd::{cache::Cache, config};
use tempfile::TempDir;
use tokio::{sync::mpsc, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::upstream::{Act, Relay, SOON, Seen, Server};

pub const FILE: &str = "/policies/n1/rules/x.cf";
pub const MIB: usize = 1024 * 1024;

/// A cache and the server above it.
pub struct Rig {
    pub server: Arc<Server>,
    pub relay: Relay,
    pub directory: TempDir,
    pub registry: Registry,
    pub cache: Cache,
}

impl Rig {
    pub async fn new(act: impl Fn(&Seen) -> Act + Send + 'static) -> Self {
        Self::sized(64 * MIB, act).await
    }

    pub async fn sized(max_size: usize, act: impl Fn(&Seen) -> Act + Send + 'static) -> Self {
        let (server, relay) = (Server::start(act).await, Relay::new("a"));
        let directory = tempfile::tempdir().unwrap();
        let registry = Registry::new();
        let cache = open(&server, &relay, directory.path(), max_size, &registry);
        Self { server, relay, directory, registry, cache }
    }

    /// As after a restart of the relay.
    pub fn reopen(&mut self, max_size: usize) {
        self.registry = Registry::new();
        self.cache = open(&self.server, &self.relay, self.directory.path(), max_size, &self.registry);
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, &[]).await
    }

    pub async fn ask(&self, method: Method, path: &str, fields: &[(&'static str, &str)]) -> Answer {
        let fields =
            fields.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
        let response = timeout(SOON, self.cache.answer(path, &method, &fields.collect())).await.unwrap();
        let (head, body) = response.into_parts();
        let body = timeout(SOON, body.collect()).await.unwrap().map(|body| body.to_bytes());
        Answer { status: head.status.as_u16(), headers: head.headers, body: body.map_err(|e| e.to_string()) }
    }

    /// Contents on the disk.
    pub fn objects(&self) -> Vec<PathBuf> {
        files(&self.directory.path().join("objects"))
    }

    pub fn metric(&self, line: &str) -> f64 {
        let text = prometheus::TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap();
        let value = text.lines().find_map(|found| found.strip_prefix(line)?.trim().parse().ok());
        value.unwrap_or_else(|| panic!("no {line} in {text}"))
    }
}

fn open(
    server: &Arc<Server>,
    relay: &Relay,
    directory: &Path,
    max_size: usize,
    registry: &Registry,
) -> Cache {
    let settings = config::Cache { directory: directory.to_owned(), max_size: max_size as u64 };
    Cache::open(&settings, relay.client(server), registry, CancellationToken::new()).unwrap()
}

pub fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Result<Bytes, String>,
}

impl Answer {
    pub fn is(&self, status: u16, body: &[u8]) -> bool {
        let right = self.status == status && self.body.as_deref() == Ok(body);
        if !right {
            eprintln!("{} {:?} {:?}", self.status, self.headers, self.body.as_ref().map(|body| body.len()));
        }
        right
    }

    pub fn field(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn is_stale(&self) -> bool {
        self.field("warning").starts_with("111 ") && self.field("age").parse::<u64>().is_ok()
    }
}

pub fn tag(content: &[u8]) -> String {
    format!("\"{}\"", hex::encode(sha256(content)))
}

pub fn whole(content: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let content = content.into();
    let response = Response::builder()
        .header("etag", tag(&content))
        .header("content-type", "text/x-cfengine")
        .header("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT");
    response.body(Full::from(content)).unwrap()
}

pub fn status(status: u16) -> Act {
    Act::Say(Response::builder().status(status).body(Full::default()).unwrap())
}

/// As a server does that has this content: by tag and by range.
pub fn has(seen: &Seen, content: &Bytes) -> Act {
    let field = |name: &str| seen.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    if field("if-none-match") == Some(tag(content)) {
        return status(304);
    }
    let from = field("range").filter(|_| field("if-range") == Some(tag(content)));
    let from = from.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
    Act::Say(match from {
        None => whole(content.clone()),
        Some(from) => Response::builder()
            .status(206)
            .header("content-range", format!("bytes {from}-{}/{}", content.len() - 1, content.len()))
            .body(Full::from(content.slice(from..)))
            .unwrap(),
    })
}

/// Content that does not look the same anywhere.
pub fn content(length: usize, seed: u8) -> Bytes {
    let mut state = u64::from(seed) + 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    (0..length).map(|_| next()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_transferred_once_and_checked_each_time() {
    let rig = Rig::new(|seen| has(seen, &"one".into())).await;
    for _ in 0..3 {
        let answer = rig.get(FILE).await;
        assert!(answer.is(200, b"one"));
        assert_eq!(answer.field("etag"), tag(b"one"));
        assert_eq!(answer.field("content-type"), "text/x-cfengine");
        assert_eq!(answer.field("last-modified"), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(answer.field("content-length"), "3");
        assert!(!answer.headers.contains_key("warning") && !answer.headers.contains_key("age"));
    }
    let asked: Vec<_> =
        rig.server.seen().iter().map(|seen| seen.headers.contains_key("if-none-match")).collect();
    assert_eq!(asked, [false, true, true]);
    assert_eq!(rig.server.seen()[0].path, FILE);
    assert_eq!(rig.metric("relayd_cache_fetched_bytes_total"), 3.0);
    assert_eq!(rig.metric("relayd_cache_answers_total{from=\"unchanged\"}"), 2.0);

    // Conditions and ranges of the node are judged here.
    let etag = tag(b"one");
    assert!(rig.ask(Method::GET, FILE, &[("if-none-match", &etag)]).await.is(304, b""));
    let part = rig.ask(Method::GET, FILE, &[("range", "bytes=1-")]).await;
    assert!(part.is(206, b"ne"));
    assert_eq!(part.field("content-range"), "bytes 1-2/3");
    assert!(rig.ask(Method::GET, FILE, &[("range", "bytes=9-")]).await.is(416, b""));
    let head = rig.ask(Method::HEAD, FILE, &[]).await;
    assert!(head.is(200, b""));
    assert_eq!(head.field("content-length"), "3");

    // Another content takes the place of the first, also on the disk.
    rig.server.act(|seen| has(seen, &"two, longer".into()));
    assert!(rig.get(FILE).await.is(200, b"two, longer"));
    assert_eq!(rig.objects().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_files_are_kept_once() {
    let big = content(MIB, 1);
    let rig = Rig::new({
        let big = big.clone();
        move |seen| has(seen, &big)
    })
    .await;
    for n in 0..4 {
        assert!(rig.get(&format!("/policies/n{n}/rules/x.cf")).await.is(200, &big));
    }
    assert_eq!((rig.objects().len(), rig.metric("relayd_cache_files")), (1, 4.0));
    // The tag said that it is here already.
    assert!(rig.metric("relayd_cache_fetched_bytes_total") <= MIB as f64);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_gone_upstream_is_gone_here() {
    let mut rig = Rig::new(|seen| has(seen, &"one".into())).await;
    for gone in [404, 403, 410] {
        assert!(rig.get(FILE).await.is(200, b"one"));
        rig.server.act(move |_| status(gone));
        let answer = rig.get(FILE).await;
        assert!(answer.is(404, b"NOT FOUND"), "{gone}");
        assert!(rig.objects().is_empty() && files(&rig.directory.path().join("entries")).is_empty());
        rig.server.act(|seen| has(seen, &"one".into()));
    }
    // Nothing is remembered of it: what comes is there at once.
    assert!(rig.get(FILE).await.is(200, b"one"));
    rig.server.act(|_| status(403));
    rig.get(FILE).await;
    rig.server.stop().await;
    rig.reopen(MIB);
    let answer = rig.get(FILE).await;
    assert_eq!((answer.status, answer.field("retry-after")), (503, "5"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_at_once_are_one_request_and_nobody_cancels_it_for_the_others() {
    let big = content(3 * MIB, 2);
    let (go, gate) = tokio::sync::watch::channel(false);
    let rig = Rig::new({
        let big = big.clone();
        move |_| {
            let (head, _) = whole(big.clone()).into_parts();
            let (first, second) = (big.slice(..MIB), big.slice(MIB..));
            let gate = gate.clone();
            let second = async move {
                gate.clone().wait_for(|go| *go).await.unwrap();
                Ok(Frame::data(second))
            };
            let body =
                stream::once(async { Ok::<_, io::Error>(Frame::data(first)) }).chain(stream::once(second));
            let mut response = Response::from_parts(head, StreamBody::new(body.boxed()).boxed_unsync());
            response.headers_mut().insert("content-length", big.len().into());
            Act::Stream(response)
        }
    })
    .await;
    let none = HeaderMap::new();
    // The first asks and goes away.
    let first = timeout(SOON, rig.cache.answer(FILE, &Method::GET, &none)).await.unwrap();
    drop(first);
    let answers = join_all((0..100).map(|_| rig.cache.answer(FILE, &Method::GET, &none)));
    let mut answers = timeout(SOON, answers).await.unwrap();
    // What is there flows before the rest is.
    for answer in &mut answers[..3] {
        let frame = timeout(SOON, answer.body_mut().frame()).await.unwrap().unwrap().unwrap();
        assert!(big.starts_with(frame.data_ref().unwrap()) && answer.status() == StatusCode::OK);
    }
    drop(answers.drain(50..));
    go.send_replace(true);
    let rest = join_all(answers.into_iter().map(|answer| answer.into_body().collect()));
    for (n, body) in timeout(SOON, rest).await.unwrap().into_iter().enumerate() {
        let body = body.unwrap().to_bytes();
        assert!(if n < 3 { big.ends_with(&body) } else { body == big }, "{n}: {}", body.len());
    }
    assert_eq!(rig.server.seen().len(), 1);
    assert_eq!(rig.metric("relayd_cache_joined_total"), 100.0);
    assert_eq!(rig.metric("relayd_cache_fetched_bytes_total"), 3.0 * MIB as f64);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_used_for_the_longest_goes() {
    let serve = |seen: &Seen| {
        let seed = seen.path.bytes().fold(0, u8::wrapping_add);
        has(seen, &content(MIB, seed))
    };
    let mut rig = Rig::sized(4 * MIB, serve).await;
    let path = |n: usize| format!("/common/{n}");
    for n in 0..3 {
        assert_eq!(rig.get(&path(n)).await.status, 200);
    }
    assert_eq!(rig.get(&path(0)).await.status, 200);
    assert_eq!(rig.get(&path(3)).await.status, 200);
    assert_eq!((rig.objects().len(), rig.metric("relayd_cache_files")), (3, 3.0));
    assert!(rig.metric("relayd_cache_bytes") <= 4.0 * MIB as f64);
    rig.server.act(|_| Act::Silence);
    // 1 went, 0 stayed.
    rig.server.stop().await;
    rig.reopen(4 * MIB);
    for (n, expected) in [(0, 200), (1, 503), (2, 200), (3, 200)] {
        assert_eq!(rig.get(&path(n)).await.status, expected, "{n}");
    }
    rig.reopen(2 * MIB);
    assert_eq!(rig.objects().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_unknown_length_is_kept_as_well() {
    let big = content(MIB, 9);
    let rig = Rig::new({
        let big = big.clone();
        move |_| {
            let (sender, pieces) = mpsc::channel(1);
            let big = big.clone();
            tokio::spawn(async move {
                for piece in big.chunks(100_000) {
                    sender
                        .send(Ok::<_, io::Error>(Frame::data(Bytes::copy_from_slice(piece))))
                        .await
                        .unwrap();
                }
            });
            let pieces = stream::unfold(pieces, |mut pieces| async {
                pieces.recv().await.map(|piece| (piece, pieces))
            });
            Act::Stream(Response::new(StreamBody::new(pieces).boxed_unsync()))
        }
    })
    .await;
    let answer = rig.get(FILE).await;
    assert!(answer.is(200, &big));
    // No tag from above: the one that its content has.
    assert_eq!(answer.field("etag"), tag(&big));
    assert_eq!(rig.objects().len(), 1);
}
