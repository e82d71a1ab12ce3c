// SPDX-License-Identifier: Apache-2.0
//! The addresses to listen on: answered when the daemon runs, free when it does not.

use std::{
    fs, io,
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    time::Duration,
};

use super::{Examined, account::Want, socket_unit};
use crate::{config::LocalAddress, finding::Finding};

pub(super) const NAME: &str = "ports";

const PATIENCE: Duration = Duration::from_secs(2);
const PRIVILEGED: &str = "/proc/sys/net/ipv4/ip_unprivileged_port_start";

pub(super) fn check(x: &mut Examined<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    let listen = &x.config.general.listen;
    match (x.daemon, listen) {
        (Ok(_), _) => {}
        (Err(away), _) if !away.is_absent => {
            let text = format!("something listens there that is no relayd, or hangs: {}", away.why);
            let remedy = "see what it is with `ss -lxtp`, and stop it, or change general.listen";
            found.push(Finding::error(NAME, &away.place, text, remedy));
        }
        (Err(_), LocalAddress::Tcp(address)) => found.extend(free(*address, "general.listen")),
        (Err(_), LocalAddress::Unix(path)) => found.extend(socket_place(x, path)),
    }
    for address in gateway(x) {
        match x.daemon {
            Ok(_) => found.extend(answered(address)),
            Err(_) => found.extend(free(address, "gateway.listen").or_else(|| privileged(x, address))),
        }
    }
    found
}

/// The addresses of the gateway.
fn gateway(x: &Examined<'_>) -> Vec<SocketAddr> {
    let addresses = x.config.gateway.iter().flat_map(|gateway| gateway.listen.iter().copied());
    addresses.filter(|address| address.port() != 0).collect()
}

/// Whether somebody answers there.
fn answered(address: SocketAddr) -> Option<Finding> {
    let mut to = address;
    if to.ip().is_unspecified() {
        to.set_ip(match to {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    TcpStream::connect_timeout(&to, PATIENCE).err().map(|error| {
        let text = format!("the daemon runs, but nobody answers here: {error}");
        let remedy =
            "restart it, if gateway.listen was changed; see `journalctl -u rudder-relayd` and the firewall";
        Finding::error(NAME, address, text, remedy)
    })
}

/// Whether it can be listened on; that is over when this returns.
fn free(address: SocketAddr, setting: &str) -> Option<Finding> {
    let error = TcpListener::bind(address).err()?;
    Some(match error.kind() {
        // Its socket unit listens for the daemon.
        io::ErrorKind::AddrInUse if is_of_systemd(address.port()) => return None,
        io::ErrorKind::AddrInUse => {
            let text = "another program listens there";
            let remedy = format!("stop it (`ss -ltnp` names it; httpd?), or change {setting}");
            Finding::error(NAME, address, text, remedy)
        }
        io::ErrorKind::PermissionDenied => {
            Finding::unknown(NAME, address, error.to_string(), "run this as root")
        }
        _ => {
            let remedy = format!("change {setting} to an address of this machine (`ip address`)");
            Finding::error(NAME, address, error.to_string(), remedy)
        }
    })
}

/// Whether process 1 listens on this port.
fn is_of_systemd(port: u16) -> bool {
    let tables =
        ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| fs::read_to_string(table).unwrap_or_default());
    let sockets: Vec<String> = tables.iter().flat_map(|table| listeners(table, port)).collect();
    let open = fs::read_dir("/proc/1/fd").into_iter().flatten().flatten();
    let mut targets = open.filter_map(|file| fs::read_link(file.path()).ok());
    targets.any(|target| sockets.iter().any(|socket| target.as_os_str() == socket.as_str()))
}

/// The sockets that listen on a port, as links of descriptors name them (proc(5), `/proc/net/tcp`).
fn listeners(table: &str, port: u16) -> Vec<String> {
    const LISTEN: &str = "0A";
    let sockets = table.lines().filter_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let [_, local, _, state, .., _, _] = fields[..] else { return None };
        let local_port = u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok()?;
        (local_port == port && state == LISTEN).then(|| Some(format!("socket:[{}]", fields.get(9)?)))?
    });
    sockets.collect()
}

/// Low ports need a right that the daemon does not have: the socket unit opens them.
fn privileged(x: &Examined<'_>, address: SocketAddr) -> Option<Finding> {
    let first = fs::read_to_string(PRIVILEGED).ok()?.trim().parse::<u16>().ok()?;
    let needs_it = address.port() < first && x.account.uid != 0 && !is_of_systemd(address.port());
    needs_it.then(|| socket_unit::closed(address, &x.account.name, first, socket_unit::state().as_deref()))
}

fn socket_place(x: &Examined<'_>, path: &Path) -> Option<Finding> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    let denied = x.account.may(Want::Change, parent).err()?;
    let text = format!("the socket of the local API cannot be made: {denied}");
    let remedy = format!("give {} a directory of its own for it, as RuntimeDirectory= does", x.account.name);
    Some(Finding::error(NAME, path.display(), text, remedy))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_that_listens_on_a_port_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let own =
            fs::read_link(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&listener))).unwrap();
        let table = fs::read_to_string("/proc/net/tcp").unwrap();
        assert_eq!(listeners(&table, port), [own.to_str().unwrap()]);
        assert_eq!(listeners(&table, 0), Vec::<String>::new());
        assert!(!is_of_systemd(port));
    }
}
