// SPDX-License-Identifier: Apache-2.0
//! A second key and certificate beside those in use, and how they take their place.
//!
//! ```text
//! key.next ─▶ certificate.next ─(the servers know the key)─▶ .old copies ─▶ key ─▶ public key ─▶ certificate
//! ```
//!
//! Invariant: whatever step was the last before the machine stopped, [`Identity::load`] finds a key and
//! a certificate that belong together, and [`recover`] does the steps that are left: until the last one is done, the
//! new certificate is beside the old one, without a key to come.

use std::{fs, io, path::Path, path::PathBuf};

use openssl::pkey::{PKey, Private};
use protocol::{
    certificate::Certificate,
    node_id::NodeId,
    private_key::{self, KeyKind},
};

use super::{Identity, IdentityError, holds, read, refused, write};
use crate::{
    durable::{self, PRIVATE, PUBLIC},
    paths::Paths,
};

/// The place beside a file for what will replace it.
pub fn next_of(path: &Path) -> PathBuf {
    beside(path, ".next")
}

/// The place beside a file for what it was.
pub fn old_of(path: &Path) -> PathBuf {
    beside(path, ".old")
}

pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    path.with_file_name(name)
}

/// The identity that is to come, if one was prepared.
pub fn prepared(paths: &Paths, node_id: &NodeId) -> Result<Option<Identity>, IdentityError> {
    let file = next_of(&paths.key);
    let Some(pem) = read(&file)? else { return Ok(None) };
    let key = private_key::from_pem(&pem).map_err(|e| IdentityError::Key(file, e))?;
    let certificate = certificate(paths, node_id, &key)?;
    Ok(Some(Identity { node_id: node_id.clone(), certificate, key }))
}

/// Makes an identity that is to come, or gives the one that was made already.
pub fn prepare(paths: &Paths, node_id: &NodeId, kind: KeyKind) -> Result<Identity, IdentityError> {
    if let Some(prepared) = prepared(paths, node_id)? {
        return Ok(prepared);
    }
    let file = next_of(&paths.key);
    let bad = |e| IdentityError::Key(file.clone(), e);
    let key = private_key::generate(kind).map_err(bad)?;
    write(&file, &private_key::to_pem(&key).map_err(bad)?, PRIVATE)?;
    let certificate = certificate(paths, node_id, &key)?;
    Ok(Identity { node_id: node_id.clone(), certificate, key })
}

/// The certificate of the key to come, made when there is none.
fn certificate(paths: &Paths, node_id: &NodeId, key: &PKey<Private>) -> Result<Certificate, IdentityError> {
    let file = next_of(&paths.certificate);
    let existing = read(&file)?.and_then(|pem| Certificate::from_pem(&pem).ok());
    if let Some(fitting) = existing.filter(|c| c.node_id() == Some(node_id) && holds(c, key)) {
        return Ok(fitting);
    }
    let bad = |e| IdentityError::Key(next_of(&paths.key), e);
    let certificate = match refused::certificate(paths, key)?.filter(|c| c.node_id() == Some(node_id)) {
        // Servers check signatures with the certificate that they got.
        Some(known) => known,
        None => private_key::self_signed(key, node_id).map_err(bad)?,
    };
    let pem = certificate.x509().to_pem().map_err(|e| bad(e.into()))?;
    write(&file, &pem, PUBLIC)?;
    Ok(certificate)
}

/// Removes what the key before the last change left.
pub fn forget_old(paths: &Paths) -> Result<(), IdentityError> {
    for file in [old_of(&paths.key), old_of(&paths.certificate)] {
        remove(&file)?;
    }
    Ok(())
}

pub(super) fn remove(file: &Path) -> Result<(), IdentityError> {
    let removed = match fs::remove_file(file) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        removed => removed.and_then(|()| durable::sync_parent(file)),
    };
    removed.map_err(|e| IdentityError::Io(file.to_owned(), e))
}

/// A step of the change; doing it twice is harmless.
type Step = fn(&Paths) -> Result<(), IdentityError>;

const STEPS: [Step; 4] = [keep_old, put_key, put_public_key, put_certificate];

/// Puts the prepared identity in the place of the one in use.
pub fn activate(paths: &Paths) -> Result<(), IdentityError> {
    STEPS.iter().try_for_each(|step| step(paths))
}

/// Ends a change that was interrupted after its key was put in place. Gives whether there was one.
pub fn recover(paths: &Paths) -> Result<bool, IdentityError> {
    let interrupted = !next_of(&paths.key).exists() && is_of_key_in_use(paths, &next_of(&paths.certificate))?;
    if interrupted {
        put_public_key(paths)?;
        put_certificate(paths)?;
    }
    Ok(interrupted)
}

