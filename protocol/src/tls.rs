// SPDX-License-Identifier: Apache-2.0
//! TLS settings that clients and servers share: versions, server trust, pins (protocol 0.3, 1.5).
//!
//! Trust is decided during the handshake, so that no request is ever sent to the wrong server. No
//! session outlives its connection: there are no tickets and no session cache.

use openssl::{
    error::ErrorStack,
    pkey::{PKey, Private},
    ssl::{
        SslAcceptor, SslConnector, SslContextBuilder, SslMethod, SslMode, SslOptions, SslSessionCacheMode,
        SslVerifyMode, SslVersion,
    },
    x509::{
        X509StoreContextRef, X509VerifyResult,
        store::{X509Store, X509StoreBuilder},
        verify::X509VerifyFlags,
    },
};

use crate::{certificate::Certificate, hash::KeyHash};

/// How a client decides that the server is the right one.
#[derive(Debug, Clone)]
pub enum ServerTrust {
    /// The key of the server's own certificate is one of these; chain and name do not count.
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
    if let Some(identity) = identity {
        set_identity(&mut builder, identity)?;
    }
    match trust {
        ServerTrust::Pins(pins) => {
            builder.set_cert_store(X509StoreBuilder::new()?.build());
            let pins = pins.clone();
            builder.set_verify_callback(SslVerifyMode::PEER, move |_, context| {
                let pinned = leaf_key(context).is_some_and(|key| pins.iter().any(|pin| pin.matches(&key)));
                decide(context, pinned)
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
/// caller reads from the session. Refused in the handshake are keys that are too weak and subjects
/// whose UID is not one clean node id.
pub fn acceptor(identity: &ClientIdentity, oldest: TlsVersion) -> Result<SslAcceptor, ErrorStack> {
    let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())?;
    set_common(&mut builder, oldest)?;
    set_identity(&mut builder, identity)?;
    // No session may outlive the revocation of its node.
    builder.set_session_id_context(b"relayd")?;
    builder.set_num_tickets(0)?;
    builder.set_verify_callback(SslVerifyMode::PEER, |_, context| {
        let weak = context.error().as_raw() == X509_V_ERR_EE_KEY_TOO_SMALL;
        let acceptable = !weak && leaf_certificate(context).as_ref().is_some_and(has_usable_subject);
        decide(context, acceptable)
    });
    Ok(builder.build())
}

/// `X509_V_ERR_EE_KEY_TOO_SMALL` of openssl/x509_vfy.h.
const X509_V_ERR_EE_KEY_TOO_SMALL: i32 = 66;

fn set_common(builder: &mut SslContextBuilder, oldest: TlsVersion) -> Result<(), ErrorStack> {
    builder.set_min_proto_version(Some(match oldest {
        TlsVersion::V1_2 => SslVersion::TLS1_2,
        TlsVersion::V1_3 => SslVersion::TLS1_3,
    }))?;
    builder.set_options(SslOptions::NO_TICKET | SslOptions::NO_RENEGOTIATION | SslOptions::NO_COMPRESSION);
    builder.set_session_cache_mode(SslSessionCacheMode::OFF);
    // 32 KiB less for each connection that waits.
    builder.set_mode(SslMode::RELEASE_BUFFERS);
    Ok(())
}

fn set_identity(
    builder: &mut SslContextBuilder,
    (certificate, key): &ClientIdentity,
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
