// SPDX-License-Identifier: Apache-2.0
//! New nodes, new keys, certificates: read within bounds, then handed to whoever decides.
//!
//! ```text
//! node ─▶ relay ─▶ … ─▶ root
//!     place, address, hops  registry
//! ```
//! The first relay, to which the node itself talks, says where the node is and from which address it asks;
//! those above pass that on. It is believed only of a relay that is that one, or has it below.

use std::{fmt, net::IpAddr, str::FromStr, sync::Arc, time::Duration};

use bytes::Bytes;
use hyper::{
    Method, StatusCode,
    body::Incoming,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};
use protocol::{
    enrolment,
    headers::{self, CLIENT_ADDRESS, HOPS, POLICY_SERVER},
    limits,
    node_id::NodeId,
    urls::IdentityKind,
};
use tokio::{
    sync::{Semaphore, SemaphorePermit, watch},
    time::timeout,
};

use super::{
    access::Asked,
    answer::{Answer, Refusal},
    body::read_whole,
    client::Client,
    rate::{Counted, Rates, Weights},
};
use crate::{
    http::announced_length,
    registry::{Registry, RegistryError},
    upstream::{MOST_PASSING, Passed, UpstreamClient},
};

/// Who decides about nodes and keys.
#[derive(Clone, Default)]
pub enum Enrolment {
    /// Another program: nothing of this is answered.
    #[default]
    Off,
    /// The registry of this root.
    Here(Registry),
    /// The server above.
    Upstream(Arc<UpstreamClient>),
}

/// Takes in what nodes want for their identity.
pub struct IdentityRequests {
    decides: Enrolment,
    takes_newcomers: bool,
    newcomers: Intake,
    /// Keys and certificates of nodes that are known: newcomers must not use up what is theirs.
    known: Intake,
    weights: watch::Receiver<Arc<Weights>>,
    slowest_body: u64,
}

/// How much is taken in at a time, and how often.
struct Intake {
    rates: Rates,
    /// Held until there is an answer.
    memory: Semaphore,
    /// Requests that wait for the server above.
    passing: Semaphore,
}

/// For requests under way, in bytes: not that of uploads, which nobody without an identity may use up.
const MEMORY: usize = 8 * 1024 * 1024;
/// A body is that small that it is there in this time, or a nuisance.
const BODY_TIME: Duration = Duration::from_secs(10);
/// Requests of newcomers that may wait for the server above, fewer than may wait there at all: when it is
/// slow, those of known nodes still get there.
const NEWCOMERS_PASSING: usize = 48;
/// How long one waits for its turn.
const TURN: Duration = Duration::from_secs(5);
/// Requests per minute of known nodes, about keys and certificates.
const USUAL_RATE: u32 = 60;
/// A relay speaks for nodes that nobody knows yet: it counts for at least so many.
const RELAY_WEIGHT: u32 = 10;

/// A request that was let in, before its body.
pub struct IdentityRequest {
    kind: IdentityKind,
    node: NodeId,
    origin: Origin,
    content_type: HeaderValue,
    length: u64,
    who: Counted,
    weight: u32,
}

/// Where a request comes from, as it says.
#[derive(Debug, PartialEq, Eq)]
struct Origin {
    /// The policy server to which the node itself talks.
    place: NodeId,
    /// The address from which the node itself talks to that.
    address: IpAddr,
    hops: usize,
}

impl IdentityRequest {
    /// The node that it is about.
    pub fn node(&self) -> &NodeId {
        &self.node
    }
}

impl IdentityRequests {
    /// `newcomers_per_minute`: how many requests of new nodes are taken from one address; `None` to
    /// take no new nodes in.
    pub fn new(
        decides: Enrolment,
        newcomers_per_minute: Option<u32>,
        weights: watch::Receiver<Arc<Weights>>,
        slowest_body: u64,
    ) -> Self {
        Self {
            decides,
            takes_newcomers: newcomers_per_minute.is_some(),
            newcomers: Intake::new(newcomers_per_minute.unwrap_or_default(), NEWCOMERS_PASSING),
            known: Intake::new(USUAL_RATE, MOST_PASSING),
            weights,
            slowest_body,
        }
    }

    /// Whether this is answered at all.
    pub fn check_open(&self, kind: IdentityKind) -> Result<(), Refusal> {
        let is_open = match (&self.decides, kind) {
            (Enrolment::Off, _) => false,
            (_, IdentityKind::Enrolment) => self.takes_newcomers,
            (Enrolment::Here(_) | Enrolment::Upstream(_), _) => true,
        };
        if is_open { Ok(()) } else { Err(Refusal::NotFound) }
    }

