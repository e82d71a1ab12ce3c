// SPDX-License-Identifier: Apache-2.0
//! Whether the policy server takes this node for who it is: what the root has decided arrives there a
//! moment later.

use std::time::Duration;

use bytes::Bytes;
use hyper::{Method, StatusCode};
use protocol::{node_id::NodeId, urls::IDENTITY};
use serde::Deserialize;
use tokio::time::{Instant, sleep};

use super::{
    connection::{Ask, ConnectionError},
    exchange::exchange,
    target::{Target, TargetError},
};
use crate::{enrol::words, identity::Identity, settings::Settings, upload::backoff};

/// Shortest and longest time between two questions.
const BETWEEN: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(20));

/// What a server says about its client.
#[derive(Deserialize)]
struct Whoami {
    node_id: NodeId,
    key_hash: String,
}

/// Whether the policy server knows this node by this key.
pub async fn is_known(settings: &Settings, identity: &Identity) -> Result<bool, WhoamiError> {
    let client = (identity.certificate.clone(), identity.key.clone());
    let target = Target::of(settings, Some(&client))?;
    let ask = Ask { method: Method::GET, path: IDENTITY.to_owned(), content_type: None, body: Bytes::new() };
    let reply = match exchange(settings, &target, &ask).await {
        Ok(exchange) => exchange.reply,
        // A key that is not the node's may already end the handshake.
        Err(ConnectionError::Tls(_) | ConnectionError::Http(_)) => return Ok(false),
        Err(e) => return Err(e.into()),
    };
    let unexpected = || WhoamiError::Unexpected(words::answered(reply.status, &reply.detail()));
    match reply.status {
        StatusCode::OK => {
            let whoami = serde_json::from_slice::<Whoami>(&reply.body).map_err(|_| unexpected())?;
            let own = identity.certificate.key_hash().to_string();
            Ok(whoami.node_id == identity.node_id && whoami.key_hash == own)
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Ok(false),
        _ => Err(unexpected()),
    }
}

/// Asks until it knows it. **Errors**: why it is not so yet, in words, when the time is over.
pub async fn wait_until_known(
    settings: &Settings,
    identity: &Identity,
    wait: Duration,
) -> Result<(), String> {
    let deadline = Instant::now() + wait;
    let mut between = BETWEEN.0;
    loop {
        let problem = match is_known(settings, identity).await {
            Ok(true) => return Ok(()),
            Ok(false) => "it does not know this node by this key yet".to_owned(),
            Err(e) => e.to_string(),
        };
        let pause = between.mul_f64(0.75 + backoff::random() / 2.0);
        if Instant::now() + pause >= deadline {
            return Err(problem);
        }
        sleep(pause).await;
        between = (between * 2).min(BETWEEN.1);
    }
}

/// Why nobody can say.
#[derive(Debug, thiserror::Error)]
pub enum WhoamiError {
    /// The policy server cannot be called.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The connection failed.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// Another answer.
    #[error("{0}")]
    Unexpected(String),
}
