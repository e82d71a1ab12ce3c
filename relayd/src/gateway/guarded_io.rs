// SPDX-License-Identifier: Apache-2.0
//! A connection as the HTTP library sees it: heads checked, and time-outs for all the time in
//! which no request is being worked on.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

use super::guard::HeadGuard;

/// Content of a TLS record.
const RECORD: usize = 16 * 1024;

/// Time-outs of a connection.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// For the TLS handshake, and for a request's head; also until the first head begins.
    pub header_timeout: Duration,
    /// Between requests; and for how long an answer may be taken no piece of.
    pub idle_timeout: Duration,
    /// The slowest rate at which an answer may be taken, in bytes per second.
    pub slowest: u64,
}

/// What the service and the connection know of each other.
#[derive(Debug, Default)]
pub struct Activity {
    /// Twice the number of requests begun, less one while the last is being worked on: odd means
    /// that one is.
    steps: AtomicU64,
    malformed: AtomicBool,
    unread: AtomicBool,
}

/// A request is being worked on, until dropped.
pub struct Working(Arc<Activity>);

impl Activity {
    /// Begins a request.
    pub fn begin(self: &Arc<Self>) -> Working {
        self.steps.fetch_add(1, Ordering::Relaxed);
        Working(self.clone())
    }

    /// Notes that a request was answered without reading its body.
    pub fn leave_unread(&self) {
        self.unread.store(true, Ordering::Relaxed);
    }

    /// Whether the peer may still be sending what nobody will read.
    pub fn must_linger(&self) -> bool {
        self.unread.load(Ordering::Relaxed) || self.was_malformed()
    }

    /// Whether a head was refused.
    pub fn was_malformed(&self) -> bool {
        self.malformed.load(Ordering::Relaxed)
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.0.steps.fetch_add(1, Ordering::Relaxed);
    }
}

/// A stream with its guards.
pub struct GuardedIo<S> {
    stream: S,
    guard: HeadGuard,
    activity: Arc<Activity>,
    limits: Limits,
    phase: Phase,
    deadline: Pin<Box<Sleep>>,
    /// An answer was begun that is not all out yet.
    answering: bool,
    /// A piece of a stream waits to be taken.
    stalled: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// After so many requests.
    Waiting(u64),
    Head,
    Working,
}

impl<S> GuardedIo<S> {
    /// Guards a stream on which nothing was read yet.
    pub fn new(stream: S, limits: Limits, activity: Arc<Activity>) -> Self {
        Self {
            stream,
            guard: HeadGuard::default(),
            activity,
            limits,
            phase: Phase::Waiting(0),
            deadline: Box::pin(sleep(limits.header_timeout)),
            answering: false,
            stalled: false,
        }
    }

    /// The stream.
    pub fn into_inner(self) -> S {
        self.stream
    }

    fn phase(&self) -> Phase {
        let steps = self.activity.steps.load(Ordering::Relaxed);
        if steps % 2 == 1 {
            Phase::Working
        } else if self.guard.is_in_head() {
            Phase::Head
        } else {
            Phase::Waiting(steps)
        }
    }

    /// So many bytes of an answer were taken: they give the peer as much time more as the slowest rate
    /// needs for them, so that it can fall behind that rate by the idle time at most.
    fn took(&mut self, bytes: usize) {
        if !matches!(self.phase, Phase::Waiting(_)) || bytes == 0 {
            return;
        }
        self.answering = true;
        let earned = Duration::from_secs_f64(bytes as f64 / self.limits.slowest.max(1) as f64);
        let latest = Instant::now() + self.limits.idle_timeout;
        // Hours are too much for no piece, however large.
        let deadline = self.deadline.deadline() + earned.min(self.limits.idle_timeout);
        self.deadline.as_mut().reset(deadline.min(latest));
    }

    /// All of an answer is out: from here on the connection is idle.
    fn finished(&mut self) {
        if std::mem::take(&mut self.answering) && matches!(self.phase, Phase::Waiting(_)) {
            self.deadline.as_mut().reset(Instant::now() + self.limits.idle_timeout);
        }
    }

    /// Fails when the peer is late; else sees to it that the task is woken when it is.
    fn check_time(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let phase = self.phase();
        if phase != self.phase {
            self.phase = phase;
            self.stalled = false;
            let limit = match phase {
                Phase::Waiting(0) | Phase::Head => self.limits.header_timeout,
                Phase::Waiting(_) => self.limits.idle_timeout,
                Phase::Working => return Ok(()),
            };
            self.deadline.as_mut().reset(Instant::now() + limit);
        }
        if phase != Phase::Working && self.deadline.as_mut().poll(cx).is_ready() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(())
    }
}