    /// Reads what the head of a request about `node` says, which was let in.
    pub fn admit(
        &self,
        kind: IdentityKind,
        node: &NodeId,
        asked: &Asked<'_>,
        headers: &HeaderMap,
    ) -> Result<IdentityRequest, Refusal> {
        let content_type = check_type(kind, headers)?;
        let origin = Origin::read(asked, headers)?;
        let length = announced_length(headers, most(kind))?;
        let (who, weight) = match asked.client {
            Client::Node(client) => {
                let weight = self.weights.borrow().of_node(client);
                let is_relay = asked.table.list().get(client).is_some_and(|entry| entry.is_relay);
                (Counted::Node(client.clone()), if is_relay { weight.max(RELAY_WEIGHT) } else { weight })
            }
            _ => (Counted::by_address(asked.peer.address.ip()), 1),
        };
        Ok(IdentityRequest { kind, node: node.clone(), origin, content_type, length, who, weight })
    }

    /// Answers it.
    pub async fn take(&self, request: IdentityRequest, body: Incoming) -> Result<Answer, Refusal> {
        let intake = self.intake(request.kind);
        intake.rates.count(request.who, request.weight).map_err(Refusal::TooOften)?;
        let (body, _memory) = intake.read(body, request.length, self.slowest_body).await?;
        let (kind, node, origin) = (request.kind, &request.node, request.origin);
        // Requests are read strictly on each relay already: what is none goes no further.
        let wanted = Wanted::read(kind, node, &body)?;
        match &self.decides {
            Enrolment::Off => Err(Refusal::NotFound),
            Enrolment::Here(registry) => {
                decide(registry, wanted, node, origin.place, origin.address, body).await.map_err(undecided)
            }
            Enrolment::Upstream(upstream) => {
                let headers = origin.headers(request.content_type)?;
                // Never closed; if it were, one request more would do no harm.
                let _turn = timeout(TURN, intake.passing.acquire()).await.map_err(|_| TOO_MANY)?.ok();
                let passed = upstream.pass(Method::PUT, &kind.path(node), headers, body).await;
                passed.map_err(|error| unreachable(&error)).and_then(passed_on)
            }
        }
    }

    fn intake(&self, kind: IdentityKind) -> &Intake {
        match kind {
            IdentityKind::Enrolment => &self.newcomers,
            IdentityKind::Keys | IdentityKind::Certificates => &self.known,
        }
    }
}

impl Intake {
    fn new(per_minute: u32, passing: usize) -> Self {
        Self {
            rates: Rates::new(per_minute),
            memory: Semaphore::new(MEMORY),
            passing: Semaphore::new(passing),
        }
    }

    async fn read(
        &self,
        body: Incoming,
        length: u64,
        slowest: u64,
    ) -> Result<(Bytes, SemaphorePermit<'_>), Refusal> {
        let bytes = u32::try_from(length).unwrap_or(u32::MAX);
        let memory = self.memory.try_acquire_many(bytes).map_err(|_| TOO_MANY)?;
        let whole = timeout(BODY_TIME, read_whole(body, length, slowest)).await;
        Ok((whole.map_err(|_| Refusal::TooSlow)??, memory))
    }
}

const TOO_MANY: Refusal = Refusal::Unavailable("too many such requests are under way");
const UNREACHABLE: Refusal = Refusal::Unavailable("the server above this one does not answer now");
/// Of the relay's own identity, not of the node's: that may be different in a minute.
const NOT_LET_IN: Refusal =
    Refusal::Unavailable("the server above this one does not accept this relay, or not yet");
const UNKNOWN_RELAY: Refusal =
    Refusal::Unavailable("the relay that passes this on, or that it came through first, is not known here");

/// Largest body, in bytes.
fn most(kind: IdentityKind) -> u64 {
    match kind {
        IdentityKind::Enrolment | IdentityKind::Certificates => limits::ENROLMENT_REQUEST as u64,
        IdentityKind::Keys => limits::KEY_ROLL_OVER as u64,
    }
}

fn check_type(kind: IdentityKind, headers: &HeaderMap) -> Result<HeaderValue, Refusal> {
    let (expected, refusal) = match kind {
        IdentityKind::Enrolment | IdentityKind::Certificates => {
            ("application/pkcs10", "the Content-Type must be application/pkcs10")
        }
        IdentityKind::Keys => ("multipart/signed", "the Content-Type must be multipart/signed"),
    };
    let value = headers.get(CONTENT_TYPE).ok_or(Refusal::BadRequest(refusal))?;
    let essence = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
    if essence.trim().eq_ignore_ascii_case(expected) {
        Ok(value.clone())
    } else {
        Err(Refusal::BadRequest(refusal))
    }
}

