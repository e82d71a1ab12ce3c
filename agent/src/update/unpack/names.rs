// SPDX-License-Identifier: Apache-2.0
//! Names of entries: inside the tree, each once, also where a file system makes no difference between `A` and `a`.

use std::{collections::HashMap, collections::hash_map::Entry};

use protocol::relative_path::RelativePath;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Directory,
    /// A symbolic link.
    Link,
}

/// The names seen so far.
pub(super) struct Names<'a> {
    top: Option<&'a str>,
    /// By the name in lower case: as it was spelt, and what it is.
    seen: HashMap<String, (String, Kind)>,
    entries: usize,
}

impl<'a> Names<'a> {
    pub(super) fn new(top: Option<&'a str>) -> Self {
        Self { top, seen: HashMap::new(), entries: 0 }
    }

    /// Entries so far, or directories, whatever is more.
    pub(super) fn len(&self) -> usize {
        self.entries.max(self.seen.len())
    }

    /// Whether it is a file seen before, spelt like this.
    pub(super) fn is_written(&self, path: &RelativePath) -> bool {
        let seen = self.seen.get(&path.as_str().to_lowercase());
        seen.is_some_and(|(spelt, kind)| spelt == path.as_str() && *kind == Kind::File)
    }

    /// Checks a name; `None` for the top directory itself.
    pub(super) fn take(&mut self, name: &[u8], kind: Kind) -> Result<Option<RelativePath>, String> {
        self.entries += 1;
        let name = std::str::from_utf8(name).map_err(|_| "its name is not UTF-8".to_owned())?;
        let name = name.strip_prefix("./").unwrap_or(name);
        let name = if kind == Kind::Directory { name.strip_suffix('/').unwrap_or(name) } else { name };
        if kind == Kind::Directory && (name.is_empty() || name == ".") {
            return Ok(None);
        }
        let path: RelativePath =
            name.parse().map_err(|e: protocol::relative_path::PathError| e.to_string())?;
        let path = match self.top {
            None => path,
            Some(top) if path.as_str() == top && kind == Kind::Directory => return Ok(None),
            Some(top) => match path.as_str().strip_prefix(top).and_then(|rest| rest.strip_prefix('/')) {
                Some(rest) => rest.parse().map_err(|e: protocol::relative_path::PathError| e.to_string())?,
                None => return Err(format!("it is not below {top}/")),
            },
        };
        for (at, _) in path.as_str().match_indices('/') {
            self.note(&path.as_str()[..at], Kind::Directory)?;
        }
        self.note(path.as_str(), kind)?;
        Ok(Some(path))
    }

    fn note(&mut self, path: &str, kind: Kind) -> Result<(), String> {
        match self.seen.entry(path.to_lowercase()) {
            Entry::Vacant(free) => {
                free.insert((path.to_owned(), kind));
                Ok(())
            }
            Entry::Occupied(there) => match there.get() {
                (spelt, Kind::Directory) if spelt == path && kind == Kind::Directory => Ok(()),
                (spelt, _) if spelt == path => Err("it is there twice".to_owned()),
                (spelt, _) => Err(format!("its name differs from {spelt:?} in case only")),
            },
        }
    }
}

/// Where a link leads, if that is within the tree.
pub(super) fn resolve(link: &RelativePath, target: &[u8]) -> Option<RelativePath> {
    let target = std::str::from_utf8(target).ok()?;
    let mut segments: Vec<&str> = link.segments().collect();
    segments.pop();
    for segment in target.split('/') {
        match segment {
            "." => {}
            ".." => {
                segments.pop()?;
            }
            segment => segments.push(segment),
        }
    }
    segments.join("/").parse().ok()
}
