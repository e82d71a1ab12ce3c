// SPDX-License-Identifier: Apache-2.0
//! A server above a relay that does what it is told, and what a relay needs to reach it.

use std::{
    convert::Infallible,
    io,
    net::{Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU8, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    HeaderMap, Method, Request, Response,
    body::{Frame, Incoming},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use openssl::ssl::Ssl;
use prometheus::Registry;
use protocol::{
    certificate::Certificate,
    hash::KeyHash,
    node_id::NodeId,
    private_key::{self, KeyKind},
    tls::{self, ClientIdentity, TlsVersion},
};
use relayd::{
    config::{self, IdentityFiles, LocalAddress, Upstream, UpstreamTrust},
    nodes::Nodes,
    tree,
    upstream::UpstreamClient,
};
use tempfile::TempDir;
use tokio::net::{TcpSocket, TcpStream};
use tokio_openssl::SslStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub const SOON: Duration = Duration::from_secs(20);

pub fn id(id: &str) -> NodeId {
    id.parse().unwrap()
}

pub fn identity(node: &str) -> ClientIdentity {
    let key = private_key::generate(KeyKind::P256).unwrap();
    (private_key::self_signed(&key, &id(node)).unwrap(), key)
}

/// An address of this machine that no other server of the tests has, nor any client.
fn own_address() -> Ipv4Addr {
    static NUMBER: AtomicU8 = AtomicU8::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, NUMBER.fetch_add(1, Ordering::Relaxed).clamp(1, 254), high, low)
}

/// What a request was.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: Method,
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// By the name in the certificate: good enough here.
    pub client: Option<NodeId>,
}

/// What to do with a request.
pub enum Act {
    /// Answers this.
    Say(Response<Full<Bytes>>),
    /// Answers this, but breaks off after that many bytes of the body.
    Cut(Response<Full<Bytes>>, usize),
    /// Answers with a body that comes in its own time.
    Stream(Response<UnsyncBoxBody<Bytes, io::Error>>),
    /// Tells of the nodes below the client.
    Tell(Arc<tree::Server>),
    /// Answers and closes the connection a moment later, without saying so.
    HangUp(Response<Full<Bytes>>),
    /// Says nothing.
    Silence,
}

type Behaviour = Box<dyn Fn(&Seen) -> Act + Send>;

/// A server above a relay. What it does can be changed while it runs.
pub struct Server {
    pub address: SocketAddr,
    pub identity: ClientIdentity,
    pub connections: AtomicUsize,
    act: Mutex<Behaviour>,
    seen: Mutex<Vec<Seen>>,
    stop: CancellationToken,
    tasks: TaskTracker,
    /// Keeps the port after the end, for who begins again where this one was.
    _reserved: TcpSocket,
}

impl Server {
    pub async fn start(act: impl Fn(&Seen) -> Act + Send + 'static) -> Arc<Self> {
        Self::start_at((own_address(), 0).into(), identity("root"), act).await
    }

    /// Begins where another one was. Nobody else has taken the port meanwhile: the address is its own.
    pub async fn start_at(
        address: SocketAddr,
        identity: ClientIdentity,
        act: impl Fn(&Seen) -> Act + Send + 'static,
    ) -> Arc<Self> {
        let reserved = bound(address);
        let address = reserved.local_addr().unwrap();
        let listener = bound(address).listen(1024).unwrap();
        let acceptor =
            tls::acceptor(&identity.clone().into(), TlsVersion::V1_3, tls::admit_all(), None).unwrap();
        let server = Arc::new(Self {
            address,
            identity,
            connections: AtomicUsize::new(0),
            act: Mutex::new(Box::new(act)),
            seen: Mutex::default(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            _reserved: reserved,
        });
        let (accepting, tasks) = (server.clone(), server.tasks.clone());
        tasks.spawn(accepting.stop.clone().run_until_cancelled_owned(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let ssl = Ssl::new(acceptor.context()).unwrap();
                let serving = accepting.clone().serve(tcp, ssl);
                accepting.tasks.spawn(accepting.stop.clone().run_until_cancelled_owned(serving));
            }
        }));
        server
    }

    pub fn act(&self, act: impl Fn(&Seen) -> Act + Send + 'static) {
        *self.act.lock().unwrap() = Box::new(act);
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Ends, connections included.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    async fn serve(self: Arc<Self>, tcp: TcpStream, ssl: Ssl) {
        let mut stream = SslStream::new(ssl, tcp).unwrap();
        if Pin::new(&mut stream).accept().await.is_err() {
            return;
        }
        self.connections.fetch_add(1, Ordering::SeqCst);
        let client = stream.ssl().peer_certificate();
        let client = client.and_then(|x509| Certificate::new(x509).unwrap().node_id().cloned());
        let hang_up = CancellationToken::new();
        let service = service_fn(|request| self.clone().handle(request, client.clone(), hang_up.clone()));
        let http = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        let hang_up = async {
            hang_up.cancelled().await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        tokio::select! { _ = http => {}, () = hang_up => {} }
    }

    async fn handle(
        self: Arc<Self>,
        request: Request<Incoming>,
        client: Option<NodeId>,
        hang_up: CancellationToken,
    ) -> Result<Response<UnsyncBoxBody<Bytes, io::Error>>, Infallible> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map_or_else(|_| Bytes::new(), |body| body.to_bytes());
        let (method, path, headers) = (head.method, head.uri.to_string(), head.headers);
        let seen = Seen { method, path, headers, body, client };
        let act = {
            // Held first: what is seen before the behaviour is changed has met the old one.
            let act = self.act.lock().unwrap();
            self.seen.lock().unwrap().push(seen.clone());
            act(&seen)
        };
        let whole = |response: Response<Full<Bytes>>| {
            response.map(|body| body.map_err(|never| match never {}).boxed_unsync())
        };
        Ok(match act {
            Act::Say(response) => whole(response),
            Act::HangUp(response) => {
                hang_up.cancel();
                whole(response)
            }
            Act::Tell(tree) => {
                let client = seen.client.expect("a certificate");
                let ask = tree::Ask::read(head.uri.query(), &seen.headers);
                tree.answer(&client, &ask, &self.stop).await.into_response().map(BodyExt::boxed_unsync)
            }
            Act::Cut(response, after) => {
                let (head, body) = response.into_parts();
                let start = body.collect().await.unwrap().to_bytes().slice(..after);
                let frames = [Ok(Frame::data(start)), Err(io::Error::other("cut"))];
                Response::from_parts(head, StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync())
            }
            Act::Stream(response) => response,
            Act::Silence => std::future::pending().await,
        })
    }
}

