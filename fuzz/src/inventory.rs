// SPDX-License-Identifier: Apache-2.0
//! Inventories that introduce nodes. Their reader is part of `relayd`; it is included as a file, because
//! nothing else of `relayd` is needed here.
//!
//! A test of `relayd` includes this file, so that plain `cargo test` replays the corpus.

use std::str;

use chrono::DateTime;

#[path = "../../relayd/src/sink/enrol/inventory.rs"]
mod reader;

/// When the seeds were made, in Unix time: an inventory must not be old.
const NOW: i64 = 1_700_000_000;

/// Inventories: who is named is the owner of the certificate, and the host name can be shown anywhere.
pub fn inventory(data: &[u8]) {
    let _ = said(data);
}

/// Node id and host name, or why an inventory is refused.
pub fn said(data: &[u8]) -> String {
    let text = match str::from_utf8(data) {
        Ok(text) => text,
        Err(error) => return error.to_string(),
    };
    let now = DateTime::from_timestamp(NOW, 0).expect("a time");
    match reader::read(text, now) {
        Ok(identity) => {
            let (node, hostname) = (identity.node_id.as_str(), &identity.hostname);
            let named = identity.certificate.sole_node_id().expect("it names its node");
            assert!(named.as_str().eq_ignore_ascii_case(node));
            assert!((1..=255).contains(&hostname.len()) && hostname.bytes().all(|b| b.is_ascii_graphic()));
            for name in [node, hostname, identity.policy_server.as_str()] {
                assert!(!name.contains(['/', '\0', '\n', '<', '&']), "{name:?}");
            }
            format!("{node} {hostname}")
        }
        Err(error) => error.to_string(),
    }
}
