// SPDX-License-Identifier: Apache-2.0
//! How the policy server is known (protocol 1.5): pins of the policies, then those of the pin file,
//! then trust on first use, whose key is pinned after the first success. In certificate validation
//! mode chain and host name instead.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use chrono::Utc;
use protocol::{
    certificate::{self, CertificateError},
    hash::KeyHash,
    tls::{ClientIdentity, ServerTrust},
};

use super::succession;
use crate::{
    durable::{self, PUBLIC},
    identity::{self, Identity, IdentityError},
    issued,
    paths::Paths,
    settings::{Settings, policies},
};

/// Decides how the policy server is to be known.
pub fn server_trust(settings: &Settings) -> Result<ServerTrust, TrustError> {
    let paths = &settings.paths;
    if settings.cert_validation {
        let file = &paths.server_authority;
        let authorities = match fs::read(file) {
            Ok(pem) => certificate::read_bundle(&pem).map_err(|e| TrustError::Authority(file.clone(), e))?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => vec![],
            Err(e) => return Err(TrustError::Io(file.clone(), e)),
        };
        return Ok(ServerTrust::Authorities(authorities));
    }
    let Pins { pins, .. } = pins(settings)?;
    Ok(if pins.is_empty() { ServerTrust::FirstUse } else { ServerTrust::Pins(pins) })
}

/// Where pins come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The policies, and what was learnt from servers with these keys.
    Policies,
    /// `agent trust pin`, instead of what the policies say.
    Operator,
    /// The pin file.
    File,
    /// There are none.
    None,
}

/// Keys that the policy server may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pins {
    /// Where they come from.
    pub source: Source,
    /// The keys.
    pub pins: Vec<KeyHash>,
}

/// The pins that count.
pub fn pins(settings: &Settings) -> Result<Pins, TrustError> {
    let file = match settings.policy_pins.is_empty() {
        true => read_pins(&settings.paths.server_pins)?,
        false => vec![],
    };
    Ok(succession::effective(settings, file))
}

fn read_pins(file: &Path) -> Result<Vec<KeyHash>, TrustError> {
    match fs::read_to_string(file) {
        Ok(text) => policies::pins(&text).map_err(|e| TrustError::Pins(file.to_owned(), e)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(vec![]),
        Err(e) => Err(TrustError::Io(file.to_owned(), e)),
    }
}

/// Who this node is in TLS: its certificate; in certificate validation mode the one for HTTPS, else
/// the one of the root's authority, if there is one that is valid.
pub fn client_identity(settings: &Settings, own: &Identity) -> Result<ClientIdentity, IdentityError> {
    let Paths { http_certificate, http_key, .. } = &settings.paths;
    if has_https_pair(settings) {
        return identity::load_pair(http_certificate, http_key);
    }
    let issued = if settings.cert_validation { issued::of_key(settings, own) } else { None };
    let certificate = issued.filter(|issued| issued.is_valid(Utc::now())).map(|issued| issued.certificate);
    Ok((certificate.unwrap_or_else(|| own.certificate.clone()), own.key.clone()))
}

/// Whether connections are made with a pair of their own, not with the node's key.
pub fn has_https_pair(settings: &Settings) -> bool {
    let Paths { http_certificate, http_key, .. } = &settings.paths;
    settings.cert_validation && http_certificate.exists() && http_key.exists()
}

/// Writes the pin file.
pub fn write(paths: &Paths, pins: &[KeyHash]) -> io::Result<()> {
    let text = pins.iter().map(KeyHash::to_string).collect::<Vec<_>>().join(";") + "\n";
    durable::create_parent(&paths.server_pins)?;
    durable::replace(&paths.server_pins, text.as_bytes(), PUBLIC)
}

/// Why it cannot be decided how the policy server is known. Never answered by trusting anything.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The pin file holds something else.
    #[error(
        "{0}: {1}\n    write the policy server's pin, which `relayd server-key show` prints there, with `agent trust pin sha256//…`, or run `agent trust reset` to trust the next server met"
    )]
    Pins(PathBuf, String),
    /// The authority is no certificate.
    #[error(
        "{0}: {1}\n    put the PEM certificate of the authority there, or remove the file to use the system's"
    )]
    Authority(PathBuf, CertificateError),
    /// A file cannot be read.
    #[error("{0}: {1}")]
    Io(PathBuf, io::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_pin_source_wins_and_damage_is_no_trust() {
        let root = tempfile::tempdir().unwrap();
        let (mut settings, _) = Settings::load(root.path()).unwrap();
        assert!(matches!(server_trust(&settings).unwrap(), ServerTrust::FirstUse));
        let (one, two) = (KeyHash::sha256_of(b"one"), KeyHash::sha256_of(b"two"));
        write(&settings.paths, &[one.clone(), two.clone()]).unwrap();
        let ServerTrust::Pins(pins) = server_trust(&settings).unwrap() else { panic!() };
        assert_eq!(pins, [one, two.clone()]);
        settings.policy_pins = vec![two.clone()];
        let ServerTrust::Pins(pins) = server_trust(&settings).unwrap() else { panic!() };
        assert_eq!(pins, [two]);
        settings.policy_pins.clear();
        fs::write(&settings.paths.server_pins, "sha256//nonsense").unwrap();
        assert!(matches!(server_trust(&settings), Err(TrustError::Pins(..))));
    }
}
