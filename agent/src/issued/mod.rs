// SPDX-License-Identifier: Apache-2.0
//! Certificates that the root's authority issues for this node's key (protocol 13).
//!
//! ```text
//! request ─PUT─▶ policy server ─▶ … ─▶ root ─▶ certificate, authority ─▶ agent-issued.cert ─▶ exports, hooks
//!    ▲                                                                       │
//!    └──────────────────────── half of its life, or another key ◀────────────┘
//! ```
//!
//! Invariant: a certificate is replaced by a newer one of the same node and of the key in use only,
//! whole or not at all. Run logs are signed with the node's own certificate, whatever is here.

pub mod export;
mod hook;
mod owner;

use std::{fs, io, time::Duration};

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use hyper::{Method, StatusCode};
use openssl::x509::X509;
use protocol::{
    certificate::{self, Certificate},
    enrolment::Request,
    node_id::NodeId,
    urls::IdentityKind,
};

use crate::{
    durable::{self, PUBLIC},
    identity::{Identity, IdentityError},
    schedule,
    server::{
        connection::{Ask, ConnectionError},
        exchange::exchange,
        target::{Target, TargetError},
        trust,
    },
    settings::Settings,
};

/// A certificate of the authority.
#[derive(Clone)]
pub struct Issued {
    /// The certificate.
    pub certificate: Certificate,
    /// That of the authority, and those between, if any.
    pub authorities: Vec<Certificate>,
}

impl Issued {
    /// The certificate in the node's file, whatever key it is for.
    pub fn load(settings: &Settings) -> Option<Self> {
        Self::read(&fs::read(&settings.paths.issued_certificate).ok()?)
    }

    fn read(pem: &[u8]) -> Option<Self> {
        let mut all = certificate::read_bundle(pem).ok()?.into_iter();
        // Once through OpenSSL, so that later it cannot refuse.
        let own = |c: Certificate| X509::from_der(c.der()).ok().and_then(|x509| Certificate::new(x509).ok());
        let certificate = own(all.next()?)?;
        Some(Self { certificate, authorities: all.map(own).collect::<Option<_>>()? })
    }

    /// Whether it is neither too early nor too late for it.
    pub fn is_valid(&self, now: DateTime<Utc>) -> bool {
        (self.certificate.not_before()..=self.certificate.not_after()).contains(&now)
    }

    /// Whether it is one of this node and its key.
    pub fn is_of(&self, identity: &Identity) -> bool {
        self.certificate.sole_node_id() == Some(&identity.node_id)
            && self.certificate.spki_der() == identity.certificate.spki_der()
    }

    /// When it is renewed: after half of its life, and up to a fiftieth of it later, by node.
    pub fn renewal(&self, node_id: &NodeId) -> DateTime<Utc> {
        let (from, to) = (self.certificate.not_before(), self.certificate.not_after());
        let life = (to - from).max(TimeDelta::zero());
        let later = schedule::splay(node_id, (life / 50).to_std().unwrap_or(Duration::ZERO));
        from + life / 2 + TimeDelta::from_std(later).unwrap_or_default()
    }

    /// All of it as PEM, its own certificate first.
    pub fn chain(&self) -> Vec<u8> {
        [self.certificate.to_pem(), self.authority()].concat()
    }

    /// The authority as PEM.
    pub fn authority(&self) -> Vec<u8> {
        self.authorities.iter().flat_map(Certificate::to_pem).collect()
    }
}

/// The certificate for the key in use, if there is one.
pub fn of_key(settings: &Settings, identity: &Identity) -> Option<Issued> {
    Issued::load(settings).filter(|issued| issued.is_of(identity))
}

/// Gets a new certificate for the key in use and keeps it. `None`: the root has no authority.
pub async fn fetch(settings: &Settings, identity: &Identity) -> Result<Option<Issued>, FetchError> {
    // The root puts the host name in under which it has accepted this node.
    let request = Request::make(&identity.key, &identity.node_id, "", false, None)
        .map_err(|e| FetchError::Request(e.to_string()))?;
    let client = trust::client_identity(settings, identity)?;
    let target = Target::of(settings, Some(&client))?;
    let ask = Ask {
        method: Method::PUT,
        path: IdentityKind::Certificates.path(&identity.node_id),
        content_type: Some("application/pkcs10"),
        body: Bytes::from_owner(request),
    };
    let reply = exchange(settings, &target, &ask).await?.reply;
    match reply.status {
        StatusCode::OK => {}
        StatusCode::NOT_FOUND => return Ok(None),
        status => return Err(FetchError::Answer(crate::enrol::words::answered(status, &reply.detail()))),
    }
    let issued = Issued::read(&reply.body).ok_or(FetchError::Unusable("it is no PEM chain"))?;
    if !issued.is_of(identity) {
        return Err(FetchError::Unusable("it is for another node or key"));
    }
    if issued.certificate.not_after() <= Utc::now() {
        return Err(FetchError::Unusable("it is out of date already; compare the clocks"));
    }
    let file = &settings.paths.issued_certificate;
    durable::create_parent(file)
        .and_then(|()| durable::replace(file, &issued.chain(), PUBLIC))
        .map_err(|e| FetchError::Io(io::Error::new(e.kind(), format!("{}: {e}", file.display()))))?;
    Ok(Some(issued))
}

/// Why there is no new certificate. The last one stays.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The request cannot be made.
    #[error("the request for a certificate cannot be made: {0}")]
    Request(String),
    /// The server says no.
    #[error("no certificate: {0}")]
    Answer(String),
    /// What came is of no use.
    #[error("the certificate that the server sent cannot be used: {0}")]
    Unusable(&'static str),
    /// It cannot be kept.
    #[error("{0}")]
    Io(io::Error),
    /// The policy server cannot be called.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The connection failed.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// The node's files.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}
