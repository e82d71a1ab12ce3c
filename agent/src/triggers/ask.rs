// SPDX-License-Identifier: Apache-2.0
//! One request for news.

use std::{io, time::Duration};

use chrono::Utc;
use hyper::{HeaderMap, Method, StatusCode, header::HeaderValue};
use protocol::{
    remote_run::RunRequestId,
    tls::ServerTrust,
    triggers::{News, news_path},
};
use tracing::info;

use super::book::Book;
use crate::{
    identity::{Identity, IdentityError},
    server::{
        connection::{Connection, ConnectionError, Reply, empty},
        succession::{self, Seen},
        target::{Target, TargetError},
        trust,
    },
    settings::Settings,
    state::State,
    upload::answer::Answer,
};

/// What the policy server answered.
#[derive(Debug)]
pub enum Answered {
    /// News, perhaps of nothing.
    News(News),
    /// It has nothing to tell: an older server, or remote runs are off there.
    Nothing,
    /// Another connection of this node took the place of this one; when to come back.
    Replaced(Duration),
    /// Something else, in words.
    Other(String),
}

/// Longest answer that is read, in bytes: as many runs as may wait for a node, each with as many conditions as
/// there may be, and these as long as they may be.
const MAX_NEWS: usize = 2 * 1024 * 1024;

/// Asks; with `wait`, the server may take so many seconds until there is something to tell. Gives the
/// headers as well.
pub async fn ask(
    connection: &mut Connection,
    target: &Target,
    known: &[RunRequestId],
    wait: Option<u64>,
) -> Result<(Answered, HeaderMap), ConnectionError> {
    let mut headers = HeaderMap::new();
    if let Some(wait) = wait.and_then(|wait| HeaderValue::try_from(format!("wait={wait}")).ok()) {
        headers.insert("prefer", wait);
    }
    let answer = connection.begin(target, Method::GET, &news_path(known), headers, empty()).await?;
    let reply = answer.reply_within(MAX_NEWS).await;
    Ok((read(&reply), reply.headers))
}

/// What an answer means.
pub fn read(reply: &Reply) -> Answered {
    match reply.status {
        StatusCode::OK if reply.body.len() <= MAX_NEWS => match serde_json::from_slice(&reply.body) {
            Ok(news) => Answered::News(news),
            Err(e) => Answered::Other(format!("its answer cannot be understood: {e}")),
        },
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Answered::Nothing,
        StatusCode::CONFLICT => {
            let later = reply.headers.get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
            Answered::Replaced(Duration::from_secs(later.unwrap_or(15).clamp(1, 60)))
        }
        _ => Answered::Other(Answer::of(reply).describe()),
    }
}

/// Asks over a connection of its own, without waiting.
pub async fn once(settings: &Settings, identity: &Identity) -> Result<Answered, AskError> {
    let state = State::open(&settings.paths.state).map_err(AskError::State)?;
    let client = trust::client_identity(settings, identity)?;
    let target = Target::of(settings, Some(&client))?;
    if matches!(target.trust, ServerTrust::FirstUse) {
        return Err(AskError::Stranger);
    }
    let mut connection = Connection::open(&target).await?;
    let known = Book::of(&state).known(Utc::now());
    let (answered, headers) = ask(&mut connection, &target, &known, None).await?;
    succession::heed(settings, &target.trust, &Seen::new(&connection.server_keys, &headers))
        .iter()
        .flatten()
        .for_each(|text| info!("{text}"));
    Ok(answered)
}

/// Why the policy server cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The policy server cannot be called.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The client certificate cannot be had.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The connection failed.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// Nobody knows whether this is the right server.
    #[error(
        "the policy server's key is not known yet, so it has no say\n    pin it: agent trust pin sha256//…; or send a run log first, which pins the key that the server shows"
    )]
    Stranger,
    /// The state directory cannot be used.
    #[error("the state directory: {0}")]
    State(io::Error),
}

impl AskError {
    /// Whether the configuration is at fault.
    pub fn is_configuration(&self) -> bool {
        match self {
            Self::Target(e) => e.is_configuration(),
            Self::Identity(_) | Self::Stranger => true,
            Self::Connection(_) | Self::State(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use protocol::{
        remote_run::{Conditions, MAX_CONDITIONS},
        triggers::{MAX_RUNS, Offer, Pace},
    };

    use super::*;

    #[test]
    fn the_longest_news_that_there_may_be_is_understood() {
        let conditions: Conditions = vec!["x".repeat(1024); MAX_CONDITIONS].join(",").parse().unwrap();
        let offer = || Offer {
            id: RunRequestId::new(),
            conditions: conditions.clone(),
            expires_in_ms: u64::MAX,
            output: false,
        };
        let pace = Pace { heartbeat: u64::MAX, reconnect_within: u64::MAX };
        let news = News { pace, runs: (0..MAX_RUNS).map(|_| offer()).collect() };
        let body = serde_json::to_vec(&news).unwrap();
        let reply = Reply { status: StatusCode::OK, headers: HeaderMap::new(), body };
        assert!(matches!(read(&reply), Answered::News(read) if read == news), "{} bytes", reply.body.len());
    }
}
