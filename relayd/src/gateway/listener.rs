// SPDX-License-Identifier: Apache-2.0
//! The accept loop: a bounded number of connections, no spinning when files run out, an orderly end.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::Semaphore,
    task::{JoinError, JoinSet},
};
use tokio_util::sync::CancellationToken;

use super::{
    connection::{self, Limits},
    lanes::Lanes,
    metrics::Counting,
    service::Service,
    throttle::Throttle,
    tls::Acceptor,
};

/// Connections that the kernel holds for us; it may have a lower limit (`net.core.somaxconn`).
const BACKLOG: u32 = 4096;
/// After a failed accept: short enough to recover soon, long enough not to burn a processor.
const PAUSE: Duration = Duration::from_millis(100);

/// Listens, without accepting yet.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Accepts until `stop`, then closes the listener and waits for the connections to end.
pub async fn run(
    listener: TcpListener,
    acceptor: Arc<Acceptor>,
    service: Arc<Service>,
    limits: Limits,
    max_connections: usize,
    lanes: Lanes,
    stop: CancellationToken,
) {
    let room = Arc::new(Semaphore::new(max_connections.clamp(1, Semaphore::MAX_PERMITS)));
    let complaints = Throttle::new(Duration::from_secs(1));
    let mut connections = JoinSet::new();
    loop {
        let next = async {
            // Beyond the limit, connections wait in the backlog until another ends.
            let permit = match room.clone().try_acquire_owned() {
                Ok(permit) => permit,
                Err(_) => {
                    if let Some(held_back) = complaints.pass() {
                        tracing::warn!(
                            max_connections,
                            held_back,
                            "as many connections as allowed are open; new ones wait (gateway.max_connections)"
                        );
                    }
                    room.clone().acquire_owned().await.map_err(io::Error::other)?
                }
            };
            listener.accept().await.map(|(tcp, address)| (permit, tcp, address))
        };
        let (permit, tcp, address) = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(ended) = connections.join_next() => {
                tell_of_panic(ended);
                continue;
            }
            accepted = next => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    if !concerns_one_connection(&error) {
                        if let Some(held_back) = complaints.pass() {
                            tracing::error!(%error, held_back, "cannot accept connections; trying again");
                        }
                        tokio::time::sleep(PAUSE).await;
                    }
                    continue;
                }
            },
        };
        service.metrics().connections.inc();
        let counting = Counting::one(&service.metrics().open_connections);
        // A token of its own: each look at one locks it, and there are several for each request.
        let stop = stop.child_token();
        let Some((lane, on_lane)) = lanes.least() else { continue };
        let (acceptor, service) = (acceptor.clone(), service.clone());
        let serving = async move {
            match to_this_runtime(tcp) {
                Ok(tcp) => connection::serve(tcp, address, acceptor, service, limits, stop).await,
                Err(error) => tracing::error!(%error, "cannot serve a connection that was accepted"),
            }
            drop((counting, permit, on_lane));
        };
        connections.spawn_on(serving, lane);
    }
    drop(listener);
    while let Some(ended) = connections.join_next().await {
        tell_of_panic(ended);
    }
}

/// A connection belongs to the runtime that accepted it until it is registered with another.
fn to_this_runtime(tcp: TcpStream) -> io::Result<TcpStream> {
    TcpStream::from_std(tcp.into_std()?)
}

/// Whether only the connection at hand failed, before it was accepted (accept(2)).
fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}

fn tell_of_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a connection's task panicked; this is a bug");
    }
}
