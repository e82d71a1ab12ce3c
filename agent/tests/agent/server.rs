// SPDX-License-Identifier: Apache-2.0
//! A policy server that answers uploads as a test tells it, over real TLS.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    sync::{Arc, Mutex, atomic::AtomicUsize, atomic::Ordering},
    thread,
};

use protocol::{
    certificate::Certificate,
    hash::KeyHash,
    node_id::NodeId,
    private_key::{self, KeyKind},
    tls::{self, ServerIdentity, TlsVersion},
};

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Request {
    pub line: String,
    pub headers: Vec<String>,
    pub body: Vec<u8>,
    /// The node named by the client's certificate.
    pub client: Option<NodeId>,
    /// Its key.
    pub client_key: Option<KeyHash>,
}

impl Request {
    /// Method and path.
    pub fn target(&self) -> &str {
        self.line.trim_end_matches(" HTTP/1.1")
    }
}

pub struct Server {
    pub port: u16,
    pub pin: KeyHash,
    requests: Arc<Mutex<Vec<Request>>>,
    pub connections: Arc<AtomicUsize>,
}

/// Status line and headers of an answer, and its body after an empty line, for the n-th request (from 0).
pub type Answer = dyn Fn(usize, &Request) -> String + Send + Sync;

impl Server {
    /// A server with a new key.
    pub fn start(answer: impl Fn(usize, &Request) -> String + Send + Sync + 'static) -> Self {
        let key = private_key::generate(KeyKind::P256).unwrap();
        let certificate = private_key::self_signed(&key, &NodeId::root()).unwrap();
        Self::with_identity((certificate, key), answer)
    }

    pub fn with_identity(
        identity: impl Into<ServerIdentity>,
        answer: impl Fn(usize, &Request) -> String + Send + Sync + 'static,
    ) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), identity.into(), answer)
    }

    /// On a port that is taken already.
    pub fn on(
        listener: TcpListener,
        identity: ServerIdentity,
        answer: impl Fn(usize, &Request) -> String + Send + Sync + 'static,
    ) -> Self {
        let server = Self {
            port: listener.local_addr().unwrap().port(),
            pin: identity.certificate().key_hash(),
            requests: Arc::default(),
            connections: Arc::default(),
        };
        let acceptor = tls::acceptor(&identity, TlsVersion::V1_3, tls::admit_all(), None).unwrap();
        let (requests, connections) = (server.requests.clone(), server.connections.clone());
        let answer: Arc<Answer> = Arc::new(answer);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let Ok(stream) = acceptor.accept(stream) else { continue };
                connections.fetch_add(1, Ordering::SeqCst);
                let (requests, answer) = (requests.clone(), answer.clone());
                thread::spawn(move || serve(stream, &requests, &*answer));
            }
        });
        server
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

fn serve(
    stream: openssl::ssl::SslStream<std::net::TcpStream>,
    requests: &Mutex<Vec<Request>>,
    answer: &Answer,
) {
    let certificate = stream.ssl().peer_certificate().and_then(|x509| Certificate::new(x509).ok());
    let mut stream = BufReader::new(stream);
    while let Some(request) = read(&mut stream, certificate.as_ref()) {
        // As servers that know nothing of runs. Who asks them has tests of its own, against a real one.
        if request.line.starts_with("GET /triggers") {
            let _ = stream.get_mut().write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
            continue;
        }
        let number = {
            let mut requests = requests.lock().unwrap();
            requests.push(request.clone());
            requests.len() - 1
        };
        let said = answer(number, &request);
        let (head, body) = said.split_once("\r\n\r\n").unwrap_or((&said, "said\n"));
        let response = format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        if stream.get_mut().write_all(response.as_bytes()).is_err() {
            return;
        }
    }
}

fn read(stream: &mut impl BufRead, client: Option<&Certificate>) -> Option<Request> {
    let mut lines = vec![];
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let header = |name: &str| {
        lines.iter().find_map(|l| l.to_lowercase().strip_prefix(name).map(|value| value.trim().to_owned()))
    };
    let length = header("content-length:").map_or(Some(0), |length| length.parse().ok())?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    let line = lines.remove(0);
    Some(Request {
        line,
        headers: lines,
        body,
        client: client.and_then(|certificate| certificate.node_id().cloned()),
        client_key: client.map(Certificate::key_hash),
    })
}
