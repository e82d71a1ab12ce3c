// SPDX-License-Identifier: Apache-2.0
//! PEM (RFC 7468), written as OpenSSL does and read strictly: one block and nothing around it.

use base64::{Engine, prelude::BASE64_STANDARD};
use zeroize::Zeroizing;

const LINE: usize = 64;

/// One block. May hold a secret, so it is erased when dropped.
pub fn encode(label: &str, der: &[u8]) -> Zeroizing<Vec<u8>> {
    let base64 = Zeroizing::new(BASE64_STANDARD.encode(der));
    // No growing, which would leave copies behind.
    let mut pem =
        Zeroizing::new(Vec::with_capacity(base64.len() + base64.len() / LINE + 2 * label.len() + 64));
    pem.extend_from_slice(format!("-----BEGIN {label}-----\n").as_bytes());
    for line in base64.as_bytes().chunks(LINE) {
        pem.extend_from_slice(line);
        pem.push(b'\n');
    }
    pem.extend_from_slice(format!("-----END {label}-----\n").as_bytes());
    pem
}

/// The content of the one block with this label. Nothing but white space may be around it.
pub fn decode_only(label: &str, pem: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let body = pem
        .trim_ascii()
        .strip_prefix(format!("-----BEGIN {label}-----").as_bytes())?
        .strip_suffix(format!("-----END {label}-----").as_bytes())?;
    let mut digits = Zeroizing::new(Vec::with_capacity(body.len()));
    digits.extend(body.iter().copied().filter(|byte| !byte.is_ascii_whitespace()));
    BASE64_STANDARD.decode(&*digits).ok().map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_read_back_and_nothing_else_is() {
        for length in [0, 1, 47, 48, 49, 1000] {
            let der = vec![7; length];
            let pem = encode("X", &der);
            assert_eq!(decode_only("X", &pem).as_deref(), Some(&der));
            let crlf = String::from_utf8(pem.to_vec()).unwrap().replace('\n', "\r\n");
            assert_eq!(decode_only("X", crlf.as_bytes()).as_deref(), Some(&der));
            assert_eq!(decode_only("Y", &pem), None);
            assert_eq!(decode_only("X", &[&pem[..], &pem[..]].concat()), None);
            assert_eq!(decode_only("X", &[b"text\n", &pem[..]].concat()), None);
            assert_eq!(decode_only("X", &pem[..pem.len() - 5]), None);
        }
    }
}
