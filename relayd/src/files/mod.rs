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

use std::{io, path::Path, sync::Arc};

use hyper::{HeaderMap, Method, Response, header};
use protocol::relative_path::RelativePath;

use self::digest::Digests;
pub use self::{
    open::{OpenError, OpenFile, Stamp, open_blocking},
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
}

impl Default for Files {
    fn default() -> Self {
        Self { digests: Arc::new(Digests::sha256()), long_digests: Digests::sha512() }
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
        // What most requests come to.
        let known = self.digests.known(&file);
        if let Some(unchanged) = known.and_then(|digest| Representation::is_had(&digest, headers)) {
            return unchanged;
        }
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
