// SPDX-License-Identifier: Apache-2.0
//! TLS settings that clients and servers share: versions, server trust, pins (protocol 0.3, 1.5).
//!
//! Trust is decided during the handshake, so that no request is ever sent to the wrong server. No
//! session outlives its connection: there are no tickets and no session cache.

use std::sync::Arc;

use openssl::{
    error::ErrorStack,
    pkey::{PKey, PKeyRef, Private},
    ssl::{
        SslAcceptor, SslConnector, SslContextBuilder, SslMethod, SslMode, SslOptions, SslRef,
        SslSessionCacheMode, SslVerifyMode, SslVersion,
    },
    stack::StackRef,
    x509::{
        X509, X509StoreContext, X509StoreContextRef, X509VerifyResult,
        store::{X509Store, X509StoreBuilder},
        verify::X509VerifyFlags,
    },
};

use crate::{certificate::Certificate, hash::KeyHash, succession};

/// How a client decides that the server is the right one.
#[derive(Debug, Clone)]
pub enum ServerTrust {
    /// The key of the server's own certificate is one of these, or one of these vouches for it by a
    /// chain of signatures ([`succession::vouched`]); names and dates do not count.
    Pins(Vec<KeyHash>),
    /// The key of the server's certificate is that of one of these certificates, or one of them
    /// signed it; the name does not count.
    Anchors(Vec<Certificate>),
    /// Chain and host name, with the system's authorities and these.
    Authorities(Vec<Certificate>),
    /// Anything: first contact, whose key the caller then pins.
    FirstUse,
}

/// Oldest TLS version spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2.
    V1_2,
    /// TLS 1.3.
    V1_3,
}

/// Who the client is.
pub type ClientIdentity = (Certificate, PKey<Private>);

/// Who the server is.
#[derive(Debug, Clone)]
pub struct ServerIdentity {
    certificate: Certificate,
    predecessors: Vec<Certificate>,
    key: PKey<Private>,
}

impl ServerIdentity {
    /// The server's own certificate, first in `chain`, its key, and what else is sent: certificates of
    /// its earlier keys, or of its authorities. `None` without any certificate.
    pub fn new(mut chain: Vec<Certificate>, key: PKey<Private>) -> Option<Self> {
        let predecessors = chain.split_off(chain.len().min(1));
        Some(Self { certificate: chain.pop()?, predecessors, key })
    }

    /// The server's own certificate.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }
}

impl From<ClientIdentity> for ServerIdentity {
    fn from((certificate, key): ClientIdentity) -> Self {
        Self { certificate, predecessors: Vec::new(), key }
    }
}

/// Asked in the handshake whether a client with this certificate may go on. Called more than once for
/// a handshake, on the thread that does it: it must be quick.
pub type Gatekeeper = Arc<dyn Fn(&Certificate) -> bool + Send + Sync>;

/// Lets everybody in whose certificate is not refused for its own sake.
pub fn admit_all() -> Gatekeeper {
    Arc::new(|_| true)
}

/// A connector for one kind of trust. An untrusted server fails the handshake, before any request.
///
/// The caller turns host name verification on per connection, only for [`ServerTrust::Authorities`]
/// (see [`verifies_hostname`]).
pub fn connector(
    trust: &ServerTrust,
    oldest: TlsVersion,
    identity: Option<&ClientIdentity>,
) -> Result<SslConnector, ErrorStack> {
    let mut builder = SslConnector::builder(SslMethod::tls_client())?;
    set_common(&mut builder, oldest)?;
    if let Some((certificate, key)) = identity {
        set_identity(&mut builder, certificate, key)?;
    }
    match trust {
        ServerTrust::Pins(pins) => {
            builder.set_cert_store(X509StoreBuilder::new()?.build());
            let pins = pins.clone();
            builder.set_verify_callback(SslVerifyMode::PEER, move |_, context| {
                let chain = sent_chain(context).or(context.chain());
                let chain: Vec<X509> = chain.into_iter().flatten().map(ToOwned::to_owned).collect();
                let vouched = succession::vouched(&chain, &pins);
                decide(context, vouched)
            });
        }
        ServerTrust::Anchors(anchors) => {
            builder.set_cert_store(store_of(anchors)?);
            let keys: Vec<Vec<u8>> = anchors.iter().map(|anchor| anchor.spki_der().to_vec()).collect();
            builder.set_verify_callback(SslVerifyMode::PEER, move |chain_is_fine, context| {
                // Neither dates nor usage count for a key that is trusted by itself.
                let is_anchor = leaf_key(context).is_some_and(|key| keys.contains(&key));
                if is_anchor { decide(context, true) } else { chain_is_fine }
            });
        }
        ServerTrust::Authorities(more) => {
            builder.set_verify(SslVerifyMode::PEER);
            for authority in more {
                builder.cert_store_mut().add_cert(authority.to_x509()?)?;
            }
        }
        ServerTrust::FirstUse => {
            builder.set_verify_callback(SslVerifyMode::PEER, |_, context| decide(context, true));
        }
    }
    Ok(builder.build())
}

