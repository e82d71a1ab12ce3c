// SPDX-License-Identifier: Apache-2.0
//! One request: who asks, by which rule, who deals with it, and the one line that is logged about a
//! refusal.

use std::{
    fmt,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::Utc;
use http_body_util::BodyExt;
use hyper::{
    Method, Request, Response,
    body::{Body as _, Incoming},
    header::{EXPECT, HeaderMap, TRANSFER_ENCODING},
};
use protocol::{headers::SERVER_PINS, node_id::NodeId};
use tokio_util::sync::CancellationToken;

use super::{
    KnowsUpstream,
    access::{self, Asked, Subject},
    answer::{Answer, Identity, Refusal, close_after},
    client::{Client, Peer},
    enrolment::{IdentityRequest, IdentityRequests},
    guarded_io::Activity,
    metrics::{Counting, GatewayMetrics},
    open::OpenConnections,
    rate::{Counted, Rates},
    route::{CallRoute, Route, UploadName},
    rules::{self, Purpose, Rule, Who},
    seen::Seen,
    throttle::Throttle,
    tls::Acceptor,
    uploads::{OpenDoor, UploadCount, Uploads},
};
use crate::{
    config::ClientTrust,
    http::{
        self, Body, Call, Caller, Services, content_length,
        request_id::{self, REQUEST_ID},
    },
    nodes::{NodeTable, Nodes},
    registry::{Contact, Contacts},
    tree,
};

/// A refused body of up to this length is read over, so that the connection can be used again.
const WORTH_SKIPPING: u64 = 8 * 1024;

/// How often a client may ask for its nodes: often enough to hear of each change by itself.
const READS_PER_MINUTE: u32 = 600;

/// What answers requests.
pub struct Service {
    own_id: NodeId,
    nodes: Nodes,
    trust: ClientTrust,
    connections: Arc<OpenConnections>,
    acceptor: Arc<Acceptor>,
    uploads: Uploads,
    identity_requests: IdentityRequests,
    contacts: Option<Contacts>,
    services: Services,
    upstream: Option<KnowsUpstream>,
    tree: tree::Server,
    reads: Rates,
    metrics: GatewayMetrics,
    put_off: Throttle,
    refused: Throttle,
    handshakes: Throttle,
}

/// What was let in.
enum Admitted<'a> {
    Uuid,
    Upload(&'a OpenDoor, UploadName, UploadCount),
    Identity(IdentityRequest),
    Tree(NodeId),
    WhoAmI(Identity),
    Call(Arc<dyn http::Service>, Caller, CallRoute),
}

impl Service {
    /// From its handles.
    pub fn new(
        own_id: &NodeId,
        nodes: Nodes,
        trust: ClientTrust,
        acceptor: Arc<Acceptor>,
        uploads: Uploads,
        identity_requests: IdentityRequests,
        metrics: GatewayMetrics,
    ) -> Self {
        let closed = metrics.revoked_connections.clone();
        Self {
            own_id: own_id.clone(),
            connections: Arc::new(OpenConnections::new(nodes.clone(), trust.clone(), closed)),
            tree: tree::Server::new(nodes.clone()),
            reads: Rates::new(READS_PER_MINUTE),
            nodes,
            trust,
            acceptor,
            uploads,
            identity_requests,
            contacts: None,
            services: Services::default(),
            upstream: None,
            metrics,
            put_off: Throttle::new(Duration::from_millis(100)),
            refused: Throttle::with_burst(Duration::from_millis(100), 100),
            handshakes: Throttle::new(Duration::from_secs(1)),
        }
    }

    /// The same, telling `contacts` of which nodes it has heard.
    pub fn telling(self, contacts: Option<Contacts>) -> Self {
        Self { contacts, ..self }
    }

    /// The same, with what else answers requests.
    pub fn calling(self, services: Services) -> Self {
        Self { services, ..self }
    }

    /// The same, knowing the server above by its key.
    pub fn below(self, upstream: Option<KnowsUpstream>) -> Self {
        Self { upstream, ..self }
    }

    /// What is counted.
    pub fn metrics(&self) -> &GatewayMetrics {
        &self.metrics
    }

    /// The connections of nodes.
    pub fn connections(&self) -> &Arc<OpenConnections> {
        &self.connections
    }

    /// Counts and logs a handshake that did not succeed.
    pub fn handshake_failed(&self, peer: SocketAddr, error: &dyn fmt::Display) {
        self.metrics.tls_failures.inc();
        if let Some(held_back) = self.handshakes.pass() {
            tracing::info!(%peer, %error, held_back, "TLS handshake failed");
        }
    }

    /// Counts and logs a connection that was closed because it was no proper HTTP.
    pub fn malformed(&self, peer: SocketAddr) {
        self.metrics.malformed.inc();
        if let Some(held_back) = self.handshakes.pass() {
            tracing::warn!(%peer, held_back, "malformed HTTP request, connection closed");
        }
    }

    /// Answers a request; one that waits for news stops waiting at `stop`.
    pub async fn answer(
        &self,
        peer: &Peer,
        request: Request<Incoming>,
        activity: &Activity,
        stop: &CancellationToken,
    ) -> Response<Body> {
        let id = request_id::of(request.headers());
        let answer = self.answer_known(peer, request, activity, stop);
        let mut response = request_id::within(id.clone(), answer).await;
        response.headers_mut().insert(REQUEST_ID, id);
        response
    }

    async fn answer_known(
        &self,
        peer: &Peer,
        request: Request<Incoming>,
        activity: &Activity,
        stop: &CancellationToken,
    ) -> Response<Body> {
        let (start, is_head) = (Instant::now(), request.method() == Method::HEAD);
        let must_close = closes_when_refused(request.headers());
        let mut seen = Seen::default();
        let mut response = match self.try_answer(peer, request, &mut seen, stop).await {
            Ok(answer) => {
                let may_be_unread = matches!(answer, Answer::Served(_));
                let mut response = answer.into_response();
                let refused = response.status().is_client_error() || response.status().is_server_error();
                if may_be_unread && refused && must_close {
                    close_after(&mut response);
                    activity.leave_unread();
                }
                response
            }
            Err(refusal) => {
                self.log(peer, &seen, &refusal);
                let mut response = refusal.into_response();
                if must_close {
                    close_after(&mut response);
                    activity.leave_unread();
                }
                response
            }
        };
        if let (Some(Client::Node(_)), Some(pins)) = (&seen.client, self.acceptor.announced_pins()) {
            response.headers_mut().insert(SERVER_PINS, pins);
        }
        let status = response.status();
        self.metrics.requests.with_label_values(&[seen.label(), status.as_str()]).inc();
        self.metrics
            .request_seconds
            .with_label_values(&[seen.label()])
            .observe(start.elapsed().as_secs_f64());
        if !is_head && let Some(length) = response.body().size_hint().exact() {
            self.metrics.sent_bytes.inc_by(length);
        }
        response
    }

    async fn try_answer(
        &self,
        peer: &Peer,
        request: Request<Incoming>,
        seen: &mut Seen,
        stop: &CancellationToken,
    ) -> Result<Answer, Refusal> {
        match self.admit(peer, &request, seen)? {
            Admitted::Uuid => Ok(Answer::Text(format!("{}\n", self.own_id).into())),
            Admitted::Upload(door, name, counted) => {
                // Boxed, as are the others: those who wait for news need not have room for an upload.
                Box::pin(self.uploads.take(door, &name, counted, peer, request.into_body())).await
            }
            Admitted::Identity(about) => {
                let node = about.node().clone();
                let answer = Box::pin(self.identity_requests.take(about, request.into_body())).await?;
                if answer.is_to_known_node() {
                    self.heard_of(node);
                }
                Ok(answer)
            }
            Admitted::Tree(node) => {
                self.reads.count(Counted::Node(node.clone()), 1).map_err(Refusal::TooOften)?;
                self.heard_of(node.clone());
                let _counting = Counting::one(&self.metrics.waiting);
                let ask = tree::Ask::read(request.uri().query(), request.headers());
                Ok(Answer::Tree(Box::pin(self.tree.answer(&node, &ask, stop)).await))
            }
            Admitted::WhoAmI(identity) => Ok(Answer::Identity(identity)),
            Admitted::Call(service, caller, CallRoute { rest, .. }) => {
                if let Caller::Node(node) = &caller
                    && peer.is_news(Utc::now())
                {
                    self.heard_of(node.clone());
                }
                let call = call(request, caller, rest, stop.clone());
                Ok(Answer::Served(service.answer(call).await))
            }
        }
    }

    fn heard_of(&self, node: NodeId) {
        if let Some(contacts) = &self.contacts {
            contacts.note(Contact::request(node));
        }
    }

    /// Whether this may be asked, by the newest table. That is not kept: a body may take long, and news
    /// longer.
    fn admit(
        &self,
        peer: &Peer,
        request: &Request<Incoming>,
        seen: &mut Seen,
    ) -> Result<Admitted<'_>, Refusal> {
        let (rule, route) = Route::parse(request.method(), request.uri().path())?;
        let table = self.nodes.borrow().clone();
        let client = peer.client(&table, &self.trust);
        let client = self.upstream_by_key(rule, peer, &table, &client).unwrap_or(client);
        let client = &*seen.client.insert(client);
        let by_authority = matches!(self.trust, ClientTrust::Authority { .. });
        let mut asked =
            Asked { rule, peer, client, table: &table, password: None, by_authority, own_id: &self.own_id };
        Ok(match route {
            Route::Uuid => {
                seen.rule = Some(rule);
                access::check(&asked, Subject::Nothing)?;
                Admitted::Uuid
            }
            Route::Upload(kind, name) => {
                let door = self.uploads.door(kind)?;
                seen.rule = Some(rule);
                asked.password = self.uploads.password(kind, request.headers());
                access::check_identity(&asked)?;
                let name = &*seen.name.insert(UploadName::parse(kind, &name)?);
                access::check(&asked, Subject::File(name))?;
                let length = door.length(request.headers())?;
                Admitted::Upload(door, name.clone(), self.uploads.counted(name, length, &asked))
            }
            Route::Identity(kind, node) => {
                self.identity_requests.check_open(kind)?;
                seen.rule = Some(rule);
                let node = &*seen.node.insert(node);
                access::check(&asked, Subject::Node(node))?;
                Admitted::Identity(self.identity_requests.admit(kind, node, &asked, request.headers())?)
            }
            Route::Tree => {
                seen.rule = Some(rule);
                access::check(&asked, Subject::Nothing)?;
                let Client::Node(node) = client else { return Err(Refusal::NotFound) };
                Admitted::Tree(node.clone())
            }
            Route::WhoAmI => {
                seen.rule = Some(rule);
                access::check(&asked, Subject::Nothing)?;
                Admitted::WhoAmI(identity(&asked)?)
            }
            Route::Call(called) => {
                let service = self.services.get(called.kind).ok_or(Refusal::NotFound)?.clone();
                seen.rule = Some(rule);
                seen.node.clone_from(&called.node);
                access::check(&asked, called.node.as_ref().map_or(Subject::Nothing, Subject::Node))
                    .map_err(|refusal| called.hidden(client, refusal))?;
                let caller = match client {
                    Client::Node(node) => Caller::Node(node.clone()),
                    _ => Caller::Anonymous(peer.address),
                };
                Admitted::Call(service, caller, called)
            }
        })
    }

    /// The server above, where it may call a service and is not on the list: a relay behind another one
    /// hears of itself, of what is below it, and of the root (protocol 5.1).
    fn upstream_by_key(
        &self,
        rule: &Rule,
        peer: &Peer,
        table: &NodeTable,
        client: &Client,
    ) -> Option<Client> {
        let is_open = matches!(rule.purpose, Purpose::Call(_)) && rule.who.contains(&Who::Upstream);
        let is_stranger = matches!(client, Client::Unknown | Client::Certified);
        let above = &table.list().get(&self.own_id)?.policy_server;
        if !is_open || !is_stranger || table.knows(above) {
            return None;
        }
        let knows = self.upstream.as_ref()?;
        peer.certificate().is_some_and(|certificate| knows(certificate)).then(|| Client::Node(above.clone()))
    }

    fn log(&self, peer: &Peer, seen: &Seen, refusal: &Refusal) {
        // Who asks who it is, asks whether it would be let in: "no" is an answer.
        if seen.rule.is_none_or(|rule| rule.purpose == Purpose::WhoAmI) {
            tracing::debug!(peer = %peer.address, status = refusal.status().as_u16(), "request refused");
            return;
        }
        // Whoever floods, with or without an identity, or a full disk, must not fill the log as well.
        let throttle = if refusal.is_temporary() { &self.put_off } else { &self.refused };
        let Some(held_back) = throttle.pass() else { return };
        seen.refused(peer, refusal, held_back);
    }
}

