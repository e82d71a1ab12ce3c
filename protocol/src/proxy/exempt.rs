// SPDX-License-Identifier: Apache-2.0
//! `no_proxy`: servers that are reached directly.
//!
//! There is no standard; this is what curl, Go and Python have in common, with networks and ports.

use std::net::IpAddr;

use ipnet::IpNet;

/// The servers of a `no_proxy` list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exempt(Vec<Entry>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    Everything,
    Network(IpNet),
    Address(IpAddr, Option<u16>),
    /// A name and all below it, in lower case.
    Domain(String, Option<u16>),
}

impl Exempt {
    /// Reads names, addresses and networks between commas or white space; `*` is all. `host:port` and
    /// `[address]:port` are that port only. A leading dot or `*.` changes nothing: names below are always meant.
    pub fn read(list: &str) -> Self {
        let entries = list.split(|c: char| c == ',' || c.is_whitespace()).filter(|entry| !entry.is_empty());
        Self(entries.map(Entry::read).collect())
    }

    /// Whether this server is reached directly. `host` is a name, or an address without brackets.
    pub fn has(&self, host: &str, port: u16) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let address = host.parse::<IpAddr>().ok().map(|address| address.to_canonical());
        self.0.iter().any(|entry| match (entry, address) {
            (Entry::Everything, _) => true,
            (Entry::Network(network), Some(address)) => network.contains(&address),
            (Entry::Address(one, only), Some(address)) => *one == address && is_port(*only, port),
            (Entry::Domain(domain, only), None) => is_below(&host, domain) && is_port(*only, port),
            _ => false,
        })
    }
}

impl Entry {
    fn read(text: &str) -> Self {
        if text == "*" {
            return Self::Everything;
        }
        if let Ok(network) = text.parse() {
            return Self::Network(network);
        }
        let (host, port) = match text.rsplit_once(':').map(|(host, port)| (host, port.parse())) {
            Some((host, Ok(port))) if !host.contains(':') || host.ends_with(']') => (host, Some(port)),
            _ => (text, None),
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        match host.parse::<IpAddr>() {
            Ok(address) => Self::Address(address.to_canonical(), port),
            Err(_) => {
                let name = host.strip_prefix('*').unwrap_or(host).trim_matches('.');
                Self::Domain(name.to_ascii_lowercase(), port)
            }
        }
    }
}

fn is_port(only: Option<u16>, port: u16) -> bool {
    only.is_none_or(|only| only == port)
}

/// By whole labels.
fn is_below(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')) && !domain.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exemptions_go_by_labels_networks_and_ports() {
        let table = [
            ("localhost, .example.org", "a.example.org", true),
            (".example.org", "example.org", true),
            ("*.example.org", "A.Example.ORG.", true),
            ("example.org", "badexample.org", false),
            ("example.org:443", "example.org", true),
            ("example.org:444", "example.org", false),
            ("10.0.0.0/8 fd00::/8", "10.1.2.3", true),
            ("10.0.0.0/8,fd00::/8", "fd00::1", true),
            ("10.0.0.0/8", "11.1.2.3", false),
            ("10.0.0.0/8", "::ffff:10.0.0.1", true),
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.11", false),
            ("192.0.2.1:444", "192.0.2.1", false),
            ("::1", "0:0::1", true),
            ("[::1]", "::1", true),
            ("[::1]:443", "::1", true),
            ("[::1]:444", "::1", false),
            ("2.1", "192.0.2.1", false),
            ("*", "anything", true),
            ("", "x", false),
            (",, .", "x", false),
        ];
        for (list, host, exempt) in table {
            assert_eq!(Exempt::read(list).has(host, 443), exempt, "{list:?} {host}");
        }
    }
}
