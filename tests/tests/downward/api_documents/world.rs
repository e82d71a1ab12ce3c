// SPDX-License-Identifier: Apache-2.0
//! The servers of the walk: one of each kind that answers something that no other does.

use std::{fs, path::PathBuf, process::Command};

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
        let realm = Realm::start()?;
        let relay = realm.relay(&realm.root)?;

        let mut strict = Realm::prepare()?;
        strict.root.set("enrolment.requests_per_minute", "3");
        strict.root.set("gateway.uploads_per_minute", "1");
        strict.root.start()?;

        let mut site = Site::new()?;
        let closed_machine = site.add_machines(&site.root_id().clone(), 1)?.remove(0);
        let mut closed = site.prepare_root(site.sqlite())?;
        closed.set("processing.reporting.output", "\"disabled\"");
        closed.start()?;

        let elsewhere = Site::new()?;
        let mut certified = elsewhere.prepare_root(elsewhere.sqlite())?;
        let authority = certified.directory().join("authority.pem");
        let identity = Identity::random(Keys::P256)?;
        fs::write(&authority, identity.certificate.x509().to_pem()?)?;
        certified.set("processing.reporting.output", "\"disabled\"");
        certified.set("gateway.client_authentication", "\"authority\"");
        certified.set("gateway.client_ca_path", format!("{:?}", authority.display().to_string()));
        certified.start()?;

        Ok(Self { realm, relay, strict, closed, closed_machine, certified, _sites: [site, elsewhere] })
    }
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
