// SPDX-License-Identifier: Apache-2.0
//! The proxy between this node and its policy server: none, from the environment, or configured.

use base64::{Engine, prelude::BASE64_STANDARD};
use hyper::Uri;

use super::Secret;

/// A proxy that understands CONNECT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Value of `Proxy-Authorization`.
    pub authorization: Option<Secret>,
}

/// Reads `http://[user:password@]host[:port]`; without a scheme, `http` is meant.
pub fn parse(url: &str) -> Result<Proxy, String> {
    let bad = |why: &str| Err(format!("the proxy URL is not usable: {why}"));
    let full = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    let Ok(uri) = full.parse::<Uri>() else { return bad("not a URL") };
    if uri.scheme_str() != Some("http") {
        return bad("only http:// proxies are supported");
    }
    let Some(host) = uri.host().filter(|host| !host.is_empty()) else { return bad("it names no host") };
    let user = uri.authority().and_then(|authority| authority.as_str().rsplit_once('@')).map(|(user, _)| {
        let decoded = percent_decode(user);
        Secret::new(format!("Basic {}", BASE64_STANDARD.encode(decoded)))
    });
    Ok(Proxy {
        host: host.trim_matches(['[', ']']).to_owned(),
        port: uri.port_u16().unwrap_or(80),
        authorization: user,
    })
}

/// The proxy that the environment names for this host, by the usual variables.
pub fn from_environment(host: &str) -> Option<Result<Proxy, String>> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let exempt = variable("no_proxy").or_else(|| variable("NO_PROXY")).unwrap_or_default();
    if is_exempt(host, &exempt) {
        return None;
    }
    ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]
        .iter()
        .find_map(|name| variable(name))
        .map(|url| parse(&url))
}

fn is_exempt(host: &str, list: &str) -> bool {
    list.split(',').map(|entry| entry.trim().trim_start_matches('.')).filter(|entry| !entry.is_empty()).any(
        |entry| {
            entry == "*" || host == entry || host.strip_suffix(entry).is_some_and(|rest| rest.ends_with('.'))
        },
    )
}

fn percent_decode(text: &str) -> Vec<u8> {
    let mut decoded = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, more)) = rest.split_first() {
        let digits = more.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(|_| *first == b'%') {
            Some(byte) => {
                decoded.push(byte);
                rest = &more[2..];
            }
            None => {
                decoded.push(*first);
                rest = more;
            }
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_urls() {
        let proxy = parse("http://us%3Aer:pw@proxy.example:3128/").unwrap();
        assert_eq!((proxy.host.as_str(), proxy.port), ("proxy.example", 3128));
        assert_eq!(*proxy.authorization.unwrap(), *format!("Basic {}", BASE64_STANDARD.encode("us:er:pw")));
        assert_eq!(parse("proxy:8080").unwrap().port, 8080);
        for bad in ["", "https://proxy", "http://", "socks5://x"] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn exemptions_go_by_whole_labels() {
        assert!(is_exempt("a.example.org", "localhost, .example.org"));
        assert!(is_exempt("localhost", "localhost"));
        assert!(!is_exempt("badexample.org", "example.org"));
        assert!(!is_exempt("x", ""));
    }
}
