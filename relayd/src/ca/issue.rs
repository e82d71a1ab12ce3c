// SPDX-License-Identifier: Apache-2.0
//! What the certificates of the authority say (RFC 5280), and for how long.

use std::{
    cmp::Ordering,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use openssl::{
    asn1::{Asn1Integer, Asn1Time, Asn1Type},
    bn::{BigNum, MsbOption},
    error::ErrorStack,
    hash::MessageDigest,
    nid::Nid,
    pkey::{HasPublic, Id, PKey, PKeyRef, Private, Public},
    x509::{
        X509, X509Builder, X509Name, X509NameRef,
        extension::{
            AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName,
            SubjectKeyIdentifier,
        },
    },
};
use protocol::{certificate::Certificate, enrolment::Request, node_id::NodeId};

use super::{Authority, CaError, name::HostName};
use crate::config::Ca;

/// What a certificate shall be for.
#[derive(Clone)]
pub struct Subject<'a> {
    /// The key that it is for.
    pub key: &'a PKeyRef<Public>,
    /// The node, as UID of the subject (protocol 1.3).
    pub node_id: Option<&'a NodeId>,
    /// The names that whoever has the key may answer to; the first is the common name too when there
    /// is no node.
    pub names: &'a [HostName],
    /// How long it is valid; never longer than the authority's own certificate.
    pub lifetime: Duration,
}

/// Clocks that are behind shall take a new certificate too.
const BACKDATED: Duration = Duration::from_secs(3600);

/// Longest common name (RFC 5280 appendix A, ub-common-name), in characters.
pub const MAX_COMMON_NAME: usize = 64;

const DAY: Duration = Duration::from_secs(86_400);

impl Authority {
    /// Signs a certificate for a node: for its id, and for its host name when that can be in a certificate.
    ///
    /// The request proves that the node has the key. That id and host name are its own is for the caller to
    /// know: a node must not get a certificate for another one's name by asking for it.
    ///
    /// **Errors**: as [`Self::issue`].
    pub fn issue_node(&self, request: &Request, settings: &Ca) -> Result<Certificate, CaError> {
        let name = request.hostname.parse::<HostName>().ok();
        // A wildcard is never the name of a host.
        let names: Vec<_> = name.filter(|name| !name.is_wildcard()).into_iter().collect();
        self.issue(&Subject {
            key: &*request.public_key()?,
            node_id: Some(&request.node_id),
            names: &names,
            lifetime: settings.node_certificate_lifetime,
        })
    }

    /// Signs a certificate for clients and servers.
    ///
    /// **Errors**: a weak key; the authority's certificate has expired; OpenSSL.
    pub fn issue(&self, subject: &Subject<'_>) -> Result<Certificate, CaError> {
        if !is_strong(subject.key)? {
            return Err(CaError::WeakKey);
        }
        let own = self.certificate.to_x509()?;
        let (not_before, wanted) = validity(subject.lifetime)?;
        // A certificate is worth nothing once that of its issuer has expired.
        let not_after =
            if wanted.compare(own.not_after())? == Ordering::Less { &*wanted } else { own.not_after() };
        if not_after.compare(&*Asn1Time::days_from_now(0)?)? != Ordering::Greater {
            return Err(CaError::Expired);
        }
        let name = name_of(subject)?;
        let mut certificate = start(&name, own.subject_name(), subject.key)?;
        certificate.set_not_before(&not_before)?;
        certificate.set_not_after(not_after)?;
        certificate.append_extension(BasicConstraints::new().critical().build()?)?;
        let mut usage = KeyUsage::new();
        usage.critical().digital_signature();
        if subject.key.id() == Id::RSA {
            usage.key_encipherment();
        }
        certificate.append_extension(usage.build()?)?;
        certificate.append_extension(ExtendedKeyUsage::new().client_auth().server_auth().build()?)?;
        if !subject.names.is_empty() {
            let mut names = SubjectAlternativeName::new();
            for name in subject.names {
                match name {
                    HostName::Dns(name) => names.dns(name),
                    HostName::Ip(address) => names.ip(&address.to_string()),
                };
            }
            if name.entries().next().is_none() {
                // RFC 5280 4.2.1.6: the only name there is.
                names.critical();
            }
            let names = names.build(&certificate.x509v3_context(Some(&own), None))?;
            certificate.append_extension(names)?;
        }
        finish(certificate, Some(&own), &self.key)
    }
}

