// SPDX-License-Identifier: Apache-2.0
//! The store of published policies (protocol 14.2): what `relayd policy` writes and the daemon serves,
//! without word between the two.
//!
//! ```text
//! <directory>/
//!   lock                            held by whoever changes something
//!   incoming/                       not there yet; emptied by whoever takes the lock
//!   objects/<2 digits>/<SHA-256>    contents of files
//!   lists/<SHA-256>                 the lines about the files of a tree, as they stand in manifests
//!   nodes/<node id>/<version>-<list>    the rest of a signed manifest: what is before and after the list
//!   nodes/<node id>/active          link to the version that is served
//!   nodes/<node id>/previous        link to the version that was served before
//! ```
//!
//! Everything but the links is written once, under its final name only when it is whole and on the disk, and
//! never changed. So whoever reads needs no lock: it reads where `active` points to (one system call), and
//! all that this names is there. Only what no version refers to any more is removed; who was about to read
//! that looks at `active` once more ([`Store::read`]).
//!
//! Nodes with the same tree share its contents and its list; 10,000 of them differ by a signature each.

mod batch;
mod edition;
mod envelope;
mod lists;
mod prune;
#[cfg(test)]
mod tests;
mod write;

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use protocol::{
    hash::ContentDigest,
    node_id::NodeId,
    policy_manifest::{FileList, Manifest},
};

pub use self::{
    edition::{Edition, next_version},
    prune::Removed,
    write::{Before, Signed, StoredLines, Writer, digest_of},
};
use self::{envelope::Envelope, lists::Lists};

/// Published policies, for reading. Clones share what they remember.
#[derive(Debug, Clone)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    directory: PathBuf,
    lists: Lists,
}

impl Store {
    /// The store in a directory, which need not be there (yet). Touches nothing.
    pub fn new(directory: &Path) -> Self {
        Self(Arc::new(Inner { directory: directory.to_owned(), lists: Lists::default() }))
    }

    /// The version of a node's policies that is served; `None` when nothing is published for it. Looked up
    /// anew each time, which is one system call. May block.
    pub fn active(&self, node: &NodeId) -> io::Result<Option<Published>> {
        let Some(edition) = self.active_edition(node)? else { return Ok(None) };
        Ok(Some(self.published(node, edition)))
    }

    /// Reads of the active version of a node; `None` when there is none. When it is replaced and removed
    /// meanwhile, `read` is tried once more with its successor. Blocks.
    pub fn read<T>(
        &self,
        node: &NodeId,
        mut read: impl FnMut(&Published) -> io::Result<T>,
    ) -> io::Result<Option<T>> {
        let Some(published) = self.active(node)? else { return Ok(None) };
        match read(&published) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => match self.active(node)? {
                Some(newer) if newer.edition != published.edition => read(&newer).map(Some),
                _ => Err(error),
            },
            result => result.map(Some),
        }
    }

    /// A version of a node's policies; that it exists is for the caller to know.
    pub fn published(&self, node: &NodeId, edition: Edition) -> Published {
        Published { store: self.clone(), node: node.clone(), edition }
    }

    /// Which version of a node is active.
    pub fn active_edition(&self, node: &NodeId) -> io::Result<Option<Edition>> {
        read_link(&self.active_link(node))
    }

    /// Which version of a node was active before, if that is known.
    pub fn previous_edition(&self, node: &NodeId) -> io::Result<Option<Edition>> {
        read_link(&self.previous_link(node))
    }

    /// All versions of a node's policies, oldest first.
    pub fn editions(&self, node: &NodeId) -> io::Result<Vec<Edition>> {
        let names = names_in(&self.node_directory(node))?;
        let mut editions: Vec<_> =
            names.iter().filter_map(|name| Edition::of_file(Path::new(name))).collect();
        editions.sort_unstable();
        Ok(editions)
    }

    /// The nodes that something was published for, by id.
    pub fn nodes(&self) -> io::Result<Vec<NodeId>> {
        let names = names_in(&self.0.directory.join("nodes"))?;
        let mut nodes: Vec<NodeId> = names.iter().filter_map(|name| name.parse().ok()).collect();
        nodes.sort_unstable();
        Ok(nodes)
    }

    fn directory(&self) -> &Path {
        &self.0.directory
    }

    fn node_directory(&self, node: &NodeId) -> PathBuf {
        self.0.directory.join("nodes").join(node.as_str())
    }

    fn active_link(&self, node: &NodeId) -> PathBuf {
        self.node_directory(node).join("active")
    }

    fn previous_link(&self, node: &NodeId) -> PathBuf {
        self.node_directory(node).join("previous")
    }

    fn object(&self, digest: ContentDigest) -> PathBuf {
        let name = digest.to_string();
        self.0.directory.join("objects").join(&name[..2]).join(name)
    }

    fn list(&self, digest: ContentDigest) -> PathBuf {
        self.0.directory.join("lists").join(digest.to_string())
    }
}

