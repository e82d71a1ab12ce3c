// SPDX-License-Identifier: Apache-2.0
//! A connection as the HTTP library sees it: heads checked, and time-outs for all the time in
//! which no request is being worked on.

use std::{
    io,
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

/// Time-outs of a connection.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// For the TLS handshake, and for a request's head; also until the first head begins.
    pub header_timeout: Duration,
    /// Between requests.
    pub idle_timeout: Duration,
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

    /// Fails when the peer is late; else sees to it that the task is woken when it is.
    fn check_time(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let phase = self.phase();
        if phase != self.phase {
            self.phase = phase;
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
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check_time(cx)?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
