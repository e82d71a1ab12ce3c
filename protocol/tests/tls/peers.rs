// SPDX-License-Identifier: Apache-2.0
//! Two ends of a connection, and certificates as others would make them.

use std::{io::Read, io::Write, os::unix::net::UnixStream, thread};

use openssl::{
    asn1::{Asn1Time, Asn1Type},
    bn::BigNum,
    hash::MessageDigest,
    nid::Nid,
    pkey::{PKey, Private},
    ssl::{SslAcceptor, SslConnector, SslRef},
    x509::{
        X509, X509Name, X509NameBuilder,
        extension::{BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName},
    },
};
use protocol::{
    certificate::Certificate,
    hash::KeyHash,
    private_key::{KeyKind, generate, self_signed},
    tls::{ClientIdentity, is_vouched_for},
};

pub fn identity(node: &str) -> ClientIdentity {
    let key = generate(KeyKind::P256).unwrap();
    (self_signed(&key, &node.parse().unwrap()).unwrap(), key)
}

/// What the server saw of a session over which bytes went both ways.
#[derive(Debug, PartialEq)]
pub struct Session {
    pub client: Option<KeyHash>,
    pub version: &'static str,
    pub resumable: bool,
    /// Whether its chain leads to an authority of the server.
    pub vouched: bool,
}

pub fn handshake(server: SslAcceptor, client: SslConnector, host: Option<&str>) -> Result<Session, String> {
    handshake_with(server, client, host, |_| {})
}

pub fn handshake_with(
    server: SslAcceptor,
    client: SslConnector,
    host: Option<&str>,
    tune: impl Fn(&mut SslRef),
) -> Result<Session, String> {
    let (server_end, client_end) = UnixStream::pair().unwrap();
    let served = thread::spawn(move || -> Result<Session, String> {
        let mut stream = server.accept(server_end).map_err(|e| e.to_string())?;
        let mut request = [0; 4];
        stream.read_exact(&mut request).map_err(|e| e.to_string())?;
        stream.write_all(b"pong").map_err(|e| e.to_string())?;
        let peer = stream.ssl().peer_certificate().map(|x509| Certificate::new(x509).unwrap().key_hash());
        Ok(Session {
            client: peer,
            version: stream.ssl().version_str(),
            resumable: false,
            vouched: is_vouched_for(stream.ssl()),
        })
    });
    let asked = (|| -> Result<bool, String> {
        let mut configuration = client.configure().unwrap().verify_hostname(host.is_some());
        tune(&mut configuration);
        let mut stream =
            configuration.connect(host.unwrap_or("unused"), client_end).map_err(|e| e.to_string())?;
        stream.write_all(b"ping").map_err(|e| e.to_string())?;
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).map_err(|e| e.to_string())?;
        Ok(stream.ssl().session().is_some_and(|session| !session.id().is_empty()))
    })();
    let served = served.join().unwrap();
    let resumable = asked?;
    served.map(|session| Session { resumable, ..session })
}

/// A certificate as an attacker or another authority would make it.
pub struct Template {
    name: X509NameBuilder,
    key: PKey<Private>,
    days: (i64, i64),
    host: Option<String>,
    usage: Option<Usage>,
}

/// What a certificate may be used for; for anything if it does not say.
pub enum Usage {
    Server,
    Client,
    /// Any signature but those of certificates.
    NotToIssue,
}

const DAY: i64 = 86_400;

impl Template {
    pub fn nameless() -> Self {
        let key = generate(KeyKind::P256).unwrap();
        Self { name: X509Name::builder().unwrap(), key, days: (-10, 10), host: None, usage: None }
    }

    pub fn new(uid: &str) -> Self {
        Self::nameless().uid(uid, Asn1Type::UTF8STRING)
    }

    pub fn uid(mut self, uid: &str, kind: Asn1Type) -> Self {
        self.name.append_entry_by_nid_with_type(Nid::USERID, uid, kind).unwrap();
        self
    }

    pub fn key(self, key: PKey<Private>) -> Self {
        Self { key, ..self }
    }

    pub fn expired(self) -> Self {
        Self { days: (-10, -5), ..self }
    }

    pub fn host(self, host: &str) -> Self {
        Self { host: Some(host.into()), ..self }
    }

    pub fn usage(self, usage: Usage) -> Self {
        Self { usage: Some(usage), ..self }
    }

    pub fn self_signed(self) -> ClientIdentity {
        let signer = self.key.clone();
        self.build(None, &signer)
    }

    pub fn issued_by(self, issuer: &ClientIdentity) -> ClientIdentity {
        self.build(Some(&issuer.0), &issuer.1)
    }

    pub fn claiming_issuer(self, issuer: &ClientIdentity, signer: &PKey<Private>) -> ClientIdentity {
        self.build(Some(&issuer.0), signer)
    }

    pub fn build(self, issuer: Option<&Certificate>, signer: &PKey<Private>) -> ClientIdentity {
        let now =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64;
        let mut x509 = X509::builder().unwrap();
        let name = self.name.build();
        let issuer = issuer.map(|issuer| issuer.to_x509().unwrap());
        x509.set_version(2).unwrap();
        x509.set_serial_number(&BigNum::from_u32(7).unwrap().to_asn1_integer().unwrap()).unwrap();
        x509.set_subject_name(&name).unwrap();
        x509.set_issuer_name(issuer.as_ref().map_or(&name, |issuer| issuer.subject_name())).unwrap();
        x509.set_not_before(&Asn1Time::from_unix(now + self.days.0 * DAY).unwrap()).unwrap();
        x509.set_not_after(&Asn1Time::from_unix(now + self.days.1 * DAY).unwrap()).unwrap();
        x509.set_pubkey(&self.key).unwrap();
        if let Some(host) = self.host {
            let names =
                SubjectAlternativeName::new().dns(&host).build(&x509.x509v3_context(None, None)).unwrap();
            x509.append_extension(names).unwrap();
        }
        match self.usage {
            None => {}
            Some(Usage::Server) => {
                x509.append_extension(ExtendedKeyUsage::new().server_auth().build().unwrap()).unwrap();
            }
            Some(Usage::Client) => {
                x509.append_extension(ExtendedKeyUsage::new().client_auth().build().unwrap()).unwrap();
            }
            Some(Usage::NotToIssue) => {
                x509.append_extension(KeyUsage::new().critical().digital_signature().build().unwrap())
                    .unwrap();
                x509.append_extension(BasicConstraints::new().critical().build().unwrap()).unwrap();
            }
        }
        x509.sign(signer, MessageDigest::sha256()).unwrap();
        (Certificate::new(x509.build()).unwrap(), self.key)
    }
}
