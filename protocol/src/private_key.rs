// SPDX-License-Identifier: Apache-2.0
//! A node's key pair and its self-signed certificate (protocol 1.2, 1.3).

use openssl::{
    asn1::{Asn1Integer, Asn1Time, Asn1Type},
    bn::{BigNum, MsbOption},
    ec::{EcGroup, EcKey},
    error::ErrorStack,
    hash::MessageDigest,
    nid::Nid,
    pkey::{Id, PKey, PKeyRef, Private},
    rsa::Rsa,
    x509::{
        X509, X509Name, X509Ref,
        extension::{AuthorityKeyIdentifier, BasicConstraints, KeyUsage, SubjectKeyIdentifier},
    },
};

use zeroize::Zeroizing;

use crate::{certificate::Certificate, node_id::NodeId};

/// Which kind of key to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyKind {
    /// RSA, 4096 bits: what every existing server accepts.
    #[default]
    Rsa4096,
    /// ECDSA on P-256: smaller and faster; needs servers that accept it.
    P256,
}

/// How long a self-signed certificate is valid, in days.
pub const VALIDITY_DAYS: u32 = 3650;

/// Fixed passphrases that older agents encrypted their keys with: they protect nothing.
const LEGACY_PASSPHRASES: [&[u8]; 2] = [b"Cfengine passphrase", b"Rudder-dsc passphrase"];

/// Makes a key pair.
pub fn generate(kind: KeyKind) -> Result<PKey<Private>, PrivateKeyError> {
    Ok(match kind {
        KeyKind::Rsa4096 => PKey::from_rsa(Rsa::generate(4096)?)?,
        KeyKind::P256 => {
            PKey::from_ec_key(EcKey::generate(EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?.as_ref())?)?
        }
    })
}

/// Reads a PEM private key; tries the fixed passphrases of older agents when it is encrypted.
pub fn from_pem(pem: &[u8]) -> Result<PKey<Private>, PrivateKeyError> {
    let mut last = None;
    for passphrase in LEGACY_PASSPHRASES {
        let mut asked = false;
        // Without a callback OpenSSL would ask on the terminal.
        let key = PKey::private_key_from_pem_callback(pem, |buffer| {
            asked = true;
            let Some(room) = buffer.get_mut(..passphrase.len()) else { return Ok(0) };
            room.copy_from_slice(passphrase);
            Ok(passphrase.len())
        });
        match key {
            Ok(key) => return Ok(key),
            Err(e) => last = Some(e),
        }
        if !asked {
            break;
        }
    }
    Err(PrivateKeyError::Unreadable(last.map(|e| e.to_string()).unwrap_or_default()))
}

/// PEM as existing agents write it: PKCS#1 for RSA, SEC 1 for P-256. Erased when dropped.
pub fn to_pem(key: &PKey<Private>) -> Result<Zeroizing<Vec<u8>>, PrivateKeyError> {
    Ok(Zeroizing::new(match key.id() {
        Id::RSA => key.rsa()?.private_key_to_pem()?,
        Id::EC => key.ec_key()?.private_key_to_pem()?,
        _ => key.private_key_to_pem_pkcs8()?,
    }))
}

/// PEM of the public half as existing agents write it: PKCS#1 for RSA, SubjectPublicKeyInfo else.
pub fn public_to_pem(key: &PKeyRef<Private>) -> Result<Vec<u8>, PrivateKeyError> {
    Ok(match key.id() {
        Id::RSA => key.rsa()?.public_key_to_pem_pkcs1()?,
        _ => key.public_key_to_pem()?,
    })
}

/// Self-signed certificate with the single-RDN subject `UID=<node id>`, 3650 days (protocol 1.3).
pub fn self_signed(key: &PKey<Private>, node_id: &NodeId) -> Result<Certificate, PrivateKeyError> {
    let x509 = build(key, node_id, None)?;
    Certificate::new(x509).map_err(|e| PrivateKeyError::Unreadable(e.to_string()))
}

