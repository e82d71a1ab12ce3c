// SPDX-License-Identifier: Apache-2.0
//! Forwarding to a real TLS server that behaves as it is told, at times through a bad line.

use std::{
    collections::HashMap,
    fs,
    net::SocketAddr,
    path::PathBuf,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, header, service::service_fn};
use hyper_util::rt::TokioIo;
use openssl::ssl::{Ssl, SslAcceptor};
use prometheus::Registry;
use protocol::{
    certificate::Certificate,
    hash::KeyHash,
    node_id::NodeId,
    private_key::{self, KeyKind},
    tls::{self, ClientIdentity, TlsVersion},
    urls::UploadKind,
};
use relayd::{
    config::{IdentityFiles, SpoolSettings, Upstream, UpstreamTrust},
    metrics::CompatibleMetrics,
    sink::forward::{Forward, Limits},
    spool::{
        Sink, Spool, SpoolFile, SpoolName,
        disposition::{Disposition, Outcome, Reason},
    },
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::mpsc,
};
use tokio_openssl::SslStream;
use tokio_util::sync::CancellationToken;

const NAME: &str = "2024-05-01T02:03:04+00:00@root.log.gz";

fn identity() -> ClientIdentity {
    let key = private_key::generate(KeyKind::P256).unwrap();
    (private_key::self_signed(&key, &NodeId::root()).unwrap(), key)
}

/// What a request was.
#[derive(Debug, Clone)]
struct Seen {
    path: String,
    headers: HashMap<String, String>,
    body: Bytes,
    client: Option<KeyHash>,
}

/// What to answer: status, headers, text.
type Answer = (u16, Vec<(&'static str, &'static str)>, &'static str);

type Behaviour = Box<dyn Fn(&Seen) -> Answer + Send>;

struct Server {
    address: SocketAddr,
    certificate: Certificate,
    seen: Mutex<Vec<Seen>>,
    answer: Mutex<Behaviour>,
    connections: AtomicUsize,
    /// Close each connection after its first answer, without saying so.
    hang_up: bool,
}

impl Server {
    async fn start(hang_up: bool, answer: impl Fn(&Seen) -> Answer + Send + 'static) -> Arc<Self> {
        let identity = identity();
        let acceptor =
            tls::acceptor(&identity.clone().into(), TlsVersion::V1_3, tls::admit_all(), None).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Arc::new(Self {
            address: listener.local_addr().unwrap(),
            certificate: identity.0,
            seen: Mutex::default(),
            answer: Mutex::new(Box::new(answer)),
            connections: AtomicUsize::new(0),
            hang_up,
        });
        let accepting = server.clone();
        tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                tokio::spawn(accepting.clone().serve(tcp, acceptor.clone()));
            }
        });
        server
    }

    async fn serve(self: Arc<Self>, tcp: TcpStream, acceptor: SslAcceptor) {
        tcp.set_nodelay(true).unwrap();
        let Some(stream) = accept(tcp, &acceptor).await else { return };
        self.connections.fetch_add(1, Ordering::SeqCst);
        let client = stream.ssl().peer_certificate().map(|x509| Certificate::new(x509).unwrap().key_hash());
        let done = CancellationToken::new();
        let service = service_fn(|request| self.clone().handle(request, client.clone(), done.clone()));
        let http = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        let hang_up = async {
            match self.hang_up {
                true => done.cancelled().await,
                false => std::future::pending().await,
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        tokio::select! { _ = http => {}, () = hang_up => {} }
    }

    async fn handle(
        self: Arc<Self>,
        request: Request<Incoming>,
        client: Option<KeyHash>,
        done: CancellationToken,
    ) -> Result<Response<Full<Bytes>>, hyper::Error> {
        let (head, body) = request.into_parts();
        assert_eq!(head.method, "PUT");
        let seen = Seen {
            path: head.uri.to_string(),
            headers: head
                .headers
                .iter()
                .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
                .collect(),
            body: body.collect().await?.to_bytes(),
            client,
        };
        let (status, headers, text) = (self.answer.lock().unwrap())(&seen);
        self.seen.lock().unwrap().push(seen);
        let mut response = Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(name, value);
        }
        done.cancel();
        Ok(response.body(Full::from(text)).unwrap())
    }

    fn last(&self) -> Seen {
        self.seen.lock().unwrap().last().unwrap().clone()
    }

    fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    fn upstream(&self) -> Upstream {
        upstream(self.address, UpstreamTrust::Pins(vec![self.certificate.key_hash()]))
    }
}