/// Nothing else is left of the request, above all no path: it would keep the buffer that it was read into
/// for as long as the call is answered.
fn call(request: Request<Incoming>, caller: Caller, rest: String, stop: CancellationToken) -> Call {
    let (head, body) = request.into_parts();
    Call {
        caller,
        path: rules::single_slash(head.uri.path()).to_owned(),
        rest,
        query: head.uri.query().map(str::to_owned),
        method: head.method,
        headers: head.headers,
        body: body.map_err(Into::into).boxed(),
        stop,
    }
}

fn identity(asked: &Asked<'_>) -> Result<Identity, Refusal> {
    let nobody = || Refusal::Unauthenticated { basic: false };
    let (Client::Node(node), Some(certificate)) = (asked.client, asked.peer.certificate()) else {
        return Err(nobody());
    };
    let entry = asked.table.list().get(node).ok_or_else(nobody)?;
    let (key_hash, policy_server) = (certificate.key_hash(), entry.policy_server.clone());
    Ok(Identity { node_id: node.clone(), key_hash, policy_server })
}

/// Whether a refused body is too long to be read over. A client that waits for `100` has not
/// sent it, and may or may not when it gets another answer.
fn closes_when_refused(headers: &HeaderMap) -> bool {
    let length = content_length(headers).unwrap_or(0);
    headers.contains_key(TRANSFER_ENCODING) || headers.contains_key(EXPECT) || length > WORTH_SKIPPING
}