/// The certificate of a new authority.
pub(super) fn own_certificate(key: &PKey<Private>, name: &str, days: u32) -> Result<Certificate, CaError> {
    let mut subject = X509Name::builder()?;
    subject.append_entry_by_nid_with_type(Nid::COMMONNAME, name, Asn1Type::UTF8STRING)?;
    authority(key, &subject.build(), days)
}

/// A certificate with key and name of this one, valid from now.
pub(super) fn renewed(old: &Certificate, key: &PKey<Private>, days: u32) -> Result<Certificate, CaError> {
    authority(key, old.to_x509()?.subject_name(), days)
}

/// The certificate of a key that signs content and nothing else, under a name for people.
pub(crate) fn signer_certificate(key: &PKey<Private>, name: &str, days: u32) -> Result<Certificate, CaError> {
    let mut subject = X509Name::builder()?;
    subject.append_entry_by_nid_with_type(Nid::COMMONNAME, name, Asn1Type::UTF8STRING)?;
    let subject = subject.build();
    let mut certificate = start(&subject, &subject, key)?;
    let (not_before, not_after) = validity(DAY.saturating_mul(days))?;
    certificate.set_not_before(&not_before)?;
    certificate.set_not_after(&not_after)?;
    certificate.append_extension(BasicConstraints::new().critical().build()?)?;
    certificate.append_extension(KeyUsage::new().critical().digital_signature().build()?)?;
    finish(certificate, None, key)
}

fn authority(key: &PKey<Private>, name: &X509NameRef, days: u32) -> Result<Certificate, CaError> {
    let mut certificate = start(name, name, key)?;
    let (not_before, not_after) = validity(DAY.saturating_mul(days))?;
    certificate.set_not_before(&not_before)?;
    certificate.set_not_after(&not_after)?;
    // It signs for nodes and services only, never for other authorities.
    certificate.append_extension(BasicConstraints::new().critical().ca().pathlen(0).build()?)?;
    certificate.append_extension(KeyUsage::new().critical().key_cert_sign().crl_sign().build()?)?;
    finish(certificate, None, key)
}

fn start<T: HasPublic>(
    subject: &X509NameRef,
    issuer: &X509NameRef,
    key: &PKeyRef<T>,
) -> Result<X509Builder, ErrorStack> {
    let mut certificate = X509::builder()?;
    certificate.set_version(2)?; // X.509 v3
    certificate.set_serial_number(&*random_serial()?)?;
    certificate.set_subject_name(subject)?;
    certificate.set_issuer_name(issuer)?;
    certificate.set_pubkey(key)?;
    Ok(certificate)
}

/// Adds the key ids and signs. The issuer is named by its key alone: its certificate may be renewed.
fn finish(
    mut certificate: X509Builder,
    issuer: Option<&X509>,
    signer: &PKey<Private>,
) -> Result<Certificate, CaError> {
    let own_key =
        SubjectKeyIdentifier::new().build(&certificate.x509v3_context(issuer.map(|i| &**i), None))?;
    certificate.append_extension(own_key)?;
    if let Some(issuer) = issuer {
        let issuer_key = AuthorityKeyIdentifier::new()
            .keyid(true)
            .build(&certificate.x509v3_context(Some(issuer), None))?;
        certificate.append_extension(issuer_key)?;
    }
    certificate.sign(signer, MessageDigest::sha256())?;
    let certificate = Certificate::new(certificate.build());
    Ok(certificate.expect("OpenSSL made this certificate a moment ago"))
}