/// A socket that has this address: no other program is given its port, and those who try to connect are refused
/// until one of them listens.
fn bound(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap();
    socket
}

/// A relay's directory, with its certificate and key.
pub struct Relay {
    pub directory: TempDir,
    pub id: NodeId,
    identity: ClientIdentity,
}

impl Relay {
    pub fn new(node: &str) -> Self {
        let relay = Self { directory: tempfile::tempdir().unwrap(), id: id(node), identity: identity(node) };
        let files = relay.files();
        std::fs::write(&files.certificate, relay.identity.0.x509().to_pem().unwrap()).unwrap();
        std::fs::write(&files.key, &private_key::to_pem(&relay.identity.1).unwrap()[..]).unwrap();
        relay
    }

    pub fn files(&self) -> IdentityFiles {
        let path = self.directory.path();
        IdentityFiles { certificate: path.join("agent.cert"), key: path.join("agent.key") }
    }

    pub fn general(&self) -> config::General {
        config::General {
            node_id: self.id.clone(),
            nodes_list_file: self.directory.path().join("lib/nodeslist.json"),
            nodes_certs_file: self.directory.path().join("certs.pem"),
            listen: LocalAddress::Unix("/none".into()),
            core_threads: 1,
            blocking_threads: 1,
            shutdown_grace: Duration::ZERO,
        }
    }

    pub fn key_hash(&self) -> KeyHash {
        self.identity.0.key_hash()
    }

    pub fn upstream(&self, server: &Server) -> Upstream {
        self.upstream_at(server.address, server.identity.0.key_hash())
    }

    pub fn upstream_at(&self, address: SocketAddr, pin: KeyHash) -> Upstream {
        Upstream {
            host: address.ip().to_string(),
            port: address.port(),
            user: "relay".into(),
            password: None,
            default_password: "initial".to_owned().into(),
            trust: UpstreamTrust::Pins(vec![pin]),
            client_identity: Some(self.files()),
            idle_timeout: Duration::from_secs(2),
            oldest_tls: TlsVersion::V1_3,
            proxy: protocol::proxy::ProxyRule::None,
        }
    }

    pub fn client(&self, server: &Server) -> Arc<UpstreamClient> {
        Self::client_of(&self.upstream(server))
    }

    pub fn client_of(upstream: &Upstream) -> Arc<UpstreamClient> {
        Arc::new(UpstreamClient::new(upstream, &Registry::new()).unwrap())
    }
}

/// Waits until the table is as it should be.
pub async fn until(nodes: &mut Nodes, what: &str, right: impl Fn(&[String]) -> bool) -> Vec<String> {
    let begun = Instant::now();
    loop {
        let names = names(nodes);
        if right(&names) {
            return names;
        }
        let left = SOON.saturating_sub(begun.elapsed());
        let changed = tokio::time::timeout(left, nodes.changed()).await;
        assert!(matches!(changed, Ok(Ok(()))), "{what}: {names:?}");
    }
}

/// The nodes in the table, sorted.
pub fn names(nodes: &mut Nodes) -> Vec<String> {
    let table = nodes.borrow_and_update().clone();
    let mut names: Vec<String> = table.list().iter().map(|(node, _)| node.to_string()).collect();
    names.sort();
    names
}
