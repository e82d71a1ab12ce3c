// SPDX-License-Identifier: Apache-2.0
//! Files from node to node: the table of protocol 7.4, hostile paths, clients that vanish, and what comes
//! back.

use std::{
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::{HeaderMap, Method, Response, StatusCode, body::Frame, header};
use openssl::pkey::{PKey, Private};
use prometheus::Registry;
use protocol::{
    node_list::NodeList,
    private_key::{self, KeyKind},
    shared_file::{Algorithm, List, Metadata},
};
use relayd::{
    files::Files,
    http::{Body, Call, Caller, RequestBody, Service},
    nodes::NodeTable,
    shared_files::{Settings, SharedFiles},
    spool::clock::SystemClock,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// A root with a sender, another node without a known key, and a target.
struct World {
    service: SharedFiles,
    key: PKey<Private>,
    directory: tempfile::TempDir,
    _nodes: watch::Sender<Arc<NodeTable>>,
}

const LARGEST: u64 = 100_000;
/// Longest wait for what has to happen.
const SOON: Duration = Duration::from_secs(30);

fn service(path: &Path, list: NodeList) -> (SharedFiles, watch::Sender<Arc<NodeTable>>) {
    let (sender, nodes) = watch::channel(Arc::new(NodeTable::new(list, Vec::new())));
    let settings = Settings {
        own_id: "root".parse().unwrap(),
        path: path.to_owned(),
        max_body_size: LARGEST,
        clean_every: Duration::from_secs(600),
        slowest_body: 1024,
        high_water_percent: 100,
    };
    let (files, clock) = (Arc::new(Files::new()), Arc::new(SystemClock));
    (SharedFiles::new(settings, nodes, (None, None), files, clock, &Registry::new()).unwrap(), sender)
}

impl World {
    fn new() -> Self {
        let key = private_key::generate(KeyKind::P256).unwrap();
        let hash = protocol::hash::KeyHash::sha256_of(&key.public_key_to_der().unwrap()).to_string();
        let entry =
            |hash: &str| serde_json::json!({"hostname": "h", "policy-server": "root", "key-hash": hash});
        let list = serde_json::json!({
            "root": entry(""), "sender": entry(&hash), "keyless": entry("sha256:"), "target": entry(""),
        });
        let directory = tempfile::tempdir().unwrap();
        let list = NodeList::from_json(list.to_string().as_bytes()).unwrap();
        let (service, nodes) = service(&directory.path().join("shared"), list);
        Self { service, key, directory, _nodes: nodes }
    }

    fn body(&self, content: &[u8]) -> Vec<u8> {
        [signed(&self.key, content).to_string().as_bytes(), b"\n", content].concat()
    }

    async fn put(&self, rest: &str, query: &str, body: &[u8]) -> StatusCode {
        ask(&self.service, Method::PUT, rest, query, Some(body.len()), whole(body)).await.status()
    }

    async fn head(&self, rest: &str, hash: &str) -> StatusCode {
        let query = format!("hash={hash}");
        ask(&self.service, Method::HEAD, rest, &query, None, whole(b"")).await.status()
    }

    async fn get(&self, rest: &str) -> Response<Body> {
        ask(&self.service, Method::GET, rest, "", None, whole(b"")).await
    }

    fn parts(&self) -> usize {
        fs::read_dir(self.directory.path().join("shared/@parts")).map_or(0, Iterator::count)
    }
}

fn signed(key: &PKey<Private>, content: &[u8]) -> Metadata {
    let mut hasher = Algorithm::Sha512.hasher().unwrap();
    hasher.update(content).unwrap();
    Metadata::sign(hasher.finish().unwrap(), key, "host.example", "2024-05-01 00:00:00 +0000").unwrap()
}

fn whole(content: &[u8]) -> RequestBody {
    Full::new(Bytes::copy_from_slice(content)).map_err(|never| match never {}).boxed()
}

async fn ask(
    service: &SharedFiles,
    method: Method,
    rest: &str,
    query: &str,
    length: Option<usize>,
    body: RequestBody,
) -> Response<Body> {
    let mut headers = HeaderMap::new();
    headers.extend(length.map(|length| (header::CONTENT_LENGTH, length.into())));
    let call = Call {
        caller: Caller::Operator,
        method,
        path: format!("/rudder/relay-api/shared-files/{rest}"),
        rest: rest.to_owned(),
        query: Some(query.to_owned()).filter(|query| !query.is_empty()),
        headers,
        body,
        stop: CancellationToken::new(),
    };
    service.answer(call).await
}

async fn bytes(answer: Response<Body>) -> Vec<u8> {
    answer.into_body().collect().await.unwrap().to_bytes().into()
}

const TTL: &str = "ttl=1d+2h%203m";

#[tokio::test]
async fn a_file_goes_in_and_comes_out() {
    let world = World::new();
    let content = vec![7; 90_000];
    let body = world.body(&content);
    let hash = signed(&world.key, &content).hash_value.to_string();
    assert_eq!(world.head("target/sender/file", &hash).await, 404);
    assert_eq!(world.put("target/sender/file", TTL, &body).await, 200);
    assert_eq!(world.put("%74arget/sender/%66ile", TTL, &body).await, 200, "the same, again");
    assert_eq!(world.head("target/sender/file", &hash.to_uppercase()).await, 200);
    assert_eq!(world.head("target/sender/file", &hash.replace('0', "1")).await, 404);
    assert_eq!(world.head("target/sender/file", "nonsense").await, 404);

    let answer = world.get("target/sender/file").await;
    assert_eq!(
        (answer.status(), answer.headers()["content-length"].to_str().unwrap()),
        (StatusCode::OK, "90000")
    );
    assert!(answer.headers()["etag"].to_str().unwrap().starts_with('"'));
    assert_eq!(bytes(answer).await, content);
    let metadata = Metadata::parse(&bytes(world.get("target/sender/file.metadata").await).await).unwrap();
    let days = metadata.expires.unwrap() - chrono::Utc::now().timestamp();
    assert!((93_700..=93_780).contains(&days), "{days}");
    assert_eq!(metadata.hash_value.to_string(), hash);

    let list: List = serde_json::from_slice(&bytes(world.get("target/").await).await).unwrap();
    assert_eq!((list.files.len(), list.incomplete), (1, None));
    let listed = &list.files[0];
    assert_eq!((listed.source.as_str(), listed.file_id.as_str(), listed.size), ("sender", "file", 90_000));
    assert_eq!((&listed.hash, listed.expires), (&hash, metadata.expires));
    let nothing: List = serde_json::from_slice(&bytes(world.get("sender/").await).await).unwrap();
    assert_eq!(nothing, List::default());
    for rest in
        ["target/sender/other", "target/keyless/file", "sender/target/file", "target", "target/sender"]
    {
        assert_eq!(world.get(rest).await.status(), 404, "{rest}");
    }
    // Not kept for a moment: as if it were not there, before any sweep.
    assert_eq!(world.put("target/sender/file", "ttl=0", &body).await, 200);
    let begun = Instant::now();
    while world.head("target/sender/file", &hash).await != 404 {
        assert!(begun.elapsed() < SOON, "it is there still");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(world.get("target/sender/file").await.status(), 404);
}

#[tokio::test]
async fn each_check_has_its_status_and_they_come_in_order() {
    let world = World::new();
    let good = world.body(b"content");
    let text = signed(&world.key, b"content").to_string();
    let with = |metadata: &str, content: &[u8]| [metadata.as_bytes(), b"\n", content].concat();
    let other = private_key::generate(KeyKind::P256).unwrap();
    let others = with(&signed(&other, b"content").to_string(), b"content");
    let altered = with(&text, b"c0ntent");
    let lying = with(
        &text.replace(&signed(&world.key, b"content").hash_value.to_string(), &"0".repeat(128)),
        b"content",
    );
    let garbage = with(&text.replace("digest=", "digest=zz"), b"content");
    for (what, rest, query, body, status) in [
        ("good", "target/sender/file", TTL, &good, 200),
        ("seconds", "target/sender/file", "ttl=60", &good, 200),
        ("own id in another case", "TARGET/sender/file", TTL, &good, 500),
        ("unknown target", "nobody/sender/file", TTL, &good, 500),
        ("a target that is no node id", "-x/sender/file", TTL, &good, 500),
        ("unknown source", "target/nobody/file", TTL, &good, 404),
        ("a source that is no node id", "target/-x/file", TTL, &good, 404),
        ("no known key", "target/keyless/file", TTL, &good, 500),
        ("another key", "target/sender/file", TTL, &others, 404),
        ("other content", "target/sender/file", TTL, &altered, 500),
        ("other hash", "target/sender/file", TTL, &lying, 500),
        ("bad metadata", "target/sender/file", TTL, &garbage, 500),
        ("no empty line", "target/sender/file", TTL, &text.clone().into_bytes(), 500),
        ("nothing", "target/sender/file", TTL, &Vec::new(), 500),
        ("bad ttl", "target/sender/file", "ttl=soon", &good, 400),
        ("absurd ttl", "target/sender/file", "ttl=18446744073709551615", &good, 400),
        ("no ttl", "target/sender/file", "tt=1d", &good, 500),
        ("no query", "target/sender/file", "", &good, 500),
        // What is checked later does not show.
        ("bad ttl and signature", "target/sender/file", "ttl=soon", &altered, 500),
        ("bad ttl, unknown source", "target/nobody/file", "ttl=soon", &good, 404),
        ("bad metadata, no known key", "target/keyless/file", TTL, &garbage, 500),
        ("a name of metadata", "target/sender/file.MetaData", TTL, &good, 400),
    ] {
        assert_eq!(world.put(rest, query, body).await, status, "{what}");
        assert_eq!(world.parts(), 0, "{what}");
    }
    let large = world.body(&vec![0; LARGEST as usize]);
    assert_eq!(world.put("target/sender/file", TTL, &large).await, 413);
    let unknown = ask(&world.service, Method::PUT, "target/sender/file", TTL, None, whole(&good)).await;
    assert_eq!(unknown.status(), 411);
    assert_eq!(bytes(unknown).await, b"LENGTH REQUIRED");
    let short =
        ask(&world.service, Method::PUT, "target/sender/file", TTL, Some(good.len() + 1), whole(&good)).await;
    assert_eq!(short.status(), 400);
    let no_hash = ask(&world.service, Method::HEAD, "target/sender/file", "", None, whole(b"")).await;
    assert_eq!(no_hash.status(), 500);
    assert_eq!(bytes(world.get("target/sender/file").await).await, b"content", "the last good one");
}

#[tokio::test]
async fn hostile_paths_lead_nowhere() {
    let world = World::new();
    let body = world.body(b"content");
    assert_eq!(world.put("target/sender/file", TTL, &body).await, 200);
    let long = format!("target/sender/{}", "a".repeat(300));
    for rest in [
        "target/sender/..",
        "target/sender/.",
        "target/sender/%2e%2e",
        "target/sender/%2e%2e%2ffile",
        "target/sender/..%5cfile",
        "target/sender/a%00b",
        "target/sender/a%0ab",
        "target/sender/a%252e",
        "target/sender/@parts",
        "target/sender/%40content",
        "@content/sender/file",
        "target/../file",
        "../target/sender",
        "%2e%2e/sender/file",
        "target//file",
        "/sender/file",
        "target/sender/%c0%ae%c0%ae",
        "target/sender/%ff",
        "target/sender/",
        &long,
    ] {
        for (method, query) in [(Method::PUT, TTL), (Method::HEAD, "hash=00"), (Method::GET, "")] {
            let answer =
                ask(&world.service, method.clone(), rest, query, Some(body.len()), whole(&body)).await;
            let status = answer.status().as_u16();
            assert!(matches!(status, 400 | 404), "{method} {rest}: {status}");
        }
    }
    for rest in ["", "target", "target/sender", "target/sender/file/more", "a/b/c/d/e"] {
        assert_eq!(world.put(rest, TTL, &body).await, 404, "{rest}");
    }
    let mut below: Vec<_> = fs::read_dir(world.directory.path().join("shared"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    below.sort();
    assert_eq!(below, ["@content", "@parts", "target"]);
}

#[tokio::test]
async fn a_client_that_vanishes_leaves_nothing() {
    let world = World::new();
    let body = world.body(&vec![1; 50_000]);
    let half = Bytes::copy_from_slice(&body[..30_000]);
    // Breaks off.
    let frames = [Ok(Frame::data(half.clone())), Err("gone".into())];
    let broken = BodyExt::boxed(StreamBody::new(futures_util::stream::iter(frames)));
    let answer = ask(&world.service, Method::PUT, "target/sender/file", TTL, Some(body.len()), broken).await;
    assert_eq!((answer.status(), world.parts()), (StatusCode::BAD_REQUEST, 0));
    // Says nothing more; the gateway gives the request up.
    let (sender, receiver) = tokio::sync::mpsc::channel::<Result<Frame<Bytes>, _>>(1);
    let silent = futures_util::stream::unfold(receiver, async |mut receiver| {
        receiver.recv().await.map(|frame| (frame, receiver))
    });
    sender.send(Ok(Frame::data(half))).await.unwrap();
    {
        let silent = BodyExt::boxed(StreamBody::new(silent));
        let asking = ask(&world.service, Method::PUT, "target/sender/file", TTL, Some(body.len()), silent);
        tokio::pin!(asking);
        let begun = async {
            while world.parts() == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            answer = &mut asking => panic!("{:?}", answer.status()),
            () = begun => {}
        }
    }
    let given_up = async {
        while world.parts() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, given_up).await.expect("the part is removed");
    assert_eq!(world.get("target/sender/file").await.status(), 404);
}

/// The files of existing servers and senders, where they are at hand.
#[tokio::test]
async fn existing_files_are_served_and_taken() {
    let fixtures = std::env::var("RELAYD_FIXTURES").unwrap_or("../../shared/fixtures".into());
    let Ok(list) = fs::read(format!("{fixtures}/nodeslist/nodeslist.json")) else {
        eprintln!("skipped: no fixtures at {fixtures}");
        return;
    };
    const TARGET: &str = "37817c4d-fbf7-4850-a985-50021f4e8f41";
    const SOURCE: &str = "e745a140-40bc-4b86-b6dc-084488fc906b";
    const HASH: &str = "dda78e9b97a69aca3cff21de266246bde0d91bc4b61df72bfb0387564ac0c7bd64dd4caca39ce1ef400f32aa711ec4909789705beec93314eb65fabd5183bbfe";
    let pair = format!("{fixtures}/shared-files/{TARGET}/files/{SOURCE}");
    let temp = tempfile::tempdir().unwrap();
    let place = temp.path().join(TARGET).join("files").join(SOURCE);
    fs::create_dir_all(&place).unwrap();
    for name in ["file", "file.metadata"] {
        fs::copy(format!("{pair}/{name}"), place.join(name)).unwrap();
    }
    let (service, _nodes) = service(temp.path(), NodeList::from_json(&list).unwrap());
    let asked = async |method: Method, file: &str, query: &str, body: &[u8]| {
        let rest = format!("{TARGET}/{SOURCE}/{file}");
        ask(&service, method, &rest, query, Some(body.len()), whole(body)).await
    };
    assert_eq!(asked(Method::HEAD, "file", &format!("hash={HASH}"), b"").await.status(), 200);
    assert_eq!(asked(Method::HEAD, "file", &format!("hash={}", "0".repeat(128)), b"").await.status(), 404);
    assert_eq!(
        bytes(asked(Method::GET, "file", "", b"").await).await,
        fs::read(format!("{pair}/file")).unwrap()
    );
    let source = fs::read(format!("{pair}/file2.source")).unwrap();
    for (sign, content, status) in [
        ("file2.sign", &source[..], 200),
        ("file2.wrongsign", &source, 500),
        ("file2.sign", b"other content", 500),
    ] {
        let body = [&fs::read(format!("{pair}/{sign}")).unwrap()[..], b"\n", content].concat();
        assert_eq!(asked(Method::PUT, "file2", "ttl=1d", &body).await.status(), status, "{sign}");
    }
    let stored = fs::read_to_string(place.join("file2.metadata")).unwrap();
    let sent = fs::read_to_string(format!("{pair}/file2.sign")).unwrap();
    assert!(stored.starts_with(&sent) && stored[sent.len()..].starts_with("expires="), "{stored}");
}
