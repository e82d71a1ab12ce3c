// SPDX-License-Identifier: Apache-2.0
//! Serves policies to nodes (protocol 8, 14.1): single files, manifests and archives.
//!
//! ```text
//! Asked ─┬─▶ published (store)  ─┐
//!        ├─▶ directory (8.4)    ─┼─ a file, or made: Tree ─▶ manifest | Plan ─▶ Archives
//!        └─▶ cache ─▶ upstream   │
//! ```
//!
//! | file | what |
//! |---|---|
//! | `asked` | what a path asks for; what is made |
//! | `place` | where the tree of a node is in the directory of another program |
//! | `directory` | the files of such a tree |
//! | `plan`, `write` | archives; the same tree makes the same bytes |
//! | `archives` | those that were made |
//!
//! The first of the three that has the tree of a node answers for all of it.

mod archives;
mod asked;
mod directory;
mod place;
mod plan;
mod write;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use futures_util::future::BoxFuture;
use hyper::{Response, header::HeaderValue};
use openssl::sha::sha256;
use protocol::{
    node_id::NodeId,
    policy_manifest::{Manifest, SIGNED_TYPE, UNSIGNED_TYPE},
    relative_path::RelativePath,
};

use self::{
    archives::{Archives, blocking},
    asked::{Asked, LIBRARY, Made, Recipe},
    plan::{Contents, Plan, Tree},
};
use super::store::{Published, Store};
use crate::{
    cache::Cache,
    config,
    files::{Files, OpenError, OpenFile, Representation, Tag, content_type},
    http::{Body, Call, Problem, Service},
    nodes::Nodes,
};

/// Answers requests for policies.
pub struct PolicyServer {
    own_id: NodeId,
    nodes: Nodes,
    directory: PathBuf,
    store: Store,
    files: Arc<Files>,
    archives: Arc<Archives>,
    /// What the upstream has; none on the root.
    above: Option<Cache>,
}

/// The directory that is common to all nodes, and that of the policies in a tree.
const COMMON: &str = "common";
const RULES: &str = "rules";

impl PolicyServer {
    /// From its settings and handles. Looks into the directory of archives; blocks.
    pub fn new(
        settings: &config::Policies,
        own_id: &NodeId,
        nodes: Nodes,
        files: Arc<Files>,
        above: Option<Cache>,
    ) -> Self {
        Self {
            own_id: own_id.clone(),
            nodes,
            directory: settings.directory.clone(),
            store: Store::new(&settings.published),
            files,
            archives: Arc::new(Archives::new(&settings.archives, settings.max_archives)),
            above,
        }
    }

    async fn try_answer(&self, call: &Call) -> Result<Response<Body>, Problem> {
        let asked = Asked::read(call)?;
        if let Asked::OfNode(node, _) = &asked
            && let Some(answer) = self.of_store(call, &asked, node).await?
        {
            return Ok(answer);
        }
        let (tree, path) = match &asked {
            Asked::OfNode(node, path) => (self.place(node), path),
            Asked::Common(path) => (self.directory.join(COMMON), path),
        };
        match self.files.get(&tree, path, &call.method, &call.headers).await {
            Ok(answer) => Ok(answer),
            Err(OpenError::NoDirectory) => match &self.above {
                Some(cache) => Ok(cache.answer(&asked.url_path(), &call.method, &call.headers).await),
                None => Err(Problem::NotFound),
            },
            Err(OpenError::NotFound) => {
                let made = self.made_of_directory(call, &asked, &tree).await.map_err(failed)?;
                made.ok_or(Problem::NotFound)
            }
            Err(OpenError::Directory) => Err(Problem::NotFound),
            Err(OpenError::Failed(error)) => Err(failed(error)),
        }
    }

    fn place(&self, node: &NodeId) -> PathBuf {
        place::of_node(&self.directory, node, &self.own_id, self.nodes.borrow().list())
    }

    /// What is not there as a file, out of the tree of another program.
    async fn made_of_directory(
        &self,
        call: &Call,
        asked: &Asked,
        tree: &Path,
    ) -> io::Result<Option<Response<Body>>> {
        let Some(made) = asked.made() else { return Ok(None) };
        let part = tree.join(if matches!(asked, Asked::Common(_)) { LIBRARY } else { RULES });
        let files = self.files.clone();
        let tree = blocking(move || directory::read(&files, &part)).await?;
        match (made, asked, tree) {
            (Made::Archive(recipe), _, Some(tree)) => self.archive(call, asked, recipe, tree).await,
            (Made::Manifest, Asked::OfNode(node, _), Some(tree)) => {
                // No version: nobody counts the changes of this tree.
                let manifest = Manifest::new(node.clone(), 0, tree.created, None, tree.files);
                let json = manifest.map_err(io::Error::other)?.to_json();
                let tag = Tag::of(&sha256(json.as_bytes()));
                let made = Representation::of_bytes(json, Some(tag), HeaderValue::from_static(UNSIGNED_TYPE));
                let made = made.modified(Some(tree.created.into()));
                Ok(Some(made.answer(&call.method, &call.headers)))
            }
            _ => Ok(None),
        }
    }

