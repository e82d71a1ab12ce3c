// SPDX-License-Identifier: Apache-2.0
//! The servers of the walk: one of each kind that answers something that no other does.

use std::{fs, path::PathBuf, process::Command};

use super::shared;
use tests::{
    Result,
    identity::{Identity, Keys},
    realm::Realm,
    server::Server,
    site::Site,
};

/// All of them, running.
pub struct World {
    /// A root that decides about nodes and stores run logs.
    pub realm: Realm,
    /// A relay below it.
    pub relay: Server,
    /// A root that lets nobody ask or send more than once a minute.
    pub strict: Realm,
    /// A root whose nodes are in a file and that stores nothing.
    pub closed: Server,
    /// A node of that.
    pub closed_machine: Identity,
    /// A server that knows its clients by an authority.
    pub certified: Server,
    /// Directories go last.
    _sites: [Site; 2],
}

impl World {
    /// Starts them.
    pub fn start() -> Result<Self> {
        let mut realm = Realm::prepare()?;
        with_directories(&mut realm.root);
        let advisories = realm.root.directory().join("advisories.csv");
        fs::write(&advisories, "advisory,package,severity\nA-1,openssl,high\n")?;
        realm.root.set("processing.inventory.advisories", format!("{:?}", advisories.display().to_string()));
        shared::prepare(&realm.root)?;
        realm.root.start()?;
        let mut relay =
            realm.relay_of(&Identity::random(Keys::P256)?, &realm.root, realm.root.gateway().port())?;
        with_directories(&mut relay);
        relay.start()?;

        let mut strict = Realm::prepare()?;
        with_directories(&mut strict.root);
        strict.root.set("enrolment.requests_per_minute", "3");
        strict.root.set("gateway.uploads_per_minute", "1");
        // Its own agent is not there to run.
        strict.root.set("remote_run.expiry", "\"1s\"");
        let everywhere = format!("\"0.0.0.0:{}\"", strict.root.gateway().port());
        strict.root.set("gateway.listen", everywhere);
        strict.root.start()?;

        let mut site = Site::new()?;
        let closed_machine = site.add_machines(&site.root_id().clone(), 1)?.remove(0);
        let mut closed = site.prepare_root(site.sqlite())?;
        closed.set("processing.reporting.output", "\"disabled\"");
        closed.set("remote_run.enabled", "false");
        with_directories(&mut closed);
        closed.start()?;

        let elsewhere = Site::new()?;
        let mut certified = elsewhere.prepare_root(elsewhere.sqlite())?;
        let authority = certified.directory().join("authority.pem");
        let identity = Identity::random(Keys::P256)?;
        fs::write(&authority, identity.certificate.x509().to_pem()?)?;
        certified.set("processing.reporting.output", "\"disabled\"");
        certified.set("gateway.client_authentication", "\"authority\"");
        certified.set("gateway.client_ca_path", format!("{:?}", authority.display().to_string()));
        with_directories(&mut certified);
        certified.start()?;

        Ok(Self { realm, relay, strict, closed, closed_machine, certified, _sites: [site, elsewhere] })
    }
}

/// Directories of its own for what usually lies below `/var`.
pub fn with_directories(server: &mut Server) {
    let directory = server.directory().to_owned();
    let of = |name: &str| format!("{:?}", directory.join(name).display().to_string());
    server.set("shared_folder.path", of("shared-folder"));
    server.set("shared_files.path", of("shared-files"));
    server.set("policies.directory", of("policies"));
    server.set("policies.cache.directory", of("cache"));
}

/// A file system of 400 KiB, unmounted when dropped.
pub struct TinyDisk(tempfile::TempDir);

impl TinyDisk {
    /// `None` where mounting is not permitted.
    pub fn mount() -> Result<Option<Self>> {
        let directory = tempfile::tempdir()?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=400k", "none"]).arg(directory.path());
        let mounted = mount.output()?.status.success();
        Ok(mounted.then_some(Self(directory)))
    }

    /// A directory on it, in TOML.
    pub fn directory(&self, name: &str) -> String {
        format!("{:?}", self.0.path().join(name).display().to_string())
    }

    /// Leaves no room.
    pub fn fill(&self) -> Result<()> {
        let filler: PathBuf = self.0.path().join("filler");
        match fs::write(filler, vec![0; 1 << 20]) {
            Err(e) if e.kind() == std::io::ErrorKind::StorageFull => Ok(()),
            other => Err(format!("the disk is not full: {other:?}").into()),
        }
    }
}

impl Drop for TinyDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}
