// SPDX-License-Identifier: Apache-2.0
//! The files that other programs read (protocol 5): the node list and the certificate bundles, written
//! from the node table whenever it has changed, each whole or not at all. Bundles are large: they are
//! written and compared piece by piece.
//!
//! | file | what |
//! |---|---|
//! | `general.nodes_list_file` | the accepted nodes |
//! | `general.nodes_certs_file` | their certificates |
//! | `nodescerts.pem` beside it (above it, if it is in `shared/`) | those of the nodes that connect here |

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use openssl::sha::{Sha256, sha256};
use protocol::node_id::NodeId;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error};

use crate::{
    config,
    durable::{self, Access},
    nodes::{NodeTable, Nodes},
};

/// Mode of the files (protocol 5.2).
const MODE: u32 = 0o640;
/// Least time between two publications.
const SPACING: Duration = Duration::from_secs(2);
/// How soon to try again what failed.
const RETRY: Duration = Duration::from_secs(30);

const DIRECT: &str = "nodescerts.pem";

/// Keeps the files as the table is.
pub(super) struct Files {
    own_id: NodeId,
    list: File,
    all: File,
    direct: Option<File>,
}

struct File {
    path: PathBuf,
    /// Digest of what it was made from; `None`: not written yet, or that failed.
    written: Option<[u8; 32]>,
}

impl Files {
    pub(super) fn new(general: &config::General) -> Self {
        let file = |path: &Path| File { path: path.to_owned(), written: None };
        let direct = direct_of(&general.nodes_certs_file);
        Self {
            own_id: general.node_id.clone(),
            list: file(&general.nodes_list_file),
            all: file(&general.nodes_certs_file),
            direct: direct.as_deref().map(file),
        }
    }

    /// Writes until stopped, then once more.
    pub(super) async fn run(mut self, mut nodes: Nodes, stop: CancellationToken) -> Result<(), String> {
        loop {
            let started = Instant::now();
            let table = Arc::clone(&nodes.borrow_and_update());
            let work = move || {
                let written = self.write(&table);
                (self, written)
            };
            let (files, written) = tokio::task::spawn_blocking(work).await.map_err(|e| e.to_string())?;
            self = files;
            if stop.is_cancelled() {
                return Ok(());
            }
            // Where writing takes long, it must not be all that happens.
            let spacing = SPACING.max(started.elapsed() * 10);
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(RETRY), if !written => {}
                changed = async {
                    tokio::time::sleep(spacing).await;
                    nodes.changed().await
                } => if changed.is_err() {
                    // The registry has stopped, or is about to.
                    stop.cancelled().await;
                    return Ok(());
                },
            }
        }
    }

    /// Writes the files that are not as the table is; returns whether all are then.
    fn write(&mut self, table: &NodeTable) -> bool {
        let mut ids: Vec<&NodeId> = table.list().iter().map(|(id, _)| id).collect();
        ids.sort_unstable();
        let list = table.list().to_json();
        let list_written = self.list.write(sha256(&list), |file| file.write_all(&list));
        let all_written = self.all.write(digest(table, &ids), |file| write_bundle(table, &ids, file));
        let is_direct =
            |id: &&NodeId| table.list().get(id).is_some_and(|node| node.policy_server == self.own_id);
        ids.retain(is_direct);
        let direct = self.direct.as_mut();
        let direct_written =
            direct.is_none_or(|file| file.write(digest(table, &ids), |to| write_bundle(table, &ids, to)));
        list_written && all_written && direct_written
    }
}

impl File {
    fn write(&mut self, digest: [u8; 32], content: impl Fn(&mut dyn Write) -> io::Result<()>) -> bool {
        if self.written == Some(digest) {
            return true;
        }
        match self.replace(content) {
            Ok(()) => {
                debug!("wrote {}", self.path.display());
                self.written = Some(digest);
                true
            }
            Err(e) => {
                error!("cannot write {}: {e}; check the owner of its directory", self.path.display());
                self.written = None;
                false
            }
        }
    }

