// SPDX-License-Identifier: Apache-2.0
//! The files of a tree that another program writes.

use std::{io, path::Path, sync::Arc};

use chrono::{DateTime, Utc};
use protocol::{
    hash::ContentDigest,
    limits::POLICY_FILES,
    policy_manifest::{FileList, ManifestError, ManifestFile},
    relative_path::RelativePath,
};
use rustix::fs::{Dir, FileType};

use super::{
    asked::is_archive_in_tree,
    plan::{Contents, Tree},
};
use crate::files::{Files, OpenError, OpenFile, open_blocking, open_directory_blocking};

/// Reads the tree in a directory; `None` when there is no such directory, or no file in it. Blocks.
///
/// Links and whatever else is not a regular file is passed over, and so are archives of the tree. The
/// tree has the time of its newest file.
pub fn read(files: &Files, directory: &Path) -> io::Result<Option<Tree>> {
    let mut found = Vec::new();
    let mut newest = DateTime::<Utc>::UNIX_EPOCH;
    let mut directories = vec![None];
    while let Some(at) = directories.pop() {
        let Some(names) = names_in(directory, at.as_ref())? else { continue };
        for (name, kind) in names {
            let path = match &at {
                Some(at) => format!("{at}/{name}"),
                None => name,
            };
            let path = match path.parse::<RelativePath>() {
                Ok(path) if !is_archive_in_tree(&path) => path,
                Ok(_) => continue,
                Err(error) => {
                    let directory = directory.display();
                    tracing::warn!("{path:?} in {directory} is left out of the policies: {error}");
                    continue;
                }
            };
            // Some file systems do not tell the kind.
            if !matches!(kind, FileType::Directory | FileType::RegularFile | FileType::Unknown) {
                continue;
            }
            match open_blocking(directory, &path) {
                Ok(file) => {
                    newest = newest.max(file.modified().into());
                    found.push(entry(files, path, &file)?);
                }
                Err(OpenError::Directory) => directories.push(Some(path)),
                Err(OpenError::Failed(error)) => return Err(error),
                Err(_) if kind == FileType::Unknown => {}
                // It has just been removed, or replaced by something else.
                Err(_) => return Err(io::ErrorKind::ResourceBusy.into()),
            }
            if found.len() > POLICY_FILES {
                return Err(io::Error::other(ManifestError::Files(found.len())));
            }
        }
    }
    if found.is_empty() {
        return Ok(None);
    }
    let found = FileList::new(found).map_err(io::Error::other)?;
    let contents = Contents::Directory(directory.to_owned());
    Ok(Some(Tree { files: Arc::new(found), created: newest, contents }))
}

fn entry(files: &Files, path: RelativePath, file: &OpenFile) -> io::Result<ManifestFile> {
    let sha256 = ContentDigest(files.digest_blocking(file)?);
    Ok(ManifestFile { path, size: file.size(), sha256, executable: file.is_executable() })
}

/// Names and kinds of what is in a directory beneath another; `None` when it is not there. No link is
/// followed on the way.
fn names_in(directory: &Path, beneath: Option<&RelativePath>) -> io::Result<Option<Vec<(String, FileType)>>> {
    let opened = match open_directory_blocking(directory, beneath) {
        Err(OpenError::Failed(error)) => return Err(error),
        Err(_) => return Ok(None),
        Ok(opened) => opened,
    };
    let mut names = Vec::new();
    for entry in Dir::new(opened)? {
        let entry = entry?;
        match entry.file_name().to_str() {
            Ok("." | "..") => {}
            Ok(name) => names.push((name.to_owned(), entry.file_type())),
            Err(_) => {
                let (directory, name) = (directory.display(), entry.file_name());
                tracing::warn!("{name:?} in {directory} is left out of the policies: it is not UTF-8");
            }
        }
    }
    Ok(Some(names))
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{PermissionsExt, symlink},
    };

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    #[test]
    fn a_tree_is_its_regular_files_and_nothing_else() {
        let temp = tempfile::tempdir().unwrap();
        let tree = temp.path().join("tree");
        fs::create_dir_all(tree.join("a/b")).unwrap();
        fs::create_dir_all(tree.join("dsc")).unwrap();
        fs::create_dir(temp.path().join("outside")).unwrap();
        for path in ["a/b/deep", "a/run", "top", "rudder.tar.bz2", "dsc/rudder.zip", "dsc/own", "back\\slash"]
        {
            fs::write(tree.join(path), path).unwrap();
        }
        fs::set_permissions(tree.join("a/run"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(temp.path().join("outside/secret"), "x").unwrap();
        symlink("top", tree.join("link")).unwrap();
        symlink("../outside", tree.join("out")).unwrap();
        mknodat(CWD, tree.join("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        let read = read(&Files::new(), &tree).unwrap().unwrap();
        let found: Vec<_> = read.files.iter().map(|file| (file.path.as_str(), file.executable)).collect();
        assert_eq!(found, [("a/b/deep", false), ("a/run", true), ("dsc/own", false), ("top", false)]);
        assert_eq!(read.files.iter().next().unwrap().sha256, ContentDigest::of(b"a/b/deep"));
        let newest = fs::metadata(tree.join("a/run")).unwrap().modified().unwrap();
        assert!(read.created >= DateTime::<Utc>::from(newest));
    }

    #[test]
    fn no_tree_is_told_from_an_unreadable_one() {
        let temp = tempfile::tempdir().unwrap();
        fs::create_dir(temp.path().join("empty")).unwrap();
        for name in ["empty", "nothing"] {
            assert!(read(&Files::new(), &temp.path().join(name)).unwrap().is_none(), "{name}");
        }
    }
}