/// An acceptor that asks each client for a certificate.
///
/// Any or none is taken here, because identity is decided by the key (protocol 1.4), which the
/// caller reads from the session. Refused in the handshake are keys that are too weak, subjects
/// whose UID is not one clean node id, and whom the gatekeeper does not let in.
///
/// With `authorities`, [`is_vouched_for`] says afterwards whether the client's chain leads to one of
/// them; it decides nothing in the handshake, because nodes with pinned keys need no authority.
pub fn acceptor(
    identity: &ServerIdentity,
    oldest: TlsVersion,
    gatekeeper: Gatekeeper,
    authorities: Option<&[Certificate]>,
) -> Result<SslAcceptor, ErrorStack> {
    let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())?;
    set_common(&mut builder, oldest)?;
    set_identity(&mut builder, &identity.certificate, &identity.key)?;
    for predecessor in &identity.predecessors {
        builder.add_extra_chain_cert(predecessor.to_x509()?)?;
    }
    // No session may outlive the revocation of its node, and no request may be played again.
    builder.set_session_id_context(b"relayd")?;
    builder.set_num_tickets(0)?;
    builder.set_max_early_data(0)?;
    builder.set_cert_store(store_of(authorities.unwrap_or_default())?);
    builder.set_verify_callback(SslVerifyMode::PEER, move |_, context| {
        let weak = context.error().as_raw() == X509_V_ERR_EE_KEY_TOO_SMALL;
        let leaf = leaf_certificate(context);
        // Left in the queue of this thread, what was found on the way would end other connections.
        drop(ErrorStack::get());
        // What was found about the chain stays in the session, for `is_vouched_for`.
        !weak && leaf.is_some_and(|leaf| has_usable_subject(&leaf) && gatekeeper(&leaf))
    });
    Ok(builder.build())
}

/// Whether the client on this connection showed a certificate with a valid chain (signatures, dates,
/// client usage) to one of the authorities of the [`acceptor`]. Never so without authorities.
pub fn is_vouched_for(session: &SslRef) -> bool {
    session.peer_certificate().is_some() && session.verify_result() == X509VerifyResult::OK
}

/// `X509_V_ERR_EE_KEY_TOO_SMALL` of openssl/x509_vfy.h.
const X509_V_ERR_EE_KEY_TOO_SMALL: i32 = 66;

/// The curves of key exchange: none is weaker than 128 bits.
const GROUPS: &str = "X25519:P-256:P-384";

fn set_common(builder: &mut SslContextBuilder, oldest: TlsVersion) -> Result<(), ErrorStack> {
    builder.set_min_proto_version(Some(match oldest {
        TlsVersion::V1_2 => SslVersion::TLS1_2,
        TlsVersion::V1_3 => SslVersion::TLS1_3,
    }))?;
    builder.set_groups_list(GROUPS)?;
    builder.set_options(SslOptions::NO_TICKET | SslOptions::NO_RENEGOTIATION | SslOptions::NO_COMPRESSION);
    builder.set_session_cache_mode(SslSessionCacheMode::OFF);
    // 32 KiB less for each connection that waits.
    builder.set_mode(SslMode::RELEASE_BUFFERS);
    // A record in one read of the socket; without this it is the header, the rest, and one in vain.
    builder.set_read_ahead(true);
    Ok(())
}

fn set_identity(
    builder: &mut SslContextBuilder,
    certificate: &Certificate,
    key: &PKeyRef<Private>,
) -> Result<(), ErrorStack> {
    builder.set_certificate(certificate.x509())?;
    builder.set_private_key(key)?;
    builder.check_private_key()
}

/// A store in which each of these certificates is trusted, self-signed or not.
fn store_of(anchors: &[Certificate]) -> Result<X509Store, ErrorStack> {
    let mut store = X509StoreBuilder::new()?;
    store.set_flags(X509VerifyFlags::PARTIAL_CHAIN)?;
    for anchor in anchors {
        store.add_cert(anchor.to_x509()?)?;
    }
    Ok(store.build())
}

/// The peer's certificates as it sent them, its own first. What OpenSSL made of them is a shorter
/// chain: it leaves out those that may not issue others.
fn sent_chain(context: &X509StoreContextRef) -> Option<&StackRef<X509>> {
    let session = context.ex_data(X509StoreContext::ssl_idx().ok()?)?;
    session.peer_cert_chain()
}

/// The peer's own certificate, at whatever depth of its chain verification is.
fn leaf_certificate(context: &X509StoreContextRef) -> Option<Certificate> {
    Certificate::new(context.chain()?.get(0)?.to_owned()).ok()
}

fn leaf_key(context: &X509StoreContextRef) -> Option<Vec<u8>> {
    Some(leaf_certificate(context)?.spki_der().to_vec())
}

fn has_usable_subject(leaf: &Certificate) -> bool {
    !leaf.has_uid() || leaf.sole_node_id().is_some()
}

/// Overrides what chain verification found.
fn decide(context: &mut X509StoreContextRef, trusted: bool) -> bool {
    context.set_error(if trusted {
        X509VerifyResult::OK
    } else {
        X509VerifyResult::APPLICATION_VERIFICATION
    });
    trusted
}

/// Whether the host name is part of this trust.
pub fn verifies_hostname(trust: &ServerTrust) -> bool {
    matches!(trust, ServerTrust::Authorities(_))
}
