// SPDX-License-Identifier: Apache-2.0
//! Asks the upstream for one file, and what its answer means for the copy.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use http_body_util::{BodyExt, Empty};
use hyper::{
    HeaderMap, Method, Response, StatusCode,
    header::{HeaderName, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH, WARNING},
};
use tokio::{task::spawn_blocking, time::timeout};

use super::{
    Shared,
    flight::{Flight, Freshness, Outcome},
    receive::{Received, receive},
    store::{Copy, Store},
};
use crate::{
    http::{Body, RequestBody},
    upstream::{Failure, NO_PROGRESS},
};

/// How long nothing may come when there is a copy to be served instead.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long one waits for its turn.
const TURN: Duration = Duration::from_secs(10);

/// Makes the request of a flight, to its end.
pub async fn fetch(shared: Arc<Shared>, path: String, flight: Flight) {
    let key = flight.key();
    let found = blocking(&shared, move |store| store.find(&key)).await;
    let copy = found.unwrap_or_else(|error| {
        tracing::error!("cannot read the cache: {error}; check policies.cache.directory and its disk");
        None
    });
    let turn = timeout(TURN, shared.asking.acquire()).await;
    let outcome = match turn {
        // Nothing is known of the upstream.
        Err(_) => unanswered(copy, "too many files are asked for".into()),
        Ok(_turn) => match ask(&shared, &path, copy.as_ref()).await {
            Err(why) => unanswered(copy, why),
            Ok(answer) => judge(&shared, &path, copy, answer, &flight).await,
        },
    };
    flight.done(outcome);
}

/// Does something with the disk where that may take a while.
pub async fn blocking<T: Send + 'static>(
    shared: &Arc<Shared>,
    work: impl FnOnce(&Store) -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    let shared = shared.clone();
    spawn_blocking(move || work(&shared.store)).await.map_err(std::io::Error::other)?
}

async fn ask(shared: &Shared, path: &str, copy: Option<&Copy>) -> Result<Response<Body>, String> {
    let mut headers = HeaderMap::new();
    let mut add = |name: HeaderName, value: &Option<String>| {
        headers.extend(
            value.as_deref().and_then(|value| HeaderValue::from_str(value).ok()).map(|value| (name, value)),
        );
    };
    if let Some(copy) = copy {
        add(IF_NONE_MATCH, &copy.entry.tag);
        if copy.entry.tag.is_none() {
            add(IF_MODIFIED_SINCE, &copy.entry.modified);
        }
    }
    send(shared, Method::GET, path, &headers, patience(copy)).await
}

fn patience(copy: Option<&Copy>) -> Duration {
    if copy.is_some() { PATIENCE } else { NO_PROGRESS }
}

/// Asks the upstream, unless it is known not to answer; notes whether it does.
pub async fn send(
    shared: &Shared,
    method: Method,
    path: &str,
    headers: &HeaderMap,
    patience: Duration,
) -> Result<Response<Body>, String> {
    shared.uplink.may_ask(Instant::now()).map_err(|lost| lost.why)?;
    let asked = timeout(patience, shared.upstream.stream(method, path, headers, nothing())).await;
    let answered = asked.unwrap_or(Err(Failure::Late(patience)));
    match &answered {
        Ok(_) => {
            if shared.uplink.answered() {
                tracing::info!("the upstream answers again");
            }
        }
        // Nothing wrong with the way up.
        Err(Failure::Busy | Failure::Request(_)) => {}
        Err(failure) => shared.lost(failure),
    }
    answered.map_err(|failure| failure.to_string())
}

fn nothing() -> RequestBody {
    Empty::new().map_err(|never| match never {}).boxed()
}

fn unanswered(copy: Option<Copy>, why: String) -> Outcome {
    match copy {
        Some(copy) => Outcome::Kept(Arc::new(copy), Freshness::Stale),
        None => Outcome::Unavailable(why),
    }
}

async fn judge(
    shared: &Arc<Shared>,
    path: &str,
    copy: Option<Copy>,
    answer: Response<Body>,
    flight: &Flight,
) -> Outcome {
    let key = flight.key();
    // A relay that could not ask in its turn.
    let is_stale = answer.headers().contains_key(WARNING);
    match (answer.status(), copy) {
        (StatusCode::NOT_MODIFIED, Some(copy)) if is_stale => Outcome::Kept(Arc::new(copy), Freshness::Stale),
        (StatusCode::NOT_MODIFIED, Some(copy)) => {
            if let Err(error) = blocking(shared, move |store| store.checked(&key)).await {
                tracing::warn!("cannot note in the cache that a file is unchanged: {error}");
            }
            Outcome::Kept(Arc::new(copy), Freshness::Unchanged)
        }
        (StatusCode::OK, copy) => {
            match receive(shared, path, answer, flight, patience(copy.as_ref())).await {
                Received::Kept(copy) => {
                    Outcome::Kept(copy, if is_stale { Freshness::Stale } else { Freshness::Fetched })
                }
                Received::NotKept => {
                    // What is there is not what the upstream has.
                    forget(shared, flight).await;
                    Outcome::NotKept
                }
                Received::Lost(why) => unanswered(copy, why),
                Received::Wrong(why) if copy.is_none() => Outcome::Wrong(why),
                Received::Wrong(why) => {
                    tracing::warn!(path, "{why}; the copy is kept");
                    unanswered(copy, why)
                }
            }
        }
        // Not there any more, or not for the nodes below this server: a node that was moved or revoked.
        (StatusCode::NOT_FOUND | StatusCode::FORBIDDEN | StatusCode::GONE, _) => {
            forget(shared, flight).await;
            Outcome::Gone
        }
        (status, copy) if passes(status) => unanswered(copy, format!("the upstream answered {status}")),
        (status, _) => Outcome::Wrong(format!("the upstream answered {status}")),
    }
}

/// Whether the same request may get another answer a little later.
fn passes(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT)
}

async fn forget(shared: &Arc<Shared>, flight: &Flight) {
    let key = flight.key();
    if let Err(error) = blocking(shared, move |store| store.remove(&key)).await {
        tracing::error!("cannot remove a file from the cache: {error}; check policies.cache.directory");
    }
}
