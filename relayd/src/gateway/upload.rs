// SPDX-License-Identifier: Apache-2.0
//! One upload: from the first byte of the body to stable storage.
//!
//! ```text
//! pieces ─▶ buffer (≤ 64 KiB) ─▶ part file ─▶ fsync ─▶ rename, never replacing ─▶ commit ─▶ 2xx
//! ```
//! A small upload, the usual case, is one job on a disk thread. Bytes in buffers are permits taken
//! from one budget for all uploads; who waits for permits has given back his own, so nobody waits
//! for each other, and what came slowly is written out, so that slow clients do not keep the budget
//! from others. When the client goes away, the part file is dropped and so removed.

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use hyper::body::Incoming;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout, timeout_at},
};

use super::{
    answer::{Answer, Refusal},
    directory::Directory,
    metrics::GatewayMetrics,
    part_file::{PartError, PartFile, Published},
};
use crate::http::PacedBody;

/// Buffered before it is written.
const BUFFER: usize = 64 * 1024;
/// Longest wait for buffer space.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// Bytes are written out when they were buffered for so long.
const LONGEST_BUFFERED: Duration = Duration::from_secs(1);
/// First bytes of gzip with the one method there is (RFC 1952).
const GZIP: &[u8] = &[0x1f, 0x8b, 0x08];

/// Permits for buffered bytes.
#[derive(Clone)]
pub struct Budget(Arc<Semaphore>);

impl Budget {
    /// So many bytes for all uploads; at least enough for one.
    pub fn new(bytes: u64) -> Self {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX).clamp(4 * BUFFER, Semaphore::MAX_PERMITS);
        Self(Arc::new(Semaphore::new(bytes)))
    }
}

/// A body that was let in.
pub struct Upload<'a> {
    /// Name to give to the file.
    pub name: &'a str,
    /// Length as the header says.
    pub length: u64,
    /// Whether it must be gzip.
    pub is_gzip: bool,
    /// The body.
    pub body: Incoming,
    /// Slowest accepted body, in bytes per second.
    pub slowest: u64,
}

/// Takes the upload in; `Ok` means that it is on stable storage.
pub async fn receive(
    upload: Upload<'_>,
    directory: &Arc<Directory>,
    budget: &Budget,
    metrics: &GatewayMetrics,
) -> Result<Answer, Refusal> {
    let Upload { name, length, is_gzip, body, slowest } = upload;
    let mut body = PacedBody::new(body, slowest);
    let mut file =
        Receiving { directory, budget, part: None, buffer: Vec::new(), permits: None, flush_at: None };
    let mut received = 0;
    let mut start = Vec::with_capacity(GZIP.len());
    while let Some(piece) = file.next(&mut body).await? {
        metrics.received_bytes.inc_by(piece.len() as u64);
        received += piece.len() as u64;
        if is_gzip && start.len() < GZIP.len() {
            start.extend(piece.iter().take(GZIP.len() - start.len()));
            if !GZIP.starts_with(&start) {
                return Err(Refusal::NotGzip);
            }
        }
        file.take(&piece, length).await?;
    }
    if received != length {
        return Err(Refusal::BadRequest("the body has another length than its header says"));
    }
    if is_gzip && start != GZIP {
        return Err(Refusal::NotGzip);
    }
    let answer = match file.publish(name.to_owned()).await? {
        Published::New => Answer::Stored(None),
        Published::SameContent => Answer::AlreadyStored(None),
        Published::OtherContent => return Err(Refusal::Conflict),
    };
    directory.commit().await.map_err(|_| STOPPED)?;
    Ok(answer)
}

/// After an fsync failed.
pub const STOPPED: Refusal = Refusal::Unavailable("the disk has failed; this server is stopping");

struct Receiving<'a> {
    directory: &'a Arc<Directory>,
    budget: &'a Budget,
    part: Option<PartFile>,
    buffer: Vec<u8>,
    permits: Option<OwnedSemaphorePermit>,
    /// When what is buffered has been there for long enough.
    flush_at: Option<Instant>,
}

