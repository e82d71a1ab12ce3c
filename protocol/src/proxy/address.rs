// SPDX-License-Identifier: Apache-2.0
//! A proxy as its URL says: `http://[user:password@]host[:port]`.

use std::{fmt, net::Ipv6Addr, str::FromStr};

use base64::{Engine, prelude::BASE64_STANDARD};
use percent_encoding::percent_decode_str;
use zeroize::Zeroizing;

/// A proxy that understands `CONNECT`.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    /// Host name or address, IPv6 without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// `Basic …`, the value of `Proxy-Authorization` (RFC 7617). A secret.
    pub authorization: Option<Zeroizing<String>>,
}

/// Why a text is not the URL of a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// Another kind of proxy.
    #[error("{0} proxies are not supported, only http:// ones")]
    Kind(&'static str),
    /// Another scheme.
    #[error("it does not start with http://")]
    Scheme,
    /// No host, or none that can be.
    #[error("it names no host, or not one that can be; IPv6 addresses stand in brackets")]
    Host,
    /// The port.
    #[error("its port is not a number from 1 to 65535")]
    Port,
    /// Something after host and port.
    #[error("there is more than http://user:password@host:port")]
    Path,
    /// The part before `@`.
    #[error(
        "the user or the password has characters that must be percent-encoded, such as / ? # @ or control characters"
    )]
    Credentials,
}

/// Without a port, that of HTTP.
const DEFAULT_PORT: u16 = 80;
const OTHER_KINDS: [&str; 6] = ["https", "socks", "socks4", "socks4a", "socks5", "socks5h"];

impl FromStr for Proxy {
    type Err = ProxyError;

    /// Without a scheme, `http` is meant.
    fn from_str(url: &str) -> Result<Self, ProxyError> {
        let url = url.trim();
        let rest = match url.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
            Some((scheme, _)) => {
                let kind = OTHER_KINDS.iter().find(|kind| kind.eq_ignore_ascii_case(scheme));
                return Err(kind.map_or(ProxyError::Scheme, |kind| ProxyError::Kind(kind)));
            }
            None => url,
        };
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        match path {
            "" | "/" => {}
            // It would be part of the password, and what is left of that be shown as a host.
            _ if path.contains('@') => return Err(ProxyError::Credentials),
            _ => return Err(ProxyError::Path),
        }
        let (credentials, address) = match authority.rsplit_once('@') {
            Some((credentials, address)) => (Some(credentials), address),
            None => (None, authority),
        };
        let (host, port) = host_and_port(address)?;
        Ok(Self { host, port, authorization: credentials.map(basic).transpose()? })
    }
}

/// Shows where it is, nothing else.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&authority(&self.host, self.port))
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

/// `host:port`, with brackets where an IPv6 address needs them.
pub fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn host_and_port(address: &str) -> Result<(String, u16), ProxyError> {
    let (host, port) = match address.strip_prefix('[') {
        Some(bracketed) => {
            let (host, port) = bracketed.split_once(']').ok_or(ProxyError::Host)?;
            host.parse::<Ipv6Addr>().map_err(|_| ProxyError::Host)?;
            match port.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if port.is_empty() => (host, None),
                None => return Err(ProxyError::Host),
            }
        }
        None => {
            let (host, port) = match address.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (address, None),
            };
            let is_name = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
            if host.is_empty() || host.len() > 253 || !host.chars().all(is_name) {
                return Err(ProxyError::Host);
            }
            (host, port)
        }
    };
    match port.map(str::parse::<u16>) {
        None => Ok((host.to_owned(), DEFAULT_PORT)),
        Some(Ok(port)) if port > 0 => Ok((host.to_owned(), port)),
        Some(_) => Err(ProxyError::Port),
    }
}