impl<S> GuardedIo<S> {
    /// A stream may be silent, but what it has to say must be taken: no piece of it for the idle time, and
    /// the peer is late.
    fn check_taken(&mut self, waits: bool, cx: &mut Context<'_>) -> io::Result<()> {
        if self.phase != Phase::Working {
            return Ok(());
        }
        if waits && !self.stalled {
            self.deadline.as_mut().reset(Instant::now() + self.limits.idle_timeout);
        }
        self.stalled = waits;
        if waits && self.deadline.as_mut().poll(cx).is_ready() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for GuardedIo<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.activity.was_malformed() {
            return Poll::Ready(Ok(()));
        }
        self.check_time(cx)?;
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        if let Err(fine) = self.guard.check(&buffer.filled()[before..]) {
            // A NUL is proper nowhere in a head: the HTTP library answers 400 and closes.
            buffer.set_filled(before + fine);
            buffer.put_slice(&[0]);
            self.activity.malformed.store(true, Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for GuardedIo<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check_time(cx)?;
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.check_taken(polled.is_pending(), cx)?;
        let written = ready!(polled)?;
        self.took(written);
        Poll::Ready(Ok(written))
    }

    /// TLS makes a record of each write: a head and the start of its body are one.
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut pieces = pieces.iter().filter(|piece| !piece.is_empty());
        let first: &[u8] = pieces.next().map_or(&[], |piece| piece);
        let mut rest = pieces.peekable();
        if first.len() >= RECORD || rest.peek().is_none() {
            return self.poll_write(cx, first);
        }
        let mut record = [0; RECORD];
        let mut length = 0;
        for piece in std::iter::once(first).chain(rest.map(|piece| &**piece)) {
            let taken = piece.len().min(RECORD - length);
            record[length..length + taken].copy_from_slice(&piece[..taken]);
            length += taken;
        }
        self.poll_write(cx, &record[..length])
    }

    /// What is said of the other writes keeps the HTTP library from copying whole answers into a buffer
    /// that it then keeps for the life of the connection.
    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check_time(cx)?;
        let polled = Pin::new(&mut self.stream).poll_flush(cx);
        self.check_taken(polled.is_pending(), cx)?;
        ready!(polled)?;
        self.finished();
        // Nobody else may ask again before the time that begins here is over.
        self.check_time(cx)?;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, duplex},
        time::timeout,
    };

    use super::*;

    const IDLE: Duration = Duration::from_secs(1);

    /// Whether an answer of so many bytes is all taken by a peer that reads 1000 bytes after each pause.
    async fn is_taken(bytes: usize, pause: Duration) -> io::Result<()> {
        let (mut client, server) = duplex(1000);
        let limits = Limits { header_timeout: IDLE, idle_timeout: IDLE, slowest: 20_000 };
        let activity = Arc::new(Activity::default());
        let mut guarded = GuardedIo::new(server, limits, activity.clone());
        drop(activity.begin());
        let reading = tokio::spawn(async move {
            let mut piece = [0; 1000];
            while client.read_exact(&mut piece).await.is_ok() {
                sleep(pause).await;
            }
        });
        let answer = vec![b'x'; bytes];
        let written = timeout(Duration::from_secs(30), guarded.write_all(&answer)).await.unwrap();
        if written.is_ok() {
            // Idle from here on, and not for longer than that.
            let start = Instant::now();
            guarded.flush().await?;
            let ended = timeout(Duration::from_secs(30), guarded.read(&mut [0; 1])).await.unwrap();
            assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::TimedOut);
            assert!(start.elapsed() >= IDLE, "{:?}", start.elapsed());
        }
        reading.abort();
        written
    }

    #[tokio::test]
    async fn an_answer_may_take_as_long_as_its_length_allows() {
        let start = Instant::now();
        is_taken(250_000, Duration::from_millis(10)).await.unwrap();
        assert!(start.elapsed() > IDLE * 2, "{:?}: not slow enough to tell", start.elapsed());
    }

    #[tokio::test]
    async fn a_stream_that_nobody_takes_is_given_up_and_one_that_is_silent_is_not() {
        let (mut client, server) = duplex(1000);
        let limits = Limits { header_timeout: IDLE, idle_timeout: IDLE, slowest: 20_000 };
        let activity = Arc::new(Activity::default());
        let mut guarded = GuardedIo::new(server, limits, activity.clone());
        let _working = activity.begin();
        for _ in 0..2 {
            guarded.write_all(&[b'x'; 1000]).await.unwrap();
            // All is taken at last, and then there is nothing to tell for long.
            sleep(IDLE / 2).await;
            client.read_exact(&mut [0; 1000]).await.unwrap();
            guarded.flush().await.unwrap();
            sleep(IDLE * 2).await;
        }
        let start = Instant::now();
        let taken = timeout(Duration::from_secs(30), guarded.write_all(&[b'x'; 2000])).await.unwrap();
        assert_eq!(taken.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(start.elapsed() >= IDLE, "{:?}", start.elapsed());
    }

    #[tokio::test]
    async fn an_answer_that_is_taken_too_slowly_is_given_up() {
        for pause in [Duration::from_millis(200), Duration::from_secs(3600)] {
            let error = is_taken(100_000, pause).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{pause:?}");
        }
    }
}
