// SPDX-License-Identifier: Apache-2.0
//! One request of a node: joined with others for the same file, and answered with what becomes of that.

use std::time::{Duration, SystemTime};

use headers::{HeaderMapExt, LastModified};
use hyper::{
    HeaderMap, Method, Response, StatusCode,
    header::{
        AGE, CONTENT_TYPE, HeaderName, HeaderValue, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE,
        IF_UNMODIFIED_SINCE, LAST_MODIFIED, RANGE, WARNING,
    },
};
use tokio::{sync::watch, time::timeout};

use super::{
    Cache,
    fetch::{fetch, send},
    flight::{Freshness, Outcome, Stage},
    key::Key,
    store::Copy,
};
use crate::{
    files::{Representation, Tag},
    http::{Body, Problem, held},
    upstream::NO_PROGRESS,
};

/// Longest path, query included, in bytes.
const LONGEST_PATH: usize = 4096;
/// Of what is asked for, what the upstream has to know when a file is passed through.
const ASKED: [HeaderName; 6] =
    [IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, RANGE];
/// A copy that could not be checked (RFC 7234, 5.5.2).
const STALE: HeaderValue = HeaderValue::from_static("111 - \"Revalidation Failed\"");
/// When to try again what the upstream did not answer, in seconds.
const AGAIN: u64 = 5;

impl Cache {
    /// Answers GET or HEAD for a file of the upstream. `path` is that of the upstream, query included, built
    /// from checked parts; whether the caller may have it was decided before.
    ///
    /// A copy that the upstream could not confirm has `Warning: 111` and `Age`, the seconds since it did.
    pub async fn answer(&self, path: &str, method: &Method, headers: &HeaderMap) -> Response<Body> {
        if path.len() > LONGEST_PATH {
            return Problem::NotFound.into_response();
        }
        let key = Key::of(path);
        let known = self.shared.store.contains(&key) || self.shared.flights.contains(&key);
        // Whoever wants only the head does not make all of it come.
        if method == Method::HEAD && !known {
            return self.pass(path, method, headers).await;
        }
        let mut stage = self.join(key, path);
        loop {
            let now = stage.borrow_and_update().clone();
            match now {
                Stage::Asking => {}
                Stage::Coming(coming) => {
                    if let Some(response) = coming.answer(method, headers) {
                        return self.counted("fetched", response);
                    }
                }
                Stage::Done(outcome) => return self.done(outcome, path, method, headers).await,
            }
            if stage.changed().await.is_err() {
                // It was broken off: this server stops.
                return self
                    .counted("failed", Problem::Unavailable("this server stops", AGAIN).into_response());
            }
        }
    }

    fn join(&self, key: Key, path: &str) -> watch::Receiver<Stage> {
        let (stage, first) = self.shared.flights.join(key);
        match first {
            Some(flight) => {
                let fetching = fetch(self.shared.clone(), path.to_owned(), flight);
                tokio::spawn(self.shared.stop.clone().run_until_cancelled_owned(fetching));
            }
            None => self.shared.metrics.joined.inc(),
        }
        stage
    }

    async fn done(
        &self,
        outcome: Outcome,
        path: &str,
        method: &Method,
        headers: &HeaderMap,
    ) -> Response<Body> {
        match outcome {
            Outcome::Kept(copy, freshness) => {
                let from = match freshness {
                    Freshness::Unchanged => "unchanged",
                    Freshness::Fetched => "fetched",
                    Freshness::Stale => "stale",
                };
                let mut response = serve(&copy, method, headers);
                if freshness == Freshness::Stale {
                    let age = SystemTime::now().duration_since(copy.checked).unwrap_or_default();
                    response.headers_mut().insert(WARNING, STALE);
                    response.headers_mut().insert(AGE, age.as_secs().into());
                }
                self.counted(from, response)
            }
            // That of the upstream is about this server; for the node there is no such file.
            Outcome::Gone => self.counted("gone", Problem::NotFound.into_response()),
            Outcome::NotKept => self.pass(path, method, headers).await,
            Outcome::Unavailable(why) => {
                tracing::debug!("a file of the upstream cannot be had: {why}");
                let problem = Problem::Unavailable("the upstream server does not answer", AGAIN);
                self.counted("failed", problem.into_response())
            }
            Outcome::Wrong(why) => self.counted("failed", Problem::BadGateway(why).into_response()),
        }
    }

    /// Asks the upstream for this request alone, and keeps nothing.
    async fn pass(&self, path: &str, method: &Method, headers: &HeaderMap) -> Response<Body> {
        let turn = timeout(Duration::from_secs(5), self.shared.passing.clone().acquire_owned()).await;
        let Ok(turn) = turn else {
            return self.counted(
                "failed",
                Problem::Unavailable("too many files are passed on", AGAIN).into_response(),
            );
        };
        let asked =
            ASKED.into_iter().filter_map(|name| headers.get(&name).map(|value| (name, value.clone())));
        let answer = send(&self.shared, method.clone(), path, &asked.collect(), NO_PROGRESS * 2).await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(why) => return Box::pin(self.done(Outcome::Unavailable(why), path, method, headers)).await,
        };
        match answer.status() {
            StatusCode::OK
            | StatusCode::PARTIAL_CONTENT
            | StatusCode::NOT_MODIFIED
            | StatusCode::PRECONDITION_FAILED
            | StatusCode::RANGE_NOT_SATISFIABLE
            | StatusCode::BAD_REQUEST => self.counted("passed", passed(answer).map(|body| held(body, turn))),
            StatusCode::NOT_FOUND | StatusCode::FORBIDDEN | StatusCode::GONE => {
                Box::pin(self.done(Outcome::Gone, path, method, headers)).await
            }
            status => {
                let why = format!("the upstream answered {status}");
                let outcome =
                    if status.is_server_error() { Outcome::Unavailable(why) } else { Outcome::Wrong(why) };
                Box::pin(self.done(outcome, path, method, headers)).await
            }
        }
    }

    fn counted(&self, from: &str, response: Response<Body>) -> Response<Body> {
        self.shared.metrics.answers.with_label_values(&[from]).inc();
        response
    }
}

/// From the copy, conditions and ranges included.
fn serve(copy: &Copy, method: &Method, headers: &HeaderMap) -> Response<Body> {
    let tag = Tag::of(&copy.entry.digest);
    let modified = copy.entry.modified.as_deref().and_then(|time| HeaderValue::from_str(time).ok());
    let modified = HeaderMap::from_iter(modified.map(|time| (LAST_MODIFIED, time)));
    let modified = modified.typed_get::<LastModified>().map(SystemTime::from);
    let file = Representation::of_file(copy.file.clone(), Some(tag), copy.entry.content_type());
    let pin = copy.pin.clone();
    file.modified(modified).answer(method, headers).map(|body| held(body, pin))
}

/// The answer of the upstream without what is between it and this server.
fn passed(answer: Response<Body>) -> Response<Body> {
    use hyper::header::{
        ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, ETAG,
    };
    const KEPT: [HeaderName; 10] = [
        ACCEPT_RANGES,
        AGE,
        CACHE_CONTROL,
        CONTENT_ENCODING,
        CONTENT_LENGTH,
        CONTENT_RANGE,
        CONTENT_TYPE,
        ETAG,
        LAST_MODIFIED,
        WARNING,
    ];
    let (mut head, body) = answer.into_parts();
    head.headers =
        KEPT.into_iter().filter_map(|name| head.headers.remove(&name).map(|value| (name, value))).collect();
    Response::from_parts(head, body)
}
