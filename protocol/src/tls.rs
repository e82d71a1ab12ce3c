// SPDX-License-Identifier: Apache-2.0
//! TLS settings that clients and servers share: versions, server trust, pins (protocol 0.3, 1.5).

use openssl::{
    pkey::{PKey, Private},
    ssl::SslConnector,
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
) -> Result<SslConnector, openssl::error::ErrorStack> {
    let _ = (trust, oldest, identity);
    todo!()
}

/// Whether the host name is part of this trust.
pub fn verifies_hostname(trust: &ServerTrust) -> bool {
    matches!(trust, ServerTrust::Authorities(_))
}
