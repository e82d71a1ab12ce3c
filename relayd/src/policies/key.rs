// SPDX-License-Identifier: Apache-2.0
//! The policy key: what nodes know the author of their policies by, whichever servers these came through.
//!
//! ```text
//! <directory>/key.pem        the key in use and its certificate
//!             next.pem       the one that follows it, made known before it is used
//!             former.pem     certificates of those before it
//! ```
//!
//! Key and certificate are in one file, so that the change to the next one is one rename. The directory
//! belongs to whoever made it, not to the daemon, which never signs: who breaks into the daemon cannot
//! make policies.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use openssl::{
    error::ErrorStack,
    pkey::{PKey, Private},
};
use protocol::{
    certificate::{self, Certificate, CertificateError},
    private_key::{self, KeyKind, PrivateKeyError},
};
use zeroize::Zeroizing;

use crate::{
    ca::{CaError, issue},
    durable::{self, Access, PRIVATE, PUBLIC},
};

/// A key that signs policies, and its certificate.
pub struct PolicyKey {
    key: PKey<Private>,
    certificate: Certificate,
}

/// Never shows the key.
impl fmt::Debug for PolicyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PolicyKey").field("key_hash", &self.certificate.key_hash().to_string()).finish()
    }
}

/// The certificates of all policy keys.
#[derive(Debug, Clone)]
pub struct Known {
    /// Signs now.
    pub current: Certificate,
    /// Will sign.
    pub next: Option<Certificate>,
    /// Signed before, oldest first.
    pub former: Vec<Certificate>,
}

impl Known {
    /// What nodes shall pin: the current one and the next.
    pub fn to_pin(&self) -> Vec<&Certificate> {
        [&self.current].into_iter().chain(&self.next).collect()
    }

    /// All of them.
    pub fn all(&self) -> Vec<Certificate> {
        let to_pin = self.to_pin().into_iter().chain(&self.former);
        to_pin.cloned().collect()
    }
}

/// How a key shall be.
#[derive(Debug, Clone)]
pub struct NewKey<'a> {
    /// Common name of its certificate, 1 to 64 characters.
    pub name: &'a str,
    /// Which kind.
    pub kind: KeyKind,
    /// How many days its certificate says to be valid; nodes do not look at that.
    pub days: u32,
}

