// SPDX-License-Identifier: Apache-2.0
//! A file that is sent while it comes. Its last piece is held back until the whole was found right: nobody
//! takes a wrong file for a whole one.

use std::{fs::File, io, os::unix::fs::FileExt, sync::Arc};

use bytes::Bytes;
use futures_util::stream;
use headers::{HeaderMapExt, IfNoneMatch};
use http_body_util::{BodyExt, StreamBody};
use hyper::{
    HeaderMap, Method, Response,
    body::Frame,
    header::{
        ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, IF_MATCH,
        IF_MODIFIED_SINCE, IF_RANGE, IF_UNMODIFIED_SINCE, LAST_MODIFIED, RANGE,
    },
};
use tokio::{sync::watch, task::spawn_blocking};

use super::entry::Entry;
use crate::{files::Tag, http::Body};

/// Read at a time, in bytes.
const PIECE: u64 = 128 * 1024;
/// Who asks with these waits until all is here.
const LATER: [HeaderName; 4] = [IF_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, RANGE];

/// A file on its way, of a known size.
pub struct Coming {
    /// What the upstream said of it. The digest is not known yet, and zero.
    pub entry: Entry,
    /// The tag, as this server gives it: only if it is a digest, for that is what it will be.
    pub tag: Option<Tag>,
    /// What there is.
    pub file: Arc<File>,
    /// How much of it may be sent. Whoever writes is gone before this is the size: it will not come.
    pub ready: watch::Receiver<u64>,
}

impl Coming {
    /// The answer to a request, if that can be told before all is here.
    pub fn answer(&self, method: &Method, headers: &HeaderMap) -> Option<Response<Body>> {
        if LATER.iter().any(|name| headers.contains_key(name)) {
            return None;
        }
        let differs = match (headers.typed_get::<IfNoneMatch>(), &self.tag) {
            (None, _) => !headers.contains_key(IF_MODIFIED_SINCE),
            (Some(unless), Some(tag)) if unless.precondition_passes(tag.etag()) => true,
            // Then it is not sent, or there is no telling.
            _ => false,
        };
        differs.then(|| self.whole(method == Method::GET))
    }

    fn whole(&self, with_body: bool) -> Response<Body> {
        let mut response = Response::new(if with_body { self.body() } else { crate::http::empty() });
        let headers = response.headers_mut();
        headers.insert(CONTENT_LENGTH, self.entry.size.into());
        headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        headers.insert(CONTENT_TYPE, self.entry.content_type());
        if let Some(tag) = &self.tag {
            headers.insert(ETAG, tag.header().clone());
        }
        let modified = self.entry.modified.as_deref().and_then(|time| HeaderValue::from_str(time).ok());
        headers.extend(modified.map(|time| (LAST_MODIFIED, time)));
        response
    }

    fn body(&self) -> Body {
        let (file, ready, size) = (self.file.clone(), self.ready.clone(), self.entry.size);
        let pieces = stream::try_unfold((file, ready, 0), move |(file, mut ready, at)| async move {
            if at == size {
                return Ok(None);
            }
            let until = ready.wait_for(|ready| *ready > at).await.map(|ready| *ready);
            let until = until.map_err(|_| io::Error::other("the file did not come whole"))?;
            let (from, length) = (file.clone(), (until - at).min(PIECE));
            let read = spawn_blocking(move || {
                let mut piece = vec![0; length as usize];
                from.read_exact_at(&mut piece, at).map(|()| piece)
            });
            let piece = read.await.map_err(io::Error::other)??;
            Ok(Some((Frame::data(Bytes::from(piece)), (file, ready, at + length))))
        });
        StreamBody::new(pieces).boxed()
    }
}
