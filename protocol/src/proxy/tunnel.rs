// SPDX-License-Identifier: Apache-2.0
//! Asking a proxy for a tunnel, and what its answer means (RFC 9110 9.3.6, 15.5.8).

use zeroize::Zeroizing;

use super::{Proxy, address::authority};

/// The head of an answer, as it comes. What follows it belongs to TLS, so it is taken byte by byte.
#[derive(Debug, Default)]
pub struct Answer(Vec<u8>);

/// Why there is no tunnel. The texts fit behind the proxy's address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TunnelError {
    /// The server's name cannot be sent.
    #[error("the server's name has characters that cannot be sent to a proxy")]
    Name,
    /// 407, and no credentials were given.
    #[error("it wants a user and a password (407); write them into its URL: http://user:password@host:port")]
    CredentialsWanted,
    /// 407, though credentials were given.
    #[error("it does not accept the user or the password of its URL (407)")]
    CredentialsRefused,
    /// 407, and basic authentication is not among what it offers.
    #[error(
        "it wants an authentication that is not supported ({0}; 407), only Basic is; let it know this machine by its address"
    )]
    CredentialsKind(String),
    /// 403.
    #[error("it does not allow connections to this server; allow them there: it answered {0}")]
    Forbidden(String),
    /// 502, 503, 504.
    #[error("it cannot reach this server: {0}")]
    Unreachable(String),
    /// A client error that proxies do not give.
    #[error("it makes no tunnels; is there a proxy at that port? It answered {0}")]
    NoTunnels(String),
    /// Any other answer.
    #[error("it answered {0}")]
    Other(String),
    /// Not HTTP.
    #[error("no HTTP proxy is there: {0}")]
    NotHttp(&'static str),
}

/// Largest head of an answer, in bytes.
const LONGEST: usize = 8 * 1024;
const START: &[u8] = b"HTTP/1.";

/// What asks `proxy` for a tunnel to this server. The credentials are in it: it goes to the proxy alone.
pub fn request(proxy: &Proxy, host: &str, port: u16) -> Result<Zeroizing<Vec<u8>>, TunnelError> {
    if host.is_empty() || !host.bytes().all(|b| b.is_ascii_graphic() && !b"/?#@[]".contains(&b)) {
        return Err(TunnelError::Name);
    }
    let server = authority(host, port);
    let mut request = Zeroizing::new(Vec::with_capacity(1024));
    request.extend_from_slice(format!("CONNECT {server} HTTP/1.1\r\nHost: {server}\r\n").as_bytes());
    if let Some(authorization) = &proxy.authorization {
        request.reserve_exact(authorization.len() + 64);
        request.extend_from_slice(b"Proxy-Authorization: ");
        request.extend_from_slice(authorization.as_bytes());
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    Ok(request)
}

impl Answer {
    /// Takes the next byte. `Some` when the answer is complete: the tunnel is there, or is not.
    pub fn take(&mut self, byte: u8, proxy: &Proxy) -> Option<Result<(), TunnelError>> {
        self.0.push(byte);
        if !self.0.iter().zip(START).all(|(is, should)| is == should) {
            // An alert or a handshake record: a server that expects TLS.
            let is_tls = matches!(self.0[..], [0x15 | 0x16, ..]);
            let why = if is_tls { "it speaks TLS at once" } else { "what it says is not HTTP" };
            return Some(Err(TunnelError::NotHttp(why)));
        }
        if self.0.len() > LONGEST {
            return Some(Err(TunnelError::NotHttp("its answer has no end")));
        }
        if !self.0.ends_with(b"\r\n\r\n") && !self.0.ends_with(b"\n\n") {
            return None;
        }
        let head = String::from_utf8_lossy(&self.0).into_owned();
        let line = head.lines().next().unwrap_or_default();
        let status = line.split(' ').nth(1).filter(|status| status.len() == 3);
        match status.and_then(|status| status.parse::<u16>().ok()) {
            // More is to come.
            Some(100..=199) => {
                self.0.clear();
                None
            }
            Some(200..=299) => Some(Ok(())),
            Some(status) => Some(Err(refused(status, line, &head, proxy))),
            None => Some(Err(TunnelError::NotHttp("its answer has no status"))),
        }
    }
}

fn refused(status: u16, line: &str, head: &str, proxy: &Proxy) -> TunnelError {
    let line = printable(line);
    match status {
        407 => {
            let offers: Vec<_> =
                head.lines().filter_map(|line| value_of(line, "proxy-authenticate")).collect();
            let is_basic =
                |offer: &&str| offer.get(..5).is_some_and(|kind| kind.eq_ignore_ascii_case("basic"));
            match (offers.is_empty() || offers.iter().any(is_basic), &proxy.authorization) {
                (false, _) => {
                    let kinds = offers.iter().map(|offer| offer.split(' ').next().unwrap_or_default());
                    TunnelError::CredentialsKind(printable(&kinds.collect::<Vec<_>>().join(", ")))
                }
                (true, None) => TunnelError::CredentialsWanted,
                (true, Some(_)) => TunnelError::CredentialsRefused,
            }
        }
        403 => TunnelError::Forbidden(line),
        400 | 404 | 405 | 501 => TunnelError::NoTunnels(line),
        502..=504 => TunnelError::Unreachable(line),
        _ => TunnelError::Other(line),
    }
}

/// The value of a header line, if it is this header.
fn value_of<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let (is, value) = line.split_once(':')?;
    is.trim().eq_ignore_ascii_case(name).then(|| value.trim())
}

fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(120).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn proxy(url: &str) -> Proxy {
        url.parse().unwrap()
    }

    fn judge(answer: &[u8], proxy: &Proxy) -> Option<(usize, Result<(), TunnelError>)> {
        let mut head = Answer::default();
        answer.iter().enumerate().find_map(|(at, byte)| Some((at + 1, head.take(*byte, proxy)?)))
    }

    #[test]
    fn asks_for_the_server_and_shows_credentials() {
        let text = |proxy, host| String::from_utf8(request(&proxy, host, 443).unwrap().to_vec()).unwrap();
        assert_eq!(text(proxy("p"), "root"), "CONNECT root:443 HTTP/1.1\r\nHost: root:443\r\n\r\n");
        assert_eq!(
            text(proxy("u:p@p"), "2001:db8::1"),
            "CONNECT [2001:db8::1]:443 HTTP/1.1\r\nHost: [2001:db8::1]:443\r\n\
             Proxy-Authorization: Basic dTpw\r\n\r\n"
        );
        for bad in ["", "a b", "a\r\nX: y", "a/b", "u@h", "[::1]", "é"] {
            assert_eq!(request(&proxy("p"), bad, 443), Err(TunnelError::Name), "{bad:?}");
        }
    }

    #[test]
    fn an_answer_ends_where_tls_begins() {
        let head = b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n";
        let with_tls = [head.as_slice(), b"\x16\x03"].concat();
        assert_eq!(judge(&with_tls, &proxy("p")), Some((head.len(), Ok(()))));
        let interim = [b"HTTP/1.1 100 Continue\r\n\r\n".as_slice(), head].concat();
        assert_eq!(judge(&interim, &proxy("p")), Some((interim.len(), Ok(()))));
        assert_eq!(judge(&head[..head.len() - 1], &proxy("p")), None);
        assert_eq!(judge(b"HTTP/1.0 200\n\n", &proxy("p")), Some((14, Ok(()))));
    }

    #[test]
    fn refusals_say_who_must_do_what() {
        let table: [(&str, &str, &str); 13] = [
            ("p", "407 x\r\nProxy-Authenticate: Basic realm=x", "wants a user"),
            ("p", "407 x", "wants a user"),
            ("u:w@p", "407 x\r\nproxy-authenticate: basic realm=x", "does not accept"),
            (
                "u:w@p",
                "407 x\r\nProxy-Authenticate: Negotiate\r\nProxy-Authenticate: NTLM",
                "Negotiate, NTLM",
            ),
            ("p", "403 Forbidden\x1b[31m", "does not allow connections"),
            ("p", "400 Bad Request", "no tunnels"),
            ("p", "405 Method Not Allowed", "no tunnels"),
            ("p", "501 Unsupported method", "no tunnels"),
            ("p", "502 Bad Gateway", "cannot reach this server: HTTP/1.1 502"),
            ("p", "503 Service Unavailable", "cannot reach"),
            ("p", "504 Gateway Timeout", "cannot reach"),
            ("p", "302 Found\r\nLocation: http://login/", "answered HTTP/1.1 302 Found"),
            ("p", "20 OK", "no status"),
        ];
        for (url, answer, expected) in table {
            let answer = format!("HTTP/1.1 {answer}\r\n\r\n");
            let (_, verdict) = judge(answer.as_bytes(), &proxy(url)).unwrap();
            let text = verdict.unwrap_err().to_string();
            assert!(text.contains(expected) && !text.contains(char::is_control), "{answer}: {text}");
        }
    }

    #[test]
    fn what_is_not_http_is_noticed_at_once() {
        assert_eq!(judge(b"SSH-2.0-x\r\n", &proxy("p")).unwrap().0, 1);
        let (at, verdict) = judge(b"\x15\x03\x01\0\x02\x02\x46", &proxy("p")).unwrap();
        assert_eq!((at, verdict), (1, Err(TunnelError::NotHttp("it speaks TLS at once"))));
        let endless = [b"HTTP/1.1 200 ".as_slice(), &[b'x'; LONGEST]].concat();
        let (at, verdict) = judge(&endless, &proxy("p")).unwrap();
        assert_eq!((at, verdict.is_err()), (LONGEST + 1, true));
    }

    proptest! {
        #[test]
        fn no_answer_breaks_anything(rest in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = judge(&[b"HTTP/1.1 ".as_slice(), &rest, b"\r\n\r\n"].concat(), &proxy("p"));
        }
    }
}
