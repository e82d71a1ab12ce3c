// SPDX-License-Identifier: Apache-2.0
//! A file as a body: piece by piece, one piece in memory at a time.
//!
//! What the kernel has in memory is read at once; only what a disk has to be waited for is read on
//! another thread. A file that changes before its last piece is out ends the body with an error: who
//! receives it sees that it is not whole.

use std::{
    fs::File,
    io::{self, IoSliceMut},
    ops::Range,
    os::unix::fs::FileExt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use rustix::{
    fs::{Advice, fadvise},
    io::{Errno, ReadWriteFlags, preadv2},
};
use tokio::task::{JoinHandle, spawn_blocking};

use super::open::OpenFile;
use crate::http::{Body, empty};

/// Enough that the work for a piece is small beside its encryption, and little enough to stay in the
/// caches of a processor.
const PIECE: usize = 128 * 1024;
/// From this length on it is worth telling the kernel that all of it will be read.
const LONG: u64 = 1024 * 1024;

/// Part of a file.
pub struct FileBody {
    file: OpenFile,
    left: Range<u64>,
    buffer: Arc<Vec<u8>>,
    reading: Option<JoinHandle<Read>>,
}

/// A buffer, and how much was read into it.
type Read = io::Result<(Vec<u8>, usize)>;

/// What was read into a buffer, for as long as somebody needs it.
struct Piece {
    buffer: Arc<Vec<u8>>,
    length: usize,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[..self.length]
    }
}

impl FileBody {
    /// These bytes of a file.
    pub fn new(file: OpenFile, part: Range<u64>) -> Self {
        if part.end - part.start >= LONG {
            // Advice: that it cannot be taken is no error.
            let _ = fadvise(&**file.file(), part.start, None, Advice::Sequential);
        }
        Self { file, left: part, buffer: Arc::default(), reading: None }
    }

    /// As any other body.
    pub fn boxed(self) -> Body {
        if self.left.is_empty() { empty() } else { BodyExt::boxed(self) }
    }

    /// A buffer for the next piece: the last one, when nobody needs it any more.
    fn take_buffer(&mut self) -> Vec<u8> {
        let length = self.next_length();
        match Arc::try_unwrap(std::mem::take(&mut self.buffer)) {
            Ok(buffer) if buffer.len() >= length => buffer,
            _ => vec![0; length],
        }
    }

    fn next_length(&self) -> usize {
        usize::try_from(self.left.end - self.left.start).unwrap_or(PIECE).min(PIECE)
    }

    /// What was read becomes a piece of the body.
    fn piece(&mut self, buffer: Vec<u8>, length: usize) -> io::Result<Frame<Bytes>> {
        self.left.start += length as u64;
        if self.left.is_empty() && !self.file.stamp_now()?.same_content(self.file.stamp()) {
            return Err(io::Error::other("the file was changed while it was sent"));
        }
        self.buffer = Arc::new(buffer);
        let piece = Piece { buffer: self.buffer.clone(), length };
        Ok(Frame::data(Bytes::from_owner(piece)))
    }
}

impl HttpBody for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.left.is_empty() {
            return Poll::Ready(None);
        }
        if self.reading.is_none() {
            let (mut buffer, length) = (self.take_buffer(), self.next_length());
            let (file, at) = (self.file.file().clone(), self.left.start);
            match read_from_memory(&file, &mut buffer[..length], at) {
                Some(length) => return Poll::Ready(Some(self.piece(buffer, length))),
                None => self.reading = Some(spawn_blocking(move || read(&file, buffer, length, at))),
            }
        }
        let Some(reading) = &mut self.reading else { return Poll::Ready(None) };
        let read = ready!(Pin::new(reading).poll(cx)).map_err(io::Error::other).flatten();
        self.reading = None;
        Poll::Ready(Some(read.and_then(|(buffer, length)| self.piece(buffer, length))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.end - self.left.start)
    }
}

/// Reads what needs no waiting; `None` when that is nothing, or the file system cannot tell.
fn read_from_memory(file: &File, buffer: &mut [u8], at: u64) -> Option<usize> {
    loop {
        match preadv2(file, &mut [IoSliceMut::new(buffer)], at, ReadWriteFlags::NOWAIT) {
            Err(Errno::INTR) => {}
            Ok(read) if read > 0 => return Some(read),
            _ => return None,
        }
    }
}

/// Reads so many bytes; blocks.
fn read(file: &File, mut buffer: Vec<u8>, length: usize, at: u64) -> Read {
    file.read_exact_at(&mut buffer[..length], at)?;
    Ok((buffer, length))
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::{super::open::open_blocking, *};

    fn content(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at / 7) as u8).collect()
    }

    fn body(directory: &Path, part: Range<u64>) -> FileBody {
        FileBody::new(open_blocking(directory, &"file".parse().unwrap()).unwrap(), part)
    }

    #[tokio::test]
    async fn a_part_is_sent_as_it_is() {
        let temp = tempfile::tempdir().unwrap();
        let content = content(3 * PIECE + 1);
        fs::write(temp.path().join("file"), &content).unwrap();
        let size = content.len() as u64;
        for part in [0..size, 1..size - 1, 5..5, size - 1..size, PIECE as u64..2 * PIECE as u64] {
            let expected = &content[part.start as usize..part.end as usize];
            let sent = body(temp.path(), part.clone()).boxed().collect().await.unwrap().to_bytes();
            assert!(sent == expected, "{part:?}");
        }
    }

    #[tokio::test]
    async fn a_buffer_is_used_again_when_nobody_needs_it_and_left_alone_when_somebody_does() {
        let temp = tempfile::tempdir().unwrap();
        let content = content(4 * PIECE);
        fs::write(temp.path().join("file"), &content).unwrap();
        let mut body = body(temp.path(), 0..content.len() as u64);
        let mut next = async || body.frame().await.unwrap().unwrap().into_data().unwrap();
        let kept = next().await;
        let second = next().await;
        let place = second.as_ptr();
        drop(second);
        let third = next().await;
        assert_eq!(place, third.as_ptr());
        assert!(kept == content[..PIECE] && third == content[2 * PIECE..3 * PIECE]);
    }

    #[tokio::test]
    async fn a_file_that_changes_is_not_sent_to_its_end() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("file");
        for (after, is_whole) in [(Some(3 * PIECE), false), (Some(10), false), (None, true)] {
            fs::write(&path, content(2 * PIECE)).unwrap();
            let mut body = body(temp.path(), 0..2 * PIECE as u64);
            body.frame().await.unwrap().unwrap();
            match after {
                Some(length) => fs::write(&path, content(length)).unwrap(),
                // Another file in its place: this one stays as it is.
                None => {
                    fs::write(temp.path().join("new"), "new").unwrap();
                    fs::rename(temp.path().join("new"), &path).unwrap();
                }
            }
            assert_eq!(body.boxed().collect().await.is_ok(), is_whole, "{after:?}");
        }
    }
}
