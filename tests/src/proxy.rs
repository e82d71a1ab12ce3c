// SPDX-License-Identifier: Apache-2.0
//! A TCP proxy that spoils the road between two parties: delay, cut, black hole, refusal.
//!
//! ```text
//!  client ──▶ proxy ──(delay)──▶ server        each direction is a reader and a delayed writer;
//!         ◀──(delay)──                         a change of faults acts on open connections, too
//! ```

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};

use crate::{Result, wait};

/// What is wrong with the road.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Faults {
    /// Delay each way.
    pub delay: Duration,
    /// Connections are closed, and new ones at once.
    pub refuse: bool,
    /// Nothing passes, but connections stay open.
    pub hold: bool,
    /// Each connection stands still once this many bytes went from client to server.
    pub hold_request_after: Option<u64>,
    /// Each connection stands still once this many bytes went from server to client.
    pub hold_answer_after: Option<u64>,
    /// Each connection is cut after this many bytes from client to server.
    pub cut_request_after: Option<u64>,
    /// Each connection is cut after this many bytes from server to client.
    pub cut_answer_after: Option<u64>,
}

/// A running proxy; ends when dropped.
pub struct Proxy {
    address: SocketAddr,
    faults: watch::Sender<Faults>,
    connections: Arc<AtomicU64>,
    /// Connections that are open.
    open: Arc<AtomicU64>,
    _runtime: Runtime,
}

/// Chunks under way in one direction; bounds memory to about this times 64 KiB.
const CHUNKS: usize = 1024;

/// How long closing connections may take.
const CLOSING: Duration = Duration::from_secs(20);

impl Proxy {
    /// Listens on a free port and passes everything on to `target`.
    pub fn start(target: SocketAddr) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let address = listener.local_addr()?;
        let (faults, watched) = watch::channel(Faults::default());
        let connections = Arc::new(AtomicU64::new(0));
        let open = Arc::new(AtomicU64::new(0));
        runtime.spawn(accept(listener, target, watched, connections.clone(), open.clone()));
        Ok(Self { address, faults, connections, open, _runtime: runtime })
    }

    /// Where clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on the road is like this. When connections are to be closed, they are closed: nothing passes on one
    /// that was open before.
    pub fn set(&self, faults: Faults) {
        self.faults.send_replace(faults);
        if faults.refuse {
            let none = || Ok(self.open.load(Ordering::SeqCst) == 0);
            let closed = wait::until_true("the connections of the proxy to be closed", CLOSING, none);
            assert!(closed.is_ok(), "{closed:?}");
        }
    }

    /// Nothing is wrong any more.
    pub fn heal(&self) {
        self.set(Faults::default());
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }
}

