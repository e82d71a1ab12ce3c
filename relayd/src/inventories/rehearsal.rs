// SPDX-License-Identifier: Apache-2.0
//! Is it the inventory or the database? Known-good inventories are written and rolled back.
//!
//! When that fails as well, no inventory is to blame: rights are missing, a table is locked or gone, the disk
//! is full. diesel does not pass SQLSTATE codes on, and this also covers those that nobody thought of.
//!
//! Each rehearsal is of another node and other parts, so that none waits for the keys of another one.

use std::collections::BTreeMap;

use chrono::Utc;
use openssl::{error::ErrorStack, sha::sha256};

use super::{
    package::{Digest, Kind, Package},
    record::{Chunk, Packed, Record, Summary},
    write,
};
use crate::db::Connection;

/// Does everything that storing such an inventory would do, but the commit: a first one of a node, and one that
/// changes it. The error is what the database says.
pub(super) fn rehearse(c: &mut Connection, like: &Record) -> Result<(), String> {
    let mut seed = [0; 32];
    openssl::rand::rand_bytes(&mut seed).map_err(|e: ErrorStack| e.to_string())?;
    let now = Utc::now().timestamp();
    let node = format!("relayd.rehearsal.{}", hex::encode(seed));
    let mut names = Names { seed, count: 0 };
    let records = [now, now + 1].map(|made| stand_in(&node, made, like, &mut names));
    let [Some(first), Some(second)] = records else { return Err(format!("{node} is no node id")) };
    write::rehearse(c, &[first, second], now).map_err(|e| e.to_string())
}

/// Digests that nobody else has.
struct Names {
    seed: [u8; 32],
    count: u64,
}

impl Names {
    fn next(&mut self) -> Digest {
        self.count += 1;
        sha256(&[&self.seed[..], &self.count.to_be_bytes()].concat())
    }
}

/// As many parts of as many bytes, all harmless.
fn stand_in(node: &str, made: i64, like: &Record, names: &mut Names) -> Option<Record> {
    let text = || "rehearsal".to_owned();
    let packed = |packed: &Packed, digest| Packed { digest, content: vec![0; packed.content.len()] };
    let package = || Package {
        name: text(),
        version: text(),
        arch: text(),
        kind: Kind::Other,
        publisher: text(),
        source: None,
        source_version: None,
    };
    let facts = packed(&like.facts, names.next());
    let updates = like.updates.as_ref().map(|updates| packed(updates, names.next()));
    let digest = names.next();
    let chunks = like.chunks.iter().map(|chunk| {
        let chunk = chunk.as_ref()?;
        let packages: BTreeMap<_, _> = chunk.packages.keys().map(|_| (names.next(), package())).collect();
        Some(Chunk { digest: names.next(), packages })
    });
    Some(Record {
        node_id: node.parse().ok()?,
        made,
        digest,
        summary: Summary {
            agent: text(),
            agent_version: text(),
            hostname: text(),
            os_name: text(),
            os_version: text(),
            os_full_name: text(),
            arch: text(),
            kernel: text(),
        },
        facts,
        updates,
        momentary: vec![0; like.momentary.len()],
        chunks: chunks.collect(),
    })
}