fn name_of(subject: &Subject<'_>) -> Result<X509Name, ErrorStack> {
    let mut name = X509Name::builder()?;
    match (subject.node_id, subject.names.first()) {
        // Alone, as in the certificates that nodes make themselves.
        (Some(node), _) => {
            name.append_entry_by_nid_with_type(Nid::USERID, node.as_str(), Asn1Type::UTF8STRING)?;
        }
        (None, Some(host)) => {
            let host = host.to_string();
            if host.len() <= MAX_COMMON_NAME {
                name.append_entry_by_nid_with_type(Nid::COMMONNAME, &host, Asn1Type::UTF8STRING)?;
            }
        }
        (None, None) => {}
    }
    Ok(name.build())
}

/// From a little ago until `lifetime` from now.
fn validity(lifetime: Duration) -> Result<(Asn1Time, Asn1Time), ErrorStack> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // Little of a short life: nodes renew after half of it, counted from its beginning.
    let start = now.saturating_sub(BACKDATED.min(lifetime / 20));
    let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    // RFC 5280 4.1.2.5: there are four digits for the year.
    let end = seconds(now.saturating_add(lifetime)).min(END_OF_9999);
    Ok((Asn1Time::from_unix(seconds(start))?, Asn1Time::from_unix(end)?))
}

/// 9999-12-31T23:59:59Z.
const END_OF_9999: i64 = 253_402_300_799;

fn is_strong(key: &PKeyRef<Public>) -> Result<bool, ErrorStack> {
    const CURVES: [Nid; 3] = [Nid::X9_62_PRIME256V1, Nid::SECP384R1, Nid::SECP521R1];
    Ok(match key.id() {
        Id::RSA => key.bits() >= 2048,
        Id::EC => key.ec_key()?.group().curve_name().is_some_and(|curve| CURVES.contains(&curve)),
        _ => false,
    })
}

/// 159 random bits: positive, at most 20 bytes, as RFC 5280 4.1.2.2 wants.
fn random_serial() -> Result<Asn1Integer, ErrorStack> {
    let mut number = BigNum::new()?;
    number.rand(159, MsbOption::MAYBE_ZERO, false)?;
    number.to_asn1_integer()
}

#[cfg(test)]
mod tests {
    use openssl::{
        asn1::Asn1TimeRef,
        rsa::Rsa,
        stack::Stack,
        x509::{X509StoreContext, store::X509StoreBuilder, verify::X509VerifyParam},
    };
    use protocol::private_key::{self, KeyKind};

    use super::*;
    use crate::ca::NewAuthority;

    struct Place {
        _directory: tempfile::TempDir,
        settings: Ca,
    }

    fn authority(days: u32) -> (Place, Authority) {
        let directory = tempfile::tempdir().unwrap();
        let settings = Ca { directory: directory.path().join("ca"), node_certificate_lifetime: DAY };
        let new = NewAuthority { name: "test CA", key: KeyKind::P256, days };
        let made = Authority::init(&settings.directory, &new).unwrap();
        (Place { _directory: directory, settings }, made)
    }

    fn public(key: &PKey<Private>) -> PKey<Public> {
        PKey::public_key_from_der(&key.public_key_to_der().unwrap()).unwrap()
    }

    fn trusts(authority: &Certificate, leaf: &Certificate, host: &str) -> bool {
        let mut store = X509StoreBuilder::new().unwrap();
        store.add_cert(authority.to_x509().unwrap()).unwrap();
        let mut parameters = X509VerifyParam::new().unwrap();
        parameters.set_host(host).unwrap();
        store.set_param(&parameters).unwrap();
        let (store, leaf) = (store.build(), leaf.to_x509().unwrap());
        let nobody = Stack::new().unwrap();
        let mut context = X509StoreContext::new().unwrap();
        context.init(&store, &leaf, &nobody, |context| context.verify_cert()).unwrap()
    }

    fn days_left(time: &Asn1TimeRef) -> i32 {
        Asn1Time::days_from_now(0).unwrap().diff(time).unwrap().days
    }

