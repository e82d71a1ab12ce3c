// SPDX-License-Identifier: Apache-2.0
//! Own PKI: chains instead of pinned keys, with the authority of another root in the part of the user's.

use std::{fs, path::PathBuf};

use protocol::{certificate::Certificate, private_key};
use tests::{
    Result,
    client::{connector, upload_all},
    enrolment::identity_seen,
    identity::{Identity, Keys},
    realm::{Realm, wait_known, wait_unknown},
    server::Server,
    simulated::{self, USUAL_ROWS},
};

/// An authority with a certificate for whom it was asked.
struct Authority<'a> {
    realm: &'a Realm,
    files: PathBuf,
}

impl<'a> Authority<'a> {
    /// The built-in one of a root, whose certificate goes into a file.
    fn of(realm: &'a Realm) -> Result<Self> {
        let files = realm.directory().join("pki");
        fs::create_dir_all(&files)?;
        let authority = Self { realm, files };
        realm.operator(&["ca", "init"])?;
        realm.operator(&["ca", "export", "--out", &authority.file()])?;
        Ok(authority)
    }

    fn file(&self) -> String {
        self.files.join("ca.pem").display().to_string()
    }

    /// A new key with a certificate for this host name, perhaps with a node as `UID`.
    fn issue(&self, of: &Identity, host: &str, options: &[&str]) -> Result<Identity> {
        let number = fs::read_dir(&self.files)?.count();
        let name = |extension: &str| self.files.join(format!("{number}.{extension}")).display().to_string();
        let (key, certificate) = (name("key"), name("pem"));
        let issue =
            ["ca", "issue", "--host", host, "--key", "p256", "--key-out", &key, "--out", &certificate];
        self.realm.operator(&[&issue[..], options].concat())?;
        Ok(Identity {
            node_id: of.node_id.clone(),
            key: private_key::from_pem(&fs::read(key)?)?,
            certificate: Certificate::from_pem(&fs::read(certificate)?)?,
        })
    }
}

/// Whether a server knows who shows this; a handshake that fails counts as not.
fn knows(server: &Server, identity: &Identity) -> Result<bool> {
    let connector = connector(identity, server.key_hash())?;
    Ok(identity_seen(server.gateway(), &connector).is_ok_and(|reply| {
        let said = reply.json().map(|said| said["node_id"].clone()).unwrap_or_default();
        reply.status == 200 && said == identity.node_id.as_str()
    }))
}

#[test]
fn a_users_own_authority_says_who_is_who() -> Result<()> {
    let (user, stranger) = (Realm::prepare()?, Realm::prepare()?);
    let (authority, elsewhere) = (Authority::of(&user)?, Authority::of(&stranger)?);
    let realm = Realm::start()?;
    let mut relay = realm.relay(&realm.root)?;
    let machines = realm.machines(&relay, Keys::P256, 2)?;
    let stranger = Identity::random(Keys::P256)?;
    relay.stop()?;
    relay.set("gateway.client_authentication", "\"authority\"");
    relay.set("gateway.client_ca_path", format!("{:?}", authority.file()));
    relay.start()?;

    let uid = |identity: &Identity| identity.node_id.to_string();
    let good = authority.issue(&machines[0], "a.example.com", &["--node", &uid(&machines[0])])?;
    assert!(knows(&relay, &good)?, "{}", relay.log_end());
    // What it sends is signed with its own key, as ever.
    let logs = simulated::many(&machines[..1], 1, USUAL_ROWS, chrono::Utc::now())?;
    assert_eq!(upload_all(relay.gateway(), &good, relay.key_hash(), &logs)?, [201]);
    // A pinned key is not enough here; nor is another authority, no node, or one that is not on the list.
    assert!(!knows(&relay, &machines[0])?);
    let other = elsewhere.issue(&machines[0], "a.example.com", &["--node", &uid(&machines[0])])?;
    assert!(!knows(&relay, &other)?);
    assert!(!knows(&relay, &authority.issue(&machines[0], "a.example.com", &[])?)?);
    assert!(!knows(&relay, &authority.issue(&stranger, "a.example.com", &["--node", &uid(&stranger)])?)?);
    // No revocation list is needed.
    realm.operator(&["node", "revoke", &uid(&machines[0])])?;
    wait_unknown(&relay, &good)?;

    // The same by a name in the certificate.
    relay.stop()?;
    relay.set("gateway.client_node_id", "\"dns:{id}.nodes.example.org\"");
    relay.start()?;
    let host = |identity: &Identity| format!("{}.nodes.example.org", identity.node_id);
    let named = authority.issue(&machines[1], &host(&machines[1]), &[])?;
    wait_known(&relay, &named)?;
    let two = ["--dns", &host(&machines[0])[..]];
    assert!(!knows(&relay, &authority.issue(&machines[1], &host(&machines[1]), &two)?)?);
    Ok(())
}
