// SPDX-License-Identifier: Apache-2.0
//! Fleets with packages, written into the tables of inventories.

use std::collections::{BTreeSet, HashMap};

use relayd::{
    db::{
        Connection,
        query::{MOST_VALUES, Value, placeholders},
    },
    inventories::bucket::{self, BUCKETS},
};

pub type Package = (String, String, &'static str);

/// A fleet, and how it stands in the tables.
#[derive(Default)]
pub struct Fleet {
    pub packages: HashMap<Package, i64>,
    pub chunks: HashMap<String, (usize, i64)>,
    pub nodes: Vec<Node>,
}

pub struct Node {
    pub id: String,
    pub os: (&'static str, &'static str),
    pub packages: Vec<Package>,
    pub chunks: String,
}

impl Fleet {
    pub fn add(&mut self, os: (&'static str, &'static str), packages: Vec<Package>) {
        let mut buckets = vec![BTreeSet::new(); BUCKETS];
        for package in &packages {
            let next = self.packages.len() as i64 + 1;
            let id = *self.packages.entry(package.clone()).or_insert(next);
            buckets[bucket::of(&package.0)].insert(id);
        }
        let mut chunks = Vec::new();
        for (place, bucket) in buckets.iter().enumerate() {
            let ids: Vec<_> = bucket.iter().map(ToString::to_string).collect();
            let next = self.chunks.len() as i64 + 1;
            chunks.push(match ids.is_empty() {
                true => "0".to_owned(),
                false => self.chunks.entry(ids.join(",")).or_insert((place, next)).1.to_string(),
            });
        }
        let id = format!("node-{:05}", self.nodes.len());
        self.nodes.push(Node { id, os, packages, chunks: chunks.join(",") });
    }

    pub fn store(&self, c: &mut Connection) {
        for table in ["inventory", "package", "package_chunk"] {
            c.execute(&format!("DELETE FROM {table}")).unwrap();
        }
        let packages: Vec<_> = self.packages.iter().collect();
        let digests: Vec<_> = packages.iter().map(|(_, id)| digest(**id)).collect();
        let rows = packages.iter().zip(&digests).map(|(((name, version, kind), id), digest)| {
            let texts = [name, version, "amd64", kind, ""].map(Value::Text);
            [vec![Value::Int(**id), Value::Bytes(digest)], texts.to_vec()].concat()
        });
        insert(c, "package (id, digest, name, version, arch, kind, publisher)", rows.collect());
        let chunks: Vec<_> = self.chunks.iter().collect();
        let digests: Vec<_> = chunks.iter().map(|(_, (_, id))| digest(*id)).collect();
        let rows = chunks.iter().zip(&digests).map(|((packages, (bucket, id)), digest)| {
            vec![Value::Int(*id), Value::Bytes(digest), Value::Int(*bucket as i64), Value::Text(packages)]
        });
        insert(c, "package_chunk (id, digest, bucket, packages)", rows.collect());
        let same = digest(1);
        let rows = self.nodes.iter().map(|node| {
            let texts = [&*node.id, &*node.id, node.os.0, node.os.1, &*node.chunks].map(Value::Text);
            [texts.to_vec(), vec![Value::Bytes(&same)]].concat()
        });
        let columns = "inventory (nodeid, hostname, os_name, os_version, chunks, digest, received, made, since, \
                       agent, agent_version, os_full_name, arch, kernel, facts_id)";
        insert_with(c, columns, rows.collect(), ", 0, 0, 0, '', '', '', '', '', 0");
    }
}

pub fn digest(number: i64) -> Vec<u8> {
    [number.to_be_bytes(); 4].concat()
}

pub fn insert(c: &mut Connection, columns: &str, rows: Vec<Vec<Value<'_>>>) {
    insert_with(c, columns, rows, "");
}

fn insert_with(c: &mut Connection, columns: &str, rows: Vec<Vec<Value<'_>>>, rest: &str) {
    let given = match c {
        Connection::Postgres(_) if rest.is_empty() => " OVERRIDING SYSTEM VALUE",
        _ => "",
    };
    let Some(width) = rows.first().map(Vec::len) else { return };
    for part in rows.chunks(MOST_VALUES / width) {
        let places = placeholders(part.len(), width).replace(')', &format!("{rest})"));
        c.run(&format!("INSERT INTO {columns}{given} VALUES {places}"), &part.concat()).unwrap();
    }
}

/// Numbers that look random, and are the same each time.
pub struct Numbers(pub u64);

impl Numbers {
    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }
}

pub const DEBIAN: (&str, &str) = ("Debian", "12.4");
pub const ROCKY: (&str, &str) = ("Rocky Linux", "9.3");
