// SPDX-License-Identifier: Apache-2.0
//! Loads the node table from files and publishes it: all of it or nothing.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use protocol::{
    certificate::{self, Certificate, CertificateError},
    node_id::NodeId,
    node_list::{NodeList, NodeListError},
};
use tokio::sync::watch;

use super::{NodeTable, Nodes};
use crate::{config, metrics::CompatibleMetrics, worker::Worker};

/// Loads the node table, always on the same thread.
pub struct Loader {
    files: Arc<Files>,
    worker: Worker,
}

/// The files of the node table, and the sending side of its snapshots.
struct Files {
    own_id: NodeId,
    list_file: PathBuf,
    certificates_file: PathBuf,
    sender: watch::Sender<Arc<NodeTable>>,
    metrics: CompatibleMetrics,
}

/// Why the node table cannot be loaded. A missing file is none of these (protocol 5.1, 5.2).
#[derive(Debug, thiserror::Error)]
pub enum NodesError {
    /// There, but not readable.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The node list is invalid as a whole.
    #[error("{}: {error}; have the server application write it again", path.display())]
    List {
        /// The file.
        path: PathBuf,
        /// Why.
        error: NodeListError,
    },
    /// The certificate bundle is not one.
    #[error("{}: {error}", path.display())]
    Certificates {
        /// The file.
        path: PathBuf,
        /// Why.
        error: CertificateError,
    },
    /// No thread to load it.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}

/// Largest node list or bundle: some 100,000 nodes with room to spare.
const MAX_FILE: u64 = 1024 * 1024 * 1024;

impl Loader {
    /// Loads for the first time.
    pub async fn start(
        general: &config::General,
        metrics: CompatibleMetrics,
    ) -> Result<(Self, Nodes), NodesError> {
        let (sender, nodes) = watch::channel(Arc::default());
        let files = Files {
            own_id: general.node_id.clone(),
            list_file: general.nodes_list_file.clone(),
            certificates_file: general.nodes_certs_file.clone(),
            sender,
            metrics,
        };
        let worker = Worker::start("node-table").map_err(NodesError::Thread)?;
        let loader = Self { files: Arc::new(files), worker };
        loader.reload().await?;
        Ok((loader, nodes))
    }

    /// Loads again and publishes; on an error the old table stays.
    pub async fn reload(&self) -> Result<(), NodesError> {
        let files = Arc::clone(&self.files);
        self.worker.run(move || files.load()).await
    }
}

impl Files {
    fn load(&self) -> Result<(), NodesError> {
        let table = read_files_at(&self.list_file, &self.certificates_file)?;
        self.metrics.sub_nodes.set(count(table.list().len()));
        self.metrics.managed_nodes.set(count(table.list().direct(&self.own_id).count()));
        self.sender.send_replace(Arc::new(table));
        Ok(())
    }
}

/// The node table that the files say now. Blocks.
pub fn read_files(general: &config::General) -> Result<NodeTable, NodesError> {
    read_files_at(&general.nodes_list_file, &general.nodes_certs_file)
}

fn read_files_at(list: &Path, certificates: &Path) -> Result<NodeTable, NodesError> {
    Ok(NodeTable::new(read_list(list)?, read_certificates(certificates)?))
}

/// Reads a node list; an empty one when there is none.
pub fn read_list(path: &Path) -> Result<NodeList, NodesError> {
    let Some(json) = read(path)? else {
        tracing::info!("no node list at {}: no node is known", path.display());
        return Ok(NodeList::default());
    };
    NodeList::from_json(&json).map_err(|error| NodesError::List { path: path.to_owned(), error })
}

fn read_certificates(path: &Path) -> Result<Vec<Certificate>, NodesError> {
    let Some(pem) = read(path)? else {
        tracing::info!("no certificate bundle at {}", path.display());
        return Ok(Vec::new());
    };
    // Written empty by the server application when it has no node yet.
    if pem.iter().all(u8::is_ascii_whitespace) {
        return Ok(Vec::new());
    }
    certificate::read_bundle(&pem).map_err(|error| NodesError::Certificates { path: path.to_owned(), error })
}

/// The content of a file, if there is one.
fn read(path: &Path) -> Result<Option<Vec<u8>>, NodesError> {
    let failed = |error| NodesError::Read { path: path.to_owned(), error };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut content = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut content).map_err(failed)?;
    if content.len() as u64 > MAX_FILE {
        return Err(failed(io::Error::other(format!("over {MAX_FILE} bytes"))));
    }
    Ok(Some(content))
}

