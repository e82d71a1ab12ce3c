// SPDX-License-Identifier: Apache-2.0
//! The accept loop: a bounded number of connections, no spinning when files run out, an orderly end.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use futures_util::future::join_all;
use rustix::net::sockopt::set_ipv6_v6only;
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::Semaphore,
    task::{JoinError, JoinSet},
};
use tokio_util::sync::CancellationToken;

use super::{
    GatewayError,
    connection::{self, Limits},
    lanes::Lanes,
    metrics::Counting,
    service::Service,
    throttle::Throttle,
    tls::Acceptor,
};
use crate::service_manager::PassedSockets;

/// Connections that the kernel holds for us; it may have a lower limit (`net.core.somaxconn`).
const BACKLOG: u32 = 4096;
/// After a failed accept: short enough to recover soon, long enough not to burn a processor.
const PAUSE: Duration = Duration::from_millis(100);

/// Listens on all addresses of the gateway, without accepting yet. Addresses that the service manager
/// listens on already are taken over from it.
///
/// `[::]` takes IPv4 as well, whatever the system's default is, unless an IPv4 address with the same port is
/// listed beside it.
pub fn listen(
    addresses: &[SocketAddr],
    passed: &mut PassedSockets,
) -> Result<Vec<TcpListener>, GatewayError> {
    let mut listeners = Vec::new();
    for &address in addresses {
        let taken = passed.take_tcp(address);
        let failed = |error| GatewayError::Listen { address, error };
        if taken.is_empty() {
            let beside = |other: &SocketAddr| other.is_ipv4() && other.port() == address.port();
            let only_ipv6 = address.port() != 0 && addresses.iter().any(beside);
            listeners.push(bind(address, only_ipv6).map_err(failed)?);
        }
        for listener in taken {
            listeners.push(TcpListener::from_std(listener).map_err(failed)?);
        }
    }
    Ok(listeners)
}

fn bind(address: SocketAddr, only_ipv6: bool) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if address.is_ipv6() {
        set_ipv6_v6only(&socket, only_ipv6)?;
    }
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// What all listeners share.
pub struct Shared {
    /// Of TLS connections.
    pub acceptor: Arc<Acceptor>,
    /// Answers requests.
    pub service: Arc<Service>,
    /// Time-outs.
    pub limits: Limits,
    /// Most connections of all listeners together.
    pub max_connections: usize,
    /// The threads that serve them.
    pub lanes: Lanes,
}

/// Accepts on all listeners until `stop`, then closes them and waits for the connections to end.
pub async fn run(listeners: Vec<TcpListener>, shared: Shared, stop: CancellationToken) {
    let room = Arc::new(Semaphore::new(shared.max_connections.clamp(1, Semaphore::MAX_PERMITS)));
    let accepting = |listener| accept(listener, &shared, room.clone(), stop.clone());
    join_all(listeners.into_iter().map(accepting)).await;
}

async fn accept(listener: TcpListener, shared: &Shared, room: Arc<Semaphore>, stop: CancellationToken) {
    let Shared { acceptor, service, limits, max_connections, lanes } = shared;
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
            let (tcp, address) = listener.accept().await?;
            // One client has one address, also on a socket for both families.
            Ok::<_, io::Error>((permit, tcp, SocketAddr::new(address.ip().to_canonical(), address.port())))
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
        let (acceptor, service, limits) = (acceptor.clone(), service.clone(), *limits);
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

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn both_families_can_be_listened_on_together_and_each_by_itself() {
        let listen = |addresses: &[SocketAddr]| listen(addresses, &mut PassedSockets::default());
        let any = |address: &str, port: u16| SocketAddr::new(address.parse().unwrap(), port);
        let both = listen(&[any("::", 0)]).unwrap();
        let port = both[0].local_addr().unwrap().port();
        for client in ["127.0.0.1", "::1"] {
            TcpStream::connect(any(client, port)).await.unwrap();
        }
        drop(both);
        // Somebody else may be given the port in between: then another one is tried.
        let apart = || {
            let port = listen(&[any("::", 0)]).unwrap()[0].local_addr().unwrap().port();
            Some((port, listen(&[any("0.0.0.0", port), any("::", port)]).ok()?))
        };
        let (port, apart) = (0..20).find_map(|_| apart()).expect("both are listened on");
        for (listener, client) in apart.iter().zip(["127.0.0.1", "::1"]) {
            TcpStream::connect(any(client, port)).await.unwrap();
            assert_eq!(listener.accept().await.unwrap().1.ip().to_string(), client);
        }
        let error = listen(&[any("::1", port)]).unwrap_err().to_string();
        assert!(error.contains(&format!("[::1]:{port}")) && error.contains("another server"), "{error}");
        let error = listen(&[any("2001:db8::1", port)]).unwrap_err().to_string();
        assert!(error.contains("no interface"), "{error}");
    }

    #[tokio::test]
    async fn what_the_service_manager_listens_on_is_taken_over() {
        let passed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        passed.set_nonblocking(true).unwrap();
        let address = passed.local_addr().unwrap();
        let mut sockets = PassedSockets::of_tcp(passed).unwrap();
        let listeners = listen(&[address], &mut sockets).unwrap();
        TcpStream::connect(address).await.unwrap();
        listeners[0].accept().await.unwrap();
        assert_eq!(sockets.left(), [] as [String; 0]);
    }
}
