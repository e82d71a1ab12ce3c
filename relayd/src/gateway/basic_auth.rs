// SPDX-License-Identifier: Apache-2.0
//! Basic authentication (RFC 7617), for agents without client certificate (protocol 2.3, 6.2).
//!
//! Nothing is decoded: what is expected is encoded once, and digests of both are compared, in
//! constant time whatever the lengths.

use hyper::header::{AUTHORIZATION, HeaderMap};
use openssl::{base64::encode_block, memcmp, sha::sha256};
use protocol::urls::UploadKind;
use zeroize::Zeroizing;

use crate::config::BasicAuth;

/// The credentials that open each kind of upload, as digests.
pub struct Credentials {
    regular: [u8; 32],
    initial: [u8; 32],
}

impl Credentials {
    /// From the configured users.
    pub fn new(config: &BasicAuth) -> Self {
        let digest = |password: &str| {
            let pair = Zeroizing::new(format!("{}:{password}", config.user));
            sha256(Zeroizing::new(encode_block(pair.as_bytes())).as_bytes())
        };
        Self { regular: digest(&config.password), initial: digest(&config.initial_password) }
    }

    /// Whether a request with these headers may upload this kind.
    pub fn allow(&self, kind: UploadKind, headers: &HeaderMap) -> bool {
        let expected = match kind {
            UploadKind::RunLog | UploadKind::InventoryUpdate => &self.regular,
            UploadKind::NewInventory => &self.initial,
        };
        let mut given = headers.get_all(AUTHORIZATION).iter();
        match (given.next().and_then(|value| token(value.as_bytes())), given.next()) {
            (Some(token), None) => memcmp::eq(&sha256(token), expected),
            _ => false,
        }
    }
}

/// What follows `Basic`, in any case.
fn token(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(6)?;
    scheme.eq_ignore_ascii_case(b"basic ").then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_password() {
        let credentials = Credentials::new(&BasicAuth {
            user: "rudder".into(),
            password: Zeroizing::new("secret".into()),
            initial_password: Zeroizing::new("rudder".into()),
        });
        let headers = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, value.parse().unwrap());
            }
            headers
        };
        let regular = "Basic cnVkZGVyOnNlY3JldA==";
        let initial = "basic  cnVkZGVyOnJ1ZGRlcg==";
        for (values, run_log, new_inventory) in [
            (vec![regular], true, false),
            (vec![initial], false, true),
            (vec![], false, false),
            (vec![regular, initial], false, false),
            (vec!["Basic "], false, false),
            (vec!["Basic"], false, false),
            (vec!["Bearer cnVkZGVyOnNlY3JldA=="], false, false),
            (vec!["Basic cnVkZGVyOnNlY3JldA"], false, false),
        ] {
            let headers = headers(&values);
            assert_eq!(credentials.allow(UploadKind::RunLog, &headers), run_log, "{values:?}");
            assert_eq!(credentials.allow(UploadKind::InventoryUpdate, &headers), run_log, "{values:?}");
            assert_eq!(credentials.allow(UploadKind::NewInventory, &headers), new_inventory, "{values:?}");
        }
    }
}
