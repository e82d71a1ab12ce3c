// SPDX-License-Identifier: Apache-2.0
//! The built-in certification authority of a root: a key and its certificate in a directory of their own.
//!
//! It is an offer, not a need: nodes are known by their keys, with self-signed certificates. Who has
//! it gets certificates that other programs can check, for nodes and for services on them.
//!
//! | file | what |
//! |---|---|
//! | [`issue`] | what certificates say, and for how long |
//! | [`name`] | the names they may be for |
//!
//! The key is made once and never overwritten. A renewed certificate has the same key and the same
//! name, so what was issued before is still good under it. Nothing is remembered of what was issued.

pub mod issue;
pub mod name;

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use openssl::{
    error::ErrorStack,
    pkey::{PKey, Private},
};
use protocol::{
    certificate::{Certificate, CertificateError},
    private_key::{self, KeyKind, PrivateKeyError},
};
use zeroize::Zeroizing;

use crate::durable::{self, Access, PRIVATE, PUBLIC};

/// Key and certificate of the authority, fit for each other.
pub struct Authority {
    certificate: Certificate,
    key: PKey<Private>,
}

/// Never shows the key.
impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("key_hash", &self.certificate.key_hash().to_string()).finish()
    }
}

/// Why there is no authority, or no certificate from it.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// A file cannot be read or written.
    #[error("cannot {verb} {}: {error}; run this as the user of the daemon or as root", path.display())]
    File {
        /// What was tried.
        verb: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// There is one.
    #[error(
        "{} is there already, and nodes may trust it; to make its certificate valid for longer run `relayd ca renew`",
        .0.display()
    )]
    Exists(PathBuf),
    /// There is none.
    #[error("there is no authority in {}; make one with `relayd ca init`", .0.display())]
    Missing(PathBuf),
    /// Only one of the two files is there.
    #[error("{} is missing, but {} is there; put it back from a backup", missing.display(), there.display())]
    Half {
        /// The one that is not there.
        missing: PathBuf,
        /// The one that is.
        there: PathBuf,
    },
    /// The certificate file holds none.
    #[error("{}: {error}; put it back from a backup", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: CertificateError,
    },
    /// The key file holds none.
    #[error("{}: {error}; put it back from a backup", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: PrivateKeyError,
    },
    /// The two files are not of one authority.
    #[error("the key in {} is not that of the certificate beside it; put both back from one backup", .0.display())]
    Mismatch(PathBuf),
    /// What it would sign now would be worth nothing.
    #[error("the certificate of the authority has expired; run `relayd ca renew`")]
    Expired,
    /// A key that is too weak, or of a kind that is not used here.
    #[error(
        "a certificate is issued for RSA keys of 2048 bits or more and for keys on P-256, P-384 or P-521"
    )]
    WeakKey,
    /// OpenSSL refused.
    #[error("OpenSSL: {0}")]
    OpenSsl(#[from] ErrorStack),
    /// A key could not be made or printed.
    #[error("{0}")]
    PrivateKey(#[from] PrivateKeyError),
}

/// How a new authority shall be.
#[derive(Debug, Clone)]
pub struct NewAuthority<'a> {
    /// The common name of its certificate, 1 to 64 characters.
    pub name: &'a str,
    /// Which key it gets.
    pub key: KeyKind,
    /// How many days its certificate is valid.
    pub days: u32,
}

impl Authority {
    /// Makes a new one and writes it to the directory, which is made for its owner only.
    pub fn init(directory: &Path, new: &NewAuthority<'_>) -> Result<Self, CaError> {
        let (key_file, certificate_file) = files(directory);
        for path in [&key_file, &certificate_file] {
            if path.symlink_metadata().is_ok() {
                return Err(CaError::Exists(path.clone()));
            }
        }
        durable::create_private_directory(directory).map_err(|e| failed("make", directory, e))?;
        let access = Access::like(directory).map_err(|e| failed("read", directory, e))?;
        let key = private_key::generate(new.key)?;
        let certificate = issue::own_certificate(&key, new.name, new.days)?;
        // The key first: with it alone the certificate can be made again, but not the other way round.
        let pem = private_key::to_pem(&key)?;
        create(&key_file, &pem, access.with_mode(PRIVATE))?;
        create(&certificate_file, &certificate.to_pem(), access.with_mode(PUBLIC))?;
        Ok(Self { certificate, key })
    }

    /// Reads what is in the directory; `None` when there is no authority.
    pub fn load(settings: &crate::config::Ca) -> Result<Option<Self>, CaError> {
        let (key_file, certificate_file) = files(&settings.directory);
        let (key_pem, certificate_pem) = match (read(&key_file)?, read(&certificate_file)?) {
            (Some(key), Some(certificate)) => (key, certificate),
            (None, None) => return Ok(None),
            (None, Some(_)) => return Err(CaError::Half { missing: key_file, there: certificate_file }),
            (Some(_), None) => return Err(CaError::Half { missing: certificate_file, there: key_file }),
        };
        let certificate = Certificate::from_pem(&certificate_pem)
            .map_err(|error| CaError::Certificate { path: certificate_file, error })?;
        let key = private_key::from_pem(&key_pem)
            .map_err(|error| CaError::Key { path: key_file.clone(), error })?;
        match key.public_key_to_der()? == certificate.spki_der() {
            true => Ok(Some(Self { certificate, key })),
            false => Err(CaError::Mismatch(key_file)),
        }
    }

