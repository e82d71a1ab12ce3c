// SPDX-License-Identifier: Apache-2.0
//! A policy server that answers uploads, or questions for policies, as a test tells it, over real TLS.

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
    inventories: Arc<Inventories>,
    pub connections: Arc<AtomicUsize>,
}

/// Inventories come beside everything else, so they are shown apart, and answered well unless a test says how.
#[derive(Default)]
struct Inventories {
    requests: Mutex<Vec<Request>>,
    answers: Mutex<std::collections::VecDeque<String>>,
}

/// Head and body of an answer to a question for policies.
pub type Policies = dyn Fn(&Request) -> (String, Vec<u8>) + Send + Sync;

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

    /// One that has policies; everything else is not there.
    pub fn with_policies(policies: impl Fn(&Request) -> (String, Vec<u8>) + Send + Sync + 'static) -> Self {
        let key = private_key::generate(KeyKind::P256).unwrap();
        let certificate = private_key::self_signed(&key, &NodeId::root()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Self::listen(
            listener,
            (certificate, key).into(),
            |_, _| "404 Not Found".into(),
            Some(Arc::new(policies)),
        )
    }

    /// On a port that is taken already. It has no policies: questions for them are neither shown nor counted.
    pub fn on(
        listener: TcpListener,
        identity: ServerIdentity,
        answer: impl Fn(usize, &Request) -> String + Send + Sync + 'static,
    ) -> Self {
        Self::listen(listener, identity, answer, None)
    }

    fn listen(
        listener: TcpListener,
        identity: ServerIdentity,
        answer: impl Fn(usize, &Request) -> String + Send + Sync + 'static,
        policies: Option<Arc<Policies>>,
    ) -> Self {
        let server = Self {
            port: listener.local_addr().unwrap().port(),
            pin: identity.certificate().key_hash(),
            requests: Arc::default(),
            inventories: Arc::default(),
            connections: Arc::default(),
        };
        let acceptor = tls::acceptor(&identity, TlsVersion::V1_3, tls::admit_all(), None).unwrap();
        let (requests, connections) = (server.requests.clone(), server.connections.clone());
        let inventories = server.inventories.clone();
        let answer: Arc<Answer> = Arc::new(answer);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let Ok(stream) = acceptor.accept(stream) else { continue };
                let (connections, requests) = (connections.clone(), requests.clone());
                let (answer, policies) = (answer.clone(), policies.clone());
                let inventories = inventories.clone();
                thread::spawn(move || {
                    serve(stream, &connections, (&requests, &inventories), &*answer, policies.as_deref());
                });
            }
        });
        server
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// Requests about inventories: for the node id of the server, and uploads.
    pub fn inventories(&self) -> Vec<Request> {
        self.inventories.requests.lock().unwrap().clone()
    }

    /// Status lines for the next of them.
    pub fn answer_inventories(&self, answers: &[&str]) {
        let answers = answers.iter().map(|answer| (*answer).to_owned());
        self.inventories.answers.lock().unwrap().extend(answers);
    }
}

fn serve(
    stream: openssl::ssl::SslStream<std::net::TcpStream>,
    connections: &AtomicUsize,
    (requests, inventories): (&Mutex<Vec<Request>>, &Inventories),
    answer: &Answer,
    policies: Option<&Policies>,
) {
    let certificate = stream.ssl().peer_certificate().and_then(|x509| Certificate::new(x509).ok());
    let mut stream = BufReader::new(stream);
    let mut counted = false;
    while let Some(request) = read(&mut stream, certificate.as_ref()) {
        // As servers that know nothing of runs. Who asks them has tests of its own, against a real one.
        if request.line.starts_with("GET /triggers") {
            let _ = stream.get_mut().write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
            continue;
        }
        if ["GET /uuid ", "PUT /inventor"].iter().any(|part| request.line.starts_with(part)) {
            let told = inventories.answers.lock().unwrap().pop_front();
            let is_question = request.line.starts_with("GET ");
            inventories.requests.lock().unwrap().push(request);
            let good = if is_question { "200 OK" } else { "201 Created" };
            let body = if is_question { "root\n" } else { "" };
            let head = told.unwrap_or_else(|| good.to_owned());
            let said = format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            let _ = stream.get_mut().write_all(said.as_bytes());
            continue;
        }
        let is_policies = ["/policies/", "/common/"].iter().any(|part| request.line.contains(part));
        let mut number = 0;
        if !is_policies || policies.is_some() {
            if !std::mem::replace(&mut counted, true) {
                connections.fetch_add(1, Ordering::SeqCst);
            }
            let mut requests = requests.lock().unwrap();
            requests.push(request.clone());
            number = requests.len() - 1;
        }
        let (head, body) = match policies {
            Some(policies) if is_policies => policies(&request),
            None if is_policies => ("404 Not Found".to_owned(), vec![]),
            _ => {
                let said = answer(number, &request);
                let (head, body) = said.split_once("\r\n\r\n").unwrap_or((&said, "said\n"));
                (head.to_owned(), body.as_bytes().to_vec())
            }
        };
        let length = match head.starts_with("304") || head.to_lowercase().contains("content-length:") {
            true => String::new(),
            false => format!("Content-Length: {}\r\n", body.len()),
        };
        let head = format!("HTTP/1.1 {head}\r\n{length}\r\n");
        let body = if request.line.starts_with("HEAD ") { vec![] } else { body };
        if stream.get_mut().write_all(&[head.into_bytes(), body].concat()).is_err() {
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
