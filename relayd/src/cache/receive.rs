// SPDX-License-Identifier: Apache-2.0
//! A file from the upstream to the disk, in bounded memory. When the connection breaks, the rest is asked
//! for, as long as it is the same file.

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{
    HeaderMap, Method, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, HeaderValue, IF_RANGE, RANGE},
};
use tokio::{task::spawn_blocking, time::timeout};

use super::{
    Shared,
    entry::Entry,
    fetch::{blocking, send},
    flight::Flight,
    key::Digest,
    part::Part,
    store::{Copy, NotKept, Room},
};
use crate::{files::Tag, http::Body, upstream::Failure};

/// What became of it.
pub enum Received {
    /// It is here.
    Kept(Arc<Copy>),
    /// There is no room, or it may not be kept.
    NotKept,
    /// The connection broke, and more did not come.
    Lost(String),
    /// What came is not what was announced.
    Wrong(String),
}

/// Written at a time, in bytes. Smaller files are not sent before they are whole.
const PIECE: usize = 256 * 1024;
/// How often in a row the rest is asked for without getting any of it.
const TRIES: usize = 2;

/// Takes the file of an answer, and lets those who wait have it as it comes.
///
/// `patience` is how long nothing may come.
pub async fn receive(
    shared: &Arc<Shared>,
    path: &str,
    answer: Response<Body>,
    flight: &Flight,
    patience: Duration,
) -> Received {
    let (head, body) = answer.into_parts();
    if !may_be_kept(&head.headers) {
        return Received::NotKept;
    }
    let length = length(&head.headers);
    let entry = Entry::of_answer(path, &head.headers, length.unwrap_or(0));
    let tag = entry.tag.as_deref().and_then(Tag::read);
    let announced = tag.as_ref().and_then(Tag::digest);
    if let (Some(digest), Some(size)) = (announced, length)
        && let Some(copy) = already_here(shared, flight, Entry { digest, size, ..entry.clone() }).await
    {
        return Received::Kept(Arc::new(copy));
    }
    let made = blocking(shared, move |store| {
        let room = match store.room(length.unwrap_or(0)) {
            Ok(room) => room,
            Err(NotKept::Disk(error)) => return Err(error),
            Err(NotKept::NoRoom(_)) => return Ok(None),
        };
        Ok(Some((store.part(length)?, room)))
    });
    let (part, room) = match made.await {
        Ok(Some(made)) => made,
        Ok(None) => return Received::NotKept,
        Err(error) => return shared.not_kept(&error),
    };
    if length.is_some_and(|length| length > PIECE as u64) {
        let tag = announced.map(|digest| Tag::of(&digest));
        flight.coming(entry.clone(), tag, part.file().clone());
    }
    let (part, written) = (Some(part), 0);
    let mut receiving = Receiving {
        shared,
        path,
        flight,
        body,
        patience,
        entry,
        length,
        part,
        written,
        room,
        resumable: tag,
    };
    match receiving.run().await {
        Ok(()) => receiving.finish(announced).await,
        Err(ended) => ended,
    }
}

/// Another path has the same content.
async fn already_here(shared: &Arc<Shared>, flight: &Flight, entry: Entry) -> Option<Copy> {
    let key = flight.key();
    let linked = blocking(shared, move |store| match store.link(&key, entry) {
        Ok(copy) => Ok(copy),
        Err(NotKept::NoRoom(_)) => Ok(None),
        Err(NotKept::Disk(error)) => Err(error),
    });
    // It is fetched, then, and what is wrong with the disk is found out again.
    linked.await.unwrap_or(None)
}

struct Receiving<'a> {
    shared: &'a Arc<Shared>,
    path: &'a str,
    flight: &'a Flight,
    body: Body,
    patience: Duration,
    entry: Entry,
    length: Option<u64>,
    /// Elsewhere while it is written to.
    part: Option<Part>,
    written: u64,
    room: Room,
    /// A strong tag: the rest of the file can be asked for.
    resumable: Option<Tag>,
}