async fn accept(
    listener: TcpListener,
    target: SocketAddr,
    faults: watch::Receiver<Faults>,
    connections: Arc<AtomicU64>,
    open: Arc<AtomicU64>,
) {
    while let Ok((client, _)) = listener.accept().await {
        connections.fetch_add(1, Ordering::Relaxed);
        // Before it looks at the faults: who sets them then sees it.
        open.fetch_add(1, Ordering::SeqCst);
        let (faults, open) = (faults.clone(), open.clone());
        tokio::spawn(async move {
            // Either side ending, or a fault that cuts, ends both; the sockets close on drop.
            let _ = pass(client, target, faults).await;
            open.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

async fn pass(client: TcpStream, target: SocketAddr, mut faults: watch::Receiver<Faults>) -> io::Result<()> {
    if faults.borrow().refuse {
        return Ok(());
    }
    let server = TcpStream::connect(target).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (client_reads, client_writes) = client.into_split();
    let (server_reads, server_writes) = server.into_split();
    let up = direction(client_reads, server_writes, faults.clone(), |f| {
        (f.cut_request_after, f.hold_request_after)
    });
    let down =
        direction(server_reads, client_writes, faults.clone(), |f| (f.cut_answer_after, f.hold_answer_after));
    tokio::select! {
        done = async { tokio::try_join!(up, down) } => done.map(drop),
        _ = faults.wait_for(|f| f.refuse) => Ok(()),
    }
}

async fn direction(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    faults: watch::Receiver<Faults>,
    // After how many bytes it is cut, and held.
    limits: fn(&Faults) -> (Option<u64>, Option<u64>),
) -> io::Result<()> {
    let (sender, mut receiver) = mpsc::channel::<(Instant, Bytes)>(CHUNKS);
    let (mut watched, mut held) = (faults.clone(), faults.clone());
    let read = async move {
        let mut buffer = vec![0; 65_536];
        let mut passed = 0;
        loop {
            let _ = held.wait_for(|f| limits(f).1.is_none_or(|most| passed < most)).await;
            let mut size = from.read(&mut buffer).await?;
            if size == 0 {
                return Ok(());
            }
            let now = *faults.borrow();
            let left = limits(&now).0.map_or(u64::MAX, |limit| limit.saturating_sub(passed));
            size = size.min(usize::try_from(left).unwrap_or(usize::MAX));
            passed += size as u64;
            let chunk = (Instant::now() + now.delay, Bytes::copy_from_slice(&buffer[..size]));
            if sender.send(chunk).await.is_err() {
                return Ok(());
            }
            if size as u64 == left {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
        }
    };
    let write = async move {
        while let Some((due, chunk)) = receiver.recv().await {
            sleep_until(due).await;
            let _ = watched.wait_for(|f| !f.hold).await;
            to.write_all(&chunk).await?;
        }
        to.shutdown().await
    };
    let (read, written) = tokio::join!(read, write);
    read.and(written)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    fn echo() -> SocketAddr {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                std::thread::spawn(move || std::io::copy(&mut stream.try_clone().unwrap(), &mut stream));
            }
        });
        address
    }

    fn say(address: SocketAddr, words: &[u8]) -> Vec<u8> {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let _ = stream.write_all(words);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        answer
    }

    #[test]
    fn passes_cuts_and_refuses() {
        let proxy = Proxy::start(echo()).unwrap();
        assert_eq!(say(proxy.address(), b"hello"), b"hello");
        proxy.set(Faults { cut_answer_after: Some(2), ..Faults::default() });
        assert_eq!(say(proxy.address(), b"hello"), b"he");
        proxy.set(Faults { refuse: true, ..Faults::default() });
        assert_eq!(say(proxy.address(), b"hello"), b"");
        proxy.heal();
        assert_eq!(say(proxy.address(), b"hello"), b"hello");
        assert_eq!(proxy.connections(), 4);
    }

    #[test]
    fn refusing_ends_what_is_open_and_holding_stops_in_the_middle() {
        let proxy = Proxy::start(echo()).unwrap();
        let open = || {
            let stream = std::net::TcpStream::connect(proxy.address()).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            stream
        };
        let mut stream = open();
        let mut word = [0; 5];
        stream.write_all(b"hello").unwrap();
        stream.read_exact(&mut word).unwrap();
        proxy.set(Faults { refuse: true, ..Faults::default() });
        assert_eq!(proxy.open.load(Ordering::SeqCst), 0);
        assert!(matches!(stream.read(&mut word), Ok(0) | Err(_)));

        proxy.set(Faults { hold_request_after: Some(5), ..Faults::default() });
        let mut stream = open();
        stream.write_all(b"hello").unwrap();
        stream.read_exact(&mut word).unwrap();
        stream.write_all(b"again").unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        assert!(stream.read_exact(&mut word).is_err());
        proxy.heal();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.read_exact(&mut word).unwrap();
        assert_eq!(&word, b"again");
    }

    #[test]
    fn delays_each_way() {
        let proxy = Proxy::start(echo()).unwrap();
        proxy.set(Faults { delay: Duration::from_millis(60), ..Faults::default() });
        let start = Instant::now();
        assert_eq!(say(proxy.address(), b"hello"), b"hello");
        assert!(start.elapsed() >= Duration::from_millis(120));
    }
}