/// A version of a node's policies. Everything it reads may be gone when a newer one is active
/// ([`io::ErrorKind::NotFound`]).
#[derive(Debug, Clone)]
pub struct Published {
    store: Store,
    node: NodeId,
    edition: Edition,
}

impl Published {
    /// Which version.
    pub fn edition(&self) -> Edition {
        self.edition
    }

    /// What tells this manifest from all others of the node, for an entity tag; known without reading it.
    pub fn tag(&self) -> String {
        self.edition.to_string()
    }

    /// The signed manifest, as nodes get it. Blocks.
    pub fn manifest(&self) -> io::Result<Vec<u8>> {
        let list = self.edition.list;
        Ok(self.envelope()?.around(&read_lines(&self.store.list(list), list)?))
    }

    /// The files, by path. Remembered. Blocks.
    pub fn files(&self) -> io::Result<Arc<FileList>> {
        let digest = self.edition.list;
        self.store.0.lists.get(digest, || read_list(&self.store.list(digest), digest))
    }

    /// Opens the content of a file of this version. Blocks.
    pub fn open(&self, content: ContentDigest) -> io::Result<File> {
        File::open(self.store.object(content))
    }

    /// The manifest without its files: enough to know version, dates and note of it. Blocks.
    pub fn head(&self) -> io::Result<Manifest> {
        let path = self.envelope_path();
        Manifest::read_unverified(&self.envelope()?.around(b""))
            .map_err(|error| broken(&path, &error.to_string()))
    }

    fn envelope(&self) -> io::Result<Envelope> {
        let path = self.envelope_path();
        Envelope::read(&fs::read(&path)?).ok_or_else(|| broken(&path, "it is cut off or altered"))
    }

    fn envelope_path(&self) -> PathBuf {
        self.store.node_directory(&self.node).join(self.edition.to_string())
    }
}

fn read_link(link: &Path) -> io::Result<Option<Edition>> {
    match fs::read_link(link) {
        Ok(target) => Edition::of_file(&target)
            .map(Some)
            .ok_or_else(|| broken(link, "it does not lead to a version of the policies")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads a list and checks that it is the one it claims to be.
fn read_list(path: &Path, digest: ContentDigest) -> io::Result<FileList> {
    let lines = read_lines(path, digest)?;
    FileList::from_lines(&String::from_utf8_lossy(&lines)).map_err(|error| broken(path, &error.to_string()))
}

fn read_lines(path: &Path, digest: ContentDigest) -> io::Result<Vec<u8>> {
    let lines = fs::read(path)?;
    match ContentDigest::of(&lines) == digest {
        true => Ok(lines),
        false => Err(broken(path, "its content is not what its name says")),
    }
}

fn broken(path: &Path, why: &str) -> io::Error {
    let text = format!("{}: {why}; publish these policies again", path.display());
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// The names in a directory; none when it is not there.
fn names_in(directory: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let names = entries.map(|entry| Ok(entry?.file_name().into_string().ok()));
    names.filter_map(Result::transpose).collect()
}