    /// Out of the store; `None` when nothing is published for the node.
    async fn of_store(
        &self,
        call: &Call,
        asked: &Asked,
        node: &NodeId,
    ) -> Result<Option<Response<Body>>, Problem> {
        // One system call, of names that are in memory: another thread would take longer.
        let mut active = self.store.active(node).map_err(failed)?;
        while let Some(published) = active {
            let edition = published.edition();
            match self.of_edition(call, asked, published).await {
                Ok(answer) => return answer.map(Some).ok_or(Problem::NotFound),
                // Replaced and removed meanwhile: its successor answers.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    active = self.store.active(node).map_err(failed)?;
                    if active.as_ref().is_some_and(|newer| newer.edition() == edition) {
                        return Err(failed(error));
                    }
                }
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(None)
    }

    async fn of_edition(
        &self,
        call: &Call,
        asked: &Asked,
        published: Published,
    ) -> io::Result<Option<Response<Body>>> {
        let made = asked.made();
        if made == Some(Made::Manifest) {
            return manifest(call, published).await.map(Some);
        }
        // A file of that name goes before what is made.
        let file = asked.path().as_str().strip_prefix("rules/").and_then(|path| path.parse().ok());
        if let Some(file) = file
            && let Some((opened, tag)) = open_published(&published, file).await?
        {
            let content = Representation::of_file(opened, Some(tag), content_type(asked.path()));
            // When it came into the store says nothing.
            return Ok(Some(content.modified(None).answer(&call.method, &call.headers)));
        }
        let Some(Made::Archive(recipe)) = made else { return Ok(None) };
        let tree = blocking(move || {
            let (files, created) = (published.files()?, published.head()?.created());
            Ok(Tree { files, created, contents: Contents::Published(published) })
        });
        self.archive(call, asked, recipe, tree.await?).await
    }

    async fn archive(
        &self,
        call: &Call,
        asked: &Asked,
        recipe: Recipe,
        tree: Tree,
    ) -> io::Result<Option<Response<Body>>> {
        let created = tree.created;
        let Some(plan) = Plan::new(recipe, tree) else { return Ok(None) };
        let archive = self.archives.get(plan).await?;
        let digest = self.files.digest(&archive).await?;
        let content = Representation::of_file(archive, Some(Tag::of(&digest)), content_type(asked.path()));
        Ok(Some(content.modified(Some(created.into())).answer(&call.method, &call.headers)))
    }
}

/// The signed manifest. Who has it already is told so without reading it.
async fn manifest(call: &Call, published: Published) -> io::Result<Response<Body>> {
    let tag = format!("\"{}\"", published.tag());
    if Representation::plain_tag(&call.headers).is_some_and(|had| had == tag.as_str()) {
        return Ok(Representation::had(&call.headers));
    }
    let tag = Tag::read(&tag).ok_or_else(|| io::Error::other("no tag"))?;
    if let Some(unchanged) = Representation::unchanged(&tag, &call.headers) {
        return Ok(unchanged);
    }
    let message = blocking(move || published.manifest()).await?;
    let content = Representation::of_bytes(message, Some(tag), HeaderValue::from_static(SIGNED_TYPE));
    Ok(content.answer(&call.method, &call.headers))
}

/// The content of a file of published policies, and its tag.
async fn open_published(published: &Published, path: RelativePath) -> io::Result<Option<(OpenFile, Tag)>> {
    let published = published.clone();
    blocking(move || {
        let files = published.files()?;
        let Some(file) = files.get(&path) else { return Ok(None) };
        let opened = OpenFile::new(published.open(file.sha256)?.into()).map_err(io::Error::other)?;
        Ok(Some((opened, Tag::of(&file.sha256.0))))
    })
    .await
}

/// What becomes of an error: a tree that is being changed will be whole soon.
fn failed(error: io::Error) -> Problem {
    if error.kind() == io::ErrorKind::ResourceBusy {
        return Problem::Unavailable("the policies are being changed", 1);
    }
    tracing::error!("policies that are asked for cannot be served: {error}");
    Problem::Internal
}

impl Service for PolicyServer {
    fn answer(&self, call: Call) -> BoxFuture<'_, Response<Body>> {
        Box::pin(async move { self.try_answer(&call).await.unwrap_or_else(Problem::into_response) })
    }
}
