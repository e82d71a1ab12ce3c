// SPDX-License-Identifier: Apache-2.0
//! The signer: the same message as `openssl smime -sign -text -nocerts` makes.

use std::borrow::Cow;

use base64::{Engine, prelude::BASE64_STANDARD};
use memchr::memchr2;
use openssl::{
    error::ErrorStack,
    pkcs7::{Pkcs7, Pkcs7Flags},
    pkey::{PKeyRef, Private},
    rand::rand_bytes,
    stack::Stack,
};

use crate::certificate::Certificate;

const TEXT_HEADER: &str = "Content-Type: text/plain\r\n\r\n";
const BASE64_LINE: usize = 64;

pub fn sign(log: &[u8], certificate: &Certificate, key: &PKeyRef<Private>) -> Result<Vec<u8>, ErrorStack> {
    let boundary = random_boundary()?;
    let mut message = format!(
        "MIME-Version: 1.0\n\
         Content-Type: multipart/signed; protocol=\"application/x-pkcs7-signature\"; \
         micalg=\"sha-256\"; boundary=\"{boundary}\"\n\n\
         This is an S/MIME signed message\n\n\
         --{boundary}\n"
    );
    let start = message.len();
    message.reserve(log.len() + log.len() / 16 + 4096);
    message.push_str(TEXT_HEADER);
    push_canonical(&mut message, &String::from_utf8_lossy(log));

    // BINARY because the line ends are canonical already.
    let flags = Pkcs7Flags::DETACHED | Pkcs7Flags::BINARY | Pkcs7Flags::NOCERTS;
    let none = Stack::new()?;
    let signature = Pkcs7::sign(certificate.x509(), key, &none, &message.as_bytes()[start..], flags)?;

    message.push_str(&format!(
        "\n--{boundary}\n\
         Content-Type: application/x-pkcs7-signature; name=\"smime.p7s\"\n\
         Content-Transfer-Encoding: base64\n\
         Content-Disposition: attachment; filename=\"smime.p7s\"\n\n"
    ));
    let base64 = BASE64_STANDARD.encode(signature.to_der()?);
    for at in (0..base64.len()).step_by(BASE64_LINE) {
        message.push_str(&base64[at..base64.len().min(at + BASE64_LINE)]);
        message.push('\n');
    }
    message.push_str(&format!("\n--{boundary}--\n\n"));
    Ok(message.into_bytes())
}

/// 128 random bits: no log has them at the start of a line.
fn random_boundary() -> Result<String, ErrorStack> {
    let mut random = [0; 16];
    rand_bytes(&mut random)?;
    Ok(format!("----{}", hex::encode_upper(random)))
}

/// Appends `log` with each line ending in CRLF, whatever it ended in (LF, CRLF, a lone CR as
/// progress bars write, nothing at the end of the log), and without NUL, at which readers in C stop.
fn push_canonical(message: &mut String, log: &str) {
    let log: Cow<str> = if log.contains('\0') { log.replace('\0', "\u{fffd}").into() } else { log.into() };
    let mut rest = &*log;
    while !rest.is_empty() {
        let end = memchr2(b'\r', b'\n', rest.as_bytes()).unwrap_or(rest.len());
        message.push_str(&rest[..end]);
        message.push_str("\r\n");
        let after = &rest[end..];
        // CRs before a LF are one line end with it.
        let crs = after.len() - after.trim_start_matches('\r').len();
        rest = match after[crs..].strip_prefix('\n') {
            Some(next) => next,
            None => after.get(1..).unwrap_or(""),
        };
    }
}
