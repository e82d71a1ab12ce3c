// SPDX-License-Identifier: Apache-2.0
//! Makes what a node needs to have an identity, and only what is missing or does not fit.
//!
//! A key that can be read is never replaced: servers know the node by it.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use openssl::pkey::{PKey, Private};
use protocol::{
    certificate::Certificate,
    hash::KeyHash,
    node_id::NodeId,
    private_key::{self, KeyKind},
};

use super::{Identity, IdentityError, holds, next, read, read_node_id};
use crate::{
    durable::{self, PRIVATE, PUBLIC},
    paths::Paths,
};

/// What a new identity is to be.
#[derive(Debug, Clone, Default)]
pub struct InitOptions {
    /// Kind of key, if one must be made.
    pub key: KeyKind,
    /// The id, if the machine has none; else it must be the same.
    pub node_id: Option<NodeId>,
}

/// A complete identity and what was made for it.
pub struct Initialised {
    /// The identity.
    pub identity: Identity,
    /// What was made or changed, for people.
    pub made: Vec<String>,
}

impl Initialised {
    /// The pin of this node's key.
    pub fn pin(&self) -> KeyHash {
        self.identity.certificate.key_hash()
    }
}

/// Completes the node's identity.
///
/// **Errors**: a file that holds something unusable is never replaced, except for the certificate.
pub fn init(paths: &Paths, options: &InitOptions) -> Result<Initialised, IdentityError> {
    let mut made = vec![];
    next::recover(paths)?;
    let node_id = node_id(paths, options.node_id.as_ref(), &mut made)?;
    let key = key(paths, options.key, &mut made)?;
    let certificate = certificate(paths, &node_id, &key, &mut made)?;
    Ok(Initialised { identity: Identity { node_id, certificate, key }, made })
}

fn node_id(paths: &Paths, wanted: Option<&NodeId>, made: &mut Vec<String>) -> Result<NodeId, IdentityError> {
    let file = &paths.node_id;
    match (read_node_id(file)?, wanted) {
        (Some(existing), Some(wanted)) if existing != *wanted => {
            Err(IdentityError::AlreadyAnother { existing, wanted: wanted.clone(), file: file.clone() })
        }
        (Some(existing), _) => Ok(existing),
        (None, wanted) => {
            let random = || uuid::Uuid::new_v4().to_string().parse();
            let id = wanted.cloned().map_or_else(random, Ok);
            let id = id.map_err(|e| IdentityError::NodeId(file.clone(), e))?;
            write(file, format!("{id}\n").as_bytes(), PUBLIC, made)?;
            Ok(id)
        }
    }
}

fn key(paths: &Paths, kind: KeyKind, made: &mut Vec<String>) -> Result<PKey<Private>, IdentityError> {
    let file = &paths.key;
    let bad = |e| IdentityError::Key(file.clone(), e);
    let io = |path: &Path| {
        let path = path.to_owned();
        move |e| IdentityError::Io(path, e)
    };
    if let Some(directory) = file.parent() {
        durable::create_private_directory(directory).map_err(io(directory))?;
        fs::set_permissions(directory, fs::Permissions::from_mode(0o700)).map_err(io(directory))?;
    }
    let existing = read(file)?.filter(|pem| !pem.trim_ascii().is_empty());
    let key = match existing {
        Some(pem) => {
            let key = private_key::from_pem(&pem).map_err(bad)?;
            if pem.windows(9).any(|word| word == b"ENCRYPTED") {
                // The passphrases of old agents are public: they only make other programs fail.
                write(file, &private_key::to_pem(&key).map_err(bad)?, PRIVATE, made)?;
            }
            fs::set_permissions(file, fs::Permissions::from_mode(PRIVATE)).map_err(io(file))?;
            key
        }
        None => {
            let key = private_key::generate(kind).map_err(bad)?;
            write(file, &private_key::to_pem(&key).map_err(bad)?, PRIVATE, made)?;
            key
        }
    };
    let public = private_key::public_to_pem(&key).map_err(bad)?;
    if read(&paths.public_key)?.as_deref() != Some(&public) {
        write(&paths.public_key, &public, PUBLIC, made)?;
    }
    Ok(key)
}

fn certificate(
    paths: &Paths,
    node_id: &NodeId,
    key: &PKey<Private>,
    made: &mut Vec<String>,
) -> Result<Certificate, IdentityError> {
    let file = &paths.certificate;
    let existing = read(file)?.and_then(|pem| Certificate::from_pem(&pem).ok());
    if let Some(fitting) = existing.filter(|c| c.node_id() == Some(node_id) && holds(c, key)) {
        return Ok(fitting);
    }
    let bad = |e| IdentityError::Key(paths.key.clone(), e);
    let certificate = private_key::self_signed(key, node_id).map_err(bad)?;
    let pem = certificate.x509().to_pem().map_err(|e| bad(e.into()))?;
    write(file, &pem, PUBLIC, made)?;
    Ok(certificate)
}

fn write(path: &Path, content: &[u8], mode: u32, made: &mut Vec<String>) -> Result<(), IdentityError> {
    super::write(path, content, mode)?;
    made.push(path.display().to_string());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn makes_all_once_and_then_nothing() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::below(root.path());
        let options = InitOptions { key: KeyKind::P256, node_id: None };
        let first = init(&paths, &options).unwrap();
        assert_eq!(first.made.len(), 4);
        assert_eq!(mode(&paths.key), 0o600);
        assert_eq!(mode(paths.key.parent().unwrap()), 0o700);
        let second = init(&paths, &options).unwrap();
        assert_eq!(second.made, Vec::<String>::new());
        assert_eq!(second.pin(), first.pin());
        assert_eq!(Identity::load(&paths).unwrap().node_id, first.identity.node_id);
    }

    #[test]
    fn a_certificate_that_does_not_fit_is_made_anew_and_the_key_stays() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::below(root.path());
        let options = InitOptions { key: KeyKind::P256, node_id: Some("one".parse().unwrap()) };
        let first = init(&paths, &options).unwrap();
        fs::write(&paths.node_id, "two").unwrap();
        assert!(matches!(Identity::load(&paths), Err(IdentityError::OtherId { .. })));
        assert!(matches!(init(&paths, &options), Err(IdentityError::AlreadyAnother { .. })));
        let second = init(&paths, &InitOptions { node_id: None, ..options }).unwrap();
        assert_eq!(second.pin(), first.pin());
        assert_eq!(Identity::load(&paths).unwrap().node_id.as_str(), "two");
    }

    #[test]
    fn an_unusable_key_is_never_overwritten() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::below(root.path());
        fs::create_dir_all(paths.key.parent().unwrap()).unwrap();
        fs::write(&paths.key, "precious but damaged").unwrap();
        assert!(matches!(init(&paths, &InitOptions::default()), Err(IdentityError::Key(..))));
        assert_eq!(fs::read_to_string(&paths.key).unwrap(), "precious but damaged");
    }
}