fn count(nodes: usize) -> i64 {
    i64::try_from(nodes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use protocol::private_key::{self, KeyKind};

    use super::*;

    async fn start(directory: &Path) -> Result<(Loader, Nodes, CompatibleMetrics), NodesError> {
        let metrics = CompatibleMetrics::new(&prometheus::Registry::new()).unwrap();
        let general = config::General {
            node_id: NodeId::root(),
            nodes_list_file: directory.join("nodeslist.json"),
            nodes_certs_file: directory.join("certs.pem"),
            listen: config::LocalAddress::Unix("/none".into()),
            core_threads: 1,
            blocking_threads: 1,
            shutdown_grace: std::time::Duration::ZERO,
        };
        Loader::start(&general, metrics.clone()).await.map(|(loader, nodes)| (loader, nodes, metrics))
    }

    const LIST: &str = r#"{
        "root": {"hostname": "r", "policy-server": "root", "key-hash": ""},
        "a": {"hostname": "a", "policy-server": "root"},
        "b": {"hostname": "b", "policy-server": "a"}
    }"#;

    fn pem_of(node: &str) -> Vec<u8> {
        let key = private_key::generate(KeyKind::P256).unwrap();
        private_key::self_signed(&key, &node.parse().unwrap()).unwrap().x509().to_pem().unwrap()
    }

    #[tokio::test]
    async fn missing_files_mean_that_no_node_is_known() {
        let directory = tempfile::tempdir().unwrap();
        let (_, nodes, metrics) = start(directory.path()).await.unwrap();
        assert!(nodes.borrow().list().is_empty());
        assert_eq!(metrics.sub_nodes.get(), 0);
    }

    #[tokio::test]
    async fn loads_publishes_and_counts() {
        let directory = tempfile::tempdir().unwrap();
        let (loader, mut nodes, metrics) = start(directory.path()).await.unwrap();
        nodes.mark_unchanged();
        fs::write(directory.path().join("nodeslist.json"), LIST).unwrap();
        let bundle = [pem_of("a"), b"\n".to_vec(), pem_of("a"), pem_of("stranger")].concat();
        fs::write(directory.path().join("certs.pem"), bundle).unwrap();
        loader.reload().await.unwrap();
        assert!(nodes.has_changed().unwrap());
        let table = Arc::clone(&nodes.borrow());
        assert_eq!(table.certificates(&"a".parse().unwrap()).len(), 2);
        assert_eq!((metrics.sub_nodes.get(), metrics.managed_nodes.get()), (3, 2));
    }

    #[tokio::test]
    async fn a_broken_file_is_an_error_and_the_old_table_stays() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("nodeslist.json"), LIST).unwrap();
        let (loader, nodes, _) = start(directory.path()).await.unwrap();
        fs::write(directory.path().join("nodeslist.json"), r#"{"a": {"hostname": "a"}}"#).unwrap();
        assert!(matches!(loader.reload().await, Err(NodesError::List { .. })));
        assert_eq!(nodes.borrow().list().len(), 3);
        assert!(start(directory.path()).await.is_err());

        fs::write(directory.path().join("nodeslist.json"), LIST).unwrap();
        fs::write(directory.path().join("certs.pem"), "-----BEGIN CERTIFICATE-----\nAAAA\n").unwrap();
        assert!(matches!(loader.reload().await, Err(NodesError::Certificates { .. })));
        assert_eq!(nodes.borrow().list().len(), 3);
    }
}
