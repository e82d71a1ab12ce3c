// SPDX-License-Identifier: Apache-2.0
//! TLS settings for the upstream, read from the files that the configuration names.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use openssl::{sha::Sha256, ssl::SslConnector};
use protocol::{
    certificate::{self, Certificate},
    private_key,
    tls::{self, ServerTrust},
};
use tracing::warn;
use zeroize::Zeroizing;

use super::TlsError;
use crate::config::{IdentityFiles, Upstream, UpstreamTrust};

/// TLS settings, ready to be used.
pub struct Tls {
    /// Makes sessions.
    pub connector: SslConnector,
    /// Whether the certificate must name the host.
    pub verify_host: bool,
    /// Digest of all that was read: the same files give the same.
    pub digest: [u8; 32],
}

/// Largest file read, in bytes.
const MAX_SIZE: u64 = 1024 * 1024;

impl Tls {
    /// Reads the files.
    pub fn load(upstream: &Upstream) -> Result<Self, TlsError> {
        let mut digest = Sha256::new();
        let trust = match &upstream.trust {
            UpstreamTrust::Pins(pins) => ServerTrust::Pins(pins.clone()),
            UpstreamTrust::Anchors(path) => ServerTrust::Anchors(bundle(path, &mut digest)?),
            UpstreamTrust::Authorities(None) => ServerTrust::Authorities(Vec::new()),
            // The system's authorities are still there (protocol 9.3).
            UpstreamTrust::Authorities(Some(path)) => {
                ServerTrust::Authorities(bundle(path, &mut digest).unwrap_or_else(|e| {
                    warn!("{e}; only the system's authorities are trusted");
                    Vec::new()
                }))
            }
            UpstreamTrust::DangerousNone => ServerTrust::FirstUse,
        };
        let identity =
            upstream.client_identity.as_ref().map(|files| identity(files, &mut digest)).transpose()?;
        let connector = tls::connector(&trust, upstream.oldest_tls, identity.as_ref())?;
        Ok(Self { connector, verify_host: tls::verifies_hostname(&trust), digest: digest.finish() })
    }
}

/// The files that [`Tls::load`] reads.
pub fn files(upstream: &Upstream) -> Vec<PathBuf> {
    let trusted = match &upstream.trust {
        UpstreamTrust::Anchors(path) | UpstreamTrust::Authorities(Some(path)) => Some(path.clone()),
        UpstreamTrust::Pins(_) | UpstreamTrust::Authorities(None) | UpstreamTrust::DangerousNone => None,
    };
    let own =
        upstream.client_identity.iter().flat_map(|files| [files.certificate.clone(), files.key.clone()]);
    own.chain(trusted).collect()
}

fn bundle(path: &Path, digest: &mut Sha256) -> Result<Vec<Certificate>, TlsError> {
    let certificates = certificate::read_bundle(&read(path, digest)?).map_err(|e| unusable(path, &e))?;
    match certificates.is_empty() {
        true => Err(unusable(path, &"no certificate in it")),
        false => Ok(certificates),
    }
}

fn identity(files: &IdentityFiles, digest: &mut Sha256) -> Result<tls::ClientIdentity, TlsError> {
    let certificate = Certificate::from_pem(&read(&files.certificate, digest)?);
    let certificate = certificate.map_err(|e| unusable(&files.certificate, &e))?;
    let key = private_key::from_pem(&read(&files.key, digest)?).map_err(|e| unusable(&files.key, &e))?;
    Ok((certificate, key))
}

/// Erased when dropped: one of the files holds a key.
fn read(path: &Path, digest: &mut Sha256) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    let mut content = Zeroizing::new(Vec::new());
    let read = File::open(path).and_then(|file| {
        // All at once: growing would leave copies behind.
        content.reserve_exact(file.metadata()?.len().min(MAX_SIZE) as usize + 64);
        file.take(MAX_SIZE).read_to_end(&mut content)
    });
    read.map_err(|error| TlsError::Unreadable { path: PathBuf::from(path), error })?;
    digest.update(&(content.len() as u64).to_le_bytes());
    digest.update(&content);
    Ok(content)
}

fn unusable(path: &Path, problem: &dyn std::fmt::Display) -> TlsError {
    let error = io::Error::new(io::ErrorKind::InvalidData, problem.to_string());
    TlsError::Unreadable { path: PathBuf::from(path), error }
}