/// Why there is no policy key.
#[derive(Debug, thiserror::Error)]
pub enum PolicyKeyError {
    /// A file cannot be read or written.
    #[error("cannot {verb} {}: {error}; run this as the owner of the directory or as root", path.display())]
    File {
        /// What was tried.
        verb: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// It is there, and nodes may have pinned it.
    #[error(
        "{} is there already, and nodes may have pinned it; to change to another key: `relayd policy key next`",
        .0.display()
    )]
    Exists(PathBuf),
    /// The next one is there.
    #[error("{} is there already; use it with `relayd policy key activate`, or remove it", .0.display())]
    NextExists(PathBuf),
    /// There is none.
    #[error("there is no policy key in {}; make one with `relayd policy key init`", .0.display())]
    Missing(PathBuf),
    /// There is none to change to.
    #[error("there is no next policy key in {}; make one with `relayd policy key next`", .0.display())]
    NoNext(PathBuf),
    /// The file holds no key.
    #[error("{}: {error}; put it back from a backup", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: PrivateKeyError,
    },
    /// The file holds no certificate.
    #[error("{}: {error}; put it back from a backup", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: CertificateError,
    },
    /// The two do not belong together.
    #[error("the key in {} is not that of its certificate; put the file back from a backup", .0.display())]
    Mismatch(PathBuf),
    /// A certificate cannot be made.
    #[error(transparent)]
    Issue(#[from] CaError),
    /// A key cannot be made.
    #[error(transparent)]
    PrivateKey(#[from] PrivateKeyError),
    /// OpenSSL refused.
    #[error("OpenSSL: {0}")]
    OpenSsl(#[from] ErrorStack),
}

impl PolicyKey {
    /// Makes the first one. Never overwrites one.
    pub fn init(directory: &Path, new: &NewKey<'_>) -> Result<Self, PolicyKeyError> {
        make(directory, &key_file(directory), new).map_err(|error| match error {
            PolicyKeyError::NextExists(path) => PolicyKeyError::Exists(path),
            error => error,
        })
    }

    /// Makes the one that shall follow.
    pub fn next(directory: &Path, new: &NewKey<'_>) -> Result<Self, PolicyKeyError> {
        Self::load(directory)?;
        make(directory, &next_file(directory), new)
    }

    /// Reads the one in use.
    pub fn load(directory: &Path) -> Result<Self, PolicyKeyError> {
        read_pair(&key_file(directory))?.ok_or_else(|| PolicyKeyError::Missing(directory.to_owned()))
    }

    /// Changes to the next one. Repeating it after an interruption does no harm.
    pub fn activate(directory: &Path) -> Result<Known, PolicyKeyError> {
        let (next, former) = (next_file(directory), directory.join("former.pem"));
        if read_pair(&next)?.is_none() {
            return Err(PolicyKeyError::NoNext(directory.to_owned()));
        }
        let mut known = Known::load(directory)?;
        known.former.retain(|one| one.fingerprint() != known.current.fingerprint());
        known.former.push(known.current.clone());
        let pem: Vec<u8> = known.former.iter().flat_map(Certificate::to_pem).collect();
        durable::replace(&former, &pem, Access::own(PUBLIC)).map_err(|e| failed("write", &former, e))?;
        let current = key_file(directory);
        fs::rename(&next, &current)
            .and_then(|()| durable::sync_parent(&current))
            .map_err(|e| failed("write", &current, e))?;
        Known::load(directory)
    }

    /// Its key.
    pub fn key(&self) -> &PKey<Private> {
        &self.key
    }

    /// Its certificate, by which nodes know it.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }
}

impl Known {
    /// Reads the certificates of all keys.
    pub fn load(directory: &Path) -> Result<Self, PolicyKeyError> {
        let former = directory.join("former.pem");
        let current = PolicyKey::load(directory)?.certificate;
        let next = read_pair(&next_file(directory))?.map(|next| next.certificate);
        let former = match read(&former)? {
            Some(pem) => certificate::read_bundle(&pem)
                .map_err(|error| PolicyKeyError::Certificate { path: former, error })?,
            None => Vec::new(),
        };
        Ok(Self { current, next, former })
    }
}

fn key_file(directory: &Path) -> PathBuf {
    directory.join("key.pem")
}

fn next_file(directory: &Path) -> PathBuf {
    directory.join("next.pem")
}

fn make(directory: &Path, path: &Path, new: &NewKey<'_>) -> Result<PolicyKey, PolicyKeyError> {
    if path.symlink_metadata().is_ok() {
        return Err(PolicyKeyError::NextExists(path.to_owned()));
    }
    durable::create_own_private_directory(directory).map_err(|e| failed("make", directory, e))?;
    let key = private_key::generate(new.kind)?;
    let certificate = issue::signer_certificate(&key, new.name, new.days)?;
    let pem = Zeroizing::new([private_key::to_pem(&key)?.as_slice(), &certificate.to_pem()].concat());
    durable::create(path, &pem, Access::own(PRIVATE)).map_err(|e| match e.kind() {
        io::ErrorKind::AlreadyExists => PolicyKeyError::NextExists(path.to_owned()),
        _ => failed("write", path, e),
    })?;
    Ok(PolicyKey { key, certificate })
}

fn read_pair(path: &Path) -> Result<Option<PolicyKey>, PolicyKeyError> {
    let Some(pem) = read(path)? else { return Ok(None) };
    let key =
        private_key::from_pem(&pem).map_err(|error| PolicyKeyError::Key { path: path.to_owned(), error })?;
    let certificate = Certificate::from_pem(&pem)
        .map_err(|error| PolicyKeyError::Certificate { path: path.to_owned(), error })?;
    match key.public_key_to_der()? == certificate.spki_der() {
        true => Ok(Some(PolicyKey { key, certificate })),
        false => Err(PolicyKeyError::Mismatch(path.to_owned())),
    }
}

fn read(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, PolicyKeyError> {
    match fs::read(path) {
        Ok(content) => Ok(Some(Zeroizing::new(content))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read", path, error)),
    }
}

fn failed(verb: &'static str, path: &Path, error: io::Error) -> PolicyKeyError {
    PolicyKeyError::File { verb, path: path.to_owned(), error }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const NEW: NewKey<'_> = NewKey { name: "policies", kind: KeyKind::P256, days: 10 };

    #[test]
    fn a_key_is_made_once_and_for_its_owner_only() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("policy-key");
        assert!(matches!(PolicyKey::load(&place), Err(PolicyKeyError::Missing(_))));
        assert!(matches!(PolicyKey::next(&place, &NEW), Err(PolicyKeyError::Missing(_))));
        let made = PolicyKey::init(&place, &NEW).unwrap();
        assert!(matches!(PolicyKey::init(&place, &NEW), Err(PolicyKeyError::Exists(_))));
        let read = PolicyKey::load(&place).unwrap();
        assert_eq!(read.certificate().fingerprint(), made.certificate().fingerprint());
        assert!(!read.certificate().has_uid(), "it is no node");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&place), mode(&place.join("key.pem"))), (0o700, 0o600));
        assert!(!format!("{made:?}").contains("PRIVATE"));
    }

    #[test]
    fn the_next_key_takes_over_and_the_former_ones_are_remembered() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path();
        let hash = |certificate: &Certificate| certificate.key_hash();
        let first = hash(PolicyKey::init(place, &NEW).unwrap().certificate());
        assert!(matches!(PolicyKey::activate(place), Err(PolicyKeyError::NoNext(_))));
        let second = hash(PolicyKey::next(place, &NEW).unwrap().certificate());
        assert!(matches!(PolicyKey::next(place, &NEW), Err(PolicyKeyError::NextExists(_))));
        let known = Known::load(place).unwrap();
        assert_eq!(known.to_pin().into_iter().map(hash).collect::<Vec<_>>(), [first.clone(), second.clone()]);
        let known = PolicyKey::activate(place).unwrap();
        assert_eq!((hash(&known.current), known.next.is_none()), (second, true));
        assert_eq!(known.former.iter().map(hash).collect::<Vec<_>>(), [first]);
        // As if the last change had stopped before the rename.
        PolicyKey::next(place, &NEW).unwrap();
        fs::write(place.join("former.pem"), [known.former[0].to_pem(), known.current.to_pem()].concat())
            .unwrap();
        assert_eq!(PolicyKey::activate(place).unwrap().former.len(), 2);
    }

    #[test]
    fn broken_files_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path();
        PolicyKey::init(place, &NEW).unwrap();
        let other = tempfile::tempdir().unwrap();
        let stranger = PolicyKey::init(other.path(), &NEW).unwrap();
        let good = fs::read_to_string(place.join("key.pem")).unwrap();
        let key_alone = good.split_once("-----BEGIN CERTIFICATE").unwrap().0.to_owned();
        let with_other = key_alone.clone() + &String::from_utf8(stranger.certificate().to_pem()).unwrap();
        for (content, said) in
            [("", "usable PEM"), (&key_alone, "no certificate"), (&with_other, "not that of")]
        {
            fs::write(place.join("key.pem"), content).unwrap();
            let error = PolicyKey::load(place).unwrap_err().to_string();
            assert!(error.contains(said) && error.contains("key.pem") && error.contains("backup"), "{error}");
        }
    }
}
