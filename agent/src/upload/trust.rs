// SPDX-License-Identifier: Apache-2.0
//! How the policy server is known (protocol 1.5): pins of the policies, then those of the pin file,
//! then trust on first use, whose key is pinned after the first success. In certificate validation
//! mode chain and host name instead.

use std::{fs, io, path::PathBuf};

use protocol::{
    certificate::{self, CertificateError},
    hash::KeyHash,
    tls::{ClientIdentity, ServerTrust},
};

use crate::{
    durable::{self, PUBLIC},
    identity::{self, Identity, IdentityError},
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
    if !settings.policy_pins.is_empty() {
        return Ok(ServerTrust::Pins(settings.policy_pins.clone()));
    }
    let file = &paths.server_pins;
    let pins = match fs::read_to_string(file) {
        Ok(text) => policies::pins(&text).map_err(|e| TrustError::Pins(file.clone(), e))?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => vec![],
        Err(e) => return Err(TrustError::Io(file.clone(), e)),
    };
    Ok(if pins.is_empty() { ServerTrust::FirstUse } else { ServerTrust::Pins(pins) })
}

/// Who this node is in TLS: its certificate, or the one for HTTPS in certificate validation mode.
pub fn client_identity(settings: &Settings, own: &Identity) -> Result<ClientIdentity, IdentityError> {
    let Paths { http_certificate, http_key, .. } = &settings.paths;
    if settings.cert_validation && http_certificate.exists() && http_key.exists() {
        return identity::load_pair(http_certificate, http_key);
    }
    Ok((own.certificate.clone(), own.key.clone()))
}

/// Pins keys of the policy server from now on.
pub fn pin(paths: &Paths, pins: &[KeyHash]) -> io::Result<()> {
    let text = pins.iter().map(KeyHash::to_string).collect::<Vec<_>>().join(";") + "\n";
    durable::create_parent(&paths.server_pins)?;
    durable::replace(&paths.server_pins, text.as_bytes(), PUBLIC)
}

/// Why it cannot be decided how the policy server is known. Never answered by trusting anything.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The pin file holds something else.
    #[error(
        "{0}: {1}\n    write the policy server's pin, which `agent init` or `relayd` prints there, or remove the file to trust the next server met"
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
        pin(&settings.paths, &[one.clone(), two.clone()]).unwrap();
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
