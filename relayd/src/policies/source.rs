// SPDX-License-Identifier: Apache-2.0
//! A directory that shall be published: its files with their digests, and all that is in the way.
//!
//! Nothing outside the directory is read. A link is published as what it leads to when that is a file within;
//! everything else that is no file is refused, because a node could not be given the same.

use std::{
    collections::HashMap,
    fmt,
    fs::{self, DirEntry, File},
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use protocol::{
    hash::ContentDigest,
    limits::POLICY_FILES,
    policy_manifest::{FileList, ManifestError, ManifestFile},
    relative_path::RelativePath,
};

use super::store::digest_of;
use crate::{
    files::{OpenError, open_blocking},
    spool::disposition::printable,
};

/// What a directory holds.
#[derive(Debug)]
pub struct Source {
    directory: PathBuf,
    files: Arc<FileList>,
    /// Where each content can be read, which is not where it is published when a link leads there.
    contents: HashMap<ContentDigest, RelativePath>,
}

/// Why a directory cannot be published.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// It is not there, or no directory, or may not be read.
    #[error("cannot read {}: {error}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Files that cannot be published, with what to do about each.
    #[error("{}", lines(.0))]
    Problems(Vec<Problem>),
    /// Nothing in it.
    #[error("there are no files in {}: a node would lose its policies", .0.display())]
    Empty(PathBuf),
    /// Too much in it.
    #[error("{}: {error}", path.display())]
    Tree {
        /// The directory.
        path: PathBuf,
        /// What is too much.
        error: ManifestError,
    },
}

/// A file that cannot be published.
#[derive(Debug)]
pub struct Problem {
    path: PathBuf,
    text: String,
}

/// Most problems that are said.
const MOST_SAID: usize = 20;

fn lines(problems: &[Problem]) -> String {
    let said = problems.iter().take(MOST_SAID).map(Problem::to_string);
    let more = problems.len().checked_sub(MOST_SAID + 1).map(|more| format!("and {} more", more + 1));
    said.chain(more).collect::<Vec<_>>().join("\n")
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", printable(&self.path.to_string_lossy()), self.text)
    }
}

impl Source {
    /// Reads a directory: all names first, then all contents.
    pub fn read(directory: &Path) -> Result<Self, SourceError> {
        let unreadable = |error| SourceError::Directory { path: directory.to_owned(), error };
        // Links above it are the operator's choice.
        let top = fs::canonicalize(directory).map_err(unreadable)?;
        let mut walk = Walk { top: &top, found: Vec::new(), problems: Vec::new() };
        walk.descend(&top).map_err(unreadable)?;
        let Walk { found, mut problems, .. } = walk;
        let (mut files, mut contents) = (Vec::new(), HashMap::new());
        for (path, from) in found {
            match describe(&top, path.clone(), &from) {
                Ok(file) => {
                    contents.insert(file.sha256, from);
                    files.push(file);
                }
                Err(error) => problems.push(Problem {
                    path: directory.join(path.as_path()),
                    text: format!("cannot read: {error}"),
                }),
            }
        }
        if !problems.is_empty() {
            return Err(SourceError::Problems(problems));
        }
        if files.is_empty() {
            return Err(SourceError::Empty(directory.to_owned()));
        }
        let files =
            FileList::new(files).map_err(|error| SourceError::Tree { path: directory.to_owned(), error })?;
        Ok(Self { directory: top, files: files.into(), contents })
    }

    /// Its files.
    pub fn files(&self) -> &Arc<FileList> {
        &self.files
    }

    /// Opens one of its contents.
    pub fn open(&self, content: ContentDigest) -> io::Result<File> {
        let from = self.contents.get(&content).ok_or(io::ErrorKind::NotFound)?;
        open(&self.directory, from)
    }
}

struct Walk<'a> {
    top: &'a Path,
    /// Where each file is published, and where it is.
    found: Vec<(RelativePath, RelativePath)>,
    problems: Vec<Problem>,
}

impl Walk<'_> {
    fn descend(&mut self, directory: &Path) -> io::Result<()> {
        let mut entries = fs::read_dir(directory)?.collect::<io::Result<Vec<_>>>()?;
        entries.sort_by_key(DirEntry::file_name);
        for entry in entries {
            // Far too many; how many exactly makes no difference.
            if self.found.len() > POLICY_FILES {
                break;
            }
            let path = entry.path();
            match self.look_at(&entry, &path) {
                Ok(Some(Found::File { published, from })) => self.found.push((published, from)),
                Ok(Some(Found::Directory)) => {
                    if let Err(error) = self.descend(&path) {
                        self.problems.push(Problem { path, text: format!("cannot read: {error}") });
                    }
                }
                Ok(None) => {}
                Err(text) => self.problems.push(Problem { path, text }),
            }
        }
        Ok(())
    }

    fn look_at(&self, entry: &DirEntry, path: &Path) -> Result<Option<Found>, String> {
        let kind = entry.file_type().map_err(|error| error.to_string())?;
        let published = self.relative(path)?;
        if [".git", ".hg", ".svn"].contains(&published.file_name()) {
            return Err(
                "belongs to version control; publish a copy without it, such as `git archive HEAD | \
                        tar -x -C DIR` makes"
                    .into(),
            );
        }
        if kind.is_dir() {
            Ok(Some(Found::Directory))
        } else if kind.is_file() {
            Ok(Some(Found::File { from: published.clone(), published }))
        } else if kind.is_symlink() {
            let from = self.within(path)?;
            Ok(Some(Found::File { published, from }))
        } else {
            Err("neither a file nor a directory; remove it from there".into())
        }
    }

    /// Where a link leads to.
    fn within(&self, path: &Path) -> Result<RelativePath, String> {
        const REMEDY: &str = "put a copy in its place";
        let target = fs::canonicalize(path)
            .map_err(|error| format!("a link that cannot be followed: {error}; remove it or {REMEDY}"))?;
        if !target.starts_with(self.top) {
            return Err(format!("a link that leads out of the directory; {REMEDY}"));
        }
        if !target.is_file() {
            return Err(format!("a link to something else than a file; {REMEDY}"));
        }
        self.relative(&target)
    }

    fn relative(&self, path: &Path) -> Result<RelativePath, String> {
        let path = path.strip_prefix(self.top).unwrap_or(path);
        let text = path.to_str().ok_or("its name is not UTF-8; rename it")?;
        text.parse().map_err(|error| format!("{error}; rename it"))
    }
}

