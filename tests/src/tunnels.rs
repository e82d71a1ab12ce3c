// SPDX-License-Identifier: Apache-2.0
//! An HTTP proxy that makes tunnels (`CONNECT`), with names of its own, and remembers what it saw.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, copy_bidirectional},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
};

use crate::Result;

/// A running proxy; ends when dropped.
pub struct Tunnels {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    _runtime: Runtime,
}

/// One request for a tunnel.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Where to, as asked: `host:port`.
    pub to: String,
    /// The value of `Proxy-Authorization`.
    pub authorization: Option<String>,
    /// The first byte that came through the tunnel; 22 begins a TLS handshake.
    pub first_byte: Option<u8>,
}

#[derive(Default)]
struct State {
    names: HashMap<String, SocketAddr>,
    credentials: Option<String>,
    refusal: Option<String>,
    asked: Vec<Asked>,
}

impl Tunnels {
    /// Listens on a free port of this address. It reaches nothing until it is told what names mean.
    pub fn start(on: IpAddr) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind((on, 0)))?;
        let address = listener.local_addr()?;
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        runtime.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let state = shared.clone();
                // Either side ending ends both.
                tokio::spawn(async move { serve(client, &state).await.ok() });
            }
        });
        Ok(Self { address, state, _runtime: runtime })
    }

    /// From now on this `host:port` is that server. What is no such name is not reached: 502.
    pub fn name(&self, name: &str, server: SocketAddr) {
        lock(&self.state).names.insert(name.to_owned(), server);
    }

    /// From now on only these get a tunnel (`user:password`).
    pub fn require(&self, credentials: &str) {
        let encoded = openssl::base64::encode_block(credentials.as_bytes());
        lock(&self.state).credentials = Some(format!("Basic {encoded}"));
    }

    /// From now on this is the answer to everything: what stands after `HTTP/1.1`, with header lines. `None` ends that.
    pub fn refuse(&self, with: Option<&str>) {
        lock(&self.state).refusal = with.map(str::to_owned);
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// All that was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        lock(&self.state).asked.clone()
    }
}

async fn serve(client: TcpStream, state: &Mutex<State>) -> io::Result<()> {
    let mut client = BufReader::new(client);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        client.read_line(&mut line).await?;
        if line.trim_end().is_empty() {
            break;
        }
        head.push(line.trim_end().to_owned());
    }
    let mut words = head.first().map_or("", String::as_str).split(' ');
    let (method, to) = (words.next(), words.next().unwrap_or_default().to_owned());
    let header = |name: &str| {
        let value = |line: &String| Some(line.strip_prefix(name)?.strip_prefix(": ")?.to_owned());
        head.iter().find_map(value)
    };
    let authorization = header("Proxy-Authorization");
    let (number, verdict) = {
        let mut state = lock(state);
        let verdict = match (&state.refusal, &state.credentials) {
            _ if method != Some("CONNECT") || header("Host").as_deref() != Some(&to) => {
                Err("400 Bad Request".to_owned())
            }
            (Some(refusal), _) => Err(refusal.clone()),
            (_, Some(_)) if state.credentials != authorization => {
                Err("407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"tests\""
                    .to_owned())
            }
            _ => state.names.get(&to).copied().ok_or_else(|| "502 Bad Gateway".to_owned()),
        };
        state.asked.push(Asked { to, authorization, first_byte: None });
        (state.asked.len() - 1, verdict)
    };
    let server = match verdict {
        Ok(server) => server,
        Err(refusal) => {
            let answer = format!("HTTP/1.1 {refusal}\r\nContent-Length: 0\r\n\r\n");
            return client.write_all(answer.as_bytes()).await;
        }
    };
    let mut server = TcpStream::connect(server).await?;
    client.write_all(b"HTTP/1.1 200 Connection established\r\nVia: 1.1 tests\r\n\r\n").await?;
    let first_byte = client.read_u8().await?;
    lock(state).asked[number].first_byte = Some(first_byte);
    server.write_all(&[first_byte]).await?;
    copy_bidirectional(&mut client, &mut server).await.map(drop)
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
