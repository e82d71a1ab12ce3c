// SPDX-License-Identifier: Apache-2.0
//! The key by which nodes know this server, and the one that follows it.
//!
//! ```text
//!            next                    activate                      forget-chain
//!  current ───────▶ current + .next ──────────▶ new, and a chain ────────────────▶ new alone
//!             ▲           │                      to those before
//!             └── cancel ─┘
//! ```
//!
//! While there is a next key it is announced (protocol 13), so that agents know it before it is
//! used. Its certificate is signed by the key before it, and after the change both are sent: an agent
//! that slept through the announcement finds the key it knows at the end of the chain.
//!
//! The files are `<gateway.certificate>.next` and `<gateway.key>.next`. Each is whole or not there, the
//! certificate is written last, and the key is put in place first; so one look tells how far an interrupted
//! command came:
//!
//! | key | certificate | state |
//! |---|---|---|
//! | `.next` | — | `next` did not finish: nothing was announced |
//! | `.next` | `.next` | announced |
//! | — | `.next`, fits the current key | `activate` did not finish: the server already uses both |

mod change;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use openssl::{
    error::ErrorStack,
    pkey::{PKey, Private},
};
use protocol::{
    certificate::{self, Certificate, CertificateError},
    hash::KeyHash,
    private_key::{self, PrivateKeyError},
};
use zeroize::Zeroizing;

pub use self::change::{activate, cancel, forget_chain, prepare};
use crate::config::IdentityFiles;

/// What the server shows, read from its files.
pub struct ServerKey {
    /// Its certificate first, then those of the keys before it, each the signer of the one before.
    pub chain: Vec<Certificate>,
    /// The key of the first one.
    pub key: PKey<Private>,
    /// The certificate of the key that follows, when that is announced.
    pub next: Option<Certificate>,
}

/// Never shows the key.
impl std::fmt::Debug for ServerKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerKey").field("pin", &self.pin().to_string()).finish_non_exhaustive()
    }
}

/// Why keys cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum ServerKeyError {
    /// A file cannot be read or written.
    #[error("cannot {verb} {}: {error}", path.display())]
    File {
        /// What was tried.
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A certificate file holds none.
    #[error("{}: {error}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: CertificateError,
    },
    /// A certificate file is empty.
    #[error("{}: there is no certificate in it", .0.display())]
    Empty(PathBuf),
    /// A key file holds none.
    #[error("{}: {error}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: PrivateKeyError,
    },
    /// Key and certificate are not of one another.
    #[error("{} is not the key of {}; put back files that belong together", key.display(), certificate.display())]
    Mismatch {
        /// `gateway.key`, or the next one.
        key: PathBuf,
        /// `gateway.certificate`, or the next one.
        certificate: PathBuf,
    },
    /// There is a next key already.
    #[error(
        "there is a next key already, {0}, and agents may know it; `relayd server-key activate` uses it, \
         `relayd server-key cancel` gives it up"
    )]
    AlreadyNext(KeyHash),
    /// There is no next key.
    #[error("there is no next key; make one with `relayd server-key next`")]
    NoNext,
    /// The current key was replaced since the next one was made.
    #[error(
        "the next key was signed by {signer}, which is not the current key; give it up with \
         `relayd server-key cancel` and make another with `relayd server-key next`"
    )]
    OtherSigner {
        /// Who signed it.
        signer: KeyHash,
    },
    /// OpenSSL refused.
    #[error("OpenSSL: {0}")]
    OpenSsl(#[from] ErrorStack),
    /// A key could not be made or printed.
    #[error("{0}")]
    PrivateKey(#[from] PrivateKeyError),
}

impl ServerKey {
    /// Reads the files, whether or not a command that changes them was interrupted. A next key that
    /// cannot be used is none, with a warning: the server works without.
    pub fn load(files: &IdentityFiles) -> Result<Self, ServerKeyError> {
        let key = read_key(&files.key)?;
        let chain = read_chain(&files.certificate)?;
        let next_files = next_files(files);
        if !fits(&key, &chain)? {
            // Between the two renames of `activate`.
            return match read_chain(&next_files.certificate) {
                Ok(chain) if fits(&key, &chain)? => Ok(Self { chain, key, next: None }),
                _ => Err(ServerKeyError::Mismatch {
                    key: files.key.clone(),
                    certificate: files.certificate.clone(),
                }),
            };
        }
        let next = match Announced::load(&next_files) {
            Ok(announced) => announced.map(Announced::into_leaf),
            Err(error) => {
                tracing::warn!("the next key of the gateway is not announced: {error}");
                None
            }
        };
        Ok(Self { chain, key, next })
    }

    /// The certificate of the current key.
    pub fn certificate(&self) -> &Certificate {
        &self.chain[0]
    }

    /// The current key as agents pin it.
    pub fn pin(&self) -> KeyHash {
        self.certificate().key_hash()
    }

    /// The next key as agents pin it, when there is one.
    pub fn next_pin(&self) -> Option<KeyHash> {
        self.next.as_ref().map(Certificate::key_hash)
    }
}

/// A next key and its chain, complete and fit for each other.
struct Announced {
    chain: Vec<Certificate>,
}

impl Announced {
    fn load(files: &IdentityFiles) -> Result<Option<Self>, ServerKeyError> {
        // The certificate is written last and moved last.
        if !exists(&files.certificate) || !exists(&files.key) {
            return Ok(None);
        }
        let (key, chain) = (read_key(&files.key)?, read_chain(&files.certificate)?);
        match fits(&key, &chain)? {
            true => Ok(Some(Self { chain })),
            false => Err(ServerKeyError::Mismatch {
                key: files.key.clone(),
                certificate: files.certificate.clone(),
            }),
        }
    }

    fn leaf(&self) -> &Certificate {
        &self.chain[0]
    }

    fn into_leaf(mut self) -> Certificate {
        self.chain.swap_remove(0)
    }
}

/// Where the next key is prepared.
pub fn next_files(files: &IdentityFiles) -> IdentityFiles {
    let next = |path: &Path| {
        let mut name = path.as_os_str().to_owned();
        name.push(".next");
        PathBuf::from(name)
    };
    IdentityFiles { certificate: next(&files.certificate), key: next(&files.key) }
}

fn read_key(path: &Path) -> Result<PKey<Private>, ServerKeyError> {
    let pem = Zeroizing::new(read(path)?);
    private_key::from_pem(&pem).map_err(|error| ServerKeyError::Key { path: path.to_owned(), error })
}

/// One certificate or more.
fn read_chain(path: &Path) -> Result<Vec<Certificate>, ServerKeyError> {
    let failed = |error| ServerKeyError::Certificate { path: path.to_owned(), error };
    let chain = certificate::read_bundle(&read(path)?).map_err(failed)?;
    // What is sent to clients must be what OpenSSL reads, too.
    for certificate in &chain {
        certificate.to_x509().map_err(|_| failed(CertificateError::Content))?;
    }
    if chain.is_empty() { Err(ServerKeyError::Empty(path.to_owned())) } else { Ok(chain) }
}

fn read(path: &Path) -> Result<Vec<u8>, ServerKeyError> {
    fs::read(path).map_err(|error| failed("read", path, error))
}

fn fits(key: &PKey<Private>, chain: &[Certificate]) -> Result<bool, ErrorStack> {
    let spki = key.public_key_to_der()?;
    Ok(chain.first().is_some_and(|leaf| leaf.spki_der() == spki))
}

fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

fn failed(verb: &'static str, path: &Path, error: io::Error) -> ServerKeyError {
    ServerKeyError::File { verb, path: path.to_owned(), error }
}