impl Receiving<'_> {
    /// The next piece; meanwhile what waits in the buffer for too long is written out.
    async fn next(&mut self, body: &mut PacedBody) -> Result<Option<Bytes>, Refusal> {
        let next = body.next();
        tokio::pin!(next);
        if let Some(flush_at) = self.flush_at {
            match timeout_at(flush_at, &mut next).await {
                Ok(piece) => return Ok(piece?),
                Err(_) => self.flush().await?,
            }
        }
        Ok(next.await?)
    }

    async fn take(&mut self, piece: &Bytes, length: u64) -> Result<(), Refusal> {
        if self.buffer.len() + piece.len() > BUFFER {
            self.flush().await?;
        }
        self.reserve(piece.len()).await?;
        if self.buffer.capacity() == 0 {
            self.buffer.reserve_exact(BUFFER.min(usize::try_from(length).unwrap_or(BUFFER)));
        }
        self.buffer.extend_from_slice(piece);
        self.flush_at.get_or_insert_with(|| Instant::now() + LONGEST_BUFFERED);
        Ok(())
    }

    async fn reserve(&mut self, bytes: usize) -> Result<(), Refusal> {
        let bytes = u32::try_from(bytes).map_err(|_| NO_MEMORY)?;
        let semaphore = &self.budget.0;
        let permit = match semaphore.clone().try_acquire_many_owned(bytes) {
            Ok(permit) => permit,
            Err(_) => {
                self.flush().await?;
                match timeout(LONGEST_WAIT, semaphore.clone().acquire_many_owned(bytes)).await {
                    Ok(Ok(permit)) => permit,
                    _ => return Err(NO_MEMORY),
                }
            }
        };
        match &mut self.permits {
            Some(permits) => permits.merge(permit),
            None => self.permits = Some(permit),
        }
        Ok(())
    }

    /// Writes out what is buffered and gives the permits back.
    async fn flush(&mut self) -> Result<(), Refusal> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let (directory, part, buffer) =
            (self.directory.clone(), self.part.take(), std::mem::take(&mut self.buffer));
        let permits = self.permits.take();
        self.flush_at = None;
        let written = self.directory.pool().run(move || {
            let mut part = part_or_new(part, &directory)?;
            part.write(&buffer)?;
            // Together: an empty buffer that is kept would be memory without a permit.
            drop((buffer, permits));
            Ok::<_, PartError>(part)
        });
        self.part = Some(self.settle(written.await)?);
        Ok(())
    }

    /// Writes the rest and gives the file its name.
    async fn publish(mut self, name: String) -> Result<Published, Refusal> {
        if self.directory.is_stopped() {
            return Err(STOPPED);
        }
        let (directory, part, buffer) =
            (self.directory.clone(), self.part.take(), std::mem::take(&mut self.buffer));
        let permits = self.permits.take();
        let published = self.directory.pool().run(move || {
            let mut part = part_or_new(part, &directory)?;
            part.write(&buffer)?;
            drop((buffer, permits));
            part.publish(&name)
        });
        self.settle(published.await)
    }

    /// Turns what the disk said into what the client is told, and sees to the rest.
    fn settle<T>(&self, result: io::Result<Result<T, PartError>>) -> Result<T, Refusal> {
        let error = match result {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => error,
            Err(error) => PartError::Other(error),
        };
        Err(match error {
            PartError::Full => NO_SPACE,
            PartError::ReadOnly => READ_ONLY,
            PartError::Sync(error) => {
                self.directory.fail(error);
                STOPPED
            }
            PartError::Other(error) => {
                tracing::error!(
                    directory = %self.directory.path().display(),
                    %error,
                    "an upload could not be written; it was refused and will be sent again"
                );
                Refusal::Unavailable("the file could not be written")
            }
        })
    }
}

/// Also said when the disk is known to be full beforehand.
pub const NO_SPACE: Refusal = Refusal::NoRoom("the disk is full");
/// Also said when the file system is known to be read-only beforehand.
pub const READ_ONLY: Refusal = Refusal::NoRoom("the file system is read-only");
/// Said when the spool would not find what is written.
pub const ELSEWHERE: Refusal =
    Refusal::Unavailable("the spool directory was moved or removed; this server needs a restart");
const NO_MEMORY: Refusal = Refusal::Unavailable("too many bytes are under way");

fn part_or_new(part: Option<PartFile>, directory: &Directory) -> io::Result<PartFile> {
    match part {
        Some(part) => Ok(part),
        None => directory.new_part(),
    }
}