/// Whether there is a certificate in this file, and the key in use is its own.
fn is_of_key_in_use(paths: &Paths, certificate: &Path) -> Result<bool, IdentityError> {
    let certificate = read(certificate)?.and_then(|pem| Certificate::from_pem(&pem).ok());
    let key = read(&paths.key)?.and_then(|pem| private_key::from_pem(&pem).ok());
    Ok(certificate.zip(key).is_some_and(|(certificate, key)| holds(&certificate, &key)))
}

fn keep_old(paths: &Paths) -> Result<(), IdentityError> {
    // Once the key is in place, what would be kept is half old, half new.
    if !next_of(&paths.key).exists() {
        return Ok(());
    }
    for (file, mode) in [(&paths.key, PRIVATE), (&paths.certificate, PUBLIC)] {
        if let Some(content) = read(file)? {
            write(&old_of(file), &content, mode)?;
        }
    }
    Ok(())
}

fn put_key(paths: &Paths) -> Result<(), IdentityError> {
    put(&paths.key)
}

fn put_certificate(paths: &Paths) -> Result<(), IdentityError> {
    put(&paths.certificate)
}

fn put(file: &Path) -> Result<(), IdentityError> {
    let put = match fs::rename(next_of(file), file) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        renamed => renamed.and_then(|()| durable::sync_parent(file)),
    };
    put.map_err(|e| IdentityError::Io(file.to_owned(), e))
}

fn put_public_key(paths: &Paths) -> Result<(), IdentityError> {
    let missing = || IdentityError::Missing(paths.key.clone());
    let key = private_key::from_pem(&read(&paths.key)?.ok_or_else(missing)?);
    let public = key.and_then(|key| private_key::public_to_pem(&key));
    write(&paths.public_key, &public.map_err(|e| IdentityError::Key(paths.key.clone(), e))?, PUBLIC)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::identity::{InitOptions, init};

    fn machine() -> (tempfile::TempDir, Paths, Identity) {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::below(root.path());
        let options = InitOptions { key: KeyKind::P256, node_id: None };
        let identity = init(&paths, &options).unwrap().identity;
        (root, paths, identity)
    }

    #[test]
    fn a_change_cut_after_any_step_leaves_a_working_identity_and_is_finished() {
        for done in 0..=STEPS.len() {
            let (_root, paths, before) = machine();
            let next = prepare(&paths, &before.node_id, KeyKind::P256).unwrap();
            STEPS[..done].iter().for_each(|step| step(&paths).unwrap());
            let cut = Identity::load(&paths).unwrap();
            let expected = if done < 2 { &before } else { &next };
            assert_eq!(cut.certificate.key_hash(), expected.certificate.key_hash(), "after {done} steps");
            assert_eq!(recover(&paths).unwrap(), done == 2 || done == 3, "after {done} steps");
            let public = private_key::public_to_pem(&Identity::load(&paths).unwrap().key).unwrap();
            assert_eq!(fs::read(&paths.public_key).unwrap(), public, "after {done} steps");
            assert_eq!(next_of(&paths.certificate).exists(), done < 2, "after {done} steps");
            // What makes files that are missing must not make another certificate for the new key.
            let again = init(&paths, &InitOptions { key: KeyKind::P256, node_id: None }).unwrap();
            assert_eq!(again.identity.certificate.serial(), expected.certificate.serial());
            activate(&paths).unwrap();
            let after = Identity::load(&paths).unwrap();
            assert_eq!(after.certificate.key_hash(), next.certificate.key_hash());
            assert_eq!(prepared(&paths, &before.node_id).unwrap().map(|_| ()), None);
            let old = super::super::load_pair(&old_of(&paths.certificate), &old_of(&paths.key)).unwrap();
            assert_eq!(old.0.key_hash(), before.certificate.key_hash());
            let public = private_key::public_to_pem(&next.key).unwrap();
            assert_eq!(fs::read(&paths.public_key).unwrap(), public);
        }
    }

    #[test]
    fn what_is_prepared_is_made_once_and_for_the_owner_only() {
        let (_root, paths, identity) = machine();
        let first = prepare(&paths, &identity.node_id, KeyKind::P256).unwrap();
        fs::remove_file(next_of(&paths.certificate)).unwrap();
        let second = prepare(&paths, &identity.node_id, KeyKind::Rsa4096).unwrap();
        assert_eq!(first.certificate.key_hash(), second.certificate.key_hash());
        let mode = fs::metadata(next_of(&paths.key)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let still = Identity::load(&paths).unwrap();
        assert_eq!(still.certificate.key_hash(), identity.certificate.key_hash());
    }
}
