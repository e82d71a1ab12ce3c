// SPDX-License-Identifier: Apache-2.0
//! Keys that a server refused, kept beside those in use: who said so is not who decides, and the root may have
//! one of them as the current key of this node.
//!
//! ```text
//! key.next, certificate.next ─refused─▶ key.refused-1a2b3c4d, certificate.refused-1a2b3c4d ─known after all─▶ .next
//! ```
//!
//! The name has the start of the key's SHA-256, so that none takes the place of another.

use std::{fs, fs::File, io, path::Path, path::PathBuf, time::SystemTime};

use openssl::{
    pkey::{PKey, Private},
    sha::sha256,
};
use protocol::{certificate::Certificate, node_id::NodeId, private_key};

use super::{
    Identity, IdentityError, holds,
    next::{beside, next_of, remove},
    read,
};
use crate::{durable, paths::Paths};

const SUFFIX: &str = ".refused-";

/// The place beside a file for what was refused, by key.
fn refused_of(path: &Path, key: &PKey<Private>) -> Result<PathBuf, IdentityError> {
    let der = key.public_key_to_der().map_err(|e| IdentityError::Key(path.to_owned(), e.into()))?;
    let hash: String = sha256(&der)[..4].iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(beside(path, &format!("{SUFFIX}{hash}")))
}

/// Puts the identity that was to come aside. Gives where its key is.
pub fn put_aside(paths: &Paths, refused: &Identity) -> Result<PathBuf, IdentityError> {
    // The certificate first: a certificate to come without its key is one that is being put in place.
    rename(&next_of(&paths.certificate), &refused_of(&paths.certificate, &refused.key)?)?;
    let place = refused_of(&paths.key, &refused.key)?;
    // Its age counts from here; where that cannot be written, from when it was made.
    let _ = File::open(next_of(&paths.key)).and_then(|file| file.set_modified(SystemTime::now()));
    rename(&next_of(&paths.key), &place)?;
    Ok(place)
}

/// Makes one that was refused the identity to come.
pub fn take_back(paths: &Paths, refused: &Identity) -> Result<(), IdentityError> {
    rename(&refused_of(&paths.key, &refused.key)?, &next_of(&paths.key))?;
    rename(&refused_of(&paths.certificate, &refused.key)?, &next_of(&paths.certificate))
}

/// The certificate that was refused with this key: when putting aside or taking back was cut short, only that
/// of the two which is needed least has moved.
pub(super) fn certificate(paths: &Paths, key: &PKey<Private>) -> Result<Option<Certificate>, IdentityError> {
    let pem = read(&refused_of(&paths.certificate, key)?)?;
    Ok(pem.and_then(|pem| Certificate::from_pem(&pem).ok()).filter(|certificate| holds(certificate, key)))
}

/// All pairs that were refused, the last one first. What cannot be used is left out.
pub fn all(paths: &Paths, node_id: &NodeId) -> Result<Vec<Identity>, IdentityError> {
    let mut found: Vec<(SystemTime, Identity)> = vec![];
    for (file, since) in places(paths)? {
        let Some(pem) = read(&file)? else { continue };
        let Ok(key) = private_key::from_pem(&pem) else { continue };
        let certificate = certificate(paths, &key)?.filter(|one| one.node_id() == Some(node_id));
        if let Some(certificate) = certificate {
            found.push((since, Identity { node_id: node_id.clone(), certificate, key }));
        }
    }
    found.sort_by_key(|(since, _)| std::cmp::Reverse(*since));
    Ok(found.into_iter().map(|(_, identity)| identity).collect())
}

/// Whether there is any.
pub fn is_any(paths: &Paths) -> bool {
    places(paths).is_ok_and(|places| !places.is_empty())
}

/// Removes those that were put aside before `then`.
pub fn forget(paths: &Paths, then: SystemTime) -> Result<(), IdentityError> {
    for (file, since) in places(paths)? {
        if since >= then {
            continue;
        }
        let key = read(&file)?.and_then(|pem| private_key::from_pem(&pem).ok());
        if let Some(key) = key {
            remove(&refused_of(&paths.certificate, &key)?)?;
        }
        remove(&file)?;
    }
    Ok(())
}