/// A certificate as [`self_signed`] makes, or the same signed by an issuer.
pub(crate) fn build(
    key: &PKeyRef<Private>,
    node_id: &NodeId,
    issuer: Option<(&X509Ref, &PKeyRef<Private>)>,
) -> Result<X509, ErrorStack> {
    let mut name = X509Name::builder()?;
    name.append_entry_by_nid_with_type(Nid::USERID, node_id.as_str(), Asn1Type::UTF8STRING)?;
    let name = name.build();

    let mut certificate = X509::builder()?;
    certificate.set_version(2)?; // X.509 v3
    certificate.set_serial_number(&*random_serial()?)?;
    certificate.set_subject_name(&name)?;
    certificate.set_issuer_name(issuer.map_or(&name, |(issuer, _)| issuer.subject_name()))?;
    certificate.set_not_before(&*Asn1Time::days_from_now(0)?)?;
    certificate.set_not_after(&*Asn1Time::days_from_now(VALIDITY_DAYS)?)?;
    certificate.set_pubkey(key)?;
    certificate.append_extension(BasicConstraints::new().ca().build()?)?;
    let mut usage = KeyUsage::new();
    usage.digital_signature().key_encipherment().data_encipherment().key_agreement().key_cert_sign();
    certificate.append_extension(usage.build()?)?;
    let own_key = SubjectKeyIdentifier::new().build(&certificate.x509v3_context(None, None))?;
    certificate.append_extension(own_key)?;
    // An issuer made by others may have no key id to refer to.
    if issuer.is_none_or(|(issuer, _)| issuer.subject_key_id().is_some()) {
        // Of a self-signed one it is read from the certificate itself, so it must be in already.
        let issuer_key = AuthorityKeyIdentifier::new()
            .keyid(true)
            .issuer(issuer.is_none())
            .build(&certificate.x509v3_context(issuer.map(|(issuer, _)| issuer), None))?;
        certificate.append_extension(issuer_key)?;
    }
    certificate.sign(issuer.map_or(key, |(_, key)| key), MessageDigest::sha256())?;
    Ok(certificate.build())
}

/// 159 random bits: positive, at most 20 bytes, as RFC 5280 4.1.2.2 wants.
fn random_serial() -> Result<Asn1Integer, ErrorStack> {
    let mut number = BigNum::new()?;
    number.rand(159, MsbOption::MAYBE_ZERO, false)?;
    number.to_asn1_integer()
}

/// Why a key cannot be made or read.
#[derive(Debug, thiserror::Error)]
pub enum PrivateKeyError {
    /// Encrypted with a passphrase other than the known ones, or no key at all.
    #[error("not a usable PEM private key: {0}")]
    Unreadable(String),
    /// OpenSSL refused.
    #[error("OpenSSL: {0}")]
    OpenSsl(#[from] ErrorStack),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_survive_being_written_and_read() {
        for (kind, label) in [(KeyKind::Rsa4096, "RSA PRIVATE KEY"), (KeyKind::P256, "EC PRIVATE KEY")] {
            let key = generate(kind).unwrap();
            let pem = to_pem(&key).unwrap();
            assert!(pem.starts_with(format!("-----BEGIN {label}-----").as_bytes()), "{kind:?}");
            assert!(from_pem(&pem).unwrap().public_eq(&key));
        }
    }

    #[test]
    fn the_public_half_of_an_rsa_key_is_pkcs1() {
        let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
        assert!(public_to_pem(&key).unwrap().starts_with(b"-----BEGIN RSA PUBLIC KEY-----"));
    }

    #[test]
    fn fixed_passphrases_open_older_keys_and_others_do_not_ask() {
        let rsa = Rsa::generate(2048).unwrap();
        for (passphrase, readable) in
            [("Cfengine passphrase", true), ("Rudder-dsc passphrase", true), ("another", false)]
        {
            let cipher = openssl::symm::Cipher::des_ede3_cbc();
            let pem = rsa.private_key_to_pem_passphrase(cipher, passphrase.as_bytes()).unwrap();
            assert_eq!(from_pem(&pem).is_ok(), readable, "{passphrase}");
        }
        assert!(from_pem(b"").is_err() && from_pem(b"no key").is_err());
    }

    #[test]
    fn a_certificate_names_its_node_and_key() {
        let key = generate(KeyKind::P256).unwrap();
        let node = "e745a140-40bc-4b86-b6dc-084488fc906b".parse().unwrap();
        let certificate = self_signed(&key, &node).unwrap();
        assert_eq!(certificate.sole_node_id(), Some(&node));
        assert!(certificate.x509().verify(&key).unwrap());
        assert_eq!(certificate.spki_der(), key.public_key_to_der().unwrap());
        assert_ne!(certificate.serial(), self_signed(&key, &node).unwrap().serial());
    }
}
