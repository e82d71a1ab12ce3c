// SPDX-License-Identifier: Apache-2.0
//! The server above, as all see it that talk to it: spools that forward, the node table, the cache.

use protocol::proxy::address::authority;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::{api::Outcome, config::Upstream};

/// The state of the uplink.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Uplink {
    /// In error when one of those that talk to it has trouble.
    status: Outcome,
    /// Host and port.
    host: String,
    /// Who has trouble, and which.
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<String>,
    /// Since when, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
}

impl Uplink {
    /// From what those say that talk to it, by name.
    pub fn of<'a>(upstream: &Upstream, users: impl Iterator<Item = (&'a str, Value)>) -> Self {
        let mut troubled = users.filter(|(_, state)| state["status"] == "error");
        let trouble = troubled.next();
        let text = |state: &Value, member: &str| state[member].as_str().map(str::to_owned);
        Self {
            status: if trouble.is_some() { Outcome::Error } else { Outcome::Success },
            host: authority(&upstream.host, upstream.port),
            details: trouble.as_ref().map(|(who, state)| {
                format!("{who}: {}", text(state, "details").unwrap_or_else(|| "trouble".to_owned()))
            }),
            since: trouble.as_ref().and_then(|(_, state)| text(state, "since")),
        }
    }
}
