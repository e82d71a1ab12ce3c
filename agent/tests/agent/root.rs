// SPDX-License-Identifier: Apache-2.0
//! A root that decides about nodes, as far as an agent sees it.

use std::{
    collections::HashMap,
    net::TcpListener,
    sync::{Arc, Mutex},
};

use openssl::{
    asn1::{Asn1Time, Asn1Type},
    bn::BigNum,
    hash::MessageDigest,
    nid::Nid,
    pkey::{PKey, Private},
    x509::{X509, X509Name},
};
use protocol::{
    certificate::Certificate,
    enrolment::{self, Answer, State},
    hash::KeyHash,
    node_id::NodeId,
    private_key::{self, KeyKind},
    smime,
    tls::ServerIdentity,
};

use crate::server::{Request, Server};

/// What the root thinks, for a test to change.
pub struct Mind {
    /// What it answers to whoever asks.
    pub verdict: State,
    /// The token that accepts.
    pub token: Option<String>,
    /// Whose key is whose.
    pub keys: HashMap<KeyHash, NodeId>,
    /// Certificates that run logs are checked with.
    pub certificates: Vec<Certificate>,
    /// New keys are known to the root, and to the policy server only after so many questions.
    pub slow: usize,
    /// Keys announced to clients.
    pub announced: Vec<KeyHash>,
    /// Authority, and validity of what it issues in seconds from now.
    pub authority: Option<(Certificate, PKey<Private>)>,
    pub validity: (i64, i64),
    /// Requests as they were understood.
    pub requests: Vec<enrolment::Request>,
    waiting: HashMap<KeyHash, (NodeId, usize)>,
}

pub struct Root {
    pub server: Server,
    mind: Arc<Mutex<Mind>>,
}

pub fn key() -> (Certificate, PKey<Private>) {
    let key = private_key::generate(KeyKind::P256).unwrap();
    (private_key::self_signed(&key, &NodeId::root()).unwrap(), key)
}

impl Root {
    pub fn start() -> Self {
        let mind = Mind {
            verdict: State::Pending,
            token: None,
            keys: HashMap::new(),
            certificates: vec![],
            slow: 0,
            announced: vec![],
            authority: None,
            validity: (-60, 3600),
            requests: vec![],
            waiting: HashMap::new(),
        };
        Self::serve(TcpListener::bind("127.0.0.1:0").unwrap(), key().into(), Arc::new(Mutex::new(mind)))
    }

    fn serve(listener: TcpListener, identity: ServerIdentity, mind: Arc<Mutex<Mind>>) -> Self {
        let shared = mind.clone();
        let server = Server::on(listener, identity, move |_, request| {
            let mut mind = shared.lock().unwrap();
            let mut said = mind.answer(request);
            let pins: Vec<String> = mind.announced.iter().map(KeyHash::to_string).collect();
            if !pins.is_empty() {
                let header = format!("\r\nRelayd-Server-Pins: {}\r\n\r\n", pins.join(";"));
                said = said.replacen("\r\n\r\n", &header, 1);
            }
            said
        });
        Self { server, mind }
    }

    /// The same root behind another key, on another port.
    pub fn with_key(&self, identity: ServerIdentity) -> Self {
        Self::serve(TcpListener::bind("127.0.0.1:0").unwrap(), identity, self.mind.clone())
    }

    pub fn mind<T>(&self, change: impl FnOnce(&mut Mind) -> T) -> T {
        change(&mut self.mind.lock().unwrap())
    }

    /// Knows a node without having been asked.
    pub fn knows(&self, certificate: &Certificate) {
        self.mind(|mind| mind.know(certificate.node_id().unwrap(), certificate));
    }

    pub fn server_argument(&self) -> String {
        format!("127.0.0.1:{}", self.server.port)
    }

    pub fn seen(&self, start: &str) -> usize {
        self.server.requests().iter().filter(|request| request.line.starts_with(start)).count()
    }
}

impl Mind {
    /// Takes a certificate for one of this node.
    pub fn know(&mut self, node: &NodeId, certificate: &Certificate) {
        self.keys.insert(certificate.key_hash(), node.clone());
        self.certificates.push(certificate.clone());
    }