async fn accept(tcp: TcpStream, acceptor: &SslAcceptor) -> Option<SslStream<TcpStream>> {
    let mut stream = SslStream::new(Ssl::new(acceptor.context()).unwrap(), tcp).unwrap();
    Pin::new(&mut stream).accept().await.ok()?;
    Some(stream)
}

fn created(_: &Seen) -> Answer {
    (201, vec![], "")
}

fn upstream(address: SocketAddr, trust: UpstreamTrust) -> Upstream {
    Upstream {
        host: address.ip().to_string(),
        port: address.port(),
        user: "relay".into(),
        password: Some("secret".to_owned().into()),
        default_password: "initial".to_owned().into(),
        trust,
        client_identity: None,
        idle_timeout: Duration::from_secs(5),
        oldest_tls: TlsVersion::V1_3,
        proxy: protocol::proxy::ProxyRule::None,
    }
}

const LIMITS: Limits = Limits {
    connect: Duration::from_secs(5),
    handshake: Duration::from_secs(10),
    progress: Duration::from_secs(15),
    idle: Duration::from_secs(5),
};

fn forward(upstream: &Upstream, kind: UploadKind) -> Forward {
    forward_within(upstream, kind, LIMITS)
}

fn forward_within(upstream: &Upstream, kind: UploadKind, limits: Limits) -> Forward {
    let registry = Registry::new();
    let compatible = CompatibleMetrics::new(&registry).unwrap();
    Forward::with_limits(upstream, kind, limits, compatible, &registry).unwrap()
}

struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    fn spooled(&self, kind: UploadKind, name: &str, content: &[u8]) -> SpoolFile {
        let path = self.write(name, content);
        SpoolFile { path, name: SpoolName::parse(kind, name.as_ref()).unwrap() }
    }

    fn run_log(&self, content: &[u8]) -> SpoolFile {
        self.spooled(UploadKind::RunLog, NAME, content)
    }
}

fn is_down(disposition: &Disposition) -> bool {
    matches!(disposition, Disposition::Released(release) if release.outlet_down)
}

const FORWARDED: Disposition = Disposition::Accepted(Outcome::Forwarded);

