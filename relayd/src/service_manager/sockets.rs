// SPDX-License-Identifier: Apache-2.0
//! Sockets that the service manager has bound for this process (sd_listen_fds(3)), so that it needs no
//! privileges for port 443.
//!
//! A setting takes the sockets that are bound to its address: the address is the one name that both sides
//! know, and what the command line and other programs go by. Wildcard addresses of one port are the same
//! here, because whether IPv4, IPv6 or both are listened on is then said in the socket unit.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    os::unix::net::UnixListener,
    path::Path,
};

use listenfd::ListenFd;

/// The sockets, until they are taken.
#[derive(Debug, Default)]
pub struct PassedSockets {
    tcp: Vec<(SocketAddr, TcpListener)>,
    unix: Vec<UnixListener>,
}

/// A socket that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "socket number {number} of the service manager: {error}; have the socket unit listen on TCP or a Unix socket \
     (ListenStream=)"
)]
pub struct Unusable {
    number: usize,
    error: io::Error,
}

impl PassedSockets {
    /// Takes the sockets out of the environment. To be called once, before there are threads.
    pub fn receive() -> Result<Self, Unusable> {
        let mut passed = ListenFd::from_env();
        let mut sockets = Self::default();
        for number in 0..passed.len() {
            sockets.add(&mut passed, number).map_err(|error| Unusable { number: number + 1, error })?;
        }
        Ok(sockets)
    }

    #[cfg(test)]
    pub(crate) fn of_tcp(listener: TcpListener) -> io::Result<Self> {
        Ok(Self { tcp: vec![(listener.local_addr()?, listener)], unix: Vec::new() })
    }

    fn add(&mut self, passed: &mut ListenFd, number: usize) -> io::Result<()> {
        // What is not TCP stays where it is, for the second attempt.
        if let Ok(Some(listener)) = passed.take_tcp_listener(number) {
            listener.set_nonblocking(true)?;
            self.tcp.push((listener.local_addr()?, listener));
        } else if let Some(listener) = passed.take_unix_listener(number)? {
            listener.set_nonblocking(true)?;
            self.unix.push(listener);
        }
        Ok(())
    }

    /// The sockets bound to this address.
    pub fn take_tcp(&mut self, address: SocketAddr) -> Vec<TcpListener> {
        self.tcp.extract_if(.., |(bound, _)| is_same(*bound, address)).map(|(_, listener)| listener).collect()
    }

    /// The socket bound to this path.
    pub fn take_unix(&mut self, path: &Path) -> Option<UnixListener> {
        let is_it = |listener: &UnixListener| {
            listener.local_addr().is_ok_and(|address| address.as_pathname() == Some(path))
        };
        let place = self.unix.iter().position(is_it)?;
        Some(self.unix.remove(place))
    }

    /// The addresses of those that nobody took.
    pub fn left(&self) -> Vec<String> {
        let tcp = self.tcp.iter().map(|(address, _)| address.to_string());
        let unix = self.unix.iter().map(|listener| {
            let address = listener.local_addr().ok();
            match address.as_ref().and_then(|address| address.as_pathname()) {
                Some(path) => format!("unix:{}", path.display()),
                None => "a Unix socket without a path".to_owned(),
            }
        });
        tcp.chain(unix).collect()
    }
}

fn is_same(bound: SocketAddr, address: SocketAddr) -> bool {
    let any = |address: SocketAddr| address.ip().to_canonical().is_unspecified();
    bound.port() == address.port()
        && (bound.ip().to_canonical() == address.ip().to_canonical() || any(bound) && any(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_takes_the_sockets_of_its_address() {
        let bind = |address: &str| {
            let listener = TcpListener::bind(address).unwrap();
            (listener.local_addr().unwrap(), listener)
        };
        let (one, two) = (bind("127.0.0.1:0"), bind("127.0.0.1:0"));
        let (first, second) = (one.0, two.0);
        let mut sockets = PassedSockets { tcp: vec![one, two], unix: Vec::new() };
        assert_eq!(sockets.take_tcp(first).len(), 1);
        assert_eq!(sockets.take_tcp(first).len(), 0, "taken once");
        assert_eq!(sockets.left(), [second.to_string()]);

        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("api.sock");
        sockets.unix.push(UnixListener::bind(&path).unwrap());
        assert_eq!(sockets.left()[1], format!("unix:{}", path.display()));
        assert!(sockets.take_unix(Path::new("/elsewhere")).is_none());
        assert!(sockets.take_unix(&path).is_some());
    }

    #[test]
    fn wildcards_of_a_port_are_the_same() {
        let same = |a: &str, b: &str| is_same(a.parse().unwrap(), b.parse().unwrap());
        assert!(same("[::]:443", "0.0.0.0:443"));
        assert!(same("[::ffff:10.0.0.1]:443", "10.0.0.1:443"));
        assert!(!same("[::]:443", "0.0.0.0:444"));
        assert!(!same("[::]:443", "[::1]:443"));
        assert!(!same("127.0.0.1:443", "[::1]:443"));
    }
}
