// SPDX-License-Identifier: Apache-2.0
//! The authorities that say who clients are, where keys do not.

use std::{fs, io, path::PathBuf};

use protocol::certificate::{self, Certificate, CertificateError};

use crate::{
    ca::{self, CaError},
    config::{self, ClientTrust},
};

/// Why the authorities of clients cannot be used; the operator must act.
#[derive(Debug, thiserror::Error)]
pub enum AuthoritiesError {
    /// The file cannot be read.
    #[error("gateway: cannot read {}: {error} (gateway.client_ca_path)", .file.display())]
    Read {
        /// `gateway.client_ca_path`.
        file: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The file is none of certificates.
    #[error("gateway: {}: {error} (gateway.client_ca_path)", .file.display())]
    Certificates {
        /// `gateway.client_ca_path`.
        file: PathBuf,
        /// What is wrong.
        error: CertificateError,
    },
    /// The file has none: every client would be refused.
    #[error("gateway: {}: there is no certificate in it (gateway.client_ca_path)", .0.display())]
    NoAuthority(PathBuf),
    /// The authority of this root, which a node only gets a certificate from once it is let in.
    #[error(
        "gateway: {} has the authority of this server itself (ca.directory), which is for services: nodes \
         get and renew its certificates only when they are known by their keys; write \
         client_authentication = \"key\", or name the authority of your own PKI in gateway.client_ca_path",
        .0.display()
    )]
    BuiltIn(PathBuf),
    /// Whether it is the authority of this server cannot be told.
    #[error("gateway: {0}")]
    Ca(#[from] CaError),
}

/// Reads the authorities; `None` where clients are known by their keys.
pub fn read(trust: &ClientTrust) -> Result<Option<Vec<Certificate>>, AuthoritiesError> {
    let ClientTrust::Authority { authorities: file, .. } = trust else { return Ok(None) };
    let pem = fs::read(file).map_err(|error| AuthoritiesError::Read { file: file.clone(), error })?;
    let authorities = certificate::read_bundle(&pem)
        .map_err(|error| AuthoritiesError::Certificates { file: file.clone(), error })?;
    if authorities.is_empty() {
        return Err(AuthoritiesError::NoAuthority(file.clone()));
    }
    Ok(Some(authorities))
}

/// Refuses a root's own authority: it answers nodes that it lets in already, so that none would ever get
/// its first certificate, and whose certificate has expired, or whose key is another, none any more.
pub fn check(trust: &ClientTrust, own: &config::Ca) -> Result<(), AuthoritiesError> {
    let ClientTrust::Authority { authorities: file, .. } = trust else { return Ok(()) };
    let Some(own) = ca::certificate(own)? else { return Ok(()) };
    // By its key: a renewed certificate is the same authority's.
    let is_own = |authority: &Certificate| authority.key_hash() == own.key_hash();
    match read(trust)?.is_some_and(|authorities| authorities.iter().any(is_own)) {
        true => Err(AuthoritiesError::BuiltIn(file.clone())),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use protocol::{node_id_rule::NodeIdRule, private_key::KeyKind};

    use super::*;
    use crate::ca::{Authority, NewAuthority};

    #[test]
    fn the_authority_of_this_server_is_refused_also_when_renewed_or_among_others() {
        let directory = tempfile::tempdir().unwrap();
        let [own, other] = ["own", "other"].map(|name| config::Ca {
            directory: directory.path().join(name),
            node_certificate_lifetime: Duration::from_secs(86_400),
        });
        let file = directory.path().join("clients.pem");
        let trust = ClientTrust::Authority { authorities: file.clone(), node_id: NodeIdRule::Uid };
        let init = |settings: &config::Ca| {
            let new = NewAuthority { name: "Test", key: KeyKind::P256, days: 10 };
            Authority::init(&settings.directory, &new).unwrap()
        };
        let foreign = init(&other);
        check(&trust, &own).expect("without an authority of its own there is nothing to ask");
        let ours = init(&own);
        fs::write(&file, foreign.certificate().to_pem()).unwrap();
        check(&trust, &own).unwrap();
        check(&ClientTrust::Key, &own).unwrap();
        let both = [foreign.certificate().to_pem(), ours.certificate().to_pem()].concat();
        fs::write(&file, both).unwrap();
        ours.renew(&own, 20).unwrap();
        let refused = check(&trust, &own).unwrap_err();
        assert!(matches!(refused, AuthoritiesError::BuiltIn(_)), "{refused}");
        assert!(refused.to_string().contains("client_authentication = \"key\""), "{refused}");
        fs::write(&file, "").unwrap();
        assert!(matches!(check(&trust, &own), Err(AuthoritiesError::NoAuthority(_))));
    }
}
