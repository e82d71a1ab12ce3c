// SPDX-License-Identifier: Apache-2.0
//! Operating system, network, accounts.

use super::element::elements;

elements! {
    /// The operating system.
    OperatingSystem {
        /// Architecture.
        arch: Option<String> = "ARCH",
        /// When it was started: `2025-05-16 02:24:17`.
        boot_time: Option<String> = "BOOT_TIME",
        /// Domain of the machine.
        domain: Option<String> = "DNS_DOMAIN",
        /// Name of the machine with its domain.
        fqdn: Option<String> = "FQDN",
        /// `Debian GNU/Linux 12 (bookworm)`.
        full_name: Option<String> = "FULL_NAME",
        /// Host id, hexadecimal.
        host_id: Option<String> = "HOSTID",
        /// When it was installed.
        installed: Option<String> = "INSTALL_DATE",
        /// `linux`.
        kernel_name: Option<String> = "KERNEL_NAME",
        /// Release of the kernel.
        kernel_version: Option<String> = "KERNEL_VERSION",
        /// `Debian`.
        name: Option<String> = "NAME",
        /// Service pack.
        service_pack: Option<String> = "SERVICE_PACK",
        /// Public keys of its SSH server.
        ssh_keys: Vec<String> = "SSH_KEY",
        /// Time zone.
        time_zone: Option<TimeZone> = "TIMEZONE",
        /// `12.0`.
        version: Option<String> = "VERSION",
    }

    /// A time zone.
    TimeZone {
        /// Name.
        name: Option<String> = "NAME",
        /// Offset from UTC: `+0200`.
        offset: Option<String> = "OFFSET",
    }

    /// State of a firewall.
    Firewall {
        /// Profile (Windows).
        profile: Option<String> = "PROFILE",
        /// `on` or `off`.
        status: Option<String> = "STATUS",
    }

    /// A local group.
    LocalGroup {
        /// Number, or SID.
        id: Option<String> = "ID",
        /// Accounts in it.
        members: Vec<String> = "MEMBER",
        /// Name.
        name: Option<String> = "NAME",
    }

    /// A local user.
    LocalUser {
        /// Home directory.
        home: Option<String> = "HOME",
        /// Number, or SID.
        id: Option<String> = "ID",
        /// Account.
        login: Option<String> = "LOGIN",
        /// Name of the person, or what the account is for.
        name: Option<String> = "NAME",
        /// Shell.
        shell: Option<String> = "SHELL",
    }

    /// An interface with one of its addresses.
    Network {
        /// Name of the interface.
        name: Option<String> = "DESCRIPTION",
        /// Kernel module.
        driver: Option<String> = "DRIVER",
        /// IPv4 address.
        address: Option<String> = "IPADDRESS",
        /// IPv6 address.
        address6: Option<String> = "IPADDRESS6",
        /// DHCP server.
        dhcp_server: Option<String> = "IPDHCP",
        /// Gateway.
        gateway: Option<String> = "IPGATEWAY",
        /// IPv4 mask.
        mask: Option<String> = "IPMASK",
        /// IPv6 mask.
        mask6: Option<String> = "IPMASK6",
        /// IPv4 network.
        subnet: Option<String> = "IPSUBNET",
        /// IPv6 network.
        subnet6: Option<String> = "IPSUBNET6",
        /// Hardware address.
        mac: Option<String> = "MACADDR",
        /// Place on the PCI bus.
        slot: Option<String> = "PCISLOT",
        /// Speed, in Mbit/s.
        speed: Option<u64> = "SPEED",
        /// `Up` or `Down`.
        status: Option<String> = "STATUS",
        /// `ethernet`, `loopback`, `wifi`, `bridge` …
        kind: Option<String> = "TYPE",
        /// `1` if there is no device behind it.
        is_virtual: Option<u64> = "VIRTUALDEV",
    }
}
