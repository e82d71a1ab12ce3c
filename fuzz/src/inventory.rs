// SPDX-License-Identifier: Apache-2.0
//! Inventories: apart from the other targets, because another test of `protocol` includes this file.

use chrono::DateTime;
use protocol::inventory::{self, check};

/// When the seeds of inventories were made, in Unix time: an inventory must not be old.
const MADE: i64 = 1_700_000_000;

/// Inventories: who is named is the owner of the certificate, the host name can be shown anywhere, and what
/// is written is read as the same.
pub fn inventory(data: &[u8]) {
    let _ = said(data);
}

/// Node id and host name, or why an inventory is refused.
pub fn said(data: &[u8]) -> String {
    checked(data).unwrap_or_else(|error| error)
}

fn checked(data: &[u8]) -> Result<String, String> {
    let request = inventory::read(data).map_err(|error| error.to_string())?;
    let checked = check::content(request).map_err(|error| error.to_string())?;
    let (node, hostname) = (checked.node_id.as_str(), &checked.hostname);
    assert!((1..=255).contains(&hostname.len()) && hostname.bytes().all(|byte| byte.is_ascii_graphic()));
    for name in [node, hostname, checked.policy_server.as_str()] {
        assert!(!name.contains(['/', '\0', '\n', '<', '&']), "{name:?}");
    }
    let written = inventory::write(&checked.content, "device");
    let again = inventory::read(written.as_bytes()).expect("what is written can be read");
    assert_eq!(inventory::write(&again.content[0], "device"), written);
    let now = DateTime::from_timestamp(MADE, 0).expect("a time");
    check::date(&checked.content, now).map_err(|error| error.to_string())?;
    let certificate = check::certificate(&checked).map_err(|error| error.to_string())?;
    assert!(certificate.sole_node_id().expect("it names its node").as_str().eq_ignore_ascii_case(node));
    Ok(format!("{node} {hostname}"))
}
