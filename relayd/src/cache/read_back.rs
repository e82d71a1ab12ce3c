// SPDX-License-Identifier: Apache-2.0
//! What an earlier process kept: the index, made again from the disk.

use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use super::{
    entry::Entry,
    index::Index,
    key::{Digest, Key, from_hex, node_of},
    store::{make_directories, read_whole, remove},
};

/// Reads all entries, those used last at the end. What belongs to none, is half-written, or is no file of the
/// cache, is removed.
pub fn read_back(directory: &Path, index: &mut Index) -> io::Result<()> {
    make_directories(directory)?;
    for part in list(&directory.join("parts"))? {
        remove(&part.path)?;
    }
    let mut objects: HashSet<(Digest, u64)> = HashSet::new();
    for file in list_places(&directory.join("objects"))? {
        match from_hex(&file.name) {
            Some(digest) => objects.extend(file.size.map(|size| (digest, size))),
            None => remove(&file.path)?,
        }
    }
    let mut entries = Vec::new();
    for file in list_places(&directory.join("entries"))? {
        let key = Key::from_name(&file.name);
        let entry = read_whole(&file.path)?.as_deref().and_then(Entry::from_bytes);
        let is_whole = |entry: &Entry| {
            key == Some(Key::of(&entry.path)) && objects.contains(&(entry.digest, entry.size))
        };
        match (key, entry.filter(is_whole)) {
            // Only what the index needs: there may be many.
            (Some(key), Some(entry)) => {
                entries.push((file.modified, key, node_of(&entry.path), entry.digest, entry.size));
            }
            _ => remove(&file.path)?,
        }
    }
    entries.sort_unstable_by_key(|(modified, ..)| *modified);
    let mut used: HashSet<Digest> = HashSet::new();
    for (modified, key, node, digest, size) in entries {
        used.insert(digest);
        index.insert(key, node, (digest, size), modified);
    }
    for file in list_places(&directory.join("objects"))? {
        if from_hex(&file.name).is_none_or(|digest| !used.contains(&digest)) {
            remove(&file.path)?;
        }
    }
    Ok(())
}

struct Listed {
    path: PathBuf,
    name: String,
    /// `None` for what is no regular file.
    size: Option<u64>,
    modified: SystemTime,
}

fn list_places(directory: &Path) -> io::Result<Vec<Listed>> {
    let mut all = Vec::new();
    for place in fs::read_dir(directory)? {
        let place = place?;
        if place.file_type()?.is_dir() {
            all.extend(list(&place.path())?);
        }
    }
    Ok(all)
}

/// The files in a directory; directories do not count.
fn list(directory: &Path) -> io::Result<Vec<Listed>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        // Of the link, if it is one.
        let facts = entry.metadata()?;
        if facts.is_dir() {
            continue;
        }
        all.push(Listed {
            path: entry.path(),
            name: entry.file_name().to_string_lossy().into_owned(),
            size: facts.is_file().then_some(facts.len()),
            modified: facts.modified()?,
        });
    }
    Ok(all)
}