/// What a node wants.
enum Wanted {
    /// To be known.
    Enrolment(enrolment::Request),
    /// Another key; only the registry, which knows the present one, can read the message.
    Key,
    /// A certificate.
    Certificate(enrolment::Request),
}

impl Wanted {
    fn read(kind: IdentityKind, node: &NodeId, body: &[u8]) -> Result<Self, Refusal> {
        let request = || {
            let request =
                enrolment::Request::parse(body).map_err(|error| Refusal::Malformed(error.to_string()))?;
            if request.node_id == *node {
                Ok(request)
            } else {
                Err(Refusal::Malformed("the request is for another node than the path".into()))
            }
        };
        Ok(match kind {
            IdentityKind::Enrolment => Self::Enrolment(request()?),
            IdentityKind::Keys => Self::Key,
            IdentityKind::Certificates => Self::Certificate(request()?),
        })
    }
}

async fn decide(
    registry: &Registry,
    wanted: Wanted,
    node: &NodeId,
    place: NodeId,
    address: IpAddr,
    body: Bytes,
) -> Result<Answer, RegistryError> {
    Ok(match wanted {
        Wanted::Enrolment(request) => Answer::Enrolment(registry.enrol(request, place, address).await?),
        Wanted::Key => Answer::Enrolment(registry.roll_over(node, body.into()).await?),
        Wanted::Certificate(request) => match registry.certify(node, request).await? {
            Some(chain) => Answer::Chain(chain.into()),
            None => Answer::NoAuthority,
        },
    })
}

/// Not 403 in any case: that is what a relay hears that is not let in itself.
fn undecided(error: RegistryError) -> Refusal {
    match error {
        RegistryError::Down(why) => {
            tracing::debug!(why, "the registry did not answer a node");
            Refusal::Unavailable("the registry of nodes cannot be reached now")
        }
        RegistryError::TooManyPending => {
            Refusal::Unavailable("too many nodes wait for a decision; an operator has to decide first")
        }
        RegistryError::Invalid(text) | RegistryError::Refused(text) => Refusal::Malformed(text),
    }
}

impl Origin {
    fn read(asked: &Asked<'_>, headers: &HeaderMap) -> Result<Self, Refusal> {
        let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
        let hops = headers::parse_hops(text(HOPS)).ok_or(Refusal::TooManyHops)?;
        let claimed = text(POLICY_SERVER).and_then(|text| NodeId::from_str(text).ok());
        let believed = claimed.filter(|claimed| match asked.client {
            Client::Node(client) => claimed == client || asked.table.list().is_below(claimed, client),
            _ => false,
        });
        let peer = asked.peer.address.ip().to_canonical();
        match believed {
            Some(place) => {
                let address = text(CLIENT_ADDRESS).and_then(|text| IpAddr::from_str(text).ok());
                Ok(Self { place, address: address.unwrap_or(peer), hops })
            }
            None if hops == 0 => Ok(Self { place: asked.own_id.clone(), address: peer, hops }),
            // Taken for a node's own, it would hang that node in the wrong place.
            None => Err(UNKNOWN_RELAY),
        }
    }

    /// To pass it on with.
    fn headers(&self, content_type: HeaderValue) -> Result<HeaderMap, Refusal> {
        if self.hops >= limits::RELAY_DEPTH {
            return Err(Refusal::TooManyHops);
        }
        let place = HeaderValue::from_str(self.place.as_str());
        let unfit = |_| Refusal::Malformed("not a node id or address that a header can hold".into());
        let (place, address) = (place.map_err(unfit)?, HeaderValue::from_str(&self.address.to_string()));
        Ok(HeaderMap::from_iter([
            (CONTENT_TYPE, content_type),
            (HeaderName::from_static(POLICY_SERVER), place),
            (HeaderName::from_static(CLIENT_ADDRESS), address.map_err(unfit)?),
            (HeaderName::from_static(HOPS), HeaderValue::from(self.hops + 1)),
        ]))
    }
}

fn unreachable(error: &dyn fmt::Display) -> Refusal {
    tracing::debug!(%error, "a request of a node could not be passed on");
    UNREACHABLE
}

/// What the server above said: to the node, as JSON, or to this relay.
fn passed_on(passed: Passed) -> Result<Answer, Refusal> {
    let is_json = passed.headers.get(CONTENT_TYPE).is_some_and(|value| value == "application/json");
    match passed.status {
        StatusCode::UNAUTHORIZED => Err(NOT_LET_IN),
        StatusCode::FORBIDDEN if !is_json => Err(NOT_LET_IN),
        _ => Ok(Answer::Passed(passed)),
    }
}
