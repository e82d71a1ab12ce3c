// SPDX-License-Identifier: Apache-2.0
//! An inventory as it is stored: what changes each time, what does not, and packages in chunks, each part
//! with its digest. Making one is work for the processor only.

use std::collections::BTreeMap;

use openssl::sha::{Sha256, sha256};
use protocol::{
    compression::gzip,
    inventory::{Content, check::Checked},
    node_id::NodeId,
};
use serde::Serialize;

use super::{
    bucket::{self, BUCKETS},
    package::{Digest, Package, cut},
};

/// An inventory, ready to be stored.
#[derive(Debug)]
pub struct Record {
    /// Whose it is.
    pub node_id: NodeId,
    /// Unix time: when it was made.
    pub made: i64,
    /// SHA-256 of the document.
    pub digest: Digest,
    /// Columns for people.
    pub summary: Summary,
    /// What stays as it is for long.
    pub facts: Packed,
    /// Updates on offer, if there are any.
    pub updates: Option<Packed>,
    /// What is different each time: gzip of JSON.
    pub momentary: Vec<u8>,
    /// Packages of each bucket; `None`: there is none.
    pub chunks: Vec<Option<Chunk>>,
}

/// What is worth a column.
#[derive(Debug)]
pub struct Summary {
    pub(super) agent: String,
    pub(super) agent_version: String,
    pub(super) hostname: String,
    pub(super) os_name: String,
    pub(super) os_version: String,
    pub(super) os_full_name: String,
    pub(super) arch: String,
    pub(super) kernel: String,
}

/// JSON, compressed, and what it is known by.
#[derive(Debug)]
pub struct Packed {
    /// SHA-256 of the JSON.
    pub digest: Digest,
    /// gzip of it.
    pub content: Vec<u8>,
}

/// The packages of one bucket.
#[derive(Debug)]
pub struct Chunk {
    /// SHA-256 of the digests of the packages, ascending.
    pub digest: Digest,
    /// The packages by digest.
    pub packages: BTreeMap<Digest, Package>,
}

impl Record {
    /// From an inventory that was checked, made at this time; `digest` is that of its document.
    pub fn new(checked: Checked, made: i64, digest: Digest) -> Self {
        let Checked { node_id, hostname, agent, agent_version, os_name, kernel, mut content, .. } = checked;
        let momentary = pack(&content.take_momentary()).content;
        let chunks = chunks(std::mem::take(&mut content.software), &agent);
        let updates = std::mem::take(&mut content.software_updates);
        let updates = (!updates.is_empty()).then(|| pack(&updates));
        let system = content.operating_system.as_ref();
        let of_system = |text: Option<&String>| cut(text.cloned().unwrap_or_default());
        let summary = Summary {
            agent,
            agent_version: cut(agent_version),
            hostname,
            os_name: cut(os_name),
            os_version: of_system(system.and_then(|system| system.version.as_ref())),
            os_full_name: of_system(system.and_then(|system| system.full_name.as_ref())),
            arch: of_system(system.and_then(|system| system.arch.as_ref())),
            kernel: cut(kernel),
        };
        let facts = pack(&without_keys(content));
        Self { node_id, made, digest, summary, facts, updates, momentary, chunks }
    }
}

/// Keys and certificates are in the registry of nodes: a new certificate is no change of the machine.
fn without_keys(mut content: Content) -> Content {
    for agent in content.rudder.iter_mut().flat_map(|rudder| &mut rudder.agents) {
        (agent.certificate, agent.key) = (None, None);
    }
    content
}

/// Members and elements come in an order that does not change, so equal values have equal digests.
fn pack(value: &impl Serialize) -> Packed {
    let json = serde_json::to_vec(value).unwrap_or_default();
    Packed { digest: sha256(&json), content: gzip(&json) }
}

fn chunks(software: Vec<protocol::inventory::software::Software>, agent: &str) -> Vec<Option<Chunk>> {
    let mut buckets: Vec<BTreeMap<Digest, Package>> = vec![BTreeMap::new(); BUCKETS];
    for package in software.into_iter().filter_map(|one| Package::of(one, agent)) {
        buckets[bucket::of(&package.name)].insert(package.digest(), package);
    }
    let chunk = |packages: BTreeMap<Digest, Package>| {
        let mut hash = Sha256::new();
        packages.keys().for_each(|digest| hash.update(digest));
        (!packages.is_empty()).then(|| Chunk { digest: hash.finish(), packages })
    };
    buckets.into_iter().map(chunk).collect()
}
