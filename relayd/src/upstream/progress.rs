// SPDX-License-Identifier: Apache-2.0
//! Whether an exchange with the upstream makes progress.
//!
//! Bytes must move within [`Limits::progress`](crate::sink::forward::Limits). Those that the kernel still has to get
//! across count as moving: how long they may take is its affair (`TCP_USER_TIMEOUT`). Once the peer has
//! them all there may be other buffers on the way, which get a little more time; so that a peer that
//! takes everything and answers nothing is found out in less than twice that limit.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::sockopt::set_socket_send_buffer_size,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::sleep,
};

/// Send buffer asked of the kernel, in bytes: bounds its memory and what it hides of progress.
pub const SEND_BUFFER: usize = 128 * 1024;
/// Slowest rate at which a body may trickle through buffers, bytes per second.
const SLOWEST: u64 = 1024;

/// When bytes moved last, and whether any are awaited.
#[derive(Debug)]
pub struct Activity {
    start: Instant,
    /// Milliseconds after `start`.
    last: AtomicU64,
    busy: AtomicBool,
    /// The socket is closed by who reads and writes, not kept open by who watches.
    tcp: Weak<TcpStream>,
}

impl Activity {
    fn new(tcp: &Arc<TcpStream>) -> Self {
        let tcp = Arc::downgrade(tcp);
        Self { start: Instant::now(), last: AtomicU64::new(0), busy: AtomicBool::new(true), tcp }
    }

    fn moved(&self) {
        let millis = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(millis, Ordering::Relaxed);
    }

    /// An exchange begins.
    pub fn begin(&self) {
        self.moved();
        self.busy.store(true, Ordering::Relaxed);
    }

    /// It is over.
    pub fn end(&self) {
        self.moved();
        self.busy.store(false, Ordering::Relaxed);
    }

    /// Whether one is under way.
    pub fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed)
    }

    fn since(&self) -> Duration {
        self.start.elapsed().saturating_sub(Duration::from_millis(self.last.load(Ordering::Relaxed)))
    }

    /// Ends when nothing moved for too long, in an exchange with a body of that size; says how long.
    pub async fn stalled(&self, progress: Duration, size: u64) -> Duration {
        let buffers = Duration::from_secs(size.min(2 * SEND_BUFFER as u64) / SLOWEST);
        // The kernel gives up much earlier, except on a peer that takes a few bytes now and then.
        let longest = progress + buffers;
        let once_sent = progress + buffers.min(progress * 4 / 5);
        let pause = progress / 10;
        let mut sending = Instant::now();
        loop {
            sleep(pause).await;
            let since = self.since();
            if since >= pause && !self.is_sent() {
                sending = Instant::now();
            }
            if since >= longest || since.min(sending.elapsed()) >= once_sent {
                return since;
            }
        }
    }

    /// Whether the peer has acknowledged what was written, but for a few bytes.
    ///
    /// A socket is writable when two thirds of its send buffer or less are in use; with the smallest
    /// buffer, 4.5 KiB, that tells if anything is. Asking for the buffer again wakes who wants to write.
    fn is_sent(&self) -> bool {
        let Some(tcp) = self.tcp.upgrade() else { return true };
        let writable = || -> io::Result<bool> {
            set_socket_send_buffer_size(&tcp, 0)?;
            let ready = poll(&mut [PollFd::new(&tcp, PollFlags::OUT)], Some(&Timespec::default()));
            set_socket_send_buffer_size(&tcp, SEND_BUFFER)?;
            Ok(ready? > 0)
        };
        writable().unwrap_or(true)
    }

    /// Ends when nothing was awaited and nothing moved for that long.
    pub async fn idle(&self, limit: Duration) {
        loop {
            sleep(limit.saturating_sub(self.since()).max(Duration::from_millis(100))).await;
            match self.is_busy() {
                true => sleep(limit).await,
                false if self.since() >= limit => return,
                false => {}
            }
        }
    }
}

/// A socket that notes when bytes move.
#[derive(Debug)]
pub struct Watched {
    tcp: Arc<TcpStream>,
    activity: Arc<Activity>,
}

impl Watched {
    /// Watches a socket.
    pub fn new(tcp: TcpStream) -> (Self, Arc<Activity>) {
        let tcp = Arc::new(tcp);
        let activity = Arc::new(Activity::new(&tcp));
        (Self { tcp, activity: activity.clone() }, activity)
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.tcp.poll_read_ready(context))?;
            match self.tcp.try_read(buffer.initialize_unfilled()) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Poll::Ready(Err(e)),
                Ok(read) => {
                    buffer.advance(read);
                    if read > 0 {
                        self.activity.moved();
                    }
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

impl AsyncWrite for Watched {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.tcp.poll_write_ready(context))?;
            match self.tcp.try_write(bytes) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                written => {
                    if matches!(written, Ok(1..)) {
                        self.activity.moved();
                    }
                    return Poll::Ready(written);
                }
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(rustix::net::shutdown(&self.tcp, rustix::net::Shutdown::Write).map_err(io::Error::from))
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpSocket,
        time::timeout,
    };

    use super::*;

    #[tokio::test]
    async fn bytes_that_the_kernel_still_has_count_as_moving() {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(8192).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        set_socket_send_buffer_size(&near, SEND_BUFFER).unwrap();
        let (mut far, _) = listener.accept().await.unwrap();
        let (mut near, activity) = Watched::new(near);
        let (limit, mut bytes) = (Duration::from_millis(100), vec![7; 100 * 1024]);
        activity.begin();
        near.write_all(&bytes).await.unwrap();

        let stalled = timeout(Duration::from_secs(2), activity.stalled(limit, bytes.len() as u64)).await;
        assert!(stalled.is_err(), "{stalled:?}");
        far.read_exact(&mut bytes).await.unwrap();
        let stalled = timeout(Duration::from_secs(30), activity.stalled(limit, bytes.len() as u64)).await;
        assert!(stalled.is_ok());

        // The send buffer is as before: it takes as much again.
        near.write_all(&bytes).await.unwrap();
        far.read_exact(&mut bytes).await.unwrap();
    }
}
