// SPDX-License-Identifier: Apache-2.0
//! Network interfaces and their addresses.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use nix::{ifaddrs::getifaddrs, sys::socket::SockaddrStorage};
use protocol::inventory::system::Network;

use super::super::machine::Machine;

/// What is known of the network.
#[derive(Debug, Default)]
pub struct Networks {
    /// `NETWORKS`: one for each address, or for an interface without any.
    pub interfaces: Vec<Network>,
    /// IPv4 addresses that others can reach.
    pub addresses: Vec<String>,
    /// The default gateway.
    pub gateway: Option<String>,
}

/// Where the kernel has what it knows of interfaces.
const DIRECTORY: &str = "sys/class/net";

/// An address with its mask.
type Addresses = BTreeMap<String, Vec<(IpAddr, IpAddr)>>;

/// Reads all interfaces but those that come and go with containers.
pub fn read(machine: &Machine<'_>) -> Networks {
    let addresses = if machine.is_this() { addresses() } else { Addresses::new() };
    let (gateway, way_out) = gateway(machine).unzip();
    let mut networks =
        Networks { gateway: gateway.map(|gateway: Ipv4Addr| gateway.to_string()), ..Networks::default() };
    for name in machine.names(DIRECTORY) {
        if name.starts_with("veth") || name == "bonding_masters" {
            continue;
        }
        let interface = interface(machine, &name);
        let own = addresses.get(&name).map(Vec::as_slice).unwrap_or_default();
        if own.is_empty() {
            networks.interfaces.push(interface.clone());
        }
        for (address, mask) in own {
            let gateway =
                networks.gateway.clone().filter(|_| way_out.as_ref() == Some(&name) && address.is_ipv4());
            networks.interfaces.push(with_address(Network { gateway, ..interface.clone() }, *address, *mask));
            if address.is_ipv4() && !address.is_loopback() {
                networks.addresses.push(address.to_string());
            }
        }
    }
    networks
}

/// What is the same for all its addresses.
fn interface(machine: &Machine<'_>, name: &str) -> Network {
    let get = |file: &str| machine.line(format!("{DIRECTORY}/{name}/{file}"));
    let has = |file: &str| machine.has(&format!("{DIRECTORY}/{name}/{file}"));
    let device = machine.link(format!("{DIRECTORY}/{name}/device"));
    let kind = match get("type").as_deref() {
        Some("772") => "loopback",
        Some("32") => "infiniband",
        Some("512") => "dialup",
        _ if has("wireless") || has("phy80211") => "wifi",
        _ if has("bridge") => "bridge",
        _ if has("bonding") => "aggregate",
        Some("1") => "ethernet",
        _ => "other",
    };
    // Some have no state, and are up when their flag says so.
    let flags = get("flags").and_then(|flags| u32::from_str_radix(flags.trim_start_matches("0x"), 16).ok());
    let is_up = match get("operstate").as_deref() {
        Some("up") => true,
        Some("unknown") | None => flags.is_some_and(|flags| flags & 1 == 1),
        _ => false,
    };
    Network {
        name: Some(name.to_owned()),
        driver: machine.link(format!("{DIRECTORY}/{name}/device/driver")),
        mac: get("address").filter(|mac| mac.len() == 17 || mac.len() == 59),
        slot: device.clone().filter(|slot| slot.matches(':').count() == 2),
        speed: get("speed")
            .and_then(|speed| speed.parse::<u64>().ok())
            .filter(|speed| *speed < u64::from(u32::MAX)),
        status: Some(if is_up { "Up" } else { "Down" }.to_owned()),
        kind: Some(kind.to_owned()),
        is_virtual: Some(device.is_none().into()),
        ..Network::default()
    }
}

fn with_address(interface: Network, address: IpAddr, mask: IpAddr) -> Network {
    match (address, mask) {
        (IpAddr::V4(address), IpAddr::V4(mask)) => Network {
            address: Some(address.to_string()),
            mask: Some(mask.to_string()),
            subnet: Some(Ipv4Addr::from_bits(address.to_bits() & mask.to_bits()).to_string()),
            ..interface
        },
        (IpAddr::V6(address), IpAddr::V6(mask)) => Network {
            address6: Some(address.to_string()),
            mask6: Some(mask.to_string()),
            subnet6: Some(Ipv6Addr::from_bits(address.to_bits() & mask.to_bits()).to_string()),
            ..interface
        },
        _ => interface,
    }
}

/// Those of this machine, IPv4 first.
fn addresses() -> Addresses {
    let ip = |address: &SockaddrStorage| {
        let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
    };
    let mut all = Addresses::new();
    for one in getifaddrs().into_iter().flatten() {
        let (Some(address), Some(mask)) =
            (one.address.as_ref().and_then(ip), one.netmask.as_ref().and_then(ip))
        else {
            continue;
        };
        all.entry(one.interface_name).or_default().push((address, mask));
    }
    all.values_mut().for_each(|addresses| addresses.sort());
    all
}

/// The default gateway, and the interface it is behind.
fn gateway(machine: &Machine<'_>) -> Option<(Ipv4Addr, String)> {
    let text = machine.text("proc/net/route")?;
    text.lines().skip(1).find_map(|line| {
        let [name, destination, gateway, ..] = line.split_whitespace().collect::<Vec<_>>()[..] else {
            return None;
        };
        // In the order of bytes of this machine.
        let gateway = u32::from_str_radix(gateway, 16).ok().filter(|gateway| *gateway != 0)?;
        (destination == "00000000").then(|| (Ipv4Addr::from(gateway.to_ne_bytes()), name.to_owned()))
    })
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use tokio_util::sync::CancellationToken;

    use super::*;

    #[test]
    fn interfaces_are_there_without_addresses_too() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        for (file, text) in
            [("type", "1"), ("operstate", "up"), ("address", "08:00:27:8d:c0:4d"), ("speed", "1000")]
        {
            write(&format!("{DIRECTORY}/eth0/{file}"), &format!("{text}\n"));
        }
        write(&format!("{DIRECTORY}/veth1/type"), "1\n");
        let gateway = u32::from_ne_bytes([10, 0, 2, 2]);
        write(
            "proc/net/route",
            &format!("Iface\tDestination\tGateway\neth0\t00000000\t{gateway:08X}\t0003\n"),
        );
        let stop = CancellationToken::new();
        let networks = read(&Machine::new(root.path(), &stop));
        let [eth0] = &networks.interfaces[..] else { panic!("{networks:?}") };
        assert_eq!(
            (eth0.kind.as_deref(), eth0.status.as_deref(), eth0.speed),
            (Some("ethernet"), Some("Up"), Some(1000))
        );
        assert_eq!(networks.gateway.as_deref(), Some("10.0.2.2"));
        let one = with_address(eth0.clone(), "10.0.2.15".parse().unwrap(), "255.255.255.0".parse().unwrap());
        assert_eq!(one.subnet.as_deref(), Some("10.0.2.0"));
        let one = with_address(
            eth0.clone(),
            "fe80::1:2".parse().unwrap(),
            "ffff:ffff:ffff:ffff::".parse().unwrap(),
        );
        assert_eq!(one.subnet6.as_deref(), Some("fe80::"));
    }

    #[test]
    fn this_machine_has_a_loopback_interface() {
        let stop = CancellationToken::new();
        let networks = read(&Machine::new(Path::new("/"), &stop));
        let lo = networks.interfaces.iter().find(|one| one.name.as_deref() == Some("lo")).expect("lo");
        assert_eq!(lo.kind.as_deref(), Some("loopback"));
    }
}
