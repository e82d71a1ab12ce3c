// SPDX-License-Identifier: Apache-2.0
//! Own PKI: chains instead of pinned keys, with the authority of another root in the part of the user's; at one
//! gateway in detail, and from an agent through a relay to the root.

use std::{fs, path::PathBuf};

use protocol::{certificate::Certificate, private_key};
use tests::{
    Result,
    client::{connector, upload_all},
    enrolment::identity_seen,
    identity::{Identity, Keys},
    judge,
    realm::{Realm, wait_known, wait_unknown},
    server::{IdentityFiles, Server},
    simulated::{self, USUAL_ROWS},
    wait,
};

use crate::{PATIENCE, attacks::identity_of, expect_exit, keys::enrolled};

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

/// Stops a server that shall be known, and know its clients, by certificates of this authority and not by keys. Gives
/// its new files.
fn stop_to_validate(server: &mut Server, authority: &Authority<'_>) -> Result<IdentityFiles> {
    let id = server.node_id().to_string();
    let shown = authority.issue(&identity_of(server)?, "127.0.0.1", &["--node", &id])?;
    let directory = server.directory().join("pki");
    fs::create_dir_all(&directory)?;
    let files = shown.write(&directory)?;
    let text = |path: &PathBuf| format!("{:?}", path.display().to_string());
    server.stop()?;
    server.set("gateway.certificate", text(&files.certificate));
    server.set("gateway.key", text(&files.key));
    server.set("gateway.client_authentication", "\"authority\"");
    server.set("gateway.client_ca_path", format!("{:?}", authority.file()));
    server.trust_key(shown.key_hash());
    Ok(files)
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

/// The whole way without a pin: an agent, its relay and the root know each other by chain and name.
#[test]
fn chains_all_the_way_up() -> Result<()> {
    let (user, stranger) = (Realm::prepare()?, Realm::prepare()?);
    let (authority, elsewhere) = (Authority::of(&user)?, Authority::of(&stranger)?);
    let mut realm = Realm::start()?;
    let mut relay = realm.relay(&realm.root)?;
    let node = enrolled(&realm, &relay, "web-1")?;

    stop_to_validate(&mut realm.root, &authority)?;
    realm.root.start()?;
    let files = stop_to_validate(&mut relay, &authority)?;
    relay.set("general.peer_authentication", "\"cert_validation\"");
    relay.set("output.upstream.client_certificate", format!("{:?}", files.certificate.display().to_string()));
    relay.set("output.upstream.client_key", format!("{:?}", files.key.display().to_string()));
    // Another authority's word for the root is not taken.
    relay.set("general.ca_path", format!("{:?}", elsewhere.file()));
    relay.start()?;

    let below = node.root();
    let id = node.node_id().as_str();
    let shown = authority.issue(node.identity(), "web-1.example.com", &["--node", id])?;
    let ssl = below.join("opt/rudder/etc/ssl");
    fs::write(ssl.join("agent-http.cert"), shown.certificate.x509().to_pem()?)?;
    fs::write(ssl.join("agent-http.key"), private_key::to_pem(&shown.key)?)?;
    let conf = below.join("opt/rudder/etc/agent.conf");
    let text = fs::read_to_string(&conf)?.replace("cert_validation = false", "");
    fs::write(&conf, text + "\ncert_validation = true\n")?;
    let trusted = below.join("var/rudder/lib/ssl/policy_server_ca.pem");
    fs::create_dir_all(trusted.parent().ok_or("no directory")?)?;
    fs::copy(elsewhere.file(), &trusted)?;
    expect_exit(&node.run(&["sh", "-c", "echo 'R: [INFO] hello'"])?, 0);
    assert!(!node.send()?.status.success(), "sent to a server that nobody vouches for");
    assert_eq!(node.outbox()?.len(), 1);
    fs::copy(authority.file(), &trusted)?;
    expect_exit(&node.send()?, 0);
    assert_eq!(node.outbox()?, []);

    wait::until_true("the relay to refuse the root", PATIENCE, || {
        let log = relay.log();
        Ok(log
            .lines()
            .any(|line| line.contains("outlet down") && line.contains("certificate is not trusted")))
    })?;
    let database = realm.root.database()?.clone();
    assert_eq!(judge::count_rows(&database)?, 0);
    relay.stop()?;
    relay.set("general.ca_path", format!("{:?}", authority.file()));
    relay.start()?;
    wait::until_true("rows at the root", PATIENCE, || Ok(judge::count_rows(&database)? > 0))
        .map_err(|e| format!("{e}\nrelay: {}\nroot: {}", relay.log_end(), realm.root.log_end()))?;
    // The relay learns the tree in the same way: a node that is revoked is refused within seconds.
    realm.operator(&["node", "revoke", id])?;
    wait_unknown(&relay, &shown)?;
    let rows = judge::count_rows(&database)?;
    expect_exit(&node.run(&["true"])?, 0);
    assert!(!node.send()?.status.success(), "a revoked node sent");
    assert_eq!((node.outbox()?.len(), judge::count_rows(&database)?), (1, rows));
    Ok(())
}