    #[test]
    fn a_certificate_is_good_for_its_names_and_its_node_and_outlives_a_renewal() {
        let (place, authority) = authority(100);
        let key = private_key::generate(KeyKind::P256).unwrap();
        let node = "e745a140-40bc-4b86-b6dc-084488fc906b".parse().unwrap();
        let names = ["web1.example.org", "192.0.2.7"].map(|name| name.parse().unwrap());
        let subject = Subject { key: &public(&key), node_id: Some(&node), names: &names, lifetime: 50 * DAY };
        let leaf = authority.issue(&subject).unwrap();
        assert_eq!(leaf.sole_node_id(), Some(&node));
        assert!(trusts(authority.certificate(), &leaf, "web1.example.org"));
        assert!(!trusts(authority.certificate(), &leaf, "web2.example.org"));

        let name = authority.certificate().to_x509().unwrap().subject_name().to_der().unwrap();
        let renewed = authority.renew(&place.settings, 200).unwrap();
        assert_eq!(renewed.certificate().to_x509().unwrap().subject_name().to_der().unwrap(), name);
        assert!(days_left(renewed.certificate().to_x509().unwrap().not_after()) >= 199);
        assert!(trusts(renewed.certificate(), &leaf, "web1.example.org"));
        assert!(trusts(
            Authority::required(&place.settings).unwrap().certificate(),
            &leaf,
            "web1.example.org"
        ));

        let (_other_place, other) = self::authority(100);
        assert!(!trusts(other.certificate(), &leaf, "web1.example.org"));
    }

    #[test]
    fn nodes_get_what_they_are_and_no_names_that_are_none() {
        let (place, authority) = authority(100);
        let key = private_key::generate(KeyKind::P256).unwrap();
        let node = "e745a140-40bc-4b86-b6dc-084488fc906b".parse().unwrap();
        for (host, names) in [("Web1.example.org", vec!["web1.example.org"]), ("1.2.3", vec![]), ("", vec![])]
        {
            let request = Request::make(&key, &node, host, false, None).unwrap();
            let request = Request::parse(&request).unwrap();
            let leaf = authority.issue_node(&request, &place.settings).unwrap();
            assert_eq!(leaf.sole_node_id(), Some(&node));
            assert_eq!(leaf.key_hash(), request.key_hash);
            assert_eq!(leaf.dns_names(), names);
            assert_eq!(leaf.not_after() - leaf.not_before(), chrono::TimeDelta::seconds(86_400 + 3600));
        }
    }

    #[test]
    fn nothing_outlives_the_authority() {
        let (_place, authority) = authority(3);
        let key = public(&private_key::generate(KeyKind::P256).unwrap());
        let names = ["a.example.org".parse().unwrap()];
        let subject = |lifetime| Subject { key: &key, node_id: None, names: &names, lifetime };
        let long = authority.issue(&subject(365 * DAY)).unwrap().to_x509().unwrap();
        assert_eq!(long.not_after(), authority.certificate().to_x509().unwrap().not_after());
        let short = authority.issue(&subject(Duration::from_secs(60))).unwrap().to_x509().unwrap();
        let life = short.not_before().diff(short.not_after()).unwrap();
        assert!(life.days == 0 && (60..=65).contains(&life.secs), "{} s", life.secs);

        let (_place, dead) = self::authority(0);
        assert!(matches!(dead.issue(&subject(DAY)), Err(CaError::Expired)));
    }

    #[test]
    fn weak_keys_get_nothing() {
        let (_place, authority) = authority(3);
        let names = ["a.example.org".parse().unwrap()];
        for key in [PKey::from_rsa(Rsa::generate(1024).unwrap()).unwrap(), PKey::generate_ed25519().unwrap()]
        {
            let key = public(&key);
            let subject = Subject { key: &key, node_id: None, names: &names, lifetime: DAY };
            assert!(matches!(authority.issue(&subject), Err(CaError::WeakKey)));
        }
    }

    #[test]
    fn a_name_too_long_for_a_subject_is_still_an_alternative_name() {
        let (_place, authority) = authority(3);
        let key = public(&private_key::generate(KeyKind::P256).unwrap());
        let host = ["a".repeat(60), "example.org".into()].join(".");
        let names = [host.parse().unwrap()];
        let leaf =
            authority.issue(&Subject { key: &key, node_id: None, names: &names, lifetime: DAY }).unwrap();
        assert_eq!(leaf.to_x509().unwrap().subject_name().entries().count(), 0);
        assert!(trusts(authority.certificate(), &leaf, &host));
    }
}
