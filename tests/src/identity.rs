// SPDX-License-Identifier: Apache-2.0
//! Who a simulated machine is: node id, key pair, certificate.

use std::{fs, path::Path};

use openssl::{
    pkey::{PKey, Private},
    rsa::Rsa,
};
use protocol::{
    certificate::Certificate,
    hash::KeyHash,
    node_id::NodeId,
    private_key::{self, KeyKind},
};
use uuid::Uuid;

use crate::{Result, server::IdentityFiles};

/// Kinds of keys. RSA keys of 2048 bits are those of older nodes (protocol 1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Keys {
    /// ECDSA on P-256.
    P256,
    /// RSA, 2048 bits.
    Rsa2048,
    /// RSA, 4096 bits.
    Rsa4096,
}

/// A machine's identity.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Its node id.
    pub node_id: NodeId,
    /// Its private key.
    pub key: PKey<Private>,
    /// Its self-signed certificate.
    pub certificate: Certificate,
}

impl Identity {
    /// A new key pair and certificate for `node_id`.
    pub fn new(node_id: NodeId, keys: Keys) -> Result<Self> {
        let key = match keys {
            Keys::P256 => private_key::generate(KeyKind::P256)?,
            Keys::Rsa2048 => PKey::from_rsa(Rsa::generate(2048)?)?,
            Keys::Rsa4096 => private_key::generate(KeyKind::Rsa4096)?,
        };
        let certificate = private_key::self_signed(&key, &node_id)?;
        Ok(Self { node_id, key, certificate })
    }

    /// A node with a new random id.
    pub fn random(keys: Keys) -> Result<Self> {
        Self::new(Uuid::new_v4().to_string().parse()?, keys)
    }

    /// Many nodes with new random ids, made on all cores.
    pub fn many(count: usize, keys: Keys) -> Result<Vec<Self>> {
        let workers = std::thread::available_parallelism()?.get().min(count.max(1));
        std::thread::scope(|scope| {
            let parts: Vec<_> = (0..workers)
                .map(|worker| {
                    let share = count / workers + usize::from(worker < count % workers);
                    scope.spawn(move || (0..share).map(|_| Self::random(keys)).collect::<Result<Vec<_>>>())
                })
                .collect();
            let mut all = Vec::with_capacity(count);
            for part in parts {
                all.extend(part.join().map_err(|_| "a thread that makes keys panicked")??);
            }
            Ok(all)
        })
    }

    /// The hash by which others know the key.
    pub fn key_hash(&self) -> KeyHash {
        self.certificate.key_hash()
    }

    /// Writes certificate and key below `directory`.
    pub fn write(&self, directory: &Path) -> Result<IdentityFiles> {
        let files = IdentityFiles {
            certificate: directory.join("agent.cert"),
            key: directory.join("localhost.priv"),
        };
        fs::write(&files.certificate, self.certificate.x509().to_pem()?)?;
        fs::write(&files.key, private_key::to_pem(&self.key)?)?;
        Ok(files)
    }
}
