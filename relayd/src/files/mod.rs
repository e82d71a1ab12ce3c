// SPDX-License-Identifier: Apache-2.0
//! Files over HTTP: opened beneath a directory, and answered with tags, conditions and ranges
//! (protocol 14.1, RFC 9110).
//!
//! ```text
//! RelativePath ──▶ open ──▶ OpenFile ──▶ Files::answer ──▶ Response<Body>
//!                  no link      │  digest  │  conditions
//!                  followed     └─▶ Tag ───┘  range ──▶ stream
//! ```
//!
//! | file | what |
//! |---|---|
//! | `open` | opens beneath a directory; no link is followed, nothing but regular files is read |
//! | `digest` | SHA-256 of files, remembered while a file stays the same |
//! | `tag` | strong entity tags |
//! | `conditions` | what `If-…` fields say |
//! | `range` | the part that is asked for |
//! | `representation` | what is known about the content, and the answer to a request for it |
//! | `stream` | a file as a body, piece by piece |
//!
//! A tag is the SHA-256 of the content, so that a file has the same one on every server and whoever has
//! the file can tell whether it is whole.

mod conditions;
pub(crate) mod described;
mod digest;
mod open;
mod range;
mod representation;
mod stream;
mod tag;

use std::{
    hash::{BuildHasher, RandomState},
    io,
    path::Path,
    sync::Arc,
};

use hyper::{HeaderMap, Method, Response, header};
use protocol::relative_path::RelativePath;

use self::digest::{Digests, Way};
pub use self::{
    open::{OpenError, OpenFile, Stamp, open_blocking, open_directory_blocking},
    representation::{Representation, content_type},
    tag::Tag,
};
use crate::http::{Body, Problem};

/// Files up to this size get their tag before they are sent for the first time: that costs a second at
/// most. Larger ones are sent at once, without a tag, and get it meanwhile.
const TAGGED_FIRST: u64 = 512 * 1024 * 1024;

/// Opens files and answers requests for them. One for the whole server: it remembers digests.
pub struct Files {
    digests: Arc<Digests<32>>,
    /// Asked for by nobody but the shared folder.
    long_digests: Digests<64>,
    ways: RandomState,
}

impl Default for Files {
    fn default() -> Self {
        Self {
            digests: Arc::new(Digests::sha256()),
            long_digests: Digests::sha512(),
            ways: RandomState::new(),
        }
    }
}

impl Files {
    /// None remembered yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens a file beneath a directory. What is in memory of the kernel is opened at once, everything
    /// else on a thread that may wait for a disk.
    pub async fn open(&self, directory: &Path, path: &RelativePath) -> Result<OpenFile, OpenError> {
        open::open(directory, path).await
    }

    /// Answers GET and HEAD for the file beneath a directory.
    ///
    /// What most requests come to is that a client asks whether a file is still what it has. A file that was
    /// opened by this way, and is the same by its inode, size and times, has the content that it had: that
    /// takes one system call, and nothing is opened. It is made for files alone that were asked for before and are
    /// what the client says, whose names the kernel has in memory unless that is short.
    pub async fn get(
        &self,
        directory: &Path,
        path: &RelativePath,
        method: &Method,
        headers: &HeaderMap,
    ) -> Result<Response<Body>, OpenError> {
        let asked = Representation::plain_digest(headers).map(|said| (said, directory.join(path.as_path())));
        let asked = asked.map(|(said, whole)| (said, Way(self.ways.hash_one(&whole)), whole));
        if let Some((said, way, whole)) = &asked
            && let Some((was, digest)) = self.digests.known_by(*way)
            && digest == *said
            && open::stamp_of(whole) == Some(was)
        {
            return Ok(Representation::had(headers));
        }
        let file = open::open(directory, path).await?;
        let answer = self.answer(method, headers, file.clone(), || content_type(path)).await;
        if let Some((_, way, _)) = asked {
            self.digests.opened(&file, way);
        }
        Ok(answer)
    }

    /// The SHA-256 of a file; worked out once while the file stays the same.
    ///
    /// **Errors**: as the system says, and [`io::ErrorKind::ResourceBusy`] when the file changes
    /// while it is read.
    pub async fn digest(&self, file: &OpenFile) -> io::Result<[u8; 32]> {
        self.digests.of(file).await
    }

