// SPDX-License-Identifier: Apache-2.0
//! How a server's key is followed by another one without a client losing it.
//!
//! The certificate of the new key is signed by the old key, and the server sends both: a client that
//! slept through the change and pins the old key finds a chain of signatures from the new key to it.
//!
//! ```text
//! new certificate ──signed by──▶ old certificate ──signed by──▶ older one, whose key is pinned
//! ```

use openssl::{
    pkey::{PKey, Private},
    x509::X509,
};

use crate::{
    certificate::Certificate,
    hash::KeyHash,
    node_id::NodeId,
    private_key::{self, PrivateKeyError},
};

/// Most predecessors of a key that are looked at.
pub const MAX_PREDECESSORS: usize = 8;

/// A certificate for `new_key`, with the subject `UID=<subject>`, signed by `old`'s key.
pub fn succeed(
    (old, old_key): &(Certificate, PKey<Private>),
    new_key: &PKey<Private>,
    subject: &NodeId,
) -> Result<Certificate, PrivateKeyError> {
    let x509 = private_key::build(new_key, subject, Some((old.x509(), old_key)))?;
    Certificate::new(x509).map_err(|e| PrivateKeyError::Unreadable(e.to_string()))
}

/// Whether the first certificate of `chain` has a pinned key, or each of the next ones signed the one
/// before it up to one that has. Only keys and signatures count: no dates, names or usages.
pub fn vouched(chain: &[X509], pins: &[KeyHash]) -> bool {
    for (index, certificate) in chain.iter().take(1 + MAX_PREDECESSORS).enumerate() {
        let Ok(key) = certificate.public_key() else { return false };
        let is_signed = index == 0 || chain[index - 1].verify(&key).unwrap_or(false);
        let Ok(spki) = key.public_key_to_der() else { return false };
        if !is_signed {
            return false;
        }
        if pins.iter().any(|pin| pin.matches(&spki)) {
            return true;
        }
    }
    false
}
