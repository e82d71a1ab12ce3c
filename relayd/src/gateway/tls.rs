// SPDX-License-Identifier: Apache-2.0
//! The server's certificate and key, replaceable while the gateway runs.

use std::{
    io,
    path::{Path, PathBuf},
};

use openssl::ssl::SslAcceptor;
use protocol::{
    certificate::{Certificate, CertificateError},
    private_key::{self, PrivateKeyError},
    tls::{self, TlsVersion},
};
use tokio::sync::watch;
use zeroize::Zeroizing;

use crate::config::IdentityFiles;

/// Why the server's certificate or key cannot be used; the operator must act.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file cannot be read.
    #[error("gateway: cannot read {}: {error}", .file.display())]
    Read {
        /// Which one.
        file: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The certificate file holds none.
    #[error("gateway: {}: {error}", .file.display())]
    Certificate {
        /// `gateway.certificate`.
        file: PathBuf,
        /// What is wrong.
        error: CertificateError,
    },
    /// The key file holds none.
    #[error("gateway: {}: {error}", .file.display())]
    Key {
        /// `gateway.key`.
        file: PathBuf,
        /// What is wrong.
        error: PrivateKeyError,
    },
    /// They do not fit together, or OpenSSL refuses them.
    #[error("gateway: certificate {} and key {} cannot be used together: {error}", .certificate.display(), .key.display())]
    Pair {
        /// `gateway.certificate`.
        certificate: PathBuf,
        /// `gateway.key`.
        key: PathBuf,
        /// What OpenSSL said.
        error: openssl::error::ErrorStack,
    },
}

/// The newest usable acceptor.
pub struct Acceptor {
    files: IdentityFiles,
    oldest: TlsVersion,
    current: watch::Sender<SslAcceptor>,
}

impl Acceptor {
    /// Reads certificate and key.
    pub fn new(files: IdentityFiles, oldest: TlsVersion) -> Result<Self, IdentityError> {
        let current = watch::Sender::new(build(&files, oldest)?);
        Ok(Self { files, oldest, current })
    }

    /// Reads them again; on error the ones in use stay.
    pub fn reload(&self) -> Result<(), IdentityError> {
        self.current.send_replace(build(&self.files, self.oldest)?);
        Ok(())
    }

    /// What new connections get.
    pub fn current(&self) -> SslAcceptor {
        self.current.borrow().clone()
    }
}

fn build(files: &IdentityFiles, oldest: TlsVersion) -> Result<SslAcceptor, IdentityError> {
    let certificate = Certificate::from_pem(&read(&files.certificate)?)
        .map_err(|error| IdentityError::Certificate { file: files.certificate.clone(), error })?;
    let key = private_key::from_pem(&read(&files.key)?)
        .map_err(|error| IdentityError::Key { file: files.key.clone(), error })?;
    tls::acceptor(&(certificate, key).into(), oldest, tls::admit_all(), None).map_err(|error| {
        IdentityError::Pair { certificate: files.certificate.clone(), key: files.key.clone(), error }
    })
}

/// Erased when dropped: one of the files holds the key.
fn read(file: &Path) -> Result<Zeroizing<Vec<u8>>, IdentityError> {
    std::fs::read(file)
        .map(Zeroizing::new)
        .map_err(|error| IdentityError::Read { file: file.to_owned(), error })
}