    /// As [`Self::load`], where one is needed.
    pub fn required(settings: &crate::config::Ca) -> Result<Self, CaError> {
        Self::load(settings)?.ok_or_else(|| CaError::Missing(settings.directory.clone()))
    }

    /// Makes its certificate anew for the same key and name, valid for this many days from now, and
    /// replaces the file. What it issued stays good.
    pub fn renew(self, settings: &crate::config::Ca, days: u32) -> Result<Self, CaError> {
        let certificate = issue::renewed(&self.certificate, &self.key, days)?;
        let path = certificate_file(settings);
        let access = Access::like(&path).map_err(|e| failed("read", &path, e))?;
        durable::replace(&path, &certificate.to_pem(), access).map_err(|e| failed("write", &path, e))?;
        Ok(Self { certificate, key: self.key })
    }

    /// Its own certificate, which those who check what it issued must trust.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }
}

/// The certificate alone, for those who need not read the key; `None` when there is no authority.
pub fn certificate(settings: &crate::config::Ca) -> Result<Option<Certificate>, CaError> {
    let path = certificate_file(settings);
    let Some(pem) = read(&path)? else { return Ok(None) };
    Certificate::from_pem(&pem).map(Some).map_err(|error| CaError::Certificate { path, error })
}

/// Where the certificate is, if there is an authority.
pub fn certificate_file(settings: &crate::config::Ca) -> PathBuf {
    files(&settings.directory).1
}

/// Key file and certificate file.
fn files(directory: &Path) -> (PathBuf, PathBuf) {
    (directory.join("ca.key"), directory.join("ca.cert"))
}

fn read(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, CaError> {
    match fs::read(path) {
        Ok(content) => Ok(Some(Zeroizing::new(content))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(failed("read", path, e)),
    }
}

fn create(path: &Path, content: &[u8], access: Access) -> Result<(), CaError> {
    durable::create(path, content, access).map_err(|e| match e.kind() {
        io::ErrorKind::AlreadyExists => CaError::Exists(path.to_owned()),
        _ => failed("write", path, e),
    })
}

fn failed(verb: &'static str, path: &Path, error: io::Error) -> CaError {
    CaError::File { verb, path: path.to_owned(), error }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::PermissionsExt, time::Duration};

    use super::*;
    use crate::config::Ca;

    const NEW: NewAuthority<'_> = NewAuthority { name: "test CA", key: KeyKind::P256, days: 10 };

    fn settings(directory: &Path) -> Ca {
        Ca { directory: directory.join("ca"), node_certificate_lifetime: Duration::from_secs(86_400) }
    }

    #[test]
    fn it_is_made_once_and_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let settings = settings(directory.path());
        assert!(Authority::load(&settings).unwrap().is_none());
        assert!(matches!(Authority::required(&settings), Err(CaError::Missing(_))));
        let made = Authority::init(&settings.directory, &NEW).unwrap();
        let read = Authority::required(&settings).unwrap();
        assert_eq!(read.certificate().key_hash(), made.certificate().key_hash());
        assert_eq!(certificate(&settings).unwrap().unwrap().key_hash(), made.certificate().key_hash());
        assert!(matches!(Authority::init(&settings.directory, &NEW), Err(CaError::Exists(_))));
        let mode =
            |name: &str| fs::metadata(settings.directory.join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("."), mode("ca.key"), mode("ca.cert")), (0o700, 0o600, 0o644));
    }

    #[test]
    fn halves_and_strangers_are_refused_with_what_to_do() {
        let directory = tempfile::tempdir().unwrap();
        let settings = settings(directory.path());
        Authority::init(&settings.directory, &NEW).unwrap();
        let (key, certificate) = files(&settings.directory);
        let other = tempfile::tempdir().unwrap();
        Authority::init(&other.path().join("ca"), &NEW).unwrap();
        fs::copy(other.path().join("ca/ca.key"), &key).unwrap();
        assert!(matches!(Authority::load(&settings), Err(CaError::Mismatch(_))));
        fs::write(&key, "nothing").unwrap();
        assert!(matches!(Authority::load(&settings), Err(CaError::Key { .. })));
        fs::remove_file(&key).unwrap();
        let half = Authority::load(&settings).unwrap_err();
        assert!(half.to_string().contains("ca.key is missing, but"), "{half}");
        // Half an authority is not completed by another key.
        assert!(matches!(Authority::init(&settings.directory, &NEW), Err(CaError::Exists(_))));
        fs::write(&certificate, "nothing").unwrap();
        assert!(super::certificate(&settings).is_err());
    }

    #[test]
    fn what_it_shows_of_itself_is_no_secret() {
        let directory = tempfile::tempdir().unwrap();
        let settings = settings(directory.path());
        let authority = Authority::init(&settings.directory, &NEW).unwrap();
        let pem = fs::read_to_string(settings.directory.join("ca.key")).unwrap();
        let shown = format!("{authority:?}");
        assert!(shown.contains("sha256//") && pem.lines().all(|line| !shown.contains(line)), "{shown}");
    }
}