#[tokio::test(flavor = "multi_thread")]
async fn sends_the_bytes_as_they_are() {
    let (server, files) = (Server::start(false, created).await, Files::new());
    let own = identity();
    let mut upstream = server.upstream();
    upstream.client_identity = Some(IdentityFiles {
        certificate: files.write("cert", &own.0.x509().to_pem().unwrap()),
        key: files.write("key", &private_key::to_pem(&own.1).unwrap()),
    });
    let forward = forward(&upstream, UploadKind::RunLog);
    let large: Vec<u8> = (0..3_000_001_u32).flat_map(|i| [i as u8, (i >> 8) as u8]).collect();
    for content in [&b""[..], b"small \0 bytes", &large[..64 * 1024], &large] {
        assert_eq!(forward.deliver(&files.run_log(content)).await, FORWARDED);
        let seen = server.last();
        assert!(seen.body == content, "{} bytes", content.len());
        assert_eq!(seen.path, format!("/reports/{NAME}"));
        assert_eq!(seen.headers["content-length"], content.len().to_string());
        assert_eq!(seen.headers["host"], server.address.to_string());
        assert_eq!(seen.headers["user-agent"], format!("relayd/{}", env!("CARGO_PKG_VERSION")));
        assert_eq!(seen.headers["authorization"], "Basic cmVsYXk6c2VjcmV0");
        assert_eq!(seen.client, Some(own.0.key_hash()));
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn inventories_have_their_own_paths_and_password() {
    let (server, files) = (Server::start(false, created).await, Files::new());
    for (kind, path, authorization) in [
        (UploadKind::NewInventory, "/inventories/a-b.ocs.gz", "Basic cnVkZGVyOmluaXRpYWw="),
        (UploadKind::InventoryUpdate, "/inventory-updates/a-b.ocs.gz", "Basic cmVsYXk6c2VjcmV0"),
    ] {
        let file = files.spooled(kind, "a-b.ocs.gz", b"x");
        assert_eq!(forward(&server.upstream(), kind).deliver(&file).await, FORWARDED);
        let seen = server.last();
        assert_eq!((seen.path.as_str(), seen.headers["authorization"].as_str()), (path, authorization));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_closed_while_idle_costs_nothing() {
    let (server, files) = (Server::start(true, created).await, Files::new());
    let forward = forward(&server.upstream(), UploadKind::RunLog);
    for pause in [0, 20, 45, 50, 55, 100] {
        assert_eq!(forward.deliver(&files.run_log(b"x")).await, FORWARDED, "{pause}");
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_another_key_gets_nothing() {
    let (server, files) = (Server::start(false, created).await, Files::new());
    let other = files.write("other.pem", &identity().0.x509().to_pem().unwrap());
    let own = files.write("own.pem", &server.certificate.x509().to_pem().unwrap());
    let file = files.run_log(b"secret");
    for trust in [
        UpstreamTrust::Pins(vec![KeyHash::sha256_of(b"other")]),
        UpstreamTrust::Anchors(other.clone()),
        UpstreamTrust::Authorities(None),
    ] {
        let forward = forward(&upstream(server.address, trust), UploadKind::RunLog);
        let disposition = forward.deliver(&file).await;
        assert!(is_down(&disposition), "{disposition:?}");
        assert!(format!("{disposition:?}").contains("not trusted"), "{disposition:?}");
    }
    assert_eq!(server.count(), 0);

    // The right certificate comes with a reload; a broken file changes nothing.
    let forward =
        forward(&upstream(server.address, UpstreamTrust::Anchors(other.clone())), UploadKind::RunLog);
    fs::copy(own, &other).unwrap();
    assert!(is_down(&forward.deliver(&file).await));
    forward.reload().unwrap();
    assert_eq!(forward.deliver(&file).await, FORWARDED);
    fs::write(&other, "no certificate").unwrap();
    assert!(forward.reload().is_err());
    assert_eq!(forward.deliver(&file).await, FORWARDED);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_explained_and_a_vanished_file_is_no_error() {
    let (server, files) = (Server::start(false, |_| (409, vec![], "other content\n")).await, Files::new());
    let forward = forward(&server.upstream(), UploadKind::RunLog);
    match forward.deliver(&files.run_log(b"x")).await {
        Disposition::Rejected(rejection) => {
            assert_eq!(rejection.reason, Reason::UpstreamRefused);
            assert_eq!(rejection.detail, "upstream answered 409 Conflict: other content");
        }
        other => panic!("{other:?}"),
    }
    let file = files.run_log(b"x");
    fs::remove_file(&file.path).unwrap();
    assert_eq!(forward.deliver(&file).await, Disposition::Accepted(Outcome::Vanished));
    std::os::unix::fs::symlink("/etc/passwd", &file.path).unwrap();
    let disposition = forward.deliver(&file).await;
    assert!(matches!(disposition, Disposition::Rejected(r) if r.reason == Reason::NotAFile));
}

#[tokio::test(flavor = "multi_thread")]
async fn black_holes_and_silence_are_noticed() {
    let files = Files::new();
    let short = Duration::from_millis(300);
    let limits = Limits { connect: short, handshake: short, progress: short, idle: short };
    let certificate = identity();
    let acceptor =
        tls::acceptor(&certificate.clone().into(), TlsVersion::V1_3, tls::admit_all(), None).unwrap();
    for (speaks_tls, reads) in [(false, false), (true, false), (true, true)] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = acceptor.clone();
        let server = tokio::spawn(async move {
            let (tcp, _) = listener.accept().await.unwrap();
            if !speaks_tls {
                return std::future::pending::<()>().await;
            }
            let (mut stream, mut buffer) = (accept(tcp, &acceptor).await.unwrap(), [0; 4096]);
            while reads && stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
            std::future::pending().await
        });
        let trust = UpstreamTrust::Pins(vec![certificate.0.key_hash()]);
        let forward = forward_within(&upstream(address, trust), UploadKind::RunLog, limits);
        // Large enough for the buffers on the way not to take it all.
        let file = files.run_log(&vec![7; if reads { 100 } else { 8_000_000 }]);
        let delivered = tokio::time::timeout(Duration::from_secs(300), forward.deliver(&file)).await;
        assert!(is_down(&delivered.unwrap()), "{speaks_tls} {reads}");
        server.abort();
    }
    // Nobody listens; but the port is bound, so that nobody else is given it meanwhile.
    let reserved = TcpSocket::new_v4().unwrap();
    reserved.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = reserved.local_addr().unwrap();
    let forward = forward(&upstream(address, UpstreamTrust::DangerousNone), UploadKind::RunLog);
    assert!(is_down(&forward.deliver(&files.run_log(b"x")).await));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_takes_all_and_says_nothing_is_noticed_soon() {
    let files = Files::new();
    let certificate = identity();
    let acceptor =
        tls::acceptor(&certificate.clone().into(), TlsVersion::V1_3, tls::admit_all(), None).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let mut stream = accept(listener.accept().await.unwrap().0, &acceptor).await.unwrap();
        let mut buffer = vec![0; 64 * 1024];
        while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
    });
    let limits = Limits { progress: Duration::from_millis(500), ..LIMITS };
    let trust = UpstreamTrust::Pins(vec![certificate.0.key_hash()]);
    let forward = forward_within(&upstream(address, trust), UploadKind::RunLog, limits);
    let file = files.run_log(&vec![7; 256 * 1024]);
    // That many bytes may take four minutes while they move.
    let delivered = tokio::time::timeout(Duration::from_secs(30), forward.deliver(&file)).await;
    assert!(is_down(&delivered.unwrap()));
    server.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_cut_at_any_byte_is_no_acceptance_unless_its_status_is_there() {
    const ANSWER: &[u8] = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok";
    let head = ANSWER.len() - 2;
    let certificate = identity();
    let acceptor =
        tls::acceptor(&certificate.clone().into(), TlsVersion::V1_3, tls::admit_all(), None).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let trust = UpstreamTrust::Pins(vec![certificate.0.key_hash()]);
    let (forward, files) =
        (forward(&upstream(listener.local_addr().unwrap(), trust), UploadKind::RunLog), Files::new());
    let file = files.run_log(b"content");
    for cut in 0..=ANSWER.len() {
        let serve = async {
            let (tcp, _) = listener.accept().await.unwrap();
            let mut stream = accept(tcp, &acceptor).await.unwrap();
            let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
            while !request.ends_with(b"content") {
                let read = stream.read(&mut buffer).await.unwrap();
                request.extend_from_slice(&buffer[..read]);
            }
            stream.write_all(&ANSWER[..cut]).await.unwrap();
            // Closed without a TLS farewell.
        };
        let ((), disposition) = tokio::join!(serve, forward.deliver(&file));
        match cut < head {
            true => assert!(is_down(&disposition), "{cut}: {disposition:?}"),
            false => assert_eq!(disposition, FORWARDED, "{cut}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_before_the_end_of_the_body_counts() {
    let certificate = identity();
    let acceptor =
        tls::acceptor(&certificate.clone().into(), TlsVersion::V1_3, tls::admit_all(), None).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let trust = UpstreamTrust::Pins(vec![certificate.0.key_hash()]);
    let (forward, files) =
        (forward(&upstream(listener.local_addr().unwrap(), trust), UploadKind::RunLog), Files::new());
    let file = files.run_log(&vec![7; 8_000_000]);
    let serve = async {
        let (tcp, _) = listener.accept().await.unwrap();
        let mut stream = accept(tcp, &acceptor).await.unwrap();
        let mut buffer = [0; 4096];
        assert!(stream.read(&mut buffer).await.unwrap() > 0);
        let answer = b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(answer).await.unwrap();
        // Reads no more until the client has given up.
        stream
    };
    let (_stream, disposition) = tokio::join!(serve, forward.deliver(&file));
    assert!(matches!(&disposition, Disposition::Rejected(_)), "{disposition:?}");
}

/// A line that delays all bytes in both directions.
async fn slow_line(to: SocketAddr, delay: Duration) -> SocketAddr {
    async fn pump(
        mut from: impl tokio::io::AsyncRead + Unpin + Send + 'static,
        mut to: impl tokio::io::AsyncWrite + Unpin + Send + 'static,
        delay: Duration,
    ) {
        let (sender, mut queue) = mpsc::unbounded_channel::<(tokio::time::Instant, Vec<u8>)>();
        tokio::spawn(async move {
            while let Some((at, bytes)) = queue.recv().await {
                tokio::time::sleep_until(at).await;
                if to.write_all(&bytes).await.is_err() {
                    return;
                }
            }
            let _ = to.shutdown().await;
        });
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            if sender.send((tokio::time::Instant::now() + delay, buffer[..read].to_vec())).is_err() {
                return;
            }
        }
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (near, _) = listener.accept().await.unwrap();
            let far = TcpStream::connect(to).await.unwrap();
            near.set_nodelay(true).unwrap();
            far.set_nodelay(true).unwrap();
            let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
            tokio::spawn(pump(near_read, far_write, delay));
            tokio::spawn(pump(far_read, near_write, delay));
        }
    });
    address
}

fn settings(directory: PathBuf) -> SpoolSettings {
    SpoolSettings {
        directory,
        sweep_every: Some(Duration::from_secs(10)),
        max_file_size: 10_000_000,
        max_in_flight: 256,
        clean_every: Duration::from_secs(3600),
        retention: Duration::from_secs(7 * 86_400),
    }
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(120), async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("waited in vain: {what}"));
}

/// Prints the rate: nothing is asserted about time.
#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_goes_over_a_slow_line_with_many_in_flight() {
    const FILES: usize = 5000;
    let (server, files) = (Server::start(false, created).await, Files::new());
    let line = slow_line(server.address, Duration::from_millis(50)).await;
    let upstream = Upstream { port: line.port(), ..server.upstream() };
    let settings = settings(files.0.path().to_owned());
    let spool = Spool::open(UploadKind::RunLog, &settings, &Registry::new()).unwrap();
    let then = SystemTime::now() - Duration::from_secs(60);
    for i in 0..FILES {
        let path = spool.incoming().join(format!("2024-05-01T02:03:04+00:00@node-{i}.log.gz"));
        fs::write(&path, vec![7; 6000]).unwrap();
        fs::File::options().write(true).open(path).unwrap().set_modified(then).unwrap();
    }
    let (incoming, stop) = (spool.incoming().to_owned(), CancellationToken::new());
    let begun = Instant::now();
    let forward = Arc::new(forward(&upstream, UploadKind::RunLog));
    let running = tokio::spawn(spool.run(forward, stop.clone()));
    until("all forwarded", || server.count() >= FILES).await;
    let rate = FILES as f64 / begun.elapsed().as_secs_f64();
    println!("forwarded {rate:.0} files/s over a line with 50 ms delay each way");
    until("all removed", || fs::read_dir(&incoming).unwrap().next().is_none()).await;
    assert_eq!(server.count(), FILES);
    assert!(server.connections.load(Ordering::SeqCst) <= 256);
    stop.cancel();
    running.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_requests_are_tried_again_when_the_upstream_says() {
    let calls = AtomicUsize::new(0);
    let server = Server::start(false, move |_| match calls.fetch_add(1, Ordering::SeqCst) {
        0 => (429, vec![(header::RETRY_AFTER.as_str(), "1")], "slow down"),
        _ => (204, vec![], ""),
    });
    let (server, files) = (server.await, Files::new());
    let spool =
        Spool::open(UploadKind::RunLog, &settings(files.0.path().to_owned()), &Registry::new()).unwrap();
    let (incoming, stop) = (spool.incoming().to_owned(), CancellationToken::new());
    let forward = Arc::new(forward(&server.upstream(), UploadKind::RunLog));
    let running = tokio::spawn(spool.run(forward, stop.clone()));
    let begun = Instant::now();
    fs::write(incoming.join(NAME), "x").unwrap();
    until("forwarded", || fs::read_dir(&incoming).unwrap().next().is_none()).await;
    assert_eq!(server.count(), 2);
    assert!(begun.elapsed() >= Duration::from_secs(1));
    stop.cancel();
    running.await.unwrap().unwrap();
}
