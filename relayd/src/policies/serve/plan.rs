// SPDX-License-Identifier: Apache-2.0
//! What an archive is going to be: the same plan makes the same bytes, on any server.

use std::{fmt, path::PathBuf, sync::Arc};

use chrono::{DateTime, Utc};
use openssl::sha::sha256;
use protocol::policy_manifest::{FileList, ManifestFile};

use super::asked::{KINDS, Recipe};

/// Changes when the same plan is written in another way.
const WRITING: &str = "relayd-archive-1";

/// Formats of archives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Zip.
    Zip,
    /// Tar, with gzip.
    TarGz,
    /// Tar, with bzip2.
    TarBz2,
}

impl Format {
    /// The ending of file names.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Zip => "zip",
            Self::TarGz => "tar.gz",
            Self::TarBz2 => "tar.bz2",
        }
    }
}

/// A tree: which files, since when, and where their contents are.
#[derive(Debug, Clone)]
pub struct Tree {
    /// The files.
    pub files: Arc<FileList>,
    /// When they were published, or the last of them was changed.
    pub created: DateTime<Utc>,
    /// Where their contents are.
    pub contents: Contents,
}

/// Where the contents of a tree are.
#[derive(Debug, Clone)]
pub enum Contents {
    /// In the store.
    Published(crate::policies::store::Published),
    /// In this directory.
    Directory(PathBuf),
}

/// An archive to be made.
#[derive(Debug, Clone)]
pub struct Plan {
    recipe: Recipe,
    /// The directory of the tree that is in it, with a slash; or empty.
    part: String,
    tree: Tree,
}

impl Plan {
    /// Of a tree by a recipe; `None` when the tree has nothing for it.
    pub fn new(recipe: Recipe, tree: Tree) -> Option<Self> {
        let part = |directory: &str| format!("{directory}/");
        let has = |directory: &str| {
            let part = part(directory);
            tree.files.iter().any(|file| file.path.as_str().starts_with(&part))
        };
        let part = match recipe.directory {
            Some(directory) if has(directory) => part(directory),
            Some(_) if KINDS.into_iter().any(has) => return None,
            _ => String::new(),
        };
        let plan = Self { recipe, part, tree };
        let has_files = plan.files().next().is_some();
        has_files.then_some(plan)
    }

    /// Its format.
    pub fn format(&self) -> Format {
        self.recipe.format
    }

    /// The time that all files in it have.
    pub fn created(&self) -> DateTime<Utc> {
        self.tree.created
    }

    /// Where the contents are.
    pub fn contents(&self) -> &Contents {
        &self.tree.contents
    }

    /// The files and their names in the archive, in order.
    pub fn files(&self) -> impl Iterator<Item = (String, &ManifestFile)> {
        self.tree.files.iter().filter_map(|file| {
            let name = file.path.as_str().strip_prefix(&self.part)?;
            Some((format!("{}{name}", self.recipe.top), file))
        })
    }

    /// Under which name it is kept: another one when its bytes would be others.
    pub fn name(&self) -> String {
        let mut text = format!("{WRITING} {self}\n");
        for (name, file) in self.files() {
            text.push_str(&format!("{} {} {name}\n", file.sha256, u8::from(file.executable)));
        }
        format!("{}.{}", hex::encode(sha256(text.as_bytes())), self.format().extension())
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.format().extension(), self.tree.created.timestamp())
    }
}