fn basic(credentials: &str) -> Result<Zeroizing<String>, ProxyError> {
    let mut plain: Zeroizing<Vec<u8>> = Zeroizing::new(Vec::with_capacity(credentials.len() + 1));
    plain.extend(percent_decode_str(credentials));
    if !credentials.contains(':') {
        plain.push(b':');
    }
    if plain.iter().any(u8::is_ascii_control) {
        return Err(ProxyError::Credentials);
    }
    let encoded = Zeroizing::new(BASE64_STANDARD.encode(&*plain));
    Ok(Zeroizing::new(["Basic ", &encoded].concat()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(url: &str) -> Result<(String, u16, Option<String>), ProxyError> {
        let proxy: Proxy = url.parse()?;
        let plain = proxy.authorization.map(|value| {
            let encoded = value.strip_prefix("Basic ").unwrap().to_owned();
            String::from_utf8(BASE64_STANDARD.decode(encoded).unwrap()).unwrap()
        });
        Ok((proxy.host, proxy.port, plain))
    }

    #[test]
    fn reads_urls() {
        let table = [
            ("http://proxy.example:3128/", "proxy.example", 3128, None),
            ("HTTP://proxy_1", "proxy_1", 80, None),
            (" proxy:8080\n", "proxy", 8080, None),
            ("10.0.0.1:1", "10.0.0.1", 1, None),
            ("http://[2001:db8::1]:3128", "2001:db8::1", 3128, None),
            ("[::1]", "::1", 80, None),
            ("http://u:p@[::1]:8/", "::1", 8, Some("u:p")),
            ("http://us%65r:p%40%2Fss@proxy", "proxy", 80, Some("user:p@/ss")),
            ("u:p@ss@proxy:1", "proxy", 1, Some("u:p@ss")),
            ("http://user@proxy", "proxy", 80, Some("user:")),
            ("http://u:%C3%A9@proxy", "proxy", 80, Some("u:é")),
        ];
        for (url, host, port, plain) in table {
            assert_eq!(read(url), Ok((host.to_owned(), port, plain.map(str::to_owned))), "{url}");
        }
    }

    #[test]
    fn refuses_what_cannot_be_meant() {
        for (url, error) in [
            ("", ProxyError::Host),
            ("http://", ProxyError::Host),
            ("http://u:p@", ProxyError::Host),
            ("http://:3128", ProxyError::Host),
            ("http://::1", ProxyError::Host),
            ("http://[::1", ProxyError::Host),
            ("http://[proxy]", ProxyError::Host),
            ("http://[::1]3128", ProxyError::Host),
            ("http://pro xy", ProxyError::Host),
            ("http://pro\r\nxy", ProxyError::Host),
            ("http://proxy:", ProxyError::Port),
            ("http://proxy:0", ProxyError::Port),
            ("http://proxy:65536", ProxyError::Port),
            ("http://proxy:1:2", ProxyError::Port),
            ("http://proxy/path", ProxyError::Path),
            ("http://proxy?x", ProxyError::Path),
            ("http://user:12#ss@proxy:1", ProxyError::Credentials),
            ("http://user:1/2@proxy:1", ProxyError::Credentials),
            ("http://user:%0d%0a@proxy:1", ProxyError::Credentials),
            ("https://proxy", ProxyError::Kind("https")),
            ("SOCKS5://proxy", ProxyError::Kind("socks5")),
            ("user:pass://word@proxy", ProxyError::Scheme),
        ] {
            assert_eq!(read(url), Err(error), "{url}");
        }
    }

    proptest! {
        #[test]
        fn nothing_shown_holds_the_password(user in "[a-z]{3}", password in "[!-~]{12,20}", host in "[A-Z]{2,8}") {
            let shown = match format!("http://{user}:{password}@{host}:3128").parse::<Proxy>() {
                Ok(proxy) => format!("{proxy} {proxy:?}"),
                Err(error) => format!("{error} {error:?}"),
            };
            prop_assert!(!shown.contains(&password[..8]), "{shown}");
        }
    }
}