    fn replace(&self, content: impl Fn(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
        if holds(&self.path, &content).unwrap_or(false) {
            return Ok(());
        }
        if let Some(directory) = self.path.parent() {
            fs::create_dir_all(directory)?;
        }
        durable::replace_with(&self.path, Access::own(MODE), content)
    }
}

/// Whether the file has this content already: then readers are not made to read it again.
fn holds(path: &Path, content: impl Fn(&mut dyn Write) -> io::Result<()>) -> io::Result<bool> {
    let mut there = Digest::default();
    io::copy(&mut fs::File::open(path)?, &mut there)?;
    let mut wanted = Digest::default();
    content(&mut wanted)?;
    Ok(there.0.finish() == wanted.0.finish())
}

/// Takes what is written for its digest only.
#[derive(Default)]
struct Digest(Sha256);

impl Write for Digest {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        self.0.update(part);
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where the bundle of direct nodes goes, unless the other bundle has its name.
fn direct_of(all: &Path) -> Option<PathBuf> {
    let directory = all.parent()?;
    let directory = if directory.ends_with("shared") { directory.parent()? } else { directory };
    let path = directory.join(DIRECT);
    (path != all).then_some(path)
}

fn digest(table: &NodeTable, ids: &[&NodeId]) -> [u8; 32] {
    let mut digest = Sha256::new();
    ids.iter().flat_map(|id| table.certificates(id)).for_each(|one| digest.update(one.der()));
    digest.finish()
}

fn write_bundle(table: &NodeTable, ids: &[&NodeId], file: &mut dyn Write) -> io::Result<()> {
    for certificate in ids.iter().flat_map(|id| table.certificates(id)) {
        file.write_all(&certificate.to_pem())?;
        file.write_all(b"\n")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use protocol::{
        certificate,
        node_list::NodeList,
        private_key::{self, KeyKind},
    };

    use super::*;

    fn general(directory: &Path) -> config::General {
        config::General {
            node_id: NodeId::root(),
            nodes_list_file: directory.join("relay/nodeslist.json"),
            nodes_certs_file: directory.join("ssl/shared/allnodescerts.pem"),
            listen: config::LocalAddress::Unix("/none".into()),
            core_threads: 1,
            blocking_threads: 1,
            shutdown_grace: Duration::ZERO,
        }
    }

    #[test]
    fn what_is_written_is_what_readers_expect_and_only_when_it_changed() {
        let directory = tempfile::tempdir().unwrap();
        let mut files = Files::new(&general(directory.path()));
        let json = r#"{"root": {"hostname": "r", "policy-server": "root"},
            "a": {"hostname": "a", "policy-server": "root"}, "b": {"hostname": "b", "policy-server": "a"}}"#;
        let certificate = |node: &str| {
            let key = private_key::generate(KeyKind::P256).unwrap();
            private_key::self_signed(&key, &node.parse().unwrap()).unwrap()
        };
        let list = || NodeList::from_json(json.as_bytes()).unwrap();
        let table = NodeTable::new(list(), vec![certificate("a"), certificate("b")]);
        assert!(files.write(&table));
        let at = |name: &str| directory.path().join(name);
        let names = ["relay/nodeslist.json", "ssl/shared/allnodescerts.pem", "ssl/nodescerts.pem"];
        for name in names {
            assert_eq!(fs::metadata(at(name)).unwrap().permissions().mode() & 0o777, 0o640, "{name}");
        }
        assert_eq!(NodeList::from_json(&fs::read(at(names[0])).unwrap()).unwrap(), list());
        let in_bundle = |name: &str| certificate::read_bundle(&fs::read(at(name)).unwrap()).unwrap().len();
        assert_eq!((in_bundle(names[1]), in_bundle(names[2])), (2, 1));

        fs::write(at(names[1]), "somebody else").unwrap();
        assert!(files.write(&table));
        assert_eq!(fs::read(at(names[1])).unwrap(), b"somebody else", "nothing changed, nothing written");
        assert!(files.write(&NodeTable::new(list(), vec![certificate("b")])));
        assert_eq!((in_bundle(names[1]), in_bundle(names[2])), (1, 0));
    }

    #[test]
    fn the_bundle_of_direct_nodes_has_a_place_of_its_own() {
        for (all, direct) in [
            ("/var/rudder/lib/ssl/shared/allnodescerts.pem", Some("/var/rudder/lib/ssl/nodescerts.pem")),
            ("/var/rudder/lib/ssl/allnodescerts.pem", Some("/var/rudder/lib/ssl/nodescerts.pem")),
            ("/var/rudder/lib/ssl/nodescerts.pem", None),
        ] {
            assert_eq!(direct_of(Path::new(all)), direct.map(PathBuf::from), "{all}");
        }
    }
}
