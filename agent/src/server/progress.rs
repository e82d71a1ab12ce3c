// SPDX-License-Identifier: Apache-2.0
//! A stream that fails when no byte moves in either direction for a while. A slow link is fine.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

/// Wraps a stream.
pub struct Progress<S> {
    stream: S,
    limit: Duration,
    alarm: Pin<Box<Sleep>>,
}

impl<S> Progress<S> {
    /// `limit` without a byte is a time-out.
    pub fn new(stream: S, limit: Duration) -> Self {
        Self { stream, limit, alarm: Box::pin(sleep(limit)) }
    }

    fn watch<T>(&mut self, context: &mut Context<'_>, poll: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if poll.is_ready() {
            self.alarm.as_mut().reset(Instant::now() + self.limit);
            return poll;
        }
        match self.alarm.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("no progress for {} s", self.limit.as_secs()),
            ))),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Progress<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.watch(context, poll)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Progress<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch(context, poll)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn silence_is_an_error_and_slowness_is_not() {
        let (mut far, near) = tokio::io::duplex(64);
        let mut near = Progress::new(near, Duration::from_secs(2));
        let slow = tokio::spawn(async move {
            for _ in 0..5 {
                sleep(Duration::from_millis(500)).await;
                far.write_all(b"x").await.unwrap();
            }
            far
        });
        let mut five = [0; 5];
        near.read_exact(&mut five).await.unwrap();
        let _far = slow.await.unwrap();
        assert_eq!(near.read(&mut five).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
