// SPDX-License-Identifier: Apache-2.0
//! One request over a connection of its own: what identity needs, now and then.

use protocol::{hash::KeyHash, tls::ServerTrust};

use super::{
    connection::{Ask, Connection, ConnectionError, Reply},
    succession::{self, Seen},
    target::Target,
    trust,
};
use crate::{settings::Settings, state::State};

/// An answer, and what the connection has shown.
pub struct Exchange {
    /// The answer.
    pub reply: Reply,
    /// Key of the server.
    pub server_key: Option<KeyHash>,
    /// How the server's keys have changed, in words.
    pub keys: Vec<String>,
}

/// Connects, asks, and remembers what the connection tells: the server's keys, this node's address.
pub async fn exchange(settings: &Settings, target: &Target, ask: &Ask) -> Result<Exchange, ConnectionError> {
    let mut connection = Connection::open(target).await?;
    let reply = connection.ask(target, ask).await?;
    if let (Some(address), Ok(state)) = (connection.own_address, State::open(&settings.paths.state)) {
        state.note_address(address);
    }
    let seen = Seen::new(&connection.server_keys, &reply.headers);
    let keys = succession::heed(settings, &target.trust, &seen)
        .unwrap_or_else(|e| vec![format!("the policy server's keys cannot be followed: {e}")]);
    Ok(Exchange { reply, server_key: connection.server_key(), keys })
}

/// Pins the key of a server that was met for the first time. Gives it, if it is new.
pub fn pin_first_use(
    settings: &Settings,
    target: &Target,
    exchange: &Exchange,
) -> std::io::Result<Option<KeyHash>> {
    match (&target.trust, &exchange.server_key) {
        (ServerTrust::FirstUse, Some(key)) => {
            trust::write(&settings.paths, std::slice::from_ref(key))?;
            Ok(Some(key.clone()))
        }
        _ => Ok(None),
    }
}
