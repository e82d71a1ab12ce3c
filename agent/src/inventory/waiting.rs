// SPDX-License-Identifier: Apache-2.0
//! The newest inventory, as long as no server has taken it: two files in a directory of their own.
//!
//! A newer one takes its place, so there is never more than one. The signature is written first: an inventory
//! that is there is whole.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use chrono::{DateTime, Utc};
use protocol::{compression, limits};

use super::{document::Document, sign};
use crate::{
    durable::{self, PRIVATE},
    identity::Identity,
    settings::Settings,
    state::State,
};

/// An inventory that waited longer is made anew: servers refuse it when it is two days old.
const OLDEST: Duration = Duration::from_secs(12 * 3600);

/// The two files of an inventory.
#[derive(Debug, Clone)]
pub struct Pair {
    /// Name of the inventory; that of its signature ends in `.sign` instead of `.gz`.
    pub name: String,
    /// The inventory, packed.
    pub inventory: Vec<u8>,
    /// The file with its signature.
    pub signature: Vec<u8>,
}

impl Pair {
    /// Signs and packs.
    pub fn of(document: &Document, settings: &Settings, identity: &Identity) -> io::Result<Self> {
        let name = file_name(identity, document.made);
        let signature = sign::sign(document.xml.as_bytes(), identity, key_date(&settings.paths.key))?;
        let inventory = compression::gzip(document.xml.as_bytes());
        if inventory.len() as u64 > limits::INVENTORY_COMPRESSED {
            return Err(io::Error::other(format!("{} bytes, more than servers take", inventory.len())));
        }
        Ok(Self { name, inventory, signature: signature.into_bytes() })
    }

    /// Name of the signature.
    pub fn signature_name(&self) -> String {
        signature_name(&self.name)
    }
}

/// `<node id>_<date>.ocs.gz` (protocol 6.1).
fn file_name(identity: &Identity, made: DateTime<Utc>) -> String {
    format!("{}_{}.ocs.gz", identity.node_id, made.format("%Y-%m-%dT%H:%M:%S%:z"))
}

fn signature_name(name: &str) -> String {
    format!("{}.sign", name.strip_suffix(".gz").unwrap_or(name))
}

fn key_date(key: &Path) -> DateTime<Utc> {
    fs::metadata(key).and_then(|facts| facts.modified()).unwrap_or(SystemTime::UNIX_EPOCH).into()
}

/// The directory. Needs the inventory lock, but to be looked at.
#[derive(Debug)]
pub struct Waiting {
    directory: PathBuf,
}

impl Waiting {
    /// Opens it; it is made when missing.
    pub fn open(state: &State) -> io::Result<Self> {
        let directory = state.path("inventory");
        durable::create_private_directory(&directory)?;
        Ok(Self { directory })
    }

    /// Puts one in the place of what is there.
    pub fn put(&self, document: &Document, settings: &Settings, identity: &Identity) -> io::Result<Pair> {
        let pair = Pair::of(document, settings, identity)?;
        self.clear()?;
        durable::replace(&self.directory.join(pair.signature_name()), &pair.signature, PRIVATE)?;
        durable::replace(&self.directory.join(&pair.name), &pair.inventory, PRIVATE)?;
        Ok(pair)
    }

    /// The one that waits, if it is not too old to be taken.
    pub fn read(&self, now: DateTime<Utc>) -> io::Result<Option<Pair>> {
        let now = SystemTime::from(now);
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let Some(name) =
                entry.file_name().to_str().filter(|name| name.ends_with(".gz")).map(str::to_owned)
            else {
                continue;
            };
            // One from the future is as old as one can be: nobody knows when it was made.
            let age = now.duration_since(entry.metadata()?.modified()?).unwrap_or(OLDEST);
            if age < OLDEST {
                let inventory = fs::read(entry.path())?;
                let signature = fs::read(self.directory.join(signature_name(&name)))?;
                return Ok(Some(Pair { name, inventory, signature }));
            }
        }
        Ok(None)
    }

    /// Removes all.
    pub fn clear(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.directory)? {
            fs::remove_file(entry?.path())?;
        }
        Ok(())
    }
}
