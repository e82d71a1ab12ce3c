// SPDX-License-Identifier: Apache-2.0
//! What a policy server has for one node: files by path, with entity tags and conditions as in RFC 9110.

use std::{
    collections::HashMap,
    io::Write,
    sync::{Arc, Mutex},
};

use chrono::{DateTime, Utc};
use openssl::pkey::{PKey, Private};
use protocol::{
    certificate::Certificate,
    hash::ContentDigest,
    node_id::NodeId,
    policy_manifest::{FileList, Manifest, ManifestFile},
    private_key::{self, KeyKind},
};

use crate::server::{Request, Server};

/// The files of one version, by path.
pub type Files = Vec<(String, Vec<u8>)>;

#[derive(Clone, Default)]
pub struct Shelf {
    content: Arc<Mutex<HashMap<String, Vec<u8>>>>,
    /// What is claimed to be the tag of everything, instead of the right ones.
    tag: Arc<Mutex<Option<String>>>,
    node: String,
}

impl Shelf {
    pub fn new(node: &NodeId) -> Self {
        Self { node: node.to_string(), ..Self::default() }
    }

    pub fn serve(&self) -> Server {
        let shelf = self.clone();
        Server::with_policies(move |request| shelf.answer(request))
    }

    pub fn put(&self, path: &str, content: impl Into<Vec<u8>>) {
        self.content.lock().unwrap().insert(path.to_owned(), content.into());
    }

    pub fn claim(&self, tag: Option<&str>) {
        *self.tag.lock().unwrap() = tag.map(str::to_owned);
    }

    pub fn clear(&self) {
        self.content.lock().unwrap().clear();
    }

    pub fn put_own(&self, path: &str, content: impl Into<Vec<u8>>) {
        self.put(&format!("/policies/{}/{path}", self.node), content);
    }

    /// Files as they are asked for one by one, and the archive of all.
    pub fn put_files(&self, files: &Files) {
        for (path, content) in files {
            self.put_own(&format!("rules/{path}"), content.clone());
        }
        self.put_own("rules.tar.gz", protocol::compression::gzip(&tar("", files)));
    }

    /// A version without signature.
    pub fn publish(&self, node: &NodeId, version: u64, files: &Files) {
        self.clear();
        self.put_files(files);
        self.put_own("rules.manifest", manifest(node, version, None, files).to_json());
    }

    fn answer(&self, request: &Request) -> (String, Vec<u8>) {
        let path = request.target().split(' ').nth(1).unwrap();
        let content = self.content.lock().unwrap();
        let Some(body) = content.get(path) else { return ("404 Not Found".into(), vec![]) };
        let tag = match self.tag.lock().unwrap().clone() {
            Some(claimed) => claimed,
            None => format!("\"{}\"", ContentDigest::of(body)),
        };
        let condition = request
            .headers
            .iter()
            .find_map(|h| h.to_lowercase().strip_prefix("if-none-match:").map(str::to_owned));
        if condition.is_some_and(|tags| tags.split(',').any(|one| one.trim() == tag)) {
            return (format!("304 Not Modified\r\nETag: {tag}"), vec![]);
        }
        (format!("200 OK\r\nETag: {tag}"), body.clone())
    }
}

pub fn manifest(node: &NodeId, version: u64, expires: Option<DateTime<Utc>>, files: &Files) -> Manifest {
    let files = files.iter().map(|(path, content)| ManifestFile {
        path: path.parse().unwrap(),
        size: content.len() as u64,
        sha256: ContentDigest::of(content),
        executable: path.ends_with(".sh"),
    });
    let files = Arc::new(FileList::new(files.collect()).unwrap());
    Manifest::new(node.clone(), version, Utc::now(), expires, files).unwrap()
}

/// A policy key.
pub fn policy_key() -> (Certificate, PKey<Private>) {
    let key = private_key::generate(KeyKind::P256).unwrap();
    (private_key::self_signed(&key, &NodeId::root()).unwrap(), key)
}

pub fn tar(top: &str, files: &Files) -> Vec<u8> {
    let mut builder = tar::Builder::new(vec![]);
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o6777);
        builder.append_data(&mut header, format!("{top}{path}"), &content[..]).unwrap();
    }
    builder.into_inner().unwrap()
}

pub fn bzip2(content: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(vec![], bzip2::Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}