    /// The same for who may block.
    pub fn digest_blocking(&self, file: &OpenFile) -> io::Result<[u8; 32]> {
        self.digests.of_blocking(file)
    }

    /// The SHA-512 of a file, likewise.
    pub async fn long_digest(&self, file: &OpenFile) -> io::Result<[u8; 64]> {
        self.long_digests.of(file).await
    }

    /// Answers GET and HEAD for an open file, tag, conditions and range included. What kind of content it
    /// is, is asked only when it is needed.
    pub async fn answer(
        &self,
        method: &Method,
        headers: &HeaderMap,
        file: OpenFile,
        content_type: impl FnOnce() -> header::HeaderValue,
    ) -> Response<Body> {
        let tag = match self.tag(headers, &file).await {
            Ok(tag) => tag,
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                return Problem::Unavailable("the file is being changed", 1).into_response();
            }
            Err(error) => {
                tracing::error!("cannot read a file that is asked for: {error}");
                return Problem::Internal.into_response();
            }
        };
        Representation::of_file(file, tag, content_type()).answer(method, headers)
    }

    /// The tag, unless finding it out would hold up a long answer.
    async fn tag(&self, headers: &HeaderMap, file: &OpenFile) -> io::Result<Option<Tag>> {
        let by_tag = [header::IF_NONE_MATCH, header::IF_MATCH, header::IF_RANGE];
        if file.size() <= TAGGED_FIRST || by_tag.iter().any(|field| headers.contains_key(field)) {
            return self.digests.of(file).await.map(|digest| Some(Tag::of(&digest)));
        }
        let known = self.digests.known(file);
        if known.is_none() {
            let (digests, file) = (self.digests.clone(), file.clone());
            // Whoever comes next gets the tag, or reads of what went wrong.
            tokio::spawn(async move { digests.of(&file).await });
        }
        Ok(known.as_ref().map(Tag::of))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::symlink,
        time::{Duration, Instant},
    };

    use openssl::sha::sha256;

    use super::*;

    /// The status for who says that it has a content with this SHA-256; 404 when there is none.
    async fn ask(files: &Files, directory: &Path, path: &str, had: &[u8; 32]) -> u16 {
        let headers = HeaderMap::from_iter([(header::IF_NONE_MATCH, Tag::of(had).header().clone())]);
        let answer = files.get(directory, &path.parse().unwrap(), &Method::GET, &headers).await;
        answer.map_or(404, |answer| answer.status().as_u16())
    }

    #[tokio::test]
    async fn the_short_way_tells_what_the_long_one_would() {
        let temp = tempfile::tempdir().unwrap();
        let (tree, outside) = (temp.path().join("tree"), temp.path().join("outside"));
        fs::create_dir_all(tree.join("a")).unwrap();
        fs::write(tree.join("a/file"), "one").unwrap();
        let (one, two) = (sha256(b"one"), sha256(b"two"));
        let files = Files::new();
        let file = open_blocking(&tree, &"a/file".parse().unwrap()).unwrap();
        // Digests of files that were just written are not remembered yet.
        let begun = Instant::now();
        while files.digests.known(&file).is_none() {
            assert!(begun.elapsed() < Duration::from_secs(30), "never remembered");
            assert_eq!(ask(&files, &tree, "a/file", &one).await, 304);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(ask(&files, &tree, "a/file", &one).await, 304);
        let way = Way(files.ways.hash_one(tree.join("a/file")));
        assert_eq!(files.digests.known_by(way), Some((*file.stamp(), one)), "the short way is there");
        assert_eq!(ask(&files, &tree, "a/file", &two).await, 200);
        // The same file by a link that leads to it: that is another way.
        fs::rename(tree.join("a"), &outside).unwrap();
        symlink(&outside, tree.join("b")).unwrap();
        assert_eq!(ask(&files, &tree, "b/file", &one).await, 404);
        assert_eq!(ask(&files, &tree, "a/file", &one).await, 404, "gone");
        fs::create_dir(tree.join("a")).unwrap();
        fs::write(tree.join("a/file"), "two").unwrap();
        assert_eq!(ask(&files, &tree, "a/file", &one).await, 200, "replaced");
        assert_eq!(ask(&files, &tree, "a/file", &two).await, 304);
    }
}
