// SPDX-License-Identifier: Apache-2.0
//! Sending again what a policy server lacks that was restored from a backup (protocol 12.9).
//!
//! The server says with each run log that it takes since when; each such moment is followed once.

use std::{io, time::SystemTime};

use chrono::{DateTime, Utc};
use hyper::HeaderMap;
use protocol::headers::{RESEND_SINCE, parse_resend_since};
use serde::{Deserialize, Serialize};

use super::SendError;
use crate::{
    identity::Identity,
    outbox::{Outbox, Waiting},
    settings::Settings,
    state::State,
};

/// `resend.json`: what was followed last; whoever has the send lock writes it.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Followed {
    since: Option<DateTime<Utc>>,
}

const FILE: &str = "resend.json";

/// What an answer says.
pub(super) fn announced(headers: &HeaderMap) -> Option<DateTime<Utc>> {
    parse_resend_since(headers.get(RESEND_SINCE)?.to_str().ok()?)
}

/// Puts back what was sent since then and before `now`, unless that was done for this moment already. Needs the
/// send lock.
pub(super) fn follow(
    outbox: &Outbox,
    state: &State,
    since: DateTime<Utc>,
    now: SystemTime,
) -> io::Result<Vec<Waiting>> {
    let followed: Followed = state.read(FILE);
    if followed.since == Some(since) {
        return Ok(vec![]);
    }
    let again = outbox.resend(since.into()..now)?;
    // Afterwards: cut short before, it is done once more.
    state.write(FILE, &Followed { since: Some(since) })?;
    Ok(again)
}

/// Puts back what was sent since then, because an operator wants it. Gives how many.
pub fn put_back(settings: &Settings, identity: &Identity, since: SystemTime) -> Result<usize, SendError> {
    let state = State::open(&settings.paths.state).map_err(SendError::State)?;
    let outbox = Outbox::open(&settings.paths, &identity.node_id).map_err(SendError::Outbox)?;
    let _lock = super::lock(&state)?;
    Ok(outbox.resend(since..SystemTime::now()).map_err(SendError::Outbox)?.len())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use protocol::node_id::NodeId;

    use super::*;
    use crate::{paths::Paths, settings::Retention};

    #[test]
    fn each_moment_is_followed_once() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::below(root.path());
        let outbox = Outbox::open(&paths, &NodeId::root()).unwrap();
        let state = State::open(&paths.state).unwrap();
        let keep = Retention { age: Duration::MAX, size: None, sent: Duration::MAX };
        let name = "2026-01-02T03:04:05+00:00@root.log.gz".parse().unwrap();
        outbox.put(&name, b"x").unwrap();
        outbox.sent(&name, keep).unwrap();
        let headers = |value: &str| {
            HeaderMap::from_iter([(
                hyper::header::HeaderName::from_static(RESEND_SINCE),
                value.parse().unwrap(),
            )])
        };
        let first = announced(&headers("2026-01-02T03:00:00Z")).unwrap();
        assert_eq!(follow(&outbox, &state, first, SystemTime::now()).unwrap().len(), 1);
        outbox.sent(&name, keep).unwrap();
        assert_eq!(follow(&outbox, &state, first, SystemTime::now()).unwrap().len(), 0);
        // Restored a second time.
        let second = announced(&headers("2026-01-03T03:00:00Z")).unwrap();
        assert_eq!(follow(&outbox, &state, second, SystemTime::now()).unwrap().len(), 1);
        assert_eq!(announced(&headers("yesterday")), None);
    }
}