enum Found {
    Directory,
    File { published: RelativePath, from: RelativePath },
}

fn describe(top: &Path, path: RelativePath, from: &RelativePath) -> io::Result<ManifestFile> {
    let mut file = open(top, from)?;
    let facts = file.metadata()?;
    let sha256 = digest_of(&mut file)?;
    if file.metadata()?.len() != facts.len() {
        return Err(io::Error::new(io::ErrorKind::ResourceBusy, "it is being written; publish a copy"));
    }
    let executable = facts.permissions().mode() & 0o100 != 0;
    Ok(ManifestFile { path, size: facts.len(), sha256, executable })
}

fn open(top: &Path, path: &RelativePath) -> io::Result<File> {
    match open_blocking(top, path) {
        Ok(file) => file.file().try_clone(),
        Err(OpenError::Failed(error)) => Err(error),
        Err(error) => Err(io::Error::new(io::ErrorKind::ResourceBusy, format!("{error} any more"))),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        ffi::OsStr,
        os::unix::{ffi::OsStrExt, fs::symlink},
    };

    use super::*;

    fn write(directory: &Path, path: &str, mode: u32) {
        let path = directory.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, path.file_name().unwrap().as_bytes()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn files_are_found_with_their_executable_bit_and_through_links_within() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path();
        for (path, mode) in [("a.cf", 0o644), ("bin/run", 0o755), ("bin/.hidden", 0o600)] {
            write(directory, path, mode);
        }
        symlink("bin/run", directory.join("start")).unwrap();
        fs::create_dir(directory.join("empty")).unwrap();
        let source = Source::read(directory).unwrap();
        let found: Vec<_> =
            source.files().iter().map(|file| (file.path.as_str(), file.size, file.executable)).collect();
        let expected =
            [("a.cf", 4, false), ("bin/.hidden", 7, false), ("bin/run", 3, true), ("start", 3, true)];
        assert_eq!(found, expected);
        for file in source.files().iter() {
            let mut content = source.open(file.sha256).unwrap();
            assert_eq!(digest_of(&mut content).unwrap(), file.sha256);
        }
    }

    #[test]
    fn all_that_cannot_be_published_is_named_at_once_with_what_to_do() {
        let place = tempfile::tempdir().unwrap();
        let (directory, outside) = (place.path().join("tree"), place.path().join("secret"));
        write(&directory, "good", 0o644);
        write(&directory, ".git/config", 0o644);
        write(&directory, "back\\slash", 0o644);
        write(&directory, "..hidden", 0o644);
        write(place.path(), "secret", 0o600);
        symlink(&outside, directory.join("out")).unwrap();
        symlink("/proc/self/mem", directory.join("proc")).unwrap();
        symlink("nowhere", directory.join("dangling")).unwrap();
        symlink(".", directory.join("loop")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            directory.join("pipe"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        fs::write(directory.join(OsStr::from_bytes(b"\xff")), "").unwrap();
        let said = Source::read(&directory).unwrap_err().to_string();
        for (name, remedy) in [
            (".git", "git archive"),
            ("back\\slash", "rename it"),
            ("..hidden", "rename it"),
            ("out", "leads out of the directory; put a copy"),
            ("proc", "leads out of the directory; put a copy"),
            ("dangling", "cannot be followed"),
            ("loop", "something else than a file; put a copy"),
            ("pipe", "neither a file nor a directory; remove it"),
            ("\u{fffd}", "not UTF-8; rename it"),
        ] {
            let path = directory.join(name);
            let line = said.lines().find(|line| line.starts_with(&format!("{}: ", path.display())));
            assert!(line.is_some_and(|line| line.contains(remedy)), "{name}: {said}");
        }
        assert_eq!(said.lines().count(), 9, "{said}");
    }

    #[test]
    fn nothing_and_no_directory_are_refused() {
        let place = tempfile::tempdir().unwrap();
        assert!(matches!(Source::read(place.path()), Err(SourceError::Empty(_))));
        write(place.path(), "file", 0o644);
        for path in ["file", "missing"] {
            let error = Source::read(&place.path().join(path)).unwrap_err().to_string();
            assert!(error.contains(path), "{error}");
        }
    }
}