    fn answer(&mut self, request: &Request) -> String {
        let known = request.client_key.as_ref().and_then(|key| self.keys.get(key)).cloned();
        let target = request.target();
        if let Some(id) = target.strip_prefix("PUT /enrolments/") {
            assert_eq!(request.client, None, "enrolment shows no certificate");
            return self.enrol(id, &request.body);
        }
        if let Some(id) = target.strip_prefix("PUT /keys/") {
            return match known {
                Some(node) if node.as_str() == id => self.roll(&node, &request.body),
                _ => forbidden(),
            };
        }
        if let Some(id) = target.strip_prefix("PUT /certificates/") {
            return match known {
                Some(node) if node.as_str() == id => self.issue(&node, &request.body),
                _ => forbidden(),
            };
        }
        match (target, known) {
            ("GET /identity", known) => self.identity(request, known),
            (_, Some(_)) if target.starts_with("PUT /reports/") => "201 Created\r\n\r\nsaid\n".into(),
            _ => forbidden(),
        }
    }

    fn enrol(&mut self, id: &str, body: &[u8]) -> String {
        let request = enrolment::Request::parse(body).unwrap();
        assert_eq!(request.node_id.as_str(), id);
        let by_token = request.token().is_some() && request.token() == self.token.as_deref();
        let state = if by_token { State::Accepted } else { self.verdict };
        if state == State::Accepted {
            self.know(&request.node_id, request.certificate().expect("it comes along"));
        }
        let said = self.said(state, &request);
        self.requests.push(request);
        said
    }

    fn roll(&mut self, node: &NodeId, body: &[u8]) -> String {
        let signed = smime::verify(body, &self.certificates).unwrap();
        let request = enrolment::Request::parse(signed.text.as_bytes()).unwrap();
        let state = if self.verdict == State::Pending { State::Accepted } else { self.verdict };
        if state == State::Accepted {
            let certificate = request.certificate().unwrap().clone();
            self.certificates.push(certificate);
            self.waiting.insert(request.key_hash.clone(), (node.clone(), self.slow));
        }
        let said = self.said(state, &request);
        self.requests.push(request);
        said
    }

    fn identity(&mut self, request: &Request, known: Option<NodeId>) -> String {
        let Some(key) = request.client_key.clone() else { return forbidden() };
        let mut known = known;
        if let Some((node, left)) = self.waiting.get_mut(&key) {
            if *left == 0 {
                known = Some(node.clone());
                self.keys.insert(key.clone(), node.clone());
                self.waiting.remove(&key);
            } else {
                *left -= 1;
            }
        }
        match known {
            Some(node) => format!(
                "200 OK\r\n\r\n{{\"node_id\":\"{node}\",\"key_hash\":\"{key}\",\"policy_server\":\"root\"}}\n"
            ),
            None => forbidden(),
        }
    }

    fn issue(&mut self, node: &NodeId, body: &[u8]) -> String {
        let request = enrolment::Request::parse(body).unwrap();
        let Some((authority, authority_key)) = &self.authority else {
            return "404 None\r\n\r\nnone\n".into();
        };
        let mut name = X509Name::builder().unwrap();
        name.append_entry_by_nid_with_type(Nid::USERID, node.as_str(), Asn1Type::UTF8STRING).unwrap();
        let now =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64;
        let at = |offset: i64| Asn1Time::from_unix(now + offset).unwrap();
        let mut leaf = X509::builder().unwrap();
        leaf.set_version(2).unwrap();
        let mut serial = BigNum::new().unwrap();
        serial.rand(64, openssl::bn::MsbOption::ONE, false).unwrap();
        leaf.set_serial_number(&serial.to_asn1_integer().unwrap()).unwrap();
        leaf.set_subject_name(&name.build()).unwrap();
        leaf.set_issuer_name(authority.x509().subject_name()).unwrap();
        leaf.set_not_before(&at(self.validity.0)).unwrap();
        leaf.set_not_after(&at(self.validity.1)).unwrap();
        leaf.set_pubkey(&request.public_key().unwrap()).unwrap();
        leaf.sign(authority_key, MessageDigest::sha256()).unwrap();
        let chain = [leaf.build().to_pem().unwrap(), authority.to_pem()].concat();
        format!("200 OK\r\n\r\n{}", String::from_utf8(chain).unwrap())
    }

    fn said(&self, state: State, request: &enrolment::Request) -> String {
        let answer = Answer {
            state,
            node_id: request.node_id.clone(),
            key_hash: request.key_hash.clone(),
            detail: "so it is".into(),
            retry_after: (state == State::Pending).then_some(1),
            has_ca: self.authority.is_some(),
        };
        format!("{} Said\r\n\r\n{}", state.status(), String::from_utf8(answer.to_json()).unwrap())
    }
}

fn forbidden() -> String {
    "403 Forbidden\r\n\r\nwho are you?\n".into()
}