/// The keys' files, and since when they are there.
fn places(paths: &Paths) -> Result<Vec<(PathBuf, SystemTime)>, IdentityError> {
    let Some(directory) = paths.key.parent() else { return Ok(vec![]) };
    let failed = |e| IdentityError::Io(directory.to_owned(), e);
    let entries = match fs::read_dir(directory) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        entries => entries.map_err(failed)?,
    };
    let start = beside(&paths.key, SUFFIX);
    let mut found = vec![];
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        let is_one = path.as_os_str().as_encoded_bytes().starts_with(start.as_os_str().as_encoded_bytes());
        // What goes away meanwhile is none.
        if let (true, Ok(since)) = (is_one, fs::metadata(&path).and_then(|metadata| metadata.modified())) {
            found.push((path, since));
        }
    }
    Ok(found)
}

fn rename(from: &Path, to: &Path) -> Result<(), IdentityError> {
    let renamed = match fs::rename(from, to) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        renamed => renamed.and_then(|()| durable::sync_parent(to)),
    };
    renamed.map_err(|e| IdentityError::Io(from.to_owned(), e))
}

#[cfg(test)]
mod tests {
    use protocol::private_key::KeyKind;

    use super::*;
    use crate::identity::{InitOptions, init, next};

    #[test]
    fn what_was_refused_stays_and_comes_back_with_its_certificate_however_it_is_cut() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::below(root.path());
        let options = InitOptions { key: KeyKind::P256, node_id: None };
        let own = init(&paths, &options).unwrap().identity;
        let first = next::prepare(&paths, &own.node_id, KeyKind::P256).unwrap();
        put_aside(&paths, &first).unwrap();
        let second = next::prepare(&paths, &own.node_id, KeyKind::P256).unwrap();
        // Cut after the certificate: the key to come has its own again.
        let place = refused_of(&paths.certificate, &second.key).unwrap();
        rename(&next_of(&paths.certificate), &place).unwrap();
        assert!(!next::recover(&paths).unwrap());
        let again = next::prepared(&paths, &own.node_id).unwrap().unwrap();
        assert_eq!(again.certificate.serial(), second.certificate.serial());
        put_aside(&paths, &second).unwrap();
        assert_eq!(all(&paths, &own.node_id).unwrap().len(), 2);
        assert!(!next_of(&paths.key).exists() && !next_of(&paths.certificate).exists());
        // Cut after the key.
        rename(&refused_of(&paths.key, &first.key).unwrap(), &next_of(&paths.key)).unwrap();
        let back = next::prepared(&paths, &own.node_id).unwrap().unwrap();
        assert_eq!(back.certificate.serial(), first.certificate.serial());
        next::activate(&paths).unwrap();
        assert_eq!(Identity::load(&paths).unwrap().certificate.serial(), first.certificate.serial());
        take_back(&paths, &second).unwrap();
        next::activate(&paths).unwrap();
        assert_eq!(Identity::load(&paths).unwrap().certificate.serial(), second.certificate.serial());
        assert!(!is_any(&paths));
    }

    #[test]
    fn it_is_forgotten_by_age() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::below(root.path());
        let options = InitOptions { key: KeyKind::P256, node_id: None };
        let own = init(&paths, &options).unwrap().identity;
        let refused = next::prepare(&paths, &own.node_id, KeyKind::P256).unwrap();
        let place = put_aside(&paths, &refused).unwrap();
        let since = fs::metadata(&place).unwrap().modified().unwrap();
        forget(&paths, since).unwrap();
        assert!(is_any(&paths));
        forget(&paths, since + std::time::Duration::from_secs(1)).unwrap();
        assert!(!is_any(&paths) && !refused_of(&paths.certificate, &refused.key).unwrap().exists());
        assert!(paths.key.exists() && paths.certificate.exists());
    }
}