impl Receiving<'_> {
    /// Takes all pieces.
    async fn run(&mut self) -> Result<(), Received> {
        let (mut pieces, mut held, mut tries) = (Vec::new(), 0, 0);
        loop {
            let silent = || io::Error::new(io::ErrorKind::TimedOut, Failure::Late(self.patience));
            let frame = timeout(self.patience, self.body.frame()).await;
            match frame.unwrap_or_else(|_| Some(Err(silent()))) {
                Some(Ok(frame)) => {
                    let Ok(piece) = frame.into_data() else { continue };
                    held += piece.len();
                    pieces.push(piece);
                    if held >= PIECE {
                        self.write(std::mem::take(&mut pieces)).await?;
                        (held, tries) = (0, 0);
                    }
                }
                None => {
                    self.write(pieces).await?;
                    return Ok(());
                }
                Some(Err(error)) => {
                    self.write(std::mem::take(&mut pieces)).await?;
                    tries = if held > 0 { 1 } else { tries + 1 };
                    held = 0;
                    self.resume(tries, &error).await?;
                }
            }
        }
    }

    async fn write(&mut self, pieces: Vec<Bytes>) -> Result<(), Received> {
        let count: usize = pieces.iter().map(Bytes::len).sum();
        if count == 0 {
            return Ok(());
        }
        let end = self.written + count as u64;
        if self.length.is_some_and(|length| end > length) {
            return Err(Received::Wrong("the upstream sent more than it announced".into()));
        }
        self.shared.metrics.fetched_bytes.inc_by(count as u64);
        let grows = self.length.is_none();
        let Some(mut part) = self.part.take() else { return Err(Received::NotKept) };
        let written = blocking(self.shared, move |store| {
            let room = match grows.then(|| store.room(count as u64)).transpose() {
                Ok(room) => room,
                Err(NotKept::Disk(error)) => return Err(error),
                Err(NotKept::NoRoom(_)) => return Ok(None),
            };
            part.write(&pieces)?;
            Ok(Some((part, room)))
        });
        match written.await {
            Ok(Some((part, room))) => {
                (self.part, self.written) = (Some(part), end);
                room.into_iter().for_each(|room| self.room.and(room));
                // The last piece is held back until all was found right.
                if self.length.is_none_or(|length| end < length) {
                    self.flight.came(end);
                }
                Ok(())
            }
            Ok(None) => Err(Received::NotKept),
            Err(error) => Err(self.shared.not_kept(&error)),
        }
    }

    /// Asks for the rest after the connection broke.
    async fn resume(&mut self, tries: usize, error: &io::Error) -> Result<(), Received> {
        let lost = || Received::Lost(format!("the file did not come whole: {error}"));
        let Some(tag) = self.resumable.as_ref().filter(|_| tries <= TRIES) else { return Err(lost()) };
        let from = self.written;
        let range = HeaderValue::try_from(format!("bytes={from}-")).map_err(|_| lost())?;
        let headers = HeaderMap::from_iter([(RANGE, range), (IF_RANGE, tag.header().clone())]);
        let answer = send(self.shared, Method::GET, self.path, &headers, self.patience).await;
        let answer = answer.map_err(Received::Lost)?;
        let range = answer.headers().get(CONTENT_RANGE).and_then(|range| range.to_str().ok());
        let is_rest = range.is_some_and(|range| range.starts_with(&format!("bytes {from}-")));
        if answer.status() != StatusCode::PARTIAL_CONTENT || !is_rest {
            return Err(lost());
        }
        self.shared.metrics.resumed.inc();
        self.body = answer.into_body();
        Ok(())
    }

    /// Checks the whole, and gives it its name.
    async fn finish(mut self, announced: Option<Digest>) -> Received {
        let written = self.written;
        let Some(part) = self.part.take() else { return Received::NotKept };
        if self.length.is_some_and(|length| length != written) {
            return Received::Wrong("the upstream sent less than it announced".into());
        }
        (self.entry.digest, self.entry.size) = (part.digest(), written);
        if announced.is_some_and(|digest| digest != self.entry.digest) {
            self.shared.metrics.damaged.inc();
            return Received::Wrong("the content is not that of its tag".into());
        }
        let (key, entry, room) = (self.flight.key(), self.entry, self.room);
        let shared = self.shared.clone();
        let kept = spawn_blocking(move || shared.store.keep(&key, entry, part, room)).await;
        match kept.map_err(io::Error::other) {
            Ok(Ok(copy)) => {
                self.flight.came_whole(written);
                Received::Kept(Arc::new(copy))
            }
            Ok(Err(NotKept::NoRoom(_))) => Received::NotKept,
            Ok(Err(NotKept::Disk(error))) | Err(error) => self.shared.not_kept(&error),
        }
    }
}

fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Only what can be served as it is, and what the upstream lets be kept.
fn may_be_kept(headers: &HeaderMap) -> bool {
    let text = |value: &HeaderValue| value.to_str().unwrap_or("").to_ascii_lowercase();
    let refused = headers.get_all(CACHE_CONTROL).iter().any(|value| text(value).contains("no-store"));
    !refused && headers.get(CONTENT_ENCODING).is_none_or(|value| text(value) == "identity")
}
