// SPDX-License-Identifier: Apache-2.0
//! Who this node is: id, key and certificate (protocol 1.1 to 1.3).
//!
//! Invariant: an [`Identity`] is consistent; the certificate names the id and holds the key.

mod init;
pub mod next;
pub mod refused;

use std::{fs, io, path::Path, path::PathBuf};

use openssl::pkey::{PKey, Private};
use protocol::{
    certificate::{Certificate, CertificateError},
    node_id::{NodeId, NodeIdError},
    private_key::{self, PrivateKeyError},
};
use zeroize::Zeroizing;

pub use init::{InitOptions, Initialised, init};

use crate::{durable, paths::Paths};

/// A node that can sign and connect.
#[derive(Clone)]
pub struct Identity {
    /// Its id.
    pub node_id: NodeId,
    /// Its certificate.
    pub certificate: Certificate,
    /// Its private key.
    pub key: PKey<Private>,
}

impl Identity {
    /// Reads the node's files.
    pub fn load(paths: &Paths) -> Result<Self, IdentityError> {
        let node_id = read_node_id(&paths.node_id)?.ok_or(IdentityError::Missing(paths.node_id.clone()))?;
        let (certificate, key) = load_while_changing(paths)?;
        if certificate.node_id() != Some(&node_id) {
            return Err(IdentityError::OtherId {
                certificate: paths.certificate.clone(),
                found: certificate.node_id().map_or("no id".to_owned(), NodeId::to_string),
                node_id,
            });
        }
        Ok(Self { node_id, certificate, key })
    }
}

/// Reads the node's pair, also in the middle of a change: once the new key is in place, its
/// certificate is still beside the old one.
fn load_while_changing(paths: &Paths) -> Result<(Certificate, PKey<Private>), IdentityError> {
    let found = load_pair(&paths.certificate, &paths.key);
    if !matches!(found, Err(IdentityError::OtherKey { .. })) {
        return found;
    }
    // The second time, because the change may have ended between the two.
    load_pair(&next::next_of(&paths.certificate), &paths.key)
        .or_else(|_| load_pair(&paths.certificate, &paths.key))
}

/// Reads a certificate and its key, and checks that they belong together.
pub fn load_pair(certificate: &Path, key: &Path) -> Result<(Certificate, PKey<Private>), IdentityError> {
    let read_key = read(key)?.ok_or_else(|| IdentityError::Missing(key.to_owned()))?;
    let read_certificate =
        read(certificate)?.ok_or_else(|| IdentityError::Missing(certificate.to_owned()))?;
    let private = private_key::from_pem(&read_key).map_err(|e| IdentityError::Key(key.to_owned(), e))?;
    let parsed = Certificate::from_pem(&read_certificate)
        .map_err(|e| IdentityError::Certificate(certificate.to_owned(), e))?;
    if !holds(&parsed, &private) {
        return Err(IdentityError::OtherKey { certificate: certificate.to_owned(), key: key.to_owned() });
    }
    Ok((parsed, private))
}

/// The node id in a file; `None` when there is no file or nothing in it.
pub fn read_node_id(file: &Path) -> Result<Option<NodeId>, IdentityError> {
    let Some(bytes) = read(file)? else { return Ok(None) };
    let text = String::from_utf8_lossy(&bytes);
    match text.trim() {
        "" => Ok(None),
        id => id.parse().map(Some).map_err(|e| IdentityError::NodeId(file.to_owned(), e)),
    }
}

fn holds(certificate: &Certificate, key: &PKey<Private>) -> bool {
    key.public_key_to_der().is_ok_and(|der| der == certificate.spki_der())
}

/// The content of a small file, erased when dropped; `None` when it is not there.
fn read(file: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, IdentityError> {
    const MAX: u64 = 1 << 20;
    let content = match fs::metadata(file) {
        Ok(metadata) if metadata.len() > MAX => Err(io::Error::other("bigger than 1 MiB")),
        Ok(_) => fs::read(file),
        Err(e) => Err(e),
    };
    match content {
        Ok(content) => Ok(Some(Zeroizing::new(content))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(IdentityError::Io(file.to_owned(), e)),
    }
}

/// Writes a file, whole or not at all, with the directories above it.
fn write(path: &Path, content: &[u8], mode: u32) -> Result<(), IdentityError> {
    durable::create_parent(path)
        .and_then(|()| durable::replace(path, content, mode))
        .map_err(|e| IdentityError::Io(path.to_owned(), e))
}

/// Why the node's identity cannot be had. All are for the operator to mend.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file is not there.
    #[error("{0} is missing\n    run `agent init` to make this node's id, key and certificate")]
    Missing(PathBuf),
    /// A file cannot be read or written.
    #[error("{0}: {1}\n    run the agent as root, and check the file's rights and the disk")]
    Io(PathBuf, io::Error),
    /// The id file holds something else.
    #[error("{0}: {1}\n    write this node's id into it, or remove it and run `agent init`")]
    NodeId(PathBuf, NodeIdError),
    /// The key file holds something else.
    #[error(
        "{0}: {1}\n    restore it from a backup; remove it only to start with a new key, which servers must accept anew"
    )]
    Key(PathBuf, PrivateKeyError),
    /// The certificate file holds something else.
    #[error("{0}: {1}\n    run `agent init` to make a new one")]
    Certificate(PathBuf, CertificateError),
    /// The certificate is that of another key.
    #[error("{certificate} does not belong to {key}\n    run `agent init` to make a new certificate")]
    OtherKey {
        /// The certificate.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
    },
    /// The certificate is that of another node.
    #[error(
        "{certificate} is for {found}, but this node is {node_id}\n    run `agent init` to make a new certificate"
    )]
    OtherId {
        /// The certificate.
        certificate: PathBuf,
        /// The id in it.
        found: String,
        /// The id of this node.
        node_id: NodeId,
    },
    /// An id was asked for that is not the one this machine has.
    #[error(
        "this machine is already node {existing}, not {wanted}\n    remove {file} first if it really is to become another node"
    )]
    AlreadyAnother {
        /// Its id.
        existing: NodeId,
        /// The id asked for.
        wanted: NodeId,
        /// Where its id is.
        file: PathBuf,
    },
}
