// SPDX-License-Identifier: Apache-2.0
//! The bytes of a file as a request body: read whole when small, else in parts as they are sent.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;

use crate::spool::SpoolFile;

/// Files up to this size are read whole, in bytes.
const WHOLE: u64 = 64 * 1024;
/// Larger ones are read in parts of this size.
const PART: usize = 32 * 1024;

/// A file to upload, as often as needed.
#[derive(Debug, Clone)]
pub enum Upload {
    /// All its bytes.
    Whole(Bytes),
    /// The open file and its size.
    Parts(Arc<File>, u64),
}

impl Upload {
    /// Opens a file, and reads it when it is small.
    pub async fn open(file: &SpoolFile) -> io::Result<Self> {
        let file = file.clone();
        let read = move || {
            let file = file.open()?;
            let size = file.metadata()?.len();
            if size > WHOLE {
                return Ok(Self::Parts(Arc::new(file), size));
            }
            let mut bytes = vec![0; usize::try_from(size).map_err(io::Error::other)?];
            file.read_exact_at(&mut bytes, 0)?;
            Ok(Self::Whole(bytes.into()))
        };
        tokio::task::spawn_blocking(read).await.map_err(io::Error::other)?
    }

    /// How many bytes.
    pub fn size(&self) -> u64 {
        match self {
            Self::Whole(bytes) => bytes.len() as u64,
            Self::Parts(_, size) => *size,
        }
    }

    /// A body that sends it from the beginning.
    pub fn body(&self) -> UploadBody {
        match self {
            Self::Whole(bytes) => UploadBody::Whole(Some(bytes.clone())),
            Self::Parts(file, size) => {
                // One part ahead of the one that is being sent.
                let (sender, parts) = mpsc::channel(1);
                let (file, size) = (file.clone(), *size);
                tokio::task::spawn_blocking(move || read_parts(&file, size, &sender));
                UploadBody::Parts { parts, left: size }
            }
        }
    }
}

fn read_parts(file: &File, size: u64, parts: &mpsc::Sender<io::Result<Bytes>>) {
    let mut at = 0;
    while at < size {
        let length = usize::try_from(size - at).map_or(PART, |left| left.min(PART));
        let mut part = vec![0; length];
        let read = file.read_exact_at(&mut part, at).map(|()| part.into());
        let failed = read.is_err();
        // When nobody wants more the request has ended.
        if parts.blocking_send(read).is_err() || failed {
            return;
        }
        at += length as u64;
    }
}

/// See [`Upload::body`].
#[derive(Debug)]
pub enum UploadBody {
    /// All at once.
    Whole(Option<Bytes>),
    /// As they are read.
    Parts {
        /// Where they come from.
        parts: mpsc::Receiver<io::Result<Bytes>>,
        /// Bytes not yet sent.
        left: u64,
    },
}

impl Body for UploadBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &mut *self {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Parts { left: 0, .. } => Poll::Ready(None),
            Self::Parts { parts, left } => parts.poll_recv(context).map(|part| {
                // The reader ends early only after an error, or with the runtime.
                let part = part.unwrap_or_else(|| Err(io::ErrorKind::UnexpectedEof.into()));
                Some(part.map(|part| {
                    *left = left.saturating_sub(part.len() as u64);
                    Frame::data(part)
                }))
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.size_hint().exact() == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match self {
            Self::Whole(bytes) => bytes.as_ref().map_or(0, |bytes| bytes.len() as u64),
            Self::Parts { left, .. } => *left,
        })
    }
}
