// SPDX-License-Identifier: Apache-2.0
//! What the server shows and which clients it lets in, replaceable while the gateway runs.

use std::sync::Arc;

use hyper::header::HeaderValue;
use openssl::ssl::SslAcceptor;
use protocol::{
    certificate::Certificate,
    headers,
    tls::{self, Gatekeeper, ServerIdentity, TlsVersion},
};
use tokio::sync::watch;

use super::authorities::{self, AuthoritiesError};
use crate::{
    config::{ClientTrust, IdentityFiles},
    nodes::Nodes,
    server_key::{ServerKey, ServerKeyError},
};

/// Why the server's identity or the authorities of its clients cannot be used; the operator must act.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Certificate or key.
    #[error("gateway: {0}")]
    ServerKey(#[from] ServerKeyError),
    /// The authorities of clients.
    #[error(transparent)]
    Authorities(#[from] AuthoritiesError),
    /// OpenSSL refuses them.
    #[error("gateway: certificate {} and key {} cannot be used together: {error}", .files.certificate.display(), .files.key.display())]
    Pair {
        /// `gateway.certificate` and `gateway.key`.
        files: IdentityFiles,
        /// What OpenSSL said.
        error: openssl::error::ErrorStack,
    },
}

/// The newest usable acceptor, and what is announced with it.
pub struct Acceptor {
    files: IdentityFiles,
    oldest: TlsVersion,
    trust: ClientTrust,
    gatekeeper: Gatekeeper,
    current: watch::Sender<Current>,
}

#[derive(Clone)]
struct Current {
    acceptor: SslAcceptor,
    pins: Option<HeaderValue>,
    /// Fingerprints.
    authorities: Vec<[u8; 32]>,
}

impl Acceptor {
    /// Reads certificate, key and authorities; the nodes say who is let in.
    pub fn new(
        files: IdentityFiles,
        oldest: TlsVersion,
        trust: ClientTrust,
        nodes: Nodes,
    ) -> Result<Self, IdentityError> {
        let gatekeeper = gatekeeper(&trust, nodes);
        let current = watch::Sender::new(build(&files, oldest, &trust, &gatekeeper)?);
        Ok(Self { files, oldest, trust, gatekeeper, current })
    }

    /// Reads them again; on error the ones in use stay. Returns whether the authorities are others now:
    /// what those before said of clients counts no more.
    pub fn reload(&self) -> Result<bool, IdentityError> {
        let new = build(&self.files, self.oldest, &self.trust, &self.gatekeeper)?;
        let authorities = new.authorities.clone();
        Ok(self.current.send_replace(new).authorities != authorities)
    }

    /// What new connections get.
    pub fn current(&self) -> SslAcceptor {
        self.current.borrow().acceptor.clone()
    }

    /// The keys by which agents may know this server, while there is one to come: the value of
    /// [`headers::SERVER_PINS`].
    pub fn announced_pins(&self) -> Option<HeaderValue> {
        self.current.borrow().pins.clone()
    }
}

/// Lets in whose certificate does not name a node of the list with a key that is another's. Where an
/// authority says who clients are, keys say nothing.
fn gatekeeper(trust: &ClientTrust, nodes: Nodes) -> Gatekeeper {
    match trust {
        ClientTrust::Key => Arc::new(move |certificate| nodes.borrow().admits(certificate)),
        ClientTrust::Authority { .. } => tls::admit_all(),
    }
}

fn build(
    files: &IdentityFiles,
    oldest: TlsVersion,
    trust: &ClientTrust,
    gatekeeper: &Gatekeeper,
) -> Result<Current, IdentityError> {
    let server = ServerKey::load(files)?;
    let pins = server.next_pin().map(|next| headers::print_pins(&[server.pin(), next]));
    let pins = pins.and_then(|text| HeaderValue::try_from(text).ok());
    let authorities = authorities::read(trust)?;
    let file = files.certificate.clone();
    let identity = ServerIdentity::new(server.chain, server.key).ok_or(ServerKeyError::Empty(file))?;
    let acceptor = tls::acceptor(&identity, oldest, gatekeeper.clone(), authorities.as_deref())
        .map_err(|error| IdentityError::Pair { files: files.clone(), error })?;
    let mut authorities: Vec<_> = authorities.iter().flatten().map(Certificate::fingerprint).collect();
    authorities.sort_unstable();
    Ok(Current { acceptor, pins, authorities })
}
