// SPDX-License-Identifier: Apache-2.0
//! Plain HTTP requests to a local API.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use crate::Result;

/// Status code and body of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Body.
    pub body: String,
    head: String,
}

impl Answer {
    /// A header; empty when it is not there.
    pub fn header(&self, name: &str) -> &str {
        let lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines
            .filter(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
            .next()
            .unwrap_or("")
    }
}

/// One request without a body, on a connection of its own.
pub fn request(address: SocketAddr, method: &str, path: &str) -> Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text.split_once("\r\n\r\n").ok_or("no HTTP answer")?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or("no HTTP status")?;
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    Ok(Answer {
        status,
        body: if chunked { join_chunks(body)? } else { body.to_owned() },
        head: head.to_owned(),
    })
}

/// GET.
pub fn get(address: SocketAddr, path: &str) -> Result<Answer> {
    request(address, "GET", path)
}

fn join_chunks(mut rest: &str) -> Result<String> {
    let mut body = String::new();
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16)?;
        body.push_str(after.get(..size).ok_or("short chunk")?);
        if size == 0 {
            break;
        }
        rest = after.get(size + 2..).unwrap_or_default();
    }
    Ok(body)
}
